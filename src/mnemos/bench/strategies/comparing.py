"""One strategy on one set: written, consolidated, asked."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean
from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.metrics import all_hit, recall, unique
from mnemos.bench.registry import Options
from mnemos.bench.strategies.sets import sessions_of
from mnemos.kernel.space import Space

Done = TypeVar("Done")

K = 20
CONTEXT_TOKENS = 1000
METRICS = ("recall@10", "all@10", "sessions@3", "context", "answer", "tokens")


@dataclass
class Trial:
    """What a strategy did on a set: a value for each question and metric, and what writing and reading cost.

    `recall@10` and `all@10`: share of the evidence among the first ten memories, and whether all of it is. `sessions@3`: whether all sessions that
    hold evidence are among the first three. `context`: share of the evidence in a context of 1,000 tokens. `answer`: whether the
    context holds the answer word for word, where the set has short answers (else NaN). `tokens`: of the context.
    """

    strategy: str
    questions: list[Question] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    write_seconds: float = 0.0
    consolidate_seconds: float = 0.0
    memories: int = 0
    views: int = 0
    reads: list[float] = field(default_factory=list)

    def mean(self, metric: str) -> float:
        values = np.array(self.scores[metric])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def interval(self, metric: str, options: Options) -> Interval:
        return bootstrap_mean(self._values(metric), self._clusters(), options.rng(), bounds=(0, 1))

    def gain(self, other: Trial, metric: str, options: Options) -> Interval:
        """How much more this one has than another, paired by question, clustered by history."""
        return bootstrap_difference(self._values(metric), other._values(metric), self._clusters(), options.rng())

    def _values(self, metric: str) -> NDArray[np.float64]:
        return np.array(self.scores[metric], dtype=np.float64)

    def _clusters(self) -> list[str]:
        return [question.cluster for question in self.questions]

    def row(self) -> dict[str, float]:
        """The trial as a row of a table; times are without embedding."""
        reads = np.array(self.reads) * 1e3
        return {
            "n": len(self.questions),
            **{metric: self.mean(metric) for metric in METRICS},
            "write ms": 1e3 * self.write_seconds / max(self.memories, 1),
            "consolidate ms": 1e3 * self.consolidate_seconds / max(self.memories, 1),
            "views a memory": self.views / max(self.memories, 1),
            "read ms p50": float(np.percentile(reads, 50)) if len(reads) else float("nan"),
            "read ms p95": float(np.percentile(reads, 95)) if len(reads) else float("nan"),
        }


def compare(corpora: Sequence[Corpus], strategies: Sequence[str], embedder: CountingEmbedder, options: Options) -> dict[str, Trial]:
    """Each strategy on the same histories, questions and vectors."""
    return {name: trial(corpora, name, embedder, options) for name in strategies}


def trial(corpora: Sequence[Corpus], strategy: str, embedder: CountingEmbedder, options: Options) -> Trial:
    """One strategy on the histories of a set, each in a space of its own, in one store."""
    out = Trial(strategy)
    folder = Path(tempfile.mkdtemp(prefix="mnemos-bench-"))
    try:
        with mnemos.open(str(folder / "store.db"), embedder=embedder) as memory:
            for number, corpus in enumerate(corpora):
                options.say(f"{strategy}: history {number + 1} of {len(corpora)}")
                space = memory.space(corpus.name, strategy=strategy)
                embedder.embed([*(str(record["text"]) for record in corpus.records), *(question.text for question in corpus.questions)])
                seconds, _ = _timed(embedder, partial(space.add_many, list(corpus.records)))
                out.write_seconds += seconds
                seconds, done = _timed(embedder, space.consolidate)
                out.consolidate_seconds += seconds
                out.memories += len(corpus.records)
                out.views += done.added
                _ask(out, corpus, space, embedder)
    finally:
        shutil.rmtree(folder)
    return out


def _timed(embedder: CountingEmbedder, work: Callable[[], Done]) -> tuple[float, Done]:
    """Seconds of `work` without embedding, and what it gave."""
    before, start = embedder.seconds, time.perf_counter()
    done = work()
    return time.perf_counter() - start - (embedder.seconds - before), done


def _ask(out: Trial, corpus: Corpus, space: Space, embedder: CountingEmbedder) -> None:
    sessions = sessions_of(corpus)
    space.search("what is held is loaded, and made ready", k=1)
    space.system.preload()
    for question in corpus.questions:
        seconds, hits = _timed(embedder, partial(space.search, question.text, k=K))
        out.reads.append(seconds)
        ranking = unique(hit.cube.source for hit in hits)
        context = space.context(question.text, CONTEXT_TOKENS)
        held = frozenset(hit.cube.source for hit in context.hits if hit.cube.source)
        first = unique(sessions.get(source) for source in ranking)[:3]
        wanted = {sessions[source] for source in question.evidence if source in sessions}
        answer = question.labels.get("answer")
        out.questions.append(question)
        values = {
            "recall@10": recall(ranking, question.evidence, 10),
            "all@10": all_hit(ranking, question.evidence, 10),
            "sessions@3": float(wanted <= set(first)) if len(wanted) <= 3 else float("nan"),
            "context": len(held & question.evidence) / len(question.evidence),
            "answer": float(_plain(str(answer)) in _plain(context.text)) if answer and len(str(answer)) <= 60 else float("nan"),
            "tokens": float(context.tokens),
        }
        for metric, value in values.items():
            out.scores[metric].append(value)


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
