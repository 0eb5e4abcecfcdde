"""The graph of a corpus: names, and the sentences that join them. A sentence that holds two names or more is a relation over them.

Source: HGMem, arXiv 2512.23959, section 3.1 and appendix (the offline graph), in its form without a language model: vertices are names, folded
(`text.entities`), relations are sentences, their own description, weighed by how telling it is that their names meet. Each knows the passages it
is from, and only passages that may be seen have any bearing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.codes import Codes
from mnemos.index.growing import Growing
from mnemos.text.entities import entities, key_of
from mnemos.text.sentence_spans import sentence_spans

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
_NOT_NAMES = frozenset({"quantity", "ngram"})


class Unit(NamedTuple):
    """A sentence: `text[start:end]` of passage number `passage`, and the numbers of its names."""

    passage: int
    start: int
    end: int
    names: tuple[int, ...]


class Graph:
    """Names and sentences of passages, which are numbered as the caller counts them (rows of an index). Grows; an edge is a common sentence."""

    def __init__(self) -> None:
        self._names = Codes()
        self._shown: list[str] = []
        self._units = Growing(np.int64, 3)  # (passage, start, end)
        self._pairs = Growing(np.int64, 2)  # (unit, name), in the order of units
        self.read = 0
        """Passages that were read: those with lower numbers."""
        self._sorted: tuple[Ints, Ints] | None = None

    # -- building --
    def add(self, passage: int, text: str, more: Iterable[str] = ()) -> None:
        """Read the sentences of a passage; `more`: names of the whole of it (its title, who is speaking), of which each sentence is a statement."""
        found = [entity for entity in entities(text) if entity.kind not in _NOT_NAMES]
        whole = [(key, name) for name in more if (key := key_of(name))]
        at = 0
        for span in sentence_spans(text):
            own = []
            while at < len(found) and found[at].start < span.end:
                own.append((found[at].key, found[at].surface))
                at += 1
            self._add_unit(passage, span.start, span.end, [*own, *whole])
        self.read = max(self.read, passage + 1)
        self._sorted = None

    def link(self, passage: int, names: Sequence[str]) -> None:
        """A relation over names, as it comes from a table of edges; the whole passage is its sentence."""
        self._add_unit(passage, 0, 0, [(key_of(name), name) for name in names])
        self.read = max(self.read, passage + 1)
        self._sorted = None

    def _add_unit(self, passage: int, start: int, end: int, named: Sequence[tuple[str, str]]) -> None:
        shown: dict[str, str] = {}
        for key, name in named:
            if key:
                shown.setdefault(key, name)
        if not shown:
            return
        known = len(self._names.words)
        codes = self._names.encode(shown)
        self._shown += [shown[self._names.words[code]] for code in range(known, len(self._names.words))]
        unit = len(self._units)
        self._units.extend([(passage, start, end)])
        self._pairs.extend([(unit, code) for code in codes])

    # -- asking --
    def __len__(self) -> int:
        """How many names there are."""
        return len(self._names.words)

    @property
    def sentences(self) -> int:
        return len(self._units)

    def number(self, name: str) -> int | None:
        """The number of a name by its key."""
        return self._names.number(name)

    def numbers(self, names: Iterable[str]) -> Ints:
        """The numbers of those names that are known, ascending."""
        return np.array(sorted({number for name in names if (number := self._names.number(name)) is not None}), dtype=np.int64)

    def key(self, name: int) -> str:
        return self._names.words[name]

    def shown(self, name: int) -> str:
        """A name as it was written where it was first met."""
        return self._shown[name]

    def unit(self, unit: int) -> Unit:
        passage, start, end = self._units.view()[unit].tolist()
        pairs = self._pairs.view()
        low, high = np.searchsorted(pairs[:, 0], [unit, unit + 1])
        return Unit(passage, start, end, tuple(pairs[low:high, 1].tolist()))

    def passage_of(self, units: Ints) -> Ints:
        """The passage of each of some sentences."""
        return np.asarray(self._units.view()[units, 0])

    def sizes(self, units: Ints) -> Ints:
        """How many names each of some sentences holds."""
        of = self._pairs.view()[:, 0]
        return np.searchsorted(of, units, side="right") - np.searchsorted(of, units)

    def units_in(self, passages: Ints) -> Ints:
        """The sentences of some passages that hold a name, in the order of reading."""
        of = self._units.view()[:, 0]
        wanted = np.zeros(max(self.read, 1), dtype=bool)
        wanted[passages[passages < self.read]] = True
        return np.flatnonzero(wanted[of])

    def units_of(self, name: int, allowed: Mask) -> Ints:
        """The sentences of allowed passages that hold a name."""
        units, starts = self.by_name()
        own = units[starts[name] : starts[name + 1]]
        return np.asarray(own[allowed[self._units.view()[own, 0]]])

    def passages_of(self, name: int, allowed: Mask) -> Ints:
        """The allowed passages that hold a name, ascending."""
        return np.unique(self._units.view()[self.units_of(name, allowed), 0])

    def frequency(self, name: int, allowed: Mask) -> int:
        """In how many allowed passages a name stands."""
        return len(self.passages_of(name, allowed))

    def within(self, seeds: Ints, hops: int, allowed: Mask) -> Mask:
        """(len(self),) which names are at most `hops` common sentences from one of the names `seeds`, by sentences of allowed passages."""
        pairs = self._pairs.view()
        seen = allowed[self._units.view()[:, 0]]
        found = np.zeros(len(self), dtype=bool)
        found[seeds] = True
        border = found.copy()
        for _ in range(hops):
            crossed = np.zeros(len(seen), dtype=bool)
            crossed[pairs[border[pairs[:, 1]], 0]] = True
            crossed &= seen
            reached = np.zeros(len(self), dtype=bool)
            reached[pairs[crossed[pairs[:, 0]], 1]] = True
            border = reached & ~found
            found |= border
            if not border.any():
                break
        return found

    def telling(self, unit: int, allowed: Mask) -> float:
        """How telling it is that the names of a sentence meet: the mean of their pairs' normalised pointwise mutual information over passages,
        -1..1; 0 for a sentence with one name."""
        names = self.unit(unit).names
        total = max(int(np.count_nonzero(allowed)), 2)
        where = [set(self.passages_of(name, allowed).tolist()) for name in names]
        values = [_npmi(len(a & b), len(a), len(b), total) for i, a in enumerate(where) for b in where[i + 1 :]]
        return sum(values) / len(values) if values else 0.0

    def by_name(self) -> tuple[Ints, Ints]:
        """(sentences in the order of the names that they hold, (names + 1,) where those of each name begin)"""
        if self._sorted is None:
            pairs = self._pairs.view()
            order = np.argsort(pairs[:, 1], kind="stable")
            self._sorted = pairs[order, 0], np.searchsorted(pairs[order, 1], np.arange(len(self) + 1))
        return self._sorted

    # -- tables --
    def nodes(self) -> Iterator[tuple[str, str]]:
        """(key, name as written) of each name: a table of nodes."""
        yield from zip(self._names.words, self._shown, strict=True)

    def edges(self) -> Iterator[tuple[str, str, int]]:
        """(key, key, number of passage) for each pair of names of each sentence: a table of edges, as NetworkX reads it (add_weighted_edges_from)."""
        for number in range(len(self._units)):
            unit = self.unit(number)
            for i, one in enumerate(unit.names):
                for other in unit.names[i + 1 :]:
                    yield self.key(one), self.key(other), unit.passage


def _npmi(both: int, one: int, other: int, total: int) -> float:
    """Normalised pointwise mutual information of two names that stand in `one` and `other` of `total` passages, and in `both` together."""
    if not both:
        return -1.0
    if both >= total:
        return 1.0
    return math.log(both * total / (one * other)) / -math.log(both / total)
