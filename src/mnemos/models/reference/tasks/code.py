"""Code-like text: many short functions; the one that does what a description says is to be given again."""

from __future__ import annotations

from random import Random

from mnemos.models.reference.language import SYMBOLS
from mnemos.models.reference.tasks.session import Filler, Session, asked, laid

FACTS: tuple[dict[str, str], ...] = (
    {"list": "[ ]", "set": "{ }", "queue": "< ]", "tree": "^ ^", "row": "- -", "file": "@ /", "map": ": :", "names": '" "'},
    {"even": "% 2", "odd": "% 1", "positive": "> 0", "negative": "< 0", "big": "> 9", "small": "< 9", "first": "# 0", "last": "# 9"},
    {"sum": "+ =", "product": "* =", "largest": "> =", "smallest": "< =", "count": "+ 1", "turned": "- =", "keep": "| =", "find": "/ ="},
)
"""What a description says of a function (its source, its filter, what it does), and how the code writes it."""

FUNCTION_WORDS = 18


def code(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Functions that differ in at least one of three facts; the description names the facts in other words than the code."""
    count = min(500, (length - 1 - turns * (FUNCTION_WORDS + 6)) // FUNCTION_WORDS)
    side = min(8, int((1.5 * count) ** (1 / 3)) + 2)
    pools = [rng.sample(sorted(facts), side) for facts in FACTS]
    described = rng.sample([(one, two, three) for one in pools[0] for two in pools[1] for three in pools[2]], min(count, side**3))
    names = rng.sample(SYMBOLS, min(len(described), len(SYMBOLS)))
    described = described[: len(names)]
    lines = [_function(name, words, rng.choices(SYMBOLS, k=2)) for name, words in zip(names, described, strict=True)]
    context, spans = laid(lines)
    chosen = rng.sample(range(len(lines)), turns)
    return Session("code", context, [asked(["code", *described[n]], lines[n][1:], [spans[n]]) for n in chosen])


def _function(name: str, words: tuple[str, str, str], result: list[str]) -> list[str]:
    source, kept, done = (facts[word].split() for facts, word in zip(FACTS, words, strict=True))
    return ["fn", name, "(", *source, ")", "{", *kept, ";", *done, ";", "return", *result, ";", "}"]
