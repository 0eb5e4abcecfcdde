"""What an arena's changes give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mnemos.base.errors import StoreFull

Place = tuple[int, int]
"""A slot, and the index of a block in it."""


@dataclass(frozen=True)
class Step:
    """What a step did. Where there is an `error` it changed nothing."""

    mapped: int = 0
    """Blocks that were mapped while the caller waited."""
    reclaimed: int = 0
    """Blocks that were taken back for it."""
    unfit: tuple[int, ...] = ()
    """Slots whose lengths do not fit: those that want most."""
    short: int = 0
    """Blocks that the pool lacks, with all that can be reclaimed."""
    over: Mapping[str, int] = field(default_factory=dict)
    """Bytes by which namespaces would exceed their quotas."""
    error: StoreFull | None = None

    def check(self) -> Step:
        """Raises `OverQuota` or `StoreFull` where something does not fit; else gives the step."""
        if self.error is not None:
            raise self.error
        return self


Preempt = Callable[[Step], Iterable[int]]
"""Is told what does not fit, and gives the slots to free for it; none where the step shall fail. Called without the arena's lock."""


def lacking(slots: Sequence[int], short: int, wanted: int, block_bytes: int, pool: int) -> StoreFull:
    """The error of a pool that is too small."""
    return StoreFull(
        f"slots {list(slots)} do not fit: {short} of {wanted} blocks of {block_bytes:,} bytes are short (the pool has {pool}); "
        "free slots, or add memory (`reserve_physical`)"
    )
