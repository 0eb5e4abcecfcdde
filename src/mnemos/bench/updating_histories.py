"""What tending does to long chat histories: recall of the evidence of LongMemEval's knowledge updates, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.stats import bootstrap_difference
from mnemos.bench import longmemeval
from mnemos.bench.corpus import Corpus
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.metrics import score, unique
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.updating_relations import Findings
from mnemos.kernel.life.tending import LifecyclePolicy

K = 10
TYPE = "knowledge-update"
PLAIN = "plain"
POLICIES: dict[str, LifecyclePolicy | None] = {PLAIN: None, "tended": LifecyclePolicy(), "turns settled as well": LifecyclePolicy(records=())}
"""By default turns are a record of what was said, and are left as they are."""


def effect(options: Options, embedder: CountingEmbedder, folder: Path) -> Findings:
    """Recall@10 of evidence turns of the knowledge-update questions: plain, tended by default, and tended with turns settled as well."""
    corpora = [corpus for corpus in longmemeval.load(data_folder(options.data), options) if _asked(corpus)]
    recalls: dict[str, list[float]] = {name: [] for name in POLICIES}
    settled: dict[str, int] = dict.fromkeys(POLICIES, 0)
    with mnemos.open(str(folder / "histories.db"), embedder=embedder) as memory:
        for number, corpus in enumerate(corpora):
            options.say(f"history {number + 1} of {len(corpora)}")
            for name, policy in POLICIES.items():
                space = memory.space(f"{corpus.name} {name}")
                space.add_many(list(corpus.records))
                if policy is not None:
                    done = memory.tend([space.name], policy)
                    settled[name] += done.superseded + done.merged
                for question in corpus.questions:
                    ranking = unique(hit.cube.source for hit in space.search(question.text, k=2 * K))
                    recalls[name].append(score(ranking, question.evidence)[f"recall@{K}"])
    clusters = [question.cluster for corpus in corpora for question in corpus.questions]
    rows: dict[str, dict[str, Any]] = {
        name: {"n": len(values), "recall@10": float(np.mean(values)), "superseded or merged": settled[name]} for name, values in recalls.items()
    }
    checks = [
        Check.of(f"LongMemEval updates, recall@{K}, {name} − plain", bootstrap_difference(recalls[name], recalls[PLAIN], clusters, options.rng()))
        for name in POLICIES if name != PLAIN
    ]
    return Findings(checks, rows)


def _asked(corpus: Corpus) -> bool:
    return any(question.category == TYPE for question in corpus.questions)
