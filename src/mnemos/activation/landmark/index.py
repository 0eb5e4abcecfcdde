"""Which landmarks a query is compared with: all of them, or those in the lists of an index that are likely to hold the best.

The index is an inverted file: keys are divided into balanced clusters, and a query looks into the lists whose centres it scores highest, until it has
met enough landmarks (SPANN, arXiv 2111.08566, section 3.2, whose clustering it uses; it reads keys where they stand in the store, and keeps none).
Each row and key-value head has its own. It is derived from the store, and never changed in place, so that forks share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnemos.activation.chunks import ChunkStore
from mnemos.activation.parts import size_of
from mnemos.activation.shadow.selection import ABSENT
from mnemos.index.spann.kmeans import balanced_kmeans, nearest_centres

EXACT, LISTS = "exact", "lists"
PER_ROOT = 4
"""Lists for each √n of n landmarks: so many that a query spends about as much on centres as on what their lists hold."""
SAMPLES, ROUNDS = 8, 8
"""Keys that clusters are found by, for each of them, and rounds of k-means at most."""
LATE = 1024
"""New landmarks that all queries are compared with before they are put into lists."""
SAME = 64 * torch.finfo(torch.float32).eps
"""How far keys may be from their mean, as a share of the largest, to be all the same but for rounding: as all are in a model's first layer."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Index(Protocol):
    """Blocks are known by their numbers in a store; each row and key-value head is by itself."""

    @property
    def compared(self) -> int:
        """Landmarks that a query is compared with at most; 0: all."""
        ...

    def add(self, store: ChunkStore) -> Index:
        """One that knows of what was put into the store since."""
        ...

    def remove(self, store: ChunkStore, row: int) -> Index:
        """One that knows nothing of what may no longer be read in this row of the store."""
        ...

    def search(self, queries: Tensor, count: int) -> Tensor | None:
        """Queries [B, G, g, t, d] → of `count` blocks the numbers of those that each is to be compared with, [B, G, g, t, m], `ABSENT` where there
        are fewer; none twice. None: with all."""
        ...

    def nbytes(self) -> int:
        """Near."""
        ...

    def rows(self, index: Tensor) -> Index:
        """Of these rows."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Plain values, and tensors."""
        ...


class Exact:
    """Every query is compared with all landmarks."""

    compared = 0

    def add(self, store: ChunkStore) -> Exact:
        return self

    def remove(self, store: ChunkStore, row: int) -> Exact:
        return self

    def search(self, queries: Tensor, count: int) -> None:
        return None

    def nbytes(self) -> int:
        return 0

    def rows(self, index: Tensor) -> Exact:
        return self

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {}, {}


@dataclass(frozen=True)
class Lists:
    """L lists of each row and head: `centres` [B, G, L, d] float32, `order` [B, G, m] int32, the numbers of blocks, list by list, ascending within,
    and `starts` [B, G, L + 1] int32, where lists begin in it; a list may be empty. Of keys that are all the same the first `oldest` alone are listed:
    no other is ever picked. Without centres all are compared."""

    begin: int
    """Blocks from which on there are lists."""
    probe: int
    """Landmarks of lists that a query is compared with."""
    oldest: int
    seed: int = 0
    built: int = 0
    """Blocks that there were when clusters were found; they are found anew when there are twice as many."""
    upto: int = 0
    """Blocks that were put into lists; a query is compared with all that came later."""
    centres: Tensor | None = None
    order: Tensor | None = None
    starts: Tensor | None = None

    @property
    def compared(self) -> int:
        return 0 if self.centres is None else self.probe + LATE

    def add(self, store: ChunkStore) -> Lists:
        if store.count < self.begin:
            return self
        if self.centres is None or store.count >= 2 * self.built:
            lines = [[self._line(*its) for its in row] for row in _readable(store, store.count)]
            return replace(self, built=store.count, upto=store.count, **_stacked(lines, store.device))
        if store.count - self.upto <= LATE:
            return self
        lines = [
            [line.with_more(keys, numbers, self.upto) if len(line.centres) > 1 else self._line(keys, numbers) for line, (keys, numbers) in both]
            for both in (zip(*each, strict=True) for each in zip(self._lines(), _readable(store, store.count), strict=True))
        ]
        return replace(self, upto=store.count, **_stacked(lines, store.device))

    def remove(self, store: ChunkStore, row: int) -> Lists:
        """Its lists are made anew of what is left, so that no centre knows of what is gone."""
        if self.centres is None:
            return self
        lines = self._lines()
        lines[row] = [self._line(*its) for its in _readable(store, self.upto)[row]]
        return replace(self, **_stacked(lines, store.device))

    def search(self, queries: Tensor, count: int) -> Tensor | None:
        if self.centres is None or self.order is None or self.starts is None:
            return None
        rows, heads, group, new, size = queries.shape
        scores = torch.matmul(queries.reshape(rows, heads, group * new, size).float(), self.centres.mT)
        lists = scores.sort(dim=-1, descending=True, stable=True).indices  # [B, G, g · t, L]
        starts = self.starts.long()
        firsts = starts[:, :, None, :-1].expand_as(lists).gather(-1, lists)
        sizes = starts.diff(dim=-1)[:, :, None].expand_as(lists).gather(-1, lists)
        ends = sizes.cumsum(-1)
        at = torch.arange(min(self.probe, self.order.shape[-1]), device=queries.device).expand(*lists.shape[:-1], -1)
        which = torch.searchsorted(ends, at.contiguous(), right=True).clamp_max(lists.shape[-1] - 1)
        place = firsts.gather(-1, which) + at - (ends - sizes).gather(-1, which)
        numbers = self.order.long()[:, :, None].expand(-1, -1, group * new, -1).gather(-1, place.clamp_max(self.order.shape[-1] - 1))
        late = torch.arange(self.upto, count, device=queries.device).expand(*at.shape[:-1], -1)
        return torch.cat([numbers.masked_fill(at >= ends[..., -1:], ABSENT), late], -1).view(rows, heads, group, new, -1)

    def nbytes(self) -> int:
        return size_of(self.centres, self.order, self.starts)

    def rows(self, index: Tensor) -> Lists:
        if self.centres is None or self.order is None or self.starts is None:
            return self
        return replace(self, **{name: getattr(self, name).index_select(0, index) for name in _TENSORS})

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        plain = {name: value for name, value in vars(self).items() if name not in _TENSORS}
        return plain, {name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}

    def _line(self, keys: Floats, numbers: Ints) -> _Line:
        """The lists of blocks of these keys [m, d] and numbers [m]."""
        middle = keys.mean(0, keepdims=True) if len(keys) else np.zeros((1, keys.shape[1]), np.float32)
        if not len(keys) or np.linalg.norm(keys - middle, axis=1).max() <= SAME * np.linalg.norm(keys, axis=1).max():
            numbers = numbers[: self.oldest]
            return _Line(middle, numbers, np.array([0, len(numbers)]))
        count = PER_ROOT * round(len(keys) ** 0.5)
        found = balanced_kmeans(keys, count, rng=np.random.default_rng(self.seed), samples=SAMPLES * count, inits=1, iterations=ROUNDS)
        return _Line.of(found.centres, found.assignment, numbers)

    def _lines(self) -> list[list[_Line]]:
        """Undoes `_stacked`."""
        assert self.centres is not None
        assert self.order is not None
        assert self.starts is not None
        every = zip(*(tensor.flatten(0, 1).cpu().numpy() for tensor in (self.centres, self.order, self.starts)), strict=True)
        lines = [_Line.filled(centres, order.astype(np.int64), starts.astype(np.int64)) for centres, order, starts in every]
        heads = self.centres.shape[1]
        return [lines[first : first + heads] for first in range(0, len(lines), heads)]


_TENSORS = ("centres", "order", "starts")


@dataclass(frozen=True)
class _Line:
    """Of one row and head: centres [L, d], numbers [m] by list, starts [L + 1]."""

    centres: Floats
    order: Ints
    starts: Ints

    @classmethod
    def of(cls, centres: Floats, assignment: Ints, numbers: Ints) -> _Line:
        """Of blocks that were assigned to centres, in the order of their numbers in each list."""
        sizes = np.bincount(assignment, minlength=len(centres))
        return cls(centres, numbers[np.argsort(assignment, kind="stable")], np.concatenate([[0], sizes.cumsum()]))

    @classmethod
    def filled(cls, centres: Floats, order: Ints, starts: Ints) -> _Line:
        """Without what it was filled up with."""
        count = max(1, int(np.argmax(starts == starts[-1])))  # lists behind the last that has members
        return cls(centres[:count], order[: starts[-1]], starts[: count + 1])

    def with_more(self, keys: Floats, numbers: Ints, upto: int) -> _Line:
        """With the blocks among these whose numbers are `upto` or more, each in the list whose centre is nearest."""
        new = numbers >= upto
        assignment, _ = nearest_centres(keys[new], self.centres)
        before = np.repeat(np.arange(len(self.centres)), np.diff(self.starts))
        return _Line.of(self.centres, np.concatenate([before, assignment]), np.concatenate([self.order, numbers[new]]))


def _readable(store: ChunkStore, upto: int) -> list[list[tuple[Floats, Ints]]]:
    """For each row and head, of the first `upto` blocks those that may be read: their keys [m, d] and numbers [m]."""
    keys, readable = store.summaries[:, :, :upto].float().cpu().numpy(), store.readable[:, :, :upto].cpu().numpy()
    return [
        [(of_head[there], there.nonzero()[0]) for of_head, there in zip(of_row, those, strict=True)]
        for of_row, those in zip(keys, readable, strict=True)
    ]


def _stacked(lines: list[list[_Line]], device: torch.device) -> dict[str, Tensor]:
    """As tensors, filled up by empty lists of the last centre, which no query prefers and no key is nearer to."""
    every = [line for row in lines for line in row]
    lists, most = max(len(line.centres) for line in every), max(len(line.order) for line in every)
    centres = np.stack([np.pad(line.centres, ((0, lists - len(line.centres)), (0, 0)), "edge") for line in every])
    order = np.stack([np.pad(line.order, (0, most - len(line.order)), constant_values=ABSENT) for line in every])
    starts = np.stack([np.pad(line.starts, (0, lists - len(line.centres)), "edge") for line in every])
    types = (np.float32, np.int32, np.int32)
    its = [torch.from_numpy(np.asarray(each, kind)).to(device) for each, kind in zip((centres, order, starts), types, strict=True)]
    return {name: tensor.unflatten(0, (len(lines), -1)) for name, tensor in zip(_TENSORS, its, strict=True)}


def make(kind: str, begin: int, probe: int, top: int) -> Index:
    """An index of that kind that knows of nothing yet, for queries that bring `top` blocks back."""
    return Exact() if kind == EXACT else Lists(begin, probe, 2 * top)  # of the oldest, `top` may have slots of their own


def from_state(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Index:
    """Undoes `state`."""
    return Lists(**plain, **tensors) if plain else Exact()
