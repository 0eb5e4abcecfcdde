"""Finding 4: what a long generation attends to in its context shifts, so that a choice made when the prompt was read serves it worse and worse.

Ledgers (`mnemos.models.reference.ledger`): their first half is the prompt, the second is generated, the true words taking the place of what the model
says, so that mistakes do not compound. Lines look up results that stand in the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Part
from mnemos.activation.policies import policy
from mnemos.activation.policy import Observes, Policy
from mnemos.base.stats import Interval, bootstrap_difference, bootstrap_mean
from mnemos.bench.result import Check
from mnemos.bench.scbench.sparse_reading import Tables
from mnemos.models.reference import language, ledger
from mnemos.models.reference.ledger.task import FIRST, LINE, Ledger, make

if TYPE_CHECKING:
    from mnemos.activation.layer import MemoryLayer

EIGHTH = 1 / 8
EACH, ONCE = "chosen at each step", "chosen once"
ARMS: Mapping[str, Callable[[], Policy]] = {
    "full": lambda: policy("full"),
    ONCE: lambda: policy("snapkv", share=EIGHTH, window=16),
    EACH: lambda: policy("blocks", share=EIGHTH, block=1, bits=None, local=16, flush=16),
}
"""Chosen once, of the prompt, beside which all that is generated stays; or for each token, an eighth of all that stands before it."""
STRETCHES = 3
"""Parts of a generation that are looked at by themselves."""


@dataclass(frozen=True)
class Watching(Policy):
    """Keeps everything, and notes what each token that is generated attends to in the prompt: `seen` by layer, [B, G, prompt] each."""

    prompt: int
    seen: dict[int, list[Tensor]] = field(default_factory=dict)
    name = "watching"
    observes = Observes.DECODING

    def observe(self, layer: MemoryLayer, pieces: Sequence[Part], weights: Sequence[Tensor]) -> None:
        self.seen.setdefault(layer.number, []).append(weights[0][..., -1, : self.prompt].mean(2))


def measure(count: int, length: int, seed: int, rng: np.random.Generator, say: Callable[[str], None]) -> tuple[list[Check], Tables]:
    """Checks and tables of `count` ledgers of `length` words."""
    model, _ = ledger.load()
    rows = [make(length, f"scbench shift {seed} {number}") for number in range(count)]
    half = rows[0].prompt + (length - 1 - FIRST * 8) // LINE // 2 * LINE
    say("shifting: what is attended to")
    watching = Watching(half)
    generate(model, rows, half, watching)
    same = overlaps([torch.stack(its) for its in watching.seen.values()])
    asked, lines = in_prompt(rows, half), same.shape[1]
    found = {}
    for name, made in ARMS.items():
        say(f"shifting: {name}")
        found[name] = generate(model, rows, half, made())
    stretches = [slice(max(1, part * lines // STRETCHES), (part + 1) * lines // STRETCHES) for part in range(STRETCHES)]
    first, last = stretches[0], stretches[-1]
    table: dict[str, dict[str, Any]] = {}
    for part, its in enumerate(stretches):
        table[f"{part + 1} of {STRETCHES}"] = {
            "overlap with the first line": float(np.mean(same[:, its])),
            **{f"look-ups, {name}": float(right[:, its][asked[:, its]].mean()) for name, right in found.items()},
            "look-ups": int(asked[:, its].sum()),
        }
    sessions = range(count)
    fall = bootstrap_difference(same[:, first].mean(1).tolist(), same[:, last].mean(1).tolist(), sessions, rng)
    checks = [
        Check.of("finding 4: top eighth of the context shared with the first line, first third − last third of a generation", fall, 0.0),
        Check.of("finding 4: … shared in the last third (by chance .125)", bootstrap_mean(same[:, last].mean(1).tolist(), sessions, rng)),
    ]
    gaps: dict[str, Interval] = {}
    for name, where in (("first", first), ("last", last)):
        which = asked[:, where]
        each, once = (found[arm][:, where][which].astype(float).tolist() for arm in (EACH, ONCE))
        numbers = np.nonzero(which)[0].tolist()
        if each:
            gaps[name] = bootstrap_difference(each, once, numbers, rng)
            checks.append(Check.of(f"finding 4: chosen at each step − once, look-ups in the prompt, {name} third", gaps[name], 0.0))
    if {"first", "last"} == set(gaps):
        checks.append(Check("finding 4: … last third − first", gaps["last"].value - gaps["first"].value, n=count))
    return checks, {"Finding 4: ledgers, their second half generated": table}


def generate(model: Any, rows: Sequence[Ledger], half: int, made: Policy) -> NDArray[np.bool_]:
    """[rows, lines]: whether the look-up of each line behind the prompt is right; read word by word, the true ones."""
    words, memory = torch.tensor([language.encode(row.words) for row in rows]), KVMemory.of(model, made)
    said = [torch.zeros(len(rows), 0, dtype=torch.long)]
    with torch.no_grad():
        model(words[:, :half], cache=memory, logits_to_keep=1)
        memory.settle()
        for place in range(half, words.shape[1]):
            said.append(model(words[:, place : place + 1], cache=memory, logits_to_keep=1).logits.argmax(-1))
    right = torch.cat(said, 1)[:, :-1] == words[:, half + 1 :]
    lines: NDArray[np.bool_] = right[:, 1::LINE].numpy()
    return lines  # of a line `+ A 5 = C 8`, what comes after `A`


def overlaps(seen: Sequence[Tensor]) -> NDArray[np.float64]:
    """By layer [steps, B, G, prompt] → [B, lines]: of the eighth of the prompt that a line attends to most, the share that is of the first line's,
    too; the mean over layers and heads."""
    found = []
    for its in seen:
        lines = its[: len(its) // LINE * LINE].unflatten(0, (-1, LINE)).mean(1)
        best = torch.zeros_like(lines, dtype=torch.bool).scatter_(-1, lines.topk(max(1, round(EIGHTH * lines.shape[-1])), -1).indices, True)
        found.append(((best & best[:1]).sum(-1) / best.sum(-1)).mean(-1))
    same: NDArray[np.float64] = torch.stack(found).mean(0).T.double().numpy()
    return same


def in_prompt(rows: Sequence[Ledger], half: int) -> NDArray[np.bool_]:
    """[rows, lines behind the prompt]: whether what a line looks up was last named in the prompt."""
    first = (half - rows[0].prompt) // LINE
    starts = half + LINE * np.arange(len(rows[0].gaps) - first)
    named: NDArray[np.bool_] = starts - np.array([row.gaps[first:] for row in rows]) < half
    return named
