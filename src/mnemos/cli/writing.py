"""Commands that write: init, add, update, rollback, merge, supersede."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnemos.base.errors import Invalid
from mnemos.cli import fields as of
from mnemos.cli.output import print_json
from mnemos.cli.session import Session, command


@command
def init(session: Session, strategy: Annotated[str | None, typer.Option("--strategy", help="How the space remembers.")] = None) -> None:
    """Make a store with one space. A store that exists already is left as it is."""
    existed = Path(session.path).expanduser().exists()
    with session.open(create=True) as mem:
        space = mem.space(session.space_name, strategy=strategy)
        found = {"store": mem.path, "space": space.name, "created": not existed}
    if session.json:
        print_json(found)
    session.tell(f"{'Made' if not existed else 'There is already'} a store at {found['store']}, with the space {space.name!r}.")
    session.tell("Next: mnemos add \"…\", mnemos import FILE, mnemos search \"…\"")


@command
def add(
    session: Session,
    text: Annotated[str, typer.Argument(help="What to remember; - reads standard input.", metavar="TEXT")],
    type: of.TypeField = None,
    author: of.AuthorField = None,
    source: of.SourceField = None,
    event_at: of.EventField = None,
    valid_from: of.FromField = None,
    valid_to: of.ToField = None,
    expires_at: of.ExpiresField = None,
    tags: of.TagField = None,
    sensitivity: of.LabelField = None,
    priority: of.PriorityField = None,
    derived_from: of.FromMemoriesField = None,
    metadata: of.MetadataField = None,
) -> None:
    """Remember a text. It is on the disk when this returns."""
    fields = of.given_fields(
        type=type, author=author, source=source, event_at=event_at, valid_from=valid_from, valid_to=valid_to, expires_at=expires_at, tags=tags,
        sensitivity=sensitivity, priority=priority, derived_from=derived_from, metadata=metadata,
    )  # fmt: skip
    words = of.given_text(text)
    if not words.strip():
        raise Invalid("text: is empty; there is nothing to remember")
    with session.open(create=True, embeds=True) as mem:
        of.tell_cube(session, mem.space(session.space_name).add(words, **fields), "Remembered")


@command
def update(
    session: Session,
    id: of.IdArgument,
    text: Annotated[str | None, typer.Argument(help="The new text; - reads standard input. Without it the text stays.", metavar="TEXT")] = None,
    type: of.TypeField = None,
    author: of.AuthorField = None,
    source: of.SourceField = None,
    event_at: of.EventField = None,
    valid_from: of.FromField = None,
    valid_to: of.ToField = None,
    expires_at: of.ExpiresField = None,
    tags: of.TagField = None,
    sensitivity: of.LabelField = None,
    priority: of.PriorityField = None,
    derived_from: of.FromMemoriesField = None,
    metadata: of.MetadataField = None,
    if_version: Annotated[int | None, typer.Option("--if-version", help="Only if it is still at this version.")] = None,
) -> None:
    """Write the next version of a memory; the one before stays in its history."""
    fields = of.given_fields(
        type=type, author=author, source=source, event_at=event_at, valid_from=valid_from, valid_to=valid_to, expires_at=expires_at, tags=tags,
        sensitivity=sensitivity, priority=priority, derived_from=derived_from, metadata=metadata,
    )  # fmt: skip
    if text is not None:
        fields["text"] = of.given_text(text)
    if not fields:
        raise Invalid("update: nothing to change; give a new text, or an option such as --author")
    if if_version is not None:
        fields["if_version"] = if_version
    with session.open(embeds=True) as mem:
        of.tell_cube(session, session.view(mem).update(id, **fields), "Updated")


@command
def rollback(
    session: Session, id: of.IdArgument, version: Annotated[int, typer.Argument(help="The version to go back to.", metavar="VERSION")]
) -> None:
    """Make a memory say again what an earlier version said."""
    with session.open(embeds=True) as mem:
        of.tell_cube(session, session.view(mem).rollback(id, version), f"Back to what version {version} said, as")


@command
def merge(
    session: Session,
    ids: Annotated[list[str], typer.Argument(help="The memories that become one: two or more.", metavar="ID")],
    text: Annotated[
        str | None, typer.Option("--text", help="What it says; else the fullest of them, with what the others add. - reads standard input.")
    ] = None,
    type: of.TypeField = None,
    author: of.AuthorField = None,
    source: of.SourceField = None,
    tags: of.TagField = None,
    metadata: of.MetadataField = None,
) -> None:
    """Make one memory of several that overlap. They leave the searches, and are kept."""
    fields = of.given_fields(type=type, author=author, source=source, tags=tags, metadata=metadata)
    with session.open(embeds=True) as mem:
        of.tell_cube(session, session.view(mem).merge(ids, None if text is None else of.given_text(text), **fields), "Merged into")


@command
def supersede(
    session: Session,
    newer: Annotated[str, typer.Argument(help="The memory that holds.", metavar="NEWER")],
    older: Annotated[str, typer.Argument(help="The one that holds no more.", metavar="OLDER")],
    reason: of.ReasonOption = None,
) -> None:
    """Say that one memory holds instead of another.

    The older one goes to the archive, and stays in the history of the newer one.
    """
    with session.open() as mem:
        of.tell_cube(session, session.view(mem).supersede(newer, older, reason), f"Instead of {older} holds")
