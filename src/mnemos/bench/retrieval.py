"""Measuring retrieval: the product and its baselines rank the same texts for the same questions, and are scored side by side."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.meter import Latency, Seconds, disk_bytes, machine, peak_resident_bytes, resident_bytes
from mnemos.base.protocols import Embedder
from mnemos.base.stats import Interval, bootstrap_mean, bootstrap_ratio
from mnemos.bench.baselines import DEPTH, STOP_WORDS, Bm25, fuse, rank_dense
from mnemos.bench.corpus import Corpus, Question, baseline_text
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.metrics import score, unique
from mnemos.bench.peers import PeerError, rank_with_peer, requirements
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.models.minilm import MiniLM

K = 20
OURS, BM25, BM25_STOPPED, DENSE, RRF = "mnemos", "bm25", "bm25, no stop words", "dense", "rrf"
Rankings = dict[str, list[list[str]]]
Mask = Sequence[bool]
OpenStore = Callable[[Path, Embedder], Any]
Probe = Callable[[Any, Question], None]


@dataclass
class Measured:
    """All rankings of a run, aligned with `questions`, and what the product cost. `scores[system][metric]` has a value per question."""

    questions: list[Question]
    rankings: Rankings
    costs: dict[str, Any]
    options: Options
    seconds: Seconds
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores: dict[str, dict[str, NDArray[np.float64]]] = {}
        for system, rankings in self.rankings.items():
            rows = [score(ranking, question.evidence) for ranking, question in zip(rankings, self.questions, strict=True)]
            self.scores[system] = {metric: np.array([row[metric] for row in rows]) for metric in rows[0]}

    def mean(self, system: str, metric: str, mask: Mask) -> float:
        """Mean over the questions that `mask` chooses; NaN where it chooses none."""
        chosen = self.scores[system][metric][np.asarray(mask, dtype=bool)]
        return float(chosen.mean()) if len(chosen) else float("nan")

    def interval(self, system: str, metric: str, mask: Mask) -> Interval:
        """The mean with its interval clustered by conversation."""
        chosen = np.asarray(mask, dtype=bool)
        return bootstrap_mean(self.scores[system][metric][chosen], self._clusters(chosen), self.options.rng())

    def ratio(self, system: str, other: str, metric: str, mask: Mask) -> Interval:
        """The ratio of two systems' means, paired by question, with its interval clustered by conversation."""
        chosen = np.asarray(mask, dtype=bool)
        ours, theirs = self.scores[system][metric][chosen], self.scores[other][metric][chosen]
        return bootstrap_ratio(ours, theirs, self._clusters(chosen), self.options.rng())

    def _clusters(self, chosen: NDArray[np.bool_]) -> list[str]:
        return [question.cluster for question, flag in zip(self.questions, chosen, strict=True) if flag]

    def best_baseline(self, metric: str, mask: Mask) -> str:
        """The baseline or peer with the highest mean."""
        return max((name for name in self.scores if name != OURS), key=lambda name: self.mean(name, metric, mask))

    def table(self, mask: Mask) -> dict[str, dict[str, Any]]:
        """A row of means per system."""
        n = int(np.sum(np.asarray(mask, dtype=bool)))
        return {name: {"n": n, **{metric: self.mean(name, metric, mask) for metric in metrics}} for name, metrics in self.scores.items()}

    def by_category(self, metric: str) -> dict[str, dict[str, Any]]:
        """A row per category, with each system's mean."""
        rows: dict[str, dict[str, Any]] = {}
        for category in sorted({question.category for question in self.questions}):
            mask = [question.category == category for question in self.questions]
            interval = self.interval(OURS, metric, mask)
            means = {name: self.mean(name, metric, mask) for name in self.scores}
            rows[category] = {"n": sum(mask), **means, "our low": interval.low, "high": interval.high}
        return rows

    def result(self, benchmark: Benchmark, checks: Sequence[Check], tables: Mapping[str, Any], notes: Sequence[str]) -> Result:
        """The benchmark's result with these checks, and the costs beside them."""
        peers = [f"{peer}: {' '.join(requirements(peer))}" for peer in self.options.peers if peer in self.scores]
        details = {
            "tables": {**tables, "Cost": {name: {OURS: value} for name, value in self.costs.items()}},
            "quick": self.options.quick,
            "seed": self.options.seed,
            "k": K,
            "corpora": len({question.cluster for question in self.questions}),
            "notes": [*notes, *peers, *(f"{peer} did not run: {reason}" for peer, reason in self.failures.items())],
        }
        return Result.of(
            benchmark.name, benchmark.paper, benchmark.claim, checks,
            seconds=self.seconds.seconds, machine=machine().as_dict(), details=details,
        )

    def against_fusion(self, benchmark: Benchmark, tables: Mapping[str, Any], notes: Sequence[str]) -> Result:
        """The result of a set on which the product must not lose against reciprocal-rank fusion."""
        everything = [True] * len(self.questions)
        fusion = self.mean(RRF, "recall@10", everything)
        checks = [
            Check.of("recall@10", self.interval(OURS, "recall@10", everything), fusion, baseline=fusion),
            Check.of("recall@10 ÷ reciprocal-rank fusion", self.ratio(OURS, RRF, "recall@10", everything)),
            Check.of("ndcg@10 ÷ reciprocal-rank fusion", self.ratio(OURS, RRF, "ndcg@10", everything)),
        ]
        common = {"All": self.table(everything), "recall@10 by category": self.by_category("recall@10")}
        return self.result(benchmark, checks, {**common, **tables}, notes)


def measure(corpora: Sequence[Corpus], options: Options, *, embedder: Embedder | None = None, open_store: OpenStore | None = None,
            probe: Probe | None = None) -> Measured:
    """Runs the product, the baselines and the peers over the corpora. `probe` is called with each question and its space, untimed.

    The product goes first, so that no vector of it is at hand from a baseline.
    """
    clock = Seconds()
    counting = CountingEmbedder(embedder or MiniLM(), vector_folder())
    folder = Path(tempfile.mkdtemp(prefix="mnemos-bench-"))
    try:
        costs, ours = _product(corpora, counting, folder / "store.db", open_store or _open, options, probe)
        rankings: Rankings = {OURS: ours, **_baselines(corpora, counting, options)}
        failures: dict[str, str] = {}
        for peer in options.peers:
            options.say(f"peer {peer}")
            try:
                rankings[peer] = _peer(peer, corpora, counting, folder)
            except PeerError as error:
                failures[peer] = str(error)
    finally:
        shutil.rmtree(folder)
    questions = [question for corpus in corpora for question in corpus.questions]
    return Measured(questions, rankings, costs, options, clock, failures)


def _open(path: Path, embedder: Embedder) -> Any:
    return mnemos.open(str(path), embedder=embedder)


def _product(corpora: Sequence[Corpus], embedder: CountingEmbedder, path: Path, open_store: OpenStore, options: Options,
             probe: Probe | None) -> tuple[dict[str, Any], list[list[str]]]:
    embedder.embed(["A first sentence loads the model."])
    before, loading = resident_bytes(), embedder.seconds
    memory = open_store(path, embedder)
    cubes = 0
    with Seconds() as ingest:
        for number, corpus in enumerate(corpora):
            options.say(f"ingesting {number + 1} of {len(corpora)}, {cubes / max(ingest.seconds, 1e-9):,.0f} cubes/s")
            memory.space(corpus.name).add_many(list(corpus.records))
            cubes += len(corpus.records)
    embedding, rate = embedder.seconds - loading, embedder.rate()
    memory.close()
    with Seconds() as opening:
        memory = open_store(path, embedder)
    rankings: list[list[str]] = []
    took: list[float] = []
    without: list[float] = []
    total = sum(len(corpus.questions) for corpus in corpora)
    for corpus in corpora:
        space = memory.space(corpus.name)
        for question in corpus.questions:
            if len(rankings) % 50 == 0:
                options.say(f"asking {len(rankings):,} of {total:,}")
            spent, start = embedder.seconds, time.perf_counter()
            hits = space.search(question.text, k=K)
            end = time.perf_counter() - start
            took.append(end)
            without.append(end - (embedder.seconds - spent))
            rankings.append(unique(hit.cube.source for hit in hits))
            if probe:
                probe(space, question)
    held = resident_bytes()
    memory.close()
    costs = {
        "cubes": cubes,
        "ingest cubes/s": cubes / ingest.seconds,
        "embedder texts/s": rate,
        "share of ingest embedding": embedding / ingest.seconds,
        **_latency("search", took),
        **_latency("search without embedding", without),
        "open s": opening.seconds,
        "memory MB": held / 1e6,
        "memory beyond embedder MB": (held - before) / 1e6,
        "peak memory MB": peak_resident_bytes() / 1e6,
        "disk MB": disk_bytes(path.parent) / 1e6,
    }
    if embedder.recalled:
        costs["vectors recalled from an earlier run"] = embedder.recalled
    return costs, rankings


def _latency(name: str, took: Sequence[float]) -> dict[str, float]:
    one = Latency.of(took)
    return {f"{name}, ms, p50": one.p50 * 1e3, f"{name}, ms, p95": one.p95 * 1e3, f"{name}, ms, p99": one.p99 * 1e3}


def _baselines(corpora: Sequence[Corpus], embedder: Embedder, options: Options) -> Rankings:
    rankings: Rankings = {BM25: [], BM25_STOPPED: [], DENSE: [], RRF: []}
    for number, corpus in enumerate(corpora):
        options.say(f"baselines {number + 1} of {len(corpora)}")
        texts, sources = _texts(corpus)
        vectors, queries = embedder.embed(texts), embedder.embed([question.text for question in corpus.questions])
        lexical = Bm25(texts)
        for question, query in zip(corpus.questions, queries, strict=True):
            words, dense = lexical.rank(question.text, DEPTH), rank_dense(vectors, query, DEPTH)
            stopped = lexical.rank(question.text, K, STOP_WORDS)
            for name, ranking in ((BM25, words), (BM25_STOPPED, stopped), (DENSE, dense), (RRF, fuse([words, dense], K))):
                rankings[name].append([sources[i] for i in ranking[:K]])
    return rankings


def _peer(name: str, corpora: Sequence[Corpus], embedder: Embedder, folder: Path) -> list[list[str]]:
    rankings = []
    for corpus in corpora:
        texts, sources = _texts(corpus)
        questions = [question.text for question in corpus.questions]
        found = rank_with_peer(name, texts, embedder.embed(texts), questions, embedder.embed(questions), K, folder)
        rankings += [unique(sources[i] for i in ranking) for ranking in found]
    return rankings


def _texts(corpus: Corpus) -> tuple[list[str], list[str]]:
    return [baseline_text(record) for record in corpus.records], [record["source"] for record in corpus.records]


