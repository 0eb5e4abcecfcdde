"""The language of the tiny decoder: lines `( key value )`, where a key has one value as long as a text lasts.

All are one token each, so that a line is 4 tokens. One to four tokens stand before the first line: windows, and what a memory token stands for, cut
lines anywhere.
"""

from __future__ import annotations

import numpy as np
import torch

from mnemos.activation.beacon.scoring import Asked
from mnemos.activation.beacon.training import Batch

KEYS = VALUES = 128
PAD, START, END, OPEN, CLOSE = range(5)
FIRST_KEY, FIRST_VALUE = CLOSE + 1, CLOSE + 1 + KEYS
WORDS = FIRST_VALUE + VALUES
LINE = 4
"""Tokens of a line; as many may stand before the first."""


def lines_of(tokens: int) -> int:
    """Lines in a text of so many tokens."""
    return (tokens - LINE) // LINE


def text(rng: np.random.Generator, before: int, keys: int, again: int, window: int | None = None) -> tuple[list[int], list[float]]:
    """A text that tells the values of so many keys, after `before` tokens that tell nothing, and then those of `again` of them once more; and for
    each token whether it is a value that was told before. Told once more are those first whose key and value a border of windows of `window` tokens
    parts."""
    chosen, values = rng.permutation(KEYS)[:keys] + FIRST_KEY, rng.integers(VALUES, size=keys) + FIRST_VALUE
    ids, known = [START] * before, [0.0] * before
    order = rng.permutation(keys)
    if window:
        parted = (before + LINE * order + LINE // 2) % window == 0
        order = rng.permutation(np.concatenate([order[parted], order[~parted]])[:again])
    for at, number in enumerate([*range(keys), *order[:again].tolist()]):
        ids += [OPEN, int(chosen[number]), int(values[number]), CLOSE]
        known += [0.0, 0.0, float(at >= keys), 0.0]
    return ids, known


def batch(seed: int, tokens: int, keys: int, again: int, window: int) -> Batch:
    """Texts of about so many tokens in all, of which the values that were told before count; all begin alike far from a border of a line. Where the
    seed is even, each border of a window parts a key from its value: such lines are few otherwise, and hard."""
    rng = np.random.default_rng(seed)
    before = int(rng.integers(1, LINE + 1)) if seed % 2 else LINE // 2
    rows = [text(rng, before, keys, again, window) for _ in range(max(1, tokens // (before + LINE * (keys + again))))]
    return Batch(torch.tensor([ids for ids, _ in rows]), torch.tensor([known for _, known in rows]))


def asked(tokens: int, count: int, seed: int, questions: int = 10) -> list[Asked]:
    """Texts of so many tokens (at most three less) in which each key is told once, and questions `( key` → `value`."""
    rng, found = np.random.default_rng([seed, 1]), []
    keys = lines_of(tokens)
    for _ in range(count):
        before = int(rng.integers(1, LINE + 1))
        ids, _known = text(rng, before, keys, questions)
        end = before + LINE * keys
        found.append(Asked(ids[:end], [(ids[at : at + 2], ids[at + 2 : at + 3]) for at in range(end, len(ids), LINE)]))
    return found
