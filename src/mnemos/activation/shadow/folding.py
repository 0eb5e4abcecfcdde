"""Tokens go from the tail into the shadow: after a prompt or a turn of it, and while tokens are generated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from mnemos.activation import coding
from mnemos.activation.chunks import ChunkStore, Place
from mnemos.activation.coding import Codes, Numbers
from mnemos.activation.parts import Dense, joined
from mnemos.activation.policy import Budget
from mnemos.activation.rationing import NOTE
from mnemos.activation.rotary import Rotary
from mnemos.activation.shadow import lowrank
from mnemos.activation.shadow.part import DIRECTION_BITS, Shadow
from mnemos.activation.shadow.selection import ABSENT, best, places

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

BLOCK = 2048
"""Tokens whose keys are turned back at a time."""
WORST = 0.99
"""The quantile of what chunks of a prompt lose to its basis that later chunks may lose, too."""
NOTHING = 1e-3
"""A direction whose coefficients spread by less, as a share of what spreads most, is none: its own few bits would point anywhere."""


@dataclass(frozen=True)
class Settings:
    """How a shadow is made; the policy explains each."""

    budget: Budget
    chunk: int
    rank: float
    most_rank: float
    outliers: float
    local: int
    residual: float
    reuse: bool
    place: Place
    bits: int | None
    landmark_bits: int | None

    def ranks(self, width: int) -> tuple[int, int]:
        """Directions for keys of `width` numbers: at first, and at most."""
        return tuple(min(width, max(1, math.ceil(share * width))) for share in (self.rank, max(self.rank, self.most_rank)))  # type: ignore[return-value]


@dataclass(frozen=True)
class Taken:
    """Tokens on their way: n chunks of c tokens a row, keys and values zero where there is none."""

    keys: Tensor
    """[B, G, n, c, d], rotated."""
    values: Tensor
    """[B, G, n, c, e]."""
    places: Tensor
    """[B, n, c] int32: positions, −1 where there is no token."""
    sets: Tensor | None
    rotary: Rotary

    @property
    def present(self) -> Tensor:
        """[B, n]."""
        return self.places[:, :, -1] >= 0

    def plain(self) -> Iterator[Tensor]:
        """The keys before rotation, heads side by side, float32 [B, m, D], in blocks of chunks."""
        rows, heads, n, chunk, size = self.keys.shape
        step = max(1, BLOCK // chunk)
        for start in range(0, n, step):
            some = slice(start, start + step)
            sets = None if self.sets is None else self.sets[:, None, some]
            keys = self.rotary.unrotate(self.keys[:, :, some].float(), self.places[:, None, some].clamp_min(0), sets)
            yield keys.permute(0, 2, 3, 1, 4).reshape(rows, -1, heads * size)


def shadow_of(layer: MemoryLayer) -> Shadow | None:
    """The shadow of a layer, where it has one."""
    return next((part for part in layer.parts if isinstance(part, Shadow)), None)


def fold(layer: MemoryLayer, settings: Settings) -> bool:
    """Moves all whole chunks but the newest `local` ones from the tail into the shadow; says whether there were any. Rows whose prompt is so short
    that all of it could be picked keep it as it is, but where their bytes are rationed."""
    old = shadow_of(layer)
    whole = layer.tail.part()
    there = whole.positions[:, 0] >= 0
    counts = there.sum(-1).tolist()
    before = [0] * len(counts) if old is None else old.tokens.tolist()
    picks = [-(-settings.budget.of(new + past) // settings.chunk) for new, past in zip(counts, before, strict=True)]
    numbers = [max(0, count // settings.chunk - settings.local) for count in counts]
    for row, (number, past) in enumerate(zip(numbers, before, strict=True)):
        if not past and NOTE not in layer.notes and number <= picks[row] + _outliers(settings, number):
            numbers[row] = 0
    most = max(numbers)
    if not most:
        return False
    index, kept = _split(there, counts, numbers, settings.chunk)
    taken = _taken(layer, whole.take(_for_heads(index, whole)), settings.chunk)
    tail = whole.take(_for_heads(kept, whole))
    tail.positions = tail.positions[:, :1].clone()
    shadow, outliers = _made(taken, old, before, picks, settings)
    others = [part for part in layer.parts if part is not old and isinstance(part, Dense)]
    exact = [joined([*others, outliers])] if others else [outliers] if outliers.length else []
    layer.replace([*exact, shadow], tail)
    return True


def _outliers(settings: Settings, chunks: int) -> int:
    return round(settings.outliers * chunks)


def _split(there: Tensor, counts: list[int], numbers: list[int], chunk: int) -> tuple[Tensor, Tensor]:
    """Where the tokens [B, n] that are there go: indices of those that are folded, at the left, and of those that stay, at the right; −1: none."""
    order = (~there).int().argsort(stable=True, dim=-1)
    device = order.device
    taken = torch.tensor([number * chunk for number in numbers], device=device)[:, None]
    count = torch.tensor(counts, device=device)[:, None]
    left = torch.arange(max(numbers) * chunk, device=device).expand(len(counts), -1)
    width = int((count - taken).max())
    right = torch.arange(width, device=device) - width + count
    return (
        order.gather(1, left.clamp_max(order.shape[1] - 1)).masked_fill(left >= taken, -1),
        order.gather(1, right.clamp(0, order.shape[1] - 1)).masked_fill(right < taken, -1),
    )


def _for_heads(index: Tensor, part: Dense) -> Tensor:
    return index.unsqueeze(1).expand(-1, len(part.heads), -1)


def _taken(layer: MemoryLayer, part: Dense, chunk: int) -> Taken:
    rows, heads, n, _ = part.keys.shape
    absent = (part.positions < 0).unsqueeze(-1)
    shape = (rows, heads, n // chunk, chunk, -1)
    sets = part.marks["rotation"][:, 0].view(rows, -1, chunk).clone() if "rotation" in part.marks else None
    return Taken(part.keys.masked_fill(absent, 0).view(shape), part.values.masked_fill(absent, 0).view(shape),
                 part.positions[:, 0].view(rows, -1, chunk).clone(), sets, layer.rotation())  # fmt: skip


def _made(taken: Taken, old: Shadow | None, before: list[int], picks: list[int], settings: Settings) -> tuple[Shadow, Dense]:
    """The shadow with these tokens, too, and the outliers among them, which are kept as they are."""
    rows, heads, n, chunk, size = taken.keys.shape
    device, dtype = taken.keys.device, taken.keys.dtype
    rank, most = settings.ranks(heads * size)
    first = torch.tensor([not past for past in before], device=device)
    directions = None if old is None else old.directions
    if directions is None or bool((first & taken.present.any(-1)).any()):
        fresh = _directions(_spread(lowrank.leading(lowrank.gram(taken.plain()), rank)[1], taken, settings.bits), heads, dtype, settings.bits)
        directions = fresh if directions is None else _begun(fresh, directions, first)
    vectors = _vectors(directions)
    lost, energy = _left_out(taken, vectors)
    ratio = (lost / energy.clamp_min(1e-30)).sqrt().masked_fill(~taken.present, torch.nan)
    own = ratio.nanquantile(WORST, -1).nan_to_num(0.0)
    loss = own if old is None else torch.where(first, own, old.loss)
    bound = loss.clamp_min(settings.residual)
    strays = None if old is None else old.strays
    stray = (lost > bound[:, None] ** 2 * energy) & ~first[:, None] & taken.present
    if old is not None and bool(stray.any()) and vectors.shape[-1] < most:
        strays, enlargement = _enlarged(taken, vectors, strays, bound, first, most, dtype)
        new = _directions(_spread(enlargement, taken, settings.bits), heads, dtype, settings.bits)
        directions = coding.each(lambda *both: torch.cat(both, 2), directions, new)
        vectors = _vectors(directions)
        lost, energy = _left_out(taken, vectors)
        stray = (lost > bound[:, None] ** 2 * energy) & ~first[:, None] & taken.present

    landmarks = taken.keys.float().mean(3).to(dtype)
    likeness = cosine_similarity(taken.keys.float(), landmarks.unsqueeze(3).float(), -1).amin(-1)
    share = [round(settings.outliers * (past / chunk + new)) - _outliers(settings, past // chunk)
             for past, new in zip(before, taken.present.sum(-1).tolist(), strict=True)]  # fmt: skip
    quota = torch.tensor(share, device=device)[:, None].expand(-1, heads)
    outlying = best((-likeness).masked_fill(~taken.present.unsqueeze(1), -torch.inf), quota) | stray.unsqueeze(1)

    store = ChunkStore(settings.place, settings.landmark_bits) if old is None else old.store.fork()
    store.place = settings.place
    spans = torch.stack([taken.places[:, :, 0], taken.places[:, :, -1]], -1)
    store.put(landmarks, taken.values.flatten(3), spans, taken.present.unsqueeze(1) & ~outlying)
    coefficients = torch.cat([block @ vectors for block in taken.plain()], 1).view(rows, n, chunk, -1)
    shadow = Shadow(
        store, taken.places.cpu() if old is None else torch.cat([old.places, taken.places.cpu()], 1),
        _appended(() if old is None else old.coefficients, _few(coefficients, _lengths(directions), dtype, settings.bits)),
        directions, taken.rotary,
        torch.tensor(picks, device=device), loss, _sets(taken, old), strays, settings.reuse,
    )  # fmt: skip
    if old is not None:  # no chunk of before has changed
        shadow.buffer, shadow.statistics = old.buffer, old.statistics
    return shadow, _kept(taken, outlying)


def _left_out(taken: Taken, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """For each chunk [B, n]: the sum of squares of its keys that the basis [B, D, r] leaves out, and of all of them."""
    rows, _, _, chunk, _ = taken.keys.shape
    lost, energy = [], []
    for block in taken.plain():
        residual = block - (block @ vectors) @ vectors.transpose(1, 2)
        lost.append(residual.square().view(rows, -1, chunk, block.shape[-1]).sum((2, 3)))
        energy.append(block.square().view(rows, -1, chunk, block.shape[-1]).sum((2, 3)))
    return torch.cat(lost, 1), torch.cat(energy, 1)


def _enlarged(taken: Taken, vectors: Tensor, strays: Tensor | None, bound: Tensor, first: Tensor, most: int,
              dtype: torch.dtype) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(The Gram matrix of what the basis leaves out, far; the directions [B, D, e] that it asks for.) Of all tokens since the first fold."""
    outside = lowrank.gram((block - (block @ vectors) @ vectors.transpose(1, 2)) * ~first[:, None, None] for block in taken.plain())
    if strays is not None:
        outside = outside + strays.to(outside)
    energy = sum(block.square().sum((1, 2)) for block in taken.plain())
    more = lowrank.enlargement(outside, (bound**2 * energy).to(outside), most - vectors.shape[-1]).to(dtype).float()
    rest = outside - more.double() @ (more.double().transpose(1, 2) @ outside)
    return rest.to("cpu", torch.float32), more


def _directions(vectors: Tensor, heads: int, dtype: torch.dtype, bits: int | None) -> Numbers:
    """[B, D, r] → [B, G, r, d], as they are kept."""
    rows, width, rank = vectors.shape
    split = vectors.to(dtype).view(rows, heads, width // heads, rank).transpose(2, 3).contiguous()
    return coding.coded(split, None if bits is None else DIRECTION_BITS)


def _begun(fresh: Numbers, before: Numbers, first: Tensor) -> Numbers:
    """The directions of rows that begin now, which are `first`, and of the others as they were."""

    def of(new: Tensor, was: Tensor) -> Tensor:
        filled = pad(new, (*(0, 0) * (new.dim() - 3), 0, was.shape[2] - new.shape[2]))
        return torch.where(first.view(-1, *(1,) * (was.dim() - 1)), filled, was)

    return coding.each(of, fresh, before)


def _spread(vectors: Tensor, taken: Taken, bits: int | None) -> Tensor:
    """Directions [B, D, r], each as long as the coefficients of these tokens spread, and of zeros where they hardly do; as they are where
    coefficients are not in few bits."""
    if bits is None or not vectors.shape[-1]:
        return vectors
    square = sum((block @ vectors.float()).square().sum(1, keepdim=True) for block in taken.plain())
    number = (taken.present.sum(-1) * taken.keys.shape[3]).clamp_min(1)[:, None, None]
    spread = (square / number).sqrt()
    return vectors * spread.masked_fill(spread < NOTHING * spread.amax(-1, keepdim=True), 0)


def _lengths(directions: Numbers) -> Tensor | None:
    """[B, 1, 1, r]: of directions whose coefficients are in few bits; None: they are as they came, and 1."""
    if isinstance(directions, Tensor):
        return None
    return coding.decoded(directions).float().square().sum((1, 3)).sqrt()[:, None, None]


def _few(coefficients: Tensor, lengths: Tensor | None, dtype: torch.dtype, bits: int | None) -> Numbers:
    """Coefficients [B, n, c, r] of directions of length 1, as they are kept for those of these lengths, so that the keys lose least."""
    if bits is None or lengths is None:
        return coefficients.to(dtype)
    return replace(Codes.of(coefficients / lengths.clamp_min(1e-12), bits, lengths.square()), dtype=dtype)


def _vectors(directions: Numbers) -> Tensor:
    """[B, G, r, d] → [B, D, r] float32, each of length 1, or of zeros."""
    vectors, lengths = coding.decoded(directions).float(), _lengths(directions)
    if lengths is not None:
        vectors = vectors / lengths[:, 0, 0, None, :, None].clamp_min(1e-12)
    return vectors.transpose(2, 3).flatten(1, 2)


def _appended(pieces: tuple[Numbers, ...], piece: Numbers) -> tuple[Numbers, ...]:
    if pieces and coding.width(pieces[-1]) == coding.width(piece):
        return (*pieces[:-1], coding.each(lambda *both: torch.cat(both, 1), pieces[-1], piece))
    return (*pieces, piece)


def _sets(taken: Taken, old: Shadow | None) -> Tensor | None:
    """Which frequencies turned the keys of all chunks; None where all were turned by the first."""
    if (old is None or old.sets is None) and taken.sets is None:
        return None
    new = torch.zeros_like(taken.places) if taken.sets is None else taken.sets
    if old is None:
        return new
    return torch.cat([torch.zeros_like(old.places) if old.sets is None else old.sets, new], 1)


def _kept(taken: Taken, outlying: Tensor) -> Dense:
    """The chunks of [B, G, n] that are outliers, as they are; heads and rows that have fewer are padded."""
    rows, heads, n, chunk, _ = taken.keys.shape
    picked = places(outlying, int(outlying.sum(-1).max()))
    index = (picked.unsqueeze(-1) * chunk + torch.arange(chunk, device=picked.device)).masked_fill((picked == ABSENT).unsqueeze(-1), -1).flatten(2)
    positions = taken.places.view(rows, 1, n * chunk)
    return Dense(taken.keys.flatten(2, 3), taken.values.flatten(2, 3), positions, range(heads)).take(index)
