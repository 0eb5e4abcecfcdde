"""From the keywords of a call to the content of a version, each checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from mnemos.base.clock import Clock, to_micros
from mnemos.base.cube import EMPTY, Content, Link, check_interval, check_metadata, check_text, check_word, check_words
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id

ORIGINS = ("user", "inference", "retrieval", "training")
_TIMES = ("event_at", "valid_from", "valid_to", "expires_at")
_WORDS = ("author", "source", "place", "sensitivity")
_LISTS = ("tags", "entities")
FIELDS = ("type", *_WORDS, *_TIMES, *_LISTS, "metadata", "origin", "priority", "derived_from", "id", "created_at")
CHANGEABLE = ("text", "type", *_WORDS, *_TIMES, *_LISTS, "metadata", "origin", "priority")
_FIELDS = frozenset(FIELDS)


def draft(text: object, fields: Mapping[str, Any], now: int, new_id: Callable[[], UUID]) -> Content:
    """The first version of a new cube. Raises `Invalid`, naming the keyword."""
    if not fields.keys() <= _FIELDS:
        raise Invalid(f"add: unknown keyword {sorted(set(fields) - _FIELDS)[0]!r}; known are {', '.join(FIELDS)}")
    words = check_text(text)
    if not words.strip():
        raise Invalid("text: is empty; there is nothing to remember")
    given = fields.get("id")
    created = fields.get("created_at")
    return Content(
        id=parse_id(given) if given is not None else new_id(),
        version=1,
        created_at=now if created is None else to_micros(created, "created_at") or now,
        text=words,
        **_checked(fields),
    )


def drafted(records: Iterable[Mapping[str, Any]], clock: Clock, new_id: Callable[[], UUID]) -> Iterator[Content]:
    """The contents of many records. Raises `Invalid`, naming the record's number (from 1)."""
    if isinstance(records, (str, bytes, Mapping)):
        raise Invalid("add_many: expected a list of dicts, each with a text")
    for number, record in enumerate(records, 1):
        try:
            if not isinstance(record, Mapping):
                raise Invalid(f"expected a dict with a text, not {type(record).__name__}")
            if "text" not in record:
                raise Invalid("has no text")
            yield draft(record["text"], {name: value for name, value in record.items() if name != "text"}, clock(), new_id)
        except Invalid as error:
            raise Invalid(f"record {number}: {error}") from None


def revised(content: Content, text: str, fields: Mapping[str, Any], reverted_to: int | None) -> Content:
    """The next version of `content`, whose text was `text`. Raises `Invalid`, naming the keyword."""
    changes = _checked(fields)
    if "text" in fields:
        text = check_text(fields["text"])
        if not text.strip():
            raise Invalid("text: is empty; to remove a memory, forget it")
    parents = (content.version,) if reverted_to is None else (content.version, reverted_to)
    revision = replace(content, version=content.version + 1, text=text, parents=parents, **changes)
    check_interval(revision.valid_from, revision.valid_to)
    return revision


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields, in the form in which they are stored."""
    out: dict[str, Any] = {}
    if not fields:
        return out
    for name in _WORDS:
        if name in fields:
            out[name] = check_word(fields[name], name) or None
    for name in _TIMES:
        if name in fields:
            out[name] = to_micros(fields[name], name)
    for name in _LISTS:
        if name in fields:
            out[name] = check_words(fields[name], name)
    if fields.get("type") is not None:
        out["type"] = check_word(fields["type"], "type")
        if not out["type"]:
            raise Invalid("type: is empty; leave it out, or give a word such as 'fact' or 'turn'")
    if fields.get("origin") is not None:
        out["origin"] = fields["origin"]
        if out["origin"] not in ORIGINS:
            raise Invalid(f"origin: {str(out['origin'])[:40]!r} is none of {', '.join(ORIGINS)}")
    if fields.get("priority") is not None:
        priority = fields["priority"]
        if isinstance(priority, bool) or not isinstance(priority, (int, float)) or not abs(priority) < float("inf"):
            raise Invalid("priority: expected a finite number")
        out["priority"] = float(priority)
    if "metadata" in fields:
        out["metadata"] = check_metadata(fields["metadata"]) or EMPTY
    if fields.get("derived_from"):
        out["derived_from"] = tuple(_link(source) for source in fields["derived_from"])
    check_interval(out.get("valid_from"), out.get("valid_to"))
    return out


def _link(source: Any) -> Link:
    """A source as a caller names it: an id, a `Link`, or a cube."""
    if isinstance(source, Link):
        return source
    if hasattr(source, "id") and hasattr(source, "version"):
        return Link(parse_id(source.id, "derived_from"), source.version)
    return Link(parse_id(source, "derived_from"), 1)
