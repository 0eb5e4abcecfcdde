"""Where new tokens stand among memory tokens, and what each may see: plain arithmetic, the same for all layers of a model.

*Slots* are what the model reads in one pass: new tokens, and the memory tokens of windows that they fill. Each window is read in a frame of its own:
position 0 is the first of what is remembered of earlier windows, of which there are `base`, and the window's own tokens follow on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnemos.activation.beacon.windows import APPENDED, SEGMENT, Windows
from mnemos.base.errors import Invalid

RAW, MEMORY, NOTHING = 0, 1, 2
BLOCK = 256
"""Slots whose attention is computed at a time."""


@dataclass(frozen=True)
class Cursor:
    """How far a sequence is read: `filled` tokens of the window of that number, after `base` positions that are remembered; `read` in all."""

    window: int = 0
    filled: int = 0
    base: int = 0
    read: int = 0


@dataclass
class _Row:
    """A row of slots, or of what stands before them in their window: as lists, one entry a slot."""

    kind: list[int]
    window: list[int]
    place: list[int]
    """Of a token: its place in the window; of a memory token: which of the window's it is."""
    position: list[int]
    base: list[int]
    low: list[int]
    high: list[int]
    """Tokens of its window that it sees: from the place `low` up to, not with, `high`."""
    memory_low: list[int]
    memory_high: list[int]
    """Memory tokens of its window that it sees."""
    source: list[int]
    """Which of the new tokens it is; −1: a memory token."""

    @classmethod
    def empty(cls) -> _Row:
        return cls(*([] for _ in range(10)))

    def add(self, kind: int, window: int, places: range, positions: Sequence[int], base: int, seen: Sequence[tuple[int, int, int, int]],
            sources: Sequence[int]) -> None:  # fmt: skip
        count = len(places)
        self.kind += [kind] * count
        self.window += [window] * count
        self.place += places
        self.position += positions
        self.base += [base] * count
        for low, high, memory_low, memory_high in seen:
            self.low.append(low)
            self.high.append(high)
            self.memory_low.append(memory_low)
            self.memory_high.append(memory_high)
        self.source += sources


class Layout:
    """One pass of a model. Tensors have a row for each sequence, or one for all where all are alike; `before` is what stands in the tail."""

    def __init__(self, windows: Windows, cursors: Sequence[Cursor], new: Sequence[Sequence[int]], device: torch.device | str, closing: bool = False):
        """`new`: for each sequence the places of its new tokens among those given. With `closing` there are none, and the windows that are begun
        become memory as they are."""
        self.windows = windows
        self.rows = len(cursors)
        self.alike = len({(cursor.window, cursor.filled, cursor.base) for cursor in cursors}) == 1 and len({tuple(places) for places in new}) == 1
        self.given = list(new)
        slots, tails, kept, left, after = [], [], [], [], []
        done: list[tuple[_Row, _Row, list[int], list[int], Cursor]] = []
        for cursor, places in zip(cursors[:1] if self.alike else cursors, new, strict=False):
            done.append(_laid_out(windows, cursor, places, closing))
        for row, tail, keeps, leaves, cursor in done:
            slots.append(row)
            tails.append(tail)
            kept.append(keeps)
            left.append(leaves)
            after.append(cursor)
        self.after = [*after * self.rows] if self.alike else after
        self.before = max(len(tail.kind) for tail in tails)
        self.count = max(len(row.kind) for row in slots)
        """Slots, those that hold nothing (of shorter rows) included."""
        every = [_padded(tail, self.before, slot, self.count) for tail, slot in zip(tails, slots, strict=True)]
        fields = {name: torch.tensor([getattr(row, name) for row in every], device=device) for name in _FIELDS}
        self._fields: dict[str, Tensor] = fields
        own = slice(self.before, None)
        self.positions = fields["position"][:, own]
        self.all_positions = fields["position"]
        self.source = fields["source"][:, own]
        memory = (fields["kind"][:, own] == MEMORY).expand(self.rows, -1)
        self.memory_places: tuple[Tensor, ...] | None = memory.nonzero(as_tuple=True) if bool(memory.any()) else None
        """Rows and slots of the memory tokens."""
        shifted = [([_shift(n, len(t.kind), self.before) for n in k], [_shift(n, len(t.kind), self.before) for n in lf])
                   for k, lf, t in zip(kept, left, tails, strict=True)]  # fmt: skip
        self.kept = _table([k for k, _ in shifted], device)
        """What becomes memory: places among [tail | slots], −1 at the end of rows with less."""
        self.left = _table([lf[::-1] for _, lf in shifted], device).flip(1)
        """What is the tail afterwards, −1 at the beginning of rows with less."""
        self.deepest = max(cursor.base for cursor in self.after)
        self.longest = int(fields["position"].max()) + 1 if self.count else 0
        self.bases = [cursor.base for cursor in cursors]
        self._masks: list[tuple[int, int, int, int, Tensor]] | None = None

    def blocks(self) -> list[tuple[int, int, int, int, Tensor]]:
        """(start, stop, remembered, first, mask): slots start … stop see the first `remembered` positions of the memory, and of [tail | slots] what
        stands from `first` up to `stop`, as far as the mask [rows or 1, 1, stop − start, remembered + …] is true."""
        if self._masks is None:
            self._masks = [self._block(start, min(start + BLOCK, self.count)) for start in range(0, self.count, BLOCK)]
        return self._masks

    def _block(self, start: int, stop: int) -> tuple[int, int, int, int, Tensor]:
        f = self._fields
        queries = slice(self.before + start, self.before + stop)
        asked = {name: f[name][:, queries, None] for name in _FIELDS}
        first = int((f["window"] == f["window"][:, queries][:, :1]).int().argmax(1).min())
        keys = slice(first, self.before + stop)
        held = {name: f[name][:, None, keys] for name in ("kind", "window", "place")}
        raw = (held["kind"] == RAW) & (held["place"] >= asked["low"]) & (held["place"] < asked["high"])
        own = (held["kind"] == MEMORY) & (held["place"] >= asked["memory_low"]) & (held["place"] < asked["memory_high"])
        local = (raw | own) & (held["window"] == asked["window"])
        remembered = int(asked["base"].max())
        seen = torch.arange(remembered, device=local.device) < asked["base"]
        mask = torch.cat([seen, local], 2)
        mask[..., remembered:] |= (asked["kind"] == NOTHING) & (torch.arange(keys.start, keys.stop, device=local.device)
                                                               == torch.arange(queries.start, queries.stop, device=local.device)[:, None])
        return start, stop, remembered, first, mask[:, None]


_FIELDS = ("kind", "window", "place", "position", "base", "low", "high", "memory_low", "memory_high", "source")


def _laid_out(windows: Windows, cursor: Cursor, places: Sequence[int], closing: bool) -> tuple[_Row, _Row, list[int], list[int], Cursor]:
    """Slots; what stands in the tail; places among [tail | slots] of what becomes memory, and of what is the tail afterwards; the cursor after."""
    row, tail = _Row.empty(), _Row.empty()
    _tokens(tail, windows, cursor.window, cursor.base, range(cursor.filled), [-1] * cursor.filled)
    there = len(tail.kind)
    kept: list[int] = []
    window, filled, base, at = cursor.window, cursor.filled, cursor.base, 0
    begun = 0  # where the window that is being filled begins among [tail | slots]
    sight = together = 0  # what is remembered that the window sees; whole windows before it in its group, none of which sees another
    while True:
        size, ratio = windows.size_of(window), windows.ratio_of(window)
        take = min(size - filled, len(places) - at)
        whole = take == size and not (windows.sinks and not window)
        together = together if whole else 0  # one that is begun already, or not filled here, sees all before it
        sight = sight if together else base
        _tokens(row, windows, window, sight, range(filled, filled + take), places[at : at + take])
        filled, at = filled + take, at + take
        full = filled == size
        if not full and not (closing and filled):
            break
        end = there + len(row.kind)
        if ratio is None:
            kept += range(begun, end)
            base += filled
        else:
            count = -(-filled // ratio)
            done = filled // ratio if windows.eager else 0
            _memory(row, windows, window, sight, range(done, count), filled)
            held = [n for n in range(begun, end) if (tail.kind[n] if n < there else row.kind[n - there]) == MEMORY]
            kept += [*held, *range(end, there + len(row.kind))]
            base += count
        begun, window, filled = there + len(row.kind), window + 1, 0
        together = (together + whole) % windows.parallel
        if closing:
            break
    left = list(range(begun, there + len(row.kind)))
    return row, tail, kept, left, Cursor(window, filled, base, cursor.read + len(places))


def _tokens(row: _Row, windows: Windows, window: int, base: int, places: range, sources: Sequence[int]) -> None:
    """Tokens of a window, with the memory tokens that come at once."""
    ratio = windows.ratio_of(window)
    if not windows.eager or ratio is None:
        row.add(RAW, window, places, [base + place for place in places], base, [(0, place + 1, 0, 0) for place in places], sources)
        return
    for place, source in zip(places, sources, strict=True):
        before = place // ratio
        row.add(RAW, window, range(place, place + 1), [base + place + before], base, [(0, place + 1, 0, before)], [source])
        if (place + 1) % ratio == 0:
            _memory(row, windows, window, base, range(before, before + 1), place + 1)


def _memory(row: _Row, windows: Windows, window: int, base: int, which: range, filled: int) -> None:
    """Memory tokens of a window of which `filled` tokens are there."""
    ratio = windows.ratio_of(window)
    assert ratio is not None
    ends = [min((j + 1) * ratio, filled) for j in which]
    lows = [j * ratio if windows.coverage == SEGMENT else 0 for j in which]
    if windows.place == APPENDED:
        highs = [filled] * len(which) if windows.coverage == "full" else ends
        positions = [base + filled + j for j in which]
    else:
        highs = ends
        positions = [base + end + (j if windows.eager else 0) for j, end in zip(which, ends, strict=True)]
    seen = [(low, high, j if windows.blind else 0, j + 1) for j, low, high in zip(which, lows, highs, strict=True)]
    row.add(MEMORY, window, which, positions, base, seen, [-1] * len(which))


def _padded(tail: _Row, before: int, slots: _Row, count: int) -> _Row:
    """The tail, right-aligned in `before` places, and the slots, left-aligned in `count`; the rest holds nothing."""
    out = _Row.empty()
    for name in _FIELDS:
        none = NOTHING if name == "kind" else -1 if name in ("source", "window") else 0
        had, new = getattr(tail, name), getattr(slots, name)
        setattr(out, name, [none] * (before - len(had)) + had + new + [none] * (count - len(new)))
    return out


def _shift(place: int, there: int, before: int) -> int:
    """A place among a row's own [tail | slots], where the tails of all rows take `before` places and end together."""
    return place + before - there


def _table(rows: Sequence[Sequence[int]], device: torch.device | str) -> Tensor:
    """[rows, longest], −1 where a row has no more."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (longest - len(row))] for row in rows], dtype=torch.long, device=device).reshape(len(rows), longest)


def check_room(layout: Layout, positions: int | None) -> None:
    """Raises `Invalid` where a pass would leave the positions that the model was made for."""
    if positions is not None and layout.longest > positions:
        raise Invalid(f"the memory and its newest window take {layout.longest:,} positions, and the model was made for {positions:,}: "
                      "give a larger ratio, smaller windows, or fewer tokens")  # fmt: skip
