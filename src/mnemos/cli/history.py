"""Commands for a space's past: rewind; snapshots list, take, drop; branches list, open, diff, merge, drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mnemos.cli import filters as on
from mnemos.cli.fields import ReasonOption, YesOption
from mnemos.cli.output import counted, one_line, print_json, shortened, table
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.history.branch_diff import Change
    from mnemos.kernel.history.branch_merge import Branch

_TO = "the name of a snapshot, a time (ISO 8601), or, a plain number, a position of the log"
_TEXT_WIDTH = 80
NameArgument = Annotated[str, typer.Argument(help="The snapshot's name.", metavar="NAME")]
BranchArgument = Annotated[str, typer.Argument(help="The branch: the name of its space.", metavar="NAME")]


@command
def rewind(
    session: Session,
    to: Annotated[str, typer.Argument(help=f"Where to: {_TO}.", metavar="TO")],
    ids: Annotated[list[str] | None, typer.Argument(help="Only these memories; else all of the space.", metavar="ID")] = None,
) -> None:
    """Bring memories back to what they said and where they stood, as new versions: you can go forward again."""
    with session.open() as mem:
        done = session.view(mem).rewind(_point(to), ids or None)
    if session.json:
        print_json(done.as_json())
        return
    parts = [
        (done.reverted, "say again what they said"), (done.moved, "moved into searches, or out of them"), (done.archived, "went to the archive"),
        (done.gone, "were forgotten since, and stay so"), (done.kept, "stay in quarantine"),
    ]  # fmt: skip
    said = ", ".join(f"{len(which):,} {what}" for which, what in parts if which)
    session.tell(f"Back at log position {done.position:,}. {f'Memories: {said}.' if said else 'Nothing had to change.'}")


def _point(text: str) -> int | str:
    point = on.as_of(text)
    assert point is not None
    return point


# ---- snapshots -------------------------------------------------------------------------------------------------------


@command
def list_snapshots(session: Session) -> None:
    """List the snapshots of a space. Look at one with: mnemos list --as-of POSITION."""
    with session.open() as mem:
        found = session.view(mem).snapshots()
    if session.json:
        print_json({"snapshots": [one.as_json() for one in found]})
        return
    rows = [(one.name, one.position, one.at[:16], one.by or "") for one in found]
    table(session.out, ("name", "position", "taken", "by"), rows, flexible="name")


@command
def take(
    session: Session,
    name: NameArgument,
    at: Annotated[str | None, typer.Option("--at", help="As it was at this time, or (a plain number) position of the log.", metavar="WHEN")] = None,
) -> None:
    """Name how a space is now, or was, to go back there or to branch from there."""
    with session.open() as mem:
        taken = session.view(mem).snapshot(name, on.as_of(at))
    if session.json:
        print_json(taken.as_json())
    session.tell(f"Snapshot {taken.name!r} of space {taken.space!r}: log position {taken.position:,}.")


@command
def drop_snapshot(session: Session, name: NameArgument) -> None:
    """Take the name of a snapshot away. What it stood for can still be seen by its position."""
    with session.open() as mem:
        session.view(mem).drop_snapshot(name)
    if session.json:
        print_json({"dropped": name})
    session.tell(f"Dropped the snapshot {name!r}.")


# ---- branches --------------------------------------------------------------------------------------------------------


@command
def list_branches(session: Session) -> None:
    """List the what-if branches of a space."""
    with session.open() as mem:
        found = [_as_json(branch) for branch in session.view(mem).branches()]
    if session.json:
        print_json({"branches": found})
        return
    columns = ("name", "of", "position", "at")
    table(session.out, columns, [[branch[column] for column in columns] for branch in found], flexible="name")


def _as_json(branch: Branch) -> dict[str, str | int]:
    return {"name": branch.name, "of": branch.origin.of, "position": branch.origin.position, "at": branch.origin.at}


@command
def open_(
    session: Session,
    name: Annotated[str, typer.Argument(help="The name of its space, which is new.", metavar="NAME")],
    at: Annotated[str | None, typer.Option("--at", help=f"From the past: {_TO}.", metavar="WHEN")] = None,
) -> None:
    """Open a what-if branch of a space: a space of its own, whose changes do not touch the original."""
    with session.open() as mem:
        branch = session.view(mem).branch(name, None if at is None else _point(at))
    if session.json:
        print_json(_as_json(branch))
    session.tell(f"Opened {branch.name!r}, a branch of {branch.origin.of!r} at log position {branch.origin.position:,}; use it with --space.")


@command
def diff(session: Session, name: BranchArgument) -> None:
    """Show what a branch changed since it was made or last merged, and what contradicts changes of the original."""
    with session.open() as mem:
        found = mem.existing_space(name).as_branch().diff()
    if session.json:
        print_json(found.as_json())
    elif not found:
        session.tell(f"{name!r} changed nothing.")
    else:
        columns = ("what", "memory", "fields", "conflicts", "text")
        table(session.out, columns, [_row(change) for change in found.changes], flexible="text")


def _row(change: Change) -> list[object]:
    shown = change.branch or change.base
    assert shown is not None
    id = (change.base or shown).id
    return [change.kind, id, ", ".join(change.fields), Text(", ".join(change.conflicts), style="red"), shortened(shown.text, _TEXT_WIDTH)]


@command
def merge(
    session: Session,
    name: BranchArgument,
    on_conflict: Annotated[
        str, typer.Option("--on-conflict", help="Where both sides changed the same: error, ours (the original's) or theirs.")
    ] = "error",
) -> None:
    """Bring a branch's changes back to its original. The branch stays, and can be merged again."""
    with session.open(embeds=True) as mem:
        done = mem.existing_space(name).as_branch().merge(on_conflict)
    if session.json:
        print_json(done.as_json())
        return
    parts = [
        (done.added, "added"), (done.changed, "changed"), (done.archived, "archived"), (done.restored, "restored"),
        (done.left, "left as the original has them"),
    ]  # fmt: skip
    said = ", ".join(f"{len(which):,} {what}" for which, what in parts if which)
    session.tell(f"Merged {one_line(name)}: {said}." if said else "Nothing had to change.")


@command
def drop_branch(
    session: Session,
    name: BranchArgument,
    reason: ReasonOption = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Save the certificate here, as JSON.", metavar="FILE")] = None,
    yes: YesOption = False,
) -> None:
    """Forget a branch for good, and what was made from it; the originals stay."""
    from mnemos.base.cube import State
    from mnemos.cli.certificates import Paper
    from mnemos.cli.forgetting import tell_certificate

    with session.open() as mem:
        branch = mem.existing_space(name).as_branch()
        held = len(branch.space.list(limit=1000, states=[state.word for state in State]))
        what = counted(held, "memory", "memories") if held < 1000 else "1,000 memories or more"
        session.confirm(f"Forget the branch {branch.name!r}, with {what}, for good", yes)
        with Paper(certificate) as paper:
            done = branch.drop(reason)
            if done is not None:
                paper.write(done)
    if session.json:
        print_json({"certificate": done.as_json() if done else None})
    elif done is None:
        session.tell(f"Dropped {branch.name!r}; nothing was left in it.")
    else:
        tell_certificate(session, done, certificate)


snapshots = typer.Typer(help="Names for how a space was.", no_args_is_help=True)
for _name, _function in (("list", list_snapshots), ("take", take), ("drop", drop_snapshot)):
    snapshots.command(_name)(_function)

branches = typer.Typer(help="What-if branches of a space: opened, compared, merged back, dropped.", no_args_is_help=True)
for _name, _function in (("list", list_branches), ("open", open_), ("diff", diff), ("merge", merge), ("drop", drop_branch)):
    branches.command(_name)(_function)
