"""A store of chunks of one layer: a short summary of each stays near and is scored, what it stands for lies far and is fetched.

ShadowKV and landmark attention retrieve from it: `put` appends chunks, `score` ranks them for queries, `fetch` brings back what few of them hold.
What a reader may not see is left out before anything is scored; what is deleted is overwritten. Shapes: B rows, G key-value heads, g query heads of
each, t queries, n chunks, d components of a summary, p of a payload.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mnemos.activation import coding
from mnemos.activation.coding import Codes, Frames, Numbers
from mnemos.activation.parts import Bytes, size_of
from mnemos.base.errors import Invalid

AT_ONCE = 4096
"""Chunks whose summaries in few bits are decoded at a time where they are scored."""


class Place(Protocol):
    """Where payloads lie."""

    def hold(self, payload: Tensor) -> Tensor:
        """The same numbers in that place, readable as a tensor of the CPU; it is never written to."""
        ...


class Host:
    """The memory of the host, locked in place (pinned) where an accelerator copies from it."""

    def hold(self, payload: Tensor) -> Tensor:
        """A copy on the CPU, contiguous."""
        if payload.is_cuda:
            far = torch.empty(payload.shape, dtype=payload.dtype, pin_memory=True)
            return far.copy_(payload)
        return payload.detach().to("cpu", copy=True).contiguous()


class Disk:
    """Files that are mapped into memory: the system reads what is fetched, and may drop it again. A file has no name once it is open, so that nothing
    is left of it when the memory is gone, whatever ends the process."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Invalid(f"{self.folder} is no folder: make it before chunks are put there")

    def hold(self, payload: Tensor) -> Tensor:
        """A copy in a file of its own."""
        flat = payload.detach().cpu().contiguous()
        if not flat.numel():
            return flat.clone()
        with tempfile.TemporaryFile(dir=self.folder) as file:
            flat.reshape(-1).view(torch.uint8).numpy().tofile(file)
            file.flush()
            mapped = np.memmap(file, np.uint8, "r+")
        return torch.from_numpy(mapped).view(flat.dtype).reshape(flat.shape)


def place_of(folder: str | Path | None, there: Place | None = None) -> Place:
    """Files in a folder, where there is one; else the place that the memory has for it (its arena), or the memory of the host."""
    return Disk(folder) if folder is not None else Host() if there is None else there


class ChunkStore:
    """Chunks in the order in which they were put, the same number for each row; where a row has fewer, the places that it leaves are not readable.

    `summaries` [B, G, n, d] near; `readable` [B, G, n], of chunks that are scored, a bit of each near; `spans` [B, n, 2] int32, the positions of the
    first and last token that a chunk holds (−1: none), by which a source's chunks are found. Payloads lie in a few pieces that never change, so that
    forks share them. With `bits` summaries are kept in so many, in frames of their row and head, and scored as they are kept.
    """

    def __init__(self, place: Place | None = None, bits: int | None = None) -> None:
        self.place, self.bits = Host() if place is None else place, bits
        self._near: Numbers
        self._frames: Frames | None = None
        self._open: Tensor
        """[B, G, ≤ n, d], far: the newest summaries as they came, while the frame that they are in changes."""
        self._readable: Tensor
        self.spans: Tensor
        self.payloads: list[Tensor] = []
        self.copied = 0
        """Bytes that were fetched since this object was made."""

    @property
    def count(self) -> int:
        """n."""
        return sum(piece.shape[2] for piece in self.payloads)

    @property
    def device(self) -> torch.device:
        """Of what is near."""
        return self._readable.device

    @property
    def heads(self) -> int:
        """G."""
        return int(self._readable.shape[1])

    @property
    def summaries(self) -> Tensor:
        """[B, G, n, d], as they are scored."""
        numbers = coding.decoded(self._near)
        return numbers if self._frames is None else self._frames.without(numbers, torch.arange(numbers.shape[2], device=numbers.device))

    @property
    def width(self) -> int:
        """d."""
        return coding.width(self._near)

    def summaries_of(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> Tensor:
        """[m, d]: of these m chunks, as they are scored."""
        line = (rows * self.heads + heads) * self.spans.shape[1] + chunks
        numbers = coding.decoded(coding.each(lambda tensor: tensor.flatten(0, 2).index_select(0, line), self._near))
        return numbers if self._frames is None else self._frames.put_back(numbers, rows, heads, chunks)

    @property
    def readable(self) -> Tensor:
        """[B, G, n]: whether a chunk is scored; a copy."""
        return coding.mask_of(self._readable, self.spans.shape[1])

    @readable.setter
    def readable(self, mask: Tensor) -> None:
        self._readable = coding.bits_of(mask)

    def readable_of(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> Tensor:
        """Whether these chunks are scored; three tensors of one shape, and so is what comes."""
        return (self._readable[rows, heads, chunks // 8] >> (chunks % 8).to(torch.uint8) & 1).bool()

    def hide(self, row: int, chunks: Sequence[int] | Tensor) -> None:
        """These chunks of a row are not scored any more."""
        mask = self.readable
        mask[row, :, torch.as_tensor(chunks, dtype=torch.long, device=self.device)] = False
        self.readable = mask

    def put(self, summaries: Tensor, payload: Tensor, spans: Tensor, readable: Tensor | None = None) -> None:
        """Appends chunks: summaries [B, G, m, d], payload [B, G, m, p], spans [B, m, 2]; all readable where nothing else is said."""
        if readable is None:
            readable = (spans[..., 1] >= 0).unsqueeze(1).expand(summaries.shape[:3]).contiguous()
        pieces = list(self.payloads)  # forks share the list, too
        while pieces and pieces[-1].shape[2] <= payload.shape[2]:  # each number is copied once for each doubling
            payload = torch.cat([pieces.pop().to(payload.device), payload], 2)
        held = self.place.hold(payload)  # first: where it has no room, nothing has changed
        self._near = self._with(summaries, (spans[..., 1] >= 0).to(summaries.device))
        spans = spans.to("cpu", torch.int32)
        if self.payloads:
            readable, spans = torch.cat([self.readable, readable], 2), torch.cat([self.spans, spans], 1)
        self.readable, self.spans = readable, spans
        self.payloads = [*pieces, held]

    def _with(self, summaries: Tensor, there: Tensor) -> Numbers:
        """What is kept near, with those of more chunks [B, G, m, d], of which `there` [B, m] are. Those of a frame that few have told of are put,
        from what they were, into the one that more tell of."""
        if self.bits is None:
            return torch.cat([self.summaries, summaries], 2) if self.payloads else summaries
        more, start = summaries.shape[2], self.spans.shape[1] if self.payloads else 0
        places = torch.arange(start, start + more, device=summaries.device)
        if self._frames is None:
            self._frames = Frames.of(summaries, there)
            self._open = summaries[:, :, self._frames.opened(more) :].to("cpu", copy=True)
            return self._few(summaries, places)
        first = start - self._open.shape[2]
        states = torch.cat([self._open.to(summaries.device), summaries], 2)
        known = (self.spans[:, first:, 1] >= 0).to(there.device)
        self._frames, anew = self._frames.grown(states, torch.cat([known, there], 1), first, more)
        before = self._near
        if bool(anew.any()):
            again = self._few(states[:, :, :-more], torch.arange(first, start, device=there.device))
            before = coding.each(
                lambda new, was: torch.cat([was[:, :, :first], torch.where(anew[:, None, :, None], new, was[:, :, first:])], 2), again, before
            )
        self._open = states[:, :, self._frames.opened(start + more) - first :].to("cpu", copy=True)
        return coding.each(lambda *both: torch.cat(both, 2), before, self._few(summaries, places))

    def _few(self, summaries: Tensor, places: Tensor) -> Numbers:
        """[B, G, m, d] of chunks at these places in few bits."""
        assert self._frames is not None
        assert self.bits is not None
        return replace(Codes.of(self._frames.within(summaries, places), self.bits), dtype=summaries.dtype)

    def score(self, queries: Tensor, allowed: Tensor | None = None) -> Tensor:
        """[B, G, g, t, d] → [B, G, g, t, n] float32: products with the summaries; −∞ for chunks that are not readable, or that `allowed`
        [B, 1 or G, n] excludes: whatever those hold, nothing else changes."""
        rows, heads, group, new, _ = queries.shape
        flat = queries.reshape(rows, heads, group * new, -1)
        if self._frames is None:
            scores = torch.matmul(flat, self.summaries.transpose(-1, -2)).float()
        else:
            flat, frames = flat.float(), self._frames
            scores = torch.cat([frames.products(flat, levels, number * AT_ONCE) for number, levels in enumerate(self._levels())], -1)
        seen = self.readable if allowed is None else self.readable & allowed
        return scores.masked_fill_(~seen.unsqueeze(2), -torch.inf).reshape(rows, heads, group, new, -1)

    def _levels(self) -> Iterator[Tensor]:
        """[B, G, ≤ `AT_ONCE`, d] float32: summaries in their frames, few at a time: all together would take many times the room of their codes."""
        assert isinstance(self._near, Codes)
        for codes in self._near.codes.split(AT_ONCE, 2):
            yield self._near.having({"codes": codes}).tensor(torch.float32)

    def fetch(self, rows: Tensor, heads: Tensor, chunks: Tensor) -> Tensor:
        """The payloads [m, p] of these m chunks, on the device of what is near."""
        out = None
        rows, heads, chunks = rows.cpu(), heads.cpu(), chunks.cpu()
        start = 0
        for piece in self.payloads:
            length = piece.shape[2]
            flat = piece.reshape(-1, piece.shape[3])
            line = (rows * piece.shape[1] + heads) * length + chunks - start
            if len(self.payloads) == 1:
                out = flat.index_select(0, line)
            else:
                out = piece.new_empty(len(chunks), piece.shape[3]) if out is None else out
                here = ((chunks >= start) & (chunks < start + length)).nonzero().squeeze(1)
                out[here] = flat.index_select(0, line[here])
            start += length
        if out is None:
            raise Invalid("nothing was put into this chunk store yet")
        self.copied += out.numel() * out.element_size()
        return out.to(self.device, non_blocking=True)

    def whole(self) -> Tensor:
        """All payloads [B, G, n, p], on the device of what is near."""
        every = torch.cat(self.payloads, 2) if len(self.payloads) > 1 else self.payloads[0]
        self.copied += every.numel() * every.element_size()
        return every.to(self.device)

    def within(self, row: int, start: int, stop: int) -> list[int]:
        """The chunks of a row that hold tokens at positions from `start` to before `stop`."""
        first, last = self.spans[row, :, 0], self.spans[row, :, 1]
        found: list[int] = ((last >= start) & (first < stop) & (last >= 0)).nonzero().squeeze(1).tolist()
        return found

    def overwrite(self, row: int, chunks: Sequence[int], summaries: Tensor, payload: Tensor, spans: Tensor) -> None:
        """Puts summaries [G, m, d], payload [G, m, p] and spans [m, 2] in the place of what these m chunks of a row hold; where a span is −1, zeros,
        and the chunk is never read again. The pieces that held them are written anew, since forks may share them."""
        index = torch.as_tensor(list(chunks))
        gone = (spans[:, 1] < 0).cpu()
        near, fresh = index.to(self.device), summaries.masked_fill(gone.to(summaries.device)[None, :, None], 0)

        def written(before: Tensor, new: Tensor) -> Tensor:
            after = before.clone()
            after[row, :, near] = new
            return after

        if self._frames is None:
            self._near = written(self.summaries, fresh)
        else:
            frames = self._frames.rows(torch.tensor([row], device=self.device))
            self._near = coding.each(written, self._near, Codes.of(frames.within(fresh[None], near)[0], self._near.bits))
            late, self._open = index - self.count + self._open.shape[2], self._open.clone()
            self._open[row, :, late[late >= 0]] = fresh[:, late >= 0].to(self._open)
        self.hide(row, index[gone])
        self.spans = self.spans.clone()
        self.spans[row, index] = spans.to("cpu", torch.int32)
        payload = payload.cpu().masked_fill(gone[None, :, None], 0)
        start, pieces = 0, []
        for piece in self.payloads:
            here = ((index >= start) & (index < start + piece.shape[2])).nonzero().squeeze(1)
            if len(here):
                piece = piece.clone()
                piece[row, :, index[here] - start] = payload[:, here]
                pieces.append(self.place.hold(piece))
            else:
                pieces.append(piece)
            start += piece.shape[2]
        self.payloads = pieces

    def rows(self, index: Tensor) -> ChunkStore:
        """The same for these rows of the batch."""
        other = self.fork()
        other._near = coding.each(lambda tensor: tensor.index_select(0, index), self._near)
        if self._frames is not None:
            other._frames, other._open = self._frames.rows(index), self._open.index_select(0, index.cpu())
        other._readable = self._readable.index_select(0, index)
        other.spans = self.spans.index_select(0, index.cpu())
        other.payloads = [self.place.hold(piece.index_select(0, index.cpu())) for piece in self.payloads]
        return other

    def move(self, place: Place) -> None:
        """From here on payloads lie in that place."""
        self.place, self.payloads = place, [place.hold(piece) for piece in self.payloads]

    def fork(self) -> ChunkStore:
        """A store that goes on by itself; what never changes is shared."""
        other = ChunkStore(self.place, self.bits)
        other.__dict__.update(self.__dict__, copied=0)
        return other

    def nbytes(self) -> Bytes:
        """Summaries near, payloads far."""
        frames, newest = ((), ()) if self._frames is None else (self._frames.tensors(), (self._open,))
        return Bytes(size_of(*coding.tensors(self._near), *frames, self._readable), size_of(self.spans, *newest, *self.payloads))

    def state(self) -> dict[str, Tensor]:
        """All tensors by name."""
        pieces = {f"payload.{number}": piece for number, piece in enumerate(self.payloads)}
        frames = {} if self._frames is None else dict(zip(_FRAMES, (*self._frames.tensors(), self._open), strict=True))
        return {**coding.state(self._near, "summaries"), **frames, "readable": self._readable, "spans": self.spans, **pieces}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], place: Place | None = None) -> ChunkStore:
        """Undoes `state`."""
        near = coding.from_state(tensors, "summaries", tensors["payload.0"].dtype)
        store = cls(place, None if isinstance(near, Tensor) else near.bits)
        store._near, store._readable, store.spans = near, tensors["readable"], tensors["spans"].cpu()
        if store.bits is not None:
            *frames, newest = (tensors[name] for name in _FRAMES)
            store._frames, store._open = Frames(*frames), newest.cpu()
        number = 0
        while f"payload.{number}" in tensors:
            store.payloads.append(store.place.hold(tensors[f"payload.{number}"]))
            number += 1
        return store


_FRAMES = ("frame.middle", "frame.spread", "frame.known", "frame.starts", "frame.open")
