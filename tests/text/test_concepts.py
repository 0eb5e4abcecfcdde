"""Concepts: merges that can be repeated and taken back, types that can be asked for, scores, terms, search, and what solutions have in common."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import orjson
import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.concepts import abstracting
from mnemos.text.concepts.concept import Concept, Lesson, Pair, Parameter, Problem, Solution
from mnemos.text.concepts.domains.grid import as_grid, grid_domain, read_task
from mnemos.text.concepts.domains.grid_primitives import GRID, PRIMITIVES
from mnemos.text.concepts.domains.strings import string_domain
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.rendering import SELECTED, rendered, rendered_lessons
from mnemos.text.concepts.retrieving import Retriever
from mnemos.text.concepts.scoring import Attempt, score
from mnemos.text.concepts.search import Search, even_costs
from mnemos.text.concepts.selecting import Selector, costs, lesson_of, lesson_scores
from mnemos.text.concepts.solving import Outcome, Settings, Solver
from mnemos.text.concepts.terms import INPUT, Failed, Routine, Term, read_term, variable
from mnemos.text.concepts.types import TypeTable, fits, parse_type

ANNOTATION: dict[str, Any] = {
    "name": "draw line", "kind": "routine", "routine_subtype": "grid manipulation", "output_typing": "Grid",
    "parameters": [
        {"name": "start", "typing": "Cell := tuple[int, int]"}, {"name": "how", "typing": "Callable[[Cell], Cell]", "description": "a step"},
    ],
    "description": "draws a line of cells", "cues": ["lines that go on", {"a dot": "at the rim"}], "implementation": ["step until the rim", ""],
    "used_in": ["task 1"],
}  # fmt: skip
D = grid_domain()
FEW = grid_domain(("flip_across", "flip_down", "turn", "crop", "paint", "frame", "scale", "fall"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def embed(texts: Any) -> Any:
    return HashedEmbedder().embed(texts)


# ---- merging (check 1) ------------------------------------------------------------------------------------------------


def test_merging_the_same_annotation_twice_changes_nothing() -> None:
    memory = ConceptMemory()
    first = memory.merge(ANNOTATION)
    before = memory.as_json()
    second = memory.merge(ANNOTATION)
    assert (first.how, first.changed, second.how, second.changed) == ("new", True, "same name", False)
    assert memory.as_json() == before
    concept = memory["draw line"]
    assert concept.cues == ("lines that go on", "a dot: at the rim")
    assert concept.implementation == ("step until the rim",)
    assert (concept.used_in, [one.name for one in concept.parameters]) == (("task 1",), ["start", "how"])


def test_a_later_annotation_adds_lines_and_overrides_parameters_alone() -> None:
    memory = ConceptMemory()
    memory.merge(ANNOTATION)
    memory.merge({"name": "draw line", "kind": "routine", "routine_subtype": "intermediate", "output_typing": "Grid", "description": "other words",
                  "parameters": [{"name": "start", "typing": "Cell", "description": "where"}, {"name": "colour"}],
                  "cues": [" lines that go on ", "arrows"], "used_in": ["task 2", "task 1"]})  # fmt: skip
    concept = memory["draw line"]
    assert (concept.description, concept.routine_subtype) == ("draws a line of cells", "grid manipulation")
    assert [(one.name, one.description) for one in concept.parameters] == [("start", "where"), ("how", "a step"), ("colour", None)]
    assert concept.cues == ("lines that go on", "a dot: at the rim", "arrows")
    assert concept.used_in == ("task 1", "task 2")


@pytest.mark.parametrize("how", ["as it is", "as JSON"])
def test_a_memory_reads_back_equal(how: str) -> None:
    memory = ConceptMemory()
    memory.merge(ANNOTATION)
    memory.merge({"name": "hole", "kind": "structure", "cues": "enclosed cells"})
    memory.add_lesson(Lesson("lines", "go on with them", "task 1"))
    memory.add_solution(Solution("task 1", "code", "pseudo", "a line", "crop(x)", ("same shape",), ("draw line",)))
    memory.note_selection(["hole"], True)
    record = memory.as_json()
    read = ConceptMemory.from_json(orjson.loads(orjson.dumps(record)) if how == "as JSON" else record)
    assert read == memory
    assert [(one.kind, one.routine_subtype) for one in read.concepts()] == [("routine", "grid manipulation"), ("structure", None)]
    assert read.types == memory.types
    assert read.types.definition("Cell") == "tuple[int, int]"
    assert read.counts("hole") == memory.counts("hole")
    memory.merge({"name": "third", "kind": "structure"})
    assert read != memory


@pytest.mark.parametrize("record", [
    {"name": "a", "kind": "object"}, {"name": "", "kind": "routine"}, {"kind": "routine"}, "text",
    {"name": "a", "kind": "routine", "parameters": "p"}, {"name": "a", "kind": "routine", "cues": [["nested"]]}, {"name": "a", "kind": None},
    {"name": "a", "kind": "routine", "parameters": [{"typing": "Int"}]},
])  # fmt: skip
def test_what_is_no_concept_is_rejected_and_changes_nothing(record: Any) -> None:
    memory = ConceptMemory()
    with pytest.raises(Invalid):
        memory.merge(record)
    assert len(memory) == 0


@pytest.mark.parametrize("field", ["output_typing", "routine_subtype", "parameter"])
def test_a_type_declared_in_any_typing_can_be_asked_for(field: str) -> None:
    memory = ConceptMemory()
    record: dict[str, Any] = {"name": "a", "kind": "routine"}
    declared = "Region := set[Cell]; Cell := tuple[int, int]"
    memory.merge(record | ({"parameters": [{"name": "p", "typing": declared}]} if field == "parameter" else {field: declared}))
    assert memory.types.definition("Region") == "set[Cell]"
    assert memory.types.definition("Cell") == "tuple[int, int]"
    assert memory.types.definition("Grid") is None


def test_a_second_declaration_is_kept_beside_the_first() -> None:
    table = TypeTable()
    table.harvest("A := int", "A := str", None, "no type")
    assert (table.definition("A"), table.others("A"), table.names()) == ("int", ["str"], ["A"])


@pytest.mark.parametrize("change", [
    {"concepts": []}, {"concepts": {"a": 1}}, {"concepts": {"a": {"annotations": []}}}, {"lessons": 3}, {"lessons": [{}]}, {"solutions": [{"id": 1}]},
    {"types": {"A": "int"}}, {"selections": {"a": [1]}}, {"selections": [1]}, {"problems": -1},
    {"concepts": {"a": {"annotations": [{"name": "a"}], "uses": 4}}},
])  # fmt: skip
def test_a_record_that_is_no_memory_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        ConceptMemory.from_json({**ConceptMemory().as_json(), **change})


def test_one_name_for_two_things_is_split_and_found_again() -> None:
    memory = ConceptMemory()
    memory.merge({"name": "line", "kind": "routine", "output_typing": "Grid"})
    split = memory.merge({"name": "line", "kind": "routine", "output_typing": "list[Cell]"})
    assert (split.name, split.how) == ("line (2)", "split")
    assert memory.merge({"name": "line", "kind": "routine", "output_typing": "list[Cell]", "cues": ["c"]}).name == "line (2)"
    assert memory["line"].output_typing == "Grid"


def test_words_that_are_far_apart_split_a_name_too() -> None:
    memory = ConceptMemory(embed)
    told = {"name": "fill", "kind": "routine"}
    memory.merge({**told, "description": "colours every enclosed region of the grid with one colour"})
    assert memory.merge({**told, "description": "colours each enclosed region of the grid with a colour"}).how == "same name"
    assert memory.merge({**told, "description": "sql join over tables"}).how == "split"


def test_a_synonym_becomes_an_alias_and_only_with_the_same_signature() -> None:
    memory = ConceptMemory(embed)
    told = {
        "kind": "routine",
        "output_typing": "Grid",
        "parameters": [{"name": "g", "typing": "Grid"}],
        "description": "mirror the grid left and right",
    }
    memory.merge({"name": "flip", **told})
    assert memory.merge({"name": "mirror", **told}).how == "alias"
    assert memory["mirror"].name == "flip"
    assert memory["flip"].aliases == ("mirror",)
    assert memory.merge({"name": "mirror2", **told, "output_typing": "int"}).how == "new"


def test_merges_are_taken_back_in_any_order() -> None:
    annotations = [ANNOTATION, {"name": "draw line", "kind": "routine", "cues": ["b"]}, {"name": "draw line", "kind": "routine", "cues": ["c"]}]
    for gone in itertools.permutations(range(3), 2):
        memory, alone = ConceptMemory(), ConceptMemory()
        merges = [memory.merge(one) for one in annotations]
        for number in gone:
            memory.unmerge(merges[number])
        (left,) = set(range(3)) - set(gone)
        alone.merge(annotations[left])
        assert memory["draw line"] == alone["draw line"]
        with pytest.raises(NotFound):
            memory.unmerge(merges[gone[0]])


def test_taking_back_a_repetition_leaves_the_first() -> None:
    memory = ConceptMemory()
    memory.merge(ANNOTATION)
    memory.unmerge(memory.merge(ANNOTATION))
    assert "draw line" in memory


def test_concepts_that_are_never_selected_are_idle_and_stay() -> None:
    memory = ConceptMemory()
    for name in ("a", "b"):
        memory.merge({"name": name, "kind": "structure"})
    for _ in range(200):
        memory.note_selection(["a"], False)
    assert memory.idle() == ["b"]
    assert memory.counts("a").rate == 0.0
    assert len(memory) == 2


# ---- types and rendering ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "written"), [
    ("Grid", "Grid"), ("List[ Grid ]", "list[Grid]"), ("Callable[[Grid, Colour], Grid]", "Callable[[Grid, Colour], Grid]"),
    ("(Grid, int) -> Grid", "Callable[[Grid, int], Grid]"), ("int | None", "int | None"), ("Cell := tuple[int, int]", "Cell"),
    ("Callable[[Callable[[A], B]], list[B]]", "Callable[[Callable[[A], B]], list[B]]"),
])  # fmt: skip
def test_types_are_read_and_written(text: str, written: str) -> None:
    assert str(parse_type(text)) == written
    assert parse_type(written) == parse_type(text)


@pytest.mark.parametrize("text", ["", "list[", "a b", "Callable[[Grid], ", "the grid (2d)", "[" * 50, "list[" * 50, "->", "3"])
def test_what_is_no_type_is_said_so(text: str) -> None:
    with pytest.raises(Invalid):
        parse_type(text)


def test_which_types_fit() -> None:
    assert fits(parse_type("Grid"), parse_type("Grid | None"))
    assert fits(parse_type("Callable[[Grid], Grid]"), parse_type("Callable[[T], T]"))
    assert not fits(parse_type("Callable[[Grid], Int]"), parse_type("Callable[[T], T]"))
    assert not fits(parse_type("list[Int]"), parse_type("list[Grid]"))


def test_rendering_has_sections_and_collapses_what_is_seldom_used() -> None:
    memory = ConceptMemory()
    memory.merge(ANNOTATION)
    memory.merge({**ANNOTATION, "used_in": ["task 2"]})
    memory.merge({"name": "rare", "kind": "structure", "cues": ["dots"], "used_in": ["task 1"]})
    memory.merge(
        {"name": "count", "kind": "routine", "routine_subtype": "intermediate", "output_typing": "int", "cues": ["many"], "used_in": ["a", "b"]}
    )
    shown = rendered(memory.concepts(), memory.types)
    assert "Seldom used: rare" in shown
    assert "- Cell := tuple[int, int]" in shown
    assert "cue: lines that go on" in shown
    assert "cue: many" not in shown, "cues are for what can be seen in a grid"
    assert shown.index("## Structures") < shown.index("## Types") < shown.index("grid manipulation") < shown.index("intermediate")
    chosen = rendered([memory["rare"]], rendering=SELECTED, others=["draw line"])
    assert "cue: dots" in chosen
    assert chosen.endswith("## Other concepts\ndraw line")


def test_lessons_are_shown_with_situation_and_suggestion() -> None:
    shown = rendered_lessons([Lesson("dots at the rim", "draw lines from them", "t")])
    assert (shown.count("dots at the rim"), shown.count("draw lines from them")) == (1, 1)


# ---- scores (check 2) ---------------------------------------------------------------------------------------------------


def test_scores_are_those_of_brute_force(rng: np.random.Generator) -> None:
    for _ in range(300):
        expected = {f"p{n}": [int(v) for v in rng.integers(0, 3, rng.integers(1, 4))] for n in range(rng.integers(1, 5))}
        attempts: dict[str, list[Attempt]] = {}
        for name, right in expected.items():
            places = [(b, t, s) for b in range(2) for t in range(2) for s in range(3) if rng.random() < 0.4]
            rng.shuffle(places)
            attempts[name] = [Attempt(tuple(None if rng.random() < 0.2 else int(rng.integers(0, 3)) for _ in right), *place) for place in places]
        most, k = int(rng.integers(1, 4)), int(rng.integers(1, 7))
        official = strict = oracle = 0.0
        for name, right in expected.items():
            taken: list[Attempt] = []
            for step in range(3):
                for thread in range(2):
                    for branch in range(2):
                        taken += [a for a in attempts[name] if (a.step, a.thread, a.branch) == (step, thread, branch)]
            for cap in ("most", "k"):
                share = 0.0
                for case, wanted in enumerate(right):
                    hit = False
                    for a in taken[: most if cap == "most" else k]:
                        hit = hit or a.answers[case] == wanted
                    share += hit / len(right)
                official, oracle = (official + share, oracle) if cap == "most" else (official, oracle + share)
            strict += max([list(a.answers) == right for a in taken[:most]], default=False)
        told = score(attempts, expected, k, most)
        assert (told.official, told.strict, told.oracle) == pytest.approx((official, strict, oracle))
        assert told.problems == len(expected)


def test_scores_need_an_answer_for_each_case() -> None:
    with pytest.raises(Invalid, match="2 answers for 1"):
        score({"a": [Attempt((1, 2))]}, {"a": [1]})


# ---- terms ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x", "crop(x)", "recolour(crop(x), Colour:3, Colour:4)", "each(x, it => paint(it, Colour:3))", 'a(Mark:", )")'])
def test_terms_are_read_and_written(text: str) -> None:
    assert str(read_term(text)) == text
    assert read_term(str(read_term(text))) == read_term(text)


@pytest.mark.parametrize("text", ["", "crop(", "crop(x))", "crop(x", "f(,x)", "f(x x)", "(" * 100, "f(" * 100, "a:b(", "=> x"])
def test_what_is_no_term_is_said_so(text: str) -> None:
    with pytest.raises(Invalid):
        read_term(text)


@pytest.mark.parametrize("text", ["crop(Colour:3)", "crop(x, x)", "scale(x, Colour:2)", "each(x, it => size(it))", "each(x, crop(x))", "crop(y)"])
def test_terms_are_typed(text: str) -> None:
    with pytest.raises(Invalid):
        abstracting.check_term(read_term(text), D.library(), GRID, GRID)


def test_a_term_cannot_run_away() -> None:
    library = D.library()
    body = variable("p0")
    for _ in range(10):
        body = Term("flip_down", (body,))
    routines = [Routine("d0", (("p0", GRID),), GRID, body=body)]
    for n in range(1, 12):
        inner = Term(f"d{n - 1}", (Term(f"d{n - 1}", (variable("p0"),)),))
        routines.append(Routine(f"d{n}", (("p0", GRID),), GRID, body=inner))
    with pytest.raises(Failed, match="steps"):
        library.with_routines(routines).run(read_term("d11(x)"), {INPUT: as_grid([[1]])})
    with pytest.raises(Failed):
        library.run(read_term("tile(tile(tile(x, Int:4), Int:4), Int:4)"), {INPUT: as_grid([[1]])})
    with pytest.raises(NotFound):
        library.run(read_term("open(x)"), {INPUT: as_grid([[1]])})


def test_primitives_leave_their_inputs_alone_and_fail_as_they_should(rng: np.random.Generator) -> None:
    library = D.library()
    values = {
        "Grid": lambda g: g,
        "Colour": lambda g: int(rng.integers(1, 10)),
        "Int": lambda g: int(rng.integers(2, 4)),
        "list[Grid]": lambda g: [g, g, g * 2 % 5],
    }
    for routine in PRIMITIVES:
        ran = 0
        for _ in range(40):
            grid = rng.choice([0, 0, 1, 2, 3], tuple(rng.integers(1, 9, 2))).astype(np.int8)
            kept = grid.copy()
            args = [
                values[str(t)](grid) if not t.callable else (lambda g: g[::-1]) if t.result == GRID else (lambda g: int(g.sum()))
                for t in routine.types
            ]
            try:
                made = library.apply(routine, args)
                ran += 1
                assert not isinstance(made, np.ndarray) or (made.dtype == np.int8 and made.ndim == 2), routine.name
            except Failed:
                pass
            assert (grid == kept).all(), routine.name
        assert ran or routine.name == "panels", routine.name


# ---- search and abstraction ---------------------------------------------------------------------------------------------------


def problem(term: str, rng: np.random.Generator, domain: Any = D, name: str = "p") -> Problem:
    made = read_term(term)
    grids = [rng.choice([0, 0, 0, 1, 2, 3], tuple(rng.integers(4, 8, 2))).astype(np.int8) for _ in range(4)]
    for grid in grids:
        grid[0] = 0
        grid[2, 1:3] = (1, 2)
    pairs = [Pair(grid, domain.library().run(made, {INPUT: grid})) for grid in grids]
    return Problem(name, tuple(pairs[:3]), tuple(pairs[3:]))


@pytest.mark.parametrize("term", ["flip_across(crop(x))", "each(x, it => flip_down(it))", "most(pieces(x), it => size(it))", "paint(x, rarest(x))"])
def test_the_search_finds_compositions_also_of_functions(term: str, rng: np.random.Generator) -> None:
    task = problem(term, rng)
    search = Search(D, D.library(), task, even_costs(D.library()), 4000)
    found = next(search.solutions())
    abstracting.check_term(found.term, D.library(), GRID, GRID)
    assert all((D.library().run(found.term, {INPUT: pair.input}) == pair.output).all() for pair in task.train)
    assert (found.answers[0] == task.test[0].output).all()
    assert found.nodes <= search.nodes <= 4000


def test_the_search_keeps_to_its_budget_and_never_reads_test_outputs(rng: np.random.Generator) -> None:
    task = problem("turn(scale(frame(crop(x), Colour:2), Int:2))", rng)
    library = FEW.library()
    search = Search(FEW, library, task, even_costs(library), 50)
    assert list(search.solutions()) == []
    assert search.nodes == 50
    blind = Problem(task.id, task.train, tuple(Pair(pair.input) for pair in task.test))
    told = [next(Search(FEW, library, one, even_costs(library), 30_000).solutions()) for one in (task, blind)]
    assert str(told[0].term) == str(told[1].term)


def test_cheaper_routines_are_tried_first(rng: np.random.Generator) -> None:
    task = problem("transpose(fall(x))", rng)
    library = D.library()
    even = next(Search(D, library, task, even_costs(library), 20_000).solutions())
    led = next(Search(D, library, task, costs(library, {"transpose": 3.0, "fall": 3.0}), 20_000).solutions())
    assert led.nodes < even.nodes / 5


def test_what_solutions_share_becomes_a_routine_with_parameters() -> None:
    library = D.library()
    solutions = {
        f"t{n}": read_term(f"paint(crop({inner}), Colour:{n})") for n, inner in enumerate(["x", "turn(x)", "fall(x)", "x", "flip_down(x)"], 1)
    }
    made, written = abstracting.learn(solutions, library, {INPUT: GRID})
    assert [str(one.body) for one in made] == ["paint(crop(p0), p1)"]
    assert [str(type) for type in made[0].types] == ["Grid", "Colour"]
    more = library.with_routines(made)
    for name, term in written.items():
        assert term.size < solutions[name].size
        assert abstracting.expanded(term, more) == solutions[name]
        abstracting.check_term(term, more, GRID, GRID)


def test_a_function_that_differs_becomes_a_higher_order_parameter() -> None:
    solutions = {f"t{n}": read_term(f"crop(each(x, it => {inner}))") for n, inner in
                 enumerate(["turn(it)", "flip_down(it)", "paint(it, Colour:3)", "transpose(it)", "flip_across(it)"])}  # fmt: skip
    made, written = abstracting.learn(solutions, D.library(), {INPUT: GRID})
    assert [str(one) for one in made[0].types] == ["Grid", "Callable[[Grid], Grid]"]
    assert abstracting.expanded(written["t2"], D.library().with_routines(made)) == solutions["t2"]


def test_what_saves_nothing_is_not_learnt() -> None:
    solutions = {"a": read_term("paint(crop(x), Colour:1)"), "b": read_term("turn(fall(x))"), "c": read_term("scale(x, Int:2)")}
    assert abstracting.learn(solutions, D.library(), {INPUT: GRID})[0] == []


def test_rewriting_keeps_the_meaning_whatever_the_terms(rng: np.random.Generator) -> None:
    """Random terms: what is learnt from them expands to what they were, and every learning makes the description shorter."""
    ones = ["crop", "turn", "fall", "flip_down", "flip_across", "transpose"]
    for seed in range(10):
        draw = np.random.default_rng(seed)
        solutions = {}
        for n in range(12):
            text = "x"
            for _ in range(int(draw.integers(1, 6))):
                name = str(draw.choice([*ones, "each", "paint"]))
                inner = f"it => {draw.choice(ones)}(paint(it, Colour:{draw.integers(1, 3)}))"
                text = (
                    f"each({text}, {inner})"
                    if name == "each"
                    else f"paint({text}, Colour:{draw.integers(1, 4)})"
                    if name == "paint"
                    else f"{name}({text})"
                )
            solutions[f"t{n}"] = read_term(text)
        made, written = abstracting.learn(solutions, D.library(), {INPUT: GRID})
        library = D.library().with_routines(made)
        assert {name: abstracting.expanded(term, library) for name, term in written.items()} == solutions
        before = abstracting.description_length(solutions.values(), len(PRIMITIVES))
        bodies = [one.body for one in made if one.body is not None]
        assert not made or abstracting.description_length([*written.values(), *bodies], len(PRIMITIVES) + len(made)) < before
        for term in written.values():
            abstracting.check_term(term, library, GRID, GRID)


# ---- selecting and retrieving ---------------------------------------------------------------------------------------------------


def test_features_suggest_what_was_used_where_they_held() -> None:
    solutions = [Solution(f"s{n}", features=("same shape",), concepts=("paint",)) for n in range(5)]
    solutions += [Solution(f"l{n}", features=("output is larger",), concepts=("scale",)) for n in range(5)]
    selector = Selector(solutions)
    larger, same = (selector.scores([one], ["paint", "scale", "never"]) for one in ("output is larger", "same shape"))
    assert larger["scale"] > larger["paint"] > larger["never"]
    assert same["paint"] > same["scale"] > same["never"]
    assert selector.cues("scale") == ["output is larger"]
    lessons = [lesson for one in solutions if (lesson := lesson_of(one)) is not None]
    told = lesson_scores(lessons, ["output is larger"], ["paint", "scale"])
    assert told["scale"] > told["paint"]


def test_the_shortlist_brings_in_what_fits_parameters() -> None:
    def concept(name: str, output: str, *typings: str, cue: str = "") -> Concept:
        return Concept(name, output_typing=output, parameters=tuple(Parameter(f"p{n}", t) for n, t in enumerate(typings)), cues=(cue,) if cue else ())

    concepts = [concept("map pieces", "Grid", "Grid", "Callable[[Piece], Piece]", cue="several pieces"), concept("grow piece", "Piece", "Piece"),
                *(concept(f"other {n}", "Table", "Table", cue="rows of a table") for n in range(60))]  # fmt: skip
    retriever = Retriever(concepts, Selector())
    chosen = retriever.shortlist(["several pieces"], most=1, given=[GRID])
    assert chosen == ["map pieces", "grow piece"]
    assert len(retriever.shortlist(description="rows of a table", most=40)) == 40


# ---- solving ------------------------------------------------------------------------------------------------------------------


def test_only_what_its_own_pairs_verify_changes_the_memory(rng: np.random.Generator) -> None:
    solver = Solver(D, settings=Settings(budget=200))
    task = problem("turn(crop(x))", rng)
    told = solver.learn([Outcome(task, read_term("crop(x)")), Outcome(task, read_term("nothing(x)")), Outcome(task, None)])
    assert [reason for _, reason in told.rejected] == ["gives another output for pair 1", told.rejected[1][1]]
    assert (len(solver.memory), solver.memory.solutions) == (0, {})
    wrong_on_test = Problem("hidden", task.train, (Pair(task.test[0].input, as_grid([[9]])),))
    solver.learn([Outcome(wrong_on_test, read_term("turn(crop(x))"))])
    assert list(solver.memory.solutions) == ["hidden"], "what a hidden answer says changes nothing"


def test_a_problem_without_pairs_is_refused() -> None:
    with pytest.raises(Invalid, match="no pair"):
        Solver(D).solve(Problem("p", ()))


def test_a_concept_learnt_brings_a_deeper_composition_within_the_budget(rng: np.random.Generator) -> None:
    solver = Solver(FEW, settings=Settings(budget=3000, answers=1))
    deep = problem("flip_down(frame(paint(x, Colour:4), Colour:5))", rng, name="deep")
    alone = solver.solve(deep, budget=20_000)
    assert alone.solved
    budget = alone.nodes // 3
    solver.run([problem(f"{name}(x)", rng, name=name) for name in ("flip_down", "turn")])
    solver.run([problem(f"frame(paint(x, Colour:{c}), Colour:{d})", rng, name=f"t{c}{d}") for c in (4, 6, 7) for d in (5, 8, 9)])
    learnt = [one for one in solver.memory.concepts() if one.program and "(" in one.program]
    assert any({"frame", "paint"} <= set(read_term(str(one.program)).routines()) for one in learnt)
    assert all(len(one.used_in) >= 2 and one.cues for one in learnt)
    found = solver.solve(deep, budget=budget)
    assert found.solved
    assert solver.refuted(found.term or variable(INPUT), deep) is None
    again = Solver(FEW, ConceptMemory.from_json(orjson.loads(orjson.dumps(solver.memory.as_json()))), solver.settings)
    assert again.solve(deep, budget=budget).term == found.term


def test_a_selected_concept_runs_though_what_it_is_made_of_is_not_selected(rng: np.random.Generator) -> None:
    memory = ConceptMemory()
    memory.merge(Concept("framed", output_typing="Grid", parameters=(Parameter("p0", "Grid"),), program="frame(paint(p0, Colour:4), Colour:5)"))
    library = Solver(FEW, memory).library()
    task = problem("frame(paint(x, Colour:4), Colour:5)", rng)
    search = Search(FEW, library, task, {"framed": 1}, 10)
    assert str(next(search.solutions()).term) == "framed(x)"


def test_a_solver_sees_what_is_merged_by_others() -> None:
    solver = Solver(FEW)
    assert "doubled" not in solver.library()
    merge = solver.memory.merge(Concept("doubled", output_typing="Grid", parameters=(Parameter("p0", "Grid"),), program="scale(p0, Int:2)"))
    assert "doubled" in solver.library()
    solver.memory.unmerge(merge)
    assert "doubled" not in solver.library()


def test_texts_are_solved_as_grids_are() -> None:
    domain = string_domain()
    solver = Solver(domain, settings=Settings(budget=20_000, answers=1))
    task = Problem("initials", (Pair("ada lovelace", "A.L"), Pair("alan mathison turing", "A.M.T")), (Pair("grace hopper", "G.H"),))
    found = solver.solve(task)
    assert found.attempts[0].answers == ("G.H",)
    solver.learn([found])
    assert "mapped" in solver.memory
    assert solver.memory["mapped"].parameter_types()[1] == parse_type("Callable[[Text], Text]")


def test_a_program_that_does_not_fit_here_is_left_out_of_the_search(rng: np.random.Generator) -> None:
    memory = ConceptMemory()
    for name, program, output in [("good", "crop(p0)", "Grid"), ("bad type", "size(p0)", "Grid"), ("unknown", "nothing(p0)", "Grid"),
                                  ("broken", "crop(", "Grid"), ("on good", "turn(good(p0))", "Grid"), ("loop", "loop(p0)", "Grid")]:  # fmt: skip
        memory.merge(Concept(name, output_typing=output, parameters=(Parameter("p0", "Grid"),), program=program))
    library = Solver(D, memory).library()
    assert [name for name in library.routines if library[name].body is not None] == ["good", "on good"]


def test_tasks_are_read_and_checked() -> None:
    task = read_task({"task_id": "t", "train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]]}]})
    assert task.test[0].output is None
    for bad in ([[10]], [[1], [1, 2]], [], [[1.5, "a"]], "x", [[1] * 31]):
        with pytest.raises(Invalid):
            as_grid(bad)
    with pytest.raises(Invalid, match="task_id"):
        read_task({"train": []})
