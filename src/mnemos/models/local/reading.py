"""Giving tokens to a model, chunk by chunk, with the positions and masks that make a batch what its rows are alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from mnemos.base.errors import Invalid, shown
from mnemos.models.local.context import Chunked, Prefilled, Settling


@dataclass(frozen=True)
class Reader:
    """A module of transformers with what has to be known to call it."""

    module: Any
    keyword: str
    """What `forward` calls its cache."""
    sparing: bool
    """Whether `forward` can leave out the logits that nobody asks for."""
    padding: int
    """The position of places that hold no token: −1, or 0 where positions are looked up in a table."""
    switch: int | None
    """Tokens up to which rotary frequencies are those of short contexts (LongRoPE); None where they do not depend on the length."""
    window: int | None
    """The fewest tokens that any layer looks back."""
    portion: int | None = None
    """Where nothing else is said, what is read is cut at the multiples of so many places of the cache; None: it is read at once."""

    def read(
        self,
        past: Prefilled,
        rows: Sequence[Sequence[int]],
        chunk: int | None,
        *,
        every: bool = False,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[Prefilled, list[Tensor]]:
        """Read `rows` after `past`: what holds then, and, with `every`, the logits of each row's tokens (its tokens, vocabulary).

        Where `cancelled()` is true before a chunk, what is left stays pending, and the logits are None. Raises `Invalid`.
        """
        if not self.fits(past, rows):
            raise Invalid(
                f"this model turns its keys differently beyond {self.switch} tokens, and the cache holds keys of before: "
                "give all tokens again with a new cache; rows of a batch must lie on one side"
            )
        ids, real = padded(rows, self.module.get_input_embeddings().weight.device)
        self._check_alignment(past, real, ids.shape[1])
        bounds = self._bounds(past, ids.shape[1], chunk)
        state, collected = past, []
        for start, end in pairwise(bounds):
            if cancelled is not None and cancelled():
                done = [max(0, start - (ids.shape[1] - len(row))) for row in rows]
                left = tuple(tuple(row[count:]) for count, row in zip(done, rows, strict=True))
                return replace(state, logits=None, pending=left, tokens=_more(past, [row[:count] for count, row in zip(done, rows, strict=True)])), []
            if isinstance(state.cache, Chunked):
                state.cache.last_chunk = end == bounds[-1]
            part = None if real is None else real[:, start:end]
            state, logits = self.step(state, ids[:, start:end], part, every=every)
            if every:
                collected.append(logits)
        if isinstance(state.cache, Settling):
            state.cache.settle()
        whole = torch.cat(collected, 1) if every else None
        each = [] if whole is None else [whole[number, whole.shape[1] - len(row) :] for number, row in enumerate(rows)]
        return replace(state, tokens=_more(past, rows)), each

    def step(self, past: Prefilled, ids: Tensor, real: Tensor | None, *, every: bool = False) -> tuple[Prefilled, Tensor]:
        """One call of the model: ids (rows, t), `real` true where a token stands. The state after it, and logits (rows, t or 1, vocabulary).
        The tokens of the state are left as they were."""
        rows, new = ids.shape
        lengths = torch.tensor(past.lengths, device=ids.device).unsqueeze(1)
        counts = torch.ones_like(ids).cumsum(1) if real is None else real.long().cumsum(1)
        positions = lengths + counts - 1
        if real is not None:
            positions = positions.masked_fill(~real, self.padding)
        mask = past.mask
        if mask is not None or real is not None:
            before = mask if mask is not None else torch.ones((rows, past.slots), dtype=torch.bool, device=ids.device)
            mask = torch.cat([before, torch.ones_like(ids, dtype=torch.bool) if real is None else real], 1)
        extra = {"logits_to_keep": 1} if self.sparing and not every else {}
        with torch.no_grad():
            out = self.module(
                input_ids=ids, attention_mask=None if mask is None else mask.long(), position_ids=positions, use_cache=True,
                **{self.keyword: past.cache}, **extra,
            )  # fmt: skip
        logits = (out.logits if every else out.logits[:, -1:]).float()
        added = [new] * rows if real is None else counts[:, -1].tolist()
        longer = tuple(length + int(count) for length, count in zip(past.lengths, added, strict=True))
        return replace(past, logits=logits[:, -1], lengths=longer, slots=past.slots + new, mask=mask, pending=((),) * rows), logits

    def fits(self, past: Prefilled, rows: Sequence[Sequence[int]]) -> bool:
        """Whether all keys, those in the cache and those to come, are turned by the same frequencies."""
        if self.switch is None:
            return True
        after = [length + len(row) for length, row in zip(past.lengths, rows, strict=True)]
        return max(after) <= self.switch or (min(after) > self.switch and all(length == 0 or length > self.switch for length in past.lengths))

    def fit_together(self, lengths: Sequence[int], limits: Sequence[int]) -> bool:
        """Whether prompts of these lengths can go on to these limits in one batch: its keys change their frequencies together, or not at all."""
        if self.switch is None or len(lengths) == 1:
            return True
        return min(lengths) > self.switch or max(length + limit for length, limit in zip(lengths, limits, strict=True)) <= self.switch

    def _bounds(self, past: Prefilled, total: int, chunk: int | None) -> list[int]:
        """Where chunks begin and end. Beyond the switch of LongRoPE the first chunk reaches over it, since its frequencies follow from its end; and
        no single token is left over, which a cache would take for a generated one."""
        grid = chunk is None and self.portion is not None
        size = chunk or self.portion or total
        first = size - past.slots % size if grid else size
        if self.switch is not None and not any(past.lengths) and total > self.switch:
            first = max(size, self.switch + 1)
            first += -first % size if grid else 0
        bounds = sorted({0, total, *range(first, total, size)})
        if size > 1 and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
            del bounds[-2]
        return bounds

    def _check_alignment(self, past: Prefilled, real: Tensor | None, new: int) -> None:
        """Layers with a window count places, not tokens: holes between a row's tokens would shorten what it sees."""
        if self.window is None or past.slots + new < self.window:
            return
        if not past.aligned or (real is not None and past.slots > 0):
            raise Invalid(
                f"rows of different lengths cannot be continued together beyond the window of {self.window} tokens that layers of this model have: "
                "continue them one by one"
            )


def padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor | None]:
    """(ids, real): the rows padded on the left to one length, and where a token stands; None where everywhere."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], dtype=torch.long, device=device)
    if all(len(row) == longest for row in rows):
        return ids, None
    starts = torch.tensor([longest - len(row) for row in rows], device=device)
    return ids, torch.arange(longest, device=device) >= starts.unsqueeze(1)


def reader_of(module: Any, portion: int | None = None) -> Reader:
    """How to call this causal model. Raises `Invalid` where no layer of it keeps keys and values, and for portions of fewer than 2 tokens."""
    if portion is not None and (not isinstance(portion, int) or portion < 2):
        raise Invalid(f"portion is {shown(portion)}: use a whole number of tokens, at least 2, or None to read at once")
    taken = inspect.signature(module.forward).parameters
    text = module.config.get_text_config()
    rotary = getattr(text, "rope_parameters", None)
    layers = DynamicCache(config=module.config).layers
    if layers and not any(isinstance(layer, CacheLayerMixin) for layer in layers):
        raise Invalid(f"{type(module).__name__} keeps no keys and values: take a model with attention layers")
    window = min((int(layer.sliding_window) for layer in layers if getattr(layer, "is_sliding", False)), default=None)
    return Reader(module, cache_keyword(module), "logits_to_keep" in taken, -1 if rotary else 0, _switch(text, rotary), window, portion)


def _more(past: Prefilled, rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...] | None:
    """The tokens in the cache once `rows` are there too."""
    return None if past.tokens is None else tuple((*before, *row) for before, row in zip(past.tokens, rows, strict=True))


def cache_keyword(module: Any) -> str:
    """What `forward` calls its cache: "cache" from transformers 5.2x on, "past_key_values" before."""
    return "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"


def _switch(text: Any, rotary: Any) -> int | None:
    """Where a LongRoPE model changes from short to long factors (Ding et al., LongRoPE, 2024, section 3.3)."""
    if not isinstance(rotary, dict):
        return None
    kinds = [rotary, *(kind for kind in rotary.values() if isinstance(kind, dict))]  # one for all layers, or one for each kind of layer
    originals = [int(kind["original_max_position_embeddings"]) for kind in kinds if kind.get("rope_type") == "longrope"]
    return min((original for original in originals if original < text.max_position_embeddings), default=None)
