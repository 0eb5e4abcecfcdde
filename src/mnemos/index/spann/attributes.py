"""What vectors are marked with, so that a search can be told which it may give: a set of words each, and a time.

Most vectors share their set with many others. So each distinct set is kept once, and a slot has the number of its set: a filter is decided for each
set, and then looked up for each slot. A word is kept as a hash of 64 bits, never as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.spann.tables import Table

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Words = Sequence[Iterable[str]]
"""The words of each of several vectors."""

UNTIMED = np.iinfo(np.int64).min
"""The time of a vector that has none: it is in no range of times."""
_SPARE = 1024
"""Sets that no vector has any more are looked for when there are twice as many sets as were in use the last time, and so many more."""
_KEY_BYTES = 160
"""What finding a set takes in memory beside the hashes of its words, about."""
_PLAIN = {"attributes": (np.uint32, None), "set_ends": (np.int64, None), "set_words": (np.uint64, None)}


@dataclass(frozen=True)
class Where:
    """Which vectors a search may give: those with one of the words `any_of` or more (where it is empty: whatever they have), with `all_of` these
    words, with `none_of` those, and a time from `since` on and before `until`. Words: any iterable of them, kept as a set."""

    any_of: Iterable[str] = ()
    all_of: Iterable[str] = ()
    none_of: Iterable[str] = ()
    since: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        for name in ("any_of", "all_of", "none_of"):
            object.__setattr__(self, name, frozenset(_words(getattr(self, name), f"where: {name}")))
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise Invalid(f"where: {name} is {value!r}, must be a whole number, or None")
            object.__setattr__(self, name, int(value))
        if self.since is not None and self.until is not None and self.since > self.until:
            raise Invalid(f"where: since {self.since} comes after until {self.until}; give a range that begins before it ends")


Wheres = tuple[Where, ...]
"""Of which all have to hold."""


class Attributes:
    """The sets and times of slots, as tables: none of them before any vector has a word or a time. Whoever calls holds the lock of the index."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables: dict[str, Table] = {name: tables[name] for name in (*_PLAIN, "times") if name in tables}
        self.changes = 0
        """Grows whenever a slot gets other words or another time."""
        self._numbers: dict[bytes, int] = {}
        self._key_bytes = 0
        self._due = _SPARE
        if "attributes" in self._tables:
            ends, words = self._tables["set_ends"].view().tolist(), self._tables["set_words"].view()
            self._numbers = {words[start:end].tobytes(): number for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))}
            self._key_bytes = sum(_KEY_BYTES + len(key) for key in self._numbers)

    @property
    def nbytes(self) -> int:
        return sum(table.nbytes for table in self._tables.values()) + self._key_bytes

    def tables(self) -> dict[str, Table]:
        return self._tables

    def set(self, slots: Numbers, words: Words | None, times: Numbers | None) -> None:
        """Mark `slots` (m,) with the words and times (m,) of their vectors; None for none at all."""
        if not len(slots):
            return
        if words is not None and "attributes" not in self._tables:
            self._tables |= {name: Table(dtype, width) for name, (dtype, width) in _PLAIN.items()}
            self._number(b"")
        if times is not None and "times" not in self._tables:
            self._tables["times"] = Table(np.int64)
        if "attributes" in self._tables:
            keys = [b""] * len(slots) if words is None else [_key(each) for each in words]
            self._column("attributes", slots, np.array([self._number(key) for key in keys], dtype=np.uint32), 0)
        if "times" in self._tables:
            self._column("times", slots, np.full(len(slots), UNTIMED) if times is None else times, UNTIMED)
        self.changes += 1

    def _column(self, name: str, slots: Numbers, values: NDArray[Any], empty: int) -> None:
        table = self._tables[name]
        known, wanted = len(table), int(slots.max()) + 1
        if wanted > known:
            table.resize(wanted)
            table.set(np.arange(known, wanted), empty)
        table.set(slots, values)

    def _number(self, key: bytes) -> int:
        """The number of a set, known by its hashes."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            self._key_bytes += _KEY_BYTES + len(key)
            words, ends = self._tables["set_words"], self._tables["set_ends"]
            hashes = np.frombuffer(key, dtype=np.uint64)
            start = len(words)
            words.resize(start + len(hashes))
            words.set(np.arange(start, len(words)), hashes)
            ends.resize(number + 1)
            ends.set(number, len(words))
        return number

    def compact_if_due(self, live: Callable[[], Numbers]) -> None:
        """`compact`, where there may be many sets that no slot has."""
        if len(self._numbers) > self._due:
            self.compact(live())

    def compact(self, live: Numbers) -> None:
        """Let go of sets that no slot of `live` has."""
        if "attributes" not in self._tables:
            return
        column = self._tables["attributes"]
        held = live[live < len(column)]
        kept = np.unique(np.concatenate([np.zeros(1, dtype=np.uint32), column.view()[held]]))
        self._due = 2 * len(kept) + _SPARE
        if len(kept) == len(self._numbers):
            return
        keys = list(self._numbers)
        renumbered = np.zeros(len(keys), dtype=np.uint32)
        renumbered[kept] = np.arange(len(kept))
        values = np.zeros(len(column), dtype=np.uint32)
        values[held] = renumbered[column.view()[held]]
        self._numbers, self._key_bytes = {}, 0
        self._tables |= {name: Table(*_PLAIN[name]) for name in ("set_ends", "set_words")}
        for number in kept.tolist():
            self._number(keys[number])
        column.set(np.arange(len(column)), values)
        self.changes += 1

    def passing(self, wheres: Wheres, slots: NDArray[Any]) -> Mask:
        """Which of `slots` (m,) fulfil all of `wheres`."""
        mask = np.ones(len(slots), dtype=bool)
        for where in wheres:
            if where.any_of or where.all_of or where.none_of:
                mask &= _taken(self._sets(where), _taken(self._view("attributes"), slots, 0), not where.any_of and not where.all_of)
            if where.since is not None or where.until is not None:
                times = _taken(self._view("times"), slots, UNTIMED)
                mask &= times != UNTIMED
                if where.since is not None:
                    mask &= times >= where.since
                if where.until is not None:
                    mask &= times < where.until
        return mask

    def of(self, slots: Numbers) -> tuple[NDArray[np.uint32], Numbers]:
        """The numbers of the sets of `slots` (m,), and their times: for those who check them."""
        return _taken(self._view("attributes"), slots, 0), _taken(self._view("times"), slots, UNTIMED)

    def problems(self) -> list[str]:
        """What is wrong with the sets, in words."""
        column = self._view("attributes")
        beyond = int(np.count_nonzero(column >= max(len(self._numbers), 1)))
        return [f"{beyond} slots have attributes that there are not"] if beyond else []

    def _view(self, name: str) -> NDArray[Any]:
        table = self._tables.get(name)
        return np.zeros(0, dtype=np.uint32 if name == "attributes" else np.int64) if table is None else table.view()

    def _sets(self, where: Where) -> Mask:
        """Which sets fulfil what `where` says of words."""
        if "set_ends" not in self._tables:
            return np.zeros(0, dtype=bool)
        ends, words = self._tables["set_ends"].view(), self._tables["set_words"].view()
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])

        def found(wanted: Iterable[str]) -> Numbers:
            """How many of these words each set has."""
            hits = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.isin(words, _hashes(wanted)))])
            return np.asarray(hits[ends] - hits[starts])

        mask = np.ones(len(ends), dtype=bool)
        if where.any_of:
            mask &= found(where.any_of) > 0
        if where.all_of:
            mask &= found(where.all_of) == len(_hashes(where.all_of))
        if where.none_of:
            mask &= found(where.none_of) == 0
        return mask


class Finding(Protocol):
    """A map of ids to slots."""

    def find(self, ids: Numbers) -> Numbers: ...


class Marked(Protocol):
    """Slots that have attributes."""

    @property
    def map(self) -> Finding: ...
    @property
    def attributes(self) -> Attributes: ...
    def live(self) -> Numbers: ...


def checked_marks(words: Words | None, times: Numbers | None, count: int) -> tuple[list[list[str]] | None, Numbers | None]:
    """Words and times of `count` vectors, as `Attributes.set` takes them. Raises `Invalid`."""
    listed = None
    if words is not None:
        if isinstance(words, str) or len(words) != count:
            raise Invalid(f"attributes: {len(words)} for {count} vectors; give an iterable of words for each, empty for one that has none")
        listed = [_words(each, f"attributes of vector {row}") for row, each in enumerate(words)]
    if times is not None:
        values = np.asarray(times)
        if values.shape != (count,) or (values.dtype.kind not in "iu" and count):
            raise Invalid(f"times: have shape {values.shape} and type {values.dtype}, must be ({count},) whole numbers")
        times = values.astype(np.int64)
    return listed, times


@contextmanager
def marking(slots: Marked, ids: Numbers, words: Words | None, times: Numbers | None) -> Iterator[None]:
    """Mark those of `ids` (m,) with their words and times that have a new slot after what is done inside, though it may fail halfway. Whoever calls
    holds the lock meanwhile."""
    before = slots.map.find(ids)
    try:
        yield
    finally:
        after = slots.map.find(ids)
        new = np.flatnonzero((after >= 0) & (after != before))
        some = None if words is None else [words[row] for row in new.tolist()]
        slots.attributes.set(after[new], some, None if times is None else times[new])
        slots.attributes.compact_if_due(slots.live)


def _words(words: Iterable[str], what: str) -> list[str]:
    """Raises `Invalid` for what is no iterable of words."""
    listed = None if isinstance(words, str) or not isinstance(words, Iterable) else list(words)
    if listed is None or not all(isinstance(word, str) for word in listed):
        raise Invalid(f"{what}: are {words!r}, must be a set of words, or another iterable of them")
    return listed


def _hashes(words: Iterable[str]) -> NDArray[np.uint64]:
    """The hashes of some words, each once, ascending."""
    hashes = [blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest() for word in words]
    return np.unique(np.frombuffer(b"".join(hashes), dtype=np.uint64))


def _key(words: Iterable[str]) -> bytes:
    return _hashes(words).tobytes()


def _taken(column: NDArray[Any], places: NDArray[Any], beyond: Any) -> NDArray[Any]:
    """`column[places]`, `beyond` where a place is behind its end."""
    if not len(places) or int(places.max()) < len(column):
        taken: NDArray[Any] = column[places]
        return taken
    inside = places < len(column)
    if not len(column):
        return np.full(len(places), beyond, dtype=column.dtype)
    return np.where(inside, column[np.where(inside, places, 0)], beyond).astype(column.dtype, copy=False)
