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
from mnemos.bench.peers import Costs, History, PeerError, Trial, requirements, run_peer
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.models.minilm import MiniLM

K = 20
OURS, BM25, BM25_STOPPED, DENSE, RRF = "mnemos", "bm25", "bm25, no stop words", "dense", "rrf"
EQUAL_CONDITIONS = (
    "Peers: all systems get the same texts and vectors, each history in a new store of its own. Timed: storing and indexing all texts of "
    "a history, and each search alone, one after the other, in one process; not timed: embedding, start-up, opening. Disk: after closing."
)
Rankings = dict[str, list[list[str]]]
Mask = Sequence[bool]
OpenStore = Callable[[Path, Embedder], Any]
Probe = Callable[[Any, Question], None]


@dataclass
class Measured:
    """All rankings of a run, aligned with `questions`, and what the product cost. `scores[system][metric]` has a value per question;
    `equal` has the costs of the product and of each peer under equal conditions, `versions` those of the peers; empty without peers."""

    questions: list[Question]
    rankings: Rankings
    costs: dict[str, Any]
    options: Options
    seconds: Seconds
    failures: dict[str, str] = field(default_factory=dict)
    equal: dict[str, Costs] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

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
        return bootstrap_mean(self.scores[system][metric][chosen], self._clusters(chosen), self.options.rng(), bounds=(0, 1))

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

    def beside(self, mask: Mask) -> dict[str, dict[str, Any]]:
        """A row per system: recall with its interval, and, of the product and the peers, speed and size under equal conditions."""
        rows = {}
        for name, means in self.table(mask).items():
            interval = self.interval(name, "recall@10", mask)
            kept = {metric: means[metric] for metric in ("n", "recall@5", "recall@10", "recall@20", "all@10")}
            costs = self.equal[name].row() if name in self.equal else {}
            rows[name] = {**kept, "@10 low": interval.low, "@10 high": interval.high, **costs}
        return rows

    def by_category(self, metric: str) -> dict[str, dict[str, Any]]:
        """A row per category, with each system's mean."""
        rows: dict[str, dict[str, Any]] = {}
        for category in sorted({question.category for question in self.questions}):
            mask = [question.category == category for question in self.questions]
            interval = self.interval(OURS, metric, mask)
            means = {name: self.mean(name, metric, mask) for name in self.scores}
            rows[category] = {"n": sum(mask), **means, "our low": interval.low, "high": interval.high}
        return rows

    def result(self, benchmark: Benchmark, checks: Sequence[Check], tables: Mapping[str, Any], notes: Sequence[str],
               mask: Mask | None = None) -> Result:
        """The benchmark's result with these checks, and the costs beside them. `mask` chooses what peers are compared on; None is all."""
        peers = [f"{peer} {version}: {' '.join(requirements(peer))}" for peer, version in self.versions.items()]
        failed = [f"{peer} did not run: {reason}" for peer, reason in self.failures.items()]
        beside = {"Peers": self.beside([True] * len(self.questions) if mask is None else mask)} if peers else {}
        details = {
            "tables": {**tables, **beside, "Cost": {name: {OURS: value} for name, value in self.costs.items()}},
            "quick": self.options.quick,
            "seed": self.options.seed,
            "k": K,
            "corpora": len({question.cluster for question in self.questions}),
            "notes": [*notes, *([EQUAL_CONDITIONS] if peers else []), *peers, *failed],
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
        equal: dict[str, Costs] = {}
        versions: dict[str, str] = {}
        for peer in options.peers:
            options.say(f"peer {peer}")
            try:
                trial = run_peer(peer, _histories(corpora, counting), K, folder)
                rankings[peer], equal[peer], versions[peer] = _named(trial, corpora), trial.costs, trial.version
            except PeerError as error:
                failures[peer] = str(error)
        if equal:
            options.say("the product as the peers ran")
            equal[OURS] = _as_peers(corpora, counting, folder, open_store or _open)
    finally:
        shutil.rmtree(folder)
    questions = [question for corpus in corpora for question in corpus.questions]
    return Measured(questions, rankings, costs, options, clock, failures, equal, versions)


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


def _histories(corpora: Sequence[Corpus], embedder: Embedder) -> list[History]:
    histories = []
    for corpus in corpora:
        texts, questions = _texts(corpus)[0], [question.text for question in corpus.questions]
        histories.append(History(texts, embedder.embed(texts), questions, embedder.embed(questions)))
    return histories


def _named(trial: Trial, corpora: Sequence[Corpus]) -> list[list[str]]:
    """The trial's rankings as sources, of all questions in their order."""
    return [unique(_texts(corpus)[1][i] for i in ranking) for corpus, part in zip(corpora, trial.rankings, strict=True) for ranking in part]


def _as_peers(corpora: Sequence[Corpus], embedder: Embedder, folder: Path, open_store: OpenStore) -> Costs:
    """The product's costs under the peers' conditions: vectors at hand (`embedder` has embedded all of it), a new store per history."""
    ingest, size = 0.0, 0
    took: list[float] = []
    for number, corpus in enumerate(corpora):
        own = folder / f"as-peers-{number}"
        own.mkdir()
        memory = open_store(own / "store.db", embedder)
        space = memory.space(corpus.name)
        with Seconds() as adding:
            space.add_many(list(corpus.records))
        ingest += adding.seconds
        for question in corpus.questions:
            with Seconds() as searching:
                space.search(question.text, k=K)
            took.append(searching.seconds)
        memory.close()
        size += disk_bytes(own)
    return Costs(sum(len(corpus.records) for corpus in corpora), ingest, took, size)


def _texts(corpus: Corpus) -> tuple[list[str], list[str]]:
    return [baseline_text(record) for record in corpus.records], [record["source"] for record in corpus.records]
