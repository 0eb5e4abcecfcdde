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
from mnemos.activation.rollback import SETTLED, Protected, Rollback
from mnemos.activation.rotary import sources
from mnemos.base.errors import Invalid
from mnemos.models.local.origin import Origin, origin_of

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
    origin: Origin | None = None
    """The model that it is for; None where nobody said so."""

    def __init__(self, layers: list[Any], policy: Policy, rollback: Rollback | None = None) -> None:
        super().__init__(layers=layers)
        self.policy, self.rollback = policy, rollback

    @classmethod
    def of(cls, model: Any, policy: Policy = FULL, arena: KVArena | None = None, namespace: str = "", rollback: bool = False) -> KVMemory:
        """An empty one for this model, whose attention is set to ours (`set_attn_implementation`). Layers of limited sight (sliding windows) keep
        what transformers keeps. With an arena the others grow in its pages, and what they hold is counted for `namespace`. With `rollback`
        it keeps the ids of its tokens, so that any of them can be taken back (`crop`). Raises `Invalid` for models with layers that have no keys and
        values, and for a rollback of policies that read prompts in stages."""
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
        if rollback and getattr(policy, "stages", None) is not None:
            raise Invalid(f"the policy {policy.name!r} reads prompts in stages, which a rollback could not do again: leave one of the two out")
        memory = cls(layers, policy, Rollback(model) if rollback else None)
        memory.origin = origin_of(model)
        return memory

    @property
    def managed(self) -> list[MemoryLayer]:
        """The layers that the policy decides on."""
        return [layer for layer in self.layers if isinstance(layer, MemoryLayer)]

    @property
    def last_chunk(self) -> bool | None:
        """Whether the next tokens end a prompt: set it, and each layer settles as soon as it has attended to them, before the next layer grows.
        False: the prompt goes on after them. None: nothing was said, and their number tells (`drafts`)."""
        return next((layer.ends_prompt for layer in self.managed), None)

    @last_chunk.setter
    def last_chunk(self, value: bool | None) -> None:
        for layer in self.managed:
            layer.ends_prompt = value

    @property
    def drafts(self) -> int:
        """So many tokens given at once, or fewer, after others count as generated where nothing was said of them: set it to how many a speculative
        decoder verifies at a time, and policies observe each of them as if it had come by itself. More are a turn of a prompt."""
        return next((layer.drafts for layer in self.managed), 1)

    @drafts.setter
    def drafts(self, value: int) -> None:
        if value < 1:
            raise Invalid(f"drafts={value}: a token that comes by itself is always a generated one; give 1 or more")
        for layer in self.managed:
            layer.drafts = value

    @property
    def is_croppable(self) -> bool:
        """Whether the newest tokens can be taken back, however many, as if they had never come."""
        return self.rollback is not None or super().is_croppable

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the newest tokens, of which there are −`tokens_to_remove`, as transformers counts them. With `rollback` what is left is what it
        would be had they never come, for which it is read again where need be (`rollback.count`, `.seconds`). Raises `Invalid` for a positive number,
        for more than there are, and, with nothing changed, where they cannot be taken back."""
        count = -tokens_to_remove
        if count < 0:
            raise Invalid(f"crop({tokens_to_remove}): give how many tokens to take back as a negative number")
        if count > self.get_seq_length():
            raise Invalid(f"cannot take back {count} tokens: there are {self.get_seq_length()}")
        why = next((why for layer in self.layers if (why := _refusal(layer, count, self.rollback is not None))), None)
        if why is not None and self.rollback is not None:
            self.rollback.rebuild(self, count)
            return
        if why is not None:
            raise Invalid(f"cannot take back {count} tokens: {why}; make the memory with rollback=True, which reads again what is left, or fork() it "
                          "before what shall be taken back")  # fmt: skip
        super().crop(tokens_to_remove)
        if self.rollback is not None:
            self.rollback.forget(count)

    def reset(self) -> None:
        super().reset()
        if self.rollback is not None:
            self.rollback.clear()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        if self.rollback is not None:
            self.rollback.rows(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        if self.rollback is not None:
            self.rollback.rows(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.rollback is not None:
            self.rollback.repeat(repeats)

    def settle(self) -> None:
        """The prompt, or this turn of it, is read."""
        if self.rollback is not None and not all(layer.settled for layer in self.managed):
            self.rollback.events.append(SETTLED)
        with torch.no_grad():
            for layer in self.managed:
                layer.settle()

    def protect(self, start: int = 0, stop: int | None = None) -> None:
        """The tokens at positions `start` … `stop` (None: the last that was read) are never dropped, and count in the budget: instructions, say.
        `model(ids, cache=memory, protected=…)`, bool [B, t], says the same of tokens as they are read. Nothing to do for a policy that drops none.
        Raises `Invalid` where one of them is gone already: protect before more is read than the budget holds."""
        if PROTECTED not in self.policy.said:
            return
        stop = self.get_seq_length() if stop is None else stop
        for layer in self.managed:
            layer.protect(start, stop)
        if self.rollback is not None:
            self.rollback.events.append(Protected(start, stop))

    def nbytes(self) -> Bytes:
        """Of the tensors that all layers hold, and of the ids that a rollback keeps."""
        own = sum((layer.nbytes() for layer in self.managed), Bytes())
        sliding = [layer for layer in self.layers if not isinstance(layer, MemoryLayer) and layer.is_initialized]
        own += Bytes(far=0 if self.rollback is None else self.rollback.nbytes())
        return own + Bytes(sum(tensor.untyped_storage().nbytes() for layer in sliding for tensor in (layer.keys, layer.values)))

    def fork(self) -> KVMemory:
        """A memory that goes on by itself from here; parts that never change are shared, and in an arena whole pages, too. There it raises
        `OverQuota`, `StoreFull` where what is not shared does not fit."""
        landlord = next((layer.landlord.another() for layer in self.managed if layer.landlord is not None), None)
        layers = [layer.fork(landlord) if isinstance(layer, MemoryLayer) else copy.deepcopy(layer) for layer in self.layers]
        forked = KVMemory(layers, self.policy, None if self.rollback is None else self.rollback.fork())
        forked.origin = self.origin
        return forked

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


def _refusal(layer: Any, count: int, exact: bool) -> str | None:
    """Why the newest `count` tokens of a layer cannot be taken back; None: they can."""
    if isinstance(layer, MemoryLayer):
        return layer.refusal(count, exact)
    if count and layer.get_seq_length() >= layer.sliding_window and not layer.record_past:
        return f"layers that see {layer.sliding_window} tokens have let go of older ones"
    return None
