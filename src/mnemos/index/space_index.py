"""All that a search of one space reads: columns to filter by, postings, vectors. Derived from the store, held in memory, caught up at each use.

Rows are the searchable versions of the space, in the order in which they were written; a row's number never changes. Superseded versions
stay as rows (that is how a search can look at the past); forgotten ones are never visible again.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.cube import EMPTY, Json, State
from mnemos.base.predicate import matches
from mnemos.index.codes import Codes
from mnemos.index.growing import Growing
from mnemos.index.lexical import LexicalIndex
from mnemos.index.space_source import Beyond, Source
from mnemos.index.space_vectors import SpaceVectors
from mnemos.index.vectors import Mask, Rows

NEVER = np.iinfo(np.int64).max
UNKNOWN = np.iinfo(np.int64).min
_FORGOTTEN = 0
_VISIBLE = (State.GENERATED, State.ACTIVATED)
_CACHED_MASKS = 32

Attached = TypeVar("Attached")


@runtime_checkable
class Forgetful(Protocol):
    """What can let go of rows that are forgotten, so that it need not be made anew."""

    def forget_rows(self, rows: Sequence[int]) -> None: ...


class Omitted(NamedTuple):
    """Log entries that a search looks past, as if they were not there: those after `begin`, up to `end`. `states` are those that the cubes led to
    another state by them had before."""

    begin: int
    end: int
    states: Mapping[UUID, State]


def rules_text(acl: Json | None) -> str | None:
    """Rules of a cube's own, as the store writes them."""
    return None if acl is None else orjson.dumps(acl).decode()


def _lets_read(rules: str, names: Iterable[str]) -> bool:
    """Whether rules of a cube's own, as the store writes them, let one of `names` read."""
    readers = orjson.loads(rules).get("read")
    return readers is None or not set(names).isdisjoint(readers)


class SpaceIndex:
    """The rows of one space. Hold `lock` while reading more than one of its parts; `catch_up` first."""

    def __init__(self, space: int, beyond: Beyond | None = None) -> None:
        self.space = space
        self.lock = threading.RLock()
        self.position = 0
        self.seq = Growing(np.int64)
        self.died = Growing(np.int64)
        self.state = Growing(np.int8)
        self.type = Growing(np.int32)
        self.author = Growing(np.int32)
        self.source = Growing(np.int32)
        self.thread = Growing(np.int32)
        self.flags = Growing(np.int64)
        self.all_flags = 0
        """Every flag that any row has."""
        self.first = Growing(np.int64)  # the row of the first version of a row's memory: where it stands among the others
        self.in_order = True  # every row is its own first one: nothing was ever changed
        self.whole = Growing(np.int32)  # what a row is a part of; -1 for a row that is a whole memory
        self.created_at = Growing(np.int64)
        self.event_at = Growing(np.int64)
        self.valid_from = Growing(np.int64)
        self.valid_to = Growing(np.int64)
        self.expires_at = Growing(np.int64)
        self.stale = Growing(np.int64)  # the position from which on a row is stale
        self.acl = Growing(np.int32)  # the rules of a row's own; -1 for a row that has none
        self.label = Growing(np.int32)  # how sensitive a row is said to be; -1 for a row that says nothing
        self.moments = Growing(np.int64, 3)  # (row, start, end) of each time that a text speaks of
        self.types, self.authors, self.sources, self.threads, self.wholes, self.acls, self.labels = (Codes() for _ in range(7))
        self.lexical = LexicalIndex()
        self.vectors = SpaceVectors(space, self.seq, beyond)
        self._rows_of: dict[bytes, list[int]] = {}
        self._tags: dict[str, array[int]] = {}
        self._metadata: list[str | None] = []
        self._metadata_masks: dict[bytes, NDArray[np.bool_]] = {}
        self._readable: dict[tuple[str, ...], Mask] = {}  # names → which rows their own rules let them read, of those so far
        self._labelled: dict[tuple[str, ...], Mask] = {}  # labels → which rows carry one of them, or none
        self._attached: dict[str, Any] = {}
        self._cubes: list[bytes] = []

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def forgotten(self) -> int:
        """How many rows are still held in memory of memories that are gone."""
        return len(self._gone())

    def _gone(self) -> Rows:
        return np.flatnonzero(self.died.view() == _FORGOTTEN)

    @property
    def nbytes(self) -> int:
        """Bytes held by the large parts."""
        columns = sum(part.view().nbytes for part in vars(self).values() if isinstance(part, Growing))
        return columns + self.lexical.nbytes + self.vectors.nbytes

    # -- following the log --
    def catch_up(self, source: Source) -> None:
        """Bring every part to `source.position`."""
        if source.position > self.position:
            since = self.position
            if since:
                self._apply_changes(source.index_changes(self.space, since))
            self._append(list(source.index_rows(self.space, since)))
            self.position = source.position
        self.vectors.catch_up(source, self._gone)

    def _apply_changes(self, entries: Iterable[Entry]) -> None:
        died, state, stale, acl = self.died.view(), self.state.view(), self.stale.view(), self.acl.view()
        gone: list[int] = []
        for entry in entries:
            rows = self._rows_of.get(entry.cube.bytes) if entry.cube else None
            if not rows:
                continue
            if entry.kind == "update":
                died[rows[-1]] = min(died[rows[-1]], entry.seq)  # a version in between may have had no row: a document has none
            elif entry.kind == "state":
                state[rows] = entry.body_json()["to"]
            elif entry.kind == "stale":
                stale[rows[-1]] = min(stale[rows[-1]], entry.seq)
            elif entry.kind == "permission":
                acl[rows] = self.acls.encode([rules_text(entry.body_json()["acl"])])[0]
                self._readable.clear()
            elif entry.kind == "forget":
                assert entry.cube is not None
                died[rows] = _FORGOTTEN
                del self._rows_of[entry.cube.bytes]
                gone += rows
        if gone:  # what is attached may hold something of it, which is nobody's any more
            self._attached = {name: held for name, held in self._attached.items() if isinstance(held, Forgetful)}
            self.vectors.forget_rows(gone)
            for held in self._attached.values():
                held.forget_rows(gone)

    def _append(self, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        first = len(self)
        (
            seq, cube, died, state, types, author, source, created, event, start, end, expires, tags, thread, flags, moments, terms, whole,
            stale, acl, label,
        ) = zip(*rows, strict=True)  # fmt: skip
        self.seq.extend(seq)
        self.died.extend(died)
        self.state.extend(state)
        self.type.extend(self.types.encode(types))
        self.author.extend(self.authors.encode(author))
        self.source.extend(self.sources.encode(source))
        self.thread.extend(self.threads.encode(thread))
        self.flags.extend(flags)
        self.all_flags |= int(np.bitwise_or.reduce(self.flags.view()[first:]))
        self.whole.extend(self.wholes.encode(None if key is None else key.hex() for key in whole))
        self.created_at.extend(created)
        self.event_at.extend(event)
        self.valid_from.extend(start)
        self.valid_to.extend(end)
        self.expires_at.extend(expires)
        self.stale.extend(stale)
        self.acl.extend(self.acls.encode(acl))
        self.label.extend(self.labels.encode(label))
        self.lexical.append(terms)
        rows_of = self._rows_of
        self._cubes += cube
        begins = []
        for row, key in enumerate(cube, first):
            versions = rows_of.setdefault(key, [])
            versions.append(row)
            begins.append(versions[0])
        self.first.extend(begins)
        self.in_order = self.in_order and begins == list(range(first, first + len(begins)))
        for row, blob in enumerate(moments, first):
            if blob:
                pairs = np.frombuffer(blob, dtype="<i8").reshape(-1, 2)
                self.moments.extend(np.column_stack([np.full(len(pairs), row), pairs]))
        for row, words in enumerate(tags, first):
            if words:
                for tag in orjson.loads(words):
                    self._tags.setdefault(tag, array("q")).append(row)

    def rows_at(self, seqs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row numbers of log positions that are known to be rows."""
        return np.searchsorted(self.seq.view(), seqs)

    def has_row(self, seq: int) -> bool:
        """Whether the version at a log position has a row: it is searched itself."""
        at = int(np.searchsorted(self.seq.view(), seq))
        return at < len(self) and int(self.seq.view()[at]) == seq

    def rows_of(self, cube: UUID) -> list[int]:
        """The rows of a cube's versions, oldest first; empty where it has none."""
        return list(self._rows_of.get(cube.bytes, ()))

    def id_at(self, row: int) -> UUID:
        """The cube that a row is a version of."""
        return UUID(bytes=self._cubes[row])

    def attached(self, name: str, make: Callable[[], Attached]) -> Attached:
        """What a strategy holds in memory beside the rows, made at first use. It goes with the index, and, unless it is `Forgetful`, when anything is
        forgotten."""
        held: Attached | None = self._attached.get(name)
        if held is None:
            held = self._attached[name] = make()
        return held

    # -- who is visible --
    def visible(self, position: int, states: Mapping[UUID, State] | None = None, hidden: bool = False, omitted: Omitted | None = None) -> Mask:
        """Which rows a search sees when the log ends at `position`. `states` are states that differed then; `hidden` shows all states;
        `omitted` are entries to look past."""
        seq, died = self.seq.view(), self.died.view()
        mask: Mask = (seq <= position) & (died > position)
        if omitted is not None:
            mask = (seq <= position) & ((seq <= omitted.begin) | (seq > omitted.end))
            mask &= (died > position) | ((died > omitted.begin) & (died <= omitted.end))
            states = {**(states or {}), **omitted.states}
        if hidden:
            return mask
        state = self.state.view()
        if states:
            state = state.copy()
            for cube, then in states.items():
                for row in self._rows_of.get(cube.bytes, ()):
                    state[row] = then
        shown: Mask = (state == _VISIBLE[0]) | (state == _VISIBLE[1])
        return mask & shown

    def with_tags(self, tags: Iterable[str]) -> Mask:
        """Rows that carry all of `tags`."""
        mask = np.ones(len(self), dtype=bool)
        for tag in tags:
            one = np.zeros(len(self), dtype=bool)
            if tag in self._tags:
                one[np.array(self._tags[tag], dtype=np.int64)] = True
            mask &= one
        return mask

    def with_type(self, types: Iterable[str]) -> Mask:
        return np.isin(self.type.view(), [number for word in types if (number := self.types.number(word)) is not None])

    def with_author(self, author: str) -> Mask:
        number = self.authors.number(author)
        return np.asarray(self.author.view() == (-2 if number is None else number))

    def readable(self, names: Iterable[str]) -> Mask:
        """Rows whose own rules, where they say who reads, list one of `names`; read-only."""
        key = tuple(names)
        return self._extended(self._readable, key, self.acl, self.acls, lambda rules: _lets_read(rules, key))

    def with_label(self, labels: Iterable[str]) -> Mask:
        """Rows that carry one of `labels`, or none; read-only."""
        key = tuple(labels)
        return self._extended(self._labelled, key, self.label, self.labels, key.__contains__)

    def _extended(self, known: dict[tuple[str, ...], Mask], key: tuple[str, ...], column: Growing, codes: Codes, may: Callable[[str], bool]) -> Mask:
        """Which rows have no word in a column, or one that `may`: what is `known` for the key, and the rows that have come since."""
        mask = known.pop(key, None)
        done = 0 if mask is None else len(mask)
        if mask is None or done < len(self):
            fresh = column.view()[done:]
            allowed = np.ones(len(codes.words) + 1, dtype=bool)  # the last for -1
            for code in np.unique(fresh[fresh >= 0]).tolist():
                allowed[code] = may(codes.words[code])
            mask = allowed[fresh] if mask is None else np.concatenate([mask, allowed[fresh]])
            mask.setflags(write=False)
        known[key] = mask
        while len(known) > _CACHED_MASKS:
            known.pop(next(iter(known)))
        return mask

    def speakers(self, mask: Mask) -> tuple[str, ...]:
        """The authors by their codes; in the place of one who wrote none of the rows of `mask`, an empty word."""
        present = np.bincount(self.author.view()[mask] + 1, minlength=len(self.authors.words) + 1)[1:]
        return tuple(word if count else "" for word, count in zip(self.authors.words, present.tolist(), strict=True))

    def span(self, mask: Mask) -> tuple[int, int] | None:
        """First and last event (microseconds since 1970) of the rows of `mask` that have one; None where none has."""
        events = self.event_at.view()[mask]
        events = events[events > UNKNOWN]
        return (int(events.min()), int(events.max())) if len(events) else None

    def with_source(self, source: str) -> Mask:
        number = self.sources.number(source)
        return np.asarray(self.source.view() == (-2 if number is None else number))

    def with_metadata(self, where: Json, source: Source) -> Mask:
        """Rows whose metadata fulfil `where`. Each condition is evaluated once for each row, and remembered for the rows that come."""
        known = len(self._metadata)
        if known < len(self):
            since = int(self.seq.view()[known - 1]) if known else 0
            found = dict(source.metadata(self.space, since))
            self._metadata += [found.get(seq) for seq in self.seq.view()[known:].tolist()]
        key = orjson.dumps(where, option=orjson.OPT_SORT_KEYS)
        mask = self._metadata_masks.pop(key, np.zeros(0, dtype=bool))
        if len(mask) < len(self):
            fresh = self._metadata[len(mask) :]
            answers = {text: matches(orjson.loads(text) if text else EMPTY, where) for text in set(fresh)}
            mask = np.concatenate([mask, np.array([answers[text] for text in fresh], dtype=bool)])
        self._metadata_masks[key] = mask
        while len(self._metadata_masks) > _CACHED_MASKS:
            self._metadata_masks.pop(next(iter(self._metadata_masks)))
        return mask
