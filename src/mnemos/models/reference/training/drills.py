"""Parts of the tasks on their own, for training only: what gradient does not find while it is one word in twenty of a whole answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from random import Random

from mnemos.models.reference.language import NUMBERS, START, SYMBOLS
from mnemos.models.reference.tasks.session import Turn, asked

SUMS, NAMES, SUFFIX = "sums", "names", "suffix"
"""Sums as `run` writes them; the name before a number; the middle before a suffix."""


def sums(rng: Random, length: int) -> tuple[list[str], list[float]]:
    """Single sums, `8 - X 5 = Y 3 ;`, and the words' weights: only results count."""
    words, weights = [START], [0.0]
    while len(words) + 8 <= length:
        one, other, sign = rng.randrange(10), rng.randrange(10), rng.choice("+-")
        result = (one + (other if sign == "+" else -other)) % 10
        words += [str(one), sign, rng.choice(SYMBOLS), str(other), "=", rng.choice(SYMBOLS), str(result), ";"]
        weights += [0.0] * 6 + [1.0, 0.0]
    return words, weights


def names(rng: Random, length: int) -> tuple[list[str], list[float]]:
    """Blocks of variables with numbers of their own, and questions for the variable of each number of the block."""
    pairs = iter(zip(rng.sample(SYMBOLS, len(NUMBERS)), rng.sample(NUMBERS, len(NUMBERS)), strict=True))
    return _blocks(rng, length, pairs, lambda pair: [pair[0], "=", pair[1], ";"], lambda pair: asked(["names", pair[1]], [pair[0]], []))


def suffix(rng: Random, length: int) -> tuple[list[str], list[float]]:
    """Blocks of strings as in `span`, and questions for the middle before each suffix, which no other string of the row has."""
    ends = {(rng.choice(SYMBOLS), rng.choice(SYMBOLS)): None for _ in range(length // 10)}
    strings = iter([[*rng.choices(SYMBOLS, k=4), *end] for end in ends])
    return _blocks(rng, length, strings, lambda string: ["span", *string, ";"], lambda string: asked(["span", *"____", *string[4:]], string[2:4], []))


def _blocks(
    rng: Random, length: int, items: Iterator[Sequence[str]], line: Callable[[Sequence[str]], list[str]], question: Callable[[Sequence[str]], Turn]
) -> tuple[list[str], list[float]]:
    """Blocks of few lines, with a question on each of a block's lines behind it, in random order; and the words' weights.

    A row whose only block turned out too long has none.
    """
    words, weights = [START], [0.0]
    while block := list(islice(items, rng.randint(2, 12))):
        lines = [word for item in block for word in line(item)]
        turns = [question(item) for item in rng.sample(block, len(block))]
        if len(words) + len(lines) + sum(len(turn.question) + len(turn.answer) for turn in turns) > length:
            if len(words) > 1:
                break
            continue
        words += lines
        weights += [0.0] * len(lines)
        for turn in turns:
            words += turn.question + turn.answer
            weights += [0.0] * len(turn.question) + [1.0] * len(turn.answer)
    return words, weights


DRILLS = {SUMS: sums, NAMES: names, SUFFIX: suffix}
"""Each from a generator of random numbers and a length; gives words and what each counts."""
