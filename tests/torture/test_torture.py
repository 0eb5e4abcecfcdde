"""kill -9, a failing disk, flipped bits, a crowd: a part of each here, all of it in `make torture` (`python tests/torture`).

MNEMOS_TORTURE_CYCLES sets the kill cycles (default 500), MNEMOS_TORTURE_SECONDS the time of the crowd (default 8 s).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CYCLES = os.environ.get("MNEMOS_TORTURE_CYCLES", "500")
SECONDS = os.environ.get("MNEMOS_TORTURE_SECONDS", "8")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills forked processes, which this system has not")


def run(script: str, *arguments: str) -> dict[str, Any]:
    """A part of the torture in a process of its own: it forks, which is safe only where no other test has left a thread."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        timeout=3000,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(3100)
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    result = run("torture_kill.py", "--cycles", CYCLES, "--seed", "11", "--folder", str(tmp_path))
    assert result["problems"] == []
    assert result["killed"] >= result["cycles"] == int(CYCLES)
    assert result["killed_in_an_operation"] > result["cycles"] / 2, "most kills should strike in the middle of an operation"
    assert result["open_ms_max"] <= 2000


def test_a_failing_disk_loses_nothing_and_stops_nothing() -> None:
    result = run("torture_faults.py", "1")
    assert result["problems"] == []
    assert result["runs"] > 100
    assert set(result["raised"]) == {"StoreFull", "StoreUnavailable", "killed", "powerless"}


def test_a_sealed_store_withstands_the_same() -> None:
    pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")
    asked = ("open new", "open after a killed forget", "forget", "renew keys", "seal")
    result = run("torture_faults.py", "1", "--sealed", *(word for name in asked for word in ("--only", name)))
    assert result["problems"] == []
    assert result["runs"] == 9 * len(asked)
    result = run("torture_kill.py", "--sealed", "--cycles", "40", "--jobs", "1", "--seed", "5")
    assert result["problems"] == []
    assert result["killed"] >= result["cycles"] == 40


def test_flipped_bits_are_found_and_named() -> None:
    result = run("torture_flips.py", "30", "--quick")
    assert result["problems"] == []
    assert {"main", "main-wal", "main-head", "blob"} <= set(result["found_and_named"])


@pytest.mark.timeout(900)
def test_a_crowd_loses_nothing_and_is_never_locked_out() -> None:
    result = run("torture_crowd.py", "--seconds", SECONDS)
    assert result["problems"] == []
    assert result["writes"] > 50
    adds = result["adds"]
    assert adds["1 threads, commits of an add"] == 1.0
    assert adds["8 threads, commits of an add"] < 0.5, "threads that write at once should share commits"


@pytest.mark.timeout(900)
def test_jobs_are_neither_lost_nor_shared_when_workers_are_killed(tmp_path: Path) -> None:
    result = run("torture_jobs.py", "--kills", "15", "--folder", str(tmp_path))
    assert result["problems"] == []
    assert result["kills"] >= 15
    assert result["begun"] > result["links"] > 50
    assert result["taken_over"] > 0, "some jobs should be taken over from workers that were killed"


@pytest.mark.torture
@pytest.mark.timeout(3100)
def test_jobs_survive_three_hundred_kills(tmp_path: Path) -> None:
    result = run("torture_jobs.py", "--kills", "300", "--seed", "3", "--folder", str(tmp_path))
    assert result["problems"] == []
    assert result["kills"] >= 300
