"""LazyEviction (arXiv 2506.15969): late and seldom, and what is due to come back stays.

In long reasoning a token that is attended to again after a gap will be again, within gaps of about that length. So each token has the step of its
last activation (attention above a threshold) and the longest gap between two of them, its maximum recurrence interval; and every W steps what is over
the budget goes, the W newest aside. A token's score is 2σ(−age / interval) + 2σ(−1 / interval): near its largest just after an activation, falling
the slower the longer the known gap, and larger for what once came back after long. (The second term grows with the interval; renderings of the paper
that read otherwise lose what the method claims.) What never came back has the first term alone, of interval 1.

Two things are ours: the threshold is found out where none is given; and what was silent for many times its interval is no longer due, so that what
was used a few times in a row and never again does not stay for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.activations import activate, begun, counted, ones, recurrence_scores
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Part
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import PROTECTED, UNIFORM, Budget, Observes, Policy, Pruning
from mnemos.activation.tail import BLOCK
from mnemos.activation.view import View
from mnemos.base.errors import Invalid
from mnemos.base.recurrence import PATIENCE

LAST, GAP = "lazy.last", "lazy.gap"
"""Marks, int32: the step of the last activation (0: none was counted since the token came), and the longest gap between two."""
UNCOUNTED, FROM, STEPS, MOST = "lazy.uncounted", "lazy.from", "lazy.steps", 31
"""The mark, int32, whose bit i is the activation in the i-th of the steps that are not counted yet; notes that say which is the first of them and how
many there are, `MOST` at most. To note a bit in each step and to count seldom takes half the time of counting in each step."""
FEW = 4
"""Steps that are counted sooner one by one than at once."""
SEEN, WAITED = "lazy.seen", "lazy.waited"
"""Notes: how many tokens had come by after the last prompt or step; steps since the last eviction."""
WINDOW = "lazy.window"
"""The note that says how many steps pass between evictions, where that follows from the gaps."""
LEAST_WINDOW, QUANTILE, LONGEST = 32, 0.8, 8
"""The window is at least so long; it spans this share of the gaps; and a gap counts as no longer than so many windows."""
THRESHOLD, CALLS, CALLED = "lazy.threshold", "lazy.calls", "lazy.called"
"""Notes, where the threshold is found out: what it is [B, G, 1], activations [B, G, 1] since it was last looked at, and in how many steps."""
LOOKED_AT, FACTORS, HIGHEST = 16, (0.25, 8.0), 0.5
"""The threshold is looked at after so many steps or more; how far it moves at a time; and the most that it becomes."""
MAX, MEAN = "max", "mean"
END, ATTENTION = "end", "attention"


@dataclass(frozen=True)
class Recurrence:
    """Ranks by activations. `threshold` is of attention; None: one for each head, which begins as `share` of what each stored token would get of an
    even attention and is moved until about one token a step is activated.

    `heads`: of query heads that share a key, the largest attention counts ("max", the paper's default) or the mean of all ("mean"). `prompt`: a
    prompt's tokens count as activated when it ended ("end"), or when its last `Window.query_window` queries activated them ("attention"), which are
    taken as if they were steps; what none of these did, with the first of them."""

    threshold: float | None = None
    share: float = 0.75
    heads: str = MAX
    prompt: str = END
    interval: bool = True
    age: bool = True
    longest: int = LONGEST * 128
    patience: float = PATIENCE
    name = "lazyeviction"
    query_window = 0
    observes = Observes.DECODING
    query_aware = False

    def __post_init__(self) -> None:
        if self.heads not in (MAX, MEAN) or self.prompt not in (END, ATTENTION):
            raise Invalid(f"lazyeviction: heads is {MAX!r} or {MEAN!r}, not {self.heads!r}; prompt is {END!r} or {ATTENTION!r}, not {self.prompt!r}")

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        """Takes note of what the newest token attended to."""
        if not all(UNCOUNTED in piece.marks for piece in pieces):
            for name in (LAST, GAP, UNCOUNTED):
                for piece, mark in zip(pieces, layer.marked(name, torch.int32), strict=True):
                    piece.marks[name] = mark
        notes, steps = layer.notes, layer.notes.get(STEPS, 0)
        if not steps:
            notes[FROM] = layer.seen
        for piece, paid in zip(pieces, weights, strict=True):
            piece.marks[UNCOUNTED].add_(self.active(layer, piece, paid), alpha=1 << steps)
        notes[STEPS] = steps + 1
        if steps + 1 == MOST:
            self.count(layer)

    def active(self, layer: MemoryLayer, piece: Part, paid: Tensor) -> Tensor:
        """[B, h, n]: which tokens of a piece the newest one, which paid it [B, h, g, 1, n] attention, activates."""
        return self.of_group(paid[..., -1, :]) > self.least(layer, piece)

    def of_group(self, paid: Tensor) -> Tensor:
        """[B, h, g, …] → [B, h, …]: what counts of the attention of query heads that share a key."""
        return paid.amax(2) if self.heads == MAX else paid.mean(2)

    def begin(self, layer: MemoryLayer, new: int) -> None:
        """The newest `new` tokens, all in the tail, are of a prompt: where its last queries say when they were activated, that is noted."""
        view = layer.view()
        if self.prompt == END or not new or view.queries is None:
            return
        paid = self.of_group(view.window_attention())[..., -new:]  # [B, G, w, n]
        last, gap = (layer.marked(name, torch.int32)[-1][..., -new:] for name in (LAST, GAP))
        first = layer.seen - paid.shape[2]
        last.copy_(torch.arange(layer.seen - new, layer.seen, device=last.device).clamp_min(first))
        least = self.least(layer, layer.tail.part())
        for number, row in enumerate(paid.unbind(2)):
            activate(last, gap, row, least, first + number)

    def count(self, layer: MemoryLayer) -> None:
        """Counts the steps that were only noted."""
        if steps := layer.notes.get(STEPS, 0):
            first = layer.notes[FROM]
            lasts, gaps, noted = (layer.marked(name, torch.int32) for name in (LAST, GAP, UNCOUNTED))
            begun(lasts, first, steps, max(0, layer.seen - first - steps))
            if THRESHOLD in layer.notes:
                self._look(layer, [ones(bits).sum(-1, keepdim=True) for bits in noted], steps)
            for last, gap, bits in zip(lasts, gaps, noted, strict=True):
                if steps > FEW:
                    counted(last, gap, bits, first)
                else:
                    for number in range(steps):
                        activate(last, gap, bits & (1 << number), 0, first + number)
                bits.zero_()
            layer.notes[STEPS] = 0

    def least(self, layer: MemoryLayer, piece: Part) -> float | Tensor:
        """Attention above which a token is active, [B, h, 1] where it is found out."""
        if self.threshold is not None:
            return self.threshold
        if THRESHOLD not in layer.notes:
            layer.notes[THRESHOLD] = (self.share / layer.held_tokens()).unsqueeze(-1)
            layer.notes[CALLS], layer.notes[CALLED] = torch.zeros_like(layer.notes[THRESHOLD]), 0
        found: Tensor = layer.notes[THRESHOLD]
        return found if len(piece.heads) == found.shape[1] else found[:, list(piece.heads)]

    def _look(self, layer: MemoryLayer, calls: Sequence[Tensor], steps: int) -> None:
        """Moves the threshold where there were less than half an activation a step, or more than two."""
        notes = layer.notes
        for piece, its in zip(layer.pieces(), calls, strict=True):
            notes[CALLS][:, list(piece.heads)] += its
        notes[CALLED] += steps
        if notes[CALLED] >= LOOKED_AT:
            rate = notes[CALLS] / notes[CALLED]
            moved = (notes[THRESHOLD] * rate.clamp(*FACTORS)).clamp_max(HIGHEST)
            notes[THRESHOLD] = torch.where((rate < 0.5) | (rate > 2), moved, notes[THRESHOLD])
            notes[CALLS], notes[CALLED] = torch.zeros_like(rate), 0

    def score(self, view: View) -> Tensor:
        if LAST not in view.marks:  # nothing was generated yet: the newer, the better
            return -view.ranks.float()
        last, gap, notes = view.marks[LAST], view.marks[GAP], view.layer.notes
        if steps := notes.get(STEPS, 0):
            last, gap = last.clone(), gap.clone()
            begun([last], notes[FROM], steps, max(0, view.layer.seen - notes[FROM] - steps))
            counted(last, gap, view.marks[UNCOUNTED], notes[FROM])
        return recurrence_scores(last, gap.clamp_max(self.longest), view.layer.seen, self.interval, self.age, self.patience)


@dataclass(frozen=True)
class Lazy(Pruning):
    """Evicts every `every` steps; 0: as often as the gaps say, the `QUANTILE` of those that were seen, within `LEAST_WINDOW` and a third of the
    budget, the rows of a batch together. A prompt that is over the budget is compressed once, by the attention of its last queries.

    Without codecs, what is kept stands in the tail, where it is attended to and tracked in one piece. Prompts stay whole where `protect` says so,
    and count in the budget."""

    protect: bool = False

    @property
    def prompt_window(self) -> int:
        return Window().query_window

    @property
    def least(self) -> int:
        return (self.every or LEAST_WINDOW) + self.sinks + 1

    @property
    def _recurrence(self) -> Recurrence:
        assert isinstance(self.scorer, Recurrence)
        return self.scorer

    def settle(self, layer: MemoryLayer) -> None:
        assert self.budget is not None
        self._recurrence.count(layer)
        new = layer.seen - layer.notes.get(SEEN, 0)
        if self.protect and new:
            layer.tail.mark(PROTECTED, torch.bool)[..., -new:] = True
        self._recurrence.begin(layer, new)
        window = min(Window().query_window, self._room(layer))
        Pruning(Window(window), self.budget, self.planner, self.codecs, window, self.sinks, block=self.block).settle(layer)
        if layer.parts and not self.codecs and self.planner is UNIFORM:  # heads that keep unequally many would be filled up in one piece
            layer.replace([], layer.view().part)
        layer.notes[SEEN], layer.notes[WAITED] = layer.seen, 0
        if WINDOW in layer.notes:  # what is protected since may leave less room
            layer.notes[WINDOW] = self._within(int(layer.notes[WINDOW]), layer)

    def step(self, layer: MemoryLayer) -> None:
        assert self.budget is not None
        if not self.every and WINDOW not in layer.notes:
            layer.notes[WINDOW] = self._within(LEAST_WINDOW, layer)
        window = self.every or int(layer.notes[WINDOW])
        layer.notes[SEEN], layer.notes[WAITED] = layer.seen, layer.notes.get(WAITED, 0) + 1
        if layer.notes[WAITED] < window:
            return
        layer.notes[WAITED] = 0
        self._recurrence.count(layer)
        if not self.every:
            gaps = torch.cat([gap.flatten() for gap in layer.marked(GAP)])
            if bool((gaps > 0).any()):
                layer.notes[WINDOW] = self._within(int(gaps[gaps > 0].float().quantile(QUANTILE)), layer)
        replace(self, recent=window)._choose(layer)

    def _choose(self, layer: MemoryLayer) -> bool:
        if self.codecs or self.planner is not UNIFORM or self.budget is None or self.scorer is None:
            return super()._choose(layer)
        budget = self.budget.of(layer.seen)
        if layer.stored <= budget:
            return False
        view = layer.view()
        scores, count = self.scorer.score(view), view.part.length
        if layer.tail.whole and not layer.parts:
            scores[..., : self.sinks] = scores[..., count - self.recent :] = torch.inf
        else:
            scores = scores.masked_fill((view.ranks < self.recent) | (view.ages < self.sinks), torch.inf).masked_fill(view.positions < 0, -torch.inf)
        if PROTECTED in view.marks:
            self._find_room(view, torch.full_like(scores[..., 0], self.recent), torch.full_like(scores[..., 0], budget))
            scores = scores.masked_fill(view.marks[PROTECTED] & (view.positions >= 0), torch.inf)
        places = torch.arange(count, device=scores.device).expand_as(scores)
        scores = scores.double().add_(places, alpha=2.0**-40)  # of equal ones the older goes
        dropped = scores.topk(count - budget, -1, largest=False, sorted=False).indices  # few, so that nothing large is sorted
        kept = torch.ones_like(scores, dtype=torch.bool).scatter_(-1, dropped, False)
        index = places[kept].view(*kept.shape[:2], budget)
        layer.parts = []
        layer.tail.hold(view.part.take(pad(index, (0, BLOCK), value=-1)), BLOCK)  # room for the next tokens, so that nothing is copied twice
        return True

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "protect": self.protect}

    def _within(self, window: int, layer: MemoryLayer) -> int:
        assert self.budget is not None
        return max(LEAST_WINDOW, min(window, self._room(layer)))

    def _room(self, layer: MemoryLayer) -> int:
        """A third of the budget, or what the sinks and what is protected leave of it. Raises `Invalid` where a window that is given has no room."""
        assert self.budget is not None
        view = layer.view()
        budget, staying = min(self.planner.plan(view, self.budget.of(layer.seen))), self.sinks
        if PROTECTED in view.marks:
            staying = max(staying, int((view.marks[PROTECTED] & (view.positions >= 0)).sum(-1).max()))
            if staying + (least := self.every or LEAST_WINDOW) > budget:
                raise Invalid(f"a budget of {budget} tokens has no room for {staying} that are protected and a window of {least}: "
                              "give more tokens=, or protect fewer")  # fmt: skip
        return max(1, min(budget // 3, budget - staying - 1))


def make(tokens: int, window: int = 0, sinks: int = 4, protect: bool = False, threshold: float | None = None, **terms: Any) -> Policy:
    """Holds `tokens` and, between evictions, up to `window` more (0: found out while generating). `sinks` tokens from the beginning stay, or, with
    `protect`, all of the prompt."""
    least = max(window, LEAST_WINDOW if not window else 0)
    if window < 0 or tokens <= least + sinks:
        raise Invalid(f"a budget of {tokens} tokens has no room beside a window of {window or least} and {sinks} sinks")
    return Lazy(Recurrence(threshold, **terms), Budget(tokens), recent=max(1, window), sinks=sinks, every=window, protect=protect)
