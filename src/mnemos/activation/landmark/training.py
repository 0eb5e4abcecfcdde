"""Training with landmarks by plain torch: AdamW, warm-up and cosine, as the paper sets them (arXiv 2305.16300, sections 4.1 and 4.2); resumable."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mnemos.activation.landmark.attention import BLOCK, TOKEN
from mnemos.base.errors import Conflict, Invalid

STATE, LOG = "state.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the paper's for training from the beginning; `FINE_TUNING` has those for a model that exists."""

    steps: int = 240_000
    rate: float = 2e-3
    """Peak of the learning rate, reached after `warmup` × steps; from there it falls to 0 along a cosine."""
    warmup: float = 0.02
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-3
    accumulation: int = 8
    """Batches whose gradients make one step."""
    clip: float = 1.0
    """Largest norm of a step's gradient."""
    group_dropout: float = 0.0
    """The share of blocks that are, at random for each row, seen from within only, so that no answer leans on one block. The paper has none."""
    top: tuple[int, ...] = ()
    """Of these numbers each batch draws one: so many blocks each query and head sees, as when blocks are brought back. None: all."""
    rivals: int = 0
    """Landmarks of so many other rows of the batch, or as many as there are, compete with those of a row: where a text is long, blocks compete that a
    row of training has no room for. The paper has none; Focused Transformer does so with all keys (Tworkowski et al. 2023, section 3.2). They stand
    at the places that they have in their rows, as a row's own do, so that no place gives a rival away; stingy positions are among these places."""
    landmark_loss: bool = False
    """Whether landmarks count as words to predict. They never have to be: whoever generates knows where one stands."""
    bfloat16: bool = False
    """Whether matrix products are done in bfloat16."""
    muon: bool = False
    """Whether matrices inside the layers are moved by Muon (Jordan et al. 2024: momentum, orthogonalised) instead of AdamW: for small models."""
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        rising = max(1, round(self.warmup * self.steps))
        if step < rising:
            return self.rate * (step + 1) / rising
        return self.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, self.steps - rising))))


FINE_TUNING = Recipe(steps=15_000, rate=2e-5, warmup=0.03, weight_decay=0.1)
"""What the paper fine-tuned a model of 7B parameters with."""


@dataclass(frozen=True)
class Batch:
    """Rows with their landmarks in place, each with the grid that begins at its first token; padding at the end.

    `ids` (rows, length); `weights` (rows, length): how much predicting the token at a place counts; `positions` (rows, length), None: as they follow.
    """

    ids: Tensor
    weights: Tensor
    positions: Tensor | None = None


def jumped(batch: Batch, landmark: int, most: int, rng: Random) -> Batch:
    """The batch with positions that jump ahead behind each landmark, by 0 to `most` drawn for each (not in the paper; its authors' code has it as an
    option): distances within a block stay, and those between blocks no longer tell blocks apart. Raises `Invalid` for `most` < 0.

    Draw from a generator made of the batch's number, so that the batch is the same each time.
    """
    if most < 0:
        raise Invalid(f"positions that jump by up to {most}: they jump ahead, by 0 or more")
    generator = torch.Generator().manual_seed(rng.getrandbits(62))
    drawn = torch.randint(0, most + 1, batch.ids.shape, generator=generator).to(batch.ids.device) * (batch.ids == landmark)
    begun = torch.arange(batch.ids.shape[1], device=batch.ids.device) if batch.positions is None else batch.positions
    return replace(batch, positions=begun + drawn.cumsum(1) - drawn)


def loss(model: Any, batch: Batch, recipe: Recipe, kept_blocks: Tensor | None = None, top_blocks: int | None = None) -> Tensor:
    """The weighted mean cross-entropy of the words of a batch; landmarks count only where the recipe says so."""
    config = model.config.get_text_config(decoder=True)
    weights = batch.weights.clone()
    weights[:, 0] = 0.0
    marked = batch.ids == getattr(config, TOKEN)
    weights = torch.where(marked, 1.0, weights) if recipe.landmark_loss else weights.masked_fill(marked, 0.0)
    weights[:, 0] = 0.0
    rows, places = torch.nonzero(weights, as_tuple=True)
    more: dict[str, Any] = {} if top_blocks is None else {"top_blocks": top_blocks}
    if batch.positions is not None:  # with the mask, for without one transformers takes rows whose positions jump for several sequences
        more = {"position_ids": batch.positions, "attention_mask": torch.ones_like(batch.ids)}
    if kept_blocks is not None:
        more["kept_blocks"] = kept_blocks
    if recipe.rivals:
        more["rivals"] = min(recipe.rivals, len(batch.ids) - 1)
    with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=recipe.bfloat16):
        logits = model(input_ids=batch.ids, use_cache=False, **more).logits
    losses = torch.nn.functional.cross_entropy(logits[rows, places - 1].float(), batch.ids[rows, places], reduction="none")
    counted = weights[rows, places]
    return (losses * counted).sum() / counted.sum().clamp_min(1e-9)


class Training:
    """A model with landmarks installed, the optimiser of those of its parameters that learn, and the step it has reached. `batches` gives the batch
    of a number, the same each time, so that a training can be broken off at any moment and gone on with."""

    def __init__(self, model: Any, recipe: Recipe, batches: Callable[[int], Batch]) -> None:
        if not hasattr(model.config.get_text_config(decoder=True), BLOCK):
            raise Invalid("the model has no landmarks yet: install them first (mnemos.activation.landmark.attention.install)")
        self.model, self.recipe, self.batches = model, recipe, batches
        self.step = 0
        self.stop = False
        """Set it, and `train_to` ends after the step, saved."""
        self.learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        vocabularies = {id(table.weight) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table is not None}
        matrices = [weight for weight in self.learning.values() if recipe.muon and weight.ndim == 2 and id(weight) not in vocabularies]
        others = [weight for weight in self.learning.values() if not any(weight is matrix for matrix in matrices)]
        self._optimisers: list[Any] = []
        if matrices:
            self._optimisers.append(torch.optim.Muon(matrices, weight_decay=recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
        if others:
            self._optimisers.append(torch.optim.AdamW(others, betas=recipe.betas, weight_decay=recipe.weight_decay))

    def advance(self) -> float:
        """One step. Gives its loss."""
        recipe = self.recipe
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate_at(self.step)
            optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for number in range(self.step * recipe.accumulation, (self.step + 1) * recipe.accumulation):
            batch = self.batches(number)
            part = self.lost(batch, number) / recipe.accumulation
            part.backward()
            total += float(part.detach())
        torch.nn.utils.clip_grad_norm_(list(self.learning.values()), recipe.clip)
        for optimiser in self._optimisers:
            optimiser.step()
        self.step += 1
        return total

    def lost(self, batch: Batch, number: int) -> Tensor:
        """What is learnt from: the loss of the batch of that number."""
        return loss(self.model, batch, self.recipe, self._kept(batch, number), self._top(number))

    def _kept(self, batch: Batch, number: int) -> Tensor | None:
        if not self.recipe.group_dropout:
            return None
        blocks = -(-batch.ids.shape[1] // (getattr(self.model.config.get_text_config(decoder=True), BLOCK) + 1))
        drawn = torch.rand(len(batch.ids), blocks, generator=torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number))
        return (drawn >= self.recipe.group_dropout).to(batch.ids.device)

    def _top(self, number: int) -> int | None:
        return Random(f"top {self.recipe.seed} {number}").choice(self.recipe.top) if self.recipe.top else None

    def save(self, folder: Path) -> None:
        """Write what learns and the optimiser's state as one file, by a rename: a kill leaves the old state or the new."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight.{name}": weight.detach().contiguous() for name, weight in self.learning.items()}
        for name, weight in self.learning.items():
            for optimiser in self._optimisers:
                tensors |= {f"{key}.{name}": value.contiguous() for key, value in optimiser.state.get(weight, {}).items()}
        beside = folder / f"{STATE}.new"
        save_file(tensors, beside, metadata={"step": str(self.step), "recipe": repr(self.recipe)})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(folder / STATE)

    def restore(self, folder: Path) -> None:
        """Go on where a saved state was. Raises `Conflict` where it was trained by another recipe, or has other parameters."""
        with safe_open(folder / STATE, framework="pt") as file:
            said = file.metadata()
            names = {name.removeprefix("weight.") for name in file.keys() if name.startswith("weight.")}  # noqa: SIM118 - a handle, no dict
            if said["recipe"] != repr(self.recipe) or names != set(self.learning):
                raise Conflict(f"{folder / STATE} is of another training ({said['recipe']}): take another folder, or the same recipe and parameters")
            for name, weight in self.learning.items():
                with torch.no_grad():
                    weight.copy_(file.get_tensor(f"weight.{name}"))
            every = {weight: name for name, weight in self.learning.items()}
            stored = set(file.keys())
            for optimiser in self._optimisers:
                for weight in (each for group in optimiser.param_groups for each in group["params"]):
                    keys = [key for key in ("momentum_buffer", "step", "exp_avg", "exp_avg_sq") if f"{key}.{every[weight]}" in stored]
                    if keys:
                        optimiser.state[weight] = {key: file.get_tensor(f"{key}.{every[weight]}") for key in keys}
        self.step = int(said["step"])

    def train_to(self, folder: Path, until: int, seconds: float = math.inf, every: float = 120.0,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        """Step up to step `until`, or for so many seconds; saves after every so many seconds and at the end; logs every 20 steps as a JSON line."""
        folder.mkdir(parents=True, exist_ok=True)
        begun = saved = clock()
        losses: list[float] = []
        while not self.stop and self.step < min(until, self.recipe.steps) and clock() - begun < seconds:
            losses.append(self.advance())
            if self.step % 20 == 0:
                with (folder / LOG).open("a") as log:
                    log.write(json.dumps({"step": self.step, "loss": round(sum(losses) / len(losses), 4), "seconds": round(clock() - begun)}) + "\n")
                losses = []
            if clock() - saved >= every:
                self.save(folder)
                saved = clock()
        self.save(folder)
