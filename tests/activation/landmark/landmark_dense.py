"""Landmark attention written down as the paper says it, query by query and segment by segment: slow, and what the fast forms are measured by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def weights_of(logits: Tensor, blocks: Sequence[int], landmarks: Sequence[bool], mine: int, seen: Sequence[bool]) -> Tensor:
    """The weights [n] of one query, which stands in block `mine`: of tokens in `blocks`, those `seen`. Differentiable in `logits`."""
    gates = [j for j in range(len(blocks)) if landmarks[j] and blocks[j] != mine and seen[j]]
    members = {blocks[j]: [i for i in range(len(blocks)) if blocks[i] == blocks[j] and not landmarks[i] and seen[i]] for j in gates}
    gates = [j for j in gates if members[blocks[j]]]
    own = [j for j in range(len(blocks)) if blocks[j] == mine and not landmarks[j] and seen[j]]
    out = [logits.new_zeros(()) for _ in blocks]
    if not own and not gates:
        return torch.stack(out)
    outer = torch.softmax(torch.stack([logits[j] for j in own + gates]), 0)
    for share, j in zip(outer, own + gates, strict=True):
        if j in own:
            out[j] = share
            continue
        inner = torch.softmax(torch.stack([logits[i] for i in members[blocks[j]]]), 0)
        for part, i in zip(inner, members[blocks[j]], strict=True):
            out[i] = share * part
    return torch.stack(out)


def attention(q: Tensor, k: Tensor, v: Tensor, landmarks: Sequence[bool], scale: float, seen: Tensor | None = None) -> Tensor:
    """Causal landmark attention q, k, v [n, d] → [n, d] of one head; `seen` [n, n] may hide more."""
    blocks = [sum(landmarks[:j]) for j in range(len(landmarks))]
    rows = []
    for i in range(len(q)):
        shown = [j <= i and (seen is None or bool(seen[i, j])) for j in range(len(k))]
        rows.append(weights_of(k @ q[i] * scale, blocks, landmarks, blocks[i], shown) @ v)
    return torch.stack(rows)


class Segmentwise:
    """A Llama with landmarks that reads `segment` tokens at a time: of all blocks before the local tokens each head takes, for each token, the `top`
    that its landmarks score highest, at stingy positions or, with `stingy` False, at their true ones. `picked` [layer][token]: the blocks of each
    head."""

    def __init__(self, model: Any, block: int, top: int, segment: int, stingy: bool = True) -> None:
        self.model, self.block, self.top, self.segment, self.stingy = model, block, top, segment, stingy
        self.picked: list[dict[int, list[list[int]]]] = [{} for _ in model.model.layers]

    def logits(self, ids: Sequence[int]) -> Tensor:
        """[n, V] for ids with their landmarks on the regular grid."""
        layers, width = self.model.model.layers, self.block + 1
        stored: list[tuple[Tensor, Tensor]] = [(torch.zeros(0), torch.zeros(0)) for _ in layers]
        out = []
        with torch.no_grad():
            for start in range(0, len(ids), self.segment):
                stop = min(len(ids), start + self.segment)
                hidden = self.model.model.embed_tokens(torch.tensor(ids[start:stop]))
                for number, layer in enumerate(layers):
                    normed, attn = layer.input_layernorm(hidden), layer.self_attn
                    shape = (len(normed), -1, attn.head_dim)
                    q, k, v = (project(normed).view(shape).transpose(0, 1) for project in (attn.q_proj, attn.k_proj, attn.v_proj))
                    keys, values = (torch.cat([old, new], 1) if old.numel() else new for old, new in zip(stored[number], (k, v), strict=True))
                    stored[number] = keys, values
                    mixed = self._attend(q, keys, values, start // width * width, start, attn.scaling, number)
                    hidden = hidden + attn.o_proj(mixed.transpose(0, 1).flatten(1))
                    hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
                out.append(self.model.lm_head(self.model.model.norm(hidden)))
        return torch.cat(out)

    def _turn(self, states: Tensor, positions: Sequence[int]) -> Tensor:
        """Rotated [n, d] at positions."""
        cosines, sines = self.model.model.rotary_emb(states, torch.tensor([list(positions)]))
        half = states.shape[-1] // 2
        return states * cosines[0] + torch.cat([-states[:, half:], states[:, :half]], -1) * sines[0]

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, local: int, start: int, scale: float, layer: int) -> Tensor:
        """q [H, t, d] from token `start` on, keys and values [G, n, d] not rotated; blocks end before token `local`."""
        width, cached, group = self.block + 1, local // (self.block + 1), q.shape[0] // keys.shape[0]
        reserved = min(cached, self.top + 1) * width if self.stingy else local
        at = list(range(reserved, reserved + keys.shape[1] - local))
        slots = [max(0, number - max(0, cached - self.top - 1)) if self.stingy else number for number in range(cached)]
        marks = [number * width + self.block for number in range(cached)]
        out = torch.empty_like(q)
        for head in range(len(q)):
            k, v = keys[head // group], values[head // group]
            own = self._turn(q[head], at[start - local :])
            turned = self._turn(k[local:], at)
            landmarks = self._turn(k[marks], [slot * width + self.block for slot in slots]) if marks else k[:0]
            for row in range(q.shape[1]):
                scores = landmarks @ own[row]
                ranked = sorted((-round(score, 4), number) for number, score in enumerate(scores.tolist()))  # of equals the oldest
                chosen = sorted(number for _, number in ranked[: self.top])
                self.picked[layer].setdefault(start + row, []).append(chosen)
                places, spots = [], []
                for rank, number in enumerate(chosen):
                    slot = number if not self.stingy or cached <= self.top else rank + (number >= cached - self.top)
                    places += range(slot * width, (slot + 1) * width)
                    spots += range(number * width, (number + 1) * width)
                known = torch.cat([self._turn(k[spots], places), turned]) if spots else turned
                seen = list(range(start - local + row + 1))
                both = torch.cat([v[spots], v[local:]])
                blocks = [spot // width for spot in spots] + [(local + j) // width for j in range(len(turned))]
                marked = [spot % width == self.block for spot in spots] + [(local + j) % width == self.block for j in range(len(turned))]
                shown = [True] * len(spots) + [j in seen for j in range(len(turned))]
                weights = weights_of(known @ own[row] * scale, blocks, marked, (start + row) // width, shown)
                out[head, row] = weights @ both
        return out
