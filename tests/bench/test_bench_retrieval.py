from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_memory import FakeMemory, LetterEmbedder

from mnemos.bench import registry
from mnemos.bench.corpus import Corpus, Question, sample_corpora, sample_questions
from mnemos.bench.embedding import CountingEmbedder, SeededEmbedder
from mnemos.bench.registry import Options
from mnemos.bench.retrieval import BM25, BM25_STOPPED, DENSE, OURS, RRF, Measured, measure

WORDS = ["apple", "bread", "candle", "desk", "engine", "flower", "garden", "house"]


def corpora() -> list[Corpus]:
    made = []
    for name in ("one", "two"):
        records = [{"text": f"here is the {word} of {name}", "source": f"{name}-{word}", "author": "Ann"} for word in WORDS]
        questions = [Question(f"{name}/{word}", f"where is the {word}", frozenset({f"{name}-{word}"}), "early" if word < "d" else "late", name)
                     for word in WORDS]
        made.append(Corpus(name, records, questions))
    return made


def measured(**more: Any) -> Measured:
    return measure(corpora(), Options(**more), embedder=LetterEmbedder(), open_store=FakeMemory().open)


def test_product_and_baselines_are_scored_on_the_same_questions() -> None:
    got = measured()
    assert set(got.scores) == {OURS, BM25, BM25_STOPPED, DENSE, RRF}
    everything = [True] * 16
    assert got.mean(OURS, "mrr", everything) == 1
    assert got.mean(BM25, "recall@5", everything) == 1
    assert got.ratio(OURS, RRF, "recall@10", everything).value == 1
    assert got.interval(OURS, "mrr", everything).clusters == 2
    assert got.best_baseline("mrr", everything) in {BM25, BM25_STOPPED, DENSE, RRF}
    assert got.by_category("recall@10")["early"]["n"] == 6
    assert np.isnan(got.mean(OURS, "mrr", [False] * 16))


def test_a_miss_is_counted_as_a_miss() -> None:
    class Forgetful(FakeMemory):
        def open(self, path: Path, embedder: Any) -> Any:
            memory = super().open(path, embedder)
            inner = memory.space
            def space(name: str) -> Any:
                found = inner(name)
                found.records[:] = [record for record in found.records if "apple" not in record["text"]]
                return found
            memory.space = space
            return memory

    got = measure(corpora(), Options(), embedder=LetterEmbedder(), open_store=Forgetful().open)
    assert got.mean(OURS, "recall@20", [True] * 16) == pytest.approx(14 / 16)
    result = got.against_fusion(registry.find("nq-open"), {}, [])
    assert result.holds is False
    assert result.baseline == 1


def test_costs_and_json() -> None:
    got = measured()
    assert got.costs["cubes"] == 16
    assert got.costs["search, ms, p50"] >= got.costs["search without embedding, ms, p50"] >= 0
    plain = json.loads(got.against_fusion(registry.find("nq-open"), {}, ["note"]).as_json())
    assert plain["holds"] is True
    assert plain["n"] == 16
    assert plain["details"]["tables"]["Cost"]["disk MB"]["mnemos"] >= 0


def test_unknown_peer_is_reported_and_not_invented() -> None:
    got = measured(peers=("no-such-peer",))
    assert "no-such-peer" not in got.scores
    assert "no adapter" in got.failures["no-such-peer"]
    notes = got.against_fusion(registry.find("nq-open"), {}, []).details["notes"]
    assert any("no-such-peer" in note for note in notes)


def test_probe_sees_every_question_in_its_space() -> None:
    seen: list[tuple[str, int]] = []
    measure(corpora(), Options(), embedder=LetterEmbedder(), open_store=FakeMemory().open,
            probe=lambda space, question: seen.append((question.id, len(space.records))))
    assert seen == [(question.id, 8) for corpus in corpora() for question in corpus.questions]


def test_embedder_embeds_nothing_twice(tmp_path: Path) -> None:
    inner = LetterEmbedder()
    counting = CountingEmbedder(inner, tmp_path)
    first = counting.embed(["a b", "c", "a b"])
    assert inner.calls == [["a b", "c"]]
    assert (first == counting.embed(["a b", "c", "a b"])).all()
    assert (counting.texts, len(inner.calls)) == (2, 1)
    again = CountingEmbedder(inner, tmp_path)
    assert (again.embed(["c", "d"])[0] == first[1]).all()
    assert (again.recalled, again.texts) == (1, 1)
    assert counting.embed([]).shape == (0, 26)


def test_seeded_vectors_are_units_and_repeat() -> None:
    vectors = SeededEmbedder().embed(["a", "b", "a"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[0] == vectors[2]).all()
    assert abs(float(vectors[0] @ vectors[1])) < 0.3


def test_samples_are_stratified_and_seeded() -> None:
    rng = np.random.default_rng
    sampled = sample_questions(corpora(), 3, rng(1))
    categories = [question.category for corpus in sampled for question in corpus.questions]
    assert (categories.count("early"), categories.count("late")) == (3, 3)
    assert sampled == sample_questions(corpora(), 3, rng(1))
    assert [len(corpus.records) for corpus in sampled] == [8, 8]
    assert len(sample_corpora(corpora(), 1, rng(2), lambda corpus: corpus.name)) == 1
    assert sample_corpora(corpora(), 9, rng(2), lambda corpus: "") == corpora()
