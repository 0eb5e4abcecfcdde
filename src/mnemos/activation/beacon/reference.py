"""Memory tokens of the reference model: `python -m mnemos.activation.beacon.reference --out DIR` trains them, `load` brings those of the package.

They are trained to recall keys and values (the task "kv") through windows of 64 tokens. At first they alone are; then the attention's projections
for ordinary tokens, too, which stand in for the model's own only where a compressed memory is read with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mnemos.activation.beacon import saving
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.scoring import Asked, compressed
from mnemos.activation.beacon.training import Batch, Plan, Trainer, fit
from mnemos.activation.beacon.windows import Windows
from mnemos.base.errors import Corrupt
from mnemos.models import reference
from mnemos.models.reference import language, tasks
from mnemos.models.reference.training.batches import Books, batch
from mnemos.models.reference.training.plan import Plan as Mixture
from mnemos.models.reference.training.plan import Stage
from mnemos.models.reference.training.products import quick_products
from mnemos.models.weights import packaged

WEIGHTS, CARD = "memory.safetensors", "card.json"
LENGTH, TOKENS = 512, 2048
"""Tokens of a row, and of a step."""


@dataclass(frozen=True)
class Part:
    """A part of the training: for so many seconds of the processor, on batches of these tasks from a seed."""

    plan: Plan
    mixture: dict[str, float]
    seed: int
    adapted: bool
    """Whether projections for ordinary tokens are trained."""
    seconds: float


PARTS = (
    Part(Plan(ratios=(2, 4, 4, 8), sizes=(64, 128), imitation=1 / 3), {"kv": 3.0, "chain": 1.0}, 77, False, 150),
    Part(Plan(ratios=(2, 4, 4, 4, 8), sizes=(64, 128), cooldown=0.0), {"kv": 1.0}, 78, True, 365),
    Part(Plan(ratios=(2, 4, 4, 4, 4, 4, 8), sizes=(64,), rate=6e-3, model_rate=1.8e-3, cooldown=1.0), {"kv": 1.0}, 80, True, 180),
    Part(Plan(ratios=(2, 2, 4, 4, 4), sizes=(64,), rate=5e-3, model_rate=2e-3, cooldown=1.0), {"kv": 1.0}, 81, True, 87),
    Part(Plan(ratios=(2, 4, 4, 4, 8), sizes=(64, 64, 128), rate=6e-3, model_rate=2e-3, cooldown=1.0), {"kv": 1.0}, 82, True, 600),
)
HISTORY = (
    "The parts are what was trained, but that the second was stopped once and gone on with from its state 22 seconds before, with seed 79, its rates "
    "falling by a third at the end; that the two parts after it were measured by the clock on the wall; and that the fifth began from weights in "
    "half precision, as they had been published."
)
"""What the card says of how the weights came about, beside the parts."""


def folder() -> Path:
    """Where the trained memory tokens are. Raises `ModelUnavailable` where the package came without them."""
    return packaged("mnemos.models.reference", "memory", WEIGHTS)


def card() -> dict[str, Any]:
    """How they were trained, their digest, and their scores."""
    return dict(json.loads((folder() / CARD).read_text(encoding="utf-8")))


def load(model: Any) -> Beacons:
    """The trained memory tokens, joined to the reference model (`reference.load()[0]`). Raises `ModelUnavailable`, `Corrupt` where they are not the
    card's, `FingerprintMismatch` for another model."""
    path = folder() / WEIGHTS
    if hashlib.sha256(path.read_bytes()).hexdigest() != card()["sha256"]:
        raise Corrupt(f"{path} is not what its card says: install mnemos again")
    return saving.open_beacons(model, path)


def recall_sessions(size: int, count: int, seed: int | str = 0, turns: int = 5, windows: int = 8) -> list[tasks.Session]:
    """Held-out sessions of "kv" whose contexts are about so many windows of `size` tokens long."""
    return [tasks.make("kv", windows * size + turns * 8, turns, f"memory {seed} {number}") for number in range(count)]


def asked(sessions: Iterable[tasks.Session]) -> list[Asked]:
    """Their tokens, as `scoring` takes them."""
    return [Asked(language.encode(session.context), [(language.encode(turn.question), language.encode(turn.answer)) for turn in session.turns])
            for session in sessions]  # fmt: skip


def batches(mixture: dict[str, float], seed: int) -> Callable[[int], Batch]:
    """The batch of a step; nothing but the seed and the step decide it."""
    plan = Mixture(stages=(Stage(0, {LENGTH: 1}, TOKENS, mixture),), steps=1, cooldown=1, seed=seed)
    books = Books(None)

    def drawn(step: int) -> Batch:
        made = batch(plan, step, books)
        return Batch(torch.from_numpy(made.ids), torch.from_numpy(made.weights))

    return drawn


def train(out: Path, share: float = 1.0, hear: Callable[[str], None] = print) -> tuple[Beacons, list[int]]:
    """Trains all parts, each for that share of its seconds, and gives the memory tokens and the steps of each; what is reached is written to `out`
    every hundred steps."""
    out.mkdir(parents=True, exist_ok=True)
    model, _ = reference.load()
    torch.manual_seed(0)
    beacons, steps = Beacons(model, adapted=True), list[int]()
    base = saving.base_of(beacons)
    losses: dict[str, list[float]] = {}

    def told(step: int, said: dict[str, float]) -> None:
        for name, value in said.items():
            if name != "ratio":
                losses.setdefault(f"{name}, {said['ratio']:g}", []).append(value)
        if (step + 1) % 50 == 0:
            hear(f"{step + 1} " + json.dumps({name: round(sum(values) / len(values), 3) for name, values in sorted(losses.items())}))
            losses.clear()
        if (step + 1) % 100 == 0:
            saving.save_beacons(beacons, out / WEIGHTS, base=base)

    sessions = [tasks.make("kv" if number % 4 else "chain", LENGTH, 3, f"fit{number}") for number in range(24)]
    fit(beacons, torch.tensor([language.encode(session.context)[: LENGTH - 64] for session in sessions]), Windows(64, 4))
    for part in PARTS:
        trainer = Trainer(beacons, part.plan, part.adapted, autocast=quick_products())
        steps.append(trainer.train(batches(part.mixture, part.seed), share * part.seconds, hear=told))
    saving.save_beacons(beacons, out / WEIGHTS, base=base)
    return beacons, steps


def publish(beacons: Beacons, to: Path, said: dict[str, Any], count: int = 40) -> dict[str, Any]:
    """Writes the weights in half precision, and their card, scored as they are then; gives the card."""
    to.mkdir(parents=True, exist_ok=True)
    size = saving.save_beacons(beacons, to / WEIGHTS, torch.float16)
    saving.load_beacons(beacons, to / WEIGHTS)
    scores: dict[str, Any] = {}
    for window in (64, 128):
        texts = asked(recall_sessions(window, count // (window // 64)))
        for ratio in (None, 2, 4, 8, 16):
            found = compressed(beacons, Windows(window, ratio), texts)
            scores[f"windows of {window}, ratio {ratio or 'none'}"] = found.described()
    told = {
        "name": "mnemos-reference-memory", "licence": "Apache-2.0", "sha256": hashlib.sha256((to / WEIGHTS).read_bytes()).hexdigest(), "bytes": size,
        "base": saving.base_of(beacons), "parameters": sum(weight.numel() for weight in beacons.parameters()), "storage": "float16",
        "training": {"parts": [asdict(part) for part in PARTS], **said}, "scores": scores,
        "data": "generated sessions (mnemos.models.reference.tasks)", "history": HISTORY, "versions": {"torch": torch.__version__},
    }  # fmt: skip
    (to / CARD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m mnemos.activation.beacon.reference", description="Train the reference model's memory tokens.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and their card")
    parser.add_argument("--share", type=float, default=1.0, help="of the seconds of the processor that training takes (1,382)")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    beacons, steps = train(asked.out, asked.share)
    publish(beacons, asked.out, {"share": asked.share, "steps": steps})


if __name__ == "__main__":
    main()
