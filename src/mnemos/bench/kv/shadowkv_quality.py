"""What ShadowKV finds again, asked of a small model: retrieval, what selection covers, turns over one context, and growth.

Asked of the reference model, or of one that learnt recall and copying alone, whose heads share no keys: MNEMOS_SHADOWKV_MODEL names the folder in
which `python -m mnemos.models.reference.training.recall` trained it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Bytes, Part
from mnemos.activation.policies import policy
from mnemos.activation.policies.shadowkv import ShadowKV
from mnemos.activation.policy import FULL, Budget, Policy
from mnemos.activation.shadow import lowrank
from mnemos.activation.shadow.part import Shadow
from mnemos.activation.shadow.selection import best
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.parts import Measured
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.models import reference
from mnemos.models.reference import language, tasks

LOSSLESS, RANDOM = 0.98, 0.30
COVERED, WINDOW = 0.9, 0.2
DROP = 0.01
LENGTH, TURN_SESSIONS = 1024, 400
OWN: dict[str, Any] = {"chunk": 1, "rank": 0.5, "most_rank": 0.75, "local": 32, "residual": 0.3, "bits": 4}
"""Settings for the reference model, whose facts are 6 tokens, in contexts a hundredth of the paper's, with 128 numbers of keys where the paper has
1,024: each token has a landmark, in few bits; the paper's own are in the tables beside them."""


MODEL = "MNEMOS_SHADOWKV_MODEL"


@cache
def model() -> Any:
    """The model that is asked. Raises `ModelUnavailable`."""
    if folder := os.environ.get(MODEL):
        from mnemos.models.reference.training.recall import trained

        return trained(Path(folder))
    return reference.load()[0]


@dataclass(frozen=True)
class Chance(ShadowKV):
    """As many chunks, drawn by chance."""

    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def open(self, layer: MemoryLayer, part: Part, queries: Tensor, new: int) -> Part:
        if not isinstance(part, Shadow):
            return part
        scores = torch.rand(*queries.shape[:2], queries.shape[3], part.store.count, generator=self.generator)
        return part.bring(best(scores.masked_fill(~part.store.readable.unsqueeze(2), -torch.inf), part.counts[:, None, None]))


@dataclass
class Mass:
    """Sums over queries: attention to what is near and picked; to as many tokens that get most of it, of all query heads of a key-value head
    together, which have to see the same ones, and of each by itself; and to as many of the newest."""

    picked: float = 0.0
    most: float = 0.0
    alone: float = 0.0
    newest: float = 0.0
    queries: int = 0


@dataclass(frozen=True)
class Watching(ShadowKV):
    """Notes how much of full attention the chunks that are picked would get."""

    mass: Mass = field(default_factory=Mass)

    def open(self, layer: MemoryLayer, part: Part, queries: Tensor, new: int) -> Part:
        if not isinstance(part, Shadow):
            return part
        chosen = best(part.scores(queries, layer.scaling), part.counts[:, None, None])
        others = [each for each in layer.parts if each is not part]
        tail, before = layer.tail.part(), layer.tail.length - new
        exact = [*(each.dense()[0] for each in others), tail.keys[:, :, :before]]
        places = [*(each.positions for each in others), tail.positions[:, :, :before].expand(-1, len(part.heads), -1)]
        keys = torch.cat([part.dense()[0], *exact], 2)
        positions = torch.cat([part.positions, *places], 2)
        scores = torch.einsum("bhgtd,bhnd->bhgtn", queries, keys) * layer.scaling
        weights = scores.masked_fill((positions < 0)[:, :, None, None], -torch.inf).softmax(-1)
        near = torch.ones(*chosen.shape[:3], positions.shape[-1], dtype=torch.bool)
        near[..., : part.length] = chosen.repeat_interleave(part.chunk, -1)
        near &= (positions >= 0).unsqueeze(2)
        ranks = positions.argsort(descending=True).argsort().unsqueeze(2)
        newest = ranks < near.sum(-1, keepdim=True)
        self.mass.picked += float((weights * near.unsqueeze(2)).sum())
        shared = weights.mean(2)
        order = shared.argsort(descending=True).argsort()
        self.mass.most += float((weights * (order < near.sum(-1, keepdim=True)).unsqueeze(2)).sum())
        best_first = weights.sort(-1, descending=True).values.cumsum(-1)
        last = (near.sum(-1) - 1)[:, :, None, :, None].expand(*weights.shape[:-1], 1)
        self.mass.alone += float(best_first.gather(-1, last).sum())
        self.mass.newest += float((weights * newest.unsqueeze(2)).sum())
        self.mass.queries += weights[..., 0].numel()
        return part.bring(chosen)


@torch.no_grad()  # type: ignore[untyped-decorator]
def answers(kind: Policy, session: Any) -> tuple[list[bool], Bytes]:
    """For each turn, whether it is answered word for word by the largest logits, and the bytes after the first answer. Turns stay in the memory."""
    own, right, held = model(), [], Bytes()
    memory = _read(language.encode(session.context), kind)
    for turn in session.turns:
        logits = own(torch.tensor([language.encode(turn.question)]), cache=memory, logits_to_keep=1).logits[0, -1]
        good = True
        for word in language.encode(turn.answer):
            good &= int(logits.argmax()) == word
            logits = own(torch.tensor([[word]]), cache=memory).logits[0, -1]
        right.append(good)
        held = held if held.total else memory.nbytes()
        memory.settle()
    return right, held


def _asked(kind: Policy, sessions: Sequence[Any]) -> tuple[list[int], Bytes]:
    """(Right answers by turn, bytes of the last session)."""
    found = [answers(kind, session) for session in sessions]
    return [sum(turn) for turn in zip(*(each for each, _ in found), strict=True)], found[-1][1]


def keys(options: Options) -> Measured:
    """The model's own keys, before and after rotation."""
    own = model()
    session = tasks.make("kv", LENGTH, 1, f"keys {options.seed}")
    memory = KVMemory.of(own, ShadowKV(Budget(share=1.0)))
    with torch.no_grad():
        own(torch.tensor([language.encode(session.context)]), cache=memory, logits_to_keep=1)
    rows: dict[str, dict[str, float]] = {}
    for number, layer in enumerate(memory.managed):
        turned = layer.tail.keys
        plain = layer.rotation().unrotate(turned, layer.tail.positions)
        rows[f"layer {number}"] = {}
        for name, states in (("before rotation", plain), ("after", turned)):
            flat = states.transpose(1, 2).flatten(2)
            for rank in (20, 40, 64):
                vectors = lowrank.leading(lowrank.gram([flat]), rank)[1].float()
                rows[f"layer {number}"][f"{name}, r = {rank}"] = float((flat - flat @ vectors @ vectors.mT).norm() / flat.norm())
    width = flat.shape[-1]
    before, after = (max(row["before rotation, r = 40"] for row in rows.values()), min(row["after, r = 40"] for row in rows.values()))
    return [
        Check(f"left out by 40 of {width} directions, its keys before rotation, worst layer", before, 0.05, at_least=False, n=len(rows)),
        Check("the same, after rotation, least layer", after, 0.5, n=len(rows)),
    ], {"Norm of the model's keys that is left out": rows}


def retrieval(options: Options) -> Measured:
    """One question of a context of key–value lines, at 1/16 of it, and what the chunks that are picked cover of full attention."""
    number = 6 if options.quick else 100
    sessions = [tasks.make("kv", LENGTH, 1, f"retrieval {options.seed} {each}") for each in range(number)]
    share = Budget(share=1 / 16)
    watching = Watching(share, **{**OWN, "rank": 1.0})
    kinds: dict[str, Policy] = {
        "full": FULL, "shadowkv": ShadowKV(share, **OWN), "shadowkv, no outliers": ShadowKV(share, **OWN, outliers=0.0),
        "chunks by chance": Chance(share, **OWN), "shadowkv, all directions": watching,
    }  # fmt: skip
    if not options.quick:
        kinds |= {
            "shadowkv, the paper's chunks and rank": ShadowKV(share), "shadowkv, chunks of 4": ShadowKV(share, chunk=4, rank=0.5, local=8),
            "shadowkv, chunks of 2, not in few bits": ShadowKV(share, chunk=2, rank=0.5, local=16),
            "snapkv, 1/16": policy("snapkv", share=1 / 16),
        }  # fmt: skip
    rows, right = {}, {}
    for name, kind in kinds.items():
        options.say(f"retrieval: {name}")
        counts, held = _asked(kind, sessions)
        right[name] = counts[0]
        rows[name] = {"accuracy": counts[0] / number, "near bytes": held.near, "far bytes": held.far}
    base = right["full"]
    mass = watching.mass
    return [
        Check("accuracy at 1/16 of the context ÷ the full cache's", right["shadowkv"] / max(1, base), LOSSLESS, baseline=base / number, n=number),
        Check("accuracy at 1/16, less that of chunks by chance", (right["shadowkv"] - right["chunks by chance"]) / number, RANDOM, n=number),
        Check("with outliers, less without", (right["shadowkv"] - right["shadowkv, no outliers"]) / number, 0.0, n=number),
        Check("full attention that goes to what is picked or exact, at 6.25 %", mass.picked / mass.queries, COVERED, n=mass.queries),
        Check("the same of as many tokens that get most of it, by key-value head", mass.most / mass.queries, n=mass.queries),
        Check("the same of each query head by itself, which no choice exceeds", mass.alone / mass.queries, n=mass.queries),
        Check("what is picked ÷ the best choice by key-value head", mass.picked / mass.most, n=mass.queries),
        Check("what is picked, less what goes to as many of the newest tokens", (mass.picked - mass.newest) / mass.queries, WINDOW, n=mass.queries),
    ], {"One question, by policy": rows, "Full attention that goes to 6.25 % of the tokens and those near anyway": {
        "what is picked": {"share": mass.picked / mass.queries}, "the best choice of as many by key-value head": {"share": mass.most / mass.queries},
        "the best choice by query head": {"share": mass.alone / mass.queries}, "the newest": {"share": mass.newest / mass.queries},
    }}  # fmt: skip


def turns(options: Options) -> Measured:
    """Five questions of one context, one after the other; eviction with as many near bytes beside it."""
    number = 4 if options.quick else TURN_SESSIONS
    sessions = [tasks.make("kv", LENGTH, 5, f"turns {options.seed} {each}") for each in range(number)]
    rows, drops, whole, near = {}, {}, 0, 0
    for name in ("full", "shadowkv", "snapkv, as many near bytes"):
        options.say(f"turns: {name}")
        kind = {"full": FULL, "shadowkv": ShadowKV(Budget(share=1 / 16), **OWN)}.get(name) or policy("snapkv", share=near / whole)
        found = [answers(kind, session) for session in sessions]
        near, right = found[-1][1].near, np.array([each for each, _ in found], dtype=float)
        whole = whole or near
        rows[name] = {**{f"turn {turn + 1}": float(value) for turn, value in enumerate(right.mean(0))}, "near bytes": near}
        drops[name] = bootstrap_difference(right[:, 0], right[:, 4], range(number), options.rng())
    return [
        Check.of("accuracy at turn 1, less at turn 5", drops["shadowkv"], DROP, at_least=False, baseline=drops["full"].value),
        Check.of("the same of eviction with as many near bytes", drops["snapkv, as many near bytes"]),
    ], {"Five questions of one context": rows}


def _read(context: Sequence[int], kind: Policy) -> KVMemory:
    memory = KVMemory.of(model(), kind)
    model()(torch.tensor([list(context)]), cache=memory, logits_to_keep=1)
    memory.settle()
    return memory


@torch.no_grad()  # type: ignore[untyped-decorator]
def growth(options: Options) -> Measured:
    """2,000 tokens (400 in a quick run) are generated after a short context, key–value lines given one token at a time; then both are asked about.
    The bound is linear: what the tokens take when read at once with the most directions that the policy may use, and those between two folds in
    full."""
    (number, generated), own = ((1, 400) if options.quick else (8, 2000)), model()
    right = {"full": 0, "shadowkv": 0}
    bounds, shares, whole = [], [], 0
    for each in range(number):
        session = tasks.make("kv", generated + 304, 4, f"growth {options.seed} {each}")
        context = language.encode(session.context)
        for name, kind in (("full", FULL), ("shadowkv", ShadowKV(Budget(share=1 / 16), **OWN))):
            memory = _read(context[:-generated], kind)
            for word in context[-generated:]:
                own(torch.tensor([[word]]), cache=memory)
            if name == "full":
                whole = memory.nbytes().near
            else:
                once = _read(context, ShadowKV(kind.budget, **{**OWN, "rank": OWN["most_rank"]}))  # type: ignore[attr-defined]
                own(torch.tensor([[context[-1]]]), cache=once)
                bounds.append(memory.nbytes().near / (once.nbytes().near + kind.flush * whole / len(context)))  # type: ignore[attr-defined]
                shares.append(memory.nbytes().near / whole)
            for turn in session.turns:
                mind = memory.fork()
                logits = own(torch.tensor([language.encode(turn.question)]), cache=mind, logits_to_keep=1).logits[0, -1]
                good = True
                for word in language.encode(turn.answer):
                    good &= int(logits.argmax()) == word
                    logits = own(torch.tensor([[word]]), cache=mind).logits[0, -1]
                right[name] += good
    asked = number * 4
    return [
        Check(f"near bytes after {generated:,} generated tokens ÷ the linear bound", max(bounds), 1.0, at_least=False, n=number),
        Check("the same, share of the full cache", max(shares), n=number),
        Check(f"accuracy after {generated:,} generated tokens ÷ the full cache's", right["shadowkv"] / max(1, right["full"]), LOSSLESS,
              baseline=right["full"] / asked, n=asked),
    ], {}  # fmt: skip
