"""The synthetic world's arms: the same held-out tasks without memory, with whole runs, with procedures that stay as they are, and with those that
go on learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.procedures_world import Agent, Task, World, sampled
from mnemos.kernel.procedures import Procedures, Settings
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.procedures.reuse import guidance
from mnemos.text.trajectories.segments import short
from mnemos.text.trajectories.trajectory import Trajectory

TRAIN, HELD_OUT, SAMPLES, ATTEMPTS = 50, 150, 8, 4
"""Tasks to learn from and to be measured on, runs of each for learning, and attempts when measured (the paper's)."""
K = 5
ARMS = ("none", "whole runs", "key: raw query", "fixed", "dynamic")
AGENT = Agent()

Guide = Callable[[Task], str]


@dataclass
class Outcomes:
    """Whether each attempt at each held-out task succeeded: (tasks, attempts) for each arm; and the sizes of the pools."""

    succeeded: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def pass_at(self, arm: str, k: int) -> NDArray[np.float64]:
        """Of each task: whether it is solved by k attempts, in expectation over which of the attempts they are (k = 1 and k = all)."""
        attempts = self.succeeded[arm]
        solved: NDArray[np.float64] = attempts.mean(axis=1) if k == 1 else attempts.max(axis=1)
        return solved


def arms(seed: int, held_out: int = HELD_OUT) -> Outcomes:
    """All arms of one seed: its own world, tasks, and luck."""
    rng = np.random.default_rng([seed, 7])
    world = World(np.random.default_rng([seed, 11]))
    train = [world.task(rng) for _ in range(TRAIN)]
    tasks = [world.task(rng) for _ in range(held_out)]
    runs = sampled(world, AGENT, train, SAMPLES, rng)
    out = Outcomes()
    with Mnemos(":memory:", embedder=HashedEmbedder()) as memory:
        fixed = learnt(memory, "fixed", runs, Settings(k=K, hold_out=0.0))
        raw = learnt(memory, "raw", runs, Settings(k=K, hold_out=0.0, key="query"))
        whole = WholeRuns(runs)
        out.sizes = {"fixed": len(fixed), "whole runs": len(whole)}
        guides: dict[str, Guide] = {
            "none": lambda task: "", "whole runs": whole.guide, "key: raw query": by_recall(raw), "fixed": by_recall(fixed),
        }  # fmt: skip
        for name, guide in guides.items():
            luck = np.random.default_rng([seed, 13])
            out.succeeded[name] = np.array([tried(world, task, guide(task), luck) for task in tasks])
        dynamic = learnt(memory, "dynamic", runs, Settings(k=K))
        out.succeeded["dynamic"] = going_on(world, dynamic, tasks, seed)
        out.sizes["dynamic"] = len(dynamic)
    return out


def learnt(memory: Mnemos, name: str, runs: Sequence[Sequence[Trajectory]], settings: Settings) -> Procedures:
    """The procedures of a space of its own, learnt from the runs of each task together."""
    procedures = Procedures(memory.space(name), settings)
    for of_task in runs:
        procedures.learn(of_task)
    return procedures


def by_recall(procedures: Procedures) -> Guide:
    """Guidance from what is known now, without a run that is counted."""

    def guide(task: Task) -> str:
        return guidance([one.procedure for one in procedures.recall(task.text, tools=task.family.tools)], task.text)

    return guide


def tried(world: World, task: Task, guidance: str, rng: np.random.Generator) -> list[float]:
    return [AGENT.attempt(world, task, guidance, rng).reward for _ in range(ATTEMPTS)]


def going_on(world: World, procedures: Procedures, tasks: Sequence[Task], seed: int) -> NDArray[np.float64]:
    """Each task is measured with what is known then; after that the agent does it in earnest, and is learnt from."""
    luck, earnest = np.random.default_rng([seed, 13]), np.random.default_rng([seed, 17])
    guide = by_recall(procedures)
    rows = []
    for task in tasks:
        rows.append(tried(world, task, guide(task), luck))
        solve(world, procedures, task, earnest)
    return np.array(rows)


def solve(world: World, procedures: Procedures, task: Task, rng: np.random.Generator) -> float:
    """One task in the dynamic mode; gives the reward of its first attempt."""
    solved = procedures.solve(task.text, lambda guidance: AGENT.attempt(world, task, guidance, rng), tools=task.family.tools, rng=rng)
    return solved.first.reward


class WholeRuns:
    """The baseline that keeps whole successful runs and finds them by the task as it was."""

    def __init__(self, runs: Sequence[Sequence[Trajectory]]) -> None:
        self._runs = [run for of_task in runs for run in of_task if run.succeeded()]
        self._embedder = HashedEmbedder()
        self._vectors = self._embedder.embed([run.task for run in self._runs])

    def __len__(self) -> int:
        return len(self._runs)

    def guide(self, task: Task) -> str:
        best = np.argsort(-(self._vectors @ self._embedder.embed([task.text])[0]), kind="stable")
        told: list[str] = []
        for row in best.tolist():
            said = "\n".join(short(message, 2000) for message in self._runs[row].messages)
            if said not in told:
                told.append(said)
            if len(told) == K:
                break
        return "\n\n".join(f"Experience {number}\n{said}" for number, said in enumerate(told, 1))
