"""Several texts that were read one by one, put together into one memory (MemOS, arXiv 2507.03724, section 5.2; CacheBlend, arXiv 2405.16444).

Each fragment was read as if nothing stood before it: its keys stand at positions from 0 on, and it has seen no other. `rebuilt` reads everything
again, and is exact. `rerotated` turns the keys to where the fragment stands now: cheap, and approximate, since no fragment has seen those before it.
`blended` does that, and then lets the model read the tokens again whose keys and values differ most from what they would be, seeing all that stands
before them: all of them read again is exact, and a few go a long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import Cache, CacheLayerMixin

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Dense
from mnemos.activation.policy import FULL
from mnemos.activation.rotary import sources
from mnemos.base.errors import Invalid
from mnemos.models.local.origin import claim

MODES = ("rebuilt", "rerotated", "blended")
SHARE = 0.15
"""Of all tokens, that are read again where nothing else is said (CacheBlend, section 4.2)."""


@dataclass(frozen=True)
class Fragment:
    """Tokens, and the memory of a model that has read them and nothing else (one row, the full policy). The first `head` of them begin every text, as
    the model knows it (the token that says so, and draws attention that goes nowhere): only the first fragment brings them along."""

    tokens: tuple[int, ...]
    memory: KVMemory
    head: int = 0

    def __post_init__(self) -> None:
        if self.memory.policy.describe() != FULL.describe() or len(self.memory.managed) != len(self.memory.layers):
            raise Invalid(f"fragments are put together as a model read them; the policy {self.memory.policy.name!r} or a sliding layer left out some")
        if self.memory.get_seq_length() != len(self.tokens):
            raise Invalid(f"a fragment of {len(self.tokens)} tokens has a memory of {self.memory.get_seq_length()}: give exactly what it has read")


def put_together(model: Any, fragments: Sequence[Fragment], mode: str = "blended", share: float = SHARE) -> KVMemory:
    """One memory of all fragments in this order, as long as all together, that shares nothing with theirs. `share` of the tokens is read again where
    they are blended. Raises `Invalid` for no fragments, those of another model, another mode, or a share outside 0 … 1."""
    if not fragments or mode not in MODES or not 0 <= share <= 1:
        raise Invalid(
            f"give at least one fragment (got {len(fragments)}), one of {', '.join(MODES)} (got {mode!r}), and a share in 0 … 1 (got {share})"
        )
    for fragment in fragments:
        claim(fragment.memory, model)
    tokens = together(fragments)
    if mode == "rebuilt":
        return _read(model, tokens)
    memory = _rerotated(model, fragments)
    if mode == "blended":
        read_again(model, memory, tokens, share, start=len(fragments[0].tokens))
    return memory


def together(fragments: Sequence[Fragment]) -> list[int]:
    """The tokens of all, in order, heads of all but the first left out."""
    return [token for number, fragment in enumerate(fragments) for token in fragment.tokens[fragment.head if number else 0 :]]


def read_again(model: Any, memory: KVMemory, tokens: Sequence[int], share: float, start: int = 0) -> list[int]:
    """Lets the model read `share` of the memory's tokens again, from `start` on those whose keys and values in the second layer differ most from what
    they are now, and keeps what comes out; gives their places. Tokens before `start` are right already, and count into the share."""
    count = round(share * len(tokens))
    most = len(tokens) - start
    if not count or not most:
        return []
    ids = torch.tensor(tokens, device=memory.managed[0].tail.keys.device)
    if count < most and len(memory.layers) > 1:
        differences = _differences(model, memory, ids)[start:]
        places = (differences.topk(count).indices + start).sort().values
    else:
        places = torch.arange(max(start, len(tokens) - count), len(tokens), device=ids.device)
    again = _Again([_Overwriting(layer, places) for layer in memory.managed])
    with torch.no_grad():
        model(input_ids=ids[places][None], position_ids=places[None], cache=again)
    return [int(place) for place in places]


def _read(model: Any, tokens: Sequence[int]) -> KVMemory:
    memory = KVMemory.of(model)
    with torch.no_grad():
        model(input_ids=torch.tensor([list(tokens)], device=model.device), cache=memory)
    return memory


def _rerotated(model: Any, fragments: Sequence[Fragment]) -> KVMemory:
    memory = KVMemory.of(model)
    turns = sources(model)
    for number, layer in enumerate(memory.managed):
        keys, values, offset = [], [], 0
        for fragment in fragments:
            tail = fragment.memory.managed[number].tail
            head = fragment.head if offset else 0
            its, rotary = tail.keys[:, :, head:], turns[number].rotary(tail.keys.device)
            places = torch.arange(head, tail.length, device=its.device)[None, None]
            keys.append(rotary.rotate(rotary.unrotate(its, places), places - head + offset) if offset else its)
            values.append(tail.values[:, :, head:])
            offset += tail.length - head
        positions = torch.arange(offset, dtype=torch.int32, device=values[0].device)[None, None]
        layer.lazy_initialization(keys[0], values[0])
        layer.tail.hold(Dense(torch.cat(keys, 2), torch.cat(values, 2), positions, range(keys[0].shape[1])))
        layer.seen, layer.settled = offset, False
    return memory


def _differences(model: Any, memory: KVMemory, ids: Tensor) -> Tensor:
    """[n]: how far each token's keys and values in the second layer are from those that the model computes when the first layer sees everything."""
    listener = _Listening(memory.managed[1])
    try:
        with torch.no_grad():
            model(input_ids=ids[None], cache=_Again([MemoryLayer(FULL, 0), listener, *(MemoryLayer(FULL, n) for n in range(2, len(memory.layers)))]))
    except _Enough:
        pass
    return listener.differences


class _Enough(Exception):
    """The second layer was reached: no error, the forward pass has said what it was run for."""


class _Again(Cache):
    """Layers that take what is read again; the memory that they belong to has the length, not this."""

    def __init__(self, layers: list[Any]) -> None:
        super().__init__(layers=layers)


class _Listening(CacheLayerMixin):
    """Compares keys and values with those of a layer, and ends the pass."""

    is_sliding = False

    def __init__(self, layer: MemoryLayer) -> None:
        super().__init__()
        self.layer, self.differences = layer, torch.zeros(0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is kept."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        keys, values = key_states - self.layer.tail.keys, value_states - self.layer.tail.values
        self.differences = (keys.float().square().sum((0, 1, 3)) + values.float().square().sum((0, 1, 3))).sqrt()
        raise _Enough

    def get_seq_length(self) -> int:
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_max_length(self) -> int:
        return -1


class _Overwriting(_Listening):
    """Puts new keys and values at their places in a layer, and lets their queries see all that stands up to them."""

    def __init__(self, layer: MemoryLayer, places: Tensor) -> None:
        super().__init__(layer)
        self.places = places

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, kwargs: dict[str, Any] | None = None,
               **more: Any) -> tuple[Tensor, Tensor]:  # fmt: skip
        if kwargs is None:
            raise Invalid("reading again needs transformers ≥ 5.20, which hands its attention's arguments to the cache")
        kwargs["memory"] = self
        self.layer.tail.keys[:, :, self.places], self.layer.tail.values[:, :, self.places] = key_states, value_states
        return key_states, value_states

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
               softcap: float | None) -> Tensor:  # fmt: skip
        """As `MemoryLayer.attend`; the mask, which is of the new tokens alone, does not count."""
        if softcap is not None:
            raise Invalid("tokens cannot be read again in a model that caps its attention: put its fragments together by rebuilding them")
        tail = self.layer.tail
        seen = torch.arange(tail.length, device=queries.device) <= self.places[:, None]
        output = scaled_dot_product_attention(queries, tail.keys, tail.values, attn_mask=seen, scale=scaling, enable_gqa=True)
        return output.transpose(1, 2)
