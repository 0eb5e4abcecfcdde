"""From evidence to an order: what words, meaning, neighbours, speaker, time and shape say about each row, weighed and summed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.index.lexical import LexicalIndex
from mnemos.text.question import Question
from mnemos.text.reading import Flag
from mnemos.text.recipe import DEFAULT, WORDS_ONLY, Recipe
from mnemos.text.threads import Threads

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

GROUPS = ("words", "meaning", "around", "speaker", "time", "shape", "linked")
"""What the signals of a hit are called: each is the part of the score that comes from that kind of evidence."""


@dataclass(frozen=True)
class Rows:
    """The columns of a space that ranking reads; row numbers follow the order of writing."""

    thread: NDArray[np.int32]
    """(n,) code of the session or document that a row stands in, -1 for none."""
    author: NDArray[np.int32]
    """(n,) code of the author, -1 for none."""
    event_at: NDArray[np.int64]
    """(n,) microseconds since 1970 in UTC; any value far outside the calendar for none."""
    flags: NDArray[np.int64]
    """(n,) bits of `mnemos.text.reading.Flag`."""
    moments: NDArray[np.int64]
    """(m, 3) row, start, end of each time that a text names."""
    first: NDArray[np.int64] | None = None
    """(n,) the row of the first version of each row's memory, which is where it stands in its thread and among equals; None where each row is
    its own."""


@dataclass(frozen=True)
class Ranking:
    """Scores, and what they are made of."""

    scores: Floats
    """(n,) float32, -inf where a row is not allowed. Differences are log odds: exp(a - b) says how much likelier one row is than another."""
    weighed: NDArray[np.int64]
    """(c,) the rows that were weighed in full."""
    parts: dict[str, Floats]
    """For each of `GROUPS`, (c,) float32: they sum to the scores of the rows `weighed`."""

    def signals(self, rows: NDArray[np.int64]) -> dict[str, Floats]:
        """For each of `GROUPS`, the part of the scores of `rows` (k,) that comes from it; 0 for rows that were not weighed in full."""
        order = np.argsort(self.weighed, kind="stable")
        at = np.minimum(np.searchsorted(self.weighed, rows, sorter=order), max(len(order) - 1, 0))
        if not len(order):
            return {group: np.zeros(len(rows), dtype=np.float32) for group in self.parts}
        found = order[at]
        known = self.weighed[found] == rows
        return {group: np.where(known, part[found], np.float32(0)) for group, part in self.parts.items()}


@dataclass(frozen=True)
class Candidates:
    """The rows that are weighed in full, in thread order, and what they have of their own. Scales are those of all allowed rows."""

    places: NDArray[np.int64]
    """(c,) row numbers."""
    threads: Threads
    words: Floats
    coverage: Floats
    heading: Floats
    about: Floats
    """(c,) share of the names in the question that the row holds."""
    meaning: Floats
    holders: list[tuple[float, NDArray[np.int64]]]
    """Of each of the question's terms: what share of the question it is, and the numbers of the rows that hold it."""
    total: int
    """Rows that there are, candidates or not."""

    def together(self, reach: int) -> Floats:
        """(c,) the share of the question that the rows at most `reach` away hold between them: coverage as if they were one."""
        out = np.zeros(len(self.places), dtype=np.float32)
        held = np.zeros(self.total, dtype=np.float32)
        for share, rows in self.holders:
            held[rows] = 1
            out += np.float32(share) * self.threads.peak(held[self.places], reach)
            held[rows] = 0
        return out


def rank(
    question: Question,
    rows: Rows,
    lexical: LexicalIndex,
    dense: Floats | None = None,
    allowed: Mask | None = None,
    recipe: Recipe | None = None,
) -> Ranking:
    """Score every row as an answer to `question`.

    `dense` (n,) float32 is the cosine of each row with the vector of `question.voiced`, NaN where a row has no vector, None without an
    embedder. `allowed` (n,) bool says which rows there are for this question; the result is the same as if the others did not exist.
    `recipe` None is `DEFAULT`, or `WORDS_ONLY` where no row has a vector. In a large space, rows far from anything that the question's
    words or meaning touch are weighed by these two alone, and come last.
    """
    n = len(rows.thread)
    if allowed is not None and allowed.all():
        allowed = None
    if recipe is None:
        unknown = None if dense is None else np.isnan(dense)
        if unknown is not None and allowed is not None:
            unknown |= ~allowed
        recipe = WORDS_ONLY if unknown is None or unknown.all() else DEFAULT
    scores = np.full(n, -np.inf, dtype=np.float32)
    if not n or (allowed is not None and not allowed.any()):
        nothing = np.zeros(0, dtype=np.float32)
        return Ranking(scores, np.zeros(0, dtype=np.int64), dict.fromkeys(GROUPS, nothing))
    everything = own_evidence(question, rows, lexical, dense, allowed, recipe)
    near = candidates(everything, recipe)
    parts = {group: np.zeros(len(near.places), dtype=np.float32) for group in GROUPS}
    for group, name, value in evidence(question, rows, lexical, near, recipe):
        weight = np.float32(getattr(recipe, name))
        if weight:
            parts[group] += weight * value
    total = _sum(parts)
    if recipe.linked or recipe.linked_alone:
        for name, value in links(question, total, lexical, allowed, near, recipe, rows.first):
            parts["linked"] += np.float32(getattr(recipe, name)) * value
        total += parts["linked"]
    if near is not everything:
        far = np.float32(recipe.coverage) * everything.coverage + np.float32(recipe.meaning_peak) * everything.meaning
        scores[everything.places] = far - max(float(far.max() - total.min()), 0.0)
    scores[near.places] = total
    return Ranking(scores, near.places, parts)


def own_evidence(
    question: Question, rows: Rows, lexical: LexicalIndex, dense: Floats | None, allowed: Mask | None, recipe: Recipe
) -> Candidates:
    """All allowed rows with what words and meaning say of each."""
    found = lexical.search(question.terms, allowed, recipe.bm25)
    chosen = None if allowed is None else np.flatnonzero(allowed)
    first = rows.first if rows.first is None or chosen is None else rows.first.take(chosen)
    threads = Threads(rows.thread if chosen is None else rows.thread.take(chosen), first)
    if threads.order is not None:
        places = threads.order if chosen is None else chosen[threads.order]
    else:
        places = np.arange(len(rows.thread)) if chosen is None else chosen
    whole = chosen is None and threads.order is None

    def at(column: Floats) -> Floats:
        return column if whole else column.take(places)

    meaning = _standing(None if dense is None else at(dense), len(places))
    about = lexical.search(question.about, allowed).coverage if len(question.about.hashes) else np.zeros(len(rows.thread), dtype=np.float32)
    own = (_peaked(at(found.bm25)), at(found.coverage), at(found.heading), at(about), meaning)
    return Candidates(places, threads, *own, found.holders, len(rows.thread))


def candidates(rows: Candidates, recipe: Recipe) -> Candidates:
    """The rows to weigh in full: all of them in a small space, else the best by words and by meaning with their surroundings."""
    count = len(rows.places)
    if count <= recipe.weighed_rows:
        return rows
    mark = np.zeros(count + 1, dtype=np.int32)
    for values in (rows.words, rows.meaning):
        seeds = _largest(values, recipe.seeds)
        np.add.at(mark, np.maximum(seeds - recipe.around, 0), 1)
        np.add.at(mark, np.minimum(seeds + recipe.around + 1, count), -1)
    inside = np.cumsum(mark[:-1]) > 0
    if not inside.any():
        inside[: recipe.seeds] = True
    at = np.flatnonzero(inside)
    own = (rows.words[at], rows.coverage[at], rows.heading[at], rows.about[at], rows.meaning[at])
    return Candidates(rows.places[at], rows.threads.part(at), *own, rows.holders, rows.total)


def _largest(values: Floats, count: int) -> NDArray[np.int64]:
    """Places of the `count` largest positive values, in any order."""
    positive = np.flatnonzero(values > 0)
    # A threshold from an even sample leaves few values to partition; what is above it holds the largest, whatever the sample.
    step = len(positive) // 4096
    if step > 1:
        sample = values[positive[::step]]
        keep = min(len(sample), 2 * count // step + 32)
        above = positive[values[positive] >= np.partition(sample, len(sample) - keep)[len(sample) - keep]]
        positive = above if len(above) >= count else positive
    if len(positive) <= count:
        return positive
    return positive[np.argpartition(-values[positive], count - 1)[:count]]


def _sum(parts: dict[str, Floats]) -> Floats:
    out = np.zeros_like(parts[GROUPS[0]])
    for part in parts.values():
        out += part
    return out


def evidence(
    question: Question, rows: Rows, lexical: LexicalIndex, near: Candidates, recipe: Recipe
) -> Iterator[tuple[str, str, Floats]]:
    """Each piece of evidence as (group, name of its weight in `Recipe`, values of the candidates)."""
    places, threads, words, coverage, meaning = near.places, near.threads, near.words, near.coverage, near.meaning
    flags = rows.flags[places]

    yield "words", "words", words
    yield "words", "words_squared", words * words
    yield "words", "coverage", coverage
    yield "meaning", "meaning", meaning
    unworded = np.float32((1 - near.coverage.max(initial=0)) ** 2)
    yield "meaning", "meaning_unworded", meaning * unworded
    yield "words", "both", words * np.maximum(meaning, 0)
    if len(question.about.hashes):
        yield "words", "about", near.about
    if near.heading.any():
        yield "words", "heading", near.heading

    # Neighbours: an answer and what it answers share their words between them.
    words_before, meaning_before = threads.before(words, 1), threads.before(meaning, 1)
    yield "around", "words_before", words_before
    yield "around", "words_before_2", threads.before(words, 2)
    yield "around", "words_after", threads.after(words, 1)
    yield "around", "words_after_2", threads.after(words, 2)
    yield "around", "meaning_before", meaning_before
    yield "around", "meaning_before_2", threads.before(meaning, 2)
    yield "around", "meaning_after", threads.after(meaning, 1)
    yield "around", "meaning_after_2", threads.after(meaning, 2)
    yield "around", "words_near", threads.mean(words, recipe.near)
    meaning_near = threads.mean(meaning, recipe.near)
    yield "around", "meaning_near", meaning_near
    yield "around", "meaning_near_unworded", meaning_near * unworded
    yield "around", "words_around", threads.mean(words, recipe.around)
    yield "around", "meaning_around", threads.mean(meaning, recipe.around)
    yield "around", "words_peak", threads.peak(words, recipe.around)
    yield "around", "coverage_peak", threads.peak(coverage, recipe.around)
    yield "around", "together_next", near.together(1)
    yield "around", "together_near", near.together(recipe.near)
    meaning_peak = threads.peak(np.maximum(meaning, 0), recipe.around)
    yield "around", "meaning_peak", meaning_peak
    yield "around", "meaning_peak_unworded", meaning_peak * unworded
    asked_before = threads.before(_flag(flags, Flag.ASKS), 1)
    yield "around", "after_question", asked_before
    yield "around", "answers_words", asked_before * words_before
    yield "around", "answers_meaning", asked_before * meaning_before

    if question.named.any() or question.users.any() or question.assistants.any():
        author = rows.author[places]
        if question.named.any():
            yield "speaker", "speaker", question.named[author]
        if question.users.any():
            yield "speaker", "own_words", question.users[author]
        if question.assistants.any():
            yield "speaker", "assistant_words", question.assistants[author]

    if question.asks_when:
        yield "time", "tells_when", _flag(flags, Flag.TIME)
    if len(question.intervals):
        said, spoken = _times(question.intervals, rows)
        yield "time", "said_then", said[places]
        yield "time", "speaks_of_then", spoken[places]

    if question.asks_amount:
        yield "shape", "tells_amount", _flag(flags, Flag.NUMBER)
    lengths = lexical.lengths[places]
    size = np.log1p(lengths)
    yield "shape", "ends_asking", _flag(flags, Flag.ENDS_ASKING)
    yield "shape", "first_person", _flag(flags, Flag.FIRST_PERSON)
    yield "shape", "size", size
    yield "shape", "great_size", np.maximum(size - 4, 0)
    yield "shape", "tiny", (lengths < 6).astype(np.float32)


def links(
    question: Question,
    scores: Floats,
    lexical: LexicalIndex,
    allowed: Mask | None,
    near: Candidates,
    recipe: Recipe,
    first: NDArray[np.int64] | None = None,
) -> Iterator[tuple[str, Floats]]:
    """How much each row shares with the best rows so far of what the question does not name, by weight: the second step to an answer."""
    count = min(recipe.feedback_rows, len(scores))
    best = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(count)
    best = best[np.lexsort((near.places[best] if first is None else first[near.places[best]], -scores[best]))]
    weights = np.exp(scores[best] - scores[best[0]]).astype(np.float32)
    shared = lexical.expand(question.terms, near.places[best], weights, allowed, recipe.feedback_terms)[near.places]
    shared[best] = np.maximum(shared[best], weights)  # what is linked to a row shall not pass it for that alone
    yield "linked", shared
    yield "linked_alone", shared * near.threads.alone


def _peaked(values: NDArray[Any]) -> Floats:
    """Non-negative values over the largest of them."""
    values = np.asarray(values, dtype=np.float32)
    peak = values.max(initial=0)
    return np.asarray(values / peak, dtype=np.float32) if peak > 0 else values


def _standing(values: NDArray[Any] | None, count: int) -> Floats:
    """Where each value stands between the mean (0) and the largest (1); 0 where there is none."""
    if values is None:
        return np.zeros(count, dtype=np.float32)
    values = np.asarray(values, dtype=np.float32)
    missing = np.isnan(values)
    some = bool(missing.any())
    known = values[~missing] if some else values
    if not len(known):
        return np.zeros(count, dtype=np.float32)
    mean = known.mean(dtype=np.float64)
    spread = float(known.max() - mean)
    out = ((values - np.float32(mean)) / np.float32(spread if spread > 1e-6 else 1)).astype(np.float32)
    if some:
        out[missing] = 0
    return out


def _flag(flags: NDArray[np.int64], flag: Flag) -> Floats:
    return np.asarray(flags & int(flag) != 0, dtype=np.float32)


def _times(intervals: NDArray[np.int64], rows: Rows) -> tuple[Floats, Floats]:
    """Which rows were said in one of `intervals`, and which speak of a time that overlaps one: (n,) each, 0 or 1."""
    said = np.zeros(len(rows.event_at), dtype=np.float32)
    spoken = np.zeros(len(rows.event_at), dtype=np.float32)
    for start, end in intervals.tolist():
        said[(rows.event_at >= start) & (rows.event_at < end)] = 1
        if len(rows.moments):
            overlap = (rows.moments[:, 1] < end) & (rows.moments[:, 2] > start)
            spoken[rows.moments[overlap, 0]] = 1
    return said, spoken


def top(scores: NDArray[np.floating[Any]], k: int, first: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The rows of the `k` best scores, best first, equal ones by `first`, or by row number; rows of score -inf are never among them."""
    k = min(max(k, 0), int(np.count_nonzero(scores > -np.inf)))
    if not k:
        return np.zeros(0, dtype=np.int64)
    if k < len(scores):
        limit = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= limit)
    else:
        candidates = np.arange(len(scores))
    if first is not None:
        candidates = candidates[np.argsort(first[candidates], kind="stable")]
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def author_codes(authors: Sequence[str | None]) -> tuple[NDArray[np.int32], list[str]]:
    """Codes and names of a column of authors, for rows that come without: in order of first appearance, None is -1."""
    names = list(dict.fromkeys(author for author in authors if author is not None))
    code = {name: i for i, name in enumerate(names)}
    return np.array([-1 if author is None else code[author] for author in authors], dtype=np.int32), names
