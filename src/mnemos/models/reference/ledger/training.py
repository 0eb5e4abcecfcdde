"""`python -m mnemos.models.reference.ledger.training --out DIR`: teach the reference model to keep ledgers.

Only the projections of attention learn, by Muon, with everything else as it is: the model knows how to look things up and to add, and learns where in
a line which of them is due. The loss is of the numbers that are worked out. What is drawn at a step follows from the seed and the step alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mnemos.models import reference
from mnemos.models.reference import language
from mnemos.models.reference.ledger import CARD, LENGTH, WEIGHTS, learns
from mnemos.models.reference.ledger.task import LEDGER, make
from mnemos.models.reference.training import attention
from mnemos.models.reference.training.products import quick_products


@dataclass(frozen=True)
class Plan:
    """`lengths`: from a step on, the lengths of rows, of which each step draws one. The rate falls to 0 over the last `cooldown` steps."""

    lengths: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (96, 128)), (150, (128, 256)), (300, (256, 448)), (450, (256, 448, 640)))
    tokens: int = 4096
    steps: int = 700
    warmup: int = 20
    cooldown: int = 300
    rate: float = 2e-3
    clip: float = 1.0
    seed: int = 20

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        return self.rate * min(1.0, (step + 1) / self.warmup) * min(1.0, (self.steps - step) / self.cooldown)


PLAN = Plan()


def batch(plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    """`ids` (rows, length) of a step, and the places [n] of a row whose words are worked out."""
    rng = Random(f"ledgers {plan.seed} {step}")
    length = rng.choice([lengths for first, lengths in plan.lengths if first <= step][-1])
    rows = [make(length, rng.getrandbits(62), LEDGER) for _ in range(plan.tokens // length)]
    return torch.tensor([language.encode(row.words) for row in rows]), torch.tensor(rows[0].given).logical_not().nonzero()[:, 0]


def train(plan: Plan = PLAN, hear: Callable[[str], None] = print, save: Callable[[Any], object] | None = None, every: int = 20) -> Any:
    """The model that has learnt; `hear` is told the mean loss of `every` steps, `save` is called with the model every hundred."""
    model, _ = reference.load()
    torch.manual_seed(plan.seed)
    model.train().requires_grad_(False)
    learning = [weight.requires_grad_() for name, weight in model.named_parameters() if learns(name)]
    attention.install(model)
    optimiser = torch.optim.Muon(learning, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    heard, begun, products = list[float](), time.process_time(), quick_products()
    for step in range(plan.steps):
        ids, places = batch(plan, step)
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        with torch.autocast("cpu", products, enabled=products is not None):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, places - 1]
            logits = model.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, places].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, plan.clip)
        optimiser.step()
        heard.append(float(loss.detach()))
        if (step + 1) % every == 0:
            hear(json.dumps({"step": step + 1, "loss": round(sum(heard) / len(heard), 4), "seconds": round(time.process_time() - begun)}))
            heard.clear()
        if save is not None and (step + 1) % 100 == 0:
            save(model)
    return model.eval()


def accuracy(model: Any, length: int, count: int, seed: int | str = "held out") -> tuple[float, float]:
    """Of held-out ledgers, the share whose numbers are all right, each the likeliest after the true words before it; and of numbers."""
    rows = [make(length, f"{seed} {number}") for number in range(count)]
    ids, given = torch.tensor([language.encode(row.words) for row in rows]), torch.tensor(rows[0].given)
    with torch.no_grad():
        right = (model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1) == ids[:, 1:])[:, ~given[1:]]
    return float(right.all(1).float().mean()), float(right.float().mean())


def write(model: Any, to: Path) -> bytes:
    """Writes what has learnt, in half precision; gives what it wrote."""
    to.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.detach().half().contiguous() for name, weight in model.named_parameters() if learns(name)}, to / WEIGHTS)
    (to / WEIGHTS).chmod(0o644)
    return (to / WEIGHTS).read_bytes()


def publish(model: Any, to: Path, plan: Plan, seconds: float) -> dict[str, Any]:
    """Writes weights and card; gives the card."""
    written = write(model, to)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(weight.half() if learns(name) else weight)
    scores = {}
    for length in (LENGTH // 2, LENGTH):
        whole, numbers = accuracy(model, length, 100)
        scores[str(length)] = {"ledgers": round(whole, 3), "numbers": round(numbers, 5), "n": 100}
    card = {
        "name": "mnemos-reference-ledger", "licence": "Apache-2.0", "sha256": hashlib.sha256(written).hexdigest(), "bytes": len(written),
        "base": reference.card()["sha256"], "storage": "float16, the projections of attention alone",
        "training": {"plan": asdict(plan), "processor_seconds": round(seconds)}, "scores": scores,
        "data": "generated ledgers (mnemos.models.reference.ledger.task)", "versions": {"torch": torch.__version__},
    }  # fmt: skip
    (to / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m mnemos.models.reference.ledger.training", description="Teach the reference model to keep ledgers.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights and their card")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    begun = time.process_time()
    model = train(save=lambda model: write(model, asked.out))
    publish(model, asked.out, PLAN, time.process_time() - begun)


if __name__ == "__main__":
    main()
