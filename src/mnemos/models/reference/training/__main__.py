"""`python -m mnemos.models.reference.training --out DIR --text FOLDER [--minutes M] [--until STEP]`: train the reference model, or go on."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mnemos.models.reference.training.batches import Books
from mnemos.models.reference.training.plan import PLAN, Plan
from mnemos.models.reference.training.trainer import STATE, Trainer


def main(arguments: Sequence[str] | None = None, plan: Plan = PLAN, shape: Mapping[str, Any] | None = None) -> None:
    """What the command does; another `plan`, and another `shape` as `model.config` takes it, make another model."""
    parser = argparse.ArgumentParser(
        "python -m mnemos.models.reference.training", description="Train the reference model, or go on where DIR stands."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the resumable state and the log")
    parser.add_argument("--text", type=Path, required=True, help="folder with the plain texts (shared/data/text)")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long, saved; call again to go on")
    parser.add_argument("--until", type=int, default=plan.steps, help="stop at this step, saved")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=plan.seed, help="of the first weights and of all batches")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    trainer = Trainer(replace(plan, seed=asked.seed), Books(asked.text), **(shape or {}))
    if (asked.out / STATE).exists():
        trainer.restore(asked.out)

    def stop(*_: object) -> None:
        trainer.stop = True

    signal.signal(signal.SIGTERM, stop)
    trainer.train_to(asked.out, asked.until, 60 * asked.minutes)


if __name__ == "__main__":
    main()
