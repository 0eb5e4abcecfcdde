"""Reading a prompt with fewer tokens in later layers (UNComp, arXiv 2410.03090, section 4.1).

Where a layer begins a stage, tokens that the layer before hardly attended to go no further: they are in no later layer's computation and in none of
its memory. Those that go on keep their positions.

This loses text for good: a later question about what was dropped finds it in the first layers alone. So it is done only where a policy says so, for a
whole prompt at once on an empty memory, and never for a prefix that others share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.base.errors import Invalid

DROPPED = "uncomp.dropped"
"""The note of a layer that says how many tokens of the prompt, padding included, never reached it."""
FLOOR = 1536


@dataclass(frozen=True)
class Stages:
    """`numbers` [layers]: the stage of each layer, from 0. `longest`: tokens at which the first stage stands in the rule; None: those of the prompt.
    `floor`: what the last stage keeps. `window`: so many of the last queries say what was attended to; their tokens go on in any case."""

    numbers: tuple[int, ...]
    longest: int | None = None
    floor: int = FLOOR
    window: int = 8

    def __post_init__(self) -> None:
        if not 2 <= self.window <= self.floor:
            raise Invalid(f"a window of {self.window} tokens and a floor of {self.floor} cannot be: the window is at least 2, and the floor no less")
        if not self.numbers or self.numbers[0] != 0 or any(not 0 <= b - a <= 1 for a, b in pairwise(self.numbers)):
            raise Invalid(f"stages {self.numbers} do not number the layers from 0 upwards in steps of at most 1")

    def keep(self, stage: int, length: int) -> int:
        """Tokens that go on into a stage, of a prompt of `length`; all of them into the first."""
        last = self.numbers[-1]
        if not stage:
            return length
        longest = length if self.longest is None else self.longest
        return min(length, self.floor + max(0, longest - self.floor) // last * (last - stage))


def prefill(model: Any, memory: KVMemory, ids: Tensor, attention_mask: Tensor | None = None, **more: Any) -> Any:
    """The model's output for a whole prompt [B, t] (logits of the last token, unless `more` says otherwise), read in stages where the memory's
    policy has some; each layer settles before the next begins; padding stands on the left. Hooks of torch do it. Raises `Invalid` for a memory that
    is not empty where there are stages: what it holds may be shared, or asked about again."""
    more = {"logits_to_keep": 1, **more}
    if attention_mask is not None:
        more |= {"attention_mask": attention_mask, "position_ids": (attention_mask.cumsum(-1) - 1).clamp_min(0)}
    stages: Stages | None = getattr(memory.policy, "stages", None)
    if stages is None or not stages.numbers[-1]:
        memory.last_chunk = True
        with torch.no_grad():
            return model(ids, cache=memory, **more)
    if any(layer.get_seq_length() for layer in memory.layers):
        raise Invalid("this memory holds tokens already, and reading in stages drops some for good: read the whole prompt into an empty memory, or "
                      "use the policy without stages")  # fmt: skip
    if len(memory.managed) != len(memory.layers) or len(stages.numbers) != len(memory.layers):
        raise Invalid(f"the stages are of {len(stages.numbers)} layers of full sight; the model has {len(memory.managed)}, and "
                      f"{len(memory.layers)} in all: give stages of its own")  # fmt: skip
    reading = _Reading(stages, memory.managed, ids.shape[1])
    layers = model.get_decoder().layers
    hooks = [layer.register_forward_pre_hook(reading.hook(number), with_kwargs=True) for number, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            output = model(ids, cache=memory, **more)
            reading.leave(len(layers) - 1)
    finally:
        for hook in hooks:
            hook.remove()
    return output


class _Reading:
    """One prompt on its way through the layers. `index` [B, m]: which of its tokens are still in it; None: all."""

    def __init__(self, stages: Stages, layers: list[MemoryLayer], length: int) -> None:
        self.stages, self.layers, self.length = stages, layers, length
        self.index: Tensor | None = None

    def hook(self, number: int) -> Callable[..., Any]:
        """What is called before layer `number` of the model."""

        def enter(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if not number:
                return None
            stage = self.stages.numbers[number]
            if stage != self.stages.numbers[number - 1]:
                hidden = given[0] if given else named["hidden_states"]
                count = self.stages.keep(stage, self.length)
                if count < hidden.shape[1]:
                    some = self._best(self.layers[number - 1], count)
                    hidden = hidden.gather(1, some.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
                    self.index = some if self.index is None else self.index.gather(1, some)
                    given, named = ((hidden, *given[1:]), named) if given else (given, {**named, "hidden_states": hidden})
            self.leave(number - 1)
            return given, self._of_those_here(named)

        return enter

    def leave(self, number: int) -> None:
        """A layer has attended to all that reached it."""
        layer = self.layers[number]
        if dropped := self.length - layer.seen:
            layer.notes[DROPPED] = dropped
            layer.seen = self.length
        layer.settle()

    def _best(self, layer: MemoryLayer, count: int) -> Tensor:
        """[B, count], ascending: which of the tokens that the layer has just seen go on."""
        view = layer.view()
        window = self.stages.window
        scores = view.of_newest(window).window_attention().sum((1, 2, 3)).masked_fill(view.positions[:, 0] < 0, -torch.inf)
        scores[:, -window:] = torch.inf
        return scores.topk(count, -1).indices.sort(-1).values

    def _of_those_here(self, named: dict[str, Any]) -> dict[str, Any]:
        """What the model tells each layer about all tokens, for those that are still here."""
        if self.index is None:
            return named
        if named.get("position_ids") is None:
            raise Invalid("the model does not tell its layers the positions of tokens: it cannot be read in stages")
        index = self.index
        named = {**named, "position_ids": named["position_ids"].expand(len(index), -1).gather(1, index)}
        if (turned := named.get("position_embeddings")) is not None:
            where = index.unsqueeze(-1)
            named["position_embeddings"] = tuple(
                each.expand(len(index), -1, -1).gather(1, where.expand(-1, -1, each.shape[-1])) for each in turned
            )
        if (mask := named.get("attention_mask")) is not None:
            mask = mask.expand(len(index), -1, -1, -1)
            rows = mask.gather(2, index[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
            named["attention_mask"] = rows.gather(3, index[:, None, None, :].expand(-1, mask.shape[1], rows.shape[2], -1))
        return named
