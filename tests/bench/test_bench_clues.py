"""The made-up valley of `mnemos bench clues`, and its arms on a small one."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mnemos.bench.clues import _arms, _recalled
from mnemos.bench.clues_world import BYNAME, EXPLICIT, IMPLICIT, ROLE, world
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.registry import Options
from mnemos.models.hashed import HashedEmbedder


def test_what_implicit_questions_name_never_stands_beside_the_evidence() -> None:
    corpus = world(np.random.default_rng(1), circles=30).corpus
    texts = {str(record["source"]): str(record["text"]) for record in corpus.records}
    kinds = {ROLE: 0, BYNAME: 0, EXPLICIT: 0}
    for question in corpus.questions:
        kinds[question.category] += 1
        (source,) = question.evidence
        named = re.findall(r"(?<!^)\b[A-Z]\w+(?: of [A-Z]\w+| [A-Z]\w+)*", question.text)
        assert named
        assert all((name in texts[source]) == (question.category == EXPLICIT) for name in named), question
    assert kinds == {ROLE: 30, BYNAME: 30, EXPLICIT: 60}


def test_the_same_seed_gives_the_same_valley_and_no_text_stands_twice() -> None:
    one, other = (world(np.random.default_rng(3), circles=10).corpus for _ in range(2))
    assert one == other
    assert len({record["text"] for record in one.records}) == len(one.records) == 100


def test_clues_find_what_the_question_alone_does_not() -> None:
    corpus = world(np.random.default_rng(4), circles=20).corpus
    found = _arms(corpus, CountingEmbedder(HashedEmbedder()))
    implicit = np.array([question.category in IMPLICIT for question in corpus.questions])
    for alone in ("dense", "BM25"):
        for ours in ("clues", "memory + BM25"):
            assert found[ours][implicit].mean() >= found[alone][implicit].mean() + 0.10
            assert found[ours][~implicit].mean() >= found[alone][~implicit].mean() - 0.01


def test_what_a_model_recalls_is_measured_beside_the_strategy_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("mnemos.bench.clues.REGISTERS", ((48, 4),))
    checks, tables = _recalled(Options(quick=True))
    assert [(check.n, check.threshold) for check in checks] == [(20, None)] * 2
    (table,) = tables.values()
    assert table["recalled, 48 lines, 4 to a memory"]["implicit"] >= table["clues, 48 lines, 4 to a memory"]["implicit"] - 0.1
    assert table["plain, 48 lines, 4 to a memory"]["explicit"] == 1.0
