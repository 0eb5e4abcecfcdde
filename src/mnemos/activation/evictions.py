"""The log of evictions of a layer: which token went when, with which score, and why. Bounded, far, and forgotten with its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mnemos.activation import aside
from mnemos.activation.chunks import Place
from mnemos.activation.parts import Bytes, size_of
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer
    from mnemos.activation.memory import KVMemory

PROMPT, ONCE, SILENT, LESS, LATER, BACK = range(6)
REASONS = (
    "the prompt's last queries attended to it less than to others",
    "it never came back",
    "it was silent for too many times its longest gap",
    "others were more due",
    "it is not expected before the next eviction",
    "it is expected back",
)
"""By number; the last one is of tokens that came back near."""
_FIELDS = ("step", "head", "position", "reason", "age", "gap")


@dataclass(frozen=True)
class Eviction:
    """One token of one head that went, or, where `back`, came back near. `step`: tokens that had come by; `age`: steps since its last activation (−1:
    no step had seen it), and `gap` its longest one between two (0: unknown); `sources`: what it is labelled as (`shadow.sources.label`)."""

    layer: int
    head: int
    position: int
    step: int
    score: float
    reason: str
    age: int
    gap: int
    back: bool
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f", of {', '.join(map(repr, self.sources))}" if self.sources else ""
        known = f"silent for {self.age} steps, longest gap {self.gap or 'unknown'}" if self.age >= 0 else "no step had seen it"
        did = f"{'brought back' if self.back else 'let go of'} token {self.position}{where}"
        return f"step {self.step}, layer {self.layer}, head {self.head}: {did}: {self.reason} ({known}; score {self.score:.3g})"


@dataclass(frozen=True)
class Log:
    """The newest `most` entries of each row: `entries` [B, m, 6] int32 (step −1: none) as `_FIELDS` names them, `scores` [B, m] float32."""

    most: int
    entries: Tensor
    scores: Tensor
    kind = "evictions"

    @classmethod
    def none(cls, rows: int, most: int) -> Log:
        """An empty one."""
        return cls(most, torch.zeros(rows, 0, len(_FIELDS), dtype=torch.int32), torch.zeros(rows, 0))

    def add(self, step: int, positions: Tensor, scores: Tensor, reasons: Tensor, last: Tensor, gaps: Tensor) -> Log:
        """With the tokens of all heads [B, G, m] that went at a step; positions of −1 are none, `last` of 0: no step had seen it."""
        there, heads = positions >= 0, torch.arange(positions.shape[1])[:, None]
        ages = (step - last.cpu()).masked_fill(last.cpu() == 0, -1)
        fields = (torch.full_like(positions, step).masked_fill(~there, -1), heads, positions, reasons, ages, gaps)
        new = torch.stack([field.cpu().to(torch.int32).expand(positions.shape) for field in fields], -1).flatten(1, 2)
        return self._of(torch.cat([self.entries, new], 1), torch.cat([self.scores, scores.float().cpu().flatten(1)], 1))

    def _of(self, entries: Tensor, scores: Tensor) -> Log:
        """The newest of these that are some, in their order; those of all rows end together."""
        there = entries[..., 0] >= 0
        length = min(self.most, int(there.sum(-1).max()))
        order = there.int().argsort(dim=1, stable=True)[:, entries.shape[1] - length :]
        return replace(self, entries=entries.gather(1, order[..., None].expand(-1, -1, entries.shape[2])), scores=scores.gather(1, order))

    def nbytes(self) -> Bytes:
        return Bytes(0, size_of(self.entries, self.scores))

    def rows(self, index: Tensor) -> Log:
        return replace(self, entries=self.entries.index_select(0, index.cpu()), scores=self.scores.index_select(0, index.cpu()))

    def without(self, row: int, start: int, stop: int, erase: bool) -> Log:
        gone = torch.zeros_like(self.scores, dtype=torch.bool)
        gone[row] = (self.entries[row, :, 2] >= start) & (self.entries[row, :, 2] < stop)
        return self._of(self.entries.masked_fill(gone[..., None], -1), self.scores.masked_fill(gone, 0))

    def moved(self, place: Place) -> Log:
        return self

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {"most": self.most}, {"entries": self.entries, "scores": self.scores}


def _load(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Log:
    return Log(int(plain["most"]), tensors["entries"].cpu(), tensors["scores"].cpu())


aside.register(Log.kind, _load)


def evictions(memory: KVMemory, row: int = 0) -> list[Eviction]:
    """What the layers noted of a row, by step and layer; `str` says each in words. Empty where nothing went. Raises `Invalid` for a policy that keeps
    no log."""
    if not getattr(memory.policy, "audit", 0):
        raise Invalid(f"the policy {memory.policy.name!r} keeps no log of evictions: give lazyeviction the option audit=, how many a layer keeps")
    found = []
    for layer in memory.managed:
        log = layer.aside.get(Log.kind)
        if isinstance(log, Log):
            found += _read(layer, log, row)
    return sorted(found, key=lambda each: (each.step, each.layer))


def _read(layer: MemoryLayer, log: Log, row: int) -> list[Eviction]:
    if not 0 <= row < len(log.entries):
        raise Invalid(f"the memory has no row {row}; it has {len(log.entries)}")
    names = layer.notes.get("sources", [])
    spans = [(names[number], start, stop) for number, start, stop in layer.notes["source_spans"][row].tolist() if number >= 0] if names else []
    out = []
    for (step, head, position, reason, age, gap), score in zip(log.entries[row].tolist(), log.scores[row].tolist(), strict=True):
        if step >= 0:
            its = tuple(name for name, start, stop in spans if start <= position < stop)
            out.append(Eviction(layer.number, head, position, step, score, REASONS[reason], age, gap, reason == BACK, its))
    return out
