"""The benchmark of the kernel's work, small, on the real product: it must measure what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnemos.bench import kernel_work
from mnemos.bench.registry import BENCHMARKS


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def test_jobs_are_done_and_counted(tmp_path: Path) -> None:
    checks, table = kernel_work.jobs(tmp_path, 20)
    assert [check.measured for check in checks] == [table["1 workers"]["done a second"], table["4 workers"]["done a second"]]
    assert all(check.measured > 0 and check.n == 20 for check in checks)


def test_killed_workers_lose_no_job(tmp_path: Path) -> None:
    checks, table = kernel_work.killed(tmp_path, 1)
    assert (checks[0].measured, checks[0].n) == (0, 40)
    assert table["kill -9"]["begun before"] >= 10


def test_events_of_both_processes_are_timed(tmp_path: Path, rng: np.random.Generator) -> None:
    checks, table = kernel_work.events(tmp_path, 8, rng)
    assert len(checks) == 4
    assert {latency["n"] for latency in table.values()} == {8}
    assert all(check.measured >= 0 for check in checks)


def test_a_pipeline_is_timed_beside_the_same_calls(tmp_path: Path, rng: np.random.Generator) -> None:
    checks, table = kernel_work.pipelines(tmp_path, 3, rng)
    assert checks[0].measured == pytest.approx(table["pipeline"]["p50_ms"] / table["by hand"]["p50_ms"])


def test_branches_are_made_compared_merged_and_dropped(tmp_path: Path, rng: np.random.Generator) -> None:
    checks, table = kernel_work.branches(tmp_path, 60, 5, rng)
    assert [check.measured for check in checks[1:]] == [1, 1]
    assert {"branch", "diff", "merge", "rewind", "drop"} < set(table)


def test_going_back_is_compared_bit_for_bit(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_work.going_back(tmp_path, rng, versions=4)[0][0].measured == 1
    monkeypatch.setattr(kernel_work, "_vector", lambda memory, cube: cube.version.to_bytes(4, "big"))  # vectors that do not come back
    (tmp_path / "other").mkdir()
    assert kernel_work.going_back(tmp_path / "other", rng, versions=4)[0][0].measured == 0


def test_it_is_registered() -> None:
    assert BENCHMARKS["kernel-work"].module == kernel_work.__name__
