"""Teaching memory tokens to hold what is asked for later (MemoRAG, arXiv 2409.05591, section 3.2).

The loss is that of the next token, through the memory: gradients flow from later windows into what was remembered of earlier ones. With all tokens
counted that is pre-training, with answers alone it is fine-tuning on (context, question → clues, answer). Ratios are drawn anew at each step.

A model that looks things up finds them by sharp keys, of which untrained memory tokens have none, so that at first no gradient tells where to go.
`fit` and `imitation_loss` begin with something simpler: of the tokens before a memory token, its h-th head learns to hold what the model's own h-th
head holds of the h-th last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.memory import BeaconMemory
from mnemos.activation.beacon.windows import Windows
from mnemos.base.errors import Invalid

_STRONGER = 1.5
"""What one head says of a token has to count for several heads that said it before."""
_RIDGE = 1e-2
_LATER_LAYERS = 0.05
"""Of the second layer's share of the imitation: what deeper layers keep builds on it."""


_MUON: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}
_ADAM: dict[str, Any] = {"weight_decay": 0.0, "betas": (0.9, 0.95)}


def _nothing(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Plan:
    """How memory tokens are trained. Progress runs from 0 to 1, by whatever the caller measures it."""

    ratios: tuple[int | None, ...] = (2, 4, 8, 16, 32)
    """Drawn from at each step; one that stands there twice is drawn twice as often; None: nothing is compressed."""
    sizes: tuple[int, ...] = (2048,)
    """Windows, drawn from as well."""
    rate: float = 1e-2
    """Of memory tokens."""
    model_rate: float = 3e-3
    """Of what else is trained."""
    vectors: float = 1.0
    """Share of `model_rate` at which the model's vectors and embeddings are trained; they are moved by AdamW."""
    warmup: int = 20
    cooldown: float = 0.3
    """Share of the progress over which the rate falls to 0 at the end."""
    imitation: float = 0.0
    """Share of the progress over which memory tokens imitate; the next token counts from two thirds of it on."""
    seed: int = 0
    place: str = "interleaved"

    def windows(self, step: int) -> Windows:
        """Those of a step."""
        rng = Random(f"windows {self.seed} {step}")
        return Windows(rng.choice(self.sizes), rng.choice(self.ratios), place=self.place)

    def share_at(self, step: int, progress: float) -> float:
        """Of the learning rates, at a step."""
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.02, (1 - progress) / max(self.cooldown, 1e-9)))


@dataclass(frozen=True)
class Batch:
    """`ids` [B, n]; `weights` [B, n]: how much predicting each token counts, None: all that a memory token can help with alike."""

    ids: Tensor
    weights: Tensor | None = None


class Trainer:
    """Trains memory tokens in place, and what else is named. Matrices are moved by Muon, the rest by AdamW."""

    def __init__(self, beacons: Beacons, plan: Plan, adapted: bool = True, also: Callable[[str], bool] = _nothing,
                 autocast: torch.dtype | None = None) -> None:  # fmt: skip
        """`adapted`: whether the projections that ordinary tokens may have of their own are trained; `also`: which weights of the model itself are,
        by their names; `autocast`: the type of products, float32 where None."""
        self.beacons, self.plan, self.autocast, self.step = beacons, plan, autocast, 0
        own = list(beacons.named_parameters())
        tokens = [(name, weight) for name, weight in own if not name.startswith("adapted.")]
        others = [(name, weight) for name, weight in own if adapted and name.startswith("adapted.")]
        self._known = [(name, weight) for name, weight in beacons.model.named_parameters() if also(name)]
        self._groups = [(plan.rate, tokens), (plan.model_rate, [*others, *self._known])]
        self._optimisers = [
            (rate * (vectors if flat else 1.0), kind(chosen, **settings))
            for (rate, named), vectors in zip(self._groups, (1.0, plan.vectors), strict=True)
            for kind, settings, flat in ((torch.optim.Muon, _MUON, False), (torch.optim.AdamW, _ADAM, True))
            if (chosen := [weight for name, weight in named if (weight.ndim != 2 or "embed" in name) == flat])
        ]

    def advance(self, batch: Batch, progress: float) -> dict[str, float]:
        """One step; gives its ratio and its losses."""
        windows, imitates = self.plan.windows(self.step), progress < self.plan.imitation
        predicts = not imitates or progress > 2 / 3 * self.plan.imitation
        share = self.plan.share_at(self.step, progress)
        for rate, optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.zero_grad(set_to_none=True)
        told: dict[str, float] = {"ratio": float(windows.ratios[0] or 1)}
        with _only(self.beacons.model, self._known), torch.autocast(batch.ids.device.type, self.autocast, enabled=self.autocast is not None):
            hidden, memory = read(self.beacons, batch.ids, windows)
            total: Tensor = hidden.new_zeros(())
            if predicts:
                loss = next_token_loss(self.beacons, hidden, batch, windows)
                told["next token"], total = float(loss.detach()), total + loss
            if imitates:
                loss = imitation_loss(self.beacons, batch.ids, memory)
                told["imitation"], total = float(loss.detach()), total + loss
            total.backward()
        torch.nn.utils.clip_grad_norm_([weight for _, named in self._groups for _, weight in named], 1.0)
        for _, optimiser in self._optimisers:
            optimiser.step()
        self.step += 1
        return told

    def train(self, batches: Callable[[int], Batch], seconds: float, clock: Callable[[], float] = time.process_time,
              hear: Callable[[int, dict[str, float]], None] = lambda step, told: None) -> int:  # fmt: skip
        """Steps for so many seconds, of the processor's where nothing else is said; gives how many. `batches` makes the batch of a step."""
        begun = clock()
        while (progress := (clock() - begun) / seconds) < 1:
            hear(self.step, self.advance(batches(self.step), progress))
        return self.step


def read(beacons: Beacons, ids: Tensor, windows: Windows) -> tuple[Tensor, BeaconMemory]:
    """What the model says after each token [B, n, width], and the memory, with gradients."""
    memory = beacons.memory(windows)
    return beacons.model.base_model(input_ids=ids, cache=memory, use_cache=True).last_hidden_state, memory


def next_token_loss(beacons: Beacons, hidden: Tensor, batch: Batch, windows: Windows) -> Tensor:
    """Mean over the tokens that count. Where all do, the first window does not: its tokens see no memory. Raises `Invalid` where none counts."""
    weights = batch.weights
    if weights is None:
        first = 1 if windows.eager else windows.size + windows.sinks
        weights = torch.ones_like(batch.ids, dtype=torch.float32)
        weights[:, :first] = 0
    weights = weights.clone()
    weights[:, 0] = 0  # nothing stands before it
    rows, places = torch.nonzero(weights, as_tuple=True)
    if not len(rows):
        raise Invalid(f"no token counts in a batch of {tuple(batch.ids.shape)}: give texts longer than a window of {windows.size}, or weights")
    logits = beacons.model.get_output_embeddings()(hidden[rows, places - 1])
    losses = torch.nn.functional.cross_entropy(logits.float(), batch.ids[rows, places], reduction="none")
    counted = weights[rows, places]
    return (losses * counted).sum() / counted.sum()


def imitation_loss(beacons: Beacons, ids: Tensor, memory: BeaconMemory) -> Tensor:
    """How far keys and values of memory tokens are from those that the model has of the tokens before them, as a share of their variance, by heads as
    the module says; of the second layer on, since the first knows of a memory token only that it is one."""
    with torch.no_grad():
        _, whole = read(beacons, ids, Windows(ids.shape[1], None))
    heads = memory.layers[0].remembered[0].shape[1]
    total = memory.layers[0].remembered[0].new_zeros(())
    for number in range(1, len(memory.layers)):
        error = total.new_zeros(())
        for kind in range(2):
            got, known = memory.layers[number].remembered[kind].float(), whole.layers[number].remembered[kind].float()
            for head in range(heads):
                which, places = _before(memory, head)
                wanted = known[:, head, places] * (_STRONGER if kind else 1.0)
                error = error + (got[:, head, which] - wanted).square().mean() / wanted.var(dim=(0, 1)).mean() / heads
        total = total + error * (1.0 if number == 1 else _LATER_LAYERS)
    return total


def fit(beacons: Beacons, ids: Tensor, windows: Windows) -> None:
    """Gives memory tokens the projections to keys and values, from the second layer on, that imitate best by least squares. Raises `Invalid` for
    models that do more than project."""
    model = beacons.model
    with torch.no_grad():
        _, whole = read(beacons, ids, Windows(ids.shape[1], None))
        for number in range(1, len(whole.layers)):
            names = [f"{number}_k_proj", f"{number}_v_proj"]
            if any(name not in beacons.projections for name in names) or any(hasattr(module, "k_norm") for module in model.modules()):
                raise Invalid(f"{type(model).__name__} does not make its keys by a projection alone: begin by imitation_loss instead")
            heard: list[Tensor] = []
            hook = beacons.projections[names[0]].register_forward_hook(lambda module, args, output, to=heard: to.append(args[0]))
            try:
                _, memory = read(beacons, ids, windows)
            finally:
                hook.remove()
            states = heard[0].reshape(len(ids), -1, heard[0].shape[-1]).double()
            for kind, name in enumerate(names):
                known = whole.layers[number].remembered[kind].double() * (_STRONGER if kind else 1.0)
                size, weight = known.shape[-1], beacons.projections[name].weight
                for head in range(known.shape[1]):
                    which, places = _before(memory, head)
                    x, y = states[:, which].flatten(0, 1), known[:, head, places].flatten(0, 1)
                    gram = x.T @ x
                    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
                    weight[head * size : (head + 1) * size] = torch.linalg.solve(gram, x.T @ y).T.to(weight.dtype)


def _before(memory: BeaconMemory, back: int) -> tuple[list[int], list[int]]:
    """Which memory tokens have a token so far back in their window, and the places of those tokens in the text."""
    windows = memory.windows
    (ratio,) = windows.ratios
    assert ratio is not None
    assert not windows.sinks
    which, places = [], []
    for number in range(memory.cursors[0].base):
        window, j = divmod(number, windows.size // ratio)
        if (place := (j + 1) * ratio - 1 - back) >= 0:
            which.append(number)
            places.append(window * windows.size + place)
    return which, places


@contextmanager
def _only(model: Any, trained: Sequence[tuple[str, Tensor]]) -> Iterator[None]:
    """Within, no other weights of the model take a gradient."""
    before = [(weight, weight.requires_grad) for weight in model.parameters()]
    chosen = {id(weight) for _, weight in trained}
    try:
        for weight, _ in before:
            weight.requires_grad_(id(weight) in chosen)
        yield
    finally:
        for weight, needed in before:
            weight.requires_grad_(needed)


def answers(rows: Iterable[Sequence[tuple[Sequence[int], bool]]], padding: int = 0) -> Batch:
    """A batch for fine-tuning: each row is pieces of tokens, and whether they count (answers, clues) or not (contexts, questions). Shorter rows are
    padded at their end."""
    rows = list(rows)
    ids = [[token for piece, _ in row for token in piece] for row in rows]
    counted = [[float(counts) for piece, counts in row for _ in piece] for row in rows]
    longest = max(map(len, ids))
    return Batch(torch.tensor([[*row, *[padding] * (longest - len(row))] for row in ids]),
                 torch.tensor([[*row, *[0.0] * (longest - len(row))] for row in counted]))  # fmt: skip
