"""Reading with sparse attention: of a prompt, each query sees some of what stands before it, and the rest is not computed at all.

Source: the sparse prefill of SCBench (arXiv 2412.10319, section 3): A-shape and Tri-shape, whose patterns are fixed, and MInference (arXiv
2407.02490), whose patterns follow the content. Only the reading of prompts is sparse: what is generated sees all that is kept, and what is kept
is the matter of another policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mnemos.activation.policy import FULL, Observes, Policy
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

PAIRS, DENSE, ESTIMATED = "sparse.pairs", "sparse.dense", "sparse.estimated"
"""Notes of a layer: pairs of a query and a key that were computed while prompts were read, of one query head on average; as many as dense attention
would have; and products of a query and what stands for a block of keys, which chose the blocks."""


@dataclass(frozen=True)
class Chosen:
    """What the queries `start` … `stop` of a prompt see: the places of keys [G, m], or [m] where all heads see the same, none twice; and which of
    them each query does, [stop − start, m], the same for all heads. `estimated`: products that it took to choose them, of one query head."""

    start: int
    stop: int
    places: Tensor | slice
    seen: Tensor | None
    estimated: int = 0


class Pattern(Protocol):
    """Which keys are computed for which queries."""

    def choose(self, queries: Tensor, keys: Tensor, scaling: float) -> list[Chosen]:
        """Of the newest queries [H, t, d] and all keys [G, n, d] of one sequence, without padding: blocks of queries that follow one another, from
        the first to the last."""
        ...


def read(queries: Tensor, keys: Tensor, values: Tensor, pattern: Pattern, scaling: float) -> tuple[Tensor, int, int]:
    """(Output [H, t, d], pairs, products of choosing.) Keys that a block of queries does not see are not touched."""
    output, pairs, estimated = torch.empty_like(queries), 0, 0
    for its in pattern.choose(queries, keys, scaling):
        if isinstance(its.places, slice) or its.places.dim() == 1:
            some, others = keys[:, its.places], values[:, its.places]
        else:
            heads = torch.arange(keys.shape[0], device=keys.device)[:, None]
            some, others = keys[heads, its.places], values[heads, its.places]
        asking = queries[None, :, its.start : its.stop]
        output[:, its.start : its.stop] = scaled_dot_product_attention(asking, some[None], others[None], attn_mask=its.seen, scale=scaling,
                                                                       enable_gqa=True)[0]  # fmt: skip
        pairs += (its.stop - its.start) * some.shape[1] if its.seen is None else int(its.seen.sum())
        estimated += its.estimated
    return output, pairs, estimated


def band(start: int, stop: int, before: int, sinks: int, local: int, device: Any) -> Chosen:
    """Queries `start` … `stop`, which stand `before` places further on, see the first `sinks` tokens and the newest `local`, themselves included."""
    first, last = before + start, before + stop
    low = max(0, first - local + 1)
    near = low <= sinks
    places = torch.arange(last, device=device) if near else torch.cat([torch.arange(sinks, device=device), torch.arange(low, last, device=device)])
    asking = torch.arange(first, last, device=device)[:, None]
    seen = (places <= asking) & ((places < sinks) | (asking - places < local))
    return Chosen(start, stop, slice(0, last) if near else places, seen)


def blocks(first: int, last: int, size: int) -> list[tuple[int, int]]:
    """Where blocks of that size begin and end, the last one perhaps shorter."""
    return [(start, min(start + size, last)) for start in range(first, last, size)]


def _causal(queries: Tensor) -> Tensor:
    """[t, t]."""
    return torch.ones(queries.shape[1], queries.shape[1], dtype=torch.bool, device=queries.device).tril()


def check_window(name: str, sinks: int, local: int) -> None:
    """Raises `Invalid` where a query would not see itself."""
    if sinks < 0 or local < 1:
        raise Invalid(f"{name}: sinks={sinks} has to be 0 or more, local={local} 1 or more, for a token sees itself")


def _kept(name: str) -> Any:
    """What the policy says that decides on what is kept."""
    return property(lambda self: getattr(self.kept, name))


@dataclass(frozen=True)
class Sparse(Policy):
    """Reads prompts by a pattern, and keeps what `kept` keeps: by itself, everything.

    Reading is dense where nothing would be saved, and, of later turns, where what is kept is no longer as it came. Raises `Invalid` for policies that
    have to see all attention, or have an attention of their own."""

    pattern: Pattern
    kept: Policy = FULL
    label: str = "sparse"

    query_window = _kept("query_window")
    observes = _kept("observes")
    query_aware = _kept("query_aware")
    unrotates = _kept("unrotates")
    weighs = _kept("weighs")
    hears = _kept("hears")
    said = _kept("said")
    prompt_window = _kept("prompt_window")
    left = _kept("left")
    open = _kept("open")
    hear = _kept("hear")
    observe = _kept("observe")
    settle = _kept("settle")
    step = _kept("step")

    def __post_init__(self) -> None:
        if self.kept.observes is Observes.EVERYTHING or type(self.kept).attend is not Policy.attend:
            raise Invalid(f"{self.label}: the policy {self.kept.name!r} sees all attention, or has its own: it cannot be read for sparsely")
        if getattr(self.kept, "stages", None) is not None:
            raise Invalid(f"{self.label}: the policy {self.kept.name!r} reads prompts in stages, which is sparse by itself: leave out floor")

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.label if self.kept is FULL else f"{self.label}, {self.kept.name}"

    def attend(self, layer: MemoryLayer, queries: Tensor, mask: Tensor | None) -> Tensor | None:
        new = queries.shape[2]
        if layer.parts or (new == 1 and layer.seen and not layer.ends_prompt):
            return None
        if layer.softcap is not None:
            raise Invalid(f"{self.label}: this model caps its attention, which no sparse reading does; leave the pattern out")
        tail, outputs, pairs, dense, estimated = layer.tail, [], 0, 0, 0
        if tail.positions.shape[1] != 1:
            return None  # heads hold unlike tokens: something was dropped
        for row, positions in enumerate(tail.positions[:, 0]):
            there = positions >= 0
            asking = there[-new:]
            whole = bool(there.all())
            keys, values = (tail.keys[row], tail.values[row]) if whole else (tail.keys[row][:, there], tail.values[row][:, there])
            some = queries[row] if whole else queries[row][:, asking]
            if mask is not None and not torch.equal(mask[row, 0][asking][:, asking], _causal(some)):
                raise Invalid(f"{self.label}: a mask of tokens that do not simply follow one another cannot be read for sparsely")
            count, length = some.shape[1], keys.shape[1]
            all_of_them = count * (length - count) + count * (count + 1) // 2
            output, its, looked = read(some, keys, values, self.pattern, layer.scaling) if count else (some, 0, 0)
            if not whole:
                output = queries.new_zeros(queries[row].shape).index_copy(1, asking.nonzero()[:, 0], output)
            outputs.append(output)
            pairs, dense, estimated = pairs + its, dense + all_of_them, estimated + looked
        for name, value in ((PAIRS, pairs), (DENSE, dense), (ESTIMATED, estimated)):
            layer.notes[name] = layer.notes.get(name, 0) + value
        return None if pairs == dense else torch.stack(outputs)  # where nothing was saved, the dense kernel's own numbers

    def describe(self) -> dict[str, Any]:
        return {"policy": self.name, "pattern": {"name": type(self.pattern).__name__, **vars(self.pattern)}, "kept": self.kept.describe()}
