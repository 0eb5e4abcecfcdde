"""`python -m mnemos.activation.landmark --out DIR --text FOLDER [--minutes M] [--publish]`: teach the reference model landmarks, or go on."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

import torch

from mnemos.activation.landmark.reference import BLOCK, RECIPE, lessons
from mnemos.activation.landmark.retrofit import Retrofit
from mnemos.activation.landmark.training import STATE, Training
from mnemos.models import reference
from mnemos.models.reference.training.batches import Books


def main(arguments: Sequence[str] | None = None) -> None:
    about = "Teach the reference model landmarks, or go on where DIR stands."
    parser = argparse.ArgumentParser("python -m mnemos.activation.landmark", description=about)
    parser.add_argument("--out", type=Path, required=True, help="folder of the resumable state and the log")
    parser.add_argument("--text", type=Path, required=True, help="folder with the plain texts (shared/data/text)")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long, saved; call again to go on")
    parser.add_argument("--until", type=int, default=RECIPE.steps, help="stop at this step, saved")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    retrofit = Retrofit(reference.load()[0], BLOCK)
    training = Training(retrofit.model.train(), RECIPE, lessons(Books(asked.text)))
    if (asked.out / STATE).exists():
        training.restore(asked.out)

    def stop(*_: object) -> None:
        training.stop = True

    signal.signal(signal.SIGTERM, stop)
    training.train_to(asked.out, asked.until, 60 * asked.minutes)


if __name__ == "__main__":
    main()
