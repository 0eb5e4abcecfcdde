"""Where the weights of `text.agreement.replacing` come from: `python -m mnemos.bench.updating_fitting` fits them again.

What replaces what: every way to state an attribute with every way to say that it changed, of the parts of `fact_families` that were at hand
("made" and "held"; never of the others). What does not: statements of one attribute beside changes of another, the contrasts of the same parts,
and pairs of facts that one person of MSC told in one dialogue, half of them with a "now" put behind, as an addition would have it. Of MSC only
every second dialogue is used; the rest is left for `mnemos bench updating`. A logistic regression with a penalty on squared weights (Newton's
method); and the same with all pairs of a tenth of the attributes left out, to say what is to be expected of attributes not fitted on.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnemos.base.protocols import Embedder
from mnemos.bench.datasets import data_folder, read_lines
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.fact_families import CONTRASTS, FAMILIES, HELD, MADE, Family, filled
from mnemos.models.minilm import MiniLM
from mnemos.text.agreement.frames import read_frame
from mnemos.text.agreement.replacing import NAMES, Evidence, evidence

Floats = NDArray[np.float64]
FOLDS = 10
ACROSS = 3
"""Statements of each attribute that stand beside changes of each other one."""
FROM_MSC = 60
"""Pairs of facts of each speaker."""
PENALTY = 1.0
SURE = 0.8
"""The confidence from which `tend` supersedes."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An earlier and a later statement, and whether the later one replaces the earlier."""

    earlier: str
    later: str
    replaces: bool
    groups: tuple[str, ...]
    """Attributes, contrasts or dialogues that it comes from: it is left out with any of them."""


def pairs(rng: np.random.Generator, folder: Path) -> list[Pair]:
    """All pairs to fit on."""
    known = [family for family in FAMILIES if family.part in (MADE, HELD)]
    out: list[Pair] = []
    for family in known:
        for state, change in itertools.product(family.state, family.change):
            before, value = drawn(family, rng)
            out.append(Pair(filled(state, before, value), filled(change, value, before), True, (family.name,)))
    for family, other in itertools.permutations(known, 2):
        for _ in range(ACROSS):
            state, change = (options[rng.integers(len(options))] for options in (family.state, other.change))
            (before, value), (then, now) = drawn(family, rng), drawn(other, rng)
            out.append(Pair(filled(state, before, value), filled(change, now, then), False, (family.name, other.name)))
    for contrast in CONTRASTS:
        if contrast.part in (MADE, HELD):
            both = (contrast.first, contrast.second)
            out += [Pair(*order, replaces=False, groups=(contrast.first,)) for order in (both, both[::-1])]
    return [*out, *told_together(rng, folder, 0)]


def drawn(family: Family, rng: np.random.Generator) -> tuple[str, str]:
    """A value, and one that follows it: the same where it is affirmed and then denied."""
    before, value = (family.values[i] for i in rng.choice(len(family.values), 2, replace=False))
    return (value, value) if family.kind == "polarity" else (before, value)


def told_together(rng: np.random.Generator, folder: Path, parity: int) -> Iterator[Pair]:
    """Pairs of facts that one speaker of MSC told, of every second dialogue; half of the later ones with a `now` behind."""
    for number, dialogue in enumerate(read_lines(folder, "msc/msc_dev.jsonl.gz")):
        for speaker in ("Speaker 1", "Speaker 2") if number % 2 == parity else ():
            turns = [turn for session in dialogue["sessions"] for turn in session["turns"] if turn["speaker"] == speaker and turn.get("fact")]
            facts = list(dict.fromkeys(fact for turn in turns for fact in re.split(r"(?<=[.!])\s+", turn["fact"]) if len(fact.split()) > 2))
            both = list(itertools.combinations(facts, 2))
            for at in rng.choice(len(both), min(len(both), FROM_MSC), replace=False) if both else ():
                earlier, later = both[at]
                later = re.sub(r"[.!]*$", " now.", later, count=1) if rng.random() < 0.5 else later
                yield Pair(earlier, later, False, (f"msc {number}",))


def weighed(all_pairs: Sequence[Pair], embedder: Embedder) -> tuple[list[Pair], Floats]:
    """The pairs that can be compared, and their evidence, (n, len(NAMES))."""
    texts = list(dict.fromkeys(text for pair in all_pairs for text in (pair.earlier, pair.later)))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    frames = {text: read_frame(text) for text in texts}
    kept, rows = [], []
    for pair in all_pairs:
        earlier, later = frames[pair.earlier], frames[pair.later]
        found = evidence(earlier, later, float(vectors[pair.earlier] @ vectors[pair.later])) if earlier and later else None
        if found is not None:
            kept.append(pair)
            rows.append([float(getattr(found, name)) for name in NAMES])
    return kept, np.array(rows)


def fitted(x: Floats, y: Floats) -> Floats:
    """The weights of greatest likelihood, the penalty counted; the bias is free."""
    w = np.zeros(x.shape[1])
    penalty = np.full(x.shape[1], PENALTY)
    penalty[NAMES.index("bias")] = 1e-6
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x.T * (p * (1 - p))) @ x + np.diag(penalty), x.T @ (p - y) + penalty * w)
    return w


def left_out(kept: Sequence[Pair], x: Floats) -> Floats:
    """The score of each pair under weights that were fitted without any pair of its attributes."""
    y = np.array([float(pair.replaces) for pair in kept])
    groups = sorted({group for pair in kept for group in pair.groups})
    fold = {group: number % FOLDS for number, group in enumerate(np.random.default_rng(0).permutation(groups).tolist())}
    last = np.array([fold[pair.groups[-1]] for pair in kept])
    scores = np.zeros(len(kept))
    for number in range(FOLDS):
        used = np.array([all(fold[group] != number for group in pair.groups) for pair in kept])
        scores[last == number] = x[last == number] @ fitted(x[used], y[used])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    every = pairs(np.random.default_rng(options.seed), data_folder(options.data))
    kept, x = weighed(every, CountingEmbedder(MiniLM(), vector_folder()))
    y = np.array([float(pair.replaces) for pair in kept])
    sure = 1 / (1 + np.exp(-left_out(kept, x))) >= SURE
    total = sum(pair.replaces for pair in every)
    print(f"{total} pairs that replace: {int(sum(sure & (y == 1)))} found, their attributes left out")
    print(f"{len(every) - total} that do not: {int(sum(sure & (y == 0)))} false alarms")
    print(Evidence(**{name: round(float(weight), 2) for name, weight in zip(NAMES, fitted(x, y), strict=True)}))


if __name__ == "__main__":
    main()
