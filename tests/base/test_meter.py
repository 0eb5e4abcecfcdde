import mmap
import os
import time
from pathlib import Path

import numpy as np
import pytest

from mnemos.base import meter
from mnemos.base.errors import Invalid, NotFound


def test_seconds_run_and_stop() -> None:
    with meter.Seconds() as took:
        time.sleep(0.01)
        inside = took.seconds
    assert 0.01 <= inside <= took.seconds
    stopped = took.seconds
    time.sleep(0.002)
    assert took.seconds == stopped


def test_latency_percentiles() -> None:
    got = meter.Latency.of(np.arange(1001) / 1000)
    assert (got.p50, got.p95, got.p99, got.n) == pytest.approx((0.5, 0.95, 0.99, 1001))
    assert got.milliseconds()["p95_ms"] == pytest.approx(950)
    with pytest.raises(Invalid):
        meter.Latency.of([])


def test_resident_memory_sees_what_is_held() -> None:
    before = meter.resident_bytes()
    with mmap.mmap(-1, 32 * 2**20) as held:  # fresh pages: an array may come to lie where a freed one is resident still
        np.frombuffer(held, dtype=np.uint8)[:] = 1
        assert meter.resident_bytes() - before > 24 * 2**20
    assert meter.peak_resident_bytes() >= before + 24 * 2**20


def test_disk_bytes_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "folder" / "b").write_bytes(b"x" * 30)
    (tmp_path / "folder" / "deep" / "c").write_bytes(b"x" * 7)
    assert meter.disk_bytes(tmp_path / "a", tmp_path / "folder") == 137
    assert meter.disk_bytes(tmp_path / "missing") == 0


def test_fsync_probe_leaves_nothing(tmp_path: Path) -> None:
    took = meter.fsync_seconds(tmp_path, 512, n=5)
    assert took.shape == (5,)
    assert (took > 0).all()
    assert os.listdir(tmp_path) == []
    with pytest.raises(NotFound):
        meter.fsync_seconds(tmp_path / "missing")
    with pytest.raises(Invalid):
        meter.fsync_seconds(tmp_path, 0)


def test_fsync_probe_really_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(meter, "_make_durable", calls.append)
    meter.fsync_seconds(tmp_path, 10, n=3)
    assert len(calls) == 3


def test_machine_is_described() -> None:
    got = meter.machine()
    assert got.cpu
    assert 1 <= got.cores <= (os.cpu_count() or 1)
    assert got.memory > 2**28
    assert got.as_dict()["python"].startswith("3.")  # type: ignore[union-attr]
