"""`python -m mnemos.models.reference.training.recall --out DIR --text FOLDER [--seed N]`: a model whose heads share no keys, taught recall alone.

The reference model has 16 key-value heads, two query heads to each; what is said of heads one by one (UNComp, arXiv 2410.03090) is also asked of
this one: 4 layers of 8 heads, each with keys and values of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from mnemos.models.reference.training.__main__ import main
from mnemos.models.reference.training.beginning import fresh
from mnemos.models.reference.training.plan import REPEAT, Plan, Stage
from mnemos.models.reference.training.trainer import STATE

SHAPE = {"num_key_value_heads": 8}

_FIRST = {REPEAT: 3, "copy": 2, "kv": 2, "needle": 1}
_THEN = {REPEAT: 1, "copy": 2, "kv": 3, "needle": 2}

PLAN = Plan(
    stages=(
        Stage(0, {64: 1, 128: 1}, 4096, _FIRST),
        Stage(400, {64: 1, 128: 2}, 4096, _THEN),
        Stage(700, {128: 1, 256: 1}, 4096, _THEN),
        Stage(1000, {256: 1, 512: 1, 1024: 1}, 6144, _THEN),
    ),
    steps=1600,
    cooldown=350,
    longest=1024,
)


def trained(folder: Path) -> Any:
    """The model that stands in a folder of the command, with the running average of its weights. Raises `OSError` where none does."""
    model = fresh(PLAN.seed, **SHAPE)
    with safe_open(folder / STATE, framework="pt") as file, torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(file.get_tensor(f"average.{name}"))
    return model.eval()


def train(arguments: Sequence[str] | None = None) -> None:
    """What the command does."""
    main(arguments, PLAN, SHAPE)


if __name__ == "__main__":
    train()
