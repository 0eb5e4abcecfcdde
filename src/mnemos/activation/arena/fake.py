"""A backend without memory: it counts, checks every call, takes as long as a driver would by a clock of its own, and fails when it is told to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mnemos.activation.arena.backend import KIB, BackendFailed, Capabilities, NoMemory
from mnemos.base.errors import Invalid

LATENCY = {"reserve": 2e-6, "create": 29e-6, "map": 40e-6, "unmap": 34e-6, "release": 23e-6, "copy": 5e-6, "zero": 5e-6}
"""Seconds of a driver's call for one page of 2 MiB (vAttention, table 3); mapping with access set."""

Verdict = Callable[[str, int], bool]
"""Whether the `n`-th call of a verb (from 1) fails."""


class FakeBackend:
    """Address space and pages as counters. `limit` is the physical memory in bytes; `fails` injects faults; `sleep` makes the latency real.

    A fault raises before anything changed, as a driver's error does. What a real backend would let pass or crash on (unmapping what is not mapped,
    mapping twice at one address, releasing what is mapped) raises `Invalid`.
    """

    def __init__(
        self,
        limit: int = 1 << 40,
        granularity: int = 4 * KIB,
        latency: Mapping[str, float] = LATENCY,
        fails: Verdict | None = None,
        sleep: Callable[[float], None] | None = None,
        shares: bool = True,
    ) -> None:
        self.name = "fake"
        self.granularity = granularity
        self.limit = limit
        self.latency = latency
        self.fails = fails
        self.calls: Counter[str] = Counter()
        self.pages: Counter[str] = Counter()
        """Pages that were created, mapped, unmapped, released."""
        self.elapsed = 0.0
        """Seconds that all calls took, by the latencies."""
        self._sleep = sleep
        self._shares = shares
        self._lock = threading.RLock()  # a finalizer may give address space back while this thread is inside a call
        self._next_base = 1 << 40
        self._next_handle = 0
        self._reserved: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._at: dict[int, int] = {}
        self._mapped: Counter[int] = Counter()

    def capabilities(self) -> Capabilities:
        return Capabilities("none", shares=self._shares, addressable=False, notes=("there is no memory behind the addresses",))

    def available_bytes(self) -> int:
        return self.limit - sum(self._sizes.values())

    def reserve(self, nbytes: int, alignment: int) -> int:
        with self._lock:
            self._call("reserve", 1)
            base = -(-self._next_base // alignment) * alignment
            self._next_base = base + nbytes
            self._reserved[base] = nbytes
            return base

    def free(self, base: int) -> None:
        with self._lock:
            self._call("free", 1)
            nbytes = self._reserved[base]
            if any(base <= address < base + nbytes for address in self._at):
                raise Invalid(f"pages are mapped in the reservation at {base:#x}")
            del self._reserved[base]

    def create(self, nbytes: int, count: int) -> Sequence[int]:
        with self._lock:
            if nbytes % self.granularity:
                raise Invalid(f"a page of {nbytes:,} bytes is no multiple of {self.granularity:,}")
            self._call("create", count)
            if nbytes * count > self.available_bytes():
                raise NoMemory(f"{count} pages of {nbytes:,} bytes are wanted and {self.available_bytes():,} bytes are left")
            handles = range(self._next_handle, self._next_handle + count)
            self._next_handle += count
            self._sizes.update(dict.fromkeys(handles, nbytes))
            return handles

    def release(self, handles: Sequence[int]) -> None:
        with self._lock:
            if any(self._mapped[handle] for handle in handles):
                raise Invalid("pages that are mapped cannot be released")
            self._call("release", len(handles))
            for handle in handles:
                del self._sizes[handle]

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        with self._lock:
            places = range(address, address + nbytes * len(handles), nbytes)
            if not any(base <= address and places.stop <= base + size for base, size in list(self._reserved.items())):
                raise Invalid(f"{address:#x} is not reserved, for {len(handles)} pages")
            if any(place in self._at for place in places) or any(self._sizes.get(handle) != nbytes for handle in handles):
                raise Invalid(f"at {address:#x} pages are mapped already, or the handles are not pages of {nbytes:,} bytes")
            if not self._shares and any(self._mapped[handle] for handle in handles):
                raise Invalid("a page is mapped elsewhere, and this backend does not share")
            self._call("map", len(handles))
            for place, handle in zip(places, handles, strict=True):
                self._at[place] = handle
                self._mapped[handle] += 1

    def unmap(self, address: int, nbytes: int, count: int, keep: bool = False) -> None:
        with self._lock:
            places = range(address, address + nbytes * count, nbytes)
            if any(place not in self._at or self._sizes[self._at[place]] != nbytes for place in places):
                raise Invalid(f"from {address:#x} on {count} pages of {nbytes:,} bytes are not mapped")
            self._call("unmap", count)
            for place in places:
                self._mapped[self._at.pop(place)] -= 1

    def discard(self, handles: Sequence[int]) -> None:
        """Nothing is kept here."""

    def copy(self, target: int, source: int, nbytes: int) -> None:
        with self._lock:
            self._call("copy", 1)

    def zero(self, address: int, nbytes: int) -> None:
        with self._lock:
            self._call("zero", 1)

    def fence(self) -> object:
        return None

    def wait(self, fence: object) -> None:
        """There is nothing to wait for."""

    def resident_bytes(self) -> int:
        with self._lock:
            return sum(self._sizes[handle] for handle, times in self._mapped.items() if times)

    def handle_at(self, address: int) -> int | None:
        """The page that is mapped at an address; None where there is none."""
        return self._at.get(address)

    def _call(self, verb: str, pages: int) -> None:
        self.calls[verb] += 1
        if self.fails is not None and self.fails(verb, self.calls[verb]):
            raise BackendFailed(f"fault injected into call {self.calls[verb]} of {verb}")
        self.pages[verb] += pages
        took = self.latency.get(verb, 0.0) * pages
        self.elapsed += took
        if self._sleep is not None:
            self._sleep(took)
