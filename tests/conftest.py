"""What all tests share: hypothesis profiles, and stores with a small embedder and a clock that only the test moves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mnemos.kernel.system import Mnemos
from support import EMBEDDER, HandClock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads torch: as many tests run at once as there are cores

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("fast", max_examples=30, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("thorough", max_examples=1000, stateful_step_count=60, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("MNEMOS_TESTS", "fast"))

@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_memory(tmp_path: Path, clock: HandClock) -> Iterator[Callable[..., Mnemos]]:
    """Opens stores that are closed when the test ends; by default the file `memory.db` of the test's folder."""
    opened: list[Mnemos] = []

    def open_(location: str | Path | None = None, **keywords: object) -> Mnemos:
        options = {"embedder": EMBEDDER, "clock": clock} | keywords
        memory = Mnemos(location if location is not None else tmp_path / "memory.db", **options)  # type: ignore[arg-type]
        opened.append(memory)
        return memory

    yield open_
    for memory in reversed(opened):
        memory.close()


@pytest.fixture(params=["file", ":memory:"])
def mem(request: pytest.FixtureRequest, open_memory: Callable[..., Mnemos]) -> Mnemos:
    """An open, empty store: once in a file, once in memory."""
    return open_memory(None if request.param == "file" else ":memory:")


@pytest.fixture
def filed(open_memory: Callable[..., Mnemos]) -> Mnemos:
    """An open, empty store in a file."""
    return open_memory()
