"""Reports of the log: who did what, and who was given or lost which right, as rows, JSON or CSV.

A principal sees of the log what it may read, and of rules and settings nothing where it may not share.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base.chain import Entry
from mnemos.base.clock import Moment, iso, to_micros
from mnemos.base.cube import Json, State, check_words
from mnemos.base.errors import Invalid, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.kernel.rights.governance import VERBS, Access, told
from mnemos.kernel.stream import log
from mnemos.store.base import Snapshot

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

KINDS = ("space", "add", "update", "state", "freeze", "unfreeze", "link", "stale", "permission", "setting", "forget")
"""What an entry of the log can tell of."""

OWNER = "(owner)"
"""Stands for whoever opened the store without a principal: the owner of its file, or a program of theirs."""

_WORDS = {
    "space": "made the space",
    "add": "remembered",
    "update": "corrected",
    "freeze": "froze",
    "unfreeze": "thawed",
    "link": "linked",
    "stale": "outdated",
    "permission": "changed rules",
    "setting": "changed a setting",
    "forget": "forgot",
}
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Act:
    """One entry of the log as a row. `at` is ISO 8601, `principal` `OWNER` where there was none, `what` a few words, `details` what else it says."""

    position: int
    at: str
    principal: str
    kind: str
    space: str | None
    cube: str | None
    version: int | None
    what: str
    details: Json


@dataclass(frozen=True, slots=True)
class Change:
    """One change of who may do what. `scope`: space, cube or role. `what`: a verb's rule ("acl.read", "deny.write"), another rule of a space
    ("read_only", "clearance", "owner", …), or a role's members. Lists of principals say who was `added` and who `removed`; other rules have
    only `before` and `after`."""

    position: int
    at: str
    principal: str
    scope: str
    space: str | None
    subject: str | None
    what: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    before: Any
    after: Any


def activity(
    memory: Mnemos,
    *,
    since: int | Moment | None = None,
    until: int | Moment | None = None,
    principals: Sequence[str] | None = None,
    spaces: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    cube: str | UUID | None = None,
    limit: int | None = None,
) -> list[Act]:
    """Who did what, oldest first: entries after position or from time `since`, up to position or before time `until`.

    `principals` (`OWNER` for the file's owner), `spaces`, `kinds` (of `KINDS`) and `cube` choose among them. Raises `Invalid`, `NotFound`.
    """
    wanted = _checked(kinds, "kinds", KINDS)
    actors = None if principals is None else set(check_words(principals, "principals"))
    out: list[Act] = []
    with memory.snapshot() as snapshot:
        names = {row.num: row.name for row in snapshot.spaces()}
        chosen = _space_numbers(memory, snapshot, spaces)
        first, last = _span(snapshot, since, until)
        entries = _entries(snapshot, first, last, cube)
        shown_to, settings, access = log.shown_to(memory, snapshot), {row.num: row.settings for row in snapshot.spaces()}, memory.access(snapshot)
        for entry in entries:
            actor = entry.actor or OWNER
            unwanted = (wanted is not None and entry.kind not in wanted) or (actors is not None and actor not in actors)
            if unwanted or (chosen is not None and entry.space not in chosen) or not shown_to(entry):
                continue
            out.append(_act(entry, names.get(entry.space), told(entry, access, settings.get(entry.space, {}))))
            if limit is not None and len(out) >= limit:
                break
    return out


def permission_changes(
    memory: Mnemos,
    *,
    since: int | Moment | None = None,
    until: int | Moment | None = None,
    spaces: Sequence[str] | None = None,
) -> list[Change]:
    """Every change of rules, oldest first: of spaces, of single memories, and of roles (those only where no space is named, and for the owner).

    What a rule was before is read from the log's beginning, so that `since` cuts only what is told. Raises `Invalid`, `NotFound`.
    """
    out: list[Change] = []
    with memory.snapshot() as snapshot:
        rows = {row.num: row for row in snapshot.spaces()}
        access = memory.access(snapshot)
        chosen = _space_numbers(memory, snapshot, spaces)
        first, last = _span(snapshot, since, until)
        shown_to = log.shown_to(memory, snapshot)
        before: dict[Any, Any] = {}
        for entry in snapshot.log(0):
            if entry.seq > last:
                break
            if entry.kind not in ("space", "permission", "setting"):
                continue
            scope, key, subject, after = _ruled(entry)
            was, before[key] = before.get(key), after
            row = rows.get(entry.space)
            if scope is None or entry.seq <= first or not shown_to(entry) or not _may_know(access, row.settings if row else None):
                continue
            if chosen is not None and entry.space not in chosen:
                continue
            name = row.name if row else None
            for what, old, new in _differences(scope, was, after):
                out.append(_change(entry, scope, name, subject, what, old, new))
    return out


def as_json(rows: Iterable[Act | Change]) -> str:
    """The rows as a JSON array."""
    return orjson.dumps([asdict(row) for row in rows]).decode()


def as_csv(rows: Sequence[Act | Change]) -> str:
    """The rows as CSV (RFC 4180) with a header; lists and objects as JSON. No cell begins like a formula, which a spreadsheet would run."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    if rows:
        writer.writerow([field.name for field in fields(rows[0])])
    for row in rows:
        writer.writerow([_cell(value) for value in asdict(row).values()])
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULAS) else text


# ---- reading the log --------------------------------------------------------------------------------------------------


def _checked(given: Sequence[str] | None, name: str, known: Sequence[str]) -> set[str] | None:
    if given is None:
        return None
    words = check_words(given, name)
    if unknown := [word for word in words if word not in known]:
        raise Invalid(f"{name}: {shown(unknown[0])} is none of {', '.join(known)}")
    return set(words)


def _space_numbers(memory: Mnemos, snapshot: Snapshot, spaces: Sequence[str] | None) -> set[int] | None:
    if spaces is None:
        return None
    access = memory.access(snapshot)
    known = {row.name: row.num for row in snapshot.spaces() if access.may("read", row.settings)}
    for name in check_words(spaces, "spaces"):
        if name not in known:
            raise NotFound(f"there is no space {name!r} that you may read")
    return {known[name] for name in spaces}


def _span(snapshot: Snapshot, since: int | Moment | None, until: int | Moment | None) -> tuple[int, int]:
    """(position before the first entry, position of the last)."""

    def position(value: int | Moment, name: str) -> int:
        if isinstance(value, int):
            if isinstance(value, bool) or value < 0:
                raise Invalid(f"{name}: expected a position of the log, 0 or more, or a time")
            return min(value, snapshot.position)
        micros = to_micros(value, name)
        assert micros is not None
        return snapshot.position_at(micros - 1)

    return 0 if since is None else position(since, "since"), snapshot.position if until is None else position(until, "until")


def _entries(snapshot: Snapshot, first: int, last: int, cube: str | UUID | None) -> Iterator[Entry]:
    found: Iterable[Entry] = snapshot.log(first) if cube is None else snapshot.entries_of(parse_id(cube, "cube"))
    return (entry for entry in found if first < entry.seq <= last)


def _act(entry: Entry, space: str | None, body: Json) -> Act:
    details = {name: State(value).word if entry.kind == "state" and name in ("from", "to") else value for name, value in body.items()}
    what = str(details["to"]) if entry.kind == "state" else _WORDS.get(entry.kind, entry.kind)
    cube = str(entry.cube) if entry.cube is not None else None
    return Act(entry.seq, iso(entry.at) or "", entry.actor or OWNER, entry.kind, space, cube, entry.version, what, details)


# ---- rules ------------------------------------------------------------------------------------------------------------


def _may_know(access: Access, settings: Json | None) -> bool:
    """Whether rules may be told: those of the store to its owner, those of a space to who may share it."""
    return access.principal is None if settings is None else access.may("share", {**settings, "read_only": False})


def _ruled(entry: Entry) -> tuple[str | None, Any, str | None, Any]:
    """(scope, what the rules are kept under, whose they are, the rules) that an entry sets; no scope where it sets none."""
    body = entry.body_json()
    if entry.cube is not None:
        return "cube", entry.cube, str(entry.cube), {"acl": body.get("acl")}
    if entry.kind == "setting":
        name = str(body.get("name"))
        role = name.removeprefix("role/") if name.startswith("role/") else None
        return ("role" if role is not None else None), ("setting", name), role, {"members": body.get("value")}
    return "space", entry.space, None, body.get("settings") or {}


_UNRULY = ("strategy", "lifecycle")


def _differences(scope: str, was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """(rule, before, after) of each rule that changed."""
    old, new = was or {}, now or {}
    for name in sorted({*old, *new} - set(_UNRULY)):
        a, b = old.get(name), new.get(name)
        if name in ("acl", "deny") and scope in ("space", "cube"):
            listed = isinstance(a or {}, Mapping) and isinstance(b or {}, Mapping)
            for verb in VERBS if listed else ():
                if (x := (a or {}).get(verb)) != (y := (b or {}).get(verb)):
                    yield f"{name}.{verb}", x, y
        elif a != b:
            yield name, a, b


def _change(entry: Entry, scope: str, space: str | None, subject: str | None, what: str, old: Any, new: Any) -> Change:
    lists = all(value is None or isinstance(value, list) for value in (old, new))
    added = tuple(name for name in new or () if name not in (old or ())) if lists else ()
    removed = tuple(name for name in old or () if name not in (new or ())) if lists else ()
    return Change(entry.seq, iso(entry.at) or "", entry.actor or OWNER, scope, space, subject, what, added, removed, old, new)
