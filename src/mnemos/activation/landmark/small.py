"""Small models that learnt landmarks from nothing on rows of 256 tokens, and those without that learnt the same in the same steps beside them.

`notes` and `notes-plain` look notes up; `text` and `text-recurrent` know characters of books. `python -m mnemos.activation.landmark --model NAME`
trains one, and with `--publish` it becomes what `load` gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DynamicCache

from mnemos.activation.landmark import lessons, tokens
from mnemos.activation.landmark.attention import install
from mnemos.activation.landmark.training import Batch, Recipe
from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable
from mnemos.models.reference.training.beginning import fresh
from mnemos.models.weights import packaged, require_sha256

BLOCK = 15
TRAINED = 256
"""Tokens, landmarks included, of the longest rows that are learnt on."""
WORDS = TRAINED // (BLOCK + 1) * BLOCK
"""The same without landmarks."""
SEGMENT, MEMORY = 128, 256
"""Of the recurrent model: characters that are read at a time, and those before them that it remembers."""
LENGTHS = ((0.0, 15), (0.16, 30), (0.28, 60), (0.35, 120), (0.42, WORDS))
"""From which share of the first stage's steps on rows of notes have how many words: a block first, within which attention is plain, for looking up is
learnt there soonest; then as many as landmarks have to find."""
_UNLEARNT = 0.38
"""The share of the first stage's steps over which rows that say themselves again grow fewer, to none."""
_SHORT = 0.15
"""The share of batches that are of a quarter of the longest rows after the beginning."""

_APART = 2000
"""Batches between the first ones of two stages, so that none comes twice."""

CARD = "card.json"


@dataclass(frozen=True)
class Small:
    """One of them: its shape, as `fresh` takes it, how it learns, whether it has landmarks, and whether it remembers what is before its segment."""

    shape: Mapping[str, int]
    stages: tuple[Recipe, ...]
    """One after the other, each with an optimiser of its own, from the weights that are stored of the one before."""
    row_tokens: int
    """Words of a batch."""
    landmarks: bool = True
    recurrent: bool = False
    text: bool = False
    base: float = 1e4
    """Of RoPE. The larger, the more dimensions turn so slowly that a landmark is scored alike wherever in a row it stands."""

    @property
    def landmark(self) -> int:
        """Its landmark's id, the first behind the others; those without have a word for it that never comes."""
        return len(lessons.CHARACTERS) if self.text else lessons.NOTE_WORDS


def _shape(width: int, inner: int, heads: int, head: int) -> dict[str, int]:
    return {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 3, "num_attention_heads": heads, "num_key_value_heads": heads,
            "head_dim": head}  # fmt: skip


_AMONG = Recipe(steps=1400, rate=2e-2, warmup=0.03, accumulation=1, top=(2, 16, 128), rivals=7, muon=True)
_ALONE = replace(_AMONG, steps=120, rate=5e-3, rivals=0)
"""Rivals teach landmarks to differ, but have nothing behind them; this, which of the blocks that are brought has the answer."""
_NOTES = Small(_shape(64, 128, 4, 32), (_AMONG, _ALONE), 2048, base=1e6)
_TEXT = Small(_shape(96, 160, 4, 24), (Recipe(steps=1000, rate=1e-2, warmup=0.03, accumulation=1, top=(2, 4, 16), muon=True),), 2048, text=True)


def _without(one: Small, recurrent: bool = False) -> Small:
    return replace(one, stages=tuple(replace(stage, top=(), rivals=0) for stage in one.stages), landmarks=False, recurrent=recurrent)


MODELS = {"notes": _NOTES, "notes-plain": replace(_without(_NOTES), base=1e4), "text": _TEXT, "text-recurrent": _without(_TEXT, recurrent=True)}


def begun(name: str) -> Any:
    """The model of that name before it learns. Raises `Invalid` for another name."""
    if name not in MODELS:
        raise Invalid(f"there is no small model {name!r}; there are {', '.join(MODELS)}")
    one = MODELS[name]
    model = fresh(one.stages[0].seed, vocab_size=one.landmark + 1, max_position_embeddings=TRAINED, pad_token_id=None, bos_token_id=None,
                  eos_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": one.base}, **one.shape)  # fmt: skip
    install(model, BLOCK, one.landmark)
    if not one.landmarks:
        model.set_attn_implementation("sdpa")
    return Recurrent(model, MEMORY) if one.recurrent else model


def batches(name: str, texts: lessons.Texts | None, stage: int = 0) -> Callable[[int], Batch]:
    """What the model of that name learns from in a stage: the batch of each number. Models of text need `texts`."""
    one = MODELS[name]
    if one.text and texts is None:
        raise Invalid(f"{name} learns from books: name their folder")

    def numbered(within: int) -> Batch:
        number = within + stage * _APART
        rng = Random(f"small {one.stages[0].seed} {number}")
        if texts is None or not one.text:
            ids, weights = _of_notes(one, rng, number)
        elif one.recurrent:
            return _of_stream(one, texts, number)
        else:
            ids = lessons.documents(rng, texts.read, WORDS, one.row_tokens // WORDS)
            weights = torch.ones_like(ids, dtype=torch.float32)
        return Batch(*tokens.in_training(ids, BLOCK, one.landmark, weights)) if one.landmarks else Batch(ids, weights)

    return numbered


def _of_notes(one: Small, rng: Random, number: int) -> tuple[Tensor, Tensor]:
    done = number / one.stages[0].steps
    words = max(length for share, length in LENGTHS if share <= done)
    if words > WORDS // 4 and rng.random() < _SHORT:
        words = WORDS // 4
    return lessons.rows_of_notes(rng, words, one.row_tokens // words, max(0.0, 1 - done / _UNLEARNT))


def _of_stream(one: Small, texts: lessons.Texts, number: int) -> Batch:
    """The next segment of documents that are read one after the other, each of four times as many characters as rows with landmarks have."""
    there = 4 * WORDS // SEGMENT
    rng = Random(f"small {one.stages[0].seed} document {number // there}")
    rows = lessons.documents(rng, texts.read, there * SEGMENT, one.row_tokens // SEGMENT)
    start = number % there * SEGMENT
    ids = rows[:, start : start + SEGMENT]
    return Batch(ids, torch.ones_like(ids, dtype=torch.float32), (torch.arange(SEGMENT) + start).expand_as(ids))


class Recurrent(nn.Module):
    """A model that reads segment by segment, and attends to keys and values of the last `memory` tokens before, through which no gradient flows
    (Transformer-XL, Dai et al. 2019, section 3.2); positions are relative by RoPE. A row that begins at position 0 has nothing before it."""

    def __init__(self, model: Any, memory: int) -> None:
        super().__init__()
        self.model, self.config, self.memory = model, model.config, memory
        self._past: DynamicCache | None = None

    def get_input_embeddings(self) -> Any:
        """The model's."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """The model's."""
        return self.model.get_output_embeddings()

    def forward(self, input_ids: Tensor, position_ids: Tensor, **_: Any) -> Any:
        """As the model's, of the next segment [B, t]."""
        past = self._past if self._past is not None and int(position_ids[0, 0]) else DynamicCache()
        out = self.model(input_ids=input_ids, position_ids=position_ids, cache=past, use_cache=True,
                         attention_mask=input_ids.new_ones(len(input_ids), past.get_seq_length() + input_ids.shape[1]))  # fmt: skip
        for layer in past.layers:
            layer.keys, layer.values = (each[:, :, -self.memory :].detach() for each in (layer.keys, layer.values))
        self._past = past
        return out


def folder() -> Path:
    """Where weights and card are."""
    return packaged(__package__, "weights")


def card() -> dict[str, Any]:
    """What is known of each model: how it was made and what its weights are."""
    path = folder() / CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def load(name: str) -> Any:
    """The model, ready to read with `KVMemory` and `policy("landmark", block=BLOCK, …)`, or, without landmarks, as any other. Raises `Invalid` for
    another name, `ModelUnavailable` without weights, and `Corrupt` where they are not the card's."""
    model = begun(name)
    path, said = folder() / f"{name}.safetensors", card().get(name)
    if said is None or not path.is_file():
        raise ModelUnavailable(f"{folder()} holds no {path.name} with its card: install mnemos again as a wheel or from its repository")
    require_sha256(path, str(said["sha256"]))
    weights = {key: value.float() for key, value in load_file(path).items()}
    learnt = dict(_inner(model).named_parameters())
    if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in learnt.items()}:
        raise Corrupt(f"{path} holds weights of another shape than {name} has: install mnemos again")
    with torch.no_grad():
        for key, value in weights.items():
            learnt[key].copy_(value)
    return model.requires_grad_(False).eval()


def save(name: str, model: Any, to: Path, **said: Any) -> None:
    """Writes what a model learnt, in float16, and what its card says."""
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"{name}.safetensors"
    save_file({key: value.detach().half().contiguous() for key, value in _inner(model).named_parameters()}, path, metadata={"format": "pt"})
    path.chmod(0o644)
    content = path.read_bytes()
    one = MODELS[name]
    known = json.loads((to / CARD).read_text(encoding="utf-8")) if (to / CARD).is_file() else {}
    known[name] = {
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "storage": "float16",
        "shape": dict(one.shape),
        "base": one.base,
        "recipes": [asdict(stage) for stage in one.stages],
        "words a batch": one.row_tokens,
        "data": "eight public-domain novels, passages coming back" if one.text else "generated notes (mnemos.activation.landmark.lessons)",
        **said,
    }
    (to / CARD).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def rounded(model: Any) -> None:
    """Gives a model the weights that are stored of it."""
    with torch.no_grad():
        for weight in _inner(model).parameters():
            weight.copy_(weight.half())


def _inner(model: Any) -> Any:
    return model.model if isinstance(model, Recurrent) else model
