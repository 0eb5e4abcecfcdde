"""How a stream of tokens is cut into windows, and how many memory tokens stand for each (MemoRAG, arXiv 2409.05591, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from mnemos.base.errors import Invalid

RATIOS = (2, 4, 8, 16, 32)
"""Those that MemoRAG trains with."""
INTERLEAVED, APPENDED = "interleaved", "appended"
FULL, SEGMENT, STEP = "full", "segment", "step"


@dataclass(frozen=True)
class Windows:
    """Windows of `size` tokens, each of which becomes `size` / ratio memory tokens once it is full; until then its tokens stay as they came."""

    size: int = 2048
    """MemoRAG's; its configuration files say 1024."""
    ratio: int | tuple[int | None, ...] | None = 4
    """Tokens for which one memory token stands; None: the window stays as it is, and nothing is lost. Several: in turn, or by chance."""
    random: bool = False
    """Whether each window draws its ratio from several, rather than taking the next."""
    seed: int = 0
    """Of the draws; a window's ratio depends on this and its number alone."""
    place: str = INTERLEAVED
    """"interleaved": after every `ratio` tokens, and sees what stands before it; "appended": after the window."""
    coverage: str = FULL
    """What an appended memory token sees of its window: "full", all; "segment", the tokens that it stands for; "step", those and all before."""
    blind: bool = False
    """Whether memory tokens of a window do not see each other."""
    eager: bool = False
    """Whether interleaved memory tokens come at once, and the tokens after them in their window see them, as in MemoRAG's own code. Otherwise they
    come when the window is full: until then the model reads as if there were none, and what it says does not depend on the chunks it was given."""
    sinks: int = 0
    """First tokens of the stream that stay as they are in any case, before the first window (arXiv 2309.17453)."""
    parallel: int = 1
    """Whole windows, of those that are given at once, that are read without sight of each other, all after what was remembered before them; what is
    read next sees all of them. So they could be read by as many machines, or in any order."""

    def __post_init__(self) -> None:
        if self.size < 1 or self.sinks < 0:
            raise Invalid(f"windows of {self.size} tokens after {self.sinks} sinks cannot be: size has to be 1 or more, sinks 0 or more")
        if not self.ratios or any(ratio is not None and (ratio < 1 or self.size % ratio) for ratio in self.ratios):
            raise Invalid(f"a window of {self.size} tokens has to be divided by its ratio, and {self.ratio} does not: give a divisor, or None")
        if self.place not in (INTERLEAVED, APPENDED) or self.coverage not in (FULL, SEGMENT, STEP):
            raise Invalid(f"memory tokens stand {INTERLEAVED!r} or {APPENDED!r}, not {self.place!r}; their coverage is {FULL!r}, {SEGMENT!r} or "
                          f"{STEP!r}, not {self.coverage!r}")  # fmt: skip
        if self.place == INTERLEAVED and self.coverage == SEGMENT:
            raise Invalid("memory tokens that see only their own segment have to be appended: give place='appended'")
        if self.parallel < 1:
            raise Invalid(f"windows are read {self.parallel} at a time: give 1, one after the other, or more")
        if self.eager and self.place != INTERLEAVED:
            raise Invalid("only interleaved memory tokens can come before their window is full: give place='interleaved' with eager")

    @property
    def ratios(self) -> tuple[int | None, ...]:
        """All that a window may have."""
        return self.ratio if isinstance(self.ratio, tuple) else (self.ratio,)

    @property
    def compresses(self) -> bool:
        """Whether any window may become memory tokens."""
        return any(ratio is not None for ratio in self.ratios)

    def size_of(self, window: int) -> int:
        """Tokens of a window, by its number; where there are sinks, they are window 0."""
        return self.sinks if self.sinks and not window else self.size

    def ratio_of(self, window: int) -> int | None:
        """The ratio of a window; None where it stays as it is."""
        number = window - 1 if self.sinks else window
        if number < 0:
            return None
        if self.random:
            return Random(f"{self.seed} {number}").choice(self.ratios)
        return self.ratios[number % len(self.ratios)]

    def slots_of(self, window: int) -> int:
        """Positions that a window takes once it is full."""
        size, ratio = self.size_of(window), self.ratio_of(window)
        return size if ratio is None else size // ratio

    def positions(self, tokens: int) -> int:
        """Positions that a memory takes after so many tokens: ⌊n / w⌋ · w / r, and what is left of the last window."""
        held, window = 0, 0
        while tokens >= (size := self.size_of(window)):
            held, tokens, window = held + self.slots_of(window), tokens - size, window + 1
        early = (ratio := self.ratio_of(window)) if self.eager else None
        return held + tokens + (tokens // ratio if early else 0)  # type: ignore[operator]

    def describe(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        values = asdict(self) | {"ratio": list(self.ratio) if isinstance(self.ratio, tuple) else self.ratio}
        if self.parallel == 1:
            del values["parallel"]  # what was described before there was such a field is the same
        return values

    @classmethod
    def described(cls, values: dict[str, Any]) -> Windows:
        """Undoes `describe`."""
        ratio = values["ratio"]
        return cls(**{**values, "ratio": tuple(ratio) if isinstance(ratio, list) else ratio})


def smallest_ratio(tokens: int | Sequence[int], positions: int, size: int = 2048, ratios: Sequence[int] = RATIOS, sinks: int = 0) -> int | None:
    """The smallest ratio by which so many tokens, in windows of `size` after `sinks`, fit `positions` of a model, one more window for the question
    among them; None where they fit as they are. Several numbers: of documents, each of which has windows of its own, and ends its last. Raises
    `Invalid` where none suffices."""
    each = (tokens,) if isinstance(tokens, int) else tuple(tokens)
    if sinks + sum(each) + size <= positions:
        return None
    for ratio in sorted(ratios):
        if isinstance(tokens, int):
            held = tokens // size * (size // ratio)  # what does not fill a window is of the one more
        else:
            held = sum(length // size * (size // ratio) + -(-(length % size) // ratio) for length in each)
        if size % ratio == 0 and sinks + held + size + size // ratio <= positions:
            return ratio
    raise Invalid(f"{sum(each):,} tokens do not fit {positions:,} positions at any ratio of {', '.join(map(str, sorted(ratios)))} with windows of "
                  f"{size:,}: give larger ratios, smaller windows, or a model with more positions")  # fmt: skip
