"""Training batches, each a function of the plan's seed and the step alone."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import NotFound
from mnemos.models.reference import language, tasks
from mnemos.models.reference.training.drills import DRILLS
from mnemos.models.reference.training.plan import REPEAT, TEXT, Plan

BOOKS = (
    "moby-dick", "pride-and-prejudice", "sherlock-holmes-adventures", "great-expectations",
    "tale-of-two-cities", "frankenstein", "dracula", "gods-of-mars",
)  # fmt: skip
HELD_OUT = "unsentimental-journey-through-cornwall"
"""The book that is only scored on. Of the folder's other texts, State of the Union addresses are trained on, too; WikiText is not (its licence)."""

_PLAIN_MARKS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-"})
_JUMPING = 0.5
_MOST_JUMPS = 6


@dataclass(frozen=True)
class Books:
    """The words (pieces) of the texts in a folder as in shared/data/text; without a folder, made-up filler."""

    folder: Path | None

    @cached_property
    def words(self) -> list[str]:
        if self.folder is None:
            return tasks.plain(Random(0), 20_000)
        read = [_words(self.folder, name) for name in BOOKS]
        for line in _open(self.folder / "state_union.jsonl.gz").splitlines():
            read.append(language.pieces(json.loads(line)["text"].translate(_PLAIN_MARKS)))
        return [word for book in read for word in book]

    @cached_property
    def held_out(self) -> list[str]:
        return tasks.plain(Random(1), 20_000) if self.folder is None else _words(self.folder, HELD_OUT)

    def some(self, rng: Random, count: int) -> list[str]:
        """So many words in a row from a random place: a `Filler`."""
        at = rng.randrange(len(self.words) - count)
        return self.words[at : at + count]


def _open(path: Path) -> str:
    if not path.exists():
        raise NotFound(f"{path} is missing: training reads the folder of plain texts that the documentation of the reference model names")
    return gzip.decompress(path.read_bytes()).decode("utf-8")


def _words(folder: Path, name: str) -> list[str]:
    return language.pieces(_open(folder / f"{name}.txt.gz").translate(_PLAIN_MARKS))


@dataclass(frozen=True)
class Batch:
    """`ids` and `positions` (rows, length); `weights` (rows, length): how much predicting the token at a place counts; `kinds` a row's task."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    weights: NDArray[np.float32]
    kinds: list[str]


def batch(plan: Plan, step: int, books: Books) -> Batch:
    """The batch of a step."""
    stage = plan.stage(step)
    rng = Random(f"batch {plan.seed} {step}")
    (length,) = rng.choices(list(stage.lengths), weights=list(stage.lengths.values()))
    rows = max(1, stage.tokens // length)
    kinds = rng.choices(list(stage.mixture), weights=list(stage.mixture.values()), k=rows)
    ids = np.full((rows, length), language.IDS[language.PAD], dtype=np.int64)
    weights = np.zeros((rows, length), dtype=np.float32)
    positions = np.empty((rows, length), dtype=np.int64)
    for row, kind in enumerate(kinds):
        words, counted = _row(rng, kind, length, books, plan.text_weight)
        ids[row, : len(words)] = language.encode(words)
        weights[row, : len(words)] = counted
        positions[row] = _positions(rng, length, plan.longest)
    return Batch(ids, positions, weights, kinds)


def _row(rng: Random, kind: str, length: int, books: Books, text_weight: float) -> tuple[list[str], list[float]]:
    """A row's words and how much each counts: answers do, the rest does not, but for text, which does a little."""
    if kind == TEXT:
        return [language.START, *books.some(rng, length - 1)], [0.0] + [text_weight] * (length - 1)
    if kind == REPEAT:
        size = rng.randint(4, length // 2)
        once = rng.choices(language.SYMBOLS, k=size)
        return [language.START, *(once * (length // size + 1))[: length - 1]], [0.0] * (size + 2) + [0.5] * (length - size - 2)
    if kind in DRILLS:
        return DRILLS[kind](rng, length)
    most = tasks.most_turns(kind, length)
    filler = books.some if rng.random() < 0.7 else tasks.plain
    session = tasks.make(kind, length, rng.randint((most + 1) // 2, most), rng.getrandbits(62), filler)
    counted = [0.0] * len(session.context)
    for turn in session.turns:
        counted += [0.0] * len(turn.question) + _hard(kind, turn.answer)
    return session.words(), counted


def _hard(kind: str, answer: list[str]) -> list[float]:
    """What each word of an answer counts: where one word is the difficulty and many more follow from it, that one counts for several."""
    counted = [1.0] * len(answer)
    if kind == "code":
        counted[0] = 6.0
    if kind == "span":
        counted[0] = 3.0
    if kind == "run":
        for place in range(2, len(answer)):
            if answer[place - 2] == "=":
                counted[place] = 3.0
    return counted


def _positions(rng: Random, length: int, longest: int) -> NDArray[np.int64]:
    """Positions of a row: as they are, or with a few jumps ahead, which show short rows long distances (PoSE, Zhu et al. 2023)."""
    positions = np.arange(length, dtype=np.int64)
    spare = longest - length
    if spare > 0 and rng.random() < _JUMPING:
        for _ in range(rng.randint(1, _MOST_JUMPS)):
            jump = rng.randint(0, spare)
            spare -= jump
            positions[rng.randrange(length) :] += jump
    return positions
