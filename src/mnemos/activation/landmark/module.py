"""A model with landmarks that looks like one without: they are put in as tokens come, and are never seen in what it says.

`LocalModel(Landmarked(model))` reads, generates, streams and converses as any other model does, to any length.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnemos.activation.landmark.attending import LANDMARKS
from mnemos.activation.landmark.attention import BLOCK, TOKEN
from mnemos.activation.landmark.tokens import SILENT, place_of
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.landmark import Landmark
from mnemos.base.errors import Invalid


class Landmarked(nn.Module):
    """A causal model of transformers that was trained with landmarks, called without them.

    The grid begins with each row's first token, and goes on over calls: positions that callers give and count are those of their own tokens. When a
    block is full, its landmark is read in the same call. Caches are those of `new_cache`.
    """

    def __init__(self, model: Any, *, block: int | None = None, token: int | None = None, **options: Any) -> None:
        """`block` and `token` (the id of the landmark) are those of the model's configuration where they are not given; `options` are those of
        `policy("landmark")`. Raises `Invalid` for a model that was not prepared for landmarks, or that has layers of limited sight."""
        super().__init__()
        config = model.config.get_text_config(decoder=True)
        block, token = (getattr(config, name, None) if given is None else given for name, given in ((BLOCK, block), (TOKEN, token)))
        if block is None or token is None:
            raise Invalid("this model was not prepared for landmarks: give block and token, or see mnemos.activation.landmark.attention.install")
        self.model, self.token, self._silent = model, token, bool(getattr(config, SILENT, False))
        made = policy("landmark", block=block, **options)
        assert isinstance(made, Landmark)
        self.policy = made
        if len((memory := self.new_cache()).managed) < len(memory.layers):
            raise Invalid(f"{type(model).__name__} has layers of limited sight, which bring nothing back: landmarks are of no use to them")
        self.config = copy.deepcopy(model.config)
        known = getattr(config, "max_position_embeddings", 0) or 0
        # As many as come, where blocks are put at positions that it knows; else as many as it knows places for, landmarks left out.
        self.config.get_text_config(decoder=True).max_position_embeddings = 0 if made.stingy else known // (block + 1) * block

    @property
    def generation_config(self) -> Any:
        """The model's."""
        return self.model.generation_config

    @property
    def dtype(self) -> Any:
        """The model's."""
        return self.model.dtype

    @property
    def device(self) -> Any:
        """The model's."""
        return self.model.device

    def get_input_embeddings(self) -> Any:
        """The model's."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """The model's."""
        return self.model.get_output_embeddings()

    def save_pretrained(self, folder: Any) -> None:
        """Writes the model, whose configuration knows its landmarks."""
        self.model.save_pretrained(folder)

    def new_cache(self) -> KVMemory:
        """An empty one, which counts what callers count."""
        return KVMemory.of(self.model, self.policy)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None, cache: Any = None,
                use_cache: bool | None = True, logits_to_keep: int = 0, **more: Any) -> Any:  # fmt: skip
        """As the model's, of ids [B, t] without landmarks: `position_ids` [B, t], −1 for padding, and `attention_mask` [B, all tokens so far] leave
        them out, too; so do the logits, which say what comes after a token and the landmark behind it, and have none for it. Raises `Invalid` for ids
        with landmarks, and caches that are not of `new_cache`."""
        memory = self.new_cache() if cache is None else cache
        if not isinstance(memory, KVMemory) or memory.policy.describe() != self.policy.describe():
            raise Invalid("a model with landmarks keeps its past in what its own new_cache() makes: give that as the cache, or none")
        if bool((input_ids == self.token).any()):
            raise Invalid(f"id {self.token} is the landmark, which no text has: leave landmarks to the model")
        before, (rows, new) = memory.get_seq_length(), input_ids.shape
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask[:, -new:].bool()
        if position_ids is None:
            counts = before if attention_mask is None else attention_mask[:, :-new].sum(1, keepdim=True)
            position_ids = counts + real.long().cumsum(1) - 1
        places = position_ids.expand(rows, -1).masked_fill(~real, -1)
        wide = _Wide.of(input_ids.tolist(), places.tolist(), self.policy.block, self.token, self._silent)
        ids, positions, columns = (torch.tensor(each, device=input_ids.device) for each in (wide.ids, wide.positions, wide.columns))
        there = positions >= 0
        mask = None if bool(there.all()) else torch.cat([there.new_ones(rows, before), there], 1).long()
        wanted = new if logits_to_keep == 0 else min(logits_to_keep, new)
        kept = ids.shape[1] - int(columns[:, new - wanted :].min())
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, cache=memory, use_cache=use_cache, logits_to_keep=kept,
                         **{LANDMARKS: (ids == self.token) & there}, **more)  # fmt: skip
        for layer in memory.managed:
            layer.seen = before + new
        at = columns[:, new - wanted :] - (ids.shape[1] - kept)
        logits = out.logits.gather(1, at.unsqueeze(-1).expand(-1, -1, out.logits.shape[-1]))
        logits[..., self.token] = -torch.inf
        out.logits = logits
        return out


class _Wide:
    """Rows with their landmarks, padded before: `ids` and `positions` [B, m], −1 for padding; `columns` [B, t]: where what comes after each token of
    before is predicted, its own place or, as in training, that of the landmark behind it, if landmarks are not silent."""

    def __init__(self, ids: list[list[int]], positions: list[list[int]], columns: list[list[int]]) -> None:
        self.ids, self.positions, self.columns = ids, positions, columns

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], places: Sequence[Sequence[int]], block: int, token: int, silent: bool) -> _Wide:
        made = []
        for row, its in zip(ids, places, strict=True):
            out: list[tuple[int, int]] = []
            at = []
            for one, place in zip(row, its, strict=True):
                out.append((one, -1 if place < 0 else place_of(place, block)))
                at.append(len(out) - 1)
                if place >= 0 and (place + 1) % block == 0:
                    out.append((token, place_of(place, block) + 1))
                    at[-1] += not silent
            made.append((out, at))
        width = max(len(out) for out, _ in made)
        padded = [[(0, -1)] * (width - len(out)) + out for out, _ in made]
        columns = [[width - len(out) + place for place in at] for out, at in made]
        return cls([[one for one, _ in row] for row in padded], [[place for _, place in row] for row in padded], columns)
