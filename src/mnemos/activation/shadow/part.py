"""Chunks of tokens of which only a shadow is near: low-rank keys and landmarks. The values lie far, and a few chunks are brought for each query."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mnemos.activation import coding, parts
from mnemos.activation.buffer import Buffer, Statistics
from mnemos.activation.chunks import ChunkStore
from mnemos.activation.coding import Numbers
from mnemos.activation.parts import Bytes, Marks, size_of
from mnemos.activation.rotary import Rotary
from mnemos.activation.shadow.retrieving import Picked, Retrieving, of_chunks
from mnemos.activation.shadow.selection import ABSENT

DIRECTION_BITS = 8
"""Bits of each number of the directions where coefficients are in few bits."""
TILE = 8
"""Chunks whose keys are made by one product of matrices: always as many, so that a key has the same bits whatever is made beside it."""


@dataclass
class Shadow(Retrieving):
    """n chunks of c tokens for each row; c is `chunk`.

    `store`: landmarks [B, G, n, d], values far, and which chunks are candidates (not the outliers, which are kept exactly in a part of their own).
    `places` [B, n, c] int32, far: positions, −1 where there is no token. `coefficients`: pieces [B, m, c, r], one after the other, of the keys before
    rotation in the `directions` [B, G, R, d]; older pieces use the first r of them only. Coefficients may be in few bits, and directions then in
    `DIRECTION_BITS`. `counts` [B]: the chunks that each head picks. `loss` [B]: what the worst chunks of the prompt lose to the basis, as a share.
    `strays` [B, D, D] far: the Gram matrix of what it left out of later tokens.
    """

    store: ChunkStore
    places: Tensor
    coefficients: tuple[Numbers, ...]
    directions: Numbers
    rotary: Rotary
    counts: Tensor
    loss: Tensor
    sets: Tensor | None = None
    """[B, n, c] int32: the row of the rotary frequencies that a token was rotated by; None: the first."""
    strays: Tensor | None = None
    reuse: bool = True
    """Whether what one step brought is kept for the next."""
    marks: Marks = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    buffer: Buffer | None = None
    kind = "shadow"

    def __copy__(self) -> Shadow:
        """A part that shares what never changes, and has a buffer of its own."""
        values = {**vars(self), "store": self.store.fork(), "marks": {}, "statistics": Statistics(), "buffer": None}
        return Shadow(**values)

    @property
    def heads(self) -> tuple[int, ...]:
        """All of the layer."""
        return tuple(range(self._stored.shape[1]))

    @property
    def basis(self) -> Tensor:
        """[B, G, R, d]: the directions as numbers."""
        return coding.decoded(self.directions)

    @property
    def _stored(self) -> Tensor:
        """[B, G, R, …]: of what takes room for the directions, the first."""
        return coding.tensors(self.directions)[0]

    @property
    def chunk(self) -> int:
        """c."""
        return int(self.places.shape[2])

    @property
    def rank(self) -> int:
        """R: directions of the basis."""
        return int(self._stored.shape[2])

    @property
    def length(self) -> int:
        return int(self.places.shape[1]) * self.chunk

    @property
    def tokens(self) -> Tensor:
        """[B]: how many tokens each row has here and among its outliers."""
        return (self.places >= 0).sum((1, 2))

    @property
    def positions(self) -> Tensor:
        """[B, G, n·c]; −1 for the chunks that a head keeps elsewhere."""
        every = self.places.to(self.store.device).unsqueeze(1).expand(-1, len(self.heads), -1, -1)
        return every.masked_fill(~self.store.readable.unsqueeze(-1), -1).flatten(2)

    @property
    def _numbers(self) -> Tensor:
        """One that has the device and type of keys and values near."""
        return self.loss.new_empty(0, dtype=self.store.payloads[0].dtype)

    # Picking and bringing

    def _room(self, picked: Tensor) -> Buffer:
        return Buffer.empty(picked, self._numbers, self.chunk * coding.width(self.directions), self.store.payloads[0].shape[-1])

    def everything(self) -> Picked:
        """All chunks, for queries that shall see them all."""
        keys, values = self.dense()
        return Picked(keys, values, self.positions, self.heads)

    def dense(self) -> tuple[Tensor, Tensor]:
        rows, heads, n = len(self.places), len(self.heads), self.store.count
        picked = torch.arange(n, device=self.store.device).expand(rows, heads, n)
        keys, _ = self._fresh(picked, bring_values=False)
        return keys, self.store.whole().view(rows, heads, n * self.chunk, -1)

    def _fresh(self, picked: Tensor, bring_values: bool = True) -> tuple[Tensor, Tensor]:
        """[B, G, k] → keys and values [B, G, k·c, …] that pass by the buffer; zeros where nothing is picked."""
        rows, heads, k = picked.shape
        wanted = (picked < ABSENT).reshape(-1).nonzero().squeeze(1)
        where = wanted // (heads * k), wanted // k % heads, picked.reshape(-1)[wanted]
        keys = self._numbers.new_zeros(rows * heads * k, self.chunk * coding.width(self.directions))
        keys[wanted] = self.keys(*where)
        values = self._numbers.new_zeros(0)
        if bring_values:
            values = self._numbers.new_zeros(rows * heads * k, self.store.payloads[0].shape[-1])
            values[wanted] = self.store.fetch(*where)
            values = values.view(rows, heads, k * self.chunk, -1)
        return keys.view(rows, heads, k * self.chunk, -1), values

    def _bring(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> tuple[Tensor, Tensor]:
        values = self.store.fetch(rows, heads, chunks)  # first: a copy from the host goes on while keys are made
        return self.keys(rows, heads, chunks), values

    def keys(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> Tensor:
        """Keys [m, c·d], rotated, of these chunks [m], which are ordered by row and head."""
        line = rows * len(self.heads) + heads
        out = self._numbers.new_empty(len(chunks), self.chunk, coding.width(self.directions))
        start = 0
        for piece in self.coefficients:
            length = coding.tensors(piece)[0].shape[1]
            if len(self.coefficients) == 1:
                out = self._products(_numbers_of_chunks(piece, rows, chunks), line)
            else:
                here = ((chunks >= start) & (chunks < start + length)).nonzero().squeeze(1)
                out[here] = self._products(_numbers_of_chunks(piece, rows[here], chunks[here] - start), line[here])
            start += length
        sets = None if self.sets is None else of_chunks(self.sets, rows, chunks)
        return self.rotary.rotate(out, self._places_of(rows, chunks).clamp_min(0), sets).flatten(1)

    def _products(self, coefficients: Tensor, line: Tensor) -> Tensor:
        """Coefficients [m, c, r] by the basis of their row and head: [m, c, d], always a `TILE` of chunks at a time."""
        basis = self.basis
        (m, chunk, rank), size = coefficients.shape, basis.shape[-1]
        lines = basis.shape[0] * basis.shape[1]
        number = torch.bincount(line, minlength=lines)
        tiles = -(-number // TILE)
        place = torch.arange(m, device=line.device) - (number.cumsum(0) - number)[line] + ((tiles.cumsum(0) - tiles) * TILE)[line]
        total = int(tiles.sum())
        padded = coefficients.new_zeros(total * TILE, chunk, rank)
        padded.index_copy_(0, place, coefficients)
        of_tile = torch.repeat_interleave(torch.arange(lines, device=line.device), tiles)
        bases = basis.flatten(0, 1).index_select(0, of_tile)[:, :rank]
        return torch.bmm(padded.view(total, TILE * chunk, rank), bases).view(total * TILE, chunk, size).index_select(0, place)

    # Leaving out

    def without(self, row: int, start: int, stop: int, erase: bool) -> Shadow:
        """The same without a row's tokens at positions from `start` to before `stop`. Either they are overwritten, and the landmarks of chunks that
        hold others, too, are those of the others; or nothing is written, and all chunks that hold some of them are no longer read."""
        gone = (self.places[row] >= start) & (self.places[row] < stop)
        chunks = gone.any(-1).nonzero().squeeze(1)
        other = copy.copy(self)
        if not len(chunks):
            return other
        other.places = self.places.clone()
        other.places[row] = other.places[row].masked_fill(gone, -1)
        if not erase:
            other.store.hide(row, chunks)
            return other
        first, coefficients = 0, []
        for piece in self.coefficients:
            length = coding.tensors(piece)[0].shape[1]
            its = gone[first : first + length].to(self.store.device)

            def written(before: Tensor, its: Tensor = its) -> Tensor:
                after = before.clone()
                after[row] = after[row].masked_fill(its.view(*its.shape, *(1,) * (after.dim() - 3)), 0)
                return after

            coefficients.append(coding.each(written, piece))
            first += length
        other.coefficients = tuple(coefficients)
        heads, m, device = len(self.heads), len(chunks), self.store.device
        where = torch.full((heads * m,), row, device=device), torch.arange(heads, device=device).repeat_interleave(m), chunks.to(device).repeat(heads)
        left = other.places[row, chunks].to(device)  # [m, c]
        stays = (left >= 0).unsqueeze(-1)
        keys = other.keys(*where).view(heads, m, self.chunk, -1) * stays
        landmarks = keys.sum(2) / stays.sum(1).clamp_min(1)
        values = self.store.fetch(*where).view(heads, m, self.chunk, -1) * stays
        spans = torch.stack([left.masked_fill(left < 0, ABSENT).amin(-1), left.amax(-1)], -1).masked_fill(~stays.any(1), -1)
        other.store.overwrite(row, chunks.tolist(), landmarks, values.flatten(2), spans)
        return other

    # The rest of what a part is

    def logits(self, queries: Tensor) -> Tensor:
        return self.everything().logits(queries)

    def mix(self, weights: Tensor) -> Tensor:
        return self.everything().mix(weights)

    def nbytes(self) -> Bytes:
        buffer = () if self.buffer is None else self.buffer.tensors()
        rotation = self.rotary.frequencies, self.rotary.scaling
        coefficients = [tensor for piece in self.coefficients for tensor in coding.tensors(piece)]
        own = size_of(*coefficients, *coding.tensors(self.directions), self.counts, self.loss, self.sets, *rotation, *buffer)
        return self.store.nbytes() + Bytes(own, size_of(self.places, self.strays))

    def rows(self, index: Tensor) -> Shadow:
        def of(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.index_select(0, index.to(tensor.device))

        coefficients = tuple(coding.each(of, piece) for piece in self.coefficients)
        return Shadow(self.store.rows(index), of(self.places), coefficients, coding.each(of, self.directions), self.rotary,
                      of(self.counts), of(self.loss), of(self.sets), of(self.strays), self.reuse)  # fmt: skip

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        layout, rotation = self.rotary.state()
        tensors = {name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}
        tensors |= coding.state(self.directions, "basis")
        for number, piece in enumerate(self.coefficients):
            tensors |= coding.state(piece, f"coefficients.{number}")
        tensors |= {f"store.{name}": tensor for name, tensor in self.store.state().items()}
        tensors |= {f"rotary.{name}": tensor for name, tensor in rotation.items()}
        return {"rotary": layout, "reuse": self.reuse}, tensors


def _numbers_of_chunks(numbers: Numbers, rows: Tensor, chunks: Tensor) -> Tensor:
    return coding.decoded(coding.each(lambda tensor: of_chunks(tensor, rows, chunks), numbers))


_TENSORS = ("places", "counts", "loss", "sets", "strays")


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Shadow:
    def of(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}

    pieces = of("coefficients")
    number = len({name.partition(".")[0] for name in pieces})
    store = ChunkStore.from_state(of("store"))
    dtype = store.payloads[0].dtype
    coefficients = tuple(coding.from_state(pieces, str(each), dtype) for each in range(number))
    directions = coding.from_state(tensors, "basis", dtype)
    rotary = Rotary.from_state(plain["rotary"], of("rotary"))
    return Shadow(store, tensors["places"].cpu(), coefficients, directions, rotary, tensors["counts"], tensors["loss"],
                  tensors.get("sets"), tensors.get("strays"), plain["reuse"])  # fmt: skip


parts.register(Shadow.kind, _load)
