"""`python -m mnemos.activation.landmark --out DIR --text FOLDER [--minutes M]`: teach the reference model landmarks, or go on.

With `--publish` the state that DIR has reached becomes the weights that `mnemos.activation.landmark.reference.load` gives, with their card. With
`--model` it is one of `mnemos.activation.landmark.small` instead, which learns from nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers

from mnemos.activation.landmark import dense, small
from mnemos.activation.landmark import reference as sparse
from mnemos.activation.landmark.lessons import Texts
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.landmark.retrofit import CARD, Retrofit
from mnemos.activation.landmark.training import STATE, Training
from mnemos.models import reference
from mnemos.models.reference import tasks
from mnemos.models.reference.score import accuracy
from mnemos.models.reference.training.batches import Books

TAUGHT: Mapping[str, ModuleType] = {"reference": sparse, "dense": dense}
"""Ways in which the reference model was taught."""
SCORED = (("kv", "needle", "rule"), (512, 1024))
"""Tasks and lengths that the card has scores of; of the other tasks it has those at the first length."""
LOOKED_UP = ("kv", "copy", "needle", "rule")
"""The tasks that the model with small blocks is for."""
TOPS = (2, 4)
"""Numbers of blocks brought back by the model with large ones."""
QUESTIONS = 40
"""Of each score."""
VERSIONS = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def main(arguments: Sequence[str] | None = None) -> None:
    about = "Teach the reference model landmarks, or go on where DIR stands."
    parser = argparse.ArgumentParser("python -m mnemos.activation.landmark", description=about)
    parser.add_argument("--out", type=Path, required=True, help="folder of the resumable state and the log")
    parser.add_argument("--text", type=Path, help="folder with the plain texts (shared/data/text); models of notes need none")
    parser.add_argument("--model", choices=(*TAUGHT, *small.MODELS), default="reference",
                        help="the reference model, with landmarks every 15 words or every 2 (dense), or a small one from nothing")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long, saved; call again to go on")
    parser.add_argument("--publish", action="store_true", help="train no more: score the state, and put it where it is loaded from")
    parser.add_argument("--to", type=Path, help="the folder to publish into, if not the package's own")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="of each score of the card, four a session")
    parser.add_argument("--machine", default="", help="what the card says of the machine that trained")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.publish and not any(asked.out.rglob(STATE)):
        parser.error(f"--publish: {asked.out} holds no state of a training; train into it first, without --publish")
    if asked.model not in TAUGHT:
        from_nothing(asked)
    elif asked.text is None:
        parser.error("the reference model learns from texts, too: give --text")
    else:
        retrofitted(asked)


def retrofitted(asked: argparse.Namespace) -> None:
    """Teaches the reference model, or goes on; and publishes it."""
    taught = TAUGHT[asked.model]
    retrofit, books = Retrofit(reference.load()[0], taught.BLOCK, silent=taught is dense), Books(asked.text)
    ends, done, first = time.monotonic() + 60 * asked.minutes, [], 0
    for number, (_, until) in enumerate(taught.STAGES):
        state, training = asked.out / str(number + 1), taught.begun(retrofit, number, books, first)
        if (state / STATE).exists():
            training.restore(state)
        if not asked.publish:
            signal.signal(signal.SIGTERM, lambda *_, training=training: setattr(training, "stop", True))
            training.train_to(state, until, ends - time.monotonic())
        done.append(training.step)
        if training.step < until:
            break
        first += until
    if asked.publish:
        publish(taught, retrofit, done, asked.to or taught.folder(), asked.machine, asked.questions)


def from_nothing(asked: argparse.Namespace) -> None:
    """Trains a small model, or goes on; or publishes it."""
    model, texts = small.begun(asked.model).train(), None if asked.text is None else Texts(asked.text)
    ends, done = time.monotonic() + 60 * asked.minutes, []
    for number, recipe in enumerate(small.MODELS[asked.model].stages):
        state, training = asked.out / str(number + 1), Training(model, recipe, small.batches(asked.model, texts, number))
        if (state / STATE).exists():
            training.restore(state)
        if not asked.publish:
            signal.signal(signal.SIGTERM, lambda *_, training=training: setattr(training, "stop", True))
            training.train_to(state, recipe.steps, ends - time.monotonic())
        done.append(training.step)
        if training.step < recipe.steps:
            break
        small.rounded(model)
    if asked.publish:
        small.save(asked.model, model, asked.to or small.folder(), steps=done, versions=VERSIONS, machine=asked.machine)


def publish(taught: ModuleType, retrofit: Retrofit, steps: Sequence[int], to: Path, machine: str, questions: int) -> None:
    """Writes what was learnt, loads it as anybody would, and writes what that answers into its card."""
    wanted = {"wanted": [asdict(each) for each in dense.WANTED]} if taught is dense else {}
    said = {
        "name": "mnemos-reference-landmark" + ("-dense" if taught is dense else ""),
        "licence": "Apache-2.0",
        "storage": "float16, differences from the weights of the reference model, the landmark's embedding from the mean of all others",
        "training": {"steps": list(steps), "recipes": [asdict(recipe) for recipe, _ in taught.STAGES], "lessons": asdict(taught.LESSONS)} | wanted,
        "data": "generated tasks (mnemos.models.reference.tasks), eight public-domain novels and the State of the Union addresses",
        "versions": VERSIONS,
        "machine": machine,
    }
    card = retrofit.save(to, **said)
    ways: dict[str, Mapping[str, Any]] = {f"k = {top}": {"top": top, "trained": sparse.TRAINED} for top in TOPS}
    if taught is dense:
        ways = {f"k = {dense.TOP}, {dense.BITS} bits": dense.READING}
    card["questions"] = questions
    card["scores"] = scores(Retrofit.load(reference.load()[0], to).merged(), ways, LOOKED_UP if taught is dense else tasks.NAMES, questions)
    (to / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def scores(model: Any, ways: Mapping[str, Mapping[str, Any]], names: Sequence[str],
           questions: int) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
    """By task, length, and way (options of `Landmarked`): the share of held-out questions answered word for word, read segment by segment."""
    (named, lengths), found = SCORED, {}
    for name in names:
        turns = min(4, tasks.most_turns(name, lengths[0]))
        found[name] = {
            str(length): {
                way: round(accuracy(Landmarked(model, **options), name, length, turns, questions // 4).accuracy, 3) for way, options in ways.items()
            }
            for length in (lengths if name in named else lengths[:1])
        }
    return found


if __name__ == "__main__":
    main()
