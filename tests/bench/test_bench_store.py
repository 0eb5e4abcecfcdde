"""The store benchmark's parts, small, on the real product: they must measure what they say, and notice what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mnemos.base.errors import MnemosError
from mnemos.bench import store_reads, store_texts, store_writes
from mnemos.bench.embedding import SeededEmbedder
from mnemos.bench.result import Check
from mnemos.models.hashed import HashedEmbedder

_PROSE = "amber bridge cellar dawn ember forest glass harbour island jewel kettle lantern meadow north orchard paper"
WORDS = _PROSE.split()


def texts(count: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [f"{' '.join(rng.choice(WORDS, 12))} number {i}." for i in range(count)]


def by_metric(checks: list[Check]) -> dict[str, Check]:
    return {check.metric: check for check in checks}


def test_durable_writes_are_measured_beside_fsync(tmp_path: Path) -> None:
    checks, table = store_writes.durable(tmp_path, texts(600), HashedEmbedder(), rounds=1)
    first = checks[0]
    assert first.n == 20
    assert first.threshold == 1.5
    assert {"one durable add", "its embedding", "add in 8 threads"} <= set(table)
    assert table["one durable add"]["p50 ms"] > table["its embedding"]["p50 ms"] > 0


def test_bulk_import(tmp_path: Path) -> None:
    checks, table = store_writes.bulk(tmp_path, texts(500), HashedEmbedder(), SeededEmbedder(), texts(40))
    assert checks[0].measured == table["hashed"]["import cubes/s"] > 0
    assert checks[1].measured == pytest.approx(table["default"]["import cubes/s"] / table["default"]["embedder texts/s"])


def test_churn_leaves_what_lives(tmp_path: Path) -> None:
    checks, table = store_writes.churn(tmp_path, texts(300), SeededEmbedder(), live=50, batch=25)
    assert checks[0].holds
    assert table["churn"]["changes"] == 550


def test_recovery_finds_every_acknowledged_add(tmp_path: Path) -> None:
    checks, table = store_writes.recovery(tmp_path, kills=1, writes=15, embedder=HashedEmbedder())
    assert by_metric(checks)["acknowledged adds lost to kill -9"].measured == 0
    assert table["kill -9"]["acknowledged"] >= 15


def test_search_is_measured_with_and_without_filters(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = texts(1500)
    checks, table, takes = store_reads.search(tmp_path, many, [f"where is the {word}?" for word in WORDS[:4]], SeededEmbedder(), rng)
    assert {"no filter", "filter of 1%", "filter of 50%", "beside a writer"} <= set(table)
    assert all(check.measured > 0 for check in checks)
    assert takes["mnemos"]["text and vectors MB"] == pytest.approx(sum(len(t) + 4 * 384 for t in many) / 1e6)


def test_processes_are_timed_and_failures_are_errors() -> None:
    checks, table = store_reads.processes({"sleep": (["-c", "import time; time.sleep(0.05)"], 1.0)})
    assert 0.03 < checks[0].measured < 0.5
    assert set(table) == {"empty", "sleep"}
    with pytest.raises(MnemosError, match="ended with 3"):
        store_reads.processes({"bad": ([sys.executable, "-c", "raise SystemExit(3)"], 1.0)})


def test_recombined_texts_differ_and_repeat_by_seed() -> None:
    pool = texts(50)
    rng = np.random.default_rng
    made = store_texts.recombined(pool, 400, rng(1))
    assert len(set(made)) == 400
    assert made == store_texts.recombined(pool, 400, rng(1))
    asked = store_texts.questions(pool, 10, rng(1))
    assert all(question.startswith("What was said about ") and 8 <= len(question.split()) <= 13 for question in asked)


def test_sentences_of_the_real_books(data: Path) -> None:
    pool = store_texts.sentences(data)
    assert len(pool) > 40_000
    assert all(4 <= len(sentence.split()) <= 60 for sentence in pool[:1000])
