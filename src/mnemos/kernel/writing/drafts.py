"""From the keywords of a call to the content of a version, each checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from mnemos.base.clock import Clock, to_micros
from mnemos.base.cube import EMPTY, Content, Link, MemCube, check_interval, check_metadata, check_text, check_word, check_words
from mnemos.base.errors import Invalid, shown
from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF

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
        unknown = next(name for name in fields if name not in _FIELDS)
        raise Invalid(f"add: unknown keyword {shown(unknown)}; known are {', '.join(FIELDS)}")
    words = check_text(text)
    if not words.strip():
        raise Invalid("text: is empty; there is nothing to remember")
    given = fields.get("id")
    created = fields.get("created_at")
    return Content(
        id=parse_id(given) if given is not None else new_id(),
        version=1,
        created_at=_first(to_micros(created, "created_at"), now),
        text=words,
        **_checked(fields),
    )


def drafted(records: Iterable[Mapping[str, Any]], clock: Clock, new_id: Callable[[], UUID]) -> Iterator[Content]:
    """The contents of many records. Raises `Invalid`, naming the record's number (from 1)."""
    if isinstance(records, (str, bytes, Mapping)) or not isinstance(records, Iterable):
        raise Invalid(f"records: expected a list of dicts, each with a text, not {type(records).__name__}")
    for number, record in enumerate(records, 1):
        try:
            if not isinstance(record, Mapping):
                raise Invalid(f"expected a dict with a text, not {type(record).__name__}")
            if "text" not in record:
                raise Invalid("has no text")
            yield draft(record["text"], {name: value for name, value in record.items() if name != "text"}, clock(), new_id)
        except Invalid as error:
            raise Invalid(f"record {number}: {error}") from None


def revised(content: Content, text: str, fields: Mapping[str, Any]) -> Content:
    """The next version of `content`, whose text was `text`. Raises `Invalid`, naming the keyword."""
    changes = _checked(fields)
    if "text" in fields:
        text = check_text(fields["text"])
        if not text.strip():
            raise Invalid("text: is empty; to remove a memory, forget it")
    revision = replace(content, version=content.version + 1, text=text, parents=(content.version,), **changes)
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
        if not isinstance(out["origin"], str) or out["origin"] not in ORIGINS:
            raise Invalid(f"origin: {shown(out['origin'])} is none of {', '.join(ORIGINS)}")
    if "priority" in fields:
        priority = fields["priority"]
        number = isinstance(priority, (int, float)) and not isinstance(priority, bool)
        if priority is not None and not (number and abs(priority) <= sys.float_info.max):
            raise Invalid("priority: expected a finite number")
        out["priority"] = None if priority is None else float(priority)
    if "metadata" in fields:
        out["metadata"] = check_metadata(fields["metadata"]) or EMPTY
    if fields.get("derived_from") is not None:
        given = fields["derived_from"]
        if not isinstance(given, (list, tuple, set, frozenset)):
            raise Invalid(f"derived_from: expected a list of cube ids, not {type(given).__name__}")
        out["derived_from"] = tuple(dict.fromkeys(_link(source) for source in given))
    check_interval(out.get("valid_from"), out.get("valid_to"))
    return out


def _link(source: Any) -> Link:
    """A source as a caller names it: an id (version 0: the one that is current when this is written), a `Link`, or a cube."""
    if not isinstance(source, (Link, MemCube)):
        return Link(parse_id(source, "derived_from"), 0)
    if isinstance(source, MemCube):
        source = Link(parse_id(source.id), source.version)
    version, relation = source.version, check_word(source.relation, "derived_from")
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version < 2**31:
        raise Invalid(f"derived_from: {shown(version)} is no version of a cube")
    # Only the text tier makes parts of documents: a caller who passes on a part's own links means that he derived something from it.
    return Link(parse_id(source.id, "derived_from"), version, "derived_from" if relation in (None, "", PART_OF) else relation)


def _first(*values: int | None) -> int:
    """The first of `values` that is given; zero counts."""
    return next(value for value in values if value is not None)
