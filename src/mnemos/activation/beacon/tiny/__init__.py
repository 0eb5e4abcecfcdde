"""A tiny decoder that learnt to recall through memory tokens: the model and the tokens, trained together, from weights in which a look-up works.

`python -m mnemos.activation.beacon.tiny --out DIR` trains it in a minute or two of one core (`training`), on texts of `lines`; `load` brings the one
of the package. It shows what a memory can hold that a model has learnt with, where `beacon.reference` teaches a memory to a model that is there
already. That a model finds look-ups by itself it does not show: these are made (`beginning`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnemos.models.weights import packaged

MODEL, WEIGHTS, CARD = "model.safetensors", "memory.safetensors", "card.json"
WINDOW = 32
"""Tokens of the windows that it was trained with."""


def folder() -> Path:
    """Where its checkpoint is. Raises `ModelUnavailable` where the package came without it."""
    return packaged(__package__, "checkpoint", MODEL, WEIGHTS, CARD)


def card() -> dict[str, Any]:
    """How it was trained, digests, and scores."""
    return dict(json.loads((folder() / CARD).read_text(encoding="utf-8")))


def load(path: Path | None = None) -> Any:
    """The memory tokens (`Beacons`), which have joined their model (`beacons.model`: `LlamaForCausalLM`, float32, evaluation mode); of the package,
    or of the folder that training wrote. Raises `ModelUnavailable`, and `Corrupt` where files are not the card's."""
    from mnemos.activation.beacon.tiny.training import loaded

    return loaded(path or folder())
