"""Meters for benchmarks: seconds, bytes of memory and disk, the machine they were measured on, and one fsync of its disk."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnemos.base.errors import Invalid, NotFound
from mnemos.base.stats import percentiles


class Seconds:
    """`with Seconds() as took: …` and then `took.seconds`; readable inside the block, too."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._end: float | None = None

    def __enter__(self) -> Seconds:
        self._start = time.perf_counter()
        self._end = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start, or of the whole block once it ended."""
        return (self._end if self._end is not None else time.perf_counter()) - self._start


@dataclass(frozen=True)
class Latency:
    """Percentiles of `n` durations, in seconds."""

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, durations: ArrayLike) -> Latency:
        """Raises `Invalid` without durations."""
        p50, p95, p99 = percentiles(durations, 50, 95, 99)
        return cls(p50, p95, p99, int(np.size(np.asarray(durations))))

    def milliseconds(self) -> dict[str, float]:
        """`{"p50_ms": …, "p95_ms": …, "p99_ms": …, "n": …}`, for a report."""
        return {"p50_ms": self.p50 * 1e3, "p95_ms": self.p95 * 1e3, "p99_ms": self.p99 * 1e3, "n": self.n}


def resident_bytes() -> int:
    """Memory that this process holds now (RSS), in bytes; its peak where the system does not tell (outside Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return peak_resident_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """The most memory that this process ever held (peak RSS), in bytes."""
    import resource  # not on every platform, so only where it is asked for

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def disk_bytes(*paths: Path | str) -> int:
    """Bytes of the files named, folders with all that is in them; a file that vanishes meanwhile counts nothing."""
    return sum(_size(file) for path in paths for file in _files(Path(path)))


def _files(path: Path) -> Iterable[Path]:
    return (x for x in path.rglob("*") if not x.is_dir()) if path.is_dir() else (path,)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def fsync_seconds(folder: Path | str, size: int = 4096, n: int = 100) -> NDArray[np.float64]:
    """Seconds of each of `n` times: append `size` bytes to a file in `folder` and make them durable, as a log does.

    Uses fdatasync, F_FULLFSYNC on macOS (where fsync alone leaves the bytes in the drive's cache), else fsync. Raises `NotFound`
    where the folder does not exist, `Invalid` for sizes below one.
    """
    if size < 1 or n < 1:
        raise Invalid(f"fsync probe: size and n must be at least 1, not {size} and {n}")
    if not Path(folder).is_dir():
        raise NotFound(f"fsync probe: there is no folder {folder}; name the one that the store lies in")
    block = os.urandom(size)
    took = np.empty(n)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="fsync-probe-", buffering=0) as file:
        for i in range(n):
            start = time.perf_counter()
            file.write(block)
            _make_durable(file.fileno())
            took[i] = time.perf_counter() - start
    return took


def _make_durable(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


@dataclass(frozen=True)
class Machine:
    """What a number was measured on. `cores` are those that this process may use; `memory` is in bytes."""

    cpu: str
    cores: int
    memory: int
    python: str
    platform: str

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def machine() -> Machine:
    """This machine, without anything that names its owner."""
    return Machine(_cpu(), _cores(), _memory(), platform.python_version(), f"{platform.system()} {platform.release()} {platform.machine()}")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(("model name", "hardware"))]
    return names[0] if names else platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
