"""Options that choose memories, the same for `list`, `search`, `context` and `forget`."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from mnemos.base.errors import Invalid

_PANEL = "Which memories"

TypeOption = Annotated[
    list[str] | None, typer.Option("--type", help="Only this type (turn, fact, document, …); repeat for more.", rich_help_panel=_PANEL)
]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag; repeat to ask for all of them.", rich_help_panel=_PANEL)]
AuthorOption = Annotated[str | None, typer.Option("--author", help="Only of this author.", rich_help_panel=_PANEL)]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only from this source.", rich_help_panel=_PANEL)]
SinceOption = Annotated[str | None, typer.Option("--since", help="Only at or after this time (ISO 8601).", rich_help_panel=_PANEL)]
UntilOption = Annotated[str | None, typer.Option("--until", help="Only before this time.", rich_help_panel=_PANEL)]
ValidAtOption = Annotated[str | None, typer.Option("--valid-at", help="Only facts that held at this time.", rich_help_panel=_PANEL)]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", help="A condition on metadata, as JSON: '{\"session\": {\"gte\": 3}}'.", metavar="JSON", rich_help_panel=_PANEL),
]
StaleOption = Annotated[
    bool | None,
    typer.Option("--stale/--no-stale", help="Only, or none of, what was made from something that has changed since.", rich_help_panel=_PANEL),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", help="As it was at this time, or (a plain number) at this position of the log.", rich_help_panel="Time travel"),
]


def conditions(
    types: list[str] | None,
    tags: list[str] | None,
    author: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    where: str | None,
    valid_at: str | None = None,
    stale: bool | None = None,
) -> dict[str, Any]:
    """The given conditions as keywords of `Space.search`, `list` and `forget`; those not given are left out."""
    given: dict[str, Any] = {"types": types or None, "tags": tags or None, "author": author, "source": source, "since": since, "until": until}
    given |= {"valid_at": valid_at, "stale": stale, "filter": None if where is None else json_object(where, "--where")}
    return {name: value for name, value in given.items() if value is not None}


def json_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object that an option holds. Raises `Invalid`."""
    try:
        value = orjson.loads(text)
    except ValueError as error:
        raise Invalid(f"{option}: is not JSON ({error}); write it like '{{\"session\": 3}}'") from None
    if not isinstance(value, dict):
        raise Invalid(f"{option}: expected a JSON object such as '{{\"session\": 3}}'")
    return value


def as_of(text: str | None) -> int | str | None:
    """A position of the log where the text is a plain number, else the time that it spells."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else text
