"""What a layer may hold near, as a share of what the full cache would take: the parameters of a policy that keep it, chosen by counting bytes.

For policies that keep near only what stands for tokens that lie far. Bytes are those of one row's tensors; `tests/activation/test_rationing.py` holds
them against what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mnemos.activation.coding import ENOUGH, GROUP
from mnemos.activation.planning import WIDTHS
from mnemos.activation.tail import room_for
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

NOTE = "ration"
"""The note of a layer that says what was chosen for it; it goes with a memory into files and forks."""
Way = dict[str, Any]
"""Parameters of a policy."""


@dataclass(frozen=True)
class Sizes:
    """A row of a layer: `tokens` seen, key-value `heads`, numbers of a key and of a value, bytes of a number."""

    tokens: int
    heads: int
    keys: int
    values: int
    number: int

    @classmethod
    def of(cls, layer: MemoryLayer, tokens: int) -> Sizes:
        """Of a layer whose longest row has so many tokens."""
        tail = layer.tail.part()
        return cls(tokens, len(tail.heads), tail.keys.shape[-1], tail.values.shape[-1], tail.keys.element_size())

    @property
    def token(self) -> int:
        """Bytes of a token as it came, in all heads."""
        return self.heads * (self.keys + self.values) * self.number

    @property
    def full(self) -> int:
        """Bytes of all tokens as they came."""
        return self.tokens * self.token

    def tail(self, tokens: int) -> int:
        """Bytes of a tail with room for so many, positions included."""
        return room_for(tokens) * (self.token + 4)

    def summaries(self, chunks: int, numbers: int, bits: int) -> int:
        """Bytes of what stands near for chunks, by `numbers` for each head, and of which are scored."""
        codes, frame = chunks * -(-numbers * bits // 8), 2 * numbers * self.number
        return self.heads * (codes + frame + -(-chunks // 8)) + 8

    @property
    def frame(self) -> int:
        """Bytes, at most, of one more frame, which each `ENOUGH` tokens that are generated may ask for."""
        return 2 * self.heads * (self.keys + self.values) * self.number + 8

    def buffer(self, chunks: int, chunk: int) -> int:
        """Bytes of chunks that each head keeps from the step before."""
        return chunks * (chunk * self.token + 8 * self.heads)

    def rounded(self, tokens: int, bits: Sequence[int], group: int) -> int:
        """Bytes of so many tokens in few bits, for each head its own, with scales and zeros; positions not counted."""
        groups, narrow = -(-tokens // group), min(group, -(-self.values // 8) * 8)
        shared = self.keys * groups * group, tokens * -(-self.values // narrow) * narrow  # places of keys and of values
        return sum(sum(shared) * width // 8 for width in bits) + 4 * len(bits) * (shared[0] // group + shared[1] // narrow)

    def factors(self, tokens: int, rank: float, bits: int) -> int:
        """Bytes of keys as coefficients in few bits, and of their directions."""
        width = self.heads * self.keys
        directions, group = min(width, max(1, math.ceil(rank * width))), min(GROUP, -(-self.keys // 8) * 8)
        return tokens * (-(-directions * bits // 8) + 1) + directions * self.heads * -(-self.keys // group) * (group + 4)


def chosen(layer: MemoryLayer, name: str, near: float, tokens: int, ways: Iterable[Way], bytes_of: Callable[[Sizes, Way], int]) -> Mapping[str, Any]:
    """The first of these ways, best first, whose bytes are at most the share `near` of the full cache's: chosen once for a layer, for a row of so
    many tokens, and noted; so that as many more tokens, with the frames that they begin, stay within it. Raises `Invalid` where all take more."""
    if NOTE not in layer.notes:
        sizes = Sizes.of(layer, tokens)
        later, frames = replace(sizes, tokens=2 * tokens), 1 + -(-tokens // ENOUGH)
        taken = [(max(bytes_of(sizes, way) + sizes.frame, (bytes_of(later, way) + frames * sizes.frame) / 2), way) for way in ways]
        fit = next((way for size, way in taken if size <= near * sizes.full), None)
        if fit is None:
            least = math.ceil(1e4 * min(size for size, _ in taken) / sizes.full) / 1e4
            raise Invalid(f"{name}: {near:.4g} of the full cache's bytes cannot be kept at {tokens:,} tokens; the least there is {least}: give near= "
                          "that or more, or a longer context")  # fmt: skip
        layer.notes[NOTE] = fit
    return layer.notes[NOTE]  # type: ignore[no-any-return]


def affordable(total: int, layers: Sequence[Sizes], group: int = 32, recent: int = 32) -> float:
    """The bits for a number, on average, with which all layers take at most `total` bytes when a prompt was read, as `policies.kivi` stores them,
    each head in whichever of `WIDTHS`; what `planning.bits_of` divides. Raises `Invalid` where all in the fewest bits take more."""
    taken = {}
    for width in (min(WIDTHS), max(WIDTHS)):
        taken[width] = 0
        for its in layers:
            old = max(0, its.tokens - recent) // group * group
            taken[width] += its.rounded(old, [width] * its.heads, group) + 4 * old * its.heads + its.tail(its.tokens - old)
    (fewest, least), (most, largest) = taken.items()
    if total < least:
        raise Invalid(f"{total} bytes cannot hold {layers[0].tokens} tokens in {len(layers)} layers; {fewest} bits a number take {least}: give that "
                      "or more")  # fmt: skip
    return most if total >= largest else fewest + (most - fewest) * (total - least) / (largest - least)


def check(near: float | None, name: str, options: Mapping[str, Any], chooses: Iterable[str]) -> None:
    """Raises `Invalid` for a share that is none, and where an option is given, too, that is chosen by it."""
    if near is None:
        return
    if not 0 < near <= 1:
        raise Invalid(f"{name}: near is a share of the full cache's bytes in (0, 1], not {near}")
    if both := sorted(set(options) & set(chooses)):
        raise Invalid(f"{name}: near= chooses {', '.join(both)}: give one or the other")
