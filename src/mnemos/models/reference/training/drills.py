"""Parts of the tasks on their own, for training only: what gradient does not find while it is one word in twenty of a whole answer."""

from __future__ import annotations

from random import Random

from mnemos.models.reference.language import NUMBERS, START, SYMBOLS
from mnemos.models.reference.tasks import Session
from mnemos.models.reference.tasks.session import asked, laid

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


def names(rng: Random, length: int) -> Session:
    """Variables with numbers of their own; asked is the variable of a number."""
    turns = length // 14
    count = min(len(NUMBERS), (length - 1 - turns * 6) // 4)
    pairs = list(zip(rng.sample(SYMBOLS, count), rng.sample(NUMBERS, count), strict=True))
    context, spans = laid([[name, "=", value, ";"] for name, value in pairs])
    chosen = rng.sample(range(count), min(turns, count))
    return Session(NAMES, context, [asked(["names", pairs[n][1]], [pairs[n][0]], [spans[n]]) for n in chosen])


def suffix(rng: Random, length: int) -> Session:
    """Strings as in `span`; asked is the middle before a suffix that only one has."""
    turns = length // 24
    count = (length - 1 - turns * 12) // 8
    strings = [rng.choices(SYMBOLS, k=6) for _ in range(count)]
    context, spans = laid([["span", *string, ";"] for string in strings])
    asks = [asked(["span", "_", "_", "_", "_", *strings[n][4:]], strings[n][2:4], [spans[n]]) for n in rng.sample(range(count), turns)]
    return Session(SUFFIX, context, asks)
