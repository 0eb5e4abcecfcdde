"""Any policy of tokens, channels or bits, held to a share of the full cache's bytes: which of its parameters keep it is found by trying them.

Policies that put aside what they do not drop count their bytes beforehand (`rationing`). The others are tried: when the first prompt is read, a copy
of the layer is settled, and given tokens until the policy has chosen again, under one way after another; what the copy holds is measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnemos.activation.narrow import Thin
from mnemos.activation.parts import Part
from mnemos.activation.policy import Budget, Codec, Policy, Pruning
from mnemos.activation.quantised import Quantise
from mnemos.activation.rationing import NOTE, Sizes, check
from mnemos.activation.tail import Tail
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

STEPS = 64
"""Budgets that are looked at: so many even steps from the share itself downwards."""
AGAIN = 16
"""Generated tokens after which a policy chooses again that would choose once: all that is generated would stay otherwise."""
BITS = (8, 4, 2)
CHANNELS = ((0.2, 0.0), (0.3, 0.0), (0.4, 0.0), (0.5, 0.0), (0.6, 0.0), (0.5, 0.3), (0.6, 0.5), (0.7, 0.7), (0.8, 0.8))
"""Shares of the channels of keys and of values that go, from what loses least to what takes least."""


def within(made: Policy, near: float) -> Policy:
    """The same policy, with as many tokens, or, where it drops none, as many bits and channels, as `near`, a share of the full cache's bytes, has
    room for whenever a prompt is settled or a token was generated. Raises `Invalid` for what is no share, and for policies without such choices."""
    check(near, made.name, {}, ())
    if not isinstance(made, Pruning) or not (made.scorer or made.codecs):
        raise Invalid(f"{made.name}: near= chooses how many tokens, bits or channels are kept, and this policy has no such choice: leave it out")
    if made.scorer is not None:
        return Rationed(near, (replace(made, every=made.every or (AGAIN if made.codecs or not _lazy(made) else 0)),), made.name)
    return Rationed(near, tuple(_smaller(made)), made.name)


def _lazy(made: Pruning) -> bool:
    """Whether it finds out by itself when to choose again."""
    return type(made).step is not Pruning.step


def _smaller(made: Pruning) -> Iterator[Pruning]:
    """The same in all bits and channels that it might have, from what takes most to what takes least."""
    ways = []
    for bits in BITS if any(isinstance(codec, Quantise) for codec in made.codecs) else (16,):
        for keys, values in CHANNELS if any(isinstance(codec, Thin) for codec in made.codecs) else ((0.0, 0.0),):
            ways.append((bits * (2 - keys - values), replace(made, codecs=tuple(_as(codec, bits, keys, values) for codec in made.codecs))))
    yield from (way for _, way in sorted(ways, key=lambda both: -both[0]))


def _as(codec: Codec, bits: int, keys: float, values: float) -> Codec:
    if isinstance(codec, Thin):
        return replace(codec, share=keys, values=values)
    return replace(codec, bits=bits) if isinstance(codec, Quantise) else codec


def _its(name: str) -> Any:
    """What the ways say; they do not differ in it."""
    return property(lambda self: getattr(self.ways[-1], name))


@dataclass(frozen=True)
class Rationed(Policy):
    """One of `ways`, which take less and less: the first that fits. It is chosen by the length of the first prompt, and noted in the layer."""

    near: float
    ways: tuple[Pruning, ...]
    label: str

    query_window = _its("query_window")
    observes = _its("observes")
    query_aware = _its("query_aware")
    unrotates = _its("unrotates")
    weighs = _its("weighs")
    hears = _its("hears")
    said = _its("said")
    prompt_window = _its("prompt_window")
    scorer = _its("scorer")
    left = _its("left")
    stages = property(lambda self: getattr(self.ways[0], "stages", None))

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.label

    def chosen(self, layer: MemoryLayer) -> Pruning:
        """The way of a layer; the first, as long as none is chosen."""
        choice = layer.notes.get(NOTE, {"way": 0, "tokens": 0})
        way = self.ways[choice["way"]]
        its: Pruning = replace(way, budget=Budget(choice["tokens"])) if choice["tokens"] else way
        return its

    def hear(self, layer: MemoryLayer, queries: Tensor, positions: Tensor) -> None:
        self.chosen(layer).hear(layer, queries, positions)

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        self.chosen(layer).observe(layer, pieces, weights)

    def settle(self, layer: MemoryLayer) -> None:
        if NOTE not in layer.notes:
            layer.notes[NOTE] = self._choice(layer)
        self.chosen(layer).settle(layer)

    def step(self, layer: MemoryLayer) -> None:
        self.chosen(layer).step(layer)

    def _choice(self, layer: MemoryLayer) -> dict[str, int]:
        """The way, and its tokens a head where it drops some. Raises `Invalid` where all take more."""
        tokens = int((layer.tail.positions >= 0).sum(-1).max())
        choices = [{"way": number, "tokens": budget} for number, way in enumerate(self.ways) for budget in self._budgets(way, tokens)]
        low, high = 0, len(choices) - 1
        while low < high:  # what fits as soon as it has settled
            middle = (low + high) // 2
            low, high = (low, middle) if self._share(layer, choices[middle], 0) <= self.near else (middle + 1, high)
        while (share := self._share(layer, choices[low], None)) > self.near:  # and until it has chosen again
            if low == len(choices) - 1:
                raise Invalid(f"{self.label}: {self.near:.4g} of the full cache's bytes cannot be kept at {tokens:,} tokens; the least there is "
                              f"{math.ceil(1e4 * share) / 1e4}: give near= that or more, or a longer context")  # fmt: skip
            low = min(len(choices) - 1, low + max(1, int((share / self.near - 1) * STEPS)) if self.ways[0].scorer else low + 1)
        return choices[low]

    def _budgets(self, way: Pruning, tokens: int) -> list[int]:
        """Tokens a head, from many to few; 0 where none is dropped."""
        if way.scorer is None:
            return [0]
        least = (way.every or 32 if _lazy(way) else way.recent) + way.sinks + 1
        return sorted({max(least, math.floor(self.near * tokens * (1 - step / STEPS))) for step in range(STEPS)}, reverse=True)

    def _share(self, layer: MemoryLayer, choice: dict[str, int], steps: int | None) -> float:
        """The largest share of the full cache's bytes that a copy of the layer holds near, from when it has settled until so many tokens were
        generated; None: until it has chosen, or encoded, again."""
        trial = _copy(layer)
        trial.notes[NOTE] = choice
        trial.settle()
        way, keys, values = self.chosen(trial), layer.tail.keys[:, :, -1:], layer.tail.values[:, :, -1:]
        if steps is None:
            steps = 1 + (way.every or (choice["tokens"] // 3 if _lazy(way) else 0) or way.block)
        heads = layer.tail.heads if trial.recent.states is None else trial.recent.states.shape[1]
        queries, row = keys.repeat_interleave(heads // layer.tail.heads, 1), Sizes.of(layer, 1).token * len(keys)
        shares = [trial.nbytes().near / (row * trial.seen)]
        for _ in range(steps):
            trial.go_on(queries, keys, values, None, layer.scaling, None, layer.softcap)
            shares.append(trial.nbytes().near / (row * trial.seen))
        return max(shares)

    def describe(self) -> dict[str, Any]:
        return {"policy": self.label, "near": self.near, "ways": [way.describe() for way in self.ways]}


def _copy(layer: MemoryLayer) -> MemoryLayer:
    """The same layer in memory of its own, of no landlord's."""
    trial = copy.copy(layer)
    trial.landlord, trial.recent, trial.parts, trial.aside, trial.settled = None, copy.copy(layer.recent), [*layer.parts], {**layer.aside}, False
    trial.notes = {name: note.clone() if isinstance(note, Tensor) else copy.deepcopy(note) for name, note in layer.notes.items()}
    whole = layer.tail.part()
    trial.tail = Tail(whole.keys, whole.values, whole.positions, {name: mark.clone() for name, mark in whole.marks.items()})
    return trial
