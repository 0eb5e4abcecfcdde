"""What a policy is, and the one that most are made of: score the tokens, plan how many each head keeps, keep the best, store them in a smaller form.

A policy is a value: all that it learns of a sequence stands in the layer (`notes`, and marks of tokens), so that layers can be copied, stored and
gone on with. A new one is a file in `policies/` with a `Scorer`, a `Planner` or a `Codec`, and one line in the table there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from mnemos.activation.parts import Dense, Part
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.deletion import Left
    from mnemos.activation.layer import MemoryLayer
    from mnemos.activation.view import View

PROTECTED = "protected"
"""The mark, bool, of tokens that are never dropped; the keyword of a forward pass that sets it, [B, t]."""


class Observes(Enum):
    """Which attention a policy has to see: seeing it costs what fused kernels save."""

    NOTHING = 0
    DECODING = 1
    EVERYTHING = 2


class Policy:
    """Keeps everything; the base of all. A layer calls these, in the order in which things happen."""

    name = "full"
    query_window: int = 0
    """So many of the newest queries the layer keeps for `View.window_attention`."""
    observes: Observes = Observes.NOTHING
    query_aware: bool = False
    """Whether what is kept depends on the question that stands at the end of the prompt."""
    unrotates: bool = False
    """Whether it needs keys as they are before rotation: its layers know their `rotation` then."""
    weighs: bool = False
    """Whether it needs to know what the model makes of each component of values: its layers know their `output` then."""
    hears: bool = False
    """Whether it takes note of the queries of prompts, in `hear`."""

    said: tuple[str, ...] = ()
    """Keywords of a forward pass that say something of each new token, [B, t], such as `model(ids, cache=…, landmarks=…)`: a layer keeps it as the
    marks of that name."""

    def left(self, number: int) -> Left | None:
        """What is left of the heads of layer `number`; None: all of them. The same as long as the layer lives."""
        return None

    @property
    def prompt_window(self) -> int:
        """So many of the newest queries the layer keeps while a prompt is read; those over `query_window` go when the policy has settled."""
        return self.query_window

    def open(self, layer: MemoryLayer, part: Part, queries: Tensor, new: int) -> Part:
        """What queries [B, h, g, t, d], some of the `new` ones that were given at once, shall see of a part."""
        return part.open(queries, layer.scaling)

    def hear(self, layer: MemoryLayer, queries: Tensor, positions: Tensor) -> None:
        """New queries [B, H, t, d] of a prompt, rotated for their positions [B, t] (−1: padding)."""

    def attend(self, layer: MemoryLayer, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        """What queries [B, H, t, d] of the newest tokens, which stand in the tail, get [B, H, t, d], where it is not the plain softmax over parts and
        tail; `mask` [B, 1, t, t] as `MemoryLayer.attend` has it. None: it is."""
        return None

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        """What new queries attended to: for each piece of the layer, [B, h, g, t, n]."""

    def settle(self, layer: MemoryLayer) -> None:
        """The prompt, or this turn of it, is read."""

    def step(self, layer: MemoryLayer) -> None:
        """A token was generated and stands in the tail."""

    def describe(self) -> dict[str, Any]:
        """Plain values that say what the policy is; equal for policies that do the same."""
        return {"policy": self.name}


FULL = Policy()


class Scorer(Protocol):
    """Ranks tokens. One that watches attention has `observe(layer, pieces, weights)`, too, and keeps what it needs in marks."""

    @property
    def name(self) -> str: ...
    @property
    def query_window(self) -> int: ...
    @property
    def observes(self) -> Observes: ...
    @property
    def query_aware(self) -> bool: ...

    def score(self, view: View) -> Tensor:
        """[B, G, n], larger is better; absent tokens and those kept anyway may have any score."""
        ...


class Planner(Protocol):
    """Divides a budget among heads."""

    @property
    def name(self) -> str: ...

    def plan(self, view: View, budget: int) -> Sequence[int]:
        """For each of G heads, how many tokens it keeps; G × `budget` in sum over the layer, or over all layers where it says so."""
        ...


class Codec(Protocol):
    """Stores a part in a smaller form. One that `weighs` needs to know the layer's `output`; one that has `revise(layer)` is asked
    before a turn that was read is encoded, and after each generated token."""

    @property
    def name(self) -> str: ...
    @property
    def query_window(self) -> int: ...

    def encode(self, part: Part, view: View) -> Sequence[Part]:
        """The same tokens in its form, for `part.heads`, in one part or, where heads differ, in several; `view` is of the whole layer as it was when
        they were chosen."""
        ...


class Uniform:
    """As many for each head."""

    name = "uniform"

    def plan(self, view: View, budget: int) -> Sequence[int]:
        return [budget] * view.heads


UNIFORM = Uniform()


@dataclass(frozen=True)
class Budget:
    """How many tokens a head keeps on average: a number, or a share of those seen. One of the two."""

    tokens: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.share is None):
            raise Invalid("a budget is either a number of tokens or a share of those seen: give one of tokens= and share=")
        if self.tokens is not None and self.tokens < 1:
            raise Invalid(f"a budget of {self.tokens} tokens keeps nothing; give at least 1")
        if self.share is not None and not 0 < self.share <= 1:
            raise Invalid(f"a budget is a share in (0, 1], not {self.share}")

    def of(self, seen: int) -> int:
        """Tokens a head, of `seen`."""
        return self.tokens if self.tokens is not None else max(1, round(self.share * seen))  # type: ignore[operator]

    def of_rows(self, view: View) -> Tensor:
        """[B]: of each row of a layer, by what it has seen itself."""
        return torch.tensor([self.of(int(seen)) for seen in view.positions.amax((1, 2)) + 1], device=view.positions.device)


@dataclass(frozen=True)
class Pruning(Policy):
    """Keeps the best tokens of each head within a budget, the newest `recent` and the first `sinks` in any case, and stores what it keeps by
    `codecs`.

    `every` 0: chosen once, when a prompt or turn is read; n: again after each n tokens that were generated, so that a layer never holds more than
    budget + n. Without a scorer nothing is dropped, and only codecs work. Where the budget is not less than what there is, nothing happens at all.
    """

    scorer: Scorer | None = None
    budget: Budget | None = None
    planner: Planner = UNIFORM
    codecs: tuple[Codec, ...] = ()
    recent: int = 32
    sinks: int = 0
    every: int = 0
    block: int = 32
    """Tokens that codecs encode at a time while generating."""

    def __post_init__(self) -> None:
        if min(self.recent, self.sinks, self.every) < 0 or self.block < 1:
            raise Invalid(f"recent={self.recent}, sinks={self.sinks} and every={self.every} have to be 0 or more, block={self.block} 1 or more")
        if (self.scorer is None) != (self.budget is None):
            raise Invalid("dropping tokens needs both a scorer, which ranks them, and a budget")
        if self.budget is not None and self.budget.tokens is not None and self.budget.tokens <= self.recent + self.sinks:
            raise Invalid(f"a budget of {self.budget.tokens} tokens has no room beside {self.recent} recent tokens and {self.sinks} sinks")
        for group in (getattr(codec, "group", 1) for codec in self.codecs):
            if self.block % group:
                raise Invalid(f"blocks of {self.block} tokens are no multiple of groups of {group}: their last groups would never be full")

    @property
    def name(self) -> str:  # type: ignore[override]
        names = [self.scorer.name] if self.scorer else []
        names += [self.planner.name] if not isinstance(self.planner, Uniform) else []
        return "+".join([*names, *(codec.name for codec in self.codecs)]) or "full"

    @property
    def query_window(self) -> int:  # type: ignore[override]
        return max([self.scorer.query_window if self.scorer else 0, *(codec.query_window for codec in self.codecs)])

    @property
    def least(self) -> int:
        """The fewest tokens that a head can be given: what stays in any case, and one more."""
        return self.recent + self.sinks + 1

    @property
    def said(self) -> tuple[str, ...]:  # type: ignore[override]
        return (PROTECTED,) if self.scorer else ()

    @property
    def observes(self) -> Observes:  # type: ignore[override]
        return self.scorer.observes if self.scorer else Observes.NOTHING

    @property
    def query_aware(self) -> bool:  # type: ignore[override]
        return bool(self.scorer and self.scorer.query_aware)

    @property
    def weighs(self) -> bool:  # type: ignore[override]
        return any(getattr(codec, "weighs", False) for codec in self.codecs)

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        if self.scorer is not None and (watch := getattr(self.scorer, "observe", None)) is not None:
            watch(layer, pieces, weights)

    def settle(self, layer: MemoryLayer) -> None:
        self._revise(layer)
        if not self._choose(layer):
            self._encode(layer)

    def step(self, layer: MemoryLayer) -> None:
        self._revise(layer)
        if self.every and layer.generated % self.every == 0 and self._choose(layer):
            return
        self._encode(layer)

    def _revise(self, layer: MemoryLayer) -> None:
        for codec in self.codecs:
            if (revise := getattr(codec, "revise", None)) is not None:
                revise(layer)

    def _choose(self, layer: MemoryLayer) -> bool:
        """Drops what is over the budget; says whether anything was."""
        if self.scorer is None or self.budget is None:
            return False
        budget = self.budget.of(layer.seen)
        if layer.seen <= budget:
            return False
        view = layer.view()
        own, stored = self.budget.of_rows(view), (view.positions >= 0).sum(-1)
        each = torch.tensor([list(self.planner.plan(view, its)) for its in own.tolist()], device=own.device)  # [B, G]
        within = (stored <= each).all(1) | (view.positions.amax((1, 2)) < own)  # rows that lose nothing: they are stored as if they stood alone
        if bool(within.all()):
            return False
        within, counts, scores = within[:, None], list(self.planner.plan(view, budget)), self.scorer.score(view)
        staying = torch.where(within, stored - self._given(stored), self.recent)
        if self.sinks:
            scores = scores.masked_fill(view.ages < self.sinks, torch.inf)
        if PROTECTED in view.marks:
            self._find_room(view, staying, torch.where(within, stored, each))
            scores = scores.masked_fill(view.marks[PROTECTED], torch.inf)
        scores = scores.masked_fill((view.positions < 0) | (view.ranks < staying[..., None]), -torch.inf)
        parts = []
        for count in sorted(set(counts), reverse=True):
            heads = [head for head, its in enumerate(counts) if its == count]
            others = (each[:, heads] - self.recent).clamp_min(0)
            kept = torch.where(within, (stored - staying)[:, heads], others)
            room = min(int(kept.max()), scores.shape[-1])
            best = scores[:, heads].topk(room, -1)
            none = (best.values == -torch.inf) | (torch.arange(room, device=scores.device) >= kept[..., None])
            parts.append(view.part.of_heads(heads).take(_in_order(best.indices.masked_fill(none, -1))))
        layer.replace([one for part in parts if part.length for one in self._encoded(part, view)], view.newest(staying))
        return True

    def _find_room(self, view: View, newest: Tensor, budgets: Tensor) -> None:
        """Raises `Invalid` where what may not go does not fit a head's budget [B, G]: protected tokens, sinks and the `newest` [B, G]."""
        staying = (view.positions >= 0) & (view.marks[PROTECTED] | (view.ages < self.sinks) | (view.ranks < newest[..., None]))
        needed = staying.sum(-1)
        if bool((needed > budgets).any()):
            row, head = (needed > budgets).nonzero()[0].tolist()
            raise Invalid(f"layer {view.layer.number}, head {head} may keep {int(budgets[row, head])} tokens, and {int(needed[row, head])} may not "
                          "go: the protected, the sinks and the newest; give a larger budget, or protect fewer")  # fmt: skip

    def _given(self, stored: Tensor) -> Tensor:
        """How many of its tokens leave the tail of a row that drops nothing: what `_encode` takes; where nothing is encoded, all but the newest."""
        over = (stored - self.recent).clamp_min(0)
        return over // self.block * self.block if self.codecs else over

    def _encode(self, layer: MemoryLayer) -> None:
        """Moves whole blocks of the tail's oldest tokens into encoded parts."""
        if not self.codecs or layer.tail.length < self.recent + self.block:
            return
        both = layer.tail.parted(self.recent, self.block)
        if both is None:
            return
        encoded = self._encoded(both[0], layer.view())  # while the tail is what the view shows
        layer.tail.hold(both[1])
        for part in encoded:
            place = next((at for at in reversed(range(len(layer.parts))) if layer.parts[at].heads == part.heads), None)
            join = None if place is None else getattr(layer.parts[place], "join", None)
            joined = None if join is None else join(part)
            if place is None or joined is None:
                layer.parts.append(part)
            else:
                layer.parts[place] = joined

    def _encoded(self, part: Dense, view: View) -> Sequence[Part]:
        encoded: Sequence[Part] = [part]
        for codec in self.codecs:
            encoded = [one for each in encoded for one in codec.encode(each, view)]
        return encoded

    def then(self, *codecs: Codec) -> Pruning:
        """The same, with what is kept stored by these codecs, one after the other: fewer channels before fewer bits."""
        return replace(self, codecs=(*self.codecs, *codecs))

    def describe(self) -> dict[str, Any]:
        budget = {} if self.budget is None else {"tokens": self.budget.tokens, "share": self.budget.share}
        stages = [_described(stage) for stage in (self.scorer, self.planner, *self.codecs) if stage is not None]
        numbers = {"recent": self.recent, "sinks": self.sinks, "every": self.every, "block": self.block}
        return {"policy": self.name, "budget": budget, "stages": stages, **numbers}


def _in_order(index: Tensor) -> Tensor:
    """Ascending, with −1 first: tokens stay in the order of their places."""
    return index.sort(-1).values


def _described(stage: Any) -> dict[str, Any]:
    if (own := getattr(stage, "describe", None)) is not None:
        said: dict[str, Any] = own()
        return said
    plain = {name: value for name, value in vars(stage).items() if isinstance(value, (bool, int, float, str))}
    return {"name": stage.name, **plain}
