"""Exact recall: key and value, a key's long passage, a note in a text, the middle between a prefix and a suffix."""

from __future__ import annotations

from random import Random

from mnemos.models.reference.language import SYMBOLS
from mnemos.models.reference.tasks.session import Filler, Session, among, asked, laid


def _pairs(rng: Random, count: int) -> list[tuple[str, str]]:
    """So many different pairs of symbols; single symbols recur."""
    found: dict[tuple[str, str], None] = {}
    while len(found) < count:
        found[rng.choice(SYMBOLS), rng.choice(SYMBOLS)] = None
    return list(found)


def kv(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Pairs of symbols with values of 1 to 3 symbols. The context is full of them."""
    size = rng.choice((1, 2, 2, 3))
    return _recall(rng, "kv", size, (length - 1 - turns * (6 + size)) // (4 + size), turns)


def copy(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """The same with values of 8 to 24 symbols: passages to be given again whole."""
    longest = min(24, (length - 5 - turns * 10) // (2 * turns + 1))
    size = rng.randint(min(8, longest), longest)
    return _recall(rng, "copy", size, (length - 1 - turns * (6 + size)) // (4 + size), turns)


def _recall(rng: Random, task: str, size: int, count: int, turns: int) -> Session:
    keys = _pairs(rng, count)
    values = [rng.choices(SYMBOLS, k=size) for _ in keys]
    context, spans = laid([[*key, ":", *value, ";"] for key, value in zip(keys, values, strict=True)])
    chosen = rng.sample(range(count), turns)
    return Session(task, context, [asked(["key", *keys[n]], values[n], [spans[n]]) for n in chosen])


def needle(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """2 to 8 notes planted in text (as many as there are turns, if that is more)."""
    room = length - turns * 8
    count = max(turns, min(rng.randint(2, 8), (room - 1) // 24))
    keys = _pairs(rng, count)
    values = [rng.choices(SYMBOLS, k=2) for _ in keys]
    context, spans = among(rng, [[".", "note", *key, "is", *value, "."] for key, value in zip(keys, values, strict=True)], room, filler)
    return Session("needle", context, [asked(["note", *keys[n]], values[n], [spans[n]]) for n in rng.sample(range(count), turns)])


def span(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Strings of six symbols; some share their first two, others their last two, none both."""
    count = (length - 1 - turns * 12) // 8
    side = int((1.7 * count) ** 0.5) + 1
    heads, tails = _pairs(rng, side), _pairs(rng, side)
    ends = rng.sample([(head, tail) for head in heads for tail in tails], count)
    middles = _pairs(rng, count)
    context, spans = laid([["span", *head, *middle, *tail, ";"] for (head, tail), middle in zip(ends, middles, strict=True)])
    chosen = rng.sample(range(count), turns)
    return Session("span", context, [asked(["span", *ends[n][0], "_", "_", *ends[n][1]], middles[n], [spans[n]]) for n in chosen])
