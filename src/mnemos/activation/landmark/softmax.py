"""The grouped softmax of Landmark Attention (Mohtashami & Jaggi 2023, arXiv 2305.16300, section 3.1), for any layout and for regular blocks.

A query looks at the tokens of its own block and at the landmarks of earlier blocks in one softmax; what a landmark gets is handed on to the tokens of
its block, by a softmax among these. So a token of an earlier block weighs (its share in its block) × (the share of its block's landmark), landmarks
weigh nothing themselves, and gradients reach a landmark's key through every token of its block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mnemos.base.errors import Invalid

OWN = 0
"""The group of a query's own block."""

_TILE = 128
"""About so many keys are compared with all queries behind them at once in `blockwise`."""


def grouped_softmax(logits: Tensor, group_ids: Tensor, is_landmark: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weights [..., t, n] of logits [..., t, n], in any layout of blocks.

    `group_ids` (whole numbers ≥ 0) and `is_landmark` (bool) [..., t, n], or anything that broadcasts to it: tokens of a query's own block are in
    group 0 (`OWN`), tokens of other blocks in a group for each block, which is also that of the block's landmark. `mask` is True where a query may
    see a key; a logit of −inf hides one, too. The landmark of the own block is never seen, a block whose landmark is hidden has no weight, and the
    landmark of a block of which all tokens are hidden is passed over. Weights of a query sum to 1, and are all 0 where it sees nothing.
    """
    shape = logits.shape
    groups, landmarks = group_ids.expand(shape), is_landmark.expand(shape)
    seen = logits > -torch.inf if mask is None else mask.expand(shape) & (logits > -torch.inf)
    own = groups == OWN
    count = int(groups.max()) + 1 if groups.numel() else 1
    if groups.numel() and int(groups.min()) < OWN:
        raise Invalid(f"group_ids has {int(groups.min())}: groups are counted from 0, the query's own block, up")
    tokens = seen & ~own & ~landmarks
    safe = torch.where(seen, logits, 0.0)
    inner = _inner(safe, tokens, groups, count)
    held = torch.zeros(*shape[:-1], count, dtype=torch.bool, device=logits.device).scatter_reduce(-1, groups, tokens, "amax")
    gates = seen & landmarks & ~own & held.gather(-1, groups)
    outer = _softmax(safe, gates | (seen & own & ~landmarks))
    opened = torch.zeros(*shape[:-1], count, dtype=logits.dtype, device=logits.device).scatter_add(-1, groups, torch.where(gates, outer, 0.0))
    return torch.where(own & ~landmarks, outer, inner * opened.gather(-1, groups))


def _softmax(logits: Tensor, seen: Tensor) -> Tensor:
    """Over the last dimension, of what is seen; all 0 where nothing is."""
    highest = logits.detach().masked_fill(~seen, -torch.inf).amax(-1, keepdim=True)
    raised = torch.where(seen, logits - highest.masked_fill(highest == -torch.inf, 0.0), 0.0).exp() * seen
    return raised / raised.sum(-1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)


def _inner(logits: Tensor, seen: Tensor, groups: Tensor, count: int) -> Tensor:
    """The softmax of what is seen within each group of a row."""
    empty = torch.full((*logits.shape[:-1], count), -torch.inf, dtype=logits.dtype, device=logits.device)
    highest = empty.scatter_reduce(-1, groups, logits.detach().masked_fill(~seen, -torch.inf), "amax").gather(-1, groups)
    raised = torch.where(seen, logits - highest.masked_fill(highest == -torch.inf, 0.0), 0.0).exp() * seen
    sums = torch.zeros_like(empty).scatter_add(-1, groups, raised).gather(-1, groups)
    return raised / sums.clamp_min(torch.finfo(logits.dtype).tiny)


def regular_groups(queries: int, keys: int, block: int, device: Any = None) -> tuple[Tensor, Tensor, Tensor]:
    """`group_ids` [t, n], `is_landmark` [n] and the causal `mask` [t, n] of the last `queries` of `keys` tokens, where every (`block` + 1)-th token
    is a landmark."""
    places = torch.arange(keys, device=device)
    return groups_of(places % (block + 1) == block, queries)


def groups_of(is_landmark: Tensor, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same for landmarks anywhere: `is_landmark` [..., n] gives `group_ids` [..., t, n], `is_landmark` [..., 1, n] and `mask` [t, n]. A block
    ends with its landmark."""
    count = is_landmark.shape[-1]
    blocks = is_landmark.int().cumsum(-1) - is_landmark.int()
    mine = blocks[..., count - queries :]
    groups = torch.where(mine[..., :, None] == blocks[..., None, :], OWN, blocks[..., None, :] + 1)
    causal = torch.ones(queries, count, dtype=torch.bool, device=is_landmark.device).tril(count - queries)
    return groups.long(), is_landmark[..., None, :], causal


def blockwise(q: Tensor, k: Tensor, v: Tensor, block: int, scale: float, kept: Tensor | None = None, top: int | None = None,
              rivals: int = 0) -> Tensor:  # fmt: skip
    """Causal grouped-softmax attention where every (`block` + 1)-th token is a landmark, without weights of all pairs at once.

    q (batch, heads, seq_len, head_dim), k and v (batch, kv_heads, seq_len, head_dim) → as q. `kept` (batch, blocks) bool: blocks that are False are
    seen from within only (group dropout). `top`: each query and head sees no more than so many earlier blocks, those whose landmarks it likes best,
    as it does when blocks are brought back. `rivals`: landmarks of so many other rows, of blocks as far back, take part with nothing behind them,
    so that a row's own have to stand out among more blocks than it has; the paper has none. Works through tiles of key blocks with a running maximum,
    sum and mix over own tokens and landmarks, and a softmax within each block of the tile, as FlashAttention (Dao et al. 2022) does for the plain
    one; the backward pass computes the weights again. Raises `Invalid` for a block of less than one token, a `top` of less than one block, or more
    rivals than there are other rows.
    """
    if block < 1 or (top is not None and top < 1):
        raise Invalid(f"block is {block}, top {top}: a block has at least one token before its landmark, and one is seen at least")
    if not 0 <= rivals < len(q):
        raise Invalid(f"{rivals} rows as rivals, of {len(q)} in the batch: there are {len(q) - 1} others")
    batch, heads, length, size = q.shape
    kv_heads, over = k.shape[1], -length % (block + 1)
    group, rows = heads // kv_heads, batch * kv_heads
    padded = [torch.nn.functional.pad(each, (0, 0, 0, over)) if over else each for each in (q * scale, k, v)]
    queries = padded[0].reshape(rows, group, length + over, size).transpose(1, 2)
    keys, values = (each.reshape(rows, length + over, size) for each in padded[1:])
    seen = None if kept is None else kept.repeat_interleave(kv_heads, 0)
    landmarks = padded[1][:, :, block :: block + 1]
    others = torch.cat([landmarks.roll(shift, 0) for shift in range(1, rivals + 1)], 2).flatten(0, 1) if rivals else None
    mixed: Tensor = _Blockwise.apply(queries, keys, values, block, seen, top, others)
    return mixed[:, :length].transpose(1, 2).reshape(batch, heads, length, size)


class _Blockwise(torch.autograd.Function):
    """q [R, L, g, d] (scaled), k and v [R, L, d], L a multiple of block + 1, `kept` [R, L / (block + 1)] or None, `others` [R, M, d], the rivals'
    landmarks, M a multiple of those blocks, or None → as q.

    Inside, N = queries × g; weights lie key before query, [R, blocks, block, N], so that a softmax over a block runs along whole rows of queries,
    which is several times faster on CPUs than one over so few neighbours.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int, kept: Tensor | None, top: int | None,
                others: Tensor | None) -> Tensor:  # fmt: skip
        rows, length, group, size = q.shape
        q = q.contiguous().view(rows, length * group, size)
        floor = _floor(q, k, block, group, kept, top, others)
        own = _own_scores(q, k, block, group)
        highest = own.amax(2, keepdim=True)
        raised = torch.exp(own - highest)
        mixed = torch.matmul(raised.transpose(-1, -2), _tokens(v, block)).view(q.shape).float()
        total, highest = raised.float().sum(2).view(rows, 1, -1), highest.float().view(rows, 1, -1)
        for tile in _tiles(q, k, v, block, group, kept, floor):
            inner, gates = tile.inner(), tile.gates().float()
            rest = slice(tile.start, None)
            before = highest[:, :, rest]
            now = torch.maximum(before, gates.amax(1, keepdim=True))
            opened, shrunk = torch.exp(gates - now), torch.exp(before - now)
            weights = inner.mul_(opened.to(inner.dtype).unsqueeze(2)).flatten(1, 2)
            mixed[:, rest] = mixed[:, rest] * shrunk.transpose(1, 2) + torch.bmm(weights.transpose(1, 2), tile.values)
            total[:, :, rest] = total[:, :, rest] * shrunk + opened.sum(1, keepdim=True)
            highest[:, :, rest] = now
        if others is not None:
            gates = _rival_gates(q, others, block, group, floor).float()
            now = torch.maximum(highest, gates.amax(1, keepdim=True))
            shrunk = torch.exp(highest - now)
            mixed *= shrunk.transpose(1, 2)
            total = total * shrunk + torch.exp(gates - now).sum(1, keepdim=True)
            highest = now
        out = (mixed / total.transpose(1, 2)).to(q.dtype)
        ctx.save_for_backward(q, k, v, out, highest + total.log(), kept, floor, others)
        ctx.block, ctx.group = block, group
        return out.view(rows, length, group, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        q, k, v, out, normaliser, kept, floor, others = ctx.saved_tensors
        block, group, size, rows = ctx.block, ctx.group, q.shape[-1], q.shape[0]
        width, wide = block + 1, (block + 1) * group
        below = gradient.to(q.dtype).contiguous().view(q.shape)
        mean = (below.float() * out.float()).sum(-1).unsqueeze(1)
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        by_block, queries = below.view(rows, -1, wide, size), q.view(rows, -1, wide, size)
        weights = torch.exp(_own_scores(q, k, block, group) - normaliser.view(rows, -1, 1, wide).to(q.dtype))
        onto = torch.matmul(_tokens(v, block), by_block.transpose(-1, -2))
        to_scores = weights * (onto - mean.view(rows, -1, 1, wide).to(q.dtype))
        torch.matmul(to_scores.transpose(-1, -2), _tokens(k, block), out=to_q.view(rows, -1, wide, size))
        _tokens(to_k, block).copy_(torch.matmul(to_scores, queries))
        _tokens(to_v, block).copy_(torch.matmul(weights, by_block))
        for tile in _tiles(q, k, v, block, group, kept, floor):
            rest = slice(tile.start, None)
            inner, mine = tile.inner(), below[:, rest]
            opened = torch.exp(tile.gates() - normaliser[:, :, rest].to(q.dtype))
            onto = torch.bmm(tile.values, mine.transpose(1, 2)).view_as(inner)
            through = (inner * onto).sum(2, keepdim=True)  # what each block as a whole gives
            shares = inner.mul_(opened.unsqueeze(2))
            to_tokens = onto.sub_(through).mul_(shares).flatten(1, 2)
            to_gates = opened.mul_(through.squeeze(2) - mean[:, :, rest].to(q.dtype))
            to_q[:, rest] += torch.bmm(to_tokens.transpose(1, 2), tile.keys) + torch.bmm(to_gates.transpose(1, 2), tile.landmarks)
            spots = slice(tile.first * width, (tile.first + tile.count) * width)
            to_keys, to_values = (each[:, spots].view(rows, tile.count, width, size) for each in (to_k, to_v))
            to_keys[:, :, :block] += torch.bmm(to_tokens, tile.queries).view(rows, tile.count, block, size)
            to_keys[:, :, block] += torch.bmm(to_gates, tile.queries)
            to_values[:, :, :block] += torch.bmm(shares.flatten(1, 2), mine).view(rows, tile.count, block, size)
        to_others = None
        if others is not None:
            to_gates = torch.exp(_rival_gates(q, others, block, group, floor) - normaliser.to(q.dtype)).mul_(-mean.to(q.dtype))
            to_q += torch.bmm(to_gates.transpose(1, 2), others)
            to_others = torch.bmm(to_gates, q)
        return to_q.view_as(gradient), to_k, to_v, None, None, None, to_others


class _Tile:
    """`count` key blocks from block `first` on, and all queries behind the first of them, from place `start` of N on."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, block: int, group: int, first: int, count: int, kept: Tensor | None,
                 floor: Tensor | None) -> None:  # fmt: skip
        width, (rows, _, size) = block + 1, k.shape
        self.first, self.count, self.block, self.wide = first, count, block, width * group
        self.start = (first + 1) * self.wide
        spots = slice(first * width, (first + count) * width)
        keys, values = (each[:, spots].view(rows, count, width, size) for each in (k, v))
        self.keys, self.landmarks = keys[:, :, :block].reshape(rows, count * block, size), keys[:, :, block]
        self.values = values[:, :, :block].reshape(rows, count * block, size)
        self.queries = q[:, self.start :]
        self._kept = None if kept is None else kept[:, first : first + count]
        self._floor = None if floor is None else floor[:, :, self.start :]

    def inner(self) -> Tensor:
        """[R, count, block, N]: each token's share in its block."""
        scores = torch.bmm(self.keys, self.queries.transpose(1, 2))
        return torch.softmax(scores.view(len(scores), self.count, self.block, -1), 2)

    def gates(self) -> Tensor:
        """[R, count, N]: the logits of the landmarks, −inf where their block is not before the query's, is dropped, or is none of the best."""
        scores = torch.bmm(self.landmarks, self.queries.transpose(1, 2))
        inside = min(scores.shape[-1], (self.count - 1) * self.wide)  # queries that stand within the tile
        mine = torch.arange(inside, device=scores.device) // self.wide
        later = torch.arange(self.count, device=scores.device)[:, None] > mine
        scores[:, :, :inside].masked_fill_(later, -torch.inf)
        if self._floor is not None:
            scores.masked_fill_(scores < self._floor, -torch.inf)
        return scores if self._kept is None else scores.masked_fill_(~self._kept[:, :, None], -torch.inf)


def _floor(q: Tensor, k: Tensor, block: int, group: int, kept: Tensor | None, top: int | None, others: Tensor | None) -> Tensor | None:
    """[R, 1, N]: the logit of the last landmark of those that a query likes best of the `top` that it sees, less what rounding may part it by from
    the same product in a tile; −∞ where it sees no more."""
    blocks = k.shape[1] // (block + 1)
    if top is None or (others is None and blocks <= top):
        return None
    landmarks = k[:, block :: block + 1]
    scores = torch.bmm(landmarks, q.transpose(1, 2))
    hidden = _not_before(blocks, scores.shape[-1], block, group, q.device)
    hidden = hidden.expand_as(scores) if kept is None else hidden | ~kept[:, :, None]
    scores = scores.masked_fill_(hidden, -torch.inf)
    if others is not None:
        scores = torch.cat([scores, _rival_gates(q, others, block, group, None)], 1)
    last = scores.topk(min(top, scores.shape[1]), 1).values[:, -1:]
    largest = q.norm(dim=-1).unsqueeze(1) * landmarks.norm(dim=-1).amax(1)[:, None, None]
    rounding = 4 * torch.finfo(torch.float32).eps * largest + torch.finfo(last.dtype).eps * last.abs()
    return torch.where(last > -torch.inf, last - rounding, last)


def _rival_gates(q: Tensor, others: Tensor, block: int, group: int, floor: Tensor | None) -> Tensor:
    """[R, M, N]: the logits of rivals' landmarks, −∞ where their block is not before the query's, or is none of the best."""
    blocks = q.shape[1] // ((block + 1) * group)
    scores = torch.bmm(others, q.transpose(1, 2))
    hidden = _not_before(blocks, scores.shape[-1], block, group, q.device).repeat(scores.shape[1] // blocks, 1)
    return scores.masked_fill_(hidden if floor is None else hidden | (scores < floor), -torch.inf)


def _not_before(blocks: int, queries: int, block: int, group: int, device: Any) -> Tensor:
    """[blocks, N] bool: whether a block is the query's own or a later one."""
    mine = torch.arange(queries, device=device) // ((block + 1) * group)
    return torch.arange(blocks, device=device)[:, None] >= mine


def _tiles(q: Tensor, k: Tensor, v: Tensor, block: int, group: int, kept: Tensor | None, floor: Tensor | None) -> Iterator[_Tile]:
    """Tiles over all blocks but the last, which is nobody's past."""
    past = k.shape[1] // (block + 1) - 1
    step = max(1, _TILE // (block + 1))
    for first in range(0, past, step):
        yield _Tile(q, k, v, block, group, first, min(step, past - first), kept, floor)


def _tokens(states: Tensor, block: int) -> Tensor:
    """[R, L, d] → [R, blocks, block, d], without landmarks."""
    return states.view(states.shape[0], -1, block + 1, states.shape[-1])[:, :, :block]


def _own_scores(q: Tensor, k: Tensor, block: int, group: int) -> Tensor:
    """[R, blocks, block, (block + 1) g]: logits of the own block's tokens, −inf for later ones."""
    queries = q.view(len(q), -1, (block + 1) * group, q.shape[-1])
    scores = torch.matmul(_tokens(k, block), queries.transpose(-1, -2))
    later = torch.ones(block, block + 1, dtype=torch.bool, device=q.device).tril(-1).repeat_interleave(group, 1)
    return scores.masked_fill_(later, -torch.inf)
