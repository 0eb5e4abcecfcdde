"""The hashed index of thoughts: the law of its buckets, what it finds among clustered vectors, and how long a search takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.text.thoughts.hashing import DEFAULTS, Floats, Hash, HashedIndex

PAIRS, BINS, BUCKETS, DIMENSIONS = 10_000, 18, 8, 384
TABLES = 64
"""Hash functions over which collision rates are averaged."""
K = 5
MONOTONE, RECALL, SHARE, SLOWER, LATENCY_MS = 0.99, 0.95, 0.15, 1.1, 5.0
SPREAD, WIDE = 0.3, 0.45
"""Length of the noise around a cluster's centre, of length 1: a vector and its nearest neighbours have a cosine of about 0.92, or 0.83."""
NOTE = (
    f"Clustered vectors: a tenth as many centres as vectors, in a cone, with noise of length {SPREAD} around them ({WIDE} where wide). Distance "
    "computations count the vectors that are compared and the random directions that the query is projected on. Paper and sheet say not how tight "
    "clusters are; the wider they are, the more neighbours lie beyond every bucket that is looked into."
)


def law(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """How often two vectors share a bucket, by their angle; that length does not matter, and that opposites never meet."""
    rng = options.rng()
    angles = rng.uniform(0, np.pi, PAIRS)
    first = _unit(rng.standard_normal((PAIRS, DIMENSIONS)))
    other = rng.standard_normal((PAIRS, DIMENSIONS))
    across = _unit(other - (other * first).sum(axis=1, keepdims=True) * first)
    second = np.asarray(np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * across, dtype=np.float32)
    shared = np.zeros(PAIRS)
    for table in range(TABLES):
        hash = Hash(DIMENSIONS, BUCKETS, options.seed, table)
        shared += hash(first, BUCKETS) == hash(second, BUCKETS)
    places = np.minimum((angles / np.pi * BINS).astype(int), BINS - 1)
    rates = np.array([shared[places == place].mean() / TABLES for place in range(BINS)])
    hash = Hash(DIMENSIONS, BUCKETS, options.seed, 0)
    buckets = hash(first, BUCKETS)
    scaled = all(np.array_equal(hash(first * np.float32(c), BUCKETS), buckets) for c in (1e-3, 0.5, 8.0, 1e3))
    opposite = float((hash(-first, BUCKETS) == buckets).mean())
    rows = {f"{180 * place // BINS}° to {180 * (place + 1) // BINS}°": {"share": float(rate)} for place, rate in enumerate(rates)}
    return [
        Check("collision rate falls with the angle, rank correlation", _falls(rates), MONOTONE, n=PAIRS),
        Check("F(cx) = F(x), share", float(scaled), 1.0, n=PAIRS),
        Check("F(-x) = F(x), share", opposite, 0.0, at_least=False, n=PAIRS),
    ], {f"Share in one of {BUCKETS} buckets, by angle": rows}


def _falls(rates: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of rates with the order in which they should fall; ties share their ranks."""
    ranks = np.array([(rates < rate).sum() + 0.5 * ((rates == rate).sum() - 1) for rate in rates])
    wanted = np.arange(len(rates))[::-1]
    return float(np.corrcoef(ranks, wanted)[0, 1])


def searches(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """Recall and cost against exact search, of the defaults and of one table with one probe; latency; and the cost where there are few vectors."""
    n, queries = (20_000, 200) if options.quick else (100_000, 1000)
    rng = options.rng()
    made = {spread: clustered(n, spread, rng) for spread in (SPREAD, WIDE)}
    questions = {
        spread: _unit(vectors[rng.choice(n, queries, replace=False)] + 0.2 * _unit(rng.standard_normal((queries, DIMENSIONS))))
        for spread, vectors in made.items()
    }  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    single_table = replace(DEFAULTS, tables=1, probes=1)
    for name, spread, parameters in (("hashed", SPREAD, DEFAULTS), ("one table, one probe", SPREAD, single_table), ("wide clusters", WIDE, DEFAULTS)):
        options.say(f"{name}: {n:,} vectors")
        vectors, asked = made[spread], questions[spread]
        exact = [_best(vectors, query) for query in asked]
        index = HashedIndex(DIMENSIONS, parameters=parameters)
        index.add(np.arange(n), vectors)
        found, compared, seconds, worked = [], [], [], []
        for query, best in zip(asked, exact, strict=True):
            start, began = time.perf_counter(), time.process_time()
            near = index.search(query, K)
            worked.append(time.process_time() - began)
            seconds.append(time.perf_counter() - start)
            found.append(len(np.intersect1d(near.ids, best)) / K)
            compared.append((near.compared + parameters.tables * index.buckets / 2) / n)
        fullest = max(len(members) for table in range(parameters.tables) for members in index.contents(table).values())
        rows[name] = {
            "recall@5": float(np.mean(found)), "distance computations": float(np.mean(compared)), "buckets": index.buckets, "fullest": fullest,
            "ms, p50": 1e3 * float(np.median(seconds)), "ms, p95": 1e3 * float(np.percentile(seconds, 95)),
            "CPU ms, p95": 1e3 * float(np.percentile(worked, 95)),
        }  # fmt: skip
    ours, single = rows["hashed"], rows["one table, one probe"]
    checks = [
        Check(f"recall@5 of exact, {n:,} vectors", ours["recall@5"], RECALL, baseline=single["recall@5"], n=queries),
        Check("distance computations, share of exact", ours["distance computations"], SHARE, at_least=False, n=queries),
        Check("recall@5 over one table and one probe", ours["recall@5"] - single["recall@5"], 0.1, n=queries),
        Check(f"search of {n:,}, ms, p95", ours["ms, p95"], LATENCY_MS, at_least=False, n=queries),
        Check("the same, CPU ms of all threads, p95", ours["CPU ms, p95"], LATENCY_MS, at_least=False, n=queries),
        Check("140 vectors, time over exact", _few(made[SPREAD][:140], questions[SPREAD]), SLOWER, at_least=False, n=queries),
    ]
    return checks, {f"Searches of {n:,} clustered vectors": rows}


def clustered(n: int, spread: float, rng: np.random.Generator) -> Floats:
    """(n, 384) unit vectors in clusters of ten, the centres in a cone, as those of an embedder are."""
    centres = _unit(rng.standard_normal((n // 10, DIMENSIONS)) + 0.5 * rng.standard_normal(DIMENSIONS))
    noise = _unit(rng.standard_normal((n, DIMENSIONS)))
    return _unit(centres[rng.integers(len(centres), size=n)] + spread * noise)


def _few(vectors: Floats, asked: Floats) -> float:
    """Time of a search among few vectors, over that of a product and a sort, medians of interleaved runs."""
    index = HashedIndex(DIMENSIONS)
    index.add(np.arange(len(vectors)), vectors)
    plain = ExactSearch(vectors)
    ours, theirs = [], []
    for query in [*asked, *asked]:
        ours.append(_seconds(lambda query=query: index.search(query, K)))  # type: ignore[misc]
        theirs.append(_seconds(lambda query=query: plain.search(query, K)))  # type: ignore[misc]
    return float(np.median(ours) / np.median(theirs))


class ExactSearch(HashedIndex):
    """The same index, which never hashes: what hashing is compared with."""

    def __init__(self, vectors: Floats) -> None:
        super().__init__(vectors.shape[1], parameters=replace(DEFAULTS, exact_below=1 << 60))
        self.add(np.arange(len(vectors)), vectors)


def _best(vectors: Floats, query: Floats) -> NDArray[np.int64]:
    return np.argpartition(-(vectors @ query), K)[:K]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _unit(vectors: NDArray[Any]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
