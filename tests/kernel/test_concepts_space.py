"""Concepts in a space: durable, derived from verified solutions alone, gone with them, and never a lost update."""

from __future__ import annotations

import runpy
import threading
from pathlib import Path

import numpy as np
import orjson
import pytest

import mnemos
from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.kernel.concepts import Concepts
from mnemos.kernel.system import Mnemos
from mnemos.text.concepts.coding import Coded
from mnemos.text.concepts.concept import Pair, Problem
from mnemos.text.concepts.domains.grid import as_grid, grid_domain
from mnemos.text.concepts.domains.strings import string_domain
from mnemos.text.concepts.solving import Outcome, Settings
from mnemos.text.concepts.terms import INPUT, read_term

FEW = grid_domain(("flip_across", "flip_down", "turn", "crop", "paint", "frame", "scale", "fall"))
SETTINGS = Settings(budget=3000, answers=1)


def problem(name: str, term: str) -> Problem:
    rng = np.random.default_rng(len(term) + sum(map(ord, name)))
    pairs = []
    for _ in range(4):
        grid = rng.choice([0, 0, 1, 2, 3], tuple(rng.integers(4, 8, 2))).astype(np.int8)
        grid[0], grid[2, 1:3] = 0, (1, 2)
        pairs.append(Pair(grid, FEW.library().run(read_term(term), {INPUT: grid})))
    return Problem(name, tuple(pairs[:3]), tuple(pairs[3:]))


FRAMED = [problem(f"framed {c} {d}", f"frame(paint(x, Colour:{c}), Colour:{d})") for c in (4, 6, 7) for d in (5, 8)]
SINGLE = [problem(name, f"{name}(x)") for name in ("flip_down", "turn")]
DEEP = problem("deep", "flip_down(frame(paint(x, Colour:4), Colour:5))")


@pytest.fixture
def concepts(mem: Mnemos) -> Concepts:
    return Concepts(mem.space("puzzles"), FEW, SETTINGS)


def bodies(concepts: Concepts) -> list[str]:
    return [one.program for one in concepts.memory().concepts() if one.program and "(" in one.program]


def test_what_was_learnt_is_there_after_reopening_and_makes_new_problems_solvable(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "m.db") as mem:
        concepts = Concepts(mem.space("puzzles"), FEW, SETTINGS)
        alone = concepts.solve(DEEP, budget=20_000)
        assert isinstance(alone, Outcome)
        told = concepts.run([*SINGLE, *FRAMED])
        assert all(one[0].solved for one in told)
        held = concepts.memory()
        assert bodies(concepts) == ["frame(paint(p0, p1), p2)"]
    with mnemos.open(tmp_path / "m.db") as mem:
        again = Concepts(mem.space("puzzles"), FEW, SETTINGS)
        assert again.memory() == held
        found = again.solve(DEEP, budget=alone.nodes // 3)
        assert found.solved
        assert (found.attempts[0].answers[0] == DEEP.test[0].output).all()


def test_concepts_are_views_with_lineage_and_edges_and_plain_searches_leave_them_out(concepts: Concepts) -> None:
    concepts.run([*SINGLE, *FRAMED])
    (made,) = [one for one in concepts.memory().concepts() if one.program and "(" in one.program]
    cube = concepts.space.get(concepts.id_of(made.name))
    sources = {concepts.space.get(link.id).metadata["solution"]["id"] for link in cube.derived_from}
    assert {link.relation for link in cube.derived_from} == {"view_of"}
    assert sources <= set(made.used_in) == {one.id for one in FRAMED}
    edges = cube.metadata["edges"]
    assert {concepts.space.get(one["to"]).metadata["concept"]["name"] for one in edges if one["kind"] == "uses"} == {"frame", "paint"}
    assert {one["to"] for one in edges if one["kind"] == "used_in"} == {str(link.id) for link in cube.derived_from}
    assert all(hit.cube.type == "solution" for hit in concepts.space.search("paint then frame", k=50))


def test_forgetting_a_solution_forgets_what_was_abstracted_from_it_and_the_rest_goes_on(concepts: Concepts) -> None:
    concepts.run([*SINGLE, *FRAMED])
    (made,) = [one for one in concepts.memory().concepts() if one.program and "(" in one.program]
    (solution,) = [one for one in concepts.space.list(types=["solution"]) if one.metadata["solution"]["id"] == made.used_in[0]]
    id = concepts.id_of(made.name)
    concepts.space.forget([solution.id])
    with pytest.raises(NotFound):
        concepts.space.get(id)
    memory = concepts.memory()
    assert made.used_in[0] not in memory.solutions
    assert memory.solutions[made.used_in[1]].term == memory.solutions[made.used_in[1]].solution
    assert bodies(concepts) == []
    assert concepts.solve(DEEP, budget=20_000).solved
    assert not any(link["to"] == solution.id for cube in concepts.space.list(types=["concept"]) for link in cube.metadata.get("edges", []))


def test_only_what_holds_for_its_own_pairs_is_kept(concepts: Concepts) -> None:
    told = concepts.learn([Outcome(DEEP, read_term("crop(x)")), Outcome(DEEP, None)])
    assert (told.solutions, told.concepts) == ((), ())
    assert told.rejected == (("deep", "gives another output for pair 1"),)
    assert len(concepts.space.list()) == 0
    with pytest.raises(Invalid, match="outcomes"):
        concepts.learn(["solved"])  # type: ignore[list-item]


def test_learning_twice_is_the_same_as_once(concepts: Concepts) -> None:
    told = [concepts.solve(one) for one in FRAMED]
    first = concepts.learn(told)
    before, position = concepts.memory(), concepts.space.system.position()
    second = concepts.learn(told)
    assert len(first.solutions) == len(FRAMED)
    assert (second.solutions, second.concepts, second.revised) == ((), (), ())
    assert concepts.memory() == before
    assert concepts.space.system.position() == position


def test_who_may_only_read_solves_and_learns_nothing(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "m.db") as mem:
        Concepts(mem.space("puzzles"), FEW, SETTINGS).run([*SINGLE, *FRAMED])
        mem.space("puzzles", acl={"read": ["bob"]})
        with pytest.raises(NotFound):
            mem.as_principal("eve").existing_space("puzzles")
        bob = Concepts(mem.as_principal("bob").existing_space("puzzles"), FEW, SETTINGS)
        found = bob.solve(DEEP)
        assert found.solved
        for write in (lambda: bob.learn([found]), lambda: bob.merge({"name": "a", "kind": "structure"})):
            with pytest.raises(PermissionDenied):
                write()


def test_annotations_are_versions_that_can_be_taken_back(concepts: Concepts) -> None:
    id = concepts.merge({"name": "hole", "kind": "structure", "cues": ["enclosed"]})
    assert concepts.merge({"name": "hole", "kind": "structure", "cues": ["enclosed"]}) == id
    assert concepts.space.get(id).version == 1
    assert concepts.merge({"name": "hole", "kind": "structure", "cues": ["background inside"]}) == id
    assert concepts.get("hole").cues == ("enclosed", "background inside")
    concepts.space.rollback(id, 1)
    assert concepts.get("hole").cues == ("enclosed",)
    with pytest.raises(Invalid):
        concepts.merge({"name": "hole", "kind": "object"})


def test_a_memory_is_carried_to_another_space(concepts: Concepts, tmp_path: Path) -> None:
    concepts.run([*SINGLE, *FRAMED])
    concepts.merge({"name": "hole", "kind": "structure", "cues": ["enclosed"]})
    count = concepts.export(tmp_path / "c.json")
    other = Concepts(concepts.space.system.space("other"), FEW, SETTINGS)
    assert other.load(tmp_path / "c.json") == count == len(other) == len(concepts)
    ours, theirs = concepts.memory(), other.memory()
    assert {one.name: one for one in ours.concepts()} == {one.name: one for one in theirs.concepts()}
    assert ours.solutions == theirs.solutions
    assert other.load(tmp_path / "c.json") == count
    assert other.memory() == theirs
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(Invalid, match="no JSON"):
        other.load(tmp_path / "bad.json")


def test_domains_of_one_space_do_not_mix(mem: Mnemos) -> None:
    space = mem.space("both")
    Concepts(space, FEW, SETTINGS).run(SINGLE)
    texts = Concepts(space, string_domain(), SETTINGS)
    assert len(texts) == 0
    texts.run([Problem("u", (Pair("ab", "AB"), Pair("c d", "C D")), (Pair("x", "X"),))])
    assert texts.memory().names == ["upper"]
    assert "upper" not in Concepts(space, FEW).memory()


def test_threads_that_learn_at_once_lose_nothing(mem: Mnemos) -> None:
    space = mem.space("puzzles")
    solver = Concepts(space, FEW, SETTINGS)
    outcomes = [solver.solve(one) for one in (*SINGLE, *FRAMED)]
    threads = [threading.Thread(target=lambda one=one: Concepts(space, FEW, SETTINGS).learn([one])) for one in outcomes]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    memory = solver.memory()
    assert set(memory.solutions) == {one.problem.id for one in outcomes}
    names = [cube.metadata["concept"]["name"] for cube in space.list(types=["concept"])]
    assert len(names) == len(set(names)) == len(memory)


def test_what_may_not_be_read_is_no_part_of_the_memory(mem: Mnemos) -> None:
    owner = Concepts(mem.space("puzzles", acl={"read": ["bob"]}, clearance={"ann": "secret"}), FEW, SETTINGS)
    owner.learn([owner.solve(one) for one in FRAMED], sensitivity="secret")
    assert len(Concepts(mem.as_principal("bob").existing_space("puzzles"), FEW, SETTINGS)) == 0
    mem.space("puzzles", clearance={"*": "secret"})
    assert Concepts(mem.as_principal("bob").existing_space("puzzles"), FEW, SETTINGS).memory() == owner.memory()


def test_selections_are_credited(mem: Mnemos) -> None:
    Concepts(mem.space("puzzles"), FEW, SETTINGS).run(SINGLE)
    concepts = Concepts(mem.space("puzzles"), FEW, Settings(budget=300, answers=1, select=4))
    found = concepts.solve(problem("again", "flip_down(x)"))
    assert found.solved
    assert "flip_down" in found.selected
    assert concepts.counts("flip_down").rate is None
    concepts.learn([found, Outcome(DEEP, None, selected=("flip_down", "nothing"))])
    assert (concepts.counts("flip_down").f, concepts.counts("flip_down").u) == (2, 1)
    assert concepts.memory().problems == 2


class Chat:
    """Writes the one program, and says one concept of it."""

    fingerprint = "scripted"

    def complete(self, conversations, *, schema=None, max_tokens=None):  # type: ignore[no-untyped-def]
        wanted = set((schema or {}).get("required", ()))
        said = {
            frozenset(["code"]): {"code": "def transform(given):\n    return [[9 if c == 1 else c for c in row] for row in given]\n"},
            frozenset(["pseudocode", "summary"]): {"pseudocode": "recolour 1 as 9", "summary": "recolours"},
            frozenset(["cues", "implementation"]): {"cues": ["one"], "implementation": []},
            frozenset(["thoughts"]): {"thoughts": ["ones change"]},
            frozenset(["lessons"]): {"lessons": [{"situation": "one colour changes", "suggestion": "recolour it"}]},
        }.get(frozenset(wanted))
        if said is None and "pseudocode" in conversations[0][1]["content"]:
            said = {"concepts": [{"name": "recolour", "kind": "routine", "routine_subtype": None, "output_typing": "Grid", "parameters": [],
                                  "description": "one colour for another", "cues": ["same shape"], "implementation": []}]}  # fmt: skip
        return [orjson.dumps(said or {"concepts": ["recolour"]}).decode() for _ in conversations]


def test_a_model_solves_what_a_search_does_not_and_is_learnt_from(mem: Mnemos) -> None:
    concepts = Concepts(mem.space("puzzles"), FEW, Settings(budget=100), chat=Chat())
    grids = [[[1, 2], [0, 1]], [[2, 1], [1, 1]], [[0, 0], [1, 2]]]
    pairs = [Pair(as_grid(g), as_grid([[9 if c == 1 else c for c in row] for row in g])) for g in grids]
    task = Problem("nine", tuple(pairs[:2]), tuple(pairs[2:]))
    found = concepts.solve(task)
    assert isinstance(found, Coded)
    assert (found.attempts[-1].answers[0] == pairs[2].output).all()
    told = concepts.learn([found])
    assert len(told.solutions) == len(told.concepts) == 1
    assert concepts.get("recolour").used_in == ("nine",)
    assert concepts.memory().lessons[0].source == "nine"
    assert "one colour for another" in concepts.hint(task)
    assert [one.name for one in concepts.select(task)] == ["recolour"]
    assert concepts.thinker is not None
    assert concepts.thinker.report.degraded == 0
    without = Concepts(mem.space("puzzles"), FEW, Settings(budget=100))
    with pytest.raises(Invalid, match="chat"):
        without.learn([found])


def test_what_a_secret_solution_adds_to_a_concept_makes_it_secret_and_goes_with_it(mem: Mnemos) -> None:
    concepts = Concepts(mem.space("puzzles"), FEW, SETTINGS, chat=Chat())
    id = concepts.merge({"name": "recolour", "kind": "routine", "output_typing": "Grid", "cues": ["colours change"]})
    task = Problem("nine", (Pair(as_grid([[1, 2]]), as_grid([[9, 2]])),))
    code = "def transform(given):\n    return [[9 if c == 1 else c for c in row] for row in given]\n"
    told = concepts.learn([Coded(task, code, (), (), ())], sensitivity="secret")
    assert told.revised == (id,)
    cube = concepts.space.get(id)
    assert cube.sensitivity == "secret"
    assert [str(link.id) for link in cube.derived_from] == list(told.solutions)
    assert concepts.get("recolour").cues == ("colours change", "same shape")
    concepts.space.forget(list(told.solutions))
    assert len(concepts) == 0


def test_what_is_forgotten_while_a_model_thinks_does_not_come_back(mem: Mnemos) -> None:
    space = mem.space("puzzles")
    Concepts(space, FEW, SETTINGS).run([*SINGLE, *FRAMED])
    code = "def transform(given):\n    return [[9 if c == 1 else c for c in row] for row in given]\n"

    class Forgetful(Chat):
        def complete(self, conversations, *, schema=None, max_tokens=None):  # type: ignore[no-untyped-def]
            space.forget([cube.id for cube in space.list(types=["solution"])])
            self.complete = super().complete  # type: ignore[method-assign]
            return super().complete(conversations, schema=schema, max_tokens=max_tokens)

    concepts = Concepts(space, FEW, SETTINGS, chat=Forgetful())
    concepts.learn([Coded(Problem("nine", (Pair(as_grid([[1, 2]]), as_grid([[9, 2]])),)), code, (), (), ())])
    memory = concepts.memory()
    assert (list(memory.solutions), memory.names) == (["nine"], ["recolour"])
    assert {one.source for one in memory.lessons} == {"nine"}


def test_a_model_writes_fewer_lines_and_that_is_a_version(mem: Mnemos) -> None:
    concepts = Concepts(mem.space("puzzles"), FEW, SETTINGS, chat=Chat())
    id = concepts.merge({"name": "hole", "kind": "structure", "cues": ["one", "one again"]})
    assert concepts.compress("hole")
    assert concepts.get("hole").cues == ("one",)
    assert not concepts.compress("hole")
    concepts.space.rollback(id, 1)
    assert concepts.get("hole").cues == ("one", "one again")
    with pytest.raises(Invalid, match="chat"):
        Concepts(mem.space("puzzles"), FEW).compress("hole")


def test_parameters_have_edges_to_what_can_be_given_for_them(mem: Mnemos) -> None:
    concepts = Concepts(mem.space("puzzles"), FEW)
    grow = concepts.merge({"name": "grow", "kind": "routine", "output_typing": "Piece", "parameters": [{"name": "piece", "typing": "Piece"}]})
    over = [{"name": "grid", "typing": "Grid"}, {"name": "change", "typing": "Callable[[Piece], Piece]"}]
    each = concepts.merge({"name": "each piece", "kind": "routine", "output_typing": "Grid", "parameters": over})
    edges = concepts.space.get(each).metadata["edges"]
    assert edges == [{"to": grow, "kind": "parameter", "weight": 1.0}]


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "concepts.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "before: not solved within 1500 nodes" in said
    assert "learnt: paint_then_frame = frame(paint(p0, p1), p2), used in 6 solutions" in said
    assert said.endswith("right: True\n")
