"""Our reference model with a landmark after every second word, for facts that stand close to each other: how it learnt them, and how to load it.

`mnemos.activation.landmark.reference` has larger blocks, learnt from predictions alone, and finds single notes in long texts. This one was taught by
the model that it was before: by where that looks (`distilling`). `python -m mnemos.activation.landmark --model dense` trains and publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.distilling import Distilling, Wanted
from mnemos.activation.landmark.reference import LANDMARK, taught
from mnemos.activation.landmark.retrofit import Retrofit, card_of
from mnemos.activation.landmark.training import Batch, Recipe
from mnemos.models import reference
from mnemos.models.reference import language
from mnemos.models.reference.training.batches import Books
from mnemos.models.reference.training.batches import batch as drawn
from mnemos.models.reference.training.plan import PLAN, TEXT, Plan, Stage
from mnemos.models.weights import packaged

BLOCK, TOP = 2, 16
"""Words before a landmark, and the blocks that a query brought back while it learnt, in the end."""
BITS = 2
"""Of each number of a landmark's key, near: with them the keys take a 32nd of the full cache in bfloat16."""
READING: Mapping[str, Any] = {"top": TOP, "bits": BITS, "trained": 87, "stingy": False, "at_once": 2**16}
"""How it is read, as options of `Landmarked`: in segments of 22 words, blocks where they stood, as they did while it learnt; its texts are no longer
than the model has places for. What is brought at a time is little beside what is near."""

_RECIPE = Recipe(steps=500, rate=1.5e-3, warmup=0.03, weight_decay=0.02, accumulation=1, bfloat16=False, muon=True)
_FEW = replace(_RECIPE, steps=350, rate=1.2e-3, top=(TOP,))
STAGES = ((_RECIPE, 500), (_FEW, 350), (replace(_FEW, steps=320, rate=1e-3), 320))
"""How it learnt: recipes, each up to a step of its own. First with all blocks, then with those alone that would be brought back, and longer rows; in
the end, too, with landmarks as coarse as few bits make them."""
WANTED = (Wanted(), Wanted(gates=0.5, asked=8.0), Wanted(gates=1.0, asked=8.0, noise=0.08))
"""What it learnt from in each."""
_MIXTURE = {"kv": 3, "copy": 3, "needle": 1.5, "rule": 1, "world": 0.5, "span": 0.5, TEXT: 0.3}
_LATER = {"kv": 2, "copy": 3, "needle": 1.5, "rule": 0.7, TEXT: 0.1}
_LAST = {"kv": 2, "copy": 2.5, "needle": 2.5, "rule": 1.5, TEXT: 0.1}
LESSONS = Plan(
    stages=(
        Stage(0, {128: 1.0, 256: 1.0, 512: 1.0}, 4096, _MIXTURE),
        Stage(STAGES[0][1], {256: 0.5, 512: 1.0, 1024: 1.2}, 4096, _LATER),
        Stage(STAGES[0][1] + STAGES[1][1], {512: 1.0, 1024: 1.5}, 4096, _LAST),
    ),
    steps=sum(steps for _, steps in STAGES),
    cooldown=1,
    seed=151,
    longest=PLAN.longest,
)
"""The rows that it learnt on: tasks that its base had learnt, of at most 1,024 words, other ones; half of the rows with jumps of positions."""


def folder() -> Path:
    """Where its weights and its card are; what `Retrofit.load` takes."""
    return packaged(reference.__name__, "landmark_dense")


def card() -> dict[str, Any]:
    """What its card says."""
    return card_of(folder())


def load() -> tuple[Any, Any]:
    """The model, ready to read with `Landmarked` and `READING`, and the tokenizer of its base. Raises as `mnemos.models.reference.load` and
    `Retrofit.load` do."""
    return taught(folder())


def lessons(books: Books, first: int = 0) -> Callable[[int], Batch]:
    """The batches from number `first` on."""

    def numbered(number: int) -> Batch:
        rows = drawn(LESSONS, first + number, books)
        ids, weights, positions = (torch.from_numpy(each) for each in (rows.ids, rows.weights, rows.positions))
        return Batch(*tokens.in_training(ids, BLOCK, LANDMARK, weights, positions))

    return numbered


def begun(retrofit: Retrofit, number: int, books: Books, first: int) -> Distilling:
    """The training of a stage, on the batches from number `first` on."""
    before, padding = reference.load()[0], language.IDS[language.PAD]
    return Distilling(retrofit.model.train(), STAGES[number][0], lessons(books, first), before, padding, WANTED[number])
