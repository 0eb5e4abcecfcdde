"""`python -m mnemos.models.reference.training.publish --state DIR --text FOLDER`: make a training state's checkpoint, and its card."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

from mnemos.models.reference import language, tasks
from mnemos.models.reference.model import config
from mnemos.models.reference.score import accuracy, perplexity
from mnemos.models.reference.training.batches import Books
from mnemos.models.reference.training.plan import PLAN
from mnemos.models.reference.training.trainer import STATE

HISTORY = (
    "The plan is what was trained, but for four things that were changed on the way: until step 436 no running average was kept; until step 3098 "
    "the lines of `run` did not repeat the result before them; from step 3098 to 4280 the drills `names` and `suffix` were one block to a row, "
    "and from 4000 to 4280 the rate fell by up to 14 %."
)
"""What the card says of how the checkpoint came about, beside the plan."""

LENGTHS = (256, 512, 1024, 2048)
TURNS = 5
QUESTIONS = {256: 200, 512: 150, 1024: 100, 2048: 100}
"""Questions that each task is scored on at each length."""


def checkpoint(state: Path, to: Path) -> dict[str, Any]:
    """Write config.json, model.safetensors (the averaged weights, float16) and the tokenizer; give what a card says of them."""
    to.mkdir(parents=True, exist_ok=True)
    with safe_open(state / STATE, framework="pt") as file:
        reached = file.metadata()
        weights = {name.removeprefix("average."): file.get_tensor(name).half() for name in sorted(file.keys()) if name.startswith("average.")}
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    (to / "model.safetensors").chmod(0o644)
    shape = config(dtype="float16", architectures=["LlamaForCausalLM"])
    shape.save_pretrained(to)
    (to / "tokenizer.json").write_text(language.tokenizer_json(), encoding="utf-8")
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": PLAN.longest,
        "pad_token": language.PAD,
        "unk_token": language.UNKNOWN,
        "bos_token": language.START,
        "eos_token": language.END,
        "additional_special_tokens": [language.QUESTION, language.ANSWER],
        "clean_up_tokenization_spaces": False,
    }
    (to / "tokenizer_config.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    data = (to / "model.safetensors").read_bytes()
    return {
        "name": "mnemos-reference",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(weight.numel() for weight in weights.values()),
        "storage": "float16, averaged weights",
        "training": {"steps": int(reached["step"]), "tokens": int(reached["tokens"]), "plan": asdict(PLAN)},
        "history": HISTORY,
        "data": "generated tasks (mnemos.models.reference.tasks), eight public-domain novels and the State of the Union addresses",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__},
    }


def scores(model: Any, lengths: tuple[int, ...] = LENGTHS, questions: dict[int, int] = QUESTIONS) -> dict[str, dict[str, Any]]:
    """By task and length: the share of held-out questions answered word for word, also by turn; of right last words; and of right words."""
    found: dict[str, dict[str, Any]] = {}
    for name in tasks.NAMES:
        for length in lengths:
            turns = min(TURNS, tasks.most_turns(name, length))
            got = accuracy(model, name, length, turns, max(1, questions[length] // max(turns, 4)))
            found.setdefault(name, {})[str(length)] = {
                "exact": round(got.accuracy, 3),
                "last": round(got.last_accuracy, 3),
                "words": round(got.words, 4),
                "by_turn": [round(share, 3) for share in got.by_turn],
                "questions": got.asked,
            }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m mnemos.models.reference.training.publish", description="Make a checkpoint of a training state.")
    parser.add_argument("--state", type=Path, required=True, help="folder that the training saves into")
    parser.add_argument("--text", type=Path, required=True, help="folder with the plain texts (shared/data/text)")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent.parent / "checkpoint")
    parser.add_argument("--machine", default="", help="what the card says of the machine that trained")
    asked = parser.parse_args(arguments)
    card = checkpoint(asked.state, asked.to) | {"machine": asked.machine}
    model = transformers.LlamaForCausalLM.from_pretrained(asked.to, dtype=torch.float32).eval()
    card["scores"] = scores(model)
    card["perplexity"] = {str(length): round(perplexity(model, Books(asked.text).held_out, length, 8), 2) for length in (256, 1024)}
    (asked.to / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
