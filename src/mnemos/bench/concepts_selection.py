"""Selection among many: the memory of a world with 300 distractors, which of the concepts that a problem needs are selected, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mnemos.bench.concepts_arms import right, solver
from mnemos.bench.concepts_world import World, grid_of
from mnemos.text.concepts import abstracting
from mnemos.text.concepts.concept import Pair, Problem, Solution
from mnemos.text.concepts.domain import Domain, concept_of
from mnemos.text.concepts.domains.grid import grid_domain
from mnemos.text.concepts.domains.grid_primitives import GRID
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.rendering import SELECTED, rendered
from mnemos.text.concepts.retrieving import MOST
from mnemos.text.concepts.solving import Settings, Solver
from mnemos.text.concepts.terms import INPUT, Failed, Library, Routine, Term, constant, variable
from mnemos.text.tokens import count_tokens

DISTRACTORS = 300


@dataclass(frozen=True)
class Selected:
    """Of the unseen problems of a world: the share of the needed concepts that was selected for each, the share of the whole memory's tokens that was
    shown, and whether it was solved with the selected ones, and with all."""

    recall: list[float]
    tokens: list[float]
    solved: list[bool]
    solved_with_all: list[bool]
    concepts: int


def selection(made: World, seed: int, budget: int, count: int = DISTRACTORS) -> Selected:
    """Learn a world's curriculum, add distractors, and solve its unseen problems: with the selected concepts alone, and with all."""
    domain = grid_domain()
    learning = solver("concepts", Settings(budget=2 * budget, answers=1))
    learning.run(made.curriculum)
    memory = ConceptMemory.from_json(learning.memory.as_json())
    distract(memory, domain, np.random.default_rng((seed, 1)), count)
    settings = Settings(budget=budget, answers=1, learn=False)
    few, all_ = Solver(domain, memory, replace(settings, select=MOST)), Solver(domain, memory, settings)
    library = all_.library()
    concepts = {name: memory[name] if name in memory else domain.primitive_concept(name) for name in library.routines}
    whole = count_tokens(rendered(list(concepts.values()), memory.types, SELECTED))
    learnt = [one for one in learning.library().routines.values() if one.body is not None]
    recall, tokens = [], []
    for problem in made.unseen:
        term = made.truth[problem.id]
        for routine in learnt:
            term = abstracting.rewritten(term, routine)
        chosen = list(few.plan(problem)[1])
        needed = term.routines()
        recall.append(sum(name in chosen for name in needed) / len(needed))
        tokens.append(count_tokens(rendered([concepts[name] for name in chosen], memory.types, SELECTED)) / whole)
    solved, with_all = (right([[one.solve(problem)] for problem in made.unseen]) for one in (few, all_))
    return Selected(recall, tokens, solved, with_all, len(concepts))


def distract(memory: ConceptMemory, domain: Domain, rng: np.random.Generator, count: int) -> None:
    """Add concepts that no problem of the world needs: compositions of two to four primitives, of all that grids have, each used in a problem of its
    own that has features and so gives it cues."""
    library = domain.library()
    names = [name for name, one in library.routines.items() if one.result == GRID and one.types[0] == GRID and not any(t.callable for t in one.types)]
    made = 0
    while made < count:
        name = f"distractor_{made}"
        body = _chain([str(one) for one in rng.choice(names, int(rng.integers(2, 5)))], library, rng)
        problem = _problem(f"other {made}", body, library, rng)
        if problem is None:
            continue
        features = tuple(sorted(domain.features(problem)))
        routine = Routine(name, (("p0", GRID),), GRID, body=body, about=" then ".join(reversed(body.routines())))
        memory.merge(replace(concept_of(routine, domain, features), used_in=(problem.id,)))
        term = Term(name, (variable(INPUT),))
        memory.add_solution(Solution(problem.id, str(body.put({"p0": variable(INPUT)})), str(term), "", str(term), features, (name,)))
        made += 1


def _chain(names: list[str], library: Library, rng: np.random.Generator) -> Term:
    term = variable("p0")
    for name in names:
        args = [term]
        for type in library[name].types[1:]:
            if type == GRID:
                args.append(variable("p0"))
            else:
                args.append(constant(type.name, int(rng.integers(1, 10) if type.name == "Colour" else rng.integers(2, 4))))
        term = Term(name, tuple(args))
    return term


def _problem(id: str, body: Term, library: Library, rng: np.random.Generator) -> Problem | None:
    pairs = []
    for _ in range(3):
        grid = grid_of([int(one) for one in rng.choice(np.arange(1, 10), 4, replace=False)], rng)
        try:
            pairs.append(Pair(grid, library.run(body, {"p0": grid})))
        except Failed:
            return None
    return Problem(id, tuple(pairs))
