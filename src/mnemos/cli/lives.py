"""Commands for the lives of memories: freeze, unfreeze, archive, restore, quarantine, release, tend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mnemos.cli.fields import IdArgument, ReasonOption, tell_cube
from mnemos.cli.filters import json_object
from mnemos.cli.output import counted, print_json
from mnemos.cli.session import Session, command

if TYPE_CHECKING:
    from mnemos.kernel.life.tending import Tended


@command
def freeze(session: Session, id: IdArgument) -> None:
    """Forbid every change of a memory."""
    with session.open() as mem:
        tell_cube(session, session.view(mem).freeze(id), "Frozen")


@command
def unfreeze(session: Session, id: IdArgument) -> None:
    """Allow changes of a memory again."""
    with session.open() as mem:
        tell_cube(session, session.view(mem).unfreeze(id), "Unfrozen")


@command
def archive(session: Session, id: IdArgument, reason: ReasonOption = None) -> None:
    """Take a memory out of searches, and keep it."""
    with session.open() as mem:
        tell_cube(session, session.view(mem).archive(id, reason), "Archived")


@command
def restore(session: Session, id: IdArgument, reason: ReasonOption = None) -> None:
    """Bring an archived or merged memory back into searches."""
    with session.open() as mem:
        tell_cube(session, session.view(mem).restore(id, reason), "Back in searches")


@command
def quarantine(session: Session, id: IdArgument, reason: ReasonOption = None) -> None:
    """Set a memory aside that may be harmful: no search finds it until release."""
    with session.open() as mem:
        tell_cube(session, session.view(mem).quarantine(id, reason), "Set aside")


@command
def release(session: Session, id: IdArgument, reason: ReasonOption = None) -> None:
    """Take a memory out of quarantine, back to the state that it was in."""
    with session.open() as mem:
        cube = session.view(mem).release(id, reason)
        tell_cube(session, cube, f"Released, {cube.state} again")


@command
def tend(
    session: Session,
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="How, this time, as JSON: '{\"archive_after_days\": 90}'. Else as each space says.", metavar="JSON"),
    ] = None,
) -> None:
    """Bring the lives of memories up to date, in all spaces or the one that --space names.

    What was used comes to life, what is over expires, what is cold goes to the archive (where its space says after how many days), and what
    overlaps or is contradicted is settled.
    """
    from mnemos.kernel.life.tending import LifecyclePolicy

    rules = None if policy is None else LifecyclePolicy.from_json(json_object(policy, "--policy"))
    with session.open() as mem:
        done = mem.tend(None if session.chosen_space is None else [session.chosen_space], rules)
    if session.json:
        print_json(done.as_json())
        return
    session.tell(_words(done))
    if done.contradictions:
        pairs = counted(done.contradictions, "pair contradicts each other", "pairs contradict each other")
        session.tell(f"{pairs}, and it is not clear what holds: say it with `mnemos supersede NEWER OLDER`.")


def _words(done: Tended) -> str:
    parts = [
        (done.activated, "came to life"), (done.revived, "came back from the archive"), (done.expired, "expired"),
        (done.archived, "went to the archive"), (done.merged, "merged into another"), (done.superseded, "superseded by a newer one"),
    ]  # fmt: skip
    said = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    return f"Memories: {said}." if said else "Nothing had to change."
