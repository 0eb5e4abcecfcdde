"""The concepts benchmark: worlds that are what they say, arms that differ in their memory alone, and no answer that is read before it is scored."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.bench.concepts_arms import ARMS, lifelong, right, solver
from mnemos.bench.concepts_selection import distract
from mnemos.bench.concepts_world import World, domain, world
from mnemos.text.concepts.concept import Pair, Problem
from mnemos.text.concepts.domains.grid import as_grid, grid_domain
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.solving import Settings, Solver
from mnemos.text.concepts.terms import INPUT

SETTINGS = Settings(budget=300, answers=1)


@pytest.fixture(scope="module")
def made() -> World:
    return world(7, 12, 24, 16)


def test_a_world_holds_what_it_says(made: World) -> None:
    library = domain().library()
    for problem in (*made.curriculum, *made.unseen):
        for pair in (*problem.train, *problem.test):
            assert (library.run(made.truth[problem.id], {INPUT: pair.input}) == pair.output).all()
    compositions = {problem.id: str(made.truth[problem.id]) for problem in made.unseen}
    assert len(set(compositions.values())) == len(compositions)
    assert not set(compositions.values()) & {str(made.truth[problem.id]) for problem in made.curriculum}
    assert {made.truth[problem.id].size > 2 for problem in made.unseen} == {True}
    again = world(7, 12, 24, 16)
    assert {name: str(term) for name, term in again.truth.items()} == {name: str(term) for name, term in made.truth.items()}


def test_concepts_solve_more_than_no_memory_and_than_whole_programs(made: World) -> None:
    """Check 3 in small: the benchmark has the numbers."""
    solved = {arm: sum(lifelong(arm, made, SETTINGS)) for arm in ARMS}
    assert solved["concepts"] >= 1.075 * solved["none"]
    assert solved["concepts"] >= solved["instances"]


def test_whole_programs_solve_what_was_seen_before(made: World) -> None:
    one = solver("instances", SETTINGS)
    first = one.run(made.curriculum[:6])
    again = one.run(made.curriculum[:6])
    assert sum(told[0].nodes for told in again) <= sum(told[0].nodes for told in first)
    assert right(again) == right(first)


def test_outputs_of_test_pairs_change_no_search(made: World) -> None:
    hidden = [Problem(one.id, one.train, tuple(Pair(pair.input, as_grid([[9]])) for pair in one.test)) for one in made.curriculum]
    ours, theirs = (solver("concepts", SETTINGS) for _ in range(2))
    told, other = ours.run(made.curriculum), theirs.run(hidden)
    assert [str(one[0].term) for one in told] == [str(one[0].term) for one in other]
    assert ours.memory == theirs.memory
    assert not any(right(other))


def test_distractors_can_be_searched_with_and_have_cues() -> None:
    memory = ConceptMemory()
    distract(memory, grid_domain(), np.random.default_rng(0), 12)
    library = Solver(grid_domain(), memory).library()
    assert sum(one.body is not None for one in library.routines.values()) == 12
    assert all(one.used_in for one in memory.concepts())
