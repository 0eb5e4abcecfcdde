"""How notes scale: near notes found by signatures against all of them, what one more memory costs, what a query costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.cube import Link as Lineage
from mnemos.base.lineage import VIEW_OF
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.index.exact import ExactIndex
from mnemos.kernel.space import Space
from mnemos.text.notes.neighbours import Signatures, closest
from mnemos.text.notes.note import Description, Link, Note
from mnemos.text.notes.strategy import Notes

DIMENSIONS = 384
SIZES = (1_000, 10_000, 100_000)
_SPECTRUM = 48
"""Directions that topics differ in: sentence embeddings of real texts vary in some tens of directions, not in all."""
_QUERIES = 100
_PORTION = 64
_ROUNDS = 5
"""Times that a portion is added; the median is told, as arrays that grow are copied once for every half more."""
_WORDS = 20_000


class Topics:
    """Unit vectors that lie together as topics do: one topic for about twenty texts, with noise in all directions. A text's vector is that of the
    topic that it names first."""

    fingerprint = "topics-384"
    dimensions = DIMENSIONS

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self._rng = rng
        scale = 1 / np.sqrt(1 + np.arange(_SPECTRUM))
        self.centres = (rng.standard_normal((max(size // 20, 1), _SPECTRUM)) * scale) @ rng.standard_normal((_SPECTRUM, DIMENSIONS))
        self._noise = 0.6 * np.sqrt(np.mean(self.centres**2))

    def embed(self, texts: Sequence[str], *, progress: Any = None) -> NDArray[np.float32]:
        topics = np.array([int(text.split(None, 1)[0].removeprefix("topic")) for text in texts])
        vectors = self.centres[topics % len(self.centres)] + self._noise * self._rng.standard_normal((len(texts), DIMENSIONS))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def scale(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """Check 6 of the sheet: recall of the approximate look-up, growth of the cost of adding, latency of look-up and search."""
    sizes = SIZES[:2] if options.quick else SIZES
    rows: dict[int, dict[str, float]] = {}
    for size in sizes:
        options.say(f"{size:,} notes")
        rows[size] = {**_looked_up(options.rng(), size), **_written(options.rng(), size)}
    most = sizes[-1]
    fewer = rows[sizes[-2]]
    return [
        Check("near notes, recall@10 of signatures, the worst size", min(row["recall@10"] for row in rows.values()), 0.95, n=_QUERIES),
        Check(f"adding to {most:,} ÷ to {sizes[-2]:,} notes, CPU", rows[most]["add CPU ms"] / fewer["add CPU ms"], 2.0, at_least=False,
              baseline=fewer["add CPU ms"], n=_PORTION * _ROUNDS),
        Check("the same by the clock", rows[most]["add ms"] / fewer["add ms"], None, at_least=False, baseline=fewer["add ms"], n=_PORTION * _ROUNDS),
        Check(f"look-up among {most:,} notes, ms, p95", rows[most]["look-up ms p95"], 20.0, at_least=False, n=_QUERIES),
        Check("the same, CPU ms, p95", rows[most]["look-up CPU ms p95"], 20.0, at_least=False, n=_QUERIES),
        Check(f"whole search among {most:,} memories with notes, ms, p95", rows[most]["search ms p95"], None, at_least=False, n=_QUERIES),
        Check("the same, CPU ms, p95", rows[most]["search CPU ms p95"], None, at_least=False, n=_QUERIES),
    ], {"Scale": {f"{size:,} notes": row for size, row in rows.items()}}  # fmt: skip


def _looked_up(rng: np.random.Generator, size: int) -> dict[str, float]:
    """Recall and latency of the look-up among `size` vectors."""
    topics = Topics(rng, size)
    vectors = topics.embed([f"topic{n}" for n in range(size)])
    exact, everything = ExactIndex(DIMENSIONS), np.ones(size, dtype=bool)
    exact.put(np.arange(size), vectors)
    held = Signatures()
    held.catch_up(exact, everything)
    queries = topics.embed([f"topic{n}" for n in rng.integers(0, size, _QUERIES)])
    shared, took, own, all_took = [], [], [], []
    for query in queries:
        start, cpu = time.perf_counter(), time.process_time()
        ((rows, _),) = held.nearest(query[None], everything, 10)
        own.append(time.process_time() - cpu)
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
        truth, _ = closest(np.arange(size), exact.scores(query, size), 10)
        all_took.append(time.perf_counter() - start)
        shared.append(len(set(rows.tolist()) & set(truth.tolist())) / len(truth))
    return {
        "recall@10": float(np.mean(shared)), "look-up ms p95": 1e3 * float(np.percentile(took, 95)),
        "look-up CPU ms p95": 1e3 * float(np.percentile(own, 95)), "exact look-up ms p95": 1e3 * float(np.percentile(all_took, 95)),
    }  # fmt: skip


def _written(rng: np.random.Generator, size: int) -> dict[str, float]:
    """What one more memory costs in a space that holds `size` memories with their notes, and what a search does."""
    with mnemos.open(":memory:", embedder=Topics(rng, size)) as memory:
        space = memory.space("many", strategy=Notes.name)
        ids = [cube.id for cube in space.add_many(_records(rng, size))]
        space.add_many(_notes(rng, ids))
        _consolidated_so_far(space)
        space.add_many(_records(rng, _PORTION))
        space.consolidate()  # the indexes are caught up here
        added, consolidated, cpu = zip(*(_added(space, _records(rng, _PORTION)) for _ in range(_ROUNDS)), strict=True)
        vectors = memory.embedding.matrix([f"topic{n} query" for n in rng.integers(0, size, 16)])
        assert vectors is not None
        took, own = [], []
        for number, record in enumerate(_records(rng, _QUERIES)):
            start, begun = time.perf_counter(), time.process_time()
            space.search(" ".join(record["text"].split()[1:7]), k=10, vector=vectors[number % len(vectors)])
            own.append(time.process_time() - begun)
            took.append(time.perf_counter() - start)
        return {
            "add CPU ms": 1e3 * float(np.median(cpu)) / _PORTION,
            "add ms": 1e3 * float(np.median(np.add(added, consolidated))) / _PORTION, "of it at once ms": 1e3 * float(np.median(added)) / _PORTION,
            "search ms p50": 1e3 * float(np.median(took)), "search ms p95": 1e3 * float(np.percentile(took, 95)),
            "search CPU ms p95": 1e3 * float(np.percentile(own, 95)),
        }  # fmt: skip


def _added(space: Space, records: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """Seconds that adding some memories takes, and consolidating them; and seconds of this process for both."""
    start, cpu = time.perf_counter(), time.process_time()
    for record in records:
        space.add(**record)
    middle = time.perf_counter()
    done = space.consolidate()
    assert done.added == len(records), done
    return middle - start, time.perf_counter() - middle, time.process_time() - cpu


def _records(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Texts of twelve words with a name that some twenty of 100,000 share."""
    words = rng.integers(0, _WORDS, (count, 11))
    people = rng.integers(0, 5_000, count).tolist()
    told = [" ".join(f"word{n}" for n in row) for row in words[:, 1:].tolist()]
    return [{"text": f"topic{7 * row[0]} and Person{who:04d} saw {text}."} for row, who, text in zip(words, people, told, strict=True)]


def _notes(rng: np.random.Generator, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Notes as the strategy writes them, with five links each, written at once: describing 100,000 memories one by one takes a quarter of an hour."""
    out: list[dict[str, Any]] = []
    for at, id in enumerate(ids):
        links = [Link(UUID(ids[other]), 1, "subject", 0.5, "alike", "rules") for other in rng.integers(0, max(at, 1), min(at, 5)).tolist()]
        note = Note(Description.of([f"word{at % _WORDS}"], ["fact"], f"word{at % _WORDS} and others"), "rules", tuple(dict.fromkeys(links)))
        text = note.text(f"topic{at} note {at}.")
        out.append({
            "text": text, "type": "note", "origin": "inference", "derived_from": [Lineage(UUID(id), 1, VIEW_OF)],
            "metadata": {**note.metadata(), "strategy": Notes.name, "by": "rules"},
        })  # fmt: skip
    return out


def _consolidated_so_far(space: Space) -> None:
    """Let the strategy begin behind what there is."""
    with space.system.writing(alone=True) as transaction:
        transaction.set_setting(f"consolidated/{space.num}/{Notes.name}", space.system.position())
