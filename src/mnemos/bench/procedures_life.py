"""How a pool of procedures lives: what is let go where the agent mostly fails, a tool that changes, and a thousand tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnemos.bench.procedures_arms import AGENT, SAMPLES, TRAIN, K, by_recall, learnt, solve, tried
from mnemos.bench.procedures_world import World, sampled
from mnemos.kernel.procedures import Procedures, Settings
from mnemos.kernel.procedures.counting import Injected
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.procedures.procedure import Procedure

BASE, TOXIC, HELPFUL = 0.25, 0.10, 0.35
"""Success without an entry, with one that misleads, and with one that helps."""
ENTRIES, TOXIC_SHARE, USES = 40, 0.3, 2000
EVERY = 10


@dataclass(frozen=True)
class Kept:
    """Shares of the misleading and of the helping entries that a rule let go of."""

    toxic: float
    helpful: float


def pruning(seed: int) -> Mapping[str, Kept]:
    """2,000 uses of a pool of which 30 % mislead, each of one entry drawn at random from those that are left, one run in ten without any; both
    rules are asked every ten uses, each about a pool of its own."""
    out = {}
    with Mnemos(":memory:", embedder="none") as memory:
        for rule in ("uplift", "absolute"):
            rng = np.random.default_rng([seed, 19])
            procedures = Procedures(memory.space(rule), Settings.of(rule=rule))
            rates = {procedures.add(_entry(n)): TOXIC if n < TOXIC_SHARE * ENTRIES else HELPFUL for n in range(ENTRIES)}
            gone: set[str] = set()
            used = 0
            while used < USES and len(gone) < ENTRIES:
                for _ in range(EVERY):
                    left = [id for id in rates if id not in gone]
                    id = left[int(rng.integers(len(left)))]
                    if rng.random() < procedures.settings.hold_out:
                        injected, aside, rate = [], Injected(id, 1, 0.0), BASE
                    else:
                        injected, aside, rate = [Injected(id, 1, 1.0)], None, rates[id]
                        used += 1
                    with memory.writing() as transaction:
                        procedures.ledger.credit(transaction, injected, bool(rng.random() < rate), withheld=aside)
                gone |= {one.id for one in procedures.prune()}
            shares = [np.mean([id in gone for id, rate in rates.items() if rate == which]) for which in (TOXIC, HELPFUL)]
            out[rule] = Kept(float(shares[0]), float(shares[1]))
    return out


def _entry(number: int) -> Procedure:
    return Procedure(f"Scenario {number}", f"Call tool{number}.", steps=({"tool": f"tool{number}", "arguments": {}},), query=f"Scenario {number}")


@dataclass(frozen=True)
class Drift:
    """Success of a pool before a tool changed, in the fifty tasks after that, and beyond them."""

    before: float
    at_once: float
    beyond: float

    @property
    def recovered(self) -> float:
        return self.beyond / self.before


def drift(seed: int, tasks: int = 150, within: int = 50) -> Mapping[str, Drift]:
    """At half time the tool with which half of the families of tasks end begins to demand another call before it. Success is that of the attempts
    that a task gets with what is known when it comes; before the change, over the last hundred tasks."""
    out = {}
    with Mnemos(":memory:", embedder=HashedEmbedder()) as memory:
        for mode in ("fixed", "dynamic"):
            rng = np.random.default_rng([seed, 23])
            world = World(np.random.default_rng([seed, 11]))
            train = [world.task(rng) for _ in range(TRAIN)]
            procedures = learnt(memory, f"{mode} {seed}", sampled(world, AGENT, train, SAMPLES, rng), Settings(k=K))
            guide, luck, earnest = by_recall(procedures), np.random.default_rng([seed, 29]), np.random.default_rng([seed, 31])
            rewards = []
            for number in range(2 * tasks):
                world.changed = number >= tasks
                task = world.task(rng)
                rewards.append(float(np.mean(tried(world, task, guide(task), luck))))
                if mode == "dynamic":
                    solve(world, procedures, task, earnest)
            parts = rewards[max(tasks - 100, 0) : tasks], rewards[tasks : tasks + within], rewards[tasks + within :]
            out[mode] = Drift(*(float(np.mean(part)) for part in parts))
    return out


def growth(seed: int, first: int = 200, last: int = 1000) -> tuple[int, int]:
    """How many entries a pool that learns from every task has after `first` and after `last` tasks."""
    rng = np.random.default_rng([seed, 37])
    world = World(np.random.default_rng([seed, 11]))
    with Mnemos(":memory:", embedder=HashedEmbedder()) as memory:
        procedures = Procedures(memory.space("growing"), Settings(k=K))
        sizes = []
        for number in range(1, last + 1):
            solve(world, procedures, world.task(rng), rng)
            if number in (first, last):
                sizes.append(len(procedures))
    return sizes[0], sizes[1]
