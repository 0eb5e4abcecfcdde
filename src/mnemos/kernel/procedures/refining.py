"""A task tried with what is known, and what is known made better by how that went (ReMe, arXiv 2512.10696, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.kernel.procedures.learning import Learnt
from mnemos.kernel.procedures.pruning import Pruned
from mnemos.text.procedures.distilling import Lesson
from mnemos.text.procedures.reuse import guidance
from mnemos.text.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from mnemos.kernel.procedures.service import Procedures

Attempt = Callable[[str], Trajectory]
"""Tries the task once with guidance (which may be empty), and gives what was done and its reward."""


@dataclass(frozen=True, slots=True)
class Solved:
    """How a task went: the attempts in order, what was learnt from them, and what was let go after them."""

    attempts: tuple[Trajectory, ...]
    learnt: Learnt
    pruned: tuple[Pruned, ...] = ()

    @property
    def first(self) -> Trajectory:
        """The attempt that had nothing but what was known before."""
        return self.attempts[0]


def solve(service: Procedures, task: str, attempt: Attempt, tools: Sequence[str], rng: np.random.Generator | None) -> Solved:
    """Try a task with guidance. A success is learnt from (selective addition). After a failure lessons are drawn and kept aside, and the task is
    tried again with them, at most `retries` times (failure-aware reflection): where a retry succeeds what the runs show together is learnt, otherwise
    nothing is.
    """
    settings = service.settings
    given = service.guide(task, tools=tools, rng=rng)
    run = _tried(attempt, given.text)
    service.report(given.run_id, run.reward)
    attempts = [run]
    provisional: list[Lesson] = []
    while not run.succeeded(settings.success) and len(attempts) <= settings.retries:
        known = [lesson.procedure for lesson in provisional]
        provisional += [Lesson(one, (len(attempts) - 1,)) for one in service.reflect(run, tools) if one not in known]
        run = _tried(attempt, guidance([*(one.procedure for one in given.injected), *(lesson.procedure for lesson in provisional)], task))
        attempts.append(run)
    learnt = Learnt()
    if run.succeeded(settings.success):
        failed_with = [one.id for one in given.injected] if len(attempts) > 1 else []
        of_model = [lesson for lesson in provisional if lesson.procedure.author is not None]  # the rules say better now what they guessed then
        learnt = service.learn(attempts, failed_with=failed_with, provisional=of_model)
    with service.space.system.writing() as transaction:
        service.space.settings_for(transaction, "write")
        number = service.ledger.task_done(transaction)
    pruned = service.prune() if settings.every and number % settings.every == 0 else []
    return Solved(tuple(attempts), learnt, tuple(pruned))


def _tried(attempt: Attempt, text: str) -> Trajectory:
    run: object = attempt(text)
    if not isinstance(run, Trajectory):
        raise Invalid(f"solve: the attempt gave {type(run).__name__}; it gives a trajectory (`mnemos.text.trajectories.importing.trajectory`)")
    return run
