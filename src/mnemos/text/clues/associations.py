"""The term and entity index of a corpus, sentence by sentence, and walks on the graph of the names that stand together more often than by chance.

Counts are taken when a question is asked, over the documents that it may see: so what is hidden, or forgotten, has no bearing. The graph's weights
are normalised pointwise mutual information, positive ones only (Bouma, Normalized PMI in Collocation Extraction, 2009; `text.cooccurrence` keeps
the same as sums over a whole corpus).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.growing import Growing
from mnemos.index.space_index import Codes
from mnemos.index.terms import STOP_WORDS, Hashes, fold, query_terms, words
from mnemos.text.aliases import Aliases
from mnemos.text.entities import entities, key_of, keys
from mnemos.text.sentence_spans import sentence_spans

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]

_NOT_NAMES = frozenset({"quantity", "ngram"})
MOST_TERMS = 62
_LONGEST_NAME = 6
_CROWD = 40
"""Names that share a word; from there on the word tells nothing of which are one."""


class Unit(NamedTuple):
    """What a sentence holds: names (keys), and the hashes of its telling terms."""

    names: tuple[str, ...]
    terms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """How names are reached from a question. The numbers are ours, chosen on generated corpora and on half of the multi-hop questions
    (docs/strategies/clues.md)."""

    hops: int = 2
    beam: int = 12
    """Names from which each hop goes on."""
    commonest: int = 60
    """Sentences that a name may stand in, to be walked through."""
    alone: float = 0.25
    """What a step through a sentence counts that says nothing of the question; one that says all of the rest of it counts 1."""
    chance: float = 0.3
    """What a step between names counts that stand together no more often than by chance; names never apart count 1."""
    found: float = 0.5
    """What names of the sentences count that say most of the question, against names in the question itself."""
    starts: int = 4
    """Sentences that give such names."""


WALK = Walk()


class Reached(NamedTuple):
    """A name that a question leads to: its spellings, how surely (0..1), which terms of the question (bits) the sentences on the way hold, and by
    which names they led."""

    name: str
    numbers: tuple[int, ...]
    value: float
    held: int
    via: tuple[str, ...]


def read(text: str, about: Iterable[str] = ()) -> list[Unit]:
    """The sentences of a text. `about`: names that each of them speaks of, such as the text's title and its author. Linear in the text."""
    spans = sentence_spans(text)
    starts = [span.start for span in spans]
    named: list[list[str]] = [[] for _ in spans]
    for entity in entities(text):
        at = int(np.searchsorted(starts, entity.start, side="right")) - 1
        if at >= 0 and entity.kind not in _NOT_NAMES:
            named[at].append(entity.key)
    everywhere = [key for name in about if (key := key_of(name))]
    return [
        Unit(tuple(dict.fromkeys([*everywhere, *names])), tuple(query_terms(span.text).hashes.tolist()))
        for span, names in zip(spans, named, strict=True)
    ]


class Asked(NamedTuple):
    """A question as it is looked up: its terms, and the names that it may give."""

    terms: Hashes
    names: tuple[str, ...]
    name_terms: frozenset[int]

    @classmethod
    def of(cls, text: str, terms: Hashes | None = None) -> Asked:
        """`terms`: those of the question, where they are known."""
        found = keys(entity for entity in entities(text) if entity.kind not in _NOT_NAMES)
        said = list(words(fold(text)))
        runs = [" ".join(said[at : at + n]) for n in range(_LONGEST_NAME, 0, -1) for at in range(len(said) - n + 1)]
        runs = [run for run in runs if run not in STOP_WORDS]
        named = tuple(dict.fromkeys([*found, *runs]))
        hashes = query_terms(text).hashes if terms is None else terms
        return cls(hashes[:MOST_TERMS], named, frozenset(h for name in found for h in query_terms(name).hashes.tolist()))


class Associations:
    """Sentences of numbered documents, each with its names and terms. Documents are only ever added; which of them count is said at each question."""

    def __init__(self) -> None:
        self._names = Codes()
        self._by_word: dict[str, list[int]] = {}
        self._document = Growing(np.int64)  # of each unit
        self._pairs = Growing(np.int64, 2)  # (unit, name)
        self._terms = Growing(np.uint32)
        self._ends = Growing(np.int64)  # where each unit's terms end
        self._by_name: tuple[Rows, Rows] | None = None

    @property
    def units(self) -> int:
        return len(self._document)

    def add(self, document: int, units: Sequence[Unit]) -> None:
        """Add sentences of a document. Numbers of documents never fall from one call to the next."""
        before = len(self._names.words)
        first, end = self.units, len(self._terms)
        self._document.extend(np.full(len(units), document))
        pairs = [(first + at, code) for at, unit in enumerate(units) for code in self._names.encode(unit.names)]
        if pairs:
            self._pairs.extend(pairs)
        self._terms.extend([h for unit in units for h in unit.terms])
        self._ends.extend(end + np.cumsum([len(unit.terms) for unit in units]))
        for code in range(before, len(self._names.words)):
            for word in dict.fromkeys(self._names.words[code].split()):
                self._by_word.setdefault(word, []).append(code)
        self._by_name = None

    def look(self, seen: Mask) -> Look:
        """The index as far as some documents (d,) bool may be seen; documents beyond the mask may not."""
        document = self._document.view()
        inside = document < len(seen)
        usable = np.zeros(len(document), dtype=bool)
        usable[inside] = seen[document[inside]]
        return Look(self, usable)

    def _units_of(self, name: int) -> Rows:
        if self._by_name is None:
            pairs = self._pairs.view()
            order = np.argsort(pairs[:, 1], kind="stable")
            self._by_name = pairs[order, 0], np.searchsorted(pairs[order, 1], np.arange(len(self._names.words) + 1))
        units, starts = self._by_name
        return units[starts[name] : starts[name + 1]]


class Look:
    """One question's look at the index: only sentences of documents that it may see."""

    def __init__(self, held: Associations, usable: Mask) -> None:
        self._held, self._usable = held, usable
        self._alive = max(int(np.count_nonzero(usable)), 1)
        self._unit_lists: dict[tuple[int, ...], Rows] = {}

    def documents(self, numbers: tuple[int, ...]) -> Rows:
        """The documents that hold a name in any of its spellings, ascending."""
        return np.unique(self._held._document.view()[self._units(numbers)])

    def bits(self, terms: Hashes) -> NDArray[np.int64]:
        """(units,) bit i where a sentence holds term i; 0 where it may not be seen."""
        out = np.zeros(self._held.units, dtype=np.int64)
        all_terms, ends = self._held._terms.view(), self._held._ends.view()
        for at, h in enumerate(terms[:MOST_TERMS].tolist()):
            out[np.searchsorted(ends, np.flatnonzero(all_terms == h), side="right")] |= 1 << at
        out[~self._usable] = 0
        return out

    def weights(self, bits: NDArray[np.int64], terms: int) -> Numbers:
        """(terms,) how telling each term is, sum 1: its inverse document frequency over the sentences; those in none count as the rarest."""
        counts = np.array([np.count_nonzero(bits >> at & 1) for at in range(terms)], dtype=np.float64)
        idf = np.maximum(np.log((self._alive + 1) / (counts + 0.5)), 1e-3)
        return np.asarray(idf / max(float(idf.sum()), 1e-9))

    def reach(self, asked: Asked, likeness: Numbers | None = None, walk: Walk = WALK) -> list[Reached]:
        """The names that a question leads to, surest first; those that it gives itself are left out. `likeness` (documents,) 0..1: how like each
        document is to the question by meaning, where that is known."""
        terms = len(asked.terms)
        if not terms or not self._held.units:
            return []
        bits = self.bits(asked.terms)
        weights = self.weights(bits, terms)
        rest = np.array([h not in asked.name_terms for h in asked.terms.tolist()])
        said, of_rest = share(bits, weights), share(bits, np.where(rest, weights, 0.0))
        of_rest = of_rest / max(float(weights[rest].sum()), 1e-9)
        if likeness is not None:
            document = self._held._document.view()
            near = np.where(document < len(likeness), likeness[np.minimum(document, len(likeness) - 1)], 0.0)
            of_rest = np.maximum(of_rest, near * self._usable)
        given = {code for name in asked.names if (code := self._held._names.number(name)) is not None and len(self._units((code,)))}
        given = {other for code in given for other in self._spellings(code)}
        frontier = {group: Reached(self._word(group), group, 1.0, 0, (self._word(group),)) for group in {self._spellings(code) for code in given}}
        best = np.argsort(-(said + of_rest), kind="stable")[: walk.starts]
        for unit in best[(said + of_rest)[best] > 0].tolist():
            for code in self._named(unit):
                group = (code,)
                value = walk.found * float(min(said[unit] + of_rest[unit], 1.0))
                if code not in given and (group not in frontier or frontier[group].value < value):
                    frontier[group] = Reached(self._word(group), group, value, int(bits[unit]), ())
        out = {group: one for group, one in frontier.items() if not given & set(group)}
        for _ in range(walk.hops):
            steps: dict[tuple[int, ...], Reached] = {}
            for one in sorted(frontier.values(), key=_surest)[: walk.beam]:
                for step in self._steps(one, bits, of_rest, given, walk):
                    if step.numbers not in steps or steps[step.numbers].value < step.value:
                        steps[step.numbers] = step
            frontier = {group: step for group, step in steps.items() if group not in out or out[group].value < step.value}
            out |= frontier
        return sorted(out.values(), key=_surest)

    def _steps(self, one: Reached, bits: NDArray[np.int64], of_rest: Numbers, given: set[int], walk: Walk) -> list[Reached]:
        units = self._units(one.numbers)
        if len(units) > walk.commonest:
            if one.value < 1.0:
                return []
            units = units[np.argsort(-of_rest[units], kind="stable")[: walk.commonest]]
        met: dict[tuple[int, ...], list[int]] = {}
        for unit in units.tolist():
            for code in self._named(unit):
                if code not in given:
                    met.setdefault((code,), []).append(unit)
        out = []
        for group, where in met.items():
            if group == one.numbers:
                continue
            fit, unit = max((float(of_rest[unit]), -unit) for unit in where)
            bound = walk.chance + (1 - walk.chance) * self._npmi(len(where), len(units), len(self._units(group)))
            value = one.value * bound * (walk.alone + (1 - walk.alone) * min(fit, 1.0))
            out.append(Reached(self._word(group), group, value, one.held | int(bits[-unit]), (*one.via, self._word(group))))
        return out

    def _npmi(self, both: int, one: int, other: int) -> float:
        """Normalised pointwise mutual information, 0 where it is negative."""
        if both >= self._alive:
            return 1.0
        pmi = math.log(both * self._alive / (one * other))
        return max(pmi / -math.log(both / self._alive), 0.0)

    def _named(self, unit: int) -> list[int]:
        pairs = self._held._pairs.view()
        low, high = np.searchsorted(pairs[:, 0], [unit, unit + 1])
        found: list[int] = pairs[low:high, 1].tolist()
        return found

    def _units(self, numbers: tuple[int, ...]) -> Rows:
        """The sentences with a name in any of its spellings, ascending."""
        if numbers not in self._unit_lists:
            found = np.concatenate([self._held._units_of(number) for number in numbers])
            self._unit_lists[numbers] = np.unique(found[self._usable[found]])
        return self._unit_lists[numbers]

    def _spellings(self, code: int) -> tuple[int, ...]:
        """All names that are one with a name, among those that may be seen, ascending."""
        held = self._held
        possible = {code}
        for word in held._names.words[code].split():
            sharing = held._by_word[word]
            possible.update(sharing if len(sharing) <= _CROWD else ())
        seen = [other for other in possible if other == code or len(self._units((other,)))]
        aliases = Aliases(held._names.words[other] for other in seen)
        full = aliases.canonical(held._names.words[code])
        return tuple(sorted(other for other in seen if aliases.canonical(held._names.words[other]) == full))

    def _word(self, group: tuple[int, ...]) -> str:
        """The fullest spelling of a name."""
        return max((self._held._names.words[number] for number in group), key=lambda word: (len(word), word))


def share(bits: NDArray[np.int64], weights: Numbers) -> Numbers:
    """The sum of the weights of the bits that are set in each of `bits` (n,)."""
    out = np.zeros(len(bits))
    for at, weight in enumerate(weights.tolist()):
        if weight:
            out += weight * (bits >> at & 1)
    return out


def _surest(one: Reached) -> tuple[float, str]:
    return -one.value, one.name
