"""Pipelines: steps that share what they find, checked before they run, done as one transaction, told afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

import mnemos
from mnemos.base.errors import Conflict, Frozen, Invalid, MnemosError, NotFound, PermissionDenied
from mnemos.kernel.pipelines.steps import FUNCTIONS, STEPS
from mnemos.kernel.system import Mnemos
from store_contents import rows

FACTS = ["Alice moved to Lisbon.", "Alice likes coffee.", "Bob plays the violin."]


@pytest.fixture
def space(mem: Mnemos) -> Any:
    space = mem.space("a")
    for number, text in enumerate(FACTS):
        space.add(text, author=text.split()[0], tags=["fact"], metadata={"n": number})
    return space


def texts(space: Any, **where: Any) -> list[str]:
    return sorted(cube.text for cube in space.list(limit=1000, **where))


# -- what steps do --
def test_retrieve_augment_update_archive(mem: Mnemos, space: Any) -> None:
    """The pipeline that the paper names."""
    pipeline = mem.pipeline(
        [
            {"step": "retrieve", "query": "{question}", "k": 2, "author": "Alice", "as": "hits"},
            {"step": "augment", "text": "What is known of {name}", "sources": "$hits", "as": "prompt"},
            {"step": "add", "text": "$prompt", "type": "note", "derived_from": "$hits", "metadata": {"question": "$question"}, "as": "note"},
            {"step": "update", "cube": "$note", "tags": ["summary"], "as": "tagged"},
            {"step": "archive", "cubes": "$hits", "reason": "superseded"},
        ],
        space="a",
    )
    assert pipeline.inputs == ("question", "name")
    before = mem.position()
    run = pipeline.run(question="Where did Alice move?", name="Alice")
    note = space.get(run["note"].id)
    assert note.text == f"[1] {run['hits'][0].text}\n[2] {run['hits'][1].text}\n\nWhat is known of Alice"
    assert (note.version, note.tags, note.type, note.metadata) == (2, ("summary",), "note", {"question": "Where did Alice move?"})
    assert {link.id for link in note.derived_from} == {UUID(cube.id) for cube in run["hits"]}
    assert texts(space, states=["archived"]) == sorted(FACTS[:2])
    assert texts(space) == sorted([note.text, FACTS[2]])
    assert [step.outcome for step in run.steps] == ["done"] * 5
    assert [step.entries for step in run.steps] == [None, None, (before + 1, before + 1), (before + 2, before + 2), (before + 3, before + 4)]
    assert run.position == mem.position() == before + 4
    lines = run.explain().splitlines()
    assert lines[0].startswith("1. retrieve: done 2 of MemCube (")
    assert f"3. add: done note {note.id} at version 1, wrote log entries {before + 1} to {before + 1} (" in lines[2]
    assert run.as_json()["steps"][2]["entries"] == (before + 1, before + 1)


def test_every_kind_of_step(mem: Mnemos, space: Any) -> None:
    first, second, third = space.list()
    run = mem.pipeline(
        [
            {"step": "list", "author": "Alice", "limit": 5, "as": "all"},
            {"step": "filter", "items": "$all", "where": {"metadata.n": {"gte": 1}}, "as": "some"},
            {"step": "map", "value": "$all", "function": "ids", "as": "ids"},
            {"step": "get", "id": "$ids.0", "as": "one"},
            {"step": "assert", "that": "$all", "where": {"count": 2}},
            {"step": "assert", "that": "$one", "where": {"author": "Alice", "value": FACTS[0]}},
            {"step": "context", "query": "violin", "budget_tokens": 100, "as": "context"},
            {"step": "freeze", "cubes": "$one", "as": "frozen"},
            {"step": "unfreeze", "cubes": "$one"},
            {"step": "link", "cube": "$one", "to": "$some", "relation": "mentions", "as": "edges"},
            {"step": "add", "space": "b", "text": "in {one.author}'s {{space}}", "as": "there"},
            {"step": "merge", "cubes": "$all", "text": "{all}", "as": "merged"},
            {"step": "quarantine", "cubes": third.id, "as": "aside"},
            {"step": "release", "cubes": third.id},
            {"step": "update", "each": "$some", "cube": "$merged", "text": "{item.text} {item.metadata.n}", "as": "updated"},
            {"step": "supersede", "newer": "$merged", "older": third.id},
            {"step": "restore", "cubes": [third.id]},
            {"step": "forget", "cubes": "$there", "reason": "not needed", "as": "certificate"},
            {"step": "enqueue", "kind": "compact", "key": "$ids.0", "as": "job"},
            {"step": "map", "value": "$all", "function": lambda cubes: len(cubes[0].text), "as": "length"},
        ],
        space="a",
    ).run()
    assert [cube.id for cube in run["all"]] == run["ids"] == [first.id, second.id]
    assert [cube.id for cube in run["some"]] == [second.id]
    assert run["one"] == first
    assert FACTS[2] in run["context"]
    assert run["frozen"].frozen
    assert run["edges"] == [{"from": first.id, "to": second.id, "version": 1, "relation": "mentions"}]
    assert run["merged"].text == "\n".join(FACTS[:2])
    assert [cube.text for cube in run["updated"]] == [f"{FACTS[1]} 1"]
    assert run["there"].text == "in Alice's {space}"
    assert (space.get(third.id).state, space.get(first.id).state) == ("activated", "merged")
    assert run["certificate"][0]["cubes"][0]["id"] == run["there"].id
    assert mem.jobs.list()[0].key == first.id
    assert run["length"] == len(FACTS[0])
    assert mem.verify().ok
    assert {step.step for step in run.steps} | {"augment", "archive", "retrieve", "transform", "summarise"} == set(STEPS)


def test_memories_are_summarised_and_transformed(mem: Mnemos) -> None:
    talk = mem.space("talk")
    said = ["We should move the office to Lisbon in May.", "The rent in Lisbon is lower than here.", "I agree, let us move in May."]
    for number, text in enumerate(said * 4):
        talk.add(f"{text} ({number})", type="turn", author="Alice" if number % 2 else "Bob")
    run = mem.pipeline(
        [
            {"step": "list", "types": ["turn"], "as": "turns"},
            {"step": "summarise", "cubes": "$turns", "budget": 40, "tags": ["short"], "as": "summary"},
            {"step": "transform", "name": "profile", "cubes": "$turns", "optional": True, "as": "profile"},
        ],
        space="talk",
    ).run()
    assert run["summary"].type == "summary"
    assert run["summary"].tags == ("short",)
    assert {str(link.id) for link in run["summary"].derived_from} == {cube.id for cube in run["turns"]}
    before = rows(mem)
    with pytest.raises(Conflict, match=r"step 2 \(summarise\): the summary is declined: "):
        mem.pipeline([{"step": "add", "text": "undone"}, {"step": "summarise", "cubes": "$turns", "budget": 1}], space="talk").run(turns=run["turns"])
    assert rows(mem) == before
    talk.update(run["turns"][0].id, "We should not move at all.")
    assert talk.get(run["summary"].id).stale
    mem.jobs.enqueue("rederive")
    assert mem.jobs.run_once().state == "done"  # type: ignore[union-attr]
    assert not talk.get(run["summary"].id).stale
    with pytest.raises(NotFound, match=r"step 1 \(transform\)"):
        mem.pipeline([{"step": "transform", "name": "nonsense", "cubes": "$x"}])


def test_functions(mem: Mnemos, space: Any) -> None:
    cubes = list(space.list())
    assert FUNCTIONS["texts"](cubes) == FACTS
    assert FUNCTIONS["lines"](cubes) == "\n".join(FACTS)
    assert FUNCTIONS["count"](cubes) == 3
    assert FUNCTIONS["count"](None) == 0
    assert (FUNCTIONS["first"](cubes), FUNCTIONS["last"](cubes), FUNCTIONS["first"]([])) == (cubes[0], cubes[2], None)
    assert FUNCTIONS["reversed"]([1, 2]) == [2, 1]
    assert FUNCTIONS["unique"]([*cubes, cubes[0]]) == cubes


def test_steps_are_left_out_and_repeated(mem: Mnemos, space: Any) -> None:
    run = mem.pipeline(
        [
            {"step": "filter", "items": "$cubes", "where": {"author": "Carol"}, "as": "none"},
            {"step": "add", "when": "$none", "text": "never", "as": "never"},
            {"step": "add", "when": "$cubes", "each": "$cubes", "text": "again: {item}", "derived_from": "$item", "as": "copies"},
        ],
        space="a",
    ).run(cubes=list(space.list()))
    assert [step.outcome for step in run.steps] == ["done", "skipped", "done"]
    assert run["never"] is None
    assert [cube.text for cube in run["copies"]] == [f"again: {text}" for text in FACTS]


# -- what cannot run --
RETRIEVE = {"step": "retrieve", "query": "x", "as": "hits"}
WRONG: list[tuple[Any, str]] = [
    ([], "expected a list of steps"),
    ({"step": "add"}, "expected a list of steps"),
    ([5], "step 1: expected a dict"),
    ([{"query": "x"}], "step 1: there is no kind of step None; there are retrieve,"),
    ([RETRIEVE, {"step": "delete"}], "step 2: there is no kind of step 'delete'"),
    ([{"step": "add"}], r"step 1 \(add\): 'text' is missing"),
    ([{"step": "add", "text": "x", "colour": "red"}], r"step 1 \(add\): unknown argument 'colour'; known are text, space, type"),
    ([{"step": "add", "text": "x", "event_at": "soon"}], r"step 1 \(add\): event_at: 'soon' is no ISO 8601 time"),
    ([{"step": "add", "text": "x", "tags": "home"}], r"step 1 \(add\): tags: expected a list"),
    ([{"step": "add", "text": "a {b"}], r"step 1 \(add\): .*brace at character 2 names nothing"),
    ([{"step": "add", "text": "a {1}"}], "brace at character 2 names nothing"),
    ([{"step": "retrieve", "query": "x", "k": 0}], r"step 1 \(retrieve\): k: 0 asks for nothing"),
    ([{"step": "retrieve", "query": "x", "filter": {"n": {"like": 1}}}], "unknown operator 'like'"),
    ([{"step": "list", "states": ["asleep"]}], r"step 1 \(list\): states: unknown state 'asleep'"),
    ([RETRIEVE, {"step": "filter", "items": "$hits", "where": "author"}], r"step 2 \(filter\): filter: expected a dict"),
    ([RETRIEVE, {"step": "map", "value": "$hits", "function": "shout"}], r"step 2 \(map\): function: there is none called 'shout'; there are texts,"),
    ([RETRIEVE, {"step": "link", "cube": "$hits", "to": "$hits", "relation": "part_of"}], r"step 2 \(link\): relation: 'part_of' is made by a verb"),
    ([{"step": "add", "text": "x", "as": "my note"}], r"step 1 \(add\): 'as' takes a name"),
    ([{"step": "add", "text": "x", "as": "item"}], "'as' takes a name"),
    ([{"step": "add", "text": "x", "optional": "yes"}], "'optional' takes true or false"),
    ([{"step": "archive", "cubes": "$hits"}, RETRIEVE], r"\$hits is used before the step that gives it"),
]


@pytest.mark.parametrize(("steps", "message"), WRONG)
def test_what_is_wrong_is_said_before_anything_runs(mem: Mnemos, steps: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        mem.pipeline(steps, space="a")


def test_inputs_are_given_exactly(mem: Mnemos, space: Any) -> None:
    pipeline = mem.pipeline([{"step": "add", "text": "{what} at {when}"}], space="a")
    for given, message in (({"what": 1}, "wants to be given 'when'"), ({"what": 1, "when": 2, "who": 3}, "does not use 'who'; it takes what, when")):
        with pytest.raises(Invalid, match=message):
            pipeline.run(**given)
    assert pipeline.run(what="lunch", when=12).steps[0].outcome == "done"
    with pytest.raises(Invalid, match="space: none is named"):
        mem.pipeline([{"step": "list"}]).run()


def test_dollars_and_braces_can_be_written(mem: Mnemos) -> None:
    step = {"step": "add", "text": "$$price is {{5}} {currency}", "source": "$$x", "author": "$5", "as": "cube"}
    run = mem.pipeline([step], space="a").run(currency="€")
    assert (run["cube"].text, run["cube"].source, run["cube"].author) == ("$price is {5} €", "$x", "$5")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("$cubes.7", "only 3 of them"),
        ("$cubes.colour", "MemCube has no 'colour'"),
        ("$cubes.0.__class__", "MemCube has no '__class__'"),
        ("$number.text", "int has no 'text'"),
    ],
)
def test_what_is_not_there_cannot_be_referred_to(mem: Mnemos, space: Any, reference: str, message: str) -> None:
    before = rows(mem)
    with pytest.raises(Invalid, match=message):
        mem.pipeline(
            [
                {"step": "add", "text": "x {cubes} {number}"},
                {"step": "map", "value": reference, "function": "count"},
            ],
            space="a",
        ).run(cubes=list(space.list()), number=5)
    assert rows(mem) == before


# -- all or nothing --
def test_a_failing_step_undoes_all_and_is_named(mem: Mnemos, space: Any) -> None:
    cube = space.list()[0]
    space.freeze(cube.id)
    before = rows(mem)
    with pytest.raises(Frozen, match=rf"^pipeline, step 2 \(update\): cube {cube.id} is frozen.*nothing of the pipeline was kept$"):
        mem.pipeline([{"step": "add", "text": "undone"}, {"step": "update", "cube": cube.id, "text": "x"}], space="a").run()
    with pytest.raises(Conflict, match=r"step 2 \(assert\): there should be 5"):
        mem.pipeline([{"step": "list", "as": "all"}, {"step": "assert", "that": "$all", "where": {"count": 5}, "message": "there should be 5"}],
                     space="a").run()  # fmt: skip
    with pytest.raises(ZeroDivisionError) as raised:
        mem.pipeline([{"step": "add", "text": "undone"}, {"step": "map", "value": 1, "function": lambda value: 1 / 0}], space="a").run()
    assert raised.value.__notes__ == ["pipeline, step 2 (map); nothing of the pipeline was kept"]
    assert rows(mem) == before


def test_an_optional_step_that_fails_is_undone_alone(mem: Mnemos, space: Any) -> None:
    first, second, _ = space.list()
    space.freeze(second.id)
    run = mem.pipeline(
        [
            {"step": "add", "text": "kept", "as": "kept"},
            {"step": "update", "optional": True, "cube": [first.id, second.id], "text": "changed", "as": "changed"},
            {"step": "add", "when": "$changed", "text": "not reached"},
            {"step": "add", "text": "kept, too"},
        ],
        space="a",
    ).run()
    assert [step.outcome for step in run.steps] == ["done", "failed", "skipped", "done"]
    assert (run.steps[1].error or "").startswith(f"Frozen: cube {second.id} is frozen")
    assert run.steps[1].entries is None
    assert "2. update: failed: Frozen: " in run.explain()
    assert run["changed"] is None
    assert texts(space) == sorted([*FACTS, "kept", "kept, too"])  # the first of the two was changed, and is not any more
    assert space.get(first.id).version == 1


def test_a_pipeline_inside_a_transaction_belongs_to_it(mem: Mnemos, space: Any) -> None:
    before = rows(mem)
    pipeline = mem.pipeline([{"step": "add", "text": "x"}, {"step": "retrieve", "query": "x", "as": "hits"}], space="a")

    def fail() -> None:
        with mem.transaction():
            assert pipeline.run()["hits"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows(mem) == before


def test_steps_may_do_what_the_principal_may(mem: Mnemos, space: Any) -> None:
    mem.space("a", acl={"read": ["bob"]})
    bob = mem.as_principal("bob")
    assert len(bob.pipeline([{"step": "list", "as": "all"}], space="a").run()["all"]) == 3
    with pytest.raises(PermissionDenied, match=r"step 2 \(add\)"):
        bob.pipeline([{"step": "list", "as": "all"}, {"step": "add", "text": "x"}], space="a").run()
    mem.space("hers").add("not for bob")
    with pytest.raises(NotFound, match=r"step 1 \(list\)"):
        bob.pipeline([{"step": "list", "space": "hers"}]).run()
    hidden = mem.space("hers").list()[0]
    own = bob.space("his").add("x")
    with pytest.raises(NotFound, match="no space 'hers'"):
        bob.pipeline([{"step": "link", "cube": "$own", "to": hidden.id, "space": "hers"}]).run(own=own)
    narrowed = mem.space("a").list()[0]
    mem.space("a").set_acl(narrowed.id, {"read": ["carol"]})
    with pytest.raises(NotFound, match=f"to: cube {narrowed.id} is not in space 'a'"):
        bob.pipeline([{"step": "link", "cube": "$own", "to": narrowed.id, "space": "a"}]).run(own=own)
    with pytest.raises(PermissionDenied, match="jobs are dealt with"):
        bob.pipeline([{"step": "enqueue", "kind": "compact"}]).run()


def test_links_make_no_circle(mem: Mnemos, space: Any) -> None:
    first, second, _ = space.list()
    mem.pipeline([{"step": "link", "cube": first.id, "to": second.id, "relation": "inspired_by"}], space="a").run()
    with pytest.raises(Invalid, match="circle"):
        mem.pipeline([{"step": "link", "cube": second.id, "to": first.id, "relation": "inspired_by"}], space="a").run()
    space.forget([second.id])
    with pytest.raises(NotFound):
        space.get(first.id)  # it came from what was forgotten


# -- templates --
def test_templates_are_kept_and_used_by_name(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    mem.space("a").add(FACTS[0])
    steps = [{"step": "retrieve", "query": "$q", "k": 1, "as": "hits"}, {"step": "archive", "cubes": "$hits"}]
    mem.pipeline(steps, space="a").save("tidy")
    steps[0]["k"] = 99  # what was saved is its own
    mem.close()
    mem = open_memory()
    assert mem.pipelines() == ["tidy"]
    assert mem.pipeline("tidy").run(q="Lisbon")["hits"][0].text == FACTS[0]
    assert texts(mem.space("a"), states=["archived"]) == [FACTS[0]]
    with pytest.raises(NotFound, match="no pipeline 'other'; there are tidy"):
        mem.pipeline("other")
    with pytest.raises(Invalid, match="space: a template has its own"):
        mem.pipeline("tidy", space="b")
    with pytest.raises(PermissionDenied):
        mem.as_principal("bob").pipeline(steps, space="a").save("his")
    with pytest.raises(Invalid, match="function is no JSON value"):
        mem.pipeline([{"step": "map", "value": 1, "function": lambda value: value}]).save("python")
    for name in ("", " ", "x" * 201):
        with pytest.raises(Invalid, match="is no name"):
            mem.pipeline(steps, space="a").save(name)
    assert mem.verify().ok


# -- what is known only when a pipeline runs --
NASTY = (None, True, -1, 1.5, 2**70, "", "x", "\x00", "{x}", [None], [["a"]], {"a": 1}, {"name": 1, "ids": 2}, {"lt": []})
GIVEN = {
    "query": "tram", "text": "The tram is yellow.", "sources": ["a"], "name": "merge", "items": [1], "where": {"value": 1}, "value": [1],
    "function": "count", "that": 1, "kind": "expire",
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_arguments_that_come_late_are_checked_like_others(name: str) -> None:
    step = STEPS[name]
    with mnemos.open(":memory:", embedder="none") as mem:
        space = mem.space("a")
        for argument in (*step.required, *step.optional):
            for value in NASTY:
                one, two, three = (space.add(f"The tram leaves at {hour}.").id for hour in ("nine", "ten", "noon"))
                given = {**GIVEN, "id": one, "cube": one, "cubes": [one, two], "to": two, "newer": one, "older": three}
                raw = {"step": name, **{key: given[key] for key in step.required}, argument: "$late"}
                if name == "forget":
                    raw.setdefault("cubes", [one])
                with contextlib.suppress(MnemosError):
                    mem.pipeline([raw], space="a").run(late=value)
        assert mem.verify()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "map", "value": [1], "function": "$late"}, "function: there is none called 'x'"),
        ({"step": "map", "value": "$late", "function": "ids"}, "value: expected memories"),
        ({"step": "retrieve", "query": "tram", "min_score": "$late"}, "min_score: expected a number"),
        ({"step": "transform", "name": "$late", "cubes": []}, "transformation"),
        ({"step": "transform", "name": "merge", "cubes": [], "options": "$late"}, "options: expected an object"),
    ],
)
def test_what_comes_late_and_is_wrong_is_told(mem: Mnemos, space: Any, step: dict[str, Any], message: str) -> None:
    position = mem.position()
    with pytest.raises((Invalid, NotFound), match=message):
        mem.pipeline([{"step": "add", "text": "goes again"}, step], space="a").run(late="x")
    assert mem.position() == position


def test_an_input_may_have_any_name(mem: Mnemos) -> None:
    assert mem.pipeline([{"step": "map", "value": "$self", "function": "count", "as": "n"}]).run(self=[1, 2])["n"] == 2
