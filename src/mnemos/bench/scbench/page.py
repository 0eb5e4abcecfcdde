"""Putting a context together piece by piece, with the places of what is evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.records import Span

Counter = Callable[[str], int]
"""Gives the tokens of a text."""


class Page:
    """A text that grows, and knows where each piece of it lies."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._at = 0

    def add(self, text: str) -> Span:
        """Appends; gives where it came to lie."""
        start = self._at
        self._parts.append(text)
        self._at += len(text)
        return start, self._at

    @property
    def text(self) -> str:
        return "".join(self._parts)


def too_short(task: str, length: int, need: str) -> Invalid:
    """The error of a context that cannot hold what the questions are about."""
    return Invalid(f"{task}: {length} tokens are too few: {need}; give a greater length or fewer turns")


def filling(make: Callable[[], str], budget: int, count: Counter) -> list[str]:
    """Pieces made while they fit within `budget` tokens."""
    out: list[str] = []
    left = budget
    while True:
        piece = make()
        cost = count(piece)
        if cost > left:
            return out
        out.append(piece)
        left -= cost


def planted(filler: Sequence[str], pieces: Sequence[tuple[int, str]]) -> list[tuple[str, int | None]]:
    """The filler with `pieces` (slot, text) put in before the filler of that slot: (text, number of the piece, None for filler)."""
    at: dict[int, list[int]] = {}
    for number, (slot, _) in enumerate(pieces):
        at.setdefault(slot, []).append(number)
    out: list[tuple[str, int | None]] = []
    for slot, text in enumerate([*filler, ""]):
        out += [(pieces[number][1], number) for number in at.get(slot, ())]
        if text:
            out.append((text, None))
    return out


def apart(places: Sequence[int], n: int) -> list[int]:
    """The places among `n`, those that are taken moved on to the next free one. Needs at least as many slots as places."""
    taken: dict[int, None] = {}
    for place in places:
        while place in taken:
            place = (place + 1) % n
        taken[place] = None
    return list(taken)
