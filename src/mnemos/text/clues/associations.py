"""The term and entity index of a corpus, sentence by sentence, and walks on the graph of the names that stand together more often than by chance.

Counts are taken when a question is asked, over the documents that it may see: so what is hidden, or forgotten, has no bearing. The graph's weights
are normalised pointwise mutual information, positive ones only (Bouma, Normalized PMI in Collocation Extraction, 2009; `text.cooccurrence` keeps
the same as sums over a whole corpus).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.codes import Codes
from mnemos.index.growing import Growing
from mnemos.index.places import Places
from mnemos.index.terms import LONGEST_HEADING, STOP_WORDS, Hashes, fold, query_terms, words
from mnemos.text.aliases import Aliases
from mnemos.text.entities import entities, key_of, keys
from mnemos.text.sentence_spans import sentence_spans

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]

_NOT_NAMES = frozenset({"quantity", "ngram"})
MOST_TERMS = 62
_LONGEST_NAME = 6
_ENDS = frozenset(".?!…:;,。！？")
_CROWD = 24
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
    considered: int = 40
    """Names that are looked into, the surest."""
    starts: int = 4
    """Sentences that give such names."""


WALK = Walk()


class Reached(NamedTuple):
    """A name that a question leads to: its spellings, how surely (0..1), which terms of the question (bits) the sentences on the way hold, by which
    names they led, and how much of the question (0..1) they say together with that one of the name's own sentences that adds most."""

    name: str
    numbers: tuple[int, ...]
    value: float
    held: int
    via: tuple[str, ...]
    says: float = 0.0


def headline(text: str) -> str:
    """The first line of a text, if it is written like a heading; else nothing."""
    line = text.split("\n", 1)[0].strip()
    return line if 0 < len(line) <= LONGEST_HEADING and line[-1] not in _ENDS and not line[0].islower() else ""


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
    entities: tuple[str, ...]
    """Those of `names` that are written like names; the others are runs of words, which are names only if the corpus has them."""
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
        return cls(hashes[:MOST_TERMS], named, tuple(found), frozenset(h for name in found for h in query_terms(name).hashes.tolist()))


class Associations:
    """Sentences of numbered documents, each with its names and terms. Documents are only ever added; which of them count is said at each question."""

    def __init__(self) -> None:
        self._names = Codes()
        self._by_word: dict[str, list[int]] = {}
        self._document = Growing(np.int64)  # of each unit
        self._named = Growing(np.int64)  # the names of unit after unit
        self._terms = Growing(np.uint32)
        self._ends = Growing(np.int64)  # where each unit's terms end
        self._names_end = array("q", [0])  # where each unit's names begin; the last is where all end
        self._by_name, self._by_term = Places(), Places()
        self._term_counts: tuple[Hashes, Rows] | None = None

    @property
    def units(self) -> int:
        return len(self._document)

    def add(self, documents: Iterable[tuple[int, Sequence[Unit]]]) -> None:
        """Add sentences of documents. Numbers of documents never fall, within a call or from one to the next."""
        before = len(self._names.words)
        numbers: list[int] = []
        terms: list[int] = []
        ends: list[int] = []
        named: list[str] = []
        for document, units in documents:
            for names, hashes in units:
                numbers.append(document)
                terms += hashes
                ends.append(len(terms))
                named += names
                self._names_end.append(self._names_end[-1] + len(names))
        self._document.extend(numbers)
        self._ends.extend(len(self._terms) + np.array(ends, dtype=np.int64))
        self._terms.extend(np.array(terms, dtype=np.uint32))
        self._named.extend(np.array(self._names.encode(named), dtype=np.int64))
        for code in range(before, len(self._names.words)):
            for word in dict.fromkeys(self._names.words[code].split()):
                self._by_word.setdefault(word, []).append(code)
        self._term_counts = None

    def counts(self, terms: Hashes) -> NDArray[np.int64]:
        """(terms,) how many sentences hold each term."""
        if self._term_counts is None:
            self._term_counts = np.unique(self._terms.view(), return_counts=True)
        known, counts = self._term_counts
        at = np.minimum(np.searchsorted(known, terms), max(len(known) - 1, 0))
        return np.where(known[at] == terms, counts[at], 0) if len(known) else np.zeros(len(terms), dtype=np.int64)

    def look(self, seen: Mask) -> Look:
        """The index as far as some documents (d,) bool may be seen; documents beyond the mask may not."""
        document = self._document.view()
        inside = document < len(seen)
        usable = np.zeros(len(document), dtype=bool)
        usable[inside] = seen[document[inside]]
        return Look(self, usable)

    def _units_of(self, name: int) -> Rows:
        """The sentences that hold a name, ascending."""
        places = self._by_name.of(self._named.view(), name)
        return np.searchsorted(np.frombuffer(self._names_end, dtype=np.int64), places, side="right") - 1

    def holding(self, terms: Hashes) -> Rows:
        """(units,) bit i is set where a sentence holds term i."""
        out = np.zeros(self.units, dtype=np.int64)
        ends, held = self._ends.view(), self._terms.view()
        for at, term in enumerate(terms.tolist()):
            out[np.searchsorted(ends, self._by_term.of(held, term), side="right")] |= 1 << at
        return out


class Look:
    """One question's look at the index: only sentences of documents that it may see."""

    def __init__(self, held: Associations, usable: Mask) -> None:
        self._held, self._usable = held, usable
        self._alive = max(int(np.count_nonzero(usable)), 1)
        self._unit_lists: dict[tuple[int, ...], Rows] = {}

    def documents(self, numbers: tuple[int, ...]) -> Rows:
        """The documents that hold a name in any of its spellings, ascending."""
        return np.unique(self._held._document.view()[self._units(numbers)])

    def reach(self, asked: Asked, weights: Numbers, near: Sequence[int] = (), likeness: Numbers | None = None, walk: Walk = WALK) -> list[Reached]:
        """The names that a question leads to, surest first; those that it gives itself are left out.

        `weights` (terms,): how telling each term of the question is. `near`: the documents that a search for the question gives, best first.
        `likeness` (documents,) 0..1: how like each document is to the question by meaning, where that is known.
        """
        if not len(asked.terms) or not self._held.units:
            return []
        says = _Sayings(self._held, asked, weights, likeness)
        groups = self._given(asked)
        given = {code for group in groups for code in group}
        frontier = {group: Reached(self._word(group), group, 1.0, 0, (self._word(group),)) for group in groups}
        begun = np.array([unit for document in near for unit in self._units_in(document)], dtype=np.int64)
        worth = says.all(begun) + says.rests(begun)
        for at in np.lexsort((begun, -worth))[: walk.starts].tolist():
            value = walk.found * min(float(worth[at]), 1.0)
            for code in self._named(int(begun[at])):
                if code not in given and value > 0 and ((code,) not in frontier or frontier[code,].value < value):
                    frontier[code,] = Reached(self._word((code,)), (code,), value, says.bits(int(begun[at])), ())
        out = {group: one for group, one in frontier.items() if not given & set(group)}
        for _ in range(walk.hops):
            steps: dict[tuple[int, ...], Reached] = {}
            for one in sorted(frontier.values(), key=_surest)[: walk.beam]:
                for step in self._steps(one, says, given, walk):
                    if step.numbers not in steps or steps[step.numbers].value < step.value:
                        steps[step.numbers] = step
            frontier = {group: step for group, step in steps.items() if group not in out or out[group].value < step.value}
            out |= frontier
        surest = sorted(out.values(), key=_surest)[: walk.considered]
        most = says.most([(self._units(one.numbers), one.held) for one in surest])
        return [one._replace(says=told) for one, told in zip(surest, most.tolist(), strict=True)]

    def _given(self, asked: Asked) -> list[tuple[int, ...]]:
        """The names that a question gives, each with its spellings; a part of a longer one is none."""
        known: list[str] = []
        for name in sorted(asked.names, key=lambda name: -len(name)):
            if self._seen(name) and not any(f" {name} " in f" {longer} " for longer in known):
                known.append(name)
        short = [name for name in asked.entities if not self._seen(name)]
        groups = dict.fromkeys(self._spellings(name) for name in [*known, *short])
        return [group for group in groups if group]

    def _steps(self, one: Reached, says: _Sayings, given: set[int], walk: Walk) -> list[Reached]:
        """The names that stand in a sentence with one."""
        found = self._units(one.numbers)
        if len(found) > walk.commonest and one.value < 1.0:
            return []
        rests = says.rests(found)
        if len(found) > walk.commonest:
            surest = np.argsort(-rests, kind="stable")[: walk.commonest]
            found, rests = found[surest], rests[surest]
        units, fits = found.tolist(), dict(zip(found.tolist(), rests.tolist(), strict=True))
        met: dict[int, list[int]] = {}
        for unit in units:
            for code in self._named(unit):
                if code not in given and code not in one.numbers:
                    met.setdefault(code, []).append(unit)
        out = []
        for code, where in met.items():
            fit, unit = max((fits[unit], -unit) for unit in where)
            bound = walk.chance + (1 - walk.chance) * self._npmi(len(where), len(units), len(self._units((code,))))
            value = one.value * bound * (walk.alone + (1 - walk.alone) * min(fit, 1.0))
            name = self._held._names.words[code]
            out.append(Reached(name, (code,), value, one.held | says.bits(-unit), (*one.via, name)))
        return out

    def _npmi(self, both: int, one: int, other: int) -> float:
        """Normalised pointwise mutual information, 0 where it is negative."""
        if both >= self._alive:
            return 1.0
        pmi = math.log(both * self._alive / (one * other))
        return max(pmi / -math.log(both / self._alive), 0.0)

    def _named(self, unit: int) -> list[int]:
        """The names in a sentence."""
        low, high = self._held._names_end[unit : unit + 2]
        found: list[int] = self._held._named.view()[low:high].tolist()
        return found

    def _units_in(self, document: int) -> range:
        """The sentences of a document that may be seen."""
        low, high = np.searchsorted(self._held._document.view(), [document, document + 1])
        return range(low, high) if high > low and self._usable[low] else range(0)

    def _units(self, numbers: tuple[int, ...]) -> Rows:
        """The sentences with a name in any of its spellings, ascending."""
        found = self._unit_lists.get(numbers)
        if found is None:
            every = [self._held._units_of(number) for number in numbers]
            found = every[0] if len(every) == 1 else np.unique(np.concatenate(every))
            found = self._unit_lists[numbers] = found[self._usable[found]]
        return found

    def _seen(self, name: str) -> bool:
        """Whether a name stands in a sentence that may be seen."""
        code = self._held._names.number(name)
        return code is not None and len(self._units((code,))) > 0

    def _spellings(self, name: str) -> tuple[int, ...]:
        """All names that are one with a name, which need not be there itself, among those that may be seen, ascending."""
        known = self._held._names.words
        possible = {name}
        for word in name.split():
            sharing = self._held._by_word.get(word, ())
            possible.update(known[other] for other in sharing if len(sharing) <= _CROWD)
        seen = [other for other in possible if self._seen(other)]
        aliases = Aliases([*seen, name])
        full = aliases.canonical(name)
        return tuple(sorted(self._held._names.encode(other for other in seen if aliases.canonical(other) == full)))

    def _word(self, group: tuple[int, ...]) -> str:
        """The fullest spelling of a name."""
        return max((self._held._names.words[number] for number in group), key=lambda word: (len(word), word))


class _Sayings:
    """What sentences say of a question."""

    def __init__(self, held: Associations, asked: Asked, weights: Numbers, likeness: Numbers | None) -> None:
        self._document, self._likeness = held._document.view(), likeness
        self._weights = weights
        rest = [0.0 if h in asked.name_terms else weight for h, weight in zip(asked.terms.tolist(), weights.tolist(), strict=True)]
        self._rest: Numbers = np.array(rest) / max(sum(rest), 1e-9)
        self._bits = held.holding(asked.terms)

    def bits(self, unit: int) -> int:
        """Bit i where the sentence holds the question's term i."""
        return int(self._bits[unit])

    def all(self, units: Rows) -> Numbers:
        """The share of the question that each sentence holds."""
        return share(self._bits[units], self._weights)

    def most(self, sentences: Sequence[tuple[Rows, int]]) -> Numbers:
        """For some sentences (never none) and bits, each: the greatest share of the question that one of them holds, together with what holds the
        terms of the bits."""
        if not sentences:
            return np.zeros(0)
        bits = np.concatenate([self._bits[units] | more for units, more in sentences])
        starts = np.cumsum([0, *(len(units) for units, _ in sentences[:-1])])
        return np.asarray(np.maximum.reduceat(share(bits, self._weights), starts))

    def rests(self, units: Rows) -> Numbers:
        """For each sentence the share of what the question holds beside names, or the likeness of its document by meaning, where that is greater."""
        told = share(self._bits[units], self._rest)
        if self._likeness is None:
            return told
        documents = self._document[units]
        inside = documents < len(self._likeness)
        told[inside] = np.maximum(told[inside], self._likeness[documents[inside]])
        return told


def rarity(counts: NDArray[np.int64], of: int) -> Numbers:
    """How telling terms are, sum 1, that stand in `counts` (terms,) of so many texts: their inverse document frequency."""
    idf = np.maximum(np.log((of + 1) / (counts + 0.5)), 1e-3)
    return np.asarray(idf / max(float(idf.sum()), 1e-9))


def share(bits: NDArray[np.int64], weights: Numbers) -> Numbers:
    """The sum of the weights of the bits that are set in each of `bits` (n,)."""
    out = np.zeros(len(bits))
    for at, weight in enumerate(weights.tolist()):
        if weight:
            out += weight * (bits >> at & 1)
    return out


def _surest(one: Reached) -> tuple[float, str]:
    return -one.value, one.name
