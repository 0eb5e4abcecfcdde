"""Concepts with a language model: pseudocode, abstracting, selecting, writing programs, and the open-ended format (ArcMemo, arXiv 2509.04439).

Every answer is asked for in a form, in JSON or YAML, and looked at again: names that the memory does not have and numbers out of range are left
out and counted, records that are no concepts rejected one by one. Where the model fails, the caller gets None and goes on without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Refused, Report, ask
from mnemos.text.concepts.blocks import YamlTolerant
from mnemos.text.concepts.concept import Concept, Lesson, Problem, Solution
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.rendering import SELECTED, Rendering, rendered, rendered_lessons
from mnemos.text.prompts import prompt

MOST_LESSONS = 5
"""Lessons that are chosen for a problem (the paper's)."""
BRIEF = Rendering(cues=False, implementation=False, least_uses=0)
"""The compressed form in which known concepts are shown while new ones are abstracted."""
_NOTHING = "none"


class Thinker:
    """A chat model as it is asked about concepts. `report` counts what it was asked, refused, and said that was not so."""

    def __init__(self, chat: ChatModel, report: Report | None = None) -> None:
        self.chat = YamlTolerant(chat)
        self.report = report if report is not None else Report()

    # -- writing --
    def pseudocode(self, solution: str) -> tuple[str, str] | None:
        """A solution as pseudocode, and in one line."""
        told = self._ask("concept_pseudocode", solution=solution)
        return None if told is None else (told["pseudocode"].strip(), " ".join(told["summary"].split()))

    def abstract(self, memory: ConceptMemory, solution: Solution) -> tuple[list[Concept], list[tuple[str, str]]]:
        """The concepts of a solution, each used in it, and what was rejected, with the reason. Nothing where the model fails."""
        known = rendered(memory.concepts(), memory.types, BRIEF) or _NOTHING
        told = self._ask("concept_abstract", pseudocode=solution.pseudocode or solution.solution, summary=solution.summary or _NOTHING, known=known)
        concepts: list[Concept] = []
        rejected: list[tuple[str, str]] = []
        for record in [] if told is None else told["concepts"]:
            try:
                concepts.append(Concept.from_json({**record, "used_in": [solution.id], "program": None}))
            except Invalid as error:
                rejected.append((str(record.get("name", "")), str(error)))
        self.report.reject(len(rejected))
        return concepts, rejected

    def lessons(self, problem: Problem, solution: Solution) -> list[Lesson]:
        """Open-ended lessons of a solution, by way of how one might have come upon it."""
        thoughts = self._ask("concept_thoughts", problem=shown_problem(problem), solution=solution.solution)
        if thoughts is None or not thoughts["thoughts"]:
            return []
        told = self._ask("concept_lessons", solution=solution.solution, thoughts=thoughts["thoughts"])
        return [] if told is None else [Lesson.from_json({**one, "source": solution.id}) for one in told["lessons"]]

    def compress(self, concept: Concept) -> tuple[list[str], list[str]] | None:
        """Fewer lines for a concept: cues and implementation. None where the model fails, or made them no fewer."""
        told = self._ask("concept_compress", name=concept.name, cues=list(concept.cues), implementation=list(concept.implementation))
        if told is None or len(told["cues"]) > len(concept.cues) or len(told["implementation"]) > len(concept.implementation):
            return None
        lost = (concept.cues and not told["cues"]) or (concept.implementation and not told["implementation"])
        return None if lost else (told["cues"], told["implementation"])

    # -- reading --
    def select(self, memory: ConceptMemory, problem: Problem, among: Sequence[str] | None = None) -> list[str] | None:
        """The names of the concepts that a problem calls for, best first; of `among` (those of a first stage), None: of all. None where the model
        fails, or names none that there is."""
        names = memory.names if among is None else list(among)
        if not names:
            return None
        shown = rendered([memory[name] for name in names], memory.types, SELECTED if among is not None else Rendering())
        told = self._ask("concept_select", concepts=shown, problem=shown_problem(problem))
        if told is None:
            return None
        allowed = {memory.resolve(name) for name in names}
        found = [memory.resolve(name) for name in told["concepts"]]
        good = [name for name in found if name is not None and name in allowed]
        self.report.reject(len(found) - len(good))
        return list(dict.fromkeys(good)) or None

    def describe(self, problem: Problem) -> str | None:
        """A problem in words: observations, a summary, and what is speculation."""
        told = self._ask("concept_describe", problem=shown_problem(problem))
        if told is None:
            return None
        guess = [f"Perhaps: {told['speculation']}"] if told["speculation"] else []
        return "\n".join([*told["observations"], told["summary"], *guess])

    def choose_lessons(self, lessons: Sequence[Lesson], description: str, most: int = MOST_LESSONS) -> list[Lesson]:
        """The lessons that a problem calls for; numbers that no lesson has are left out."""
        if not lessons:
            return []
        told = self._ask("concept_choose", lessons=rendered_lessons(lessons), description=description, most=most)
        numbers = list(dict.fromkeys([] if told is None else told["numbers"]))
        good = [number for number in numbers if 1 <= number <= len(lessons)]
        self.report.reject(len(numbers) - len(good))
        return [lessons[number - 1] for number in good[:most]]

    # -- solving --
    def code(self, problem: Problem, hint: str, feedback: Sequence[str] = ()) -> str | None:
        """A program with a function `transform`. None where the model fails."""
        told = self._ask("concept_solve", problem=shown_problem(problem), hint=hint or _NOTHING, feedback=list(feedback) or [_NOTHING])
        return None if told is None else str(told["code"])

    def _ask(self, name: str, /, **values: Any) -> dict[str, Any] | None:
        told = ask(self.chat, prompt(name), values, report=self.report)
        return None if isinstance(told, Refused) else told


def shown_problem(problem: Problem) -> list[dict[str, Any]]:
    """A problem as a model is shown it: pairs, then the inputs to be answered, and what is said of it. Outputs of test pairs are not."""
    told: list[dict[str, Any]] = [{"input": _plain(pair.input), "output": _plain(pair.output)} for pair in problem.train]
    told += [{"input to be answered": _plain(pair.input)} for pair in problem.test]
    return told + ([{"description": problem.description}] if problem.description else [])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
