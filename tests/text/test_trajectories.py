"""Trajectories: read from the message lists of common frameworks, typed, cut, compared, and credited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.base.stats.distributions import incomplete_beta
from mnemos.text.trajectories import credit
from mnemos.text.trajectories.credit import Base, Counts, Tally, absolute, base_rate, by_uplift, harm, shares, uplift, withheld
from mnemos.text.trajectories.duplicates import duplicates
from mnemos.text.trajectories.importing import trajectory
from mnemos.text.trajectories.segments import around, boundaries, cleaned, read_points, segments
from mnemos.text.trajectories.slots import family, generalised, refilled, slotted
from mnemos.text.trajectories.trajectory import Call, Trajectory, failed
from mnemos.text.trajectories.validation import CRITERIA, by_judge, by_rules

ARGUMENTS = {"city": "Oslo", "days": 3}
EXPECTED = [Call("forecast", ARGUMENTS, "rain", at=1)]


def openai(arguments: object = None) -> list[dict[str, Any]]:
    said = json.dumps(ARGUMENTS) if arguments is None else arguments
    return [
        {"role": "user", "content": "Will it rain in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "forecast", "arguments": said}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "assistant", "content": "Yes."},
    ]


ASKED = {"role": "user", "content": "Will it rain in Oslo?"}
FORMS: dict[str, list[Any]] = {
    "chat completions": openai(),
    "flat calls": [ASKED, {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "forecast", "arguments": json.dumps(ARGUMENTS)}]},
                   {"role": "tool", "content": "rain", "tool_call_id": "c1"}],
    "function_call": [ASKED, {"role": "assistant", "content": None, "function_call": {"name": "forecast", "arguments": json.dumps(ARGUMENTS)}},
                      {"role": "function", "name": "forecast", "content": "rain"}],
    "responses": [ASKED, {"type": "function_call", "call_id": "c1", "name": "forecast", "arguments": json.dumps(ARGUMENTS)},
                  {"type": "function_call_output", "call_id": "c1", "output": "rain"}, {"type": "reasoning", "summary": []}],
    "anthropic": [{"role": "user", "content": [{"type": "text", "text": "Will it rain in Oslo?"}]},
                  {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "forecast", "input": ARGUMENTS}]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "rain"}]}]}],
    "langchain": [{"type": "human", "data": {"content": "Will it rain in Oslo?"}},
                  {"type": "ai", "content": "", "tool_calls": [{"name": "forecast", "args": ARGUMENTS, "id": "c1"}]},
                  {"type": "tool", "content": "rain", "tool_call_id": "c1", "status": "success"}],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_calls(form: str) -> None:
    run = trajectory(FORMS[form], 1)
    assert (run.task, run.calls()) == ("Will it rain in Oslo?", EXPECTED)
    assert Trajectory.from_json(run.as_json()) == run


def test_a_react_text_gives_actions_with_their_observations() -> None:
    run = trajectory("Thought 1: look\nAction 1: Search[Oslo]\nObservation 1: A city\nThought 2: done\nAction 2: Finish[yes]", 0.5, task="Rain?")
    assert [(call.tool, call.arguments, call.result) for call in run.calls()] == [
        ("Search", {"text": "Oslo"}, "A city"), ("Finish", {"text": "yes"}, None),
    ]  # fmt: skip


def test_calls_without_ids_take_the_results_in_their_order() -> None:
    call = {"function": {"name": "a", "arguments": "{}"}}
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    run = trajectory([ASKED, {"role": "assistant", "tool_calls": [call, call]}, *results], 1)
    assert [one.result for one in run.calls()] == ["1", "2"]


@pytest.mark.parametrize(
    ("messages", "reward", "said"),
    [
        ([{"role": "robot", "content": "x"}], 1, "message 1"),
        ([ASKED, {"role": "assistant", "tool_calls": [{"id": "x"}]}], 1, "message 2"),
        ([{"role": "assistant", "content": "x"}], 1, "give the task"),
        ([ASKED], 1.5, "reward"),
        ([ASKED], float("nan"), "reward"),
        ("no react here", 1, "Thought"),
        ([ASKED, 7], 1, "message 2"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(messages: Any, reward: float, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        trajectory(messages, reward)


@pytest.mark.parametrize(
    ("result", "wrong"),
    [
        ("Error: no such user", True), ('{"error": "x"}', True), ('{"status": "failed"}', True), ('{"success": false}', True), ("HTTP 404", True),
        ("ValueError: x", True), ('{"error": null, "data": 1}', False), ("No errors found in log.txt", False), ("done", False), ("", False),
        ("The error rate fell", False),
    ],
)  # fmt: skip
def test_errors_are_told_from_results(result: str, wrong: bool) -> None:
    assert failed(result) is wrong


# ---- slots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "generic"),
    [
        ("Move 'a b.pdf' to /tmp/x on 2024-03-05 at 10:30", "Move <string> to <path> on <date> at <time>"),
        ("Cancel order #W4923227 for 1,234.50 dollars", "Cancel order <id> for <number> dollars"),
        ("Write to bob@x.com about report.csv, user_1234 and INV-77", "Write to <email> about <path>, <id> and <id>"),
        ("Don't stop, it's the user's", "Don't stop, it's the user's"),
        ("Ask Anna Berg for March 5, 2024", "Ask <name> for <date>"),
        ("Anna asks Berg for 20%", "Anna asks <name> for <number>"),
        ("See https://a.b/c?d=1.", "See <url>."),
    ],
)
def test_particulars_become_typed_slots(text: str, generic: str) -> None:
    assert slotted(text).text == generic


@given(st.text(max_size=200))
def test_slots_are_where_they_say_and_typing_twice_changes_nothing(text: str) -> None:
    found = slotted(text)
    for slot in found.slots:
        assert slot.value in text[slot.start : slot.end]
    again = slotted(found.text)
    assert slotted(again.text).text == again.text


def test_arguments_name_the_slot_the_giver_or_the_type() -> None:
    task = slotted("Send 20 dollars from 'main' to Anna Berg, 20 dollars")
    given_ = {"amount": 20.0, "account": "main", "token": "tok99x", "unit": "metric", "deep": [{"id": "AB-12"}], "fast": True, "none": None}
    assert generalised(given_, task, [("login", "token is tok99x")]) == {
        "amount": "<number 1>", "account": "<string 1>", "token": "<from login>", "unit": "metric", "deep": [{"id": "<id>"}], "fast": True,
        "none": None,
    }  # fmt: skip


def test_slots_are_refilled_from_another_task() -> None:
    assert refilled("pay(<number 1>, <number 2>, <id 1>)", "Pay 7 to AB-1, then 8") == "pay(7, 8, AB-1)"
    assert refilled("pay(<number 2>)", "Pay 7") == "pay(<number 2>)"


def test_a_family_is_all_tasks_that_differ_in_particulars() -> None:
    assert family("Refund order W12 for 20 dollars") == family("refund  order X9 for 7 dollars")
    assert family("Refund order W12") != family("Cancel order W12")


# ---- segments -------------------------------------------------------------------------------------------------------


def test_segments_end_where_the_work_changes() -> None:
    def step(tool: str) -> list[dict[str, Any]]:
        call = {"id": tool, "function": {"name": tool, "arguments": "{}"}}
        return [{"role": "assistant", "content": f"Now {tool}", "tool_calls": [call]}, {"role": "tool", "content": "ok"}]

    silent = [{**message, "content": ""} for message in step("c")]
    run = trajectory([ASKED, *step("a"), *step("a"), *silent, *step("b"), {"role": "user", "content": "more"}, *step("b")], 1)
    assert boundaries(run.messages) == [7, 9, 12]
    parts = segments(run)
    assert [message for part in parts for message in part.messages] == list(run.messages)
    before, after = around(run, 7, 9)
    assert before == ["assistant: c({})", "tool: "]
    assert after == ["user: more", "assistant: Now b b({})"]


@pytest.mark.parametrize(
    ("said", "points"),
    [("[3, 1, 3, 9, 0]", [1, 3, 5]), ('{"ends": [2]}', [2, 5]), ("after 2 and 4", [2, 4, 5]), ("none", [5]), ("```json\n[4]\n```", [4, 5]),
     ("-3", [5])],
)  # fmt: skip
def test_a_judges_points_are_read_kindly_and_kept_in_range(said: str, points: list[int]) -> None:
    assert read_points(said, 5) == points


def test_an_empty_trajectory_has_no_segments() -> None:
    assert cleaned([1, 2], 0) == []


# ---- duplicates and checks ------------------------------------------------------------------------------------------


def test_duplicates_are_named_in_the_pool_and_among_the_new() -> None:
    held = np.eye(3, dtype=np.float32)[:1]
    new = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    assert duplicates(new, held, 0.9) == [0, None, 2, None]
    assert duplicates(new, held, 0.9, lambda i, j: False) == [None] * 4


@dataclass(frozen=True)
class Entry:
    scenario: str = "when"
    content: str = "what"
    actions: tuple[str, ...] = ("do",)
    support: int = 1

    def contradicts(self, other: Any) -> bool:
        return bool(self.actions != other.actions)


def test_rules_keep_what_says_when_what_and_why() -> None:
    assert by_rules(Entry()).kept
    for wrong in (Entry(scenario=" "), Entry(content=""), Entry(actions=()), Entry(support=0)):
        assert not by_rules(wrong).kept
    assert not by_rules(Entry(), [Entry(actions=("other",), support=2)]).kept
    assert by_rules(Entry(), [Entry(actions=("other",), support=1), Entry(support=5)]).kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"valid": True, "scores": dict.fromkeys(CRITERIA, 0.5)}, True),
        ({"valid": True, "scores": dict.fromkeys(CRITERIA, 0.49)}, False),
        ({"valid": False, "scores": dict.fromkeys(CRITERIA, 1.0)}, False),
        ({"valid": True, "score": 0.9}, True),
        ({"valid": True, "scores": {"clarity": 1}}, False),
        ({"valid": "yes", "score": 0.9}, False),
        ({"valid": True, "score": 9}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_judge_that_fails_keeps_nothing(said: dict[str, Any] | None, kept: bool) -> None:
    assert by_judge(said).kept is kept


# ---- credit ---------------------------------------------------------------------------------------------------------


def test_the_papers_rule_deletes_exactly_what_is_computed_by_hand() -> None:
    gone = {(f, u) for f in range(12) for u in range(f + 1) if absolute(Counts(f, u))}
    by_hand = {(5, 0), (5, 1), (5, 2), (6, 0), (6, 1), (6, 2), (7, 0), (7, 1), (7, 2), (7, 3), (8, 0), (8, 1), (8, 2), (8, 3)}
    by_hand |= {(9, u) for u in range(5)} | {(10, u) for u in range(5)} | {(11, u) for u in range(6)}
    assert gone == by_hand
    assert not absolute(Counts(0, 0), alpha=0)


def counts(f: int, u: int) -> Counts:
    return Counts(f, u, float(f), float(u))


@given(st.integers(0, 300), st.floats(0, 1))
def test_the_probability_of_harm_is_that_of_the_beta_distribution(f: int, part: float) -> None:
    u = round(f * part)
    sure = Base.of(Tally(9998, 2499))  # as good as a known rate of 0.25
    assert harm(counts(f, u), sure) == pytest.approx(incomplete_beta(1 + u, 1 + f - u, 0.25), abs=0.03)


def test_harm_is_half_where_nothing_is_known_and_grows_with_failures() -> None:
    assert harm(counts(0, 0), Base.of(Tally())) == pytest.approx(0.5, abs=1e-3)
    probabilities = [harm(counts(20, u), Base.of(Tally(98, 49))) for u in range(21)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert by_uplift(counts(40, 4), Base.of(Tally(998, 249)))
    assert not by_uplift(counts(40, 14), Base.of(Tally(998, 249)))
    assert not by_uplift(counts(4, 0), Base.of(Tally(998, 899)))  # before alpha uses


def test_the_base_rate_is_that_of_runs_at_large_unless_runs_like_its_own_differ() -> None:
    nothing = Tally()
    assert base_rate(nothing, nothing, nothing, Tally(98, 24)).mean == pytest.approx(0.25)
    assert base_rate(nothing, nothing, Tally(98, 49), Tally(500, 500)).mean == pytest.approx(0.5)
    assert base_rate(Tally(10, 5), nothing, Tally(998, 499), nothing).mean == pytest.approx(0.5)
    agreeing = base_rate(Tally(8, 3), nothing, Tally(998, 499), nothing)
    assert agreeing.parts[0][0] > 0.8
    assert agreeing.mean == pytest.approx(0.49, abs=0.02)
    differing = base_rate(nothing, Tally(100, 5), Tally(998, 499), nothing)
    assert differing.parts[0][0] < 1e-6
    assert differing.mean == pytest.approx(6 / 102)
    assert base_rate(Tally(3, 0), Tally(100, 5), Tally(998, 499), nothing) == differing
    assert base_rate(nothing, Tally(10**6, 0), Tally(10**6, 10**6), nothing).mean == pytest.approx(0, abs=1e-5)  # no overflow


def test_shares_add_up_and_follow_the_scores() -> None:
    given_ = shares([1.0, 0.0, 1.0])
    assert sum(given_) == pytest.approx(1)
    assert given_[0] == given_[2] > given_[1]
    assert shares([]) == []
    assert shares([1e6, 0.0]) == [1.0, 0.0]


def test_holding_out_at_random_finds_what_shared_credit_hides() -> None:
    """Two entries always retrieved together, one helps and one harms: their shares are equal, and only runs without one of them tell."""
    rng = np.random.default_rng(3)
    tallies = {"good": [0, 0], "bad": [0, 0]}
    for _ in range(20_000):
        out = withheld(2, rng)
        rate = {None: 0.5, 0: 0.2, 1: 0.7}[out]  # 0 withholds the good one
        if out is not None:
            tallies["good" if out == 0 else "bad"][0] += 1
            tallies["good" if out == 0 else "bad"][1] += int(rng.random() < rate)
    assert sum(runs for runs, _ in tallies.values()) == pytest.approx(20_000 * credit.HOLD_OUT, rel=0.1)
    with_both = Counts(10_000, 5_000, 5_000.0, 2_500.0)
    good = uplift(with_both, base_rate(Tally(*tallies["good"]), Tally(), Tally(), Tally()))
    bad = uplift(with_both, base_rate(Tally(*tallies["bad"]), Tally(), Tally(), Tally()))
    assert good == pytest.approx(0.3, abs=0.05)
    assert bad == pytest.approx(-0.2, abs=0.05)
