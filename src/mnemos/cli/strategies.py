"""Commands for the ways in which a space can remember: strategies, consolidate, redundancy."""

from __future__ import annotations

from typing import Annotated

import typer

from mnemos.cli import filters as on
from mnemos.cli.output import counted, print_json, shortened, table
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


@command
def redundancy(
    session: Session,
    by: Annotated[str, typer.Option("--by", help="Group memories by topic, type, author or source.")] = "topic",
    limit: Annotated[int, typer.Option("-k", "--limit", help="How many groups.")] = 10,
    least: Annotated[float, typer.Option("--least", help="Groups from this redundancy on, 0 to 1.")] = 0.0,
    types: on.TypeOption = None,
    tags: on.TagOption = None,
    author: on.AuthorOption = None,
    source: on.SourceOption = None,
    since: on.SinceOption = None,
    until: on.UntilOption = None,
    where: on.WhereOption = None,
) -> None:
    """Say how much of what the memories say they say again, and which groups of them are worth merging. Nothing is changed."""
    given = on.conditions(types, tags, author, source, since, until, where)
    with session.open() as mem:
        space = session.view(mem)
        found = space.redundancy(by, limit=limit, least=least, **given)
        texts = [space.get(overlap.ids[0]).text or "" for overlap in found.overlaps]
    if session.json:
        print_json(found.as_json())
        return
    session.tell(f"{counted(found.memories, 'memory says', 'memories say')} as much as {found.different:,.1f} wholly different ones would "
                 f"(redundancy {found.redundancy:.2f}).")  # fmt: skip
    if found.left_out:
        session.tell(f"{counted(found.left_out, 'memory has', 'memories have')} no vector to compare, and did not count.")
    rows = [
        (f"{overlap.redundancy:.2f}", f"{len(overlap.ids)}", f"{overlap.different:.1f}", shortened(text, 100), " ".join(overlap.ids))
        for overlap, text in zip(found.overlaps, texts, strict=True)
    ]
    if rows:
        table(session.out, ("redundancy", "memories", "different", "the one that adds least", "ids"), rows, flexible="the one that adds least")
        session.tell("`mnemos merge ID ID …` makes one memory of those that say the same.")
