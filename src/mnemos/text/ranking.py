"""From evidence to an order: what words, meaning, neighbours, speaker, time and shape say about each row, weighed and summed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.lexical import LexicalIndex
from mnemos.text.question import Question
from mnemos.text.reading import Flag
from mnemos.text.recipe import DEFAULT, Recipe
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


class Ranking(NamedTuple):
    """Scores and what they are made of, for every row."""

    scores: Floats
    """(n,) float32, -inf where a row is not allowed. Differences are log odds: exp(a - b) says how much likelier one row is than another."""
    signals: dict[str, Floats]
    """For each of `GROUPS`, (n,) float32; they sum to the score; 0 where a row is not allowed."""


def rank(
    question: Question,
    rows: Rows,
    lexical: LexicalIndex,
    dense: Floats | None = None,
    allowed: Mask | None = None,
    recipe: Recipe = DEFAULT,
) -> Ranking:
    """Score every row as an answer to `question`.

    `dense` (n,) float32 is the cosine of each row with the vector of `question.voiced`, NaN where a row has no vector, None without an
    embedder. `allowed` (n,) bool says which rows there are for this question; the result is the same as if the others did not exist.
    """
    n = len(rows.thread)
    chosen = None if allowed is None or allowed.all() else np.flatnonzero(allowed)
    count = n if chosen is None else len(chosen)
    if not count:
        return Ranking(np.full(n, -np.inf, dtype=np.float32), {group: np.zeros(n, dtype=np.float32) for group in GROUPS})
    threads = Threads(rows.thread if chosen is None else rows.thread[chosen])
    places = chosen if threads.order is None else threads.order if chosen is None else chosen[threads.order]
    sums = {group: np.zeros(count, dtype=np.float32) for group in GROUPS}
    for group, name, value in evidence(question, rows, lexical, dense, allowed if chosen is not None else None, places, threads, recipe):
        weight = getattr(recipe, name)
        if weight:
            sums[group] += np.float32(weight) * value
    total = np.zeros(count, dtype=np.float32)
    for value in sums.values():
        total += value
    if recipe.linked:
        linked = np.float32(recipe.linked) * links(question, total, lexical, allowed if chosen is not None else None, places, recipe)
        sums["linked"] = linked
        total += linked
    scores = np.full(n, -np.inf, dtype=np.float32)
    signals = {}
    where = slice(None) if places is None else places
    for group, value in sums.items():
        out = np.zeros(n, dtype=np.float32)
        out[where] = value
        signals[group] = out
    scores[where] = total
    return Ranking(scores, signals)


def evidence(
    question: Question,
    rows: Rows,
    lexical: LexicalIndex,
    dense: Floats | None,
    allowed: Mask | None,
    places: NDArray[np.int64] | None,
    threads: Threads,
    recipe: Recipe,
) -> Iterator[tuple[str, str, Floats]]:
    """Each piece of evidence as (group, name of its weight in `Recipe`, values of the rows at `places`, in thread order)."""

    def at(column: NDArray[Any]) -> NDArray[Any]:
        return column if places is None else column[places]

    found = lexical.search(question.terms, allowed, recipe.bm25)
    words, coverage = _peaked(at(found.bm25)), np.asarray(at(found.coverage), dtype=np.float32)
    meaning = _standing(None if dense is None else at(dense), len(words))
    flags = np.asarray(at(rows.flags), dtype=np.int64)

    yield "words", "words", words
    yield "words", "coverage", coverage
    yield "meaning", "meaning", meaning
    yield "words", "both", words * np.maximum(meaning, 0)
    if found.heading.any():
        yield "words", "heading", np.asarray(at(found.heading), dtype=np.float32)

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
    yield "around", "meaning_near", threads.mean(meaning, recipe.near)
    yield "around", "words_around", threads.mean(words, recipe.around)
    yield "around", "meaning_around", threads.mean(meaning, recipe.around)
    yield "around", "words_peak", threads.peak(words, recipe.around)
    yield "around", "coverage_peak", threads.peak(coverage, recipe.around)
    yield "around", "meaning_peak", threads.peak(np.maximum(meaning, 0), recipe.around)
    asked_before = threads.before(_flag(flags, Flag.ASKS), 1)
    yield "around", "after_question", asked_before
    yield "around", "answers_words", asked_before * words_before
    yield "around", "answers_meaning", asked_before * meaning_before

    if question.named.any() or question.users.any() or question.assistants.any():
        author = np.asarray(at(rows.author), dtype=np.int64)
        if question.named.any():
            speaker = question.named[author]
            yield "speaker", "speaker", speaker
            yield "speaker", "speaker_words", speaker * words
            yield "speaker", "speaker_meaning", speaker * meaning
        if question.users.any():
            yield "speaker", "own_words", question.users[author]
        if question.assistants.any():
            yield "speaker", "assistant_words", question.assistants[author]

    if question.asks_when:
        yield "time", "tells_when", _flag(flags, Flag.TIME)
    if len(question.intervals):
        said, spoken = _times(question.intervals, rows)
        yield "time", "said_then", np.asarray(at(said), dtype=np.float32)
        yield "time", "speaks_of_then", np.asarray(at(spoken), dtype=np.float32)

    if question.asks_amount:
        yield "shape", "tells_amount", _flag(flags, Flag.NUMBER)
    lengths = np.asarray(at(lexical.lengths), dtype=np.float32)
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
    places: NDArray[np.int64] | None,
    recipe: Recipe,
) -> Floats:
    """How much each row shares with the best rows so far of what the question does not name: the second step to an answer."""
    count = min(recipe.feedback_rows, len(scores))
    best = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(count)
    best = best[np.lexsort((best, -scores[best]))]
    weights = np.exp(scores[best] - scores[best[0]]).astype(np.float32)
    out = lexical.expand(question.terms, best if places is None else places[best], weights, allowed, recipe.feedback_terms)
    return out if places is None else out[places]


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


def top(scores: Floats, k: int) -> NDArray[np.int64]:
    """The rows of the `k` best scores, best first, equal ones by row number; rows of score -inf are never among them."""
    k = min(max(k, 0), int(np.count_nonzero(scores > -np.inf)))
    if not k:
        return np.zeros(0, dtype=np.int64)
    if k < len(scores):
        limit = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= limit)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def author_codes(authors: Sequence[str | None]) -> tuple[NDArray[np.int32], list[str]]:
    """Codes and names of a column of authors, for rows that come without: in order of first appearance, None is -1."""
    names = list(dict.fromkeys(author for author in authors if author is not None))
    code = {name: i for i, name in enumerate(names)}
    return np.array([-1 if author is None else code[author] for author in authors], dtype=np.int32), names
