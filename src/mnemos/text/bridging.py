"""Bridges: from what was found to what shares a rare name with it. The second hop of a question that no single memory answers, without a model.

A question such as "Who is the spouse of the actor who voices Batman in …?" is like the memory that names the actor, and not like the one that tells
of the spouse; but the name stands in both. So each of the best memories lends of its own score to those that share a name with it: the
more, the rarer the name, the better its sentence fits the question, and the more of the rest of the question the other one speaks of. A
memory whose title or first words are that name is *about* it, and counts by a measure of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.cube import Content
from mnemos.cache.mapping import EvictingCache
from mnemos.index.codes import Codes
from mnemos.index.growing import Growing
from mnemos.index.places import Places
from mnemos.index.terms import term, words
from mnemos.text.entities import entities, key_of, keys
from mnemos.text.question import Question
from mnemos.text.ranking import top
from mnemos.text.sentence_spans import sentence_spans
from mnemos.text.strategy import View

Rows = NDArray[np.int64]
Numbers = NDArray[np.float64]
_NOT_NAMES = frozenset({"quantity", "ngram"})
_FARTHEST = -50.0
_APART = 1e-3
"""What is lent to stays this far below the rows that keep their places."""
_LEAST_BEYOND = 0.05
"""Of the square of the question that is left; what is less is noise."""
MOST_TURNS = 0.5
"""Share of the memories that may be turns of conversations where bridges are crossed: there names are everywhere, and of 534 questions on LoCoMo and
LongMemEval bridges found more for none and less for 20."""
_MOST_TERMS = 62
_AT_ONCE = 1024
"""Rows that are read while others wait for the index, in idle time."""
_AT_HAND = 4096
"""Memories whose sentences are kept, read."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How bridges are weighed, in log odds: the means of the best 15 of 56 random choices on MuSiQue, 2WikiMultihopQA and HotpotQA. The best choice
    on one half of the questions does about as well on the other (docs/strategies/hypergraph.md).

    One round of bridges: what a second round brings in (the third hop) pushes out as much as it finds, whether or not its paths remember where
    they come from; nor does it help to take parts of names, or short names, for names.
    """

    origins: int = 10
    """The best memories, from which bridges lead."""
    kept: int = 5
    """The best memories that keep their places, whatever bridges say. Ours: with four, bridges push out evidence on HotpotQA that the first search
    has; over MuSiQue and 2WikiMultihopQA together the two find as much."""
    share: float = 0.75
    """How much of an origin's distance from the best memory its bridges inherit."""
    fits: float = 0.5
    """For the logarithm of the share of the question that the sentence with the name holds."""
    about: float = -1.8
    """For a bridge to a memory that is about the name."""
    mentions: float = -3.7
    """For a bridge to one that mentions it."""
    rare_about: float = 0.9
    """For the logarithm of how many memories are about the name, against."""
    rare_mentions: float = 1.3
    """For the logarithm of how many memories mention it, against."""
    asked: float = 2.2
    """Against a name that the question itself gives: it leads back."""
    likeness: float = 3.2
    """For the cosine of the other memory with the question."""
    beyond: float = 2.9
    """For its cosine with what the question asks beyond the origin: the part of the question's vector that is orthogonal to the origin's."""
    rest: float = 2.2
    """For the share of the question that the other memory holds and the origin does not."""
    together: float = 0.7
    """Bridges to one memory add up, softly: t·log Σ exp(lent / t); near 0 the best counts alone."""
    commonest: int = 60
    """Memories that a name may stand in, to be a bridge at all."""


DEFAULTS = Parameters()


class Mentions:
    """Which rows of a space name what. Held in memory beside the index, and caught up from row to row."""

    def __init__(self) -> None:
        self._names = Codes()
        self._read = 0
        self._pairs = Growing(np.int64, 3)  # (name, row, 1 where the row is about it)
        self._by_name = Places()
        self._sentences: EvictingCache[int, _Sentences] = EvictingCache(_AT_HAND, "s3-fifo")

    @classmethod
    def of(cls, view: View) -> Mentions:
        held = view.index.attached("mentions", cls)
        held._catch_up(view)
        return held

    @classmethod
    def read_some(cls, view: View) -> bool:
        """Read some of the rows that `of` would read first; give whether more are left."""
        view.index.attached("mentions", cls)._catch_up(view, _AT_ONCE)
        return cls.unread(view) > 0

    @classmethod
    def unread(cls, view: View) -> int:
        """How many rows `of` would read first."""
        return len(view.index) - view.index.attached("mentions", cls)._read

    def _catch_up(self, view: View, most: int | None = None) -> None:
        n = len(view.index) if most is None else min(self._read + most, len(view.index))
        while self._read < n:
            rows = list(range(self._read, min(self._read + 2048, n)))
            # A row that was forgotten cannot be read any more; `died` tells.
            alive = [row for row in rows if view.index.died.view()[row] > 0]
            for row, content in zip(alive, view.contents(alive), strict=True):
                self._add(row, content)
            self._read = rows[-1] + 1

    def _add(self, row: int, content: Content) -> None:
        about, named = names_of(content)
        found = [*about, *(name for name in named if name not in about)]
        if found:
            codes = self._names.encode(found)
            self._pairs.extend([(code, row, int(at < len(about))) for at, code in enumerate(codes)])

    def number(self, name: str) -> int | None:
        return self._names.number(name)

    def word(self, number: int) -> str:
        return self._names.words[number]

    def named_by(self, row: int) -> Rows:
        """The names in a row, as numbers."""
        pairs = self._pairs.view()
        low, high = np.searchsorted(pairs[:, 1], [row, row + 1])
        return pairs[low:high, 0]

    def sentences(self, view: View, row: int) -> _Sentences:
        """The sentences of a row; those of rows that were asked for lately are at hand."""
        return self._sentences.fetch(row, lambda row: _Sentences(view.contents([row])[0]))

    def naming(self, name: int) -> tuple[Rows, NDArray[np.bool_]]:
        """(rows, whether each is about it) of a name, in order."""
        pairs = self._pairs.view()
        part = pairs[self._by_name.of(pairs[:, 0], name)]
        return part[:, 1], part[:, 2] == 1


def names_of(content: Content) -> tuple[list[str], list[str]]:
    """(the names that a memory is about, all names in it): those of its heading, else the one that it begins with; and what its author listed."""
    text = content.text or ""
    found = [entity for entity in entities(text) if entity.kind not in _NOT_NAMES]
    heading = content.metadata.get("heading") or content.metadata.get("title")
    first = text.split("\n", 1)[0] if "\n" in text else ""
    about = keys(entity for entity in found if entity.start < len(first))
    if isinstance(heading, str):
        about += [key_of(heading)]
    if not about and found and found[0].start <= 4 and content.type != "turn":
        about = [found[0].key]
    return list(dict.fromkeys(name for name in about if name)), keys(found) + [key_of(entity) for entity in content.entities]


def crossed(view: View) -> bool:
    """Whether bridges are crossed among the rows that may be found: they are passages (documents and facts) more than turns."""
    turn = view.index.types.number("turn")
    if turn is None:
        return True
    return bool(np.count_nonzero((view.index.type.view() == turn) & view.allowed) <= MOST_TURNS * np.count_nonzero(view.allowed))


def bridged(question: Question, view: View, scores: NDArray[np.float32], parameters: Parameters = DEFAULTS) -> NDArray[np.float32]:
    """The scores (n,), log odds, with what bridges lend: none falls, and only rows that are allowed, and names as far as they stand in such rows,
    have any bearing. The `kept` best rows stay the best."""
    before = np.where(view.allowed, scores.astype(np.float64), -np.inf)
    best = top(before, parameters.origins, None if view.index.in_order else view.index.first.view())
    if len(best) < 2:
        return scores
    mentions, shares = Mentions.of(view), _Shares(question, view)
    asked = frozenset(number for name in keys(entities(question.text)) if (number := mentions.number(name)) is not None)
    bridges = [bridge for origin in best.tolist() for bridge in _leaving(origin, before, view, mentions, shares, asked, parameters)]
    if not bridges:
        return scores
    kept, after = best[: parameters.kept], np.maximum(before, _lent(bridges, shares, view, parameters))
    after = np.minimum(after, before[kept].min() - _APART)
    after[kept] = before[kept]
    return np.asarray(np.where(view.allowed, after, scores), dtype=np.float32)


def _leaving(
    origin: int, scores: Numbers, view: View, mentions: Mentions, shares: _Shares, asked: frozenset[int], parameters: Parameters
) -> Iterator[_Bridge]:
    """The bridges that lead from an origin."""
    highest = float(scores.max())
    inherited = highest + parameters.share * max(float(scores[origin]) - highest, _FARTHEST)
    sentences: _Sentences | None = None
    for name in dict.fromkeys(mentions.named_by(origin).tolist()):
        rows, about = mentions.naming(name)
        seen = view.allowed[rows]
        count = int(np.count_nonzero(seen))
        if not 2 <= count <= parameters.commonest:
            continue
        sentences = sentences or mentions.sentences(view, origin)
        fits = parameters.fits * math.log(0.1 + shares.of(sentences.holding(mentions.word(name))))
        few = math.log(max(int(np.count_nonzero(about & seen)), 1))
        yield _Bridge(
            origin, rows[seen], about[seen], inherited + fits - (parameters.asked if name in asked else 0.0),
            parameters.about - parameters.rare_about * few, parameters.mentions - parameters.rare_mentions * math.log(count - 1),
        )  # fmt: skip


class _Bridge(NamedTuple):
    """From an origin by a name to the rows that hold it, with what all of them are lent, and what those more that are about it, or mention it."""

    origin: int
    rows: Rows
    about: NDArray[np.bool_]
    value: float
    if_about: float
    if_mentioned: float


def _lent(bridges: Sequence[_Bridge], shares: _Shares, view: View, parameters: Parameters) -> Numbers:
    """(n,) what each row is lent by all bridges that lead to it; minus infinity where none does."""
    lengths = [len(bridge.rows) for bridge in bridges]
    rows = np.concatenate([bridge.rows for bridge in bridges])
    about = np.concatenate([bridge.about for bridge in bridges])
    origin, value, if_about, if_mentioned = (
        np.repeat(column, lengths) for column in zip(*((b.origin, b.value, b.if_about, b.if_mentioned) for b in bridges), strict=True)
    )
    lent = value + np.where(about, if_about, if_mentioned) + parameters.likeness * shares.likeness[rows]
    lent += parameters.beyond * _beyond(origin, rows, shares.likeness, view) + parameters.rest * shares.rest(origin, rows)
    apart = rows != origin
    rows, lent = rows[apart], lent[apart]
    best = np.full(len(view.allowed), -np.inf)
    np.maximum.at(best, rows, lent)
    added = np.bincount(rows, weights=np.exp((lent - best[rows]) / parameters.together), minlength=len(best))
    return np.asarray(best + parameters.together * np.log(np.maximum(added, 1.0)))


def _beyond(origin: Rows, rows: Rows, likeness: Numbers, view: View) -> Numbers:
    """The cosine of each row with the part of the question that its origin does not hold, (len(rows),): for unit vectors q, o and r it is
    (q·r − (q·o)(o·r)) / √(1 − (q·o)²). 0 where meaning cannot be compared."""
    if view.vectors is None or view.cosines is None:
        return np.zeros(len(rows))
    origins, from_ = np.unique(origin, return_inverse=True)
    targets, to = np.unique(rows, return_inverse=True)
    between = view.vectors.vectors(origins) @ view.vectors.vectors(targets).T
    held = likeness[origin]
    return np.asarray((likeness[rows] - held * between[from_, to]) / np.sqrt(np.maximum(1 - held**2, _LEAST_BEYOND)))


class _Shares:
    """What of a question rows hold, weighed by how rare its words are among the allowed rows."""

    def __init__(self, question: Question, view: View) -> None:
        self.hashes = np.unique(np.array([term(word) for word in words(question.text)], dtype=np.uint32))[:_MOST_TERMS]
        held = view.index.lexical.holding(self.hashes)
        self._held = held
        alive = max(int(np.count_nonzero(view.allowed)), 1)
        seen = held[np.flatnonzero((held != 0) & view.allowed)]
        counts = np.array([np.count_nonzero(seen >> at & 1) for at in range(len(self.hashes))], dtype=np.float64)
        weights = np.log((alive + 1) / (counts + 0.5))
        self._weights = np.maximum(weights, 0.0)
        self._total = max(float(self._weights.sum()), 1e-9)
        self._weight_of = dict(zip(self.hashes.tolist(), self._weights.tolist(), strict=True))
        self.likeness: Numbers = np.zeros(len(held)) if view.cosines is None else np.nan_to_num(view.cosines).astype(np.float64)

    def of(self, terms: set[int]) -> float:
        """Share of the question, 0..1, that some terms hold."""
        return float(sum(weight for known, weight in self._weight_of.items() if known in terms) / self._total)

    def rest(self, origin: Rows, rows: Rows) -> Numbers:
        """Share of the question, (len(rows),), that each row holds and its origin does not."""
        new = self._held[rows] & ~self._held[origin]
        bits = (new[:, None] >> np.arange(len(self.hashes)) & 1).astype(np.float64)
        return np.asarray(bits @ self._weights / self._total)


class _Sentences:
    """The sentences of a memory, by the names that they hold."""

    def __init__(self, content: Content) -> None:
        text = content.text or ""
        self._spans = sentence_spans(text)
        self._terms: dict[int, set[int]] = {}
        self._where: dict[str, list[int]] = {}
        starts = [span.start for span in self._spans]
        for entity in entities(text):
            at = int(np.searchsorted(starts, entity.start, side="right")) - 1
            if at >= 0:
                self._where.setdefault(entity.key, []).append(at)

    def holding(self, name: str) -> set[int]:
        """The terms of the sentences that hold a name, together; those of all where it stands in none."""
        places: Sequence[int] = self._where.get(name) or range(len(self._spans))
        out: set[int] = set()
        for at in set(places):
            if at not in self._terms:
                self._terms[at] = {term(word) for word in words(self._spans[at].text)}
            out |= self._terms[at]
        return out
