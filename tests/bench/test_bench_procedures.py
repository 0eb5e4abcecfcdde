"""The benchmark of procedures: its world does what it says, its arms are told apart, and its real tasks are read right."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.base.errors import NotFound
from mnemos.bench import procedures_life, procedures_real
from mnemos.bench.datasets import data_folder
from mnemos.bench.procedures_arms import AGENT, ARMS, arms
from mnemos.bench.procedures_world import SHARED, TICKET, Agent, Episode, Task, World, sampled
from mnemos.models.hashed import HashedEmbedder

WORLD = World(np.random.default_rng([0, 11]))
CAREFUL = Agent(heeds=1.0, wanders=0.0, repairs=0)


def hiding(after: bool = False, shared: bool | None = None) -> Task:
    """A task of the first family that hides a call before its main one, or, with `after`, behind it."""
    rng = np.random.default_rng(5)
    fits = (f for f in WORLD.families if (f.after is not None if after else f.before) and (shared is None or (SHARED in f.plan) is shared))
    return WORLD.task(rng, next(fits))


def done(task: Task, *tools: str, changed: bool = False) -> float:
    episode = Episode(task, changed)
    for tool in tools:
        episode.call(tool, {})
    return episode.reward


def test_the_world_has_more_than_forty_families_and_texts_hold_their_values() -> None:
    assert len(WORLD.families) >= 40
    assert 0.1 < np.mean([not f.before and f.after is None for f in WORLD.families]) < 0.45
    for family in WORLD.families:
        task = WORLD.task(np.random.default_rng(1), family)
        assert all(str(value) in task.text for value in task.values.values())


def test_what_is_hidden_is_needed_and_in_its_place() -> None:
    task = hiding(shared=False)
    find, main = task.family.plan
    ((_, (hidden, _)),) = task.family.before.items()
    assert done(task, find, main) == 0
    assert done(task, find, hidden, main) == 1
    assert done(task, hidden, main, find) == 0
    last = hiding(after=True, shared=False)
    assert done(last, *last.family.plan) == 0
    assert done(last, *last.family.plan, last.family.after or "") == 1
    assert done(last, last.family.after or "", *last.family.plan) == 0


def test_a_changed_tool_demands_a_ticket_and_harm_is_harm() -> None:
    task = hiding(shared=True)
    find, main, submit = task.family.plan
    ((_, (hidden, _)),) = task.family.before.items()
    assert done(task, find, hidden, main, submit) == 1
    assert done(task, find, hidden, main, submit, changed=True) == 0
    assert done(task, find, hidden, main, TICKET, submit, changed=True) == 1
    assert done(task, find, hidden, main, submit, "confirm_change") == 0
    assert not Episode(task, False).call(find, {"id": "Z999"})


def test_the_agent_keeps_to_its_plan_unless_guidance_names_what_is_missing() -> None:
    task, rng = hiding(), np.random.default_rng(0)
    main = task.family.plan[1]
    ((_, (hidden, _)),) = task.family.before.items()
    assert CAREFUL.attempt(WORLD, task, "", rng).reward == 0
    assert CAREFUL.attempt(WORLD, task, f"Experience 1\nWhat to do: 1. {hidden}(); 2. {main}().", rng).reward == 1
    assert CAREFUL.attempt(WORLD, task, f"Experience 1\nWhat to do: call {hidden}() before other_tool().", rng).reward == 0
    deaf = Agent(heeds=0.0, wanders=0.0, repairs=0)
    assert deaf.attempt(WORLD, task, f"Experience 1\nWhat to do: 1. {hidden}(); 2. {main}().", rng).reward == 0
    copying = Agent(heeds=1.0, wanders=0.0, repairs=0, copies=1.0)
    assert copying.attempt(WORLD, task, f'Experience 1\n{hidden}(id="Z999"), {main}()', rng).reward == 0


def test_attempts_are_the_same_for_the_same_seed() -> None:
    tasks = [WORLD.task(np.random.default_rng(3)) for _ in range(3)]
    one, other = (sampled(WORLD, AGENT, tasks, 4, np.random.default_rng(9)) for _ in range(2))
    assert one == other


def test_all_arms_are_measured_and_memory_helps() -> None:
    outcomes = arms(100, held_out=40)
    assert set(outcomes.succeeded) == set(ARMS)
    assert all(tried.shape == (40, 4) for tried in outcomes.succeeded.values())
    assert outcomes.pass_at("fixed", 1).mean() > outcomes.pass_at("none", 1).mean()
    assert all((outcomes.pass_at(arm, 4) >= outcomes.pass_at(arm, 1)).all() for arm in ARMS)


def test_pruning_tells_what_misleads_from_what_helps() -> None:
    gone = procedures_life.pruning(100)
    assert gone["uplift"].toxic > 0.5 > gone["uplift"].helpful
    assert gone["absolute"].helpful > 0.5


def test_calls_of_bfcl_are_read() -> None:
    assert procedures_real._call("mv(source='a.txt', destination='b')") == ("mv", {"source": "a.txt", "destination": "b"})
    assert procedures_real._call("sort('a.pdf')") == ("sort", {"argument 1": "a.pdf"})
    assert procedures_real._call("api.book(cost=-2.5, cards=[1])") == ("book", {"cost": -2.5, "cards": [1]})
    assert procedures_real._f1({"a", "b"}, frozenset({"b"})) == pytest.approx(2 / 3)
    assert procedures_real._f1(set(), frozenset({"b"})) == 0


def test_real_tasks_are_found_by_scenario() -> None:
    try:
        folder = data_folder()
        hits, groups = procedures_real.same_kind(folder, HashedEmbedder(dimensions=128), "scenario")
        turns, described = procedures_real.turns(folder)
    except NotFound as error:
        pytest.skip(str(error))
    assert len(hits) == len(groups) > 700
    assert np.mean(hits) > 0.8
    assert len({turn.task for turn in turns}) == 200
    assert all(turn.wanted <= set(described) for turn in turns)
