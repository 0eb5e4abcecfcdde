"""The seam between the arena and a system's memory: address space is reserved, physical pages are made, mapped into it, and taken out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mnemos.base.errors import StoreFull, StoreUnavailable

KIB = 1024
MIB = 1024 * KIB


class NoMemory(StoreFull):
    """The system has no memory for another page; nothing was mapped."""


class BackendFailed(StoreUnavailable):
    """A call of the system or of the driver failed; what it was and for what is in the message."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can promise here."""

    device: str
    """Where the memory is, as torch names it: "cpu", "cuda:0"; "none" where there is only counting."""
    releases: bool = True
    """Memory of an unmapped page goes back to the system; else it stays with the handle, or with the process."""
    shares: bool = True
    """One page can be mapped at several addresses, and one that was unmapped with `keep` has its content where it is mapped next."""
    zeroed: bool = True
    """A page that is mapped anew, and was not kept, reads as zero."""
    addressable: bool = True
    """There is memory behind the addresses."""
    fork_safe: bool = True
    """Children of this process get neither copies of the memory nor a share in it."""
    notes: tuple[str, ...] = ()
    """What is weaker here than elsewhere, in words."""


class Backend(Protocol):
    """Memory of one device. A handle is one physical page; pages of different sizes may come from one backend. Sizes and addresses are bytes.

    Safe for threads. A call that raises has changed nothing, or could not be undone and says so by `BackendFailed`.
    """

    @property
    def name(self) -> str: ...

    @property
    def granularity(self) -> int:
        """Sizes of pages are multiples of this."""
        ...

    def capabilities(self) -> Capabilities: ...

    def available_bytes(self) -> int:
        """Physical memory that could be had now."""
        ...

    def reserve(self, nbytes: int, alignment: int) -> int:
        """Address space without memory, at a multiple of `alignment` (a power of two). Raises `StoreFull` where there is none."""
        ...

    def free(self, base: int) -> None:
        """Gives back address space of `reserve`. Nothing is mapped there any more."""
        ...

    def create(self, nbytes: int, count: int) -> Sequence[int]:
        """`count` pages of `nbytes` each. Raises `NoMemory` and makes none where not all can be had."""
        ...

    def release(self, handles: Sequence[int]) -> None:
        """Pages that are mapped nowhere go back to the system."""
        ...

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        """The pages, of `nbytes` each, at `address` and on, one after the other. A page that is mapped elsewhere is shared from then on."""
        ...

    def unmap(self, address: int, nbytes: int, count: int, keep: bool = False) -> None:
        """Takes `count` pages of `nbytes` out from `address` on. What was in a page that is mapped nowhere else is lost unless `keep`."""
        ...

    def discard(self, handles: Sequence[int]) -> None:
        """What was kept in pages that are mapped nowhere is not wanted any more."""
        ...

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copies bytes between mapped addresses that do not overlap."""
        ...

    def zero(self, address: int, nbytes: int) -> None: ...

    def fence(self) -> object:
        """A mark behind the work that the device has been given up to now; None where there is nothing to wait for."""
        ...

    def wait(self, fence: object) -> None:
        """Returns when the work before the mark is done, so that nothing reads what is unmapped then. A mark of None is no wait."""
        ...

    def resident_bytes(self) -> int:
        """Physical memory of this backend's pages, by measurement where the system tells, a shared page once."""
        ...
