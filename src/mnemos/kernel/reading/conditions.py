"""What callers of a space ask for, checked: which memories, how many, from where on, as of when."""

from __future__ import annotations

from typing import Any

from mnemos.base import predicate
from mnemos.base.clock import Moment, to_micros
from mnemos.base.cube import State, check_text, check_words
from mnemos.base.errors import Invalid, shown
from mnemos.store.base import Filter, Snapshot


def conditions(
    *,
    types: Any = None,
    tags: Any = None,
    author: Any = None,
    source: Any = None,
    since: Any = None,
    until: Any = None,
    valid_at: Any = None,
    filter: Any = None,
    states: Any = None,
    stale: Any = None,
    parts: bool = False,
) -> Filter:
    """The conditions of a call, checked. Raises `Invalid`, naming the keyword."""
    if filter is not None:
        filter = predicate.checked(filter)
    for name, value in (("author", author), ("source", source)):
        if value is not None:
            check_text(value, name)
    if stale is not None and not isinstance(stale, bool):
        raise Invalid(f"stale: expected True, False or None, not {shown(stale)}")
    known = {state.word: state for state in State}
    words = None if states is None else check_words(states, "states")
    for word in words or ():
        if word not in known:
            raise Invalid(f"states: unknown state {shown(word)}; known are {', '.join(known)}")
    return Filter(
        types=None if types is None else check_words(types, "types"),
        tags=check_words(tags, "tags") or None,
        author=author,
        source=source,
        since=to_micros(since, "since"),
        until=to_micros(until, "until"),
        valid_at=to_micros(valid_at, "valid_at"),
        where=filter or None,
        states=None if words is None else tuple(known[word] for word in words),
        parts=parts,
        stale=stale,
    )


def position_of(snapshot: Snapshot, when: int | Moment, name: str) -> int:
    """The log position that `when` (a position, or a time), given as the keyword `name`, stands for. Raises `Invalid`."""
    if isinstance(when, bool):
        raise Invalid(f"{name}: expected a time or a log position, not a truth value")
    if isinstance(when, int):
        if not 0 <= when <= snapshot.position:
            raise Invalid(f"{name}: position {shown(when)} is not in the log, which has positions 0 to {snapshot.position}")
        return when
    micros = to_micros(when, name)
    if micros is None:
        raise Invalid(f"{name}: expected a time or a log position, not None")
    return snapshot.position_at(micros)


def count(value: object, name: str) -> int:
    """A positive number; what is larger than anything can be is that."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"{name}: expected a whole number, not {type(value).__name__}")
    if value < 1:
        raise Invalid(f"{name}: {shown(value)} asks for nothing; give 1 or more")
    return min(value, 2**31)


def cursor_position(value: object) -> int:
    """The position that a cursor of `list` stands for."""
    if value is None:
        return 0
    try:
        position = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else -1
    except ValueError:
        position = -1
    if not 0 <= position < 2**63:
        raise Invalid(f"cursor: {shown(value)} is none that `list` gave")
    return position


def question_text(query: object) -> str:
    """A question that asks something."""
    text = check_text(query, "query")
    if not text.strip():
        raise Invalid("query: is empty; say what to look for")
    return text
