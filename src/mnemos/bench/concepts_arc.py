"""Real ARC-AGI-1 tasks: how many are solved at one budget of nodes without memory, and with concepts that are learnt on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnemos.bench.concepts_arms import right, solver
from mnemos.bench.datasets import read_lines
from mnemos.text.concepts.concept import Problem
from mnemos.text.concepts.domains.grid import grid_domain, read_task
from mnemos.text.concepts.solving import Settings

TRAINING, EVALUATION = "arc_training.jsonl.gz", "arc_evaluation_dev.jsonl.gz"


@dataclass(frozen=True)
class Solved:
    """Of one file: for each task whether it was solved without memory, and with it; how often each claimed to have solved one by its pairs; and the
    concepts with a body that there were in the end."""

    without: list[bool]
    with_memory: list[bool]
    claimed_without: int
    claimed: int
    concepts: int


def tasks(folder: Path, name: str, each: int = 1) -> list[Problem]:
    """The tasks of a file, every `each`-th of them. Raises `NotFound`."""
    return [read_task(record) for record in read_lines(folder, f"arc/{name}")[::each]]


def both(first: list[Problem], then: list[Problem], budget: int) -> tuple[Solved, Solved]:
    """Solve the first tasks, then the others with the memory of the first, updated all along."""
    settings = Settings(budget=budget)
    alone, learning = (solver(arm, settings, grid_domain()) for arm in ("none", "concepts"))
    out = []
    for part in (first, then):
        plain, told = alone.run(part), learning.run(part)
        bodies = sum(one.body is not None for one in learning.library().routines.values())
        out.append(Solved(right(plain), right(told), sum(one[0].solved for one in plain), sum(one[0].solved for one in told), bodies))
    return out[0], out[1]
