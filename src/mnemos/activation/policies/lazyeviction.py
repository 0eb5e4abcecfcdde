"""LazyEviction (arXiv 2506.15969): late and seldom, and what is due to come back stays.

In long reasoning a token that is attended to again after a gap will be again, within gaps of about that length. So each token has the step of its
last activation (attention above a threshold) and the longest gap between two of them, its maximum recurrence interval; and every W steps what is over
the budget goes, the W newest aside. A token's score is 2σ(−age / interval) + 2σ(−1 / interval): near its largest just after an activation, falling
the slower the longer the known gap, and larger for what once came back after long. (The second term grows with the interval; renderings of the paper
that read otherwise lose what the method claims.) What never came back has the first term alone, of interval 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Part
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import UNIFORM, Budget, Observes, Policy, Pruning
from mnemos.activation.tail import BLOCK
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

LAST, GAP = "lazy.last", "lazy.gap"
"""Marks, int32: the step of the last activation (0: nothing was generated since the token came), and the longest gap between two."""
PROMPT = "lazy.prompt"
"""The note that says up to which position [B] the prompt of each row reaches."""
WINDOW = "lazy.window"
"""The note that says how many steps pass between evictions, where that follows from the gaps."""
LEAST_WINDOW, QUANTILE, LONGEST = 32, 0.8, 8
"""The window is at least so long; it spans this share of the gaps; and a gap counts as no longer than so many windows."""


def activate(last: Tensor, gap: Tensor, attention: Tensor, threshold: float | Tensor, step: int) -> None:
    """Notes, in place, which tokens [B, h, n] were attended to above the threshold in this step. A new token's `last` has to be this step already."""
    since = (step - last).mul_(attention > threshold)
    torch.maximum(gap, since, out=gap)
    last.add_(since)


def recurrence_scores(last: Tensor, gap: Tensor, step: int, interval: bool = True, age: bool = True) -> Tensor:
    """The score of each token [...]; without `interval` or `age`, which ablations leave out, without that term."""
    lengths = gap.clamp_min(1).float()
    first = torch.sigmoid((last - step) / lengths)
    second = torch.sigmoid(-1 / lengths) * (gap > 0)
    return 2 * (first * age + second * interval)


@dataclass(frozen=True)
class Recurrence:
    """Ranks by activations. `threshold` is of attention; None: `share` of what each stored token would get of an even attention. Of query heads that
    share a key the largest attention counts. `prompt` stays whole where `protect` says so."""

    threshold: float | None = None
    share: float = 0.75
    interval: bool = True
    age: bool = True
    longest: int = LONGEST * 128
    protect: bool = False
    name = "lazyeviction"
    query_window = 0
    observes = Observes.DECODING
    query_aware = False

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        """Takes note of what the newest token attended to."""
        if all(GAP in piece.marks for piece in pieces):
            lasts, gaps = [piece.marks[LAST] for piece in pieces], [piece.marks[GAP] for piece in pieces]
        else:
            lasts, gaps = layer.marked(LAST, torch.int32), layer.marked(GAP, torch.int32)
        step = layer.seen
        if layer.generated:
            lasts[-1].narrow(2, -1, 1).fill_(step)
        else:  # the prompt's tokens, too, begin with the first step
            for last in lasts:
                last.masked_fill_(last == 0, step)
        for piece, last, gap, paid in zip(pieces, lasts, gaps, weights, strict=True):
            activate(last, gap, paid.select(3, -1).amax(2), self._least(layer, piece), step)

    def _least(self, layer: MemoryLayer, piece: Part) -> float | Tensor:
        """Attention above which a token is active; [B, h, 1] where rows or heads hold unequally many tokens."""
        if self.threshold is not None:
            return self.threshold
        if not layer.parts and layer.tail.whole:
            return self.share / layer.tail.length
        return self.share / layer.held_tokens()[:, list(piece.heads), None]

    def score(self, view: View) -> Tensor:
        if LAST not in view.marks:  # nothing was generated yet: the newer, the better
            return -view.ranks.float()
        gaps = view.marks[GAP].clamp_max(self.longest)
        scores = recurrence_scores(view.marks[LAST], gaps, view.layer.seen, self.interval, self.age)
        return scores.masked_fill(view.positions < view.layer.notes[PROMPT][:, None, None], 10.0) if self.protect else scores  # others are under 4


@dataclass(frozen=True)
class Lazy(Pruning):
    """Evicts every `every` steps; 0: as often as the gaps say, the `QUANTILE` of those that were seen, within `LEAST_WINDOW` and a third of the
    budget, the rows of a batch together. A prompt that is over the budget is compressed once, by the attention of its last queries.

    Without codecs, what is kept stands in the tail, where it is attended to and tracked in one piece."""

    @property
    def prompt_window(self) -> int:
        return Window().query_window

    def settle(self, layer: MemoryLayer) -> None:
        assert self.budget is not None
        window = min(Window().query_window, self._room(layer))
        Pruning(Window(window), self.budget, self.planner, self.codecs, window, self.sinks, block=self.block).settle(layer)
        if layer.parts and not self.codecs:
            layer.replace([], layer.view().part)
        layer.notes[PROMPT], layer.notes["lazy.waited"] = layer.view().positions.amax((1, 2)) + 1, 0

    def step(self, layer: MemoryLayer) -> None:
        assert self.budget is not None
        window = self.every or int(layer.notes.get(WINDOW, self._within(LEAST_WINDOW, layer)))
        layer.notes["lazy.waited"] = layer.notes.get("lazy.waited", 0) + 1
        if layer.notes["lazy.waited"] < window:
            return
        layer.notes["lazy.waited"] = 0
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
        stays = (view.ranks < self.recent) | (view.ages < self.sinks)
        best = self.scorer.score(view).masked_fill(stays, torch.inf).masked_fill(view.positions < 0, -torch.inf).topk(budget, -1)
        index = best.indices.masked_fill(best.values == -torch.inf, -1).sort(-1).values
        layer.parts = []
        layer.tail.hold(view.part.take(pad(index, (0, BLOCK), value=-1)), BLOCK)  # room for the next tokens, so that nothing is copied twice
        return True

    def _within(self, window: int, layer: MemoryLayer) -> int:
        assert self.budget is not None
        return max(LEAST_WINDOW, min(window, self._room(layer)))

    def _room(self, layer: MemoryLayer) -> int:
        """A third of the budget, or what the sinks leave of it."""
        assert self.budget is not None
        budget = self.budget.of(layer.seen)
        return max(1, min(budget // 3, budget - self.sinks - 1))


def make(tokens: int, window: int = 0, sinks: int = 4, protect: bool = False, threshold: float | None = None, **terms: Any) -> Policy:
    """Holds `tokens` and, between evictions, up to `window` more (0: found out while generating). `sinks` tokens from the beginning stay, or, with
    `protect`, all of the prompt."""
    least = max(window, LEAST_WINDOW if not window else 0)
    if window < 0 or tokens <= least + sinks:
        raise Invalid(f"a budget of {tokens} tokens has no room beside a window of {window or least} and {sinks} sinks")
    return Lazy(Recurrence(threshold, protect=protect, **terms), Budget(tokens), recent=max(1, window), sinks=sinks, every=window)
