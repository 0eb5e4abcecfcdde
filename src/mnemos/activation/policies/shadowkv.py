"""ShadowKV (arXiv 2410.21465): keys stay near as coefficients in few directions, values lie far, and each step brings the chunks that it needs.

Nothing is forgotten: another question finds what the last one did not need. What stays near of a token is its share of a low-rank factor and of a
landmark, about an eighth of its keys and values; beside that the newest tokens, a few outlier chunks and the chunks picked last, as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mnemos.activation import rationing
from mnemos.activation.chunks import place_of
from mnemos.activation.coding import check_bits
from mnemos.activation.parts import Part
from mnemos.activation.policy import Budget, Policy
from mnemos.activation.rationing import Sizes, Way
from mnemos.activation.shadow.folding import Settings, fold
from mnemos.activation.shadow.part import Shadow
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer


PAPER = Budget(share=1 / 64)
"""1.56 % of the context."""
WAYS = ((1, 0.25, 4, 2), (1, 0.25, 4, 1), (2, 0.25, 4, 1), (4, 0.25, 4, 1), (8, 0.25, 4, 1), (8, 0.125, 4, 1))
"""Tokens of a chunk, directions as a share, bits of coefficients and of landmarks, from what is found best to what takes least."""
CHOSEN = ("chunk", "rank", "most_rank", "bits", "landmark_bits", "outliers", "residual", "flush", "reuse")
"""What `near` decides."""


@dataclass(frozen=True)
class ShadowKV(Policy):
    """Shares are of what is there; defaults are the paper's at 122K tokens, of 8 heads of 128 numbers."""

    budget: Budget = PAPER
    """Tokens that each key-value head brings at a step."""
    chunk: int = 8
    """Tokens that are picked together."""
    rank: float = 160 / 1024
    """Directions that keys are kept in, as a share of the numbers that all heads' keys of a token have; 1: keys are kept without loss."""
    most_rank: float = 0.25
    """To which share it may grow when tokens that are generated do not fit; 0: it stays, and such chunks are kept as they are."""
    outliers: float = 0.003
    """Share of chunks that are kept as they are, for their landmark stands for them worst."""
    local: int = 4
    """Newest whole chunks that are kept as they are."""
    flush: int = 256
    """Generated tokens after which those before the local ones are folded in."""
    residual: float = 0.1
    """What of a chunk's keys (the norm, as a share) generated tokens may lose to the basis; more, where the worst 1 % of the prompt's lose more."""
    exact_from: int = 256
    """Tokens which, given at once after a first prompt, see all that is stored; fewer have each their own choice of chunks."""
    reuse: bool = True
    """Whether chunks that are picked again are not brought again."""
    folder: str | None = None
    """Where values lie on disk; None: in the host's memory."""
    bits: int | None = None
    """Bits of each number of coefficients and landmarks: 1, 2, 4 or 8; None: as the model has them."""
    landmark_bits: int | None = None
    """Bits of landmarks, where they are others."""
    near: float | None = None
    """Share of the full cache's bytes, in the model's type, that is near at most whenever a prompt is settled or a token was generated: `CHOSEN` for
    the length of the first prompt, with no outliers, whose number nothing bounds; None: they are as given."""
    name = "shadowkv"
    unrotates = True

    def __post_init__(self) -> None:
        for name, least in (("chunk", 1), ("local", 0), ("flush", 1), ("exact_from", 2)):
            if getattr(self, name) < least:
                raise Invalid(f"shadowkv: {name} is {getattr(self, name)}, and has to be at least {least}")
        if not 0 < self.rank <= 1 or not 0 <= self.most_rank <= 1 or not 0 <= self.outliers < 1 or self.residual <= 0:
            raise Invalid(f"shadowkv: rank is a share in (0, 1], most_rank in [0, 1], outliers in [0, 1), residual more than 0; not {self.rank}, "
                          f"{self.most_rank}, {self.outliers}, {self.residual}")  # fmt: skip

        check_bits(self.bits, "shadowkv")
        check_bits(self.landmark_bits, "shadowkv, landmarks")

    def settle(self, layer: MemoryLayer) -> None:
        own = self
        if self.near is not None:
            tokens = int((layer.tail.positions >= 0).sum(-1).max())
            own = replace(self, near=None, **rationing.chosen(layer, self.name, self.near, tokens, self._ways(), self._bytes))
        fold(layer, own._settings(layer))

    def step(self, layer: MemoryLayer) -> None:
        if layer.generated % layer.notes.get(rationing.NOTE, {}).get("flush", self.flush) == 0:
            self.settle(layer)

    def _ways(self) -> Iterator[Way]:
        for chunk, rank, bits, landmark_bits in WAYS:
            for reuse in (True, False):
                for flush in (256, 64, 16, 8):
                    yield {"chunk": chunk, "rank": rank, "most_rank": rank, "bits": bits, "landmark_bits": landmark_bits, "outliers": 0.0,
                           "residual": math.inf, "flush": flush, "reuse": reuse}  # fmt: skip

    def _bytes(self, sizes: Sizes, way: Way) -> int:
        """What is near of a row, its tail as long as it becomes."""
        chunk = int(way["chunk"])
        chunks = max(0, sizes.tokens // chunk - self.local)
        kept = sizes.buffer(-(-self.budget.of(sizes.tokens) // chunk), chunk) if way["reuse"] else 0
        others = 8 + 4 + 2 * sizes.keys + 4  # counts, loss, and how keys are turned
        tail = sizes.tail((self.local + 1) * chunk - 1 + way["flush"])
        factors = sizes.factors(chunks * chunk, way["rank"], way["bits"])
        return sizes.summaries(chunks, sizes.keys, way["landmark_bits"]) + factors + kept + others + tail

    def open(self, layer: MemoryLayer, part: Part, queries: Tensor, new: int) -> Part:
        if isinstance(part, Shadow) and new >= self.exact_from:
            return part.everything()
        return part.open(queries, layer.scaling)

    def _settings(self, layer: MemoryLayer) -> Settings:
        place = place_of(self.folder, layer.place)
        return Settings(self.budget, self.chunk, self.rank, self.most_rank, self.outliers, self.local, self.residual, self.reuse, place,
                        self.bits, self.landmark_bits or self.bits)  # fmt: skip

    def describe(self) -> dict[str, Any]:
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, (bool, int, float))}
        return {"policy": self.name, "budget": {"tokens": self.budget.tokens, "share": self.budget.share}, **numbers}


def make(tokens: int | None = None, share: float | None = None, **options: Any) -> Policy:
    """Brings `tokens` for each head at a step, or a `share` of those seen (1/64 where neither is given); options are those of `ShadowKV`."""
    rationing.check(options.get("near"), "shadowkv", options, CHOSEN)
    return ShadowKV(PAPER if tokens is None and share is None else Budget(tokens, share), **options)
