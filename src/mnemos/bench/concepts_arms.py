"""The ways of remembering that are compared: none, whole programs (instances), open-ended lessons, and concepts, with the same search and budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mnemos.bench.concepts_world import World, domain
from mnemos.text.concepts.concept import Problem
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.scoring import Attempt, score
from mnemos.text.concepts.search import even_costs
from mnemos.text.concepts.selecting import costs, lesson_scores
from mnemos.text.concepts.solving import Outcome, Settings, Solver, Updated
from mnemos.text.concepts.terms import INPUT, Failed, Library, read_term


class WithoutMemory(Solver):
    """Every problem from nothing: all routines are as likely."""

    def plan(self, problem: Problem, step: int = 0) -> tuple[Library, dict[str, int]]:
        library = self.domain.library()
        return library, even_costs(library)

    def learn(self, outcomes: Iterable[Outcome]) -> Updated:
        return Updated()


class Instances(WithoutMemory):
    """Whole programs of solved problems, tried first, those of the nearest problems (shared features) before others; then as without memory. Each
    application of a program that is tried counts as a node."""

    def __init__(self, domain: Domain, settings: Settings) -> None:
        super().__init__(domain, settings=settings)
        self._held: dict[str, frozenset[str]] = {}

    def solve(self, problem: Problem, *, budget: int | None = None, step: int = 0) -> Outcome:
        left = self.settings.budget if budget is None else budget
        library, features, spent = self.domain.library(), self.domain.features(problem), 0
        for text in sorted(self._held, key=lambda text: -_jaccard(features, self._held[text])):
            term = read_term(text)
            if spent + term.size > left:
                break
            spent += sum(one.kind == "call" for one in term.subterms())
            if self.refuted(term, problem, library) is None:
                try:
                    answers = tuple(library.run(term, {INPUT: pair.input}) for pair in problem.test)
                except Failed:
                    continue
                return Outcome(problem, term, (Attempt(answers, step=step),), spent, step=step)
        return super().solve(problem, budget=max(left - spent, 1), step=step)

    def learn(self, outcomes: Iterable[Outcome]) -> Updated:
        for one in outcomes:
            if one.term is not None:
                self._held.setdefault(str(one.term), self.domain.features(one.problem))
        return Updated()


class Lessons(Solver):
    """Open-ended lessons: the features of solved problems suggest the routines that their solutions named. No routine is new."""

    def plan(self, problem: Problem, step: int = 0) -> tuple[Library, dict[str, int]]:
        library = self.domain.library()
        if not self.memory.lessons:
            return library, even_costs(library)
        return library, costs(library, lesson_scores(self.memory.lessons, self.domain.features(problem), library.routines))


ARMS = ("none", "instances", "lessons", "concepts")


def solver(arm: str, settings: Settings, of: Domain | None = None) -> Solver:
    """A solver of this arm with an empty memory."""
    of = domain() if of is None else of
    if arm == "none":
        return WithoutMemory(of, settings=settings)
    if arm == "instances":
        return Instances(of, settings)
    if arm == "lessons":
        return Lessons(of, settings=replace(settings, most_new=0))
    return Solver(of, settings=settings)


def right(outcomes: Sequence[Sequence[Outcome]], most: int = 2) -> list[bool]:
    """For each problem whether one of its first `most` answers is right for every test case. Only here the outputs of test pairs are read."""
    out = []
    for told in outcomes:
        problem = told[0].problem
        attempts = {problem.id: [attempt for one in told for attempt in one.attempts]}
        out.append(score(attempts, {problem.id: [pair.output for pair in problem.test]}, most=most).strict == 1)
    return out


def lifelong(arm: str, made: World, settings: Settings, *, continual: bool = True) -> list[bool]:
    """The unseen problems of a world that are solved after its curriculum, which the arm has to solve by itself. `continual`: the memory is updated
    while the unseen ones are solved, too."""
    one = solver(arm, settings)
    one.run(made.curriculum)
    one.settings = replace(one.settings, learn=continual)
    return right(one.run(made.unseen))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)
