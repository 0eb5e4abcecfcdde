"""Ledgers: long chains of sums, worked out line by line, whose earlier results are needed again, most after a short while and some after long gaps.

A line `+ A 5 = C 8` adds an earlier result (or takes it away) to the result of the line before, modulo 10. What the line is about, sign and names, is
given; its two numbers, the earlier result and the new one, are worked out: the first by looking it up, the second from the first and the line before.
So one look-up that fails makes all that follows wrong. Most lines work with one of the last results, which serves for a few lines and then never
again. Some results come back: once soon, then after gaps of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from mnemos.base.errors import Invalid
from mnemos.models.reference.language import START, SYMBOLS

LINE, FIRST = 6, 3
"""Words of a line; and of one of the first, which gives a name its number: `= A 5`."""


@dataclass(frozen=True)
class Shape:
    """What a ledger is made by. Gaps are of words, log-normal around `gap`; `spread` is of their logarithm."""

    firsts: int = 8
    """Names that begin with a number; all of them come back."""
    comes_back: float = 0.12
    """Share of the results of lines that come back."""
    gap: float = 200.0
    spread: float = 0.5
    least: float = 60.0
    most: float = 400.0
    soon: float = 1 / 3
    """Of its gap, after which a result comes back for the first time."""
    works: tuple[int, int] = (2, 5)
    """Lines, at least and at most, that a result which does not come back serves for."""


LEDGER = Shape()
SHORT = Shape(firsts=2, comes_back=0.0, gap=6.0, spread=0.3, least=6.0, most=10.0)
"""Nothing comes back after more than a few lines: where there is nothing to gain by knowing what will."""


@dataclass(frozen=True)
class Ledger:
    """`words` from `<s>` on; where the first lines end; `given[i]`, whether word i is given; and for each line after the first ones, how many words
    ago the name was last named that it looks up."""

    words: list[str]
    prompt: int
    given: list[bool]
    gaps: list[int]


def make(length: int, seed: int | str, shape: Shape = LEDGER) -> Ledger:
    """A ledger of at most `length` words; all of one length and shape have their numbers at the same places. Raises `Invalid` for a length that has
    no room for a line, or more lines than there are names."""
    rng = Random(f"ledger {length} {seed}")
    lines = (length - 1 - FIRST * shape.firsts) // LINE
    if not 0 < lines <= len(SYMBOLS) - shape.firsts:
        raise Invalid(f"a ledger of {length} words would have {lines} lines; at least 1 and at most {len(SYMBOLS) - shape.firsts} can be")
    names = rng.sample(SYMBOLS, shape.firsts + lines)
    words, given, gaps = [START], [True], list[int]()
    value, named, due = dict[str, int](), dict[str, int](), list[tuple[float, str, float]]()

    def comes_back(name: str, gap: float, share: float) -> None:
        due.append((named[name] + gap * share * rng.uniform(0.85, 1.15), name, gap))

    def drawn() -> float:
        return min(shape.most, max(shape.least, math.exp(rng.gauss(math.log(shape.gap), shape.spread))))

    for name in names[: shape.firsts]:
        value[name] = rng.randrange(10)
        words += ["=", name, str(value[name])]
        given += [True] * FIRST
        named[name] = len(words)
        comes_back(name, drawn(), shape.soon)
    prompt, worked, left = len(words), "", 0
    for number in range(shape.firsts, len(names)):
        at, name, before = len(words), names[number], names[number - 1]
        due.sort()
        if due and due[0][0] <= at:
            _, operand, gap = due.pop(0)
            gaps.append(at - named[operand])
            named[operand] = at
            comes_back(operand, gap, 1.0)
        else:
            if not left:
                worked, left = names[max(0, number - rng.randint(2, 4))], rng.randint(*shape.works)
            operand, left = worked, left - 1
            gaps.append(at - named[operand])
            named[operand] = at
        sign = rng.choice("+-")
        value[name] = (value[before] + (value[operand] if sign == "+" else -value[operand])) % 10
        words += [sign, operand, str(value[operand]), "=", name, str(value[name])]
        given += [True, True, False, True, True, False]
        named[name] = len(words)
        if rng.random() < shape.comes_back:
            comes_back(name, drawn(), shape.soon)
    return Ledger(words, prompt, given, gaps)
