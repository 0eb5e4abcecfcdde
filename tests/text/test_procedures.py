"""Procedures: distilled without a model, found by scenario, handed over once, and what is known of tools."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Invalid
from mnemos.text.procedures.distilling import Lesson, comparisons, distil, failures, in_common, is_subsequence, pointed_at, reflection, successes
from mnemos.text.procedures.pairs import hard_comparisons
from mnemos.text.procedures.pool import Pool, Weights
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.procedures.reuse import SECTION, guidance, injected, question, trusted
from mnemos.text.procedures.tools import KEPT_CALLS, ToolMemory, call_record, read_call
from mnemos.text.trajectories.trajectory import Call, Trajectory, checked
from support import EMBEDDER

TASK = "Refund order W12 for 20 dollars"


def run(
    *calls: tuple[str, dict[str, Any], str], reward: float = 1.0, task: str = TASK, task_id: str | None = None, tools: tuple[str, ...] = ()
) -> Trajectory:
    """A run that made these calls: (tool, arguments, result)."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": task}]
    for number, (tool, arguments, result) in enumerate(calls):
        function = {"name": tool, "arguments": json.dumps(arguments)}
        messages.append({"role": "assistant", "content": "", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
    return checked(task, messages, reward, task_id, tools)


LOGIN = ("authenticate", {"user": "bob"}, "token tk77")
PAY = ("refund", {"order": "W12", "amount": 20, "token": "tk77"}, "done")
BROKEN = ("refund", {"order": "W12", "amount": 20}, "Error: W12: not authenticated")
LOOK = ("search", {"text": "refunds"}, "nothing")


# ---- distilling -----------------------------------------------------------------------------------------------------


def test_a_pattern_of_success_is_the_shortest_with_slots_for_particulars() -> None:
    (lesson,) = successes([run(LOOK, LOGIN, PAY), run(LOGIN, PAY), run(LOGIN, BROKEN, PAY), run(BROKEN, reward=0)])
    entry = lesson.procedure
    assert entry.actions == ("authenticate", "refund")
    assert entry.steps[1]["arguments"] == {"order": "<id 1>", "amount": "<number 1>", "token": "<from authenticate>"}
    assert (entry.support, entry.contradiction, entry.confidence) == (3, 0, 1.0)
    assert lesson.sources == (1, 0, 2)
    assert "W12" not in entry.text
    assert "authenticate" in entry.scenario


def test_failures_that_made_the_same_calls_lower_the_confidence() -> None:
    (lesson,) = successes([run(LOGIN, PAY), run(LOGIN, BROKEN, reward=0)])
    assert (lesson.procedure.support, lesson.procedure.contradiction, lesson.procedure.confidence) == (1, 1, 0.5)


def test_tasks_of_one_family_share_a_pattern_and_others_do_not() -> None:
    runs = [run(LOGIN, PAY), run(LOGIN, PAY, task="Refund order X9 for 7 dollars"), run(LOOK, task="Find the refunds")]
    assert [lesson.procedure.actions for lesson in successes(runs)] == [("authenticate", "refund"), ("search",)]


def test_a_failure_that_was_overcome_tells_what_overcame_it() -> None:
    (lesson,) = failures([run(LOOK, BROKEN, LOGIN, PAY)])
    entry = lesson.procedure
    assert (entry.trigger, entry.actions, entry.support) == ("refund", ("authenticate", "refund"), 1)
    assert entry.extra == {"error": "Error: <id>: not authenticated"}


def test_a_failure_is_overcome_by_another_run_of_the_same_task() -> None:
    lost, won = run(LOOK, BROKEN, reward=0), run(LOGIN, PAY)
    (lesson,) = failures([lost, won])
    assert lesson.procedure.actions == ("authenticate", "refund")
    assert failures([lost, replace(won, task="Something else")]) == []


def test_a_cure_that_did_not_cure_is_contradicted() -> None:
    (lesson,) = failures([run(BROKEN, LOGIN, PAY), run(LOGIN, BROKEN, reward=0, task_id="other")])
    assert (lesson.procedure.support, lesson.procedure.contradiction) == (1, 1)


def test_other_arguments_can_be_the_cure() -> None:
    (lesson,) = failures([run(BROKEN, PAY)])
    assert lesson.procedure.actions == ("refund",)
    assert "token=" in lesson.procedure.content


def test_comparison_says_what_the_better_run_did_before_what() -> None:
    (lesson,) = comparisons([run(LOGIN, PAY), run(LOOK, BROKEN, reward=0.2), run(LOGIN, BROKEN, reward=0.0, task="Another task")])
    assert lesson.procedure.actions == ("authenticate", "refund")
    assert "before" in lesson.procedure.content
    assert lesson.sources == (0, 1)


def test_only_runs_of_one_task_with_different_rewards_are_compared() -> None:
    assert comparisons([run(LOGIN, PAY), run(BROKEN, reward=0, task="Another")]) == []
    assert comparisons([run(LOGIN, PAY), run(LOOK, LOGIN, PAY)]) == []


def test_hard_comparison_pairs_pieces_of_different_tasks() -> None:
    lessons = hard_comparisons([run(LOGIN, PAY), run(BROKEN, reward=0, task="Refund order A1 for 3 dollars")], EMBEDDER.embed)
    assert any(lesson.procedure.actions == ("authenticate", "refund") and set(lesson.sources) == {0, 1} for lesson in lessons)
    assert hard_comparisons([run(LOGIN, PAY)], EMBEDDER.embed) == []


def test_nothing_is_distilled_from_nothing() -> None:
    assert distil([]) == []
    assert distil([run(reward=1), run(reward=0)]) == []


def test_a_reflection_points_at_tools_that_the_error_speaks_of() -> None:
    lesson = reflection(run(LOOK, BROKEN, reward=0, tools=("search", "authenticate", "list_orders", "refund")))
    assert lesson is not None
    assert (lesson.actions, lesson.support, lesson.confidence) == (("authenticate",), 0, 0.0)
    assert reflection(run(reward=0)) is None
    silent = reflection(run(LOOK, reward=0))
    assert silent is not None
    assert silent.actions == ()
    assert pointed_at("Page token missing", ["fetch_page", "delete"]) == ["fetch_page"]


def test_subsequences() -> None:
    assert is_subsequence("ac", "abc")
    assert not is_subsequence("ca", "abc")


# ---- records --------------------------------------------------------------------------------------------------------


def lessons() -> list[Lesson]:
    return distil([run(LOOK, BROKEN, reward=0), run(LOGIN, PAY), run(BROKEN, LOGIN, PAY)])


def test_records_read_back_equal() -> None:
    assert [lesson.procedure.category for lesson in lessons()] == ["success", "failure"]
    for lesson in lessons():
        assert Procedure.from_json(json.loads(json.dumps(lesson.procedure.as_json()))) == lesson.procedure


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"scenario": "", "content": "x"}, "scenario"),
        ({"scenario": "x"}, "content"),
        ({"scenario": "x", "content": "y", "category": "luck"}, "category"),
        ({"scenario": "x", "content": "y", "confidence": 2}, "confidence"),
        ({"scenario": "x", "content": "y", "support": -1}, "support"),
        ({"scenario": "x", "content": "y", "steps": [{}]}, "step"),
        ({"scenario": "x", "content": "y", "colour": 1}, "colour"),
        ([], "dict"),
    ],
)
def test_records_that_are_none_are_refused(record: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Procedure.from_json(record)


def entry(*tools: str, trigger: str | None = None, query: str = TASK, **more: Any) -> Procedure:
    steps = tuple({"tool": tool, "arguments": {}} for tool in tools)
    return Procedure(f"{query} {trigger}", ", ".join(tools), steps=steps, trigger=trigger, query=query, tools=tools, **more)


def test_what_cannot_both_hold_contradicts() -> None:
    assert entry("a", "b").contradicts(entry("b", "a"))
    assert not entry("a", "b").contradicts(entry("a", "c", "b"))
    assert not entry("a", "b").contradicts(entry("b", "a", query="Another task"))
    cure, other = (entry(tool, "x", trigger="x", category="failure", extra={"error": "E"}) for tool in "ab")
    assert cure.contradicts(other)
    assert not cure.contradicts(replace(other, extra={"error": "F"}))


# ---- the pool -------------------------------------------------------------------------------------------------------


def pool(key: str = "scenario", **weights: float) -> Pool:
    made = Pool(EMBEDDER.embed, key, Weights(**weights))
    made.put("refund", Procedure("Refund an order [tools: refund]", "authenticate first", query="Refund order W12", keywords=("money",)))
    made.put("weather", Procedure("Tell the weather [tools: forecast]", "convert units", query="Will it rain in Oslo?", keywords=("rain",)))
    made.put("same", Procedure("Refund an order twice [tools: refund]", "authenticate  first", query="Refund W1", keywords=("refunds",)))
    return made


def test_entries_are_found_by_their_key_and_each_content_once() -> None:
    assert [one.id for one in pool().recall("Refund an order", 5)] == ["refund", "weather"]
    assert pool("query").recall("Will it rain in Bergen?", 1)[0].id == "weather"
    assert pool("keywords").recall("rain", 1)[0].id == "weather"
    assert pool().recall("Refund the order", 5, floor=10.0) == []
    assert [one.id for one in pool().recall("Refund an order", 5, relative=0.7)] == ["refund"]
    assert Pool(EMBEDDER.embed).recall("x") == []


def test_entries_that_call_what_is_not_at_hand_are_left_out() -> None:
    made = Pool(EMBEDDER.embed)
    made.put("one", entry("login", "pay"))
    made.put("two", entry("wire", "pay"))
    assert {one.id for one in made.recall(TASK)} == {"one", "two"}
    assert [one.id for one in made.recall(TASK, tools=["login", "pay", "search"])] == ["one"]


def test_the_same_calls_are_advised_once() -> None:
    made = Pool(EMBEDDER.embed)
    made.put("one", entry("login", "pay"))
    made.put("two", replace(entry("login", "pay"), content="in other words"))
    assert [one.id for one in made.recall(TASK)] == ["one"]


def test_what_is_known_of_a_call_that_is_advised_comes_with_it() -> None:
    made = Pool(EMBEDDER.embed)
    made.put("plan", entry("find", "submit"))
    for number in range(9):
        made.put(f"{number}", entry("find", f"tool{number}", query=f"Order {number} for dollars"))
    made.put("lesson", entry("stamp", "submit", trigger="submit", category="failure", query="A wholly different task"))
    for relative in (0.0, 0.9):
        found = made.recall(TASK, 3, relative=relative)
        assert (found[0].id, found[-1].id) == ("plan", "lesson")


def test_an_entry_is_found_by_every_task_that_it_worked_for() -> None:
    made = pool()
    made.put("weather", replace(made["weather"], queries=("Shall I take an umbrella to Bergen?",)))
    assert made.recall("Do I need an umbrella", 1)[0].id == "weather"
    assert pool().recall("Do I need an umbrella", 1)[0].cosine < made.recall("Do I need an umbrella", 1)[0].cosine


def test_what_an_entry_adds_moves_it_up() -> None:
    plain = pool(uplift=2.0).recall("Refund an order", 1)[0]
    moved = pool(uplift=2.0).recall("Refund an order", 1, uplift=lambda id: {"refund": -0.6}.get(id, 0.0))[0]
    assert (plain.id, moved.id) == ("refund", "same")


def test_repetitions_are_found_by_meaning_and_by_identity() -> None:
    made = pool()
    new = [made["refund"], replace(made["weather"], content="Something else altogether, about taxes and ferries"), made["refund"]]
    assert made.repeated(new, 0.95) == ["refund", None, "refund"]
    first = entry("a", "x", trigger="x", extra={"error": "E"})
    second = entry("a", "x", trigger="x", query="A wholly different task", extra={"error": "E"})
    assert Pool(EMBEDDER.embed).repeated([first, second, entry("a", "y", trigger="x", extra={"error": "E"})], 0.99) == [None, 0, None]


def test_a_pool_keeps_nothing_of_what_it_does_not_hold() -> None:
    made = pool()
    made.recall("Refund")
    made.repeated([entry("a", "b")])
    made.put("refund", None)
    held = {text for one in made.entries.values() for text in (*one.keys(), one.text)}
    assert set(made._vectors) <= held
    assert "refund" not in made


def test_without_an_embedder_words_find_and_equal_texts_repeat() -> None:
    made = Pool(lambda texts: None)
    made.put("refund", pool()["refund"])
    assert made.recall("refund", 1)[0].id == "refund"
    assert made.repeated([pool()["refund"], pool()["weather"]]) == ["refund", None]


def test_vectors_of_the_pool_are_those_of_its_keys_after_a_change() -> None:
    made = pool()
    made.recall("x")
    made.replace({"only": pool()["weather"]})
    assert [one.id for one in made.recall("Refund")] == ["only"]
    assert len(made) == 1
    assert np.isfinite(made.recall("Refund")[0].cosine)


# ---- reuse ----------------------------------------------------------------------------------------------------------


def test_the_question_is_the_task_or_where_the_run_stands() -> None:
    assert question("Refund order W12", tools=["refund"]) == "Refund order <id> [tools: refund]"
    messages = [{"role": "user", "content": c} for c in ("one", "two", "three", "four " + "x" * 500)]
    assert question(messages=messages) == "two three four " + "x" * 195
    with pytest.raises(Invalid):
        question(messages=[])


def test_guidance_is_injected_once_in_the_first_message_of_a_user() -> None:
    text = guidance([lessons()[0].procedure], "Refund order Z77 for 5 dollars")
    assert "order=Z77" in text
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "user", "content": "v"}]
    once = injected(messages, text)
    assert [SECTION in str(m["content"]) for m in once] == [False, True, False]
    assert injected(once, text) == once
    assert injected(messages, "") == messages
    parts = injected([{"role": "user", "content": [{"type": "text", "text": "u"}]}], text)
    assert SECTION in parts[0]["content"][1]["text"]
    assert injected(parts, text) == parts
    assert messages[1]["content"] == "u"
    with pytest.raises(Invalid):
        injected([{"role": "system", "content": "s"}], text)


def test_trust_is_the_mean_of_confidence_and_score() -> None:
    assert trusted([entry("a", confidence=0.1, score=0.4), entry("a", confidence=0.1, score=0.5)]) == [1]


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_tool_memory_counts_the_last_hundred_and_tells_of_the_last_twenty() -> None:
    memory = ToolMemory()
    memory.add(Call("get", {"id": "A-1"}, "Error: old", True) for _ in range(50))
    memory.add(Call("get", {"id": f"A-{n}", "unit": "metric"}, "ok", n % 10 == 0, seconds=2.0, tokens=10, score=0.5) for n in range(90))
    told = memory.statistics("get")
    assert told is not None
    assert (told.calls, told.successes, told.seconds, told.tokens, told.score) == (KEPT_CALLS, 81, 2.0, 10.0, 0.5)
    summary = memory.summary("get")
    assert "Error: old" not in summary
    assert 'get(id=<id>, unit="metric") (18 of 20)' in summary
    assert memory.described("get", "Gets.").startswith("Gets.\n\n")
    assert (memory.statistics("put"), memory.described("put", "Puts.")) == (None, "Puts.")


def test_calls_read_back_equal_and_results_are_cut() -> None:
    call = Call("get", {"id": 1}, "ok", True, 0.5, 7, 1.0)
    assert read_call(json.loads(json.dumps(call_record(call)))) == call
    assert len(call_record(replace(call, result="x" * 9000))["result"]) == 500
    for wrong in ({}, {"tool": "x", "seconds": -1}, {"tool": "x", "colour": 1}, {"tool": "x", "failed": "no"}, {"tool": "x", "arguments": []}):
        with pytest.raises(Invalid):
            read_call(wrong)


def test_how_entries_stand_to_each_other() -> None:
    def stands(one: Procedure, other: Procedure) -> str | None:
        how = one.stands_to(other)
        return None if how is None else how.value

    def cure(*tools: str, error: str = "E") -> Procedure:
        return entry(*tools, "x", trigger="x", category="failure", extra={"error": error})

    assert stands(entry("a", "b"), entry("b", "a")) == "same"
    assert stands(entry("a", "b"), entry("a", "c", "b")) == "shorter"
    assert stands(entry("a", "c", "b"), entry("a", "b")) == "longer"
    assert stands(entry("a", "b", query="Another task"), entry("a", "c", "b")) == "shorter"
    assert stands(entry("a", "b", query="Another task"), entry("a", "c", "d", "e", "b")) is None
    assert stands(entry("b", query="Another task"), entry("a", "b")) is None
    assert stands(cure("a", "b"), cure("b", "c")) == "crossing"
    assert stands(cure("a"), cure("c")) is None
    assert stands(cure("a"), cure("a", error="F")) is None
    assert stands(entry("a", "x", trigger="x", category="comparative"), cure("a", "b")) == "longer"
    assert stands(replace(entry("a", "b"), author="m"), entry("a", "b")) is None


def test_what_two_cures_have_in_common_is_the_cure() -> None:
    one, other = (failures([run(BROKEN, *found, LOGIN, PAY)])[0].procedure for found in ([LOOK], [("list", {}, "x")]))
    common = in_common(one, other)
    assert common.actions == ("authenticate", "refund")
    assert "search" not in common.content
    assert "authenticate" in common.content


def test_a_success_without_it_contradicts_a_comparison() -> None:
    compared = entry("a", "x", trigger="x", category="comparative")
    assert compared.contradicts(entry("b", "x"))
    assert compared.contradicts(entry("x", "a"))
    assert not compared.contradicts(entry("a", "b", "x"))
