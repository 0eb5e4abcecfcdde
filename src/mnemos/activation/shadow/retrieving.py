"""What parts do alike whose tokens lie far in chunks: chunks are scored by what stands near for them, and the best are brought for each query."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from mnemos.activation.buffer import Reusing
from mnemos.activation.parts import Dense, size_of
from mnemos.activation.shadow.selection import ABSENT, best, best_places, places


class Picked(Dense):
    """Chunks that were brought; `seen` [B, h, t, m] is True where a query is to see a token, None: wherever there is one."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, heads: Sequence[int], seen: Tensor | None = None) -> None:
        super().__init__(keys, values, positions, heads)
        self.seen = seen


class Retrieving(Reusing):
    """The base of such parts: n chunks of c tokens in `store`; `places` [B, n, c] int32, far, their positions, −1 where there is no token; `counts`
    [B] the chunks that each of G key-value heads picks for a query. A buffer holds keys [B, G, k, c·d] and values [B, G, k, c·e]."""

    places: Tensor
    counts: Tensor

    @property
    @abstractmethod
    def heads(self) -> tuple[int, ...]:
        """All of the layer."""

    @abstractmethod
    def _fresh(self, picked: Tensor) -> tuple[Tensor, Tensor]:
        """[B, G, k] → keys and values of so many chunks that pass by the buffer; zeros where nothing is picked."""

    def _asking(self, queries: Tensor) -> Tensor:
        """What is multiplied with what stands for chunks."""
        return queries

    def open(self, queries: Tensor, scaling: float) -> Picked:
        scores = self.scores(queries, scaling)
        if queries.shape[3] == 1:
            return self._decoding(best_places(scores[:, :, 0], self.counts[:, None]))
        return self._reading(best(scores, self.counts[:, None, None]))

    def scores(self, queries: Tensor, scaling: float) -> Tensor:
        """[B, G, t, n] of the chunks for queries [B, G, g, t, d]: the softmax of their products with what stands for chunks, the largest of the heads
        that share a key-value head (ShadowKV, section 4); −∞ for those that are no candidates."""
        scores = (self.store.score(self._asking(queries)) * scaling).softmax(-1).amax(2)  # no number where nothing is readable
        return scores.masked_fill_(~self.store.readable.unsqueeze(2), -torch.inf)

    def bring(self, chosen: Tensor) -> Picked:
        """These chunks, True in [B, G, t, n], as they are attended to: each of several queries sees what is its own, and nothing else."""
        if chosen.shape[2] == 1:
            return self._decoding(places(chosen[:, :, 0], min(int(self.counts.max()), chosen.shape[-1])))
        return self._reading(chosen)

    def _decoding(self, picked: Tensor) -> Picked:
        keys, values = self._turned(picked).states
        return self._picked(picked, keys, values)

    def _reading(self, chosen: Tensor) -> Picked:
        """All that some query picked, and for each query what it picked itself."""
        some = chosen.any(2)
        picked = places(some, max(1, int(some.sum(-1).max())))
        keys, values = self._fresh(picked)
        own = chosen.gather(-1, picked.clamp_max(some.shape[-1] - 1).unsqueeze(2).expand(-1, -1, chosen.shape[2], -1))
        return self._picked(picked, keys, values, (own & (picked < ABSENT).unsqueeze(2)).repeat_interleave(self.places.shape[2], -1))

    def _picked(self, picked: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None) -> Picked:
        self.statistics.most = max(self.statistics.most, size_of(keys, values))
        shape = (*picked.shape[:2], picked.shape[2] * self.places.shape[2], -1)
        positions = self._at(picked).masked_fill((picked == ABSENT).unsqueeze(-1), -1).flatten(2)
        return Picked(keys.view(shape), values.view(shape), positions, self.heads, seen)

    def _at(self, picked: Tensor) -> Tensor:
        """[B, G, k] → the positions of their tokens [B, G, k, c]."""
        rows = torch.arange(picked.shape[0], device=picked.device)[:, None, None].expand_as(picked)
        return self._places_of(rows.reshape(-1), picked.clamp_max(self.places.shape[1] - 1).reshape(-1)).view(*picked.shape, -1)

    def _places_of(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """[m, c]: the positions of these chunks [m], brought near as their payloads are."""
        return of_chunks(self.places, rows.cpu(), chunks.cpu()).to(self.store.device, non_blocking=True)


def of_chunks(tensor: Tensor, rows: Tensor, chunks: Tensor) -> Tensor:
    """[B, n, …] at m rows and chunks: [m, …]."""
    return tensor.flatten(0, 1).index_select(0, rows * tensor.shape[1] + chunks)
