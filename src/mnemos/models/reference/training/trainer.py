"""The training loop: resumable to the bit, killed at any moment without loss of more than the steps since the last save."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mnemos.base.errors import Conflict
from mnemos.models.reference.training import attention
from mnemos.models.reference.training.batches import Batch, Books, batch
from mnemos.models.reference.training.beginning import fresh
from mnemos.models.reference.training.plan import Plan
from mnemos.models.reference.training.products import quick_products

STATE = "state.safetensors"
LOG = "log.jsonl"

_SAVED_EVERY = 180.0
"""Seconds between two saves."""

_CLIP = 1.0
_AVERAGED = 1 / 150
"""How much of the weights each step moves into their running average, which is what is published (Polyak & Juditsky 1992)."""

_DECAY = 0.02


class Trainer:
    """A model, the running average of its weights, its two optimisers, and the step it has reached; `stop` ends `train` after the step.

    Matrices inside the layers are moved by Muon (Jordan et al. 2024: momentum, orthogonalised), embeddings and norms by AdamW.
    """

    def __init__(self, plan: Plan, books: Books, **shape: Any) -> None:
        self.plan, self.books = plan, books
        self.stop = False
        self.model = fresh(plan.seed, **shape)
        attention.install(self.model)
        self.step = 0
        self.tokens = 0
        self.average = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        named = list(self.model.named_parameters())
        matrices = [(name, weight) for name, weight in named if weight.ndim == 2 and "embed" not in name]
        others = [(name, weight) for name, weight in named if weight.ndim != 2 or "embed" in name]
        self._named = {"muon": matrices, "adamw": others}
        self._optimisers = {
            "muon": torch.optim.Muon([weight for _, weight in matrices], weight_decay=_DECAY, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            "adamw": torch.optim.AdamW([weight for _, weight in others], betas=(0.9, 0.95), weight_decay=0.0),
        }

    def advance(self) -> dict[str, Any]:
        """One step. Gives its number, its loss, and the loss of each kind of row."""
        drawn = batch(self.plan, self.step, self.books)
        rate = self.plan.rate_at(self.step)
        for optimiser in self._optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        loss, by_kind = self._loss(drawn)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        for optimiser in self._optimisers.values():
            optimiser.step()
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                self.average[name].lerp_(weight, max(_AVERAGED, 1 / (self.step + 1)))
        self.step += 1
        self.tokens += drawn.ids.size
        return {"step": self.step, "length": drawn.ids.shape[1], "loss": round(float(loss.detach()), 4), "kinds": by_kind}

    def _loss(self, drawn: Batch) -> tuple[Any, dict[str, float]]:
        ids, weights = torch.from_numpy(drawn.ids), torch.from_numpy(drawn.weights)
        rows, places = torch.nonzero(weights, as_tuple=True)
        with torch.autocast("cpu", products := quick_products(), enabled=products is not None):
            hidden = self.model.model(input_ids=ids, position_ids=torch.from_numpy(drawn.positions), use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[rows, places - 1])
        losses = torch.nn.functional.cross_entropy(logits.float(), ids[rows, places], reduction="none")
        counted = weights[rows, places]
        by_kind: dict[str, float] = {}
        for kind in sorted(set(drawn.kinds)):
            mine = torch.tensor([other == kind for other in drawn.kinds])[rows]
            if mine.any():
                by_kind[kind] = round(float(losses.detach()[mine].mean()), 3)
        return (losses * counted).sum() / counted.sum(), by_kind

    def save(self, folder: Path) -> None:
        """Write the whole state as one file, by a rename: a kill leaves the old state or the new."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{name}": weight.detach() for name, weight in self.model.named_parameters()}
        tensors |= {f"average.{name}": weight for name, weight in self.average.items()}
        for kind, named in self._named.items():
            state = self._optimisers[kind].state
            for name, weight in named:
                for key, value in state[weight].items():
                    tensors[f"{kind}.{key}.{name}"] = value
        beside = folder / f"{STATE}.new"
        reached = {"step": str(self.step), "tokens": str(self.tokens), "seed": str(self.plan.seed)}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata=reached)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(folder / STATE)

    def restore(self, folder: Path) -> None:
        """Go on where a saved state was. Raises `Conflict` where it was trained from another seed."""
        with safe_open(folder / STATE, framework="pt") as file:
            metadata = file.metadata()
            if int(metadata["seed"]) != self.plan.seed:
                raise Conflict(f"{folder / STATE} was trained from seed {metadata['seed']}, the plan says {self.plan.seed}; take another folder")
            names = set(file.keys())
            with torch.no_grad():
                for name, weight in self.model.named_parameters():
                    weight.copy_(file.get_tensor(f"model.{name}"))
                    self.average[name] = file.get_tensor(f"average.{name}" if f"average.{name}" in names else f"model.{name}")
            for kind, named in self._named.items():
                for name, weight in named:
                    keys = [key for key in ("momentum_buffer", "step", "exp_avg", "exp_avg_sq") if f"{kind}.{key}.{name}" in names]
                    self._optimisers[kind].state[weight] = {key: file.get_tensor(f"{kind}.{key}.{name}") for key in keys}
        self.step, self.tokens = int(metadata["step"]), int(metadata["tokens"])

    def train_to(self, folder: Path, until: int, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        """Step up to step `until`, or for so many seconds; saves every three minutes and at the end; logs every 20 steps as a JSON line."""
        folder.mkdir(parents=True, exist_ok=True)
        begun = saved = told = clock()
        tokens = self.tokens
        sums: dict[str, list[float]] = {}
        while not self.stop and self.step < min(until, self.plan.steps) and clock() - begun < seconds:
            for kind, loss in self.advance()["kinds"].items():
                sums.setdefault(kind, []).append(loss)
            now = clock()
            if self.step % 20 == 0:
                line = {
                    "step": self.step,
                    "tokens": self.tokens,
                    "per_second": round((self.tokens - tokens) / max(1e-9, now - told)),
                    "loss": {kind: round(sum(values) / len(values), 3) for kind, values in sorted(sums.items())},
                }
                with (folder / LOG).open("a") as log:
                    log.write(json.dumps(line) + "\n")
                told, tokens, sums = now, self.tokens, {}
            if now - saved >= _SAVED_EVERY:
                self.save(folder)
                saved = now
        self.save(folder)
