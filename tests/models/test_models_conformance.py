"""What every embedder promises, tried on every driver."""

from __future__ import annotations

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnemos.base.protocols import Embedder

TEXTS = [
    "I moved to Lisbon last spring.",
    "Where does Alice live now?",
    "ok",
    "The harbour bridge will be closed from Monday to Thursday, and the ferry runs every twenty minutes instead.",
    "我昨天在北京买了一本书。",
    "Ich wäre gestern gern länger geblieben.",
    "मैं कल दिल्ली गया था",
    "def add(a, b): return a + b",
]
ODD = ["", " \n\t", "\0", "a\0b", "!!!", "😀👩‍👩‍👧‍👦", "\ud800", "x\udfffy", "é" * 3, "\u202eabc", "x" * 5000, "word " * 3000, "字" * 3000]


def test_is_an_embedder(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)
    assert embedder.fingerprint
    assert embedder.dimensions > 0


def test_shape_type_and_unit_norm(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS + ODD)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS + ODD), embedder.dimensions)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_nothing_in_nothing_out(embedder: Embedder) -> None:
    vectors = embedder.embed([])
    assert vectors.shape == (0, embedder.dimensions)
    assert vectors.dtype == np.float32


def test_batch_equals_one_by_one_in_order(embedder: Embedder) -> None:
    texts = TEXTS + ODD
    together = embedder.embed(texts)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(embedder.embed(texts[::-1]), together[::-1], atol=1e-6)


def test_same_text_same_vector_and_other_text_another(embedder: Embedder) -> None:
    first, second = embedder.embed(TEXTS), embedder.embed(TEXTS)
    assert np.array_equal(first, second)
    similarity = first @ first.T
    assert (similarity[~np.eye(len(TEXTS), dtype=bool)] < 0.95).all()


def test_result_is_the_callers_own(embedder: Embedder) -> None:
    first = embedder.embed(TEXTS[:2])
    kept = first.copy()
    first[:] = 0.0
    assert np.array_equal(embedder.embed(TEXTS[:2]), kept)


def test_progress_rises_to_the_total(embedder: Embedder) -> None:
    seen: list[tuple[int, int]] = []
    texts = [f"{text} {number}" for number in range(6) for text in TEXTS]
    embedder.embed(texts, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (len(texts), len(texts))
    assert {total for _, total in seen} == {len(texts)}


def test_an_exception_in_progress_stops_the_work_and_harms_nothing(embedder: Embedder) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    expected = embedder.embed(TEXTS)
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(TEXTS * 6, progress=stop)
    assert np.array_equal(embedder.embed(TEXTS), expected)


def test_eight_threads_at_once(embedder: Embedder) -> None:
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    expected = embedder.embed(texts)
    parts = [texts[start::8] for start in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(embedder.embed, parts))
    for start, part in enumerate(found):
        np.testing.assert_allclose(part, expected[start::8], atol=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec=None), max_size=60), max_size=6))
def test_any_text_has_a_unit_vector_in_its_place(embedder: Embedder, texts: list[str]) -> None:
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(embedder.embed([text])[0], vector, atol=1e-6)


def test_composed_and_decomposed_text_are_near(embedder: Embedder) -> None:
    composed = "Zoë and José met in Malmö on Sunday"
    vectors = embedder.embed([composed, unicodedata.normalize("NFD", composed)])
    assert vectors[0] @ vectors[1] > 0.9
