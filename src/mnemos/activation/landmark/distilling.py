"""Teaching a model landmarks by what it attended to before it had them: knowledge distillation (Hinton et al. 2015, arXiv 1503.02531) of attention.

The grouped softmax (arXiv 2305.16300, section 3.1) is the plain one where a query gives the landmark of a block the weight that all of its tokens had
together. What they have in the model without landmarks is measured, on the same rows; so every query of every head says what each landmark should
have got, and hidden states and predictions are those of before. The paper has none of this: it learns from predictions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from mnemos.activation.landmark.attention import BLOCK, TOKEN
from mnemos.activation.landmark.softmax import blockwise
from mnemos.activation.landmark.training import Batch, Recipe, Training

BEFORE, LEARNING = "landmark teacher", "landmark pupil"
"""The names under which transformers knows how each of the two models attends."""
QUERIES_AT_ONCE = 128


@dataclass(frozen=True)
class Wanted:
    """What counts beside the words to predict, each as a factor: `predictions` of the model before, its hidden `states`, and the weight of each block
    of tokens, `gates`. A word before one that counts says `asked` times as much of blocks as another."""

    predictions: float = 1.0
    states: float = 1.0
    gates: float = 0.3
    asked: float = 4.0
    noise: float = 0.0
    """Spread of what is added to each number of a landmark's key, as a share of its channel's spread over the landmarks of a row: about what keeping
    them in few bits does."""


@dataclass
class Masses:
    """Of each layer: the share [B, H, n, m + 1] of a query's attention that its own block has, and each of the m whole blocks."""

    block: int
    layers: dict[int, Tensor] = field(default_factory=dict)

    def of(self, weights: Tensor, start: int, whole: int) -> Tensor:
        """Attention [R, g, t, n] of the t queries from place `start` on → [R, g, t, `whole` + 1]."""
        shares = pad(weights, (0, -weights.shape[-1] % self.block)).unflatten(-1, (-1, self.block)).sum(-1)
        mine = torch.arange(start, start + weights.shape[2], device=weights.device) // self.block
        own = shares.gather(-1, mine[:, None].expand(*shares.shape[:3], 1))
        past = shares.masked_fill(torch.arange(shares.shape[-1], device=weights.device) >= mine[:, None], 0.0)[..., :whole]
        return torch.cat([own, pad(past, (0, whole - past.shape[-1]))], -1)


def _before(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, masses: Masses,
            **_: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Causal attention, as transformers calls it, that says where it looks; no padding but at the end, no gradient."""
    batch, heads, length, size = query.shape
    kv_heads, whole = key.shape[1], length // masses.block
    queries = (query.to(value.dtype) * scaling).reshape(batch * kv_heads, -1, length, size)
    keys, values = (each.to(value.dtype).reshape(batch * kv_heads, length, size) for each in (key, value))
    outputs, shares = [], []
    for start in range(0, length, QUERIES_AT_ONCE):
        stop = min(length, start + QUERIES_AT_ONCE)
        scores = queries[:, :, start:stop].flatten(1, 2) @ keys[:, :stop].transpose(1, 2)
        scores = scores.float().unflatten(1, (-1, stop - start))
        scores[..., start:] += torch.full((stop - start, stop - start), -torch.inf, device=scores.device).triu(1)
        weights = scores.softmax(-1)
        outputs.append((weights.to(values.dtype).flatten(1, 2) @ values[:, :stop]).unflatten(1, (-1, stop - start)))
        shares.append(masses.of(weights, start, whole))
    masses.layers[module.layer_idx] = torch.cat(shares, 2).view(batch, heads, length, whole + 1)
    return torch.cat(outputs, 2).view(batch, heads, length, size).transpose(1, 2).contiguous(), None


@dataclass
class Gates:
    """What landmarks are told: the `masses` of the model before; `counts` [B, n], how much each word says; `noise` of landmarks, drawn by `rng`;
    `lost`: of each layer, the mean cross-entropy of what the landmarks got, less that of what they should have got."""

    masses: Masses
    counts: Tensor
    noise: float = 0.0
    rng: torch.Generator | None = None
    lost: list[Tensor] = field(default_factory=list)

    def coarse(self, keys: Tensor) -> Tensor:
        """Keys [B, G, N, d] with noise on those of landmarks, which are in the regular grid."""
        every, landmarks = slice(self.masses.block, None, self.masses.block + 1), keys[:, :, self.masses.block :: self.masses.block + 1]
        if not self.noise or landmarks.shape[2] < 2:
            return keys
        drawn = torch.randn(landmarks.shape, generator=self.rng).to(keys.device, keys.dtype)
        noisy = keys.clone()
        noisy[:, :, every] += drawn * self.noise * landmarks.detach().std(2, keepdim=True)
        return noisy

    def compare(self, layer: int, queries: Tensor, keys: Tensor, scaling: float) -> None:
        """Rotated queries [B, H, N, d] and keys [B, G, N, d], landmarks among them in the regular grid."""
        block, (batch, kv_heads, longer, size) = self.masses.block, keys.shape
        places = _words(longer, block, keys.device)
        length, over = len(places), -len(places) % block
        asking = pad(queries[:, :, places] * scaling, (0, 0, 0, over)).view(batch, kv_heads, -1, length + over, size)
        words = pad(keys[:, :, places], (0, 0, 0, over)).view(batch, kv_heads, 1, -1, block, size)
        inside = (asking.unflatten(3, (-1, block)) @ words.transpose(-1, -2)).float()
        inside = inside + torch.full((block, block), -torch.inf, device=keys.device).triu(1)
        own = inside.logsumexp(-1).flatten(3)[..., :length, None]
        landmarks = keys[:, :, block :: block + 1]
        gates = (asking[..., :length, :].flatten(2, 3) @ landmarks.transpose(-1, -2)).float().unflatten(2, (-1, length))
        mine = torch.arange(length, device=keys.device) // block
        later = torch.arange(landmarks.shape[2], device=keys.device) >= mine[:, None]
        said = log_softmax(torch.cat([own, gates.masked_fill(later, -torch.inf)], -1), -1).flatten(1, 2)
        asked = self.masses.layers[layer]
        differ = kl_div(said.clamp_min(-40.0), asked, reduction="none").sum(-1).mean(1)
        self.lost.append((differ * self.counts).sum() / self.counts.sum())


def _learning(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float, gates: Gates,
              top_blocks: int | None = None, **_: Any) -> tuple[Tensor, None]:  # fmt: skip
    """As `attention.attention`, of rows in the regular grid with padding at their end alone; tells `gates` what landmarks got."""
    query, key = query.to(value.dtype), gates.coarse(key.to(value.dtype))
    gates.compare(module.layer_idx, query, key, scaling)
    return blockwise(query, key, value, gates.masses.block, scaling, None, top_blocks).transpose(1, 2).contiguous(), None


for _name, _way in ((BEFORE, _before), (LEARNING, _learning)):
    AttentionInterface.register(_name, _way)
    AttentionMaskInterface.register(_name, sdpa_mask)


def _words(longer: int, block: int, device: Any) -> Tensor:
    """The places of words among so many tokens of the regular grid."""
    places = torch.arange(longer, device=device)
    return places[places % (block + 1) != block]


class Distilling(Training):
    """A training in which a model with landmarks learns from the one without, `before`, and from the words to predict. `padding`: the id of words
    that say nothing."""

    def __init__(self, model: Any, recipe: Recipe, batches: Callable[[int], Batch], before: Any, padding: int, wanted: Wanted | None = None) -> None:
        super().__init__(model, recipe, batches)
        self._before, self._padding, self._wanted = before.eval().requires_grad_(False), padding, wanted or Wanted()
        before.set_attn_implementation(BEFORE)
        model.set_attn_implementation(LEARNING)
        config = model.config.get_text_config(decoder=True)
        self._block, self._token = getattr(config, BLOCK), getattr(config, TOKEN)

    def lost(self, batch: Batch, number: int) -> Tensor:
        """What a batch has yet to teach, by all that is wanted."""
        recipe, wanted = self.recipe, self._wanted
        places = _words(batch.ids.shape[1], self._block, batch.ids.device)
        ids, weights = batch.ids[:, places], batch.weights[:, places]
        there = (ids != self._padding).float()
        after = pad(weights[:, 1:], (0, 1))  # what the prediction at each place counts
        masses = Masses(self._block)
        rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        gates = Gates(masses, there * (1 + (wanted.asked - 1) * (after >= 0.5)), wanted.noise, rng)
        more: dict[str, Any] = {"use_cache": False, "output_hidden_states": True}
        positions = None if batch.positions is None else batch.positions - torch.arange(batch.ids.shape[1]) // (self._block + 1)
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=recipe.bfloat16):
            with torch.no_grad():
                known = self._before(input_ids=ids, masses=masses, **more, **_placed(ids, None if positions is None else positions[:, places]))
            found = self.model(input_ids=batch.ids, gates=gates, top_blocks=self._top(number), **more, **_placed(batch.ids, batch.positions))
        logits = found.logits[:, places, : self._token].float()
        said, told = log_softmax(logits, -1), log_softmax(known.logits.float(), -1)
        predicted = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        total = (predicted * weights[:, 1:]).sum() / weights[:, 1:].sum().clamp_min(1e-9)
        like = kl_div(said, told, reduction="none", log_target=True).sum(-1)
        total = total + wanted.predictions * (like * gates.counts).sum() / gates.counts.sum()
        for mine, theirs in zip(found.hidden_states[1:], known.hidden_states[1:], strict=True):
            apart = (mine[:, places].float() - theirs.float()).square().mean(-1) / theirs.float().square().mean(-1).clamp_min(1e-6)
            total = total + wanted.states * (apart * there).sum() / there.sum() / (len(found.hidden_states) - 1)
        return total + wanted.gates * torch.stack(gates.lost).mean()


def _placed(ids: Tensor, positions: Tensor | None) -> dict[str, Tensor]:
    """With a mask, for without one transformers takes rows whose positions jump for several sequences."""
    return {} if positions is None else {"position_ids": positions, "attention_mask": torch.ones_like(ids)}
