"""The unit of memory: the MemCube, payload and metadata, immutable by version (MemOS, arXiv 2507.03724, section 4)."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from mnemos.base.clock import from_micros, iso, optional_datetime, to_micros
from mnemos.base.errors import Invalid, shown
from mnemos.base.ids import parse_id

Json = Mapping[str, Any]
EMPTY: Json = {}


class State(enum.IntEnum):
    """Where a cube stands in its life. `frozen` lies over it and forbids every change."""

    GENERATED = 0
    ACTIVATED = 1
    MERGED = 2
    ARCHIVED = 3
    EXPIRED = 4
    QUARANTINED = 5

    @property
    def word(self) -> str:
        return self.name.lower()

    def may_become(self, other: State) -> bool:
        """Whether the life of a cube can go on from this state in `other`."""
        return other in _NEXT[self]


_NEXT = {
    State.GENERATED: {State.ACTIVATED, State.MERGED, State.ARCHIVED, State.EXPIRED, State.QUARANTINED},
    State.ACTIVATED: {State.MERGED, State.ARCHIVED, State.EXPIRED, State.QUARANTINED},
    State.MERGED: {State.ACTIVATED, State.ARCHIVED, State.EXPIRED, State.QUARANTINED},
    State.ARCHIVED: {State.ACTIVATED, State.MERGED, State.EXPIRED, State.QUARANTINED},
    State.EXPIRED: {State.GENERATED},  # by an update that gives it a longer life, and by nothing else
    State.QUARANTINED: {State.GENERATED, State.ACTIVATED, State.MERGED, State.ARCHIVED, State.EXPIRED},
}
"""The life of a cube: generated → activated (first use) → merged (absorbed by another) → archived (idle) → expired, back to activated on
re-reference, and aside into quarantine from wherever it is (MemOS, arXiv 2507.03724, section 5.4; quarantine is ours)."""


@dataclass(frozen=True, slots=True)
class Link:
    """One edge of the lineage: this cube was made from version `version` of cube `id`."""

    id: UUID
    version: int
    relation: str = "derived_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a version of a cube says: everything that its digest covers. Times are microseconds since 1970, UTC."""

    id: UUID
    version: int
    created_at: int
    text: str | None = None
    type: str = "fact"
    kind: str = "text"
    blob: str | None = None
    author: str | None = None
    source: str | None = None
    origin: str = "user"
    event_at: int | None = None
    valid_from: int | None = None
    valid_to: int | None = None
    expires_at: int | None = None
    tags: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    place: str | None = None
    sensitivity: str | None = None
    priority: float | None = None
    fingerprint: str | None = None
    parents: tuple[int, ...] = ()
    derived_from: tuple[Link, ...] = ()
    metadata: Json = field(default_factory=dict)

    def canonical(self) -> bytes:
        """The one byte string that stands for this content: JSON, keys sorted, fields that hold nothing left out."""
        return orjson.dumps(self.as_json(), option=orjson.OPT_SORT_KEYS)

    def digest(self, salt: bytes) -> bytes:
        """SHA-256 of the salt and the canonical bytes: it binds to the content, and without the salt says nothing of it."""
        return hashlib.sha256(salt + self.canonical()).digest()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; microseconds stay integers, so that nothing is rounded."""
        out: dict[str, Any] = {"id": str(self.id), "version": self.version, "created_at": self.created_at, "type": self.type}
        if self.kind != "text":
            out["kind"] = self.kind
        if self.origin != "user":
            out["origin"] = self.origin
        for name in _PLAIN_OPTIONAL:
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        if self.tags:
            out["tags"] = list(self.tags)
        if self.entities:
            out["entities"] = list(self.entities)
        if self.parents:
            out["parents"] = list(self.parents)
        if self.derived_from:
            out["derived_from"] = [[str(link.id), link.version, link.relation] for link in self.derived_from]
        if self.metadata:
            out["metadata"] = self.metadata
        return out

    @classmethod
    def from_json(cls, record: Json) -> Content:
        """The content that `as_json` described. Raises `Invalid` for an unknown or ill-typed field."""
        known = {f.name for f in fields(cls)}
        unknown = set(record) - known
        if unknown:
            raise Invalid(f"cube record: unknown field {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}")
        values = dict(record)
        try:
            values["id"] = parse_id(values["id"])
            for name in ("tags", "entities", "parents"):
                if name in values:
                    values[name] = tuple(values[name])
            if "derived_from" in values:
                values["derived_from"] = tuple(Link(parse_id(i), int(v), str(r)) for i, v, r in values["derived_from"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"cube record: {error}; give at least id, version and created_at as an export writes them") from None


_PLAIN_OPTIONAL = (
    "text",
    "blob",
    "author",
    "source",
    "event_at",
    "valid_from",
    "valid_to",
    "expires_at",
    "place",
    "sensitivity",
    "priority",
    "fingerprint",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemCube:
    """One version of one memory, as a caller sees it. Times are datetimes in UTC.

    `position` is where in the store's log this version was written; `digest` (hex) is what that entry commits to; `stale` says that something
    that this version was derived from has changed since.
    """

    id: str
    space: str
    version: int
    kind: str
    type: str
    state: str
    frozen: bool
    stale: bool
    text: str
    blob: str | None
    author: str | None
    source: str | None
    origin: str
    created_at: datetime
    updated_at: datetime
    event_at: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None
    expires_at: datetime | None
    tags: tuple[str, ...]
    entities: tuple[str, ...]
    place: str | None
    sensitivity: str | None
    priority: float | None
    fingerprint: str | None
    parents: tuple[int, ...]
    derived_from: tuple[Link, ...]
    metadata: Json
    position: int
    digest: str

    def as_json(self) -> dict[str, Any]:
        """The cube as plain JSON values, times in ISO 8601; fields that hold nothing are left out."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or value in ((), {}):
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            elif f.name == "derived_from":
                value = [{"id": str(link.id), "version": link.version, "relation": link.relation} for link in value]
            elif isinstance(value, tuple):
                value = list(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            out[f.name] = value
        return out


def memcube(
    content: Content, *, space: str, state: State, frozen: bool, stale: bool, updated_at: int, position: int, digest: bytes, text: str
) -> MemCube:
    """The caller's view of a stored version."""
    created, updated = from_micros(content.created_at), from_micros(updated_at)
    return MemCube(
        id=str(content.id),
        space=space,
        version=content.version,
        kind=content.kind,
        type=content.type,
        state=state.word,
        frozen=frozen,
        stale=stale,
        text=text,
        blob=content.blob,
        author=content.author,
        source=content.source,
        origin=content.origin,
        created_at=created,
        updated_at=updated,
        event_at=optional_datetime(content.event_at),
        valid_from=optional_datetime(content.valid_from),
        valid_to=optional_datetime(content.valid_to),
        expires_at=optional_datetime(content.expires_at),
        tags=content.tags,
        entities=content.entities,
        place=content.place,
        sensitivity=content.sensitivity,
        priority=content.priority,
        fingerprint=content.fingerprint,
        parents=content.parents,
        derived_from=content.derived_from,
        metadata=dict(content.metadata),
        position=position,
        digest=digest.hex(),
    )


# ---- checks on what callers give ------------------------------------------------------------------------------------

MAX_TEXT_BYTES = 64 * 2**20
MAX_WORD = 4096
_MAX_DEPTH = 32


def check_text(text: object, field_name: str = "text") -> str:
    """`text` itself where it can be stored. Raises `Invalid` for another type, a lone surrogate, or more than 64 MiB."""
    if not isinstance(text, str):
        raise Invalid(f"{field_name}: expected text, not {type(text).__name__}")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(
            f"{field_name}: a lone surrogate (half of a character) stands at position {error.start}; "
            "decode the text with errors='replace' before storing it"
        ) from None
    if size > MAX_TEXT_BYTES:
        raise Invalid(f"{field_name}: {size:,} bytes, at most {MAX_TEXT_BYTES:,} are accepted; split it or store it as a file")
    return text


def check_word(value: object, field_name: str) -> str | None:
    """A short text such as an author, a source or a tag; None stays None."""
    if value is None:
        return None
    word = check_text(value, field_name)
    if len(word) > MAX_WORD:
        raise Invalid(f"{field_name}: {len(word):,} characters, at most {MAX_WORD:,} are accepted")
    return word


def check_words(values: object, field_name: str) -> tuple[str, ...]:
    """A list of short texts without repetition, in the order given."""
    if values is None:
        return ()
    if isinstance(values, str) or not isinstance(values, (list, tuple, set, frozenset)):
        raise Invalid(f"{field_name}: expected a list of texts, not {type(values).__name__}")
    words = []
    for value in values:
        word = check_word(value, field_name)
        if not word:
            raise Invalid(f"{field_name}: holds an empty text")
        words.append(word)
    return tuple(dict.fromkeys(sorted(words) if isinstance(values, (set, frozenset)) else words))


def check_metadata(value: object) -> Json:
    """A JSON object, as a copy of plain dicts, lists and scalars. Raises `Invalid`, naming the key, for what JSON cannot hold."""
    if value is None:
        return EMPTY
    if not isinstance(value, Mapping):
        raise Invalid(f"metadata: expected a dict with text keys, not {type(value).__name__}")
    copy: Json = plain_json(value, "metadata") if value else EMPTY
    return copy


def plain_json(value: object, path: str, depth: int = 0) -> Any:
    """A copy of `value` in the types that JSON itself has, so that it reads back equal. Raises `Invalid`, naming the place, where it has none."""
    if depth > _MAX_DEPTH:
        raise Invalid(f"{path[:200]}: nested more than {_MAX_DEPTH} deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(check_text(value, path))
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Invalid(f"{path}: {shown(value)} does not fit in 64 bits; give it as text")
        return int(value)
    if isinstance(value, float):
        if not abs(value) < float("inf"):
            raise Invalid(f"{path}: {float(value)} is no JSON number")
        return float(value)
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise Invalid(f"{path}: keys are texts, not {type(key).__name__}")
            name = str.__str__(check_text(key, path))
            out[name] = plain_json(item, f"{path}.{name[:60]}", depth + 1)
        return out
    if isinstance(value, (list, tuple)):
        return [plain_json(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise Invalid(f"{path}: {type(value).__name__} is no JSON value; use texts, numbers, lists and dicts")


def check_interval(start: int | None, end: int | None) -> None:
    """Raises `Invalid` where a validity ends before it begins."""
    if start is not None and end is not None and end < start:
        raise Invalid(f"valid_to ({iso(end)}) lies before valid_from ({iso(start)})")


def check_time(value: Any, field_name: str) -> int | None:
    """Microseconds since 1970 of a time that a caller gave."""
    return to_micros(value, field_name)
