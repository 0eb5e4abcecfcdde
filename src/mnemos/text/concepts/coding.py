"""Solving by programs that a model writes: select, write, run on the problem's own pairs, try again with what went wrong, and abstract what held.

ArcMemo (arXiv 2509.04439, section 3): up to two passes more, the last attempt's errors and differences told, of earlier ones whether they passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.text.concepts.concept import Problem, Solution
from mnemos.text.concepts.executing import Executor, Ran, SandboxExecutor
from mnemos.text.concepts.memory import ConceptMemory, Merge
from mnemos.text.concepts.modelled import Thinker
from mnemos.text.concepts.rendering import SELECTED, rendered, rendered_lessons
from mnemos.text.concepts.scoring import Attempt, same

PASSES = 3
"""Programs for one problem at most (the paper's first, and two retries)."""
MOST_DIFFERENCES = 6
"""Cells that are told of a pair whose output differs."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What came of a problem: the program that held for every pair (None: none did), the attempts at the test inputs, what was selected, and in
    words how each try went."""

    problem: Problem
    code: str | None
    attempts: tuple[Attempt, ...]
    selected: tuple[str, ...]
    feedback: tuple[str, ...]

    @property
    def solved(self) -> bool:
        return self.code is not None


@dataclass(frozen=True, slots=True)
class Abstracted:
    """What was taken into the memory from programs: ids of solutions, merges of concepts, and what was rejected, with the reason."""

    solutions: tuple[str, ...]
    merges: tuple[Merge, ...]
    rejected: tuple[tuple[str, str], ...]


class Coder:
    """Solves problems of grids, or of any values of plain JSON, by programs of a chat model, with a memory. Not safe for several threads.

    The hint is made of concepts, or, with `lessons`, of open-ended lessons, chosen by a description of the problem.
    """

    def __init__(
        self, thinker: Thinker, memory: ConceptMemory, executor: Executor | None = None, *, passes: int = PASSES, lessons: bool = False
    ) -> None:
        if passes < 1:
            raise Invalid(f"passes: a number from 1 on, not {passes}")
        self.thinker, self.memory, self.passes, self.lessons = thinker, memory, passes, lessons
        self.executor: Executor = executor if executor is not None else SandboxExecutor()

    def solve(self, problem: Problem, among: Sequence[str] | None = None, *, reselect: bool = True) -> Coded:
        """Write programs until one holds for every pair, at most `passes`. `among`: concepts of a first stage. `reselect`: choose concepts anew for
        a retry, with the last attempt's failure in the description."""
        if not problem.train:
            raise Invalid(f"problem {problem.id!r}: has no pair that shows the rule")
        feedback: list[str] = []
        attempts: list[Attempt] = []
        selected: list[str] = []
        hint = ""
        for step in range(self.passes):
            if step == 0 or reselect:
                told = problem if not feedback else Problem(problem.id, problem.train, problem.test, _after(problem.description, feedback))
                selected = [] if self.lessons else self.thinker.select(self.memory, told, among) or selected
                hint = self._lessons(told) if self.lessons else self.hint(selected)
            code = self.thinker.code(problem, hint, _told(feedback))
            if code is None:
                break
            results = self.executor.run(code, [_plain(one) for one in problem.inputs])
            given, asked = results[: len(problem.train)], results[len(problem.train) :]
            wrong = _faults(given, problem)
            if asked:
                attempts.append(Attempt(tuple(_as(ran.value, problem) for ran in asked), step=step))
            if not wrong:
                return Coded(problem, code, tuple(attempts), tuple(selected), (*feedback, "every pair holds"))
            feedback.append("\n".join(wrong))
        return Coded(problem, None, tuple(attempts), tuple(selected), tuple(feedback))

    def hint(self, selected: Sequence[str]) -> str:
        """The selected concepts in full, the others by name."""
        if not selected:
            return ""
        others = [name for name in self.memory.names if name not in selected]
        return rendered([self.memory[name] for name in selected], self.memory.types, SELECTED, others)

    def _lessons(self, problem: Problem) -> str:
        """The lessons that a problem calls for, by its description in words; nothing where there are none, or the model cannot say."""
        description = self.thinker.describe(problem) if self.memory.lessons else None
        return "" if description is None else rendered_lessons(self.thinker.choose_lessons(self.memory.lessons, description))

    def learn(self, outcomes: Iterable[Coded]) -> Abstracted:
        """Take in what was solved, each program run on the pairs of its problem once more: what does not hold changes nothing."""
        solutions: list[str] = []
        merges: list[Merge] = []
        rejected: list[tuple[str, str]] = []
        for one in outcomes:
            self.memory.note_selection(one.selected, one.code is not None)
            if one.code is None:
                continue
            results = self.executor.run(one.code, [_plain(pair.input) for pair in one.problem.train])
            wrong = _faults(results, one.problem)
            if wrong:
                rejected.append((one.problem.id, wrong[0]))
                continue
            pseudocode, summary = self.thinker.pseudocode(one.code) or ("", "")
            solution = Solution(one.problem.id, one.code, pseudocode, summary)
            concepts, faults = self.thinker.abstract(self.memory, solution)
            rejected += faults
            made = [self.memory.merge(concept) for concept in concepts]
            merges += made
            names = tuple(dict.fromkeys(merge.name for merge in made))
            self.memory.add_solution(Solution(solution.id, solution.solution, pseudocode, summary, concepts=names))
            for lesson in self.thinker.lessons(one.problem, solution):
                self.memory.add_lesson(lesson)
            solutions.append(one.problem.id)
        return Abstracted(tuple(solutions), tuple(merges), tuple(rejected))


def _told(feedback: Sequence[str]) -> list[str]:
    """The last attempt in full; of earlier ones that they failed."""
    return [*(f"Attempt {number}: failed" for number in range(1, len(feedback))), *(f"Attempt {len(feedback)}: {one}" for one in feedback[-1:])]


def _after(description: str, feedback: Sequence[str]) -> str:
    return f"{description}\nAn attempt failed: {feedback[-1]}".strip()


def _faults(results: Sequence[Ran], problem: Problem) -> list[str]:
    """What is wrong with the results of a problem's pairs; nothing where every pair holds, and there is one."""
    if len(results) != len(problem.train) or not results:
        return [f"{len(results)} results for {len(problem.train)} pairs"]
    return [told for number, ran in enumerate(results, 1) if (told := _fault(number, ran, problem.train[number - 1].output)) is not None]


def _fault(number: int, ran: Ran, wanted: Any) -> str | None:
    """What is wrong with the result of a pair; None where it is the output."""
    if ran.error is not None:
        return f"pair {number}: {ran.error}"
    made, plain = ran.value, _plain(wanted)
    if same(made, plain):
        return None
    if not (isinstance(made, list) and isinstance(plain, list) and made and all(isinstance(row, list) for row in (*made, *plain))):
        return f"pair {number}: gave {str(made)[:200]}, not {str(plain)[:200]}"
    if [len(row) for row in made] != [len(row) for row in plain]:
        return f"pair {number}: gave {len(made)} rows of {len(made[0])}, not {len(plain)} of {len(plain[0])}"
    cells = [f"({r}, {c}) is {made[r][c]}, not {plain[r][c]}" for r in range(len(plain)) for c in range(len(plain[r])) if made[r][c] != plain[r][c]]
    more = f" and {len(cells) - MOST_DIFFERENCES} more" if len(cells) > MOST_DIFFERENCES else ""
    return f"pair {number}: {'; '.join(cells[:MOST_DIFFERENCES])}{more}"


def _as(value: Any, problem: Problem) -> Any:
    """An answer in the form of the problem's outputs; None where it has not that form."""
    if not isinstance(problem.train[0].output, np.ndarray):
        return value
    try:
        grid = np.array(value, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    return grid.astype(np.int8) if grid.ndim == 2 and grid.size and 0 <= grid.min() <= grid.max() <= 9 else None


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
