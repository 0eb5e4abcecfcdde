"""LazyEviction (arXiv 2506.15969): late and seldom, and what is due to come back stays.

In long reasoning a token that is attended to again after a gap will be again, within gaps of about that length. So each token has the step of its
last activation (attention above a threshold) and the longest gap between two of them, its maximum recurrence interval; and every W steps what is over
the budget goes, the W newest aside. A token's score is 2σ(−age / interval) + 2σ(−1 / interval): near its largest just after an activation, falling
the slower the longer the known gap, and larger for what once came back after long. (The second term grows with the interval; renderings of the paper
that read otherwise lose what the method claims.) What never came back has the first term alone, of interval 1.

Two things are ours: the threshold is found out where none is given; and what was silent for many times its interval is no longer due, so that what
was used a few times in a row and never again does not stay for good.

What goes may be put aside, not dropped (`demote`), and comes back before it is expected; why it went may be logged (`audit`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mnemos.activation import evictions
from mnemos.activation.activations import GAP, LAST, Recurrence, put_off
from mnemos.activation.chunks import place_of
from mnemos.activation.demoted import SLOT, Copies, Demoted
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Marks, joined
from mnemos.activation.policies.snapkv import Window
from mnemos.activation.policy import PROTECTED, UNIFORM, Budget, Policy, Pruning
from mnemos.activation.tail import BLOCK
from mnemos.activation.view import View
from mnemos.base.errors import Invalid
from mnemos.base.recurrence import MARGIN, is_due

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory

SEEN, WAITED = "lazy.seen", "lazy.waited"
"""Notes: how many tokens had come by after the last prompt or step; steps since the last eviction."""
WINDOW = "lazy.window"
"""The note that says how many steps pass between evictions, where that follows from the gaps."""
LEAST_WINDOW, QUANTILE = 32, 0.8
"""The window is at least so long; and it spans this share of the gaps."""


@dataclass(frozen=True)
class Lazy(Pruning):
    """Evicts every `every` steps; 0: as often as the gaps say, the `QUANTILE` of those that were seen, within `LEAST_WINDOW` and a third of the
    budget, the rows of a batch together. A prompt that is over the budget is compressed once, by the attention of its last queries.

    Without codecs, what is kept stands in the tail, where it is attended to and tracked in one piece. Prompts stay whole where `protect` says so,
    and count in the budget.

    `demote`: what goes lies far, in the host's memory or, with `folder`, in files there, and comes back when it is expected before the next eviction,
    `margin` of its gap early; of what is due, what is expected later than that goes first then, and with `eager`, of everything. `audit`: so many
    evictions of each row are noted by each layer (`mnemos.activation.evictions`); 0: none."""

    protect: bool = False
    demote: bool = False
    margin: float = MARGIN
    eager: bool = False
    folder: str | None = None
    audit: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < 1 or self.audit < 0 or (self.folder is not None and not self.demote):
            raise Invalid(f"lazyeviction: margin is a share in [0, 1), not {self.margin}; audit is 0 or more, not {self.audit}; a folder is for "
                          "demote=True")  # fmt: skip
        if (self.demote or self.audit) and (self.codecs or self.planner is not UNIFORM):
            raise Invalid("lazyeviction: demote and audit are for tokens that are kept as they came, as many for each head: leave out codecs and "
                          "planner")  # fmt: skip

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
        if not self._notes_what_goes:
            Pruning(Window(window), self.budget, self.planner, self.codecs, window, self.sinks, block=self.block).settle(layer)
        elif layer.stored > self.budget.of(layer.seen):
            view = self._marked(layer)
            rated = Window(window).score(view)
            self._exchange(layer, view, rated, self._staying(view, window), torch.full_like(rated, evictions.PROMPT, dtype=torch.int32))
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
        if self._notes_what_goes:
            self._turn(layer, window)
        else:
            replace(self, recent=window)._choose(layer)

    @property
    def _notes_what_goes(self) -> bool:
        return self.demote or self.audit > 0

    def _turn(self, layer: MemoryLayer, window: int) -> None:
        """An eviction before which it is looked who went, or is to come, and why."""
        assert self.budget is not None
        budget, view = self.budget.of(layer.seen), self._marked(layer)
        last, gap, staying = view.marks[LAST], view.marks[GAP], self._staying(view, window)
        rated, reasons = self._recurrence.score(view), torch.full_like(last, evictions.LESS)
        due = is_due(torch, layer.seen - last, gap, self._recurrence.patience)
        reasons = reasons.masked_fill(~due, evictions.SILENT).masked_fill(gap == 0, evictions.ONCE)
        places = None
        if self.demote:
            rated, later = put_off(rated, last, gap, layer.seen, window, self.margin, self.eager, self._recurrence.patience)
            reasons = reasons.masked_fill(later, evictions.LATER)
            if isinstance(far := layer.aside.get(Demoted.kind), Demoted):
                far = layer.aside[Demoted.kind] = far.passed(layer.seen - window, layer.seen)
                places = far.expected(layer.seen, window, self.margin, (budget - int(staying.sum(-1).max())) // 2)
        if layer.stored > budget or (places is not None and places.shape[-1]):
            self._exchange(layer, view, rated, staying, reasons, places)

    def _marked(self, layer: MemoryLayer) -> View:
        """The layer, with all marks that tokens take along."""
        for name in (LAST, GAP, *((SLOT,) if self.demote else ())):
            layer.marked(name, torch.int32)
        return layer.view()

    def _staying(self, view: View, window: int) -> Tensor:
        """[B, G, n]: what may not go. Raises `Invalid` where it finds no room."""
        assert self.budget is not None
        staying = (view.ranks < window) | (view.ages < self.sinks)
        if PROTECTED in view.marks:
            like = torch.full_like(view.ranks[..., 0], window)
            self._find_room(view, like, torch.full_like(like, self.budget.of(view.layer.seen)))
            staying = staying | view.marks[PROTECTED]
        return staying & (view.positions >= 0)

    def _exchange(self, layer: MemoryLayer, view: View, rated: Tensor, staying: Tensor, reasons: Tensor, places: Tensor | None = None) -> None:
        """Keeps the best of a layer within the budget, beside what comes back from `places` [B, G, k] (−1: none); puts aside and logs what goes."""
        assert self.budget is not None
        near, far, came = view.part, layer.aside.get(Demoted.kind), 0
        scores = rated.masked_fill(staying, torch.inf).masked_fill(view.positions < 0, -torch.inf)
        if self.demote and not isinstance(far, Demoted):
            far = Demoted.none(near, place_of(self.folder, layer.place))
        if isinstance(far, Demoted) and places is not None and (came := places.shape[-1]):
            brought, far = far.bring(places, near)
            near, there = joined([brought, near]), brought.positions >= 0
            scores = torch.cat([torch.where(there, torch.inf, -torch.inf).to(scores), scores], -1)
            none = torch.zeros_like(brought.positions)
            self._log(layer, brought.positions, none, none + evictions.BACK, brought.marks)
        order = torch.arange(near.length, device=scores.device).expand_as(scores)
        count = min(self.budget.of(layer.seen), near.length)
        best = scores.double().add_(order, alpha=2.0**-40).topk(count, -1).indices  # of equal ones the older goes
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True)
        positions = near.positions.expand_as(scores)
        index = best.gather(-1, positions.gather(-1, best).argsort(dim=-1, stable=True))
        gone = _first(~kept[..., came:] & (view.positions >= 0))
        going = view.part.take(gone)
        layer.parts, spare = [], BLOCK if layer.generated else 0  # room for the next tokens, so that nothing is copied twice
        layer.tail.hold(near.take(pad(index, (0, spare), value=-1)), spare)
        if isinstance(far, Demoted):
            layer.aside[Demoted.kind] = far.put(going, layer.seen)
        there = gone.clamp_min(0)
        self._log(layer, going.positions, rated.gather(-1, there), reasons.gather(-1, there), going.marks)

    def _log(self, layer: MemoryLayer, positions: Tensor, scores: Tensor, reasons: Tensor, marks: Marks) -> None:
        if self.audit:
            log = layer.aside.get(evictions.Log.kind)
            log = log if isinstance(log, evictions.Log) else evictions.Log.none(positions.shape[0], self.audit)
            layer.aside[evictions.Log.kind] = log.add(layer.seen, positions, scores, reasons, marks[LAST], marks[GAP])

    def recover(self, layer: MemoryLayer, start: int, stop: int) -> None:
        """Brings tokens at positions `start` to before `stop` near that lie far; others go for them. Raises `Invalid` where they find no room."""
        assert self.budget is not None
        far = layer.aside.get(Demoted.kind)
        if not isinstance(far, Demoted) or not (places := far.within(start, stop)).shape[-1]:
            return
        self._recurrence.count(layer)
        view, window = self._marked(layer), self.every or int(layer.notes.get(WINDOW, LEAST_WINDOW))
        staying = self._staying(view, window) | ((view.positions >= start) & (view.positions < stop))
        if places.shape[-1] + (least := int(staying.sum(-1).max())) > (budget := self.budget.of(layer.seen)):
            raise Invalid(f"layer {layer.number}: a budget of {budget} tokens has no room for {places.shape[-1]} that come back beside {least} that "
                          "may not go: give more tokens=, or bring fewer")  # fmt: skip
        reasons = torch.full_like(view.marks[LAST], evictions.LESS)
        self._exchange(layer, view, self._recurrence.score(view), staying, reasons, places)

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
        more = {"demote": self.demote, "margin": self.margin, "eager": self.eager, "audit": self.audit} if self._notes_what_goes else {}
        return {**super().describe(), "protect": self.protect, **more}

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


def _first(some: Tensor) -> Tensor:
    """[B, G, n] bool → [B, G, m]: the places where it is True, −1 behind them where others have more."""
    order = some.int().argsort(dim=-1, descending=True, stable=True)[..., : int(some.sum(-1).max())]
    return order.masked_fill(~some.gather(-1, order), -1)


def recover(memory: KVMemory, start: int = 0, stop: int | None = None) -> None:
    """Brings the tokens at positions `start` … `stop` (None: the last that was read) near that were demoted; others go for them, within the budget.
    Raises `Invalid` for a policy that drops what goes, and where they find no room."""
    if not isinstance(policy := memory.policy, Lazy) or not policy.demote:
        raise Invalid(f"the policy {memory.policy.name!r} has put nothing aside: give lazyeviction the option demote=True")
    for layer in memory.managed:
        policy.recover(layer, start, memory.get_seq_length() if stop is None else stop)


def copies(memory: KVMemory) -> Copies:
    """What was put far and brought back so far, of all layers, rows and heads together."""
    far = [each for layer in memory.managed if isinstance(each := layer.aside.get(Demoted.kind), Demoted)]
    return Copies(**{field.name: sum(getattr(each.copies, field.name) for each in far) for field in fields(Copies)})


def make(tokens: int, window: int = 0, sinks: int = 4, protect: bool = False, threshold: float | None = None, demote: bool = False,
         margin: float = MARGIN, eager: bool = False, folder: str | None = None, audit: int = 0, **terms: Any) -> Policy:  # fmt: skip
    """Holds `tokens` and, between evictions, up to `window` more (0: found out while generating). `sinks` tokens from the beginning stay, or, with
    `protect`, all of the prompt. `demote`, `margin`, `eager`, `folder` and `audit` are those of `Lazy`, `terms` those of `Recurrence`."""
    least = max(window, LEAST_WINDOW if not window else 0)
    if window < 0 or tokens <= least + sinks:
        raise Invalid(f"a budget of {tokens} tokens has no room beside a window of {window or least} and {sinks} sinks")
    return Lazy(Recurrence(threshold, **terms), Budget(tokens), recent=max(1, window), sinks=sinks, every=window, protect=protect, demote=demote,
                margin=margin, eager=eager, folder=folder, audit=audit)  # fmt: skip
