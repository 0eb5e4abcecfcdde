"""Training the tiny decoder together with its memory tokens: to look up what only these still tell."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mnemos.activation.beacon import saving
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.scoring import Asked, compressed
from mnemos.activation.beacon.tiny import CARD, MODEL, WEIGHTS, WINDOW, lines
from mnemos.activation.beacon.tiny.beginning import SHAPE, beginning, gathering
from mnemos.activation.beacon.training import Plan, Trainer
from mnemos.activation.beacon.windows import Windows
from mnemos.models.reference.training.products import quick_products
from mnemos.models.weights import require_sha256

SEED, STEPS, TOKENS, SCORED = 0, 600, 2048, 40
"""Of weights and texts; steps, and tokens of one; texts that the card's scores are of."""
KEYS, AGAIN = lines.lines_of(8 * WINDOW), 32
"""Keys of a text, which fill eight windows, and how many of them are told once more."""
BEGINNING = (
    "The starting weights are made so that a look-up works, that memory tokens look at what is near, a little more at values, and that the first "
    "token of a window learns from a memory token what stood before it (tiny.beginning): full attention answers before any training, and little of "
    "what is compressed is answered. Training does that."
)
"""What the card says of it."""
PLAN = Plan(ratios=(None, 2, 2, 2, 4, 4, 8), sizes=(WINDOW,), rate=3e-3, model_rate=1e-3, vectors=0.1, cooldown=0.6)
RATIOS = (None, 2, 4, 8, 16)


def begun() -> Beacons:
    """The model and the memory tokens as they are before training."""
    beacons = Beacons(beginning(SEED))
    gathering(beacons)
    return beacons


def train(steps: int = STEPS, hear: Callable[[str], None] = print) -> Beacons:
    """The memory tokens, which have joined their model, after so many steps; every 25 steps `hear` is told the mean loss by ratio."""
    beacons, losses = begun(), dict[float, list[float]]()
    trainer = Trainer(beacons, PLAN, also=lambda name: True, autocast=quick_products())
    for step in range(steps):
        told = trainer.advance(lines.batch(SEED * 1_000_000 + step, TOKENS, KEYS, AGAIN, WINDOW), step / steps)
        losses.setdefault(told["ratio"], []).append(told["next token"])
        if (step + 1) % 25 == 0:
            hear(f"{step + 1} {json.dumps({f'{ratio:g}': round(sum(some) / len(some), 3) for ratio, some in sorted(losses.items())})}")
            losses.clear()
    beacons.model.eval()
    return beacons


def scores(beacons: Beacons, texts: Sequence[Asked]) -> dict[str, dict[str, float]]:
    """By ratio."""
    return {f"ratio {ratio or 'none'}": compressed(beacons, Windows(WINDOW, ratio), texts).described() for ratio in RATIOS}


def publish(beacons: Beacons, to: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Writes the weights in half precision, and their card, scored as they are then on texts that were not trained on; gives the card."""
    to.mkdir(parents=True, exist_ok=True)
    base, texts = begun(), lines.asked(8 * WINDOW, SCORED, SEED)
    base.model.eval()
    before = scores(base, texts)
    state = {name: weight.detach().half() for name, weight in beacons.model.state_dict().items() if name != "lm_head.weight"}
    own = beacons.state_dict()
    beacons.remove()
    save_file(state, to / MODEL, metadata={"format": "pt"})
    (to / MODEL).chmod(0o644)
    beacons = Beacons(_model(to))
    beacons.load_state_dict(own)
    saving.save_beacons(beacons, to / WEIGHTS, torch.float16)
    saving.load_beacons(beacons, to / WEIGHTS)
    after = scores(beacons, texts)
    digests = {name: hashlib.sha256((to / name).read_bytes()).hexdigest() for name in (MODEL, WEIGHTS)}
    told = {
        "name": "mnemos-tiny-recall", "licence": "Apache-2.0", "sha256": digests, "bytes": sum((to / name).stat().st_size for name in digests),
        "base": saving.base_of(beacons), "storage": "float16", "data": "generated texts (mnemos.activation.beacon.tiny.lines)", "shape": SHAPE,
        "parameters": {"model": sum(weight.numel() for weight in beacons.model.parameters()),
                       "memory tokens": sum(weight.numel() for weight in beacons.parameters())},
        "training": {
            "script": f"python -m {__package__}", "seed": SEED, "tokens of a step": TOKENS, "keys": KEYS, "told again": AGAIN,
            "plan": asdict(PLAN), **said,
        },
        "beginning": BEGINNING, "texts": f"{8 * WINDOW} tokens, windows of {WINDOW}",
        "scores before training": before, "scores": after, "versions": {"torch": torch.__version__},
    }  # fmt: skip
    (to / CARD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    beacons.remove()
    return told


def loaded(path: Path) -> Beacons:
    """What `publish` wrote."""
    told = json.loads((path / CARD).read_text(encoding="utf-8"))
    for name in (MODEL, WEIGHTS):
        require_sha256(path / name, str(told["sha256"][name]))
    beacons = Beacons(_model(path))
    saving.load_beacons(beacons, path / WEIGHTS)
    return beacons


def _model(path: Path) -> Any:
    model = beginning(SEED)
    model.load_state_dict({name: weight.float() for name, weight in load_file(path / MODEL).items()}, strict=False)
    model.tie_weights()
    return model.eval()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(f"python -m {__package__}", description="Train a tiny decoder and its memory tokens.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and their card")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    begin = time.process_time()
    beacons = train(asked.steps)
    publish(beacons, asked.out, {"steps": asked.steps, "seconds of the processor": round(time.process_time() - begin)})
