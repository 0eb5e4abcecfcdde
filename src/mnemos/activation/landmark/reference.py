"""Our reference model with landmarks: how it learnt them, and how to load it. `python -m mnemos.activation.landmark` trains and publishes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.retrofit import WEIGHTS, Retrofit, card_of
from mnemos.activation.landmark.training import Batch, Recipe, Training
from mnemos.base.errors import ModelUnavailable
from mnemos.models import reference
from mnemos.models.reference import language
from mnemos.models.reference.training.batches import Books
from mnemos.models.reference.training.batches import batch as drawn
from mnemos.models.reference.training.plan import PLAN, TEXT, Plan, Stage
from mnemos.models.weights import packaged

BLOCK = 15
LANDMARK = len(language.VOCABULARY)
"""The id of its landmark, the first behind its vocabulary."""

TRAINED = tokens.length_with(512, BLOCK)
"""Tokens, landmarks included, of the longest rows that it learnt on."""

_RECIPE = Recipe(steps=1500, rate=2e-3, warmup=0.03, weight_decay=0.02, accumulation=1, bfloat16=True, muon=True)
STAGES = (
    (_RECIPE, 1218),
    (replace(_RECIPE, rate=1e-3, top=(2, 4)), 1500),
    (replace(_RECIPE, rate=2e-3, top=(2, 2, 4), steps=1800), 1800),
)
"""How it learnt: recipes, each up to a step of its own. First with all blocks, which spreads attention over many; then with those alone that would
be brought back; then that again, on what is looked up."""
_MIXTURE = {"kv": 2, "copy": 1.5, "needle": 1, "rule": 1, "world": 1.5, "span": 1.5, "chain": 1.5, "code": 1, "run": 1, "list": 0.5, TEXT: 0.7}
_LOOKED_UP = {"kv": 3, "needle": 3, "rule": 1, "world": 0.5, "copy": 0.5, TEXT: 0.3}
_LENGTHS = {128: 1.0, 256: 1.0, 512: 1.5}
LESSONS = Plan(
    stages=(Stage(0, _LENGTHS, 4096, _MIXTURE), Stage(sum(steps for _, steps in STAGES[:2]), _LENGTHS, 4096, _LOOKED_UP)),
    steps=sum(steps for _, steps in STAGES),
    cooldown=1,
    seed=15,
    longest=PLAN.longest,
)
"""The rows that it learnt on: tasks that its base had learnt, of at most 512 words, other ones."""


def folder() -> Path:
    """Where its weights and its card are; what `Retrofit.load` takes."""
    return packaged(reference.__name__, "landmark")


def card() -> dict[str, Any]:
    """What its card says."""
    return card_of(folder())


def load() -> tuple[Any, Any]:
    """The model, ready to read with `KVMemory` and `policy("landmark", block=BLOCK, …)`, and the tokenizer of its base. Raises as
    `mnemos.models.reference.load` and `Retrofit.load` do."""
    return taught(folder())


def taught(where: Path) -> tuple[Any, Any]:
    """The reference model with what a folder of the package says that it learnt, and its tokenizer. Raises as `load`."""
    if not (where / WEIGHTS).is_file():
        raise ModelUnavailable(f"{where} holds no {WEIGHTS}: install mnemos again as a wheel or from its repository")
    base, tokenizer = reference.load()
    return Retrofit.load(base, where).merged(), tokenizer


def begun(retrofit: Retrofit, number: int, books: Books, first: int) -> Training:
    """The training of a stage, on the batches from number `first` on."""
    return Training(retrofit.model.train(), STAGES[number][0], lessons(books, first))


def lessons(books: Books, first: int = 0) -> Callable[[int], Batch]:
    """The batches from number `first` on."""

    def numbered(number: int) -> Batch:
        rows = drawn(LESSONS, first + number, books)
        ids, weights = tokens.in_training(torch.from_numpy(rows.ids), BLOCK, LANDMARK, torch.from_numpy(rows.weights))
        return Batch(ids, weights)

    return numbered
