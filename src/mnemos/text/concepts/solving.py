"""Solving with a memory of concepts and no model: select, search, verify on the problem's own pairs, abstract, and go on with the next batch.

ArcMemo (arXiv 2509.04439, section 3, continual update). Only what reproduces every pair that shows the rule may change the memory; outputs of test
pairs are read by nobody here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemos.base.errors import Invalid, MnemosError
from mnemos.text.concepts import abstracting
from mnemos.text.concepts.concept import Concept, Problem, Solution
from mnemos.text.concepts.domain import Domain, concept_of
from mnemos.text.concepts.memory import ConceptMemory, Embed
from mnemos.text.concepts.retrieving import MOST, Retriever
from mnemos.text.concepts.scoring import ATTEMPTS, Attempt
from mnemos.text.concepts.search import Search
from mnemos.text.concepts.selecting import EVEN, Selector, costs, lesson_of
from mnemos.text.concepts.terms import INPUT, Failed, Library, Routine, Term, read_term
from mnemos.text.concepts.types import Type
from mnemos.text.trajectories.validation import by_rules


@dataclass(frozen=True, slots=True)
class Settings:
    """How a solver goes about it. Numbers are ours, but for `answers` and `batch`, which are the paper's."""

    budget: int = 2000
    """Nodes of one search."""
    answers: int = ATTEMPTS
    """Programs with different answers that are looked for."""
    batch: int = 10
    """Problems that are solved before the memory is updated."""
    passes: int = 1
    """How often what is unsolved is tried."""
    select: int | None = None
    """Concepts that are searched with at most, beside what their types bring in; None: all."""
    learn: bool = True
    """Whether the memory is updated at all."""
    most_new: int = 10
    """Concepts of one update."""

    def __post_init__(self) -> None:
        for name in ("budget", "answers", "batch", "passes"):
            if getattr(self, name) < 1:
                raise Invalid(f"settings: {name} is a number from 1 on, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try at a problem. `term` reproduces every pair, None where nothing was found; `attempts` are the answers for the test inputs.
    `closest` is the largest share of the pairs that some term had right, where none had all. `selected`: what was searched with."""

    problem: Problem
    term: Term | None
    attempts: tuple[Attempt, ...] = ()
    nodes: int = 0
    selected: tuple[str, ...] = ()
    closest: float = 0.0
    step: int = 0

    @property
    def solved(self) -> bool:
        return self.term is not None

    @property
    def feedback(self) -> str:
        """In words, for the next try."""
        if self.term is not None:
            return f"solved by {self.term} within {self.nodes} nodes"
        return f"not solved within {self.nodes} nodes; the closest program had {self.closest:.0%} of the pairs right"


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update changed: names of new concepts, ids of solutions that were kept or are written with them now, and what was not
    taken, and why."""

    concepts: tuple[str, ...] = ()
    solutions: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass
class _Prepared:
    """What follows from the memory as it is."""

    library: Library
    selector: Selector
    retriever: Retriever
    changes: int


class Solver:
    """Solves problems of one domain with, and for, a memory. Not safe for several threads without a lock."""

    def __init__(self, domain: Domain, memory: ConceptMemory | None = None, settings: Settings = Settings(), embed: Embed | None = None) -> None:
        self.domain = domain
        self.memory = memory if memory is not None else ConceptMemory(embed)
        self.settings = settings
        self._embed = embed
        self._ready: _Prepared | None = None

    # -- reading --
    def solve(self, problem: Problem, *, budget: int | None = None, step: int = 0) -> Outcome:
        """Search for programs that reproduce every pair. `step` numbers the tries at a problem: each later one selects more and searches more
        evenly, since what the memory suggested has failed."""
        if not problem.train:
            raise Invalid(f"problem {problem.id!r}: has no pair that shows the rule")
        library, prices = self.plan(problem, step)
        search = Search(self.domain, library, problem, prices, self.settings.budget if budget is None else budget)
        found = []
        nodes = 0
        for one in search.solutions():
            found.append(one)
            nodes = nodes or one.nodes
            if len(found) == self.settings.answers or not problem.test:
                break
        attempts = tuple(Attempt(one.answers, thread=number, step=step) for number, one in enumerate(found)) if problem.test else ()
        term = found[0].term if found else None
        return Outcome(problem, term, attempts, nodes or search.nodes, tuple(prices), search.closest, step)

    def plan(self, problem: Problem, step: int = 0) -> tuple[Library, dict[str, int]]:
        """The library, and what each of those routines costs that a problem is searched with."""
        ready = self._prepared()
        features = sorted(self.domain.features(problem))
        scores = ready.retriever.scores(features, problem.description)
        library = chosen_from = ready.library
        if self.settings.select is not None and len(library.routines) > self.settings.select:
            given = [self.domain.input, *(Type(name) for name in self.domain.constants(problem))]
            chosen = ready.retriever.shortlist(
                features, problem.description, most=min(self.settings.select * 2**step, MOST), given=given, scores=scores
            )
            chosen_from = Library([library[name] for name in chosen])
        return library, costs(chosen_from, scores, min(1.0, EVEN * 2**step))

    # -- writing --
    def learn(self, outcomes: Iterable[Outcome]) -> Updated:
        """Take in what was solved. Every term is run on the pairs of its problem once more; what does not reproduce them all changes nothing."""
        ready = self._prepared()
        memory, library = self.memory, ready.library
        held = {one.id: term for one in memory.solutions.values() if (term := readable(one, library)) is not None}
        features = {one.id: one.features for one in memory.solutions.values()}
        fresh: list[str] = []
        rejected: list[tuple[str, str]] = []
        for one in outcomes:
            if one.term is None:
                if self.settings.select is not None:
                    memory.note_selection(one.selected, False)
                continue
            wrong = self.refuted(one.term, one.problem, library)
            if self.settings.select is not None:
                memory.note_selection(one.selected, wrong is None)
            if wrong is not None:
                rejected.append((one.problem.id, wrong))
                continue
            held[one.problem.id] = one.term
            features[one.problem.id] = tuple(sorted(self.domain.features(one.problem)))
            fresh.append(one.problem.id)
        if not fresh:
            return Updated(rejected=tuple(rejected))
        made, written = abstracting.learn(held, library, {INPUT: self.domain.input}, fresh, self.settings.most_new)
        changed = [id for id in written if id in fresh or written[id] != held[id]]
        for id in changed:
            self._keep(id, written[id], features[id], library.with_routines(made))
        names = [self._remember(routine, library.with_routines(made), rejected) for routine in made]
        return Updated(tuple(name for name in names if name), tuple(changed), tuple(rejected))

    def refuted(self, term: Term, problem: Problem, library: Library | None = None) -> str | None:
        """What is wrong with a term as a solution of a problem, by its own pairs; None where it reproduces them all."""
        library = self._prepared().library if library is None else library
        try:
            abstracting.check_term(term, library, self.domain.input, self.domain.output)
            for number, pair in enumerate(problem.train, 1):
                if not self.domain.equal(library.run(term, {INPUT: pair.input}), pair.output):
                    return f"gives another output for pair {number}"
        except (Failed, MnemosError) as error:
            return str(error)
        return None if problem.train else "the problem has no pair to verify it with"

    def run(self, problems: Sequence[Problem]) -> list[list[Outcome]]:
        """The continual loop: batches of problems, the memory updated after each, what is unsolved tried again in the next pass. Gives the
        outcomes of each problem, in the order of `problems`."""
        out: dict[int, list[Outcome]] = {number: [] for number in range(len(problems))}
        for step in range(self.settings.passes):
            left = [number for number, told in out.items() if not any(one.solved for one in told)]
            for at in range(0, len(left), self.settings.batch):
                part = left[at : at + self.settings.batch]
                for number in part:
                    out[number].append(self.solve(problems[number], step=step))
                if self.settings.learn:
                    self.learn(out[number][-1] for number in part)
        return list(out.values())

    # -- what follows from the memory --
    def library(self) -> Library:
        """The primitives, and every concept of the memory that can be run here."""
        return self._prepared().library

    def _prepared(self) -> _Prepared:
        if self._ready is None or self._ready.changes != self.memory.changes:
            library = executable(self.memory, self.domain)
            selector = Selector(_with_all_routines(one, library) for one in self.memory.solutions.values())
            concepts = [self.memory[name] if name in self.memory else self.domain.primitive_concept(name) for name in library.routines]
            self._ready = _Prepared(library, selector, Retriever(concepts, selector, self._embed, self.memory.counts), self.memory.changes)
        return self._ready

    def _keep(self, id: str, term: Term, features: tuple[str, ...], library: Library) -> None:
        names, every = term.routines(), sorted(_all_routines(term, library))
        for name in every:
            if name not in self.memory and library[name].body is None:
                self.memory.merge(self.domain.primitive_concept(name))
        whole = str(abstracting.expanded(term, library))
        self.memory.add_solution(Solution(id, whole, str(term), f"{len(names)} routines: {', '.join(names)}", str(term), features, tuple(names)))
        for name in every:
            if name in self.memory:
                self.memory.used(name, id)
        lesson = lesson_of(self.memory.solutions[id])
        if lesson is not None:
            self.memory.lessons = [one for one in self.memory.lessons if one.source != id]
            self.memory.add_lesson(lesson)

    def _remember(self, routine: Routine, library: Library, rejected: list[tuple[str, str]]) -> str:
        """A new routine as a concept, with the solutions that use it and the cues that hold in all of them; empty where it is not kept."""
        users = [one for one in self.memory.solutions.values() if routine.name in _all_routines(read_term(one.term), library)]
        cues = frozenset.intersection(*(frozenset(one.features) for one in users)) if users else frozenset()
        concept = concept_of(routine, self.domain, sorted(cues), [one.id for one in users])
        verdict = by_rules(concept, ())
        if not verdict.kept:
            rejected.append((routine.name, verdict.reason))
            return ""
        return self.memory.merge(concept).name


def readable(solution: Solution, library: Library) -> Term | None:
    """The term of a stored solution, in primitives where a concept that it names is gone; None where it has none that can be read here."""
    for text in (solution.term, solution.solution if solution.term else ""):
        try:
            term = read_term(text) if text else None
        except Invalid:
            continue
        if term is not None and all(name in library for name in term.routines()):
            return term
    return None


def settled(memory: ConceptMemory, domain: Domain) -> None:
    """Write every solution of a memory with the concepts that it has, in the order in which these came, and note what uses what: all of this follows
    from concepts and solutions, and need not be stored."""
    library = executable(memory, domain)
    routines = [one for one in library.routines.values() if one.body is not None]
    for id, solution in list(memory.solutions.items()):
        term = readable(solution, library)
        names = set(solution.concepts)
        if term is not None:
            for routine in routines:
                term = abstracting.rewritten(term, routine)
            memory.solutions[id] = replace(solution, term=str(term), concepts=tuple(term.routines()))
            names = _all_routines(term, library)
        for name in sorted(names):
            if name in memory:
                memory.used(name, id)


def _all_routines(term: Term, library: Library) -> set[str]:
    """The routines that a term applies, itself or within the bodies of others."""
    out: set[str] = set()
    left = term.routines()
    while left:
        name = left.pop()
        if name in library and name not in out:
            out.add(name)
            body = library[name].body
            left += body.routines() if body is not None else []
    return out


def _with_all_routines(solution: Solution, library: Library) -> Solution:
    """A solution as the selector counts it: what the bodies of its concepts use counts as used, too."""
    return replace(solution, concepts=tuple(sorted(_all_routines(read_term(solution.term), library)))) if solution.term else solution


def executable(memory: ConceptMemory, domain: Domain) -> Library:
    """The primitives of a domain, and the concepts of a memory whose programs can be read and typed over them, those that others need first."""
    library = domain.library()
    left = [one for one in memory.concepts() if one.program is not None and one.name not in library]
    while left:
        ready = [(one, routine) for one in left if (routine := _routine(one, library)) is not None]
        if not ready:
            break
        library = library.with_routines([routine for _, routine in ready])
        left = [one for one in left if one.name not in library]
    return library


def _routine(concept: Concept, library: Library) -> Routine | None:
    """A concept as a routine; None where its program cannot be read, or does not fit its types over this library."""
    types = concept.parameter_types()
    output = concept.output
    if output is None or concept.program is None or any(one is None for one in types):
        return None
    parameters = tuple((one.name, type) for one, type in zip(concept.parameters, types, strict=True) if type is not None)
    try:
        body = read_term(concept.program)
        variables: dict[str, Any] = dict(parameters)
        return Routine(concept.name, parameters, output, body=body) if library.type_of(body, variables) == output else None
    except MnemosError:
        return None
