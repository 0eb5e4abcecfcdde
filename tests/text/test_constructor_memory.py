"""The memory that a policy builds: what calls do, what they may not do, what its log says; and the reward of what was done."""

from __future__ import annotations

import random

import pytest

from mnemos.text.constructor import rewards
from mnemos.text.constructor.gist import read_gist, said_by
from mnemos.text.constructor.memory import CUT, DEFAULTS, Fault, Limits, Memory, Outcome, Status
from mnemos.text.constructor.operations import (
    DELETE,
    INSERT,
    NOTHING,
    SEARCH_TOOL,
    TOOLS,
    UPDATE,
    WRITING,
    Operation,
    operation,
    parse_time,
)
from mnemos.text.json_schema import check_schema, fault
from mnemos.text.tokens import count_tokens

NOON = 1_716_000_000_000_000


def fact(text: str, **more: object) -> Operation:
    return Operation(INSERT, "semantic", text, **more)  # type: ignore[arg-type]


def event(text: str, at: int | None = NOON) -> Operation:
    return Operation(INSERT, "episodic", text, at=at)


def filled(*texts: str, limits: Limits = DEFAULTS) -> Memory:
    memory = Memory(limits)
    memory.begin(NOON)
    for text in texts:
        assert memory.execute(fact(text)).status is Status.OK
    return memory


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_facts_events_and_the_core_are_written_and_changed() -> None:
    memory = Memory()
    memory.begin(NOON)
    first, second = memory.execute(fact("Ann's dentist is Vale.")), memory.execute(event("Ann went to Lyon."))
    assert (first.status, second.status) == (Status.OK, Status.OK)
    assert first.id != second.id
    assert memory.execute(Operation(UPDATE, "core", "Ann lives in Oslo.")).as_json() == {"status": "ok"}
    assert memory.execute(Operation(UPDATE, "semantic", "Ann's dentist is Moor.", first.id)).status is Status.OK
    assert memory.execute(Operation(DELETE, "episodic", memory_id=second.id)).status is Status.OK
    assert [entry.content for entry in memory.entries.values()] == ["Ann's dentist is Moor."]
    assert memory.core == "Ann lives in Oslo."
    assert memory.archived[second.id].content == "Ann went to Lyon."


@pytest.mark.parametrize(("call", "status"), [
    (fact("Ann's dentist is Vale."), Status.SKIPPED),
    (event("Ann's  dentist is Vale."), Status.SKIPPED),
    (Operation(UPDATE, "semantic", "Ann's dentist is Vale.", "m1"), Status.SKIPPED),
    (Operation(UPDATE, "semantic", "Bob likes tea.", "m1"), Status.SKIPPED),
    (NOTHING, Status.OK),
])  # fmt: skip
def test_what_is_held_already_is_skipped(call: Operation, status: Status) -> None:
    memory = filled("Ann's dentist is Vale.", "Bob likes tea.")
    assert memory.execute(call).status is status
    assert len(memory.entries) == 2


@pytest.mark.parametrize(("call", "code"), [
    (Operation("drop_table"), Fault.UNKNOWN_TOOL),
    (Operation(""), Fault.UNKNOWN_TOOL),
    (Operation(INSERT, "core", "x y"), Fault.BAD_TYPE),
    (Operation(INSERT, "", "x y"), Fault.BAD_TYPE),
    (Operation(DELETE, "core", memory_id="m1"), Fault.BAD_TYPE),
    (Operation(INSERT, "semantic", "  "), Fault.EMPTY),
    (Operation(UPDATE, "core", ""), Fault.EMPTY),
    (Operation(UPDATE, "semantic", "new", "m99"), Fault.UNKNOWN_ID),
    (Operation(UPDATE, "episodic", "new", "m1"), Fault.UNKNOWN_ID),
    (Operation(DELETE, "semantic", memory_id=""), Fault.UNKNOWN_ID),
    (Operation(INSERT, "semantic", "x", fault="no JSON"), Fault.BAD_ARGUMENTS),
    (Operation(INSERT, "episodic", "Ann left."), Fault.NO_TIME),
    (Operation(INSERT, "semantic", "word " * 500), Fault.NO_ROOM),
])  # fmt: skip
def test_what_is_wrong_is_said_and_changes_nothing(call: Operation, code: Fault) -> None:
    memory = filled("Ann's dentist is Vale.", limits=Limits(tokens=60))
    memory.begin(None)
    before = memory.as_json()
    outcome = memory.execute(call)
    assert outcome.status is Status.FAILED
    assert outcome.as_json()["error"]["code"] == code.value
    assert len(outcome.as_json()["error"]["message"]) > 10 or code is Fault.BAD_ARGUMENTS
    assert memory.as_json() == before


def test_many_deletions_at_one_step_need_a_confirmation() -> None:
    memory = filled(*(f"Fact number {n} is so." for n in range(10)))
    memory.begin(NOON)
    outcomes = [memory.execute(Operation(DELETE, "semantic", memory_id=id)) for id in list(memory.entries)]
    assert [outcome.fault for outcome in outcomes] == [None] * 4 + [Fault.UNCONFIRMED] * 6
    assert memory.execute(Operation(DELETE, "semantic", memory_id=next(iter(memory.entries))), confirmed=True).status is Status.OK
    memory.begin(NOON)
    assert memory.execute(Operation(DELETE, "semantic", memory_id=next(iter(memory.entries)))).status is Status.OK


@pytest.mark.parametrize("most", [1, 5, 40, 512])
def test_the_core_is_cut_to_its_size_visibly(most: int) -> None:
    memory = Memory(Limits(core_tokens=most))
    memory.begin(NOON)
    memory.execute(Operation(UPDATE, "core", "\n".join(f"Ann's friend number {n} lives in a big town." for n in range(200))))
    assert count_tokens(memory.core) <= most
    assert memory.core.endswith(CUT) or most < count_tokens(CUT)


def test_a_fork_sees_nothing_of_its_parent_nor_the_other_way_round() -> None:
    memory = filled("Ann's dentist is Vale.", "Bob likes tea.")
    before = memory.as_json()
    one, other = memory.fork(), memory.fork()
    one.execute(Operation(DELETE, "semantic", memory_id="m1"))
    other.execute(Operation(UPDATE, "semantic", "Ann's dentist is Moor.", "m1"))
    assert memory.as_json() == before
    memory.execute(fact("Carla is a pilot."))
    assert [entry.content for entry in one.entries.values()] == ["Bob likes tea."]
    assert sorted(entry.content for entry in other.entries.values()) == ["Ann's dentist is Moor.", "Bob likes tea."]


def test_what_was_deleted_is_recovered() -> None:
    memory = filled("Ann's dentist is Vale.")
    memory.execute(Operation(DELETE, "semantic", memory_id="m1"))
    assert memory.recover("m1").content == "Ann's dentist is Vale."
    assert memory.with_key(read_gist("Ann's dentist is Moor.").key) is not None
    assert memory.tokens == count_tokens("Ann's dentist is Vale.")
    with pytest.raises(KeyError):
        memory.recover("m1")


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_the_tools_have_schemas_that_strict_servers_take() -> None:
    assert [tool["name"] for tool in TOOLS] == list(WRITING)
    for tool in (*TOOLS, SEARCH_TOOL):
        check_schema(tool["parameters"], tool["name"])
        assert sorted(tool["parameters"]["required"]) == sorted(tool["parameters"]["properties"])
    insert = TOOLS[0]["parameters"]
    assert fault({"memory_type": "semantic", "content": "x", "time": None}, insert) is None
    assert fault({"memory_type": "core", "content": "x", "time": None}, insert) is not None


@pytest.mark.parametrize(("arguments", "fails"), [
    ('{"memory_type": "semantic", "content": "Ann is a pilot."}', False),
    ('{"memory_type": "episodic", "content": "Ann left.", "time": "2024-05-17T09:30"}', False),
    ('{"memory_type": "episodic", "content": "Ann left.", "time": "the day before"}', True),
    ('{"memory_type": ["semantic"], "content": "x"}', True),
    ("[1]", True),
    ("{", True),
    ("", True),
])  # fmt: skip
def test_a_models_call_is_read_or_fails(arguments: str, fails: bool) -> None:
    memory = Memory()
    memory.begin(None)
    outcome = memory.execute(operation({"id": "1", "name": INSERT, "arguments": arguments}))
    assert (outcome.status is Status.FAILED) is fails
    assert not fails or outcome.fault in (Fault.BAD_ARGUMENTS, Fault.EMPTY)


@pytest.mark.parametrize(("written", "at"), [("1970-01-02", 86_400_000_000), ("1970-01-01T01:00+01:00", 0), ("soon", None), ("0001-01-01", None)])
def test_times_are_read(written: str, at: int | None) -> None:
    found = parse_time(written)
    assert found == at or (written == "0001-01-01" and found is not None and found < 0)


# ---- invariants -----------------------------------------------------------------------------------------------------

WORDS = ["Ann", "Bob", "tea", "dentist", "Vale", "Moor", "lives", "in", "Oslo", "is", "a", "pilot", "met", "the", "cat", "17", "Lyon", "yesterday"]


def drawn(source: random.Random, memory: Memory) -> Operation:
    """Any call, sensible or not."""
    text = " ".join(source.choices(WORDS, k=source.choice((0, 1, 3, 6, 40)))) + source.choice(("", ".", "\n", "\ud800", "?"))
    ids = [*memory.entries, *memory.archived, "m0", "", "core", "m1 "]
    return Operation(
        source.choice((*WRITING, *WRITING, "search_memory", "")), source.choice(("core", "semantic", "episodic", "semantic", "", "SEMANTIC")), text,
        source.choice(ids), source.choice((None, NOON, -(10**18))), ("s",), source.choice(("",) * 9 + ("no JSON",)),
    )  # fmt: skip


def fuzzed(seed: int, count: int) -> None:
    source = random.Random(seed)
    limits = Limits(core_tokens=40, tokens=source.choice((None, 120, 400)))
    memory = Memory(limits)
    seen: set[str] = set()
    for number in range(count):
        if number % 5 == 0:
            memory.begin(source.choice((None, NOON)))
        before = dict(memory.entries)
        call = drawn(source, memory)
        outcome = memory.execute(call, confirmed=source.random() < 0.2)
        if outcome.status is Status.FAILED:
            assert outcome.fault is not None
            assert dict(memory.entries) == before
        for id in memory.entries.keys() - before.keys():
            assert id not in seen, "an id is never given twice"
            seen.add(id)
        for id in before.keys() - memory.entries.keys():
            assert memory.archived[id] == before[id]
        if number % 200 == 0:
            held = memory.as_json()
            fork = memory.fork()
            for _ in range(5):
                fork.execute(drawn(source, fork), confirmed=True)
            assert memory.as_json() == held
            assert count_tokens(memory.core) <= limits.core_tokens
            assert memory.tokens == sum(entry.tokens for entry in memory.entries.values()) + sum(count_tokens(line.text) for line in memory.lines)
            assert limits.tokens is None or memory.tokens <= limits.tokens
    assert Memory.replay(memory.log, limits).as_json() == memory.as_json()


@pytest.mark.parametrize("seed", range(4))
def test_no_calls_break_the_memory(seed: int) -> None:
    fuzzed(seed, 1_500)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(100, 122))
def test_fifty_thousand_calls_do_not_break_it_either(seed: int) -> None:
    fuzzed(seed, 2_000)


# ---- rewards --------------------------------------------------------------------------------------------------------

OK, SKIPPED, FAILED = Outcome(Status.OK), Outcome(Status.SKIPPED), Outcome(Status.FAILED, fault=Fault.UNKNOWN_ID)
GOOD_FACT, GOOD_EVENT = fact("Ann's dentist is Vale."), event("On 3 May Ann went to Lyon.")
BAD_FACT, BAD_EVENT = fact("How are you doing today, Ann?"), event("Ann's dentist is Vale.")
CORE = Operation(UPDATE, "core", "Ann lives in Oslo.")
EMPTY_CORE = Operation(UPDATE, "core", "No information yet.")
DELETED = Operation(DELETE, "semantic", memory_id="m1")

TABLE = [
    # scores, calls, outcomes, tokens of the memory, of the chunks → r1, r2, r3, r4
    ([1.0, 0.0], [GOOD_FACT], [OK], 10, 100, 0.5, 1.0, 0.9, 1.0),
    ([], [GOOD_FACT], [OK], 10, 100, 0.0, 1.0, 0.9, 1.0),
    ([1.0], [], [], 0, 100, 1.0, 0.0, 1.0, 0.0),
    ([0.0], [NOTHING], [OK], 0, 100, 0.0, 1.0, 1.0, 1.0),
    ([0.0], [NOTHING, GOOD_FACT], [OK, OK], 20, 100, 0.0, 1.0, 0.8, 1.0),
    ([0.25, 0.75], [GOOD_FACT, GOOD_FACT], [OK, SKIPPED], 50, 100, 0.5, 0.5, 0.5, 1.0),
    ([1.0], [GOOD_FACT, DELETED], [OK, FAILED], 50, 100, 1.0, 0.5, 0.5, 1.0),
    ([1.0], [DELETED], [OK], 0, 100, 1.0, 1.0, 1.0, 0.0),
    ([1.0], [DELETED, DELETED], [FAILED, FAILED], 0, 100, 1.0, 0.0, 1.0, 0.0),
    ([0.5], [GOOD_FACT, BAD_FACT], [OK, OK], 100, 100, 0.5, 1.0, 0.0, 0.5),
    ([0.5], [BAD_FACT], [OK], 250, 100, 0.5, 1.0, -1.5, 0.0),
    ([0.5], [GOOD_EVENT], [OK], 30, 40, 0.5, 1.0, 0.25, 1.0),
    ([0.5], [GOOD_EVENT, BAD_EVENT], [OK, SKIPPED], 30, 40, 0.5, 0.5, 0.25, 0.5),
    ([0.5], [CORE], [OK], 30, 120, 0.5, 1.0, 0.75, 1.0),
    ([0.5], [EMPTY_CORE], [OK], 30, 120, 0.5, 1.0, 0.75, 0.0),
    ([0.5], [CORE, EMPTY_CORE, GOOD_FACT, BAD_FACT], [OK, OK, OK, FAILED], 30, 120, 0.5, 0.75, 0.75, 0.5),
    ([0.0, 0.0, 1.0, 1.0], [GOOD_FACT], [FAILED], 0, 0, 0.5, 0.0, 0.0, 1.0),
    ([1.0] * 3, [Operation("none")], [FAILED], 0, 10, 1.0, 0.0, 1.0, 0.0),
    ([1.0], [GOOD_FACT, GOOD_EVENT, CORE], [OK, OK, OK], 10, 10, 1.0, 1.0, 0.0, 1.0),
    ([0.2], [NOTHING, DELETED], [OK, FAILED], 5, 10, 0.2, 0.5, 0.5, 1.0),
]


@pytest.mark.parametrize("case", TABLE)
def test_rewards_are_as_counted_by_hand(case: tuple[list[float], list[Operation], list[Outcome], int, int, float, float, float, float]) -> None:
    scores, calls, outcomes, memory_tokens, chunk_tokens, r1, r2, r3, r4 = case
    terms = rewards.Terms(
        rewards.answered(scores), rewards.called(calls, outcomes), rewards.compressed(memory_tokens, chunk_tokens),
        rewards.typed(calls, NOON, rewards.rule_judge()),
    )  # fmt: skip
    assert terms == rewards.Terms(r1, r2, r3, r4)
    assert terms.total() == r1 + r2 + 0.05 * r3 + 0.1 * r4
    assert terms.total(rewards.Weights(calls=0.0, size=0.4, types=0.0)) == pytest.approx(r1 + 0.4 * r3)


def test_the_table_has_twenty_cases() -> None:
    assert len(TABLE) == 20


def test_an_event_needs_a_time_to_be_one() -> None:
    judge = rewards.rule_judge()
    assert judge(event("Ann went to Lyon."), None)
    assert not judge(event("Ann went to Lyon.", None), None)
    assert judge(event("Ann went to Lyon.", None), NOON)


def test_an_author_before_a_sentence_is_who_speaks() -> None:
    assert read_gist(said_by("Ann", "I live in Lyon.")).key == read_gist("Ann lives in Oslo.").key != ""
    assert read_gist(said_by(None, "I live in Lyon.")).key != read_gist(said_by("Ann", "I live in Lyon.")).key
