"""Teaching a model that exists to attend by landmarks (arXiv 2305.16300, section 4.2), and storing only what it learnt.

Either all weights learn, or small additions to the attention's projections (LoRA, Hu et al. 2021) and the landmark's embedding. What is stored
carries the fingerprint of the model that it was learnt on, and is given to no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mnemos.activation.landmark.attention import BLOCK, install
from mnemos.activation.landmark.tokens import SILENT
from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound
from mnemos.models.local.fingerprint import Fingerprint, fingerprint_of
from mnemos.models.weights import require_sha256

WEIGHTS, CARD = "landmark.safetensors", "card.json"
_FORMAT = 1


@dataclass(frozen=True)
class LoRA:
    """Additions of low rank to some of a model's projections, instead of learning all weights. Needs peft."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """The modules that they are added to, by the ends of their names."""


class Retrofit:
    """A model with landmarks, and what it was before. `model` is what is trained and called; `token` the landmark's id."""

    def __init__(self, base: Any, block: int, lora: LoRA | None = None, silent: bool = False) -> None:
        """Prepares `base`, whose embeddings grow by one and whose attention changes; `silent`: what comes after a landmark will be learnt by the word
        before it. Raises `Invalid` for a model that has landmarks already.

        The landmark's embedding begins as the mean of all others.
        """
        config = base.config.get_text_config(decoder=True)
        if hasattr(config, BLOCK):
            raise Invalid("the model has landmarks already: begin with the base model")
        self.base, self.block, self.lora = fingerprint_of(base, None), block, lora
        self.token, self.silent = _with_landmark(base), silent
        install(base, block, self.token)
        setattr(config, SILENT, silent)
        self._plain = base
        self._begun: dict[str, Tensor] = {}
        if lora is None:
            self.model = base
            self._begun = {name: weight.detach().clone() for name, weight in base.named_parameters()}
        else:
            self.model = _with_lora(base, lora, self.token)

    def learnt(self) -> dict[str, Tensor]:
        """What is stored, in float16: the differences of all weights, or LoRA's additions and the landmark's embedding."""
        if self.lora is not None:
            from peft import get_peft_model_state_dict

            return {name: tensor.detach().half().contiguous() for name, tensor in get_peft_model_state_dict(self.model).items()}
        return {name: (weight.detach() - self._begun[name]).half().contiguous() for name, weight in self._plain.named_parameters()}

    def save(self, folder: Path, **said: Any) -> dict[str, Any]:
        """Writes `landmark.safetensors` and `card.json`, with `said` in it; gives the card."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.learnt(), folder / WEIGHTS, metadata={"format": "pt"})
        (folder / WEIGHTS).chmod(0o644)
        content = (folder / WEIGHTS).read_bytes()
        card = {
            "format": _FORMAT,
            "block": self.block,
            "silent": self.silent,
            "lora": None if self.lora is None else asdict(self.lora),
            "base": asdict(self.base),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            **said,
        }
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        return card

    @classmethod
    def load(cls, base: Any, folder: Path) -> Retrofit:
        """What was saved in a folder, given to the model that it was learnt on. Raises `NotFound`, `Corrupt`, and `Conflict` for another model."""
        card = card_of(folder)
        try:
            learnt_on, block = Fingerprint(**card["base"]), int(card["block"])
            lora = None if card["lora"] is None else LoRA(**{**card["lora"], "targets": tuple(card["lora"]["targets"])})
            digest, silent = str(card["sha256"]), bool(card.get("silent", False))
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"{folder / CARD} is no card of a landmark model ({error!r}): save it again") from error
        require_sha256(folder / WEIGHTS, digest)
        if other := fingerprint_of(base, None).differences(learnt_on):
            raise Conflict(f"the landmarks in {folder} were learnt on another model than this {type(base).__name__}: {', '.join(other)} of "
                           f"{', '.join(each.name for each in fields(Fingerprint))} differ; load the model that they were learnt on")  # fmt: skip
        try:
            learnt = load_file(folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise Corrupt(f"{folder / WEIGHTS} cannot be read: {error}") from error
        made = cls(base, block, lora, silent)
        made._take(learnt)
        return made

    def _take(self, learnt: Mapping[str, Tensor]) -> None:
        if self.lora is not None:
            from peft import set_peft_model_state_dict

            set_peft_model_state_dict(self.model, dict(learnt))
            self.model.eval()
            return
        with torch.no_grad():
            for name, weight in self._plain.named_parameters():
                weight.copy_(self._begun[name] + learnt[name].to(weight.dtype))

    def merged(self) -> Any:
        """The model by itself, LoRA's additions worked into its weights: what to read with, for `KVMemory` and others. The retrofit is used up."""
        model = self._plain if self.lora is None else self.model.merge_and_unload()
        model.requires_grad_(False)
        return model.eval()


def card_of(folder: Path) -> dict[str, Any]:
    """The card of a saved retrofit. Raises `NotFound` and `Corrupt`."""
    if not (folder / WEIGHTS).is_file() or not (folder / CARD).is_file():
        raise NotFound(f"{folder} has no {WEIGHTS} with its {CARD}: name a folder that Retrofit.save wrote")
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Corrupt(f"{folder / CARD} is no JSON ({error}): save it again") from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise Corrupt(f"{folder / CARD} is no card that this version reads: save it again")
    return card


def _with_landmark(model: Any) -> int:
    """One more word in a model's vocabulary: its id."""
    token = int(model.get_input_embeddings().weight.shape[0])
    model.resize_token_embeddings(token + 1, mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings(), model.get_output_embeddings()):
            if table is not None:
                table.weight[token] = table.weight[:token].mean(0)
    return token


def _with_lora(model: Any, lora: LoRA, token: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise Invalid("learning by LoRA needs peft: pip install peft, or learn all weights (lora=None)") from error
    settings = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets),
                          trainable_token_indices=[token], task_type="CAUSAL_LM")  # fmt: skip
    return get_peft_model(model, settings)
