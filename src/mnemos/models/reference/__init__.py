"""The reference model: a small language model of our own that really looks things up in its context, to judge KV methods by without a download.

`language` and `tasks` need nothing but Python; `load` needs torch and transformers (the extra `models`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnemos.base.errors import ModelUnavailable
from mnemos.models.quiet import no_progress_bars
from mnemos.models.weights import packaged, require_sha256

__all__ = ["card", "folder", "load"]

_CHECKPOINT = "checkpoint"
_WEIGHTS = "model.safetensors"
_CARD = "card.json"


def folder() -> Path:
    """The folder of the checkpoint (config.json, model.safetensors, tokenizer.json, card.json), as `from_pretrained` takes it.

    Raises `ModelUnavailable` where the package came without it or is not installed as files.
    """
    return packaged(__package__, _CHECKPOINT, _WEIGHTS)


def card() -> dict[str, Any]:
    """The checkpoint's card: data, steps, machine, digest, and scores by task and length."""
    return dict(json.loads((folder() / _CARD).read_text(encoding="utf-8")))


def load() -> tuple[Any, Any]:
    """The model (`LlamaForCausalLM`, float32, CPU, evaluation mode) and its tokenizer (`PreTrainedTokenizerFast`), from the package alone.

    Raises `ModelUnavailable` where torch or transformers is missing, `Corrupt` where the weights are not the card's.
    """
    try:
        import torch
        from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    except ImportError as error:
        raise ModelUnavailable(f"the reference model needs {error.name}; install it: pip install 'mnemos[models]'") from error
    path = folder()
    require_sha256(path / _WEIGHTS, str(card()["sha256"]))
    with no_progress_bars():
        model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
