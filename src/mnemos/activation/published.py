"""Which policies may shape what everybody goes on from, and how a request is held under any policy without reading all of it again.

What a policy drops, or chooses by the queries that it has seen, is right for the request that asked (LazyEviction, SnapKV, ThinK): the next question
would not find what this one did not need. So it never shapes what is kept of a text. It shapes the copy of a request, which begins with what was kept
in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.landmark.tokens import place_of
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Dense
from mnemos.activation.policies.landmark import Landmark
from mnemos.activation.policy import Observes, Policy
from mnemos.base.errors import Invalid
from mnemos.base.protocols import LanguageModel


def reason_against(policy: Policy) -> str | None:
    """Why what the policy keeps of a text must not be what everybody goes on from; None: it may be."""
    if getattr(policy, "folder", None) is not None:
        return "puts tensors into a folder of its own: what is kept lies in the store, and goes with it"
    if getattr(policy, "scorer", None) is not None or getattr(policy, "blocks", None) is not None:
        return "drops tokens for good, which another question may ask for"
    if _deletes_heads(policy):
        return "deletes heads for good"
    if _attends_itself(policy) and not isinstance(policy, Landmark):
        return "reads by another attention than the model's"
    if policy.query_aware or policy.prompt_window or policy.hears or policy.observes is not Observes.NOTHING:
        return "chooses by the queries that it has seen last, which are of one request"
    return None


def reads_in_full(policy: Policy) -> bool:
    """Whether, until it settles, the policy holds what a model without one would: all of it, as it came, and attended to in full."""
    return not _attends_itself(policy) and not _deletes_heads(policy)


def watched(policy: Policy, length: int) -> int:
    """How many of the last of `length` tokens have to be read under the policy, so that it decides as if it had seen all of them read."""
    if policy.hears or policy.observes is Observes.EVERYTHING or not reads_in_full(policy):
        return length
    return min(length, max(2, policy.prompt_window))  # one token by itself would count as generated


def empty(module: Any, policy: Policy) -> KVMemory:
    """One that has read nothing. Raises `Invalid` for landmarks on a model without them."""
    if not isinstance(policy, Landmark):
        return KVMemory.of(module, policy)
    if not isinstance(module, Landmarked) or module.policy.describe() != policy.describe():
        raise Invalid(f"the policy {policy.name!r} is for a model that has learnt landmarks, with the options that it was given "
                      "(mnemos.activation.landmark.module.Landmarked); any other is held by policy 'blocks'")  # fmt: skip
    return module.new_cache()


def body(module: Any) -> Any:
    """The module whose layers a memory is of."""
    return module.model if isinstance(module, Landmarked) else module


def place(policy: Policy, token: int) -> int:
    """The position of the token of this number, from 0, in what a policy's memory has read: landmarks stand between tokens."""
    return place_of(token, policy.block) if isinstance(policy, Landmark) else token


class Unsettled(KVMemory):
    """A memory's layers, which do not settle while more is read: the prompt goes on."""

    def __init__(self, memory: KVMemory) -> None:
        super().__init__(memory.layers, memory.policy, memory.rollback)
        self.origin = memory.origin

    @property
    def last_chunk(self) -> bool | None:
        return None

    @last_chunk.setter
    def last_chunk(self, value: bool | None) -> None:
        """Nothing ends here."""

    def settle(self) -> None:
        """Nothing has ended."""


def read_on(model: LanguageModel, tokens: Sequence[int], memory: KVMemory) -> Any:
    """Reads tokens after what the memory holds, which does not settle; gives what `prefill` gives, of the memory itself."""
    read: Any = model.prefill(list(tokens), Unsettled(memory))
    return replace(read, cache=memory)


def with_tokens(read: Any, tokens: Sequence[int]) -> Any:
    """What `prefill` gave after a memory that had read the beginning of one sequence, with all of its tokens: a penalty of repetition counts them,
    and a model that turns its keys differently from some length on reads them again there."""
    return replace(read, tokens=(tuple(tokens),))


def held_under(model: LanguageModel, tokens: Sequence[int], full: KVMemory, policy: Policy) -> KVMemory:
    """What `full`, a memory of the full policy, has read, as a memory of another policy that has not settled: the question is still to come. So many
    tokens are read again as the policy has to see, all of them where a layer's sight is limited; nothing is shared."""
    memory = empty(model.module, policy)
    again = watched(policy, len(tokens)) if len(full.managed) == len(full.layers) else len(tokens)
    if before := len(tokens) - again:
        fill(memory, [(layer.tail.keys[:, :, :before], layer.tail.values[:, :, :before]) for layer in full.managed])
    read_on(model, tokens[before:], memory)
    return memory


def fill(memory: KVMemory, states: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Lets an empty memory hold keys and values [1, G, n, d] of each layer as if it had just read them."""
    for layer, (keys, values) in zip(memory.managed, states, strict=True):
        length = keys.shape[2]
        layer.lazy_initialization(keys, values)
        positions = torch.arange(length, dtype=torch.int32, device=keys.device)[None, None]
        layer.tail.hold(Dense(keys.clone(), values.clone(), positions, range(keys.shape[1])))
        layer.seen, layer.settled = length, False


def _attends_itself(policy: Policy) -> bool:
    return type(policy).attend is not Policy.attend


def _deletes_heads(policy: Policy) -> bool:
    return policy.left(0) is not None
