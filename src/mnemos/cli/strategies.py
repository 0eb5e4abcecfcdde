"""Commands for the ways in which a space can remember: strategies, consolidate."""

from __future__ import annotations

from mnemos.cli.output import counted, print_json, table
from mnemos.cli.session import Session, command


@command
def strategies(session: Session) -> None:
    """List the strategies by which a space can remember."""
    from mnemos.text.registry import STRATEGIES, make

    found = [{"name": name, "consolidates": make(name).consolidates, "about": make(name).about} for name in STRATEGIES]
    if session.json:
        print_json({"strategies": found})
        return
    rows = [[str(row["name"]), "yes" if row["consolidates"] else "", str(row["about"])] for row in found]
    table(session.out, ("strategy", "consolidates", "what it is for"), rows, flexible="what it is for")


@command
def consolidate(session: Session) -> None:
    """Let the space's strategy make what it lacks (notes, summaries, …), and renew what is out of date."""
    with session.open() as mem:
        done = session.view(mem).consolidate()
    if session.json:
        print_json(done.as_json())
        return
    if not (done.seen or done.added or done.revised or done.retired):
        session.tell(f"Nothing to do for strategy {done.strategy}.")
        return
    session.tell(
        f"Strategy {done.strategy} looked at {counted(done.seen, 'memory', 'memories')}: {done.added:,} views written, {done.revised:,} renewed, "
        f"{done.retired:,} taken out of use."
    )
    for what, count in sorted(done.report.items()):
        session.tell(f"  {what}: {count:,}")
