"""Which slot a new sequence gets, and which pages go first when some are short. Pure functions of counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

Fit = Callable[[Sequence[int], Sequence[bool], int, int], int | None]
"""Of the blocks that slots have, which of them are free, how many adjacent ones are wanted, and the blocks that each will need: the first slot."""


def best_fit(mapped: Sequence[int], free: Sequence[bool], count: int, needed: int) -> int | None:
    """The free slots that leave least to map; of those, the ones with least to spare; of those, the first. None where there are none.

    For one slot: the smallest that has enough, else the largest, else an empty one (vAttention, section 6.1.2).
    """
    best: tuple[int, int, int] | None = None
    for start in range(len(mapped) - count + 1):
        slots = range(start, start + count)
        if not all(free[slot] for slot in slots):
            continue
        missing = sum(max(0, needed - mapped[slot]) for slot in slots)
        spare = sum(max(0, mapped[slot] - needed) for slot in slots)
        if best is None or (missing, spare, start) < best:
            best = missing, spare, start
    return None if best is None else best[2]


def first_fit(mapped: Sequence[int], free: Sequence[bool], count: int, needed: int) -> int | None:
    """The first free slots, whatever they have."""
    return next((start for start in range(len(mapped) - count + 1) if all(free[start : start + count])), None)


def reclaim_order(mapped: Sequence[int], needed: Sequence[int], free: Sequence[bool], spared: int | None) -> Iterator[tuple[int, int]]:
    """Slots with more blocks than they need, and how many more, in the order in which they give them up.

    Free slots first, from the last to the first, then those in use (section 6.1.2). `spared`, which the next sequence will get, comes after all
    others: a sequence that is there goes before one that may come.
    """
    slots = [slot for slot in range(len(mapped) - 1, -1, -1) if mapped[slot] > needed[slot]]
    for slot in sorted(slots, key=lambda slot: (slot == spared, not free[slot])):
        yield slot, mapped[slot] - needed[slot]
