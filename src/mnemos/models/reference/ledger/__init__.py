"""The reference model, taught to keep ledgers (`task`): long chains of sums whose earlier results come back after long gaps.

It is for judging what is kept of keys and values while a model generates. `python -m mnemos.models.reference.ledger.training` trained it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnemos.base.errors import Corrupt
from mnemos.models import reference
from mnemos.models.weights import packaged, require_sha256

__all__ = ["CARD", "LENGTH", "WEIGHTS", "card", "folder", "learns", "load"]

WEIGHTS, CARD = "ledger.safetensors", "card.json"
LENGTH = 600
"""Words of the ledgers that its card is scored on."""


def learns(name: str) -> bool:
    """Whether the parameter of that name is one that was taught: the projections of attention are."""
    return "_proj" in name and ".self_attn." in name


def folder() -> Path:
    """Where its weights and its card are. Raises `ModelUnavailable` where the package came without them."""
    return packaged(__package__, "", WEIGHTS)


def card() -> dict[str, Any]:
    """How it was trained, its digest, and its scores."""
    return dict(json.loads((folder() / CARD).read_text(encoding="utf-8")))


def load() -> tuple[Any, Any]:
    """The model (`LlamaForCausalLM`, float32, CPU, evaluation mode) and its tokenizer. Raises as `mnemos.models.reference.load` does, and `Corrupt`
    where the weights are not those that its card names, or not for this reference model."""
    path, said = folder() / WEIGHTS, card()
    require_sha256(path, str(said["sha256"]))
    if said["base"] != reference.card()["sha256"]:
        raise Corrupt(f"{path} was taught from another reference model than this package's: install mnemos again")
    model, tokenizer = reference.load()
    import torch
    from safetensors.torch import load_file

    learnt = load_file(path)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if learns(name):
                weight.copy_(learnt[name])
    return model, tokenizer
