"""What a memory is given on the command line, the same for every command that writes one, and how it is told what came of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from mnemos.base.errors import Invalid
from mnemos.cli.filters import json_object
from mnemos.cli.output import print_json

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.cli.session import Session

AuthorField = Annotated[str | None, typer.Option("--author", help="Who said or wrote it.")]
SourceField = Annotated[str | None, typer.Option("--source", help="Where it comes from.")]
TypeField = Annotated[str | None, typer.Option("--type", help="fact, turn, document, preference, …")]
EventField = Annotated[str | None, typer.Option("--event-at", help="When it happened (ISO 8601).")]
FromField = Annotated[str | None, typer.Option("--valid-from", help="Since when it holds.")]
ToField = Annotated[str | None, typer.Option("--valid-to", help="Until when it held.")]
ExpiresField = Annotated[str | None, typer.Option("--expires-at", help="When it is to be found no more.")]
TagField = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeat for more.")]
LabelField = Annotated[
    str | None, typer.Option("--sensitivity", help="public, internal, personal or secret: who reads it then, the space's clearance says.")
]
PriorityField = Annotated[float | None, typer.Option("--priority", help="How much it matters; from 1 on it never goes to the archive by itself.")]
FromMemoriesField = Annotated[
    list[str] | None,
    typer.Option("--derived-from", help="Id of a memory that it is made from, as that is now; repeat for more.", metavar="ID"),
]
MetadataField = Annotated[str | None, typer.Option("--metadata", help="More, as a JSON object.", metavar="JSON")]
IdArgument = Annotated[str, typer.Argument(help="The memory's id.", metavar="ID")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; stays in the log, so it must not repeat the text.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def given_fields(*, metadata: str | None, **fields: Any) -> dict[str, Any]:
    """The given fields as keywords of `Space.add`, `update` and `merge`; those not given are left out."""
    found = {**fields, "metadata": None if metadata is None else json_object(metadata, "--metadata")}
    return {name: value for name, value in found.items() if value not in (None, [])}


def given_text(text: str) -> str:
    """The argument, or what stands on standard input. Raises `Invalid` for bytes that are no text."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"standard input: the bytes at {error.start} are not UTF-8; convert the text first") from None


def tell_cube(session: Session, cube: MemCube, done: str) -> None:
    """Say what was `done` to a memory: as JSON, as a line for a person, or, in a pipe, by its id alone."""
    if session.json:
        print_json(cube.as_json())
    elif session.out.is_terminal:
        session.out.print(Text.assemble((f"{done} ", "green"), (cube.id, "bold"), (f"  version {cube.version}, log position {cube.position}", "dim")))
    else:
        session.tell(cube.id)
