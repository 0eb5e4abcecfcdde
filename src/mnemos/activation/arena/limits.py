"""How much address space and memory this process may have: `ulimit -v`, strict overcommit, control groups."""

from __future__ import annotations

import os
from pathlib import Path

from mnemos.base.errors import StoreFull

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


class NoAddressSpace(StoreFull):
    """A reservation is larger than the address space that this process may have; `left` bytes could be reserved."""

    def __init__(self, message: str, left: int) -> None:
        super().__init__(message)
        self.left = left


def check_reservation(nbytes: int, proc: Path = PROC) -> None:
    """Raises `NoAddressSpace`, saying which limit it is and how to lift it, where so many bytes cannot be reserved."""
    for left, why in (_address_limit(proc), _commit_limit(proc)):
        if left is not None and nbytes > left:
            raise NoAddressSpace(f"{nbytes:,} bytes of address space are wanted and {left:,} can be had: {why}, or lower max_batch or max_ctx", left)


def available_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes of memory that could be had without swapping: of the machine, and of the control group where one has a limit."""
    known = [_meminfo(proc).get("MemAvailable")] if (proc / "meminfo").exists() else []
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.exists() and used.exists() and (most := limit.read_text().strip()).isdigit():
        known.append(max(0, int(most) - int(used.read_text())))
    sizes = [size for size in known if size is not None]
    return min(sizes) if sizes else _all_memory()


def _address_limit(proc: Path) -> tuple[int | None, str]:
    try:
        import resource  # not on Windows
    except ImportError:
        return None, ""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return None, ""
    statm = proc / "self" / "statm"
    used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
    return max(0, most - used), f"the limit of address space is {most:,} bytes (ulimit -v); raise it"


def _commit_limit(proc: Path) -> tuple[int | None, str]:
    mode = proc / "sys" / "vm" / "overcommit_memory"
    if not mode.exists() or mode.read_text().strip() != "2":
        return None, ""
    known = _meminfo(proc)
    left = max(0, known.get("CommitLimit", 0) - known.get("Committed_AS", 0))
    return left, "reservations count as memory here (vm.overcommit_memory is 2); set it to 0 or 1"


def _meminfo(proc: Path) -> dict[str, int]:
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) >= 2}


def _all_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 40
