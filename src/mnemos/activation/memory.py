"""A KV memory: the transformers cache whose layers keep what a policy wants kept."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.merging import attend
from mnemos.activation.outputs import outputs
from mnemos.activation.parts import Bytes, Dense
from mnemos.activation.policy import FULL, PROTECTED, Policy
from mnemos.activation.rotary import sources
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.arena.tenancy import KVArena

ATTENTION = "mnemos"
"""The name under which transformers knows our attention."""


def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
              dropout: float = 0.0, memory: MemoryLayer | None = None, position_ids: Tensor | None = None, softcap: float | None = None,
              **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of a layer whose cache is a `MemoryLayer`; of all other layers, as "sdpa" does it."""
    if memory is None and softcap is not None:  # a layer of limited sight in a model that caps its attention, which no fused kernel does
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return capped(query, key, value, attention_mask, scale, softcap).transpose(1, 2).contiguous(), None
    if memory is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, softcap=softcap,
                                           position_ids=position_ids, **kwargs)  # fmt: skip
        return output, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return memory.attend(query, key, value, attention_mask, scale, position_ids, softcap).contiguous(), None


def capped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, softcap: float) -> Tensor:
    """[B, H, t, d]: attention whose scores are capped; `mask` [B, 1, t, n] is True where a token may be seen; None: each sees those up to it."""
    rows, _, new, size = query.shape
    length = key.shape[2]
    if mask is None:
        mask = torch.ones(new, length, dtype=torch.bool, device=key.device).tril(length - new)[None, None].expand(rows, -1, -1, -1)
    places = torch.zeros(rows, 1, length, dtype=torch.int32, device=key.device)
    part = Dense(key, value, places, range(key.shape[1]))
    output, _ = attend(query.reshape(rows, key.shape[1], -1, new, size), [part], [mask], scaling, softcap)
    return output.reshape(query.shape)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class KVMemory(Cache):
    """What a model keeps of what it has read. Make one by `of`; give it as `cache`; after a prompt call `settle`, or go on generating,
    which does so."""

    layers: list[Any]

    def __init__(self, layers: list[Any], policy: Policy) -> None:
        super().__init__(layers=layers)
        self.policy = policy

    @classmethod
    def of(cls, model: Any, policy: Policy = FULL, arena: KVArena | None = None, namespace: str = "") -> KVMemory:
        """An empty one for this model, whose attention is set to ours (`set_attn_implementation`). Layers of limited sight (sliding windows) keep
        what transformers keeps. With an arena the others grow in its pages, and what they hold is counted for `namespace`. Raises `Invalid` for
        models with layers that have no keys and values."""
        config = model.config.get_text_config(decoder=True)
        rotations = sources(model) if policy.unrotates else [None] * config.num_hidden_layers
        projections = outputs(model) if policy.weighs else [None] * config.num_hidden_layers
        landlord = None if arena is None else arena.tenancy(namespace)
        layers: list[Any] = []
        for number, layer in enumerate(DynamicCache(config=model.config).layers or [None] * config.num_hidden_layers):
            kind = type(layer).__name__
            if kind in ("NoneType", "DynamicLayer"):
                layers.append(MemoryLayer(policy, number, rotations[number], projections[number], landlord))
            elif kind == "DynamicSlidingWindowLayer":
                layers.append(layer)
            else:
                raise Invalid(f"layer {number} of {type(model).__name__} keeps its past as {kind}, not as keys and values that policies could hold")
        if model.config._attn_implementation != ATTENTION:
            model.set_attn_implementation(ATTENTION)
        return cls(layers, policy)

    @property
    def managed(self) -> list[MemoryLayer]:
        """The layers that the policy decides on."""
        return [layer for layer in self.layers if isinstance(layer, MemoryLayer)]

    @property
    def last_chunk(self) -> bool:
        """Whether the next tokens end a prompt: set it, and each layer settles as soon as it has attended to them, before the next layer grows."""
        return any(layer.ends_prompt for layer in self.managed)

    @last_chunk.setter
    def last_chunk(self, value: bool) -> None:
        for layer in self.managed:
            layer.ends_prompt = value

    def settle(self) -> None:
        """The prompt, or this turn of it, is read."""
        with torch.no_grad():
            for layer in self.managed:
                layer.settle()

    def protect(self, start: int = 0, stop: int | None = None) -> None:
        """The tokens at positions `start` … `stop` (None: the last that was read) are never dropped, and count in the budget: instructions, say.
        `model(ids, cache=memory, protected=…)`, bool [B, t], says the same of tokens as they are read. Nothing to do for a policy that drops none.
        Raises `Invalid` where one of them is gone already: protect before more is read than the budget holds."""
        if PROTECTED not in self.policy.said:
            return
        for layer in self.managed:
            layer.protect(start, self.get_seq_length() if stop is None else stop)

    def nbytes(self) -> Bytes:
        """Of the tensors that all layers hold."""
        own = sum((layer.nbytes() for layer in self.managed), Bytes())
        sliding = [layer for layer in self.layers if not isinstance(layer, MemoryLayer) and layer.is_initialized]
        return own + Bytes(sum(tensor.untyped_storage().nbytes() for layer in sliding for tensor in (layer.keys, layer.values)))

    def fork(self) -> KVMemory:
        """A memory that goes on by itself from here; parts that never change are shared, and in an arena whole pages, too. There it raises
        `OverQuota`, `StoreFull` where what is not shared does not fit."""
        landlord = next((layer.landlord.another() for layer in self.managed if layer.landlord is not None), None)
        layers = [layer.fork(landlord) if isinstance(layer, MemoryLayer) else copy.deepcopy(layer) for layer in self.layers]
        return KVMemory(layers, self.policy)

    def lodge(self, arena: KVArena, namespace: str = "") -> KVMemory:
        """Moves into an arena, where it is counted for `namespace`; gives itself. Raises `OverQuota`, `StoreFull`: some layers have moved then."""
        landlord = arena.tenancy(namespace)
        for layer in self.managed:
            layer.lodge(landlord)
        return self

    def close(self) -> None:
        """Gives all that it holds back, to an arena at once; it is empty, and can be used anew."""
        for layer in self.managed:
            if layer.is_initialized and layer.landlord is not None:
                layer.tail.room.close()
                layer.landlord.count(layer.number, 0)
        self.reset()

    def held(self) -> list[list[list[set[int]]]]:
        """For each managed layer, row and head, the positions that can still be attended to."""
        return [layer.held() for layer in self.managed]
