"""The parts of the loop: gates on 200 updates, monitors, the split of traffic, ledgers, the disclosure, arrays that come back bit for bit."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changes_support import CARD
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.kernel.changes import disclosure
from mnemos.kernel.changes.admission import NEIGHBOURHOOD, RETENTION, STANDARD_GATES, TARGET, Gate, Observed, Slices, judge
from mnemos.kernel.changes.ledger import AuditEntry, Ledger, MemoryLedger, Stage, StoreLedger, check_chain
from mnemos.kernel.changes.monitors import STANDARD, Action, Arm, Monitor, Watch, arm_of
from mnemos.kernel.changes.tiers import Arrays
from mnemos.kernel.system import Mnemos


# -- gates --
def slices(rng: np.random.Generator, harm: str | None) -> tuple[Slices, Slices]:
    """What an update does to 60, 120 and 400 questions. Good ones succeed at 0.97, leave 0.985 of the neighbours alone, and exchange one general
    answer in a hundred; harmful ones fail their target, move their neighbours, or lose general knowledge."""
    success = 0.6 if harm == TARGET else 0.97
    unchanged = 0.85 if harm == NEIGHBOURHOOD else 0.985
    lost = 0.08 if harm == RETENTION else 0.01

    def asked(name: str, rights: Any, answers: Any) -> list[Observed]:
        return [Observed(f"{name}{i}", bool(r), str(a), i // 4) for i, (r, a) in enumerate(zip(rights, answers, strict=True))]

    known = rng.random(400) < 0.8
    after = np.where(known, rng.random(400) >= lost, rng.random(400) < 0.04)
    moved = (rng.random(120) >= unchanged).astype(int)
    before = {
        TARGET: asked("t", np.zeros(60), np.zeros(60, dtype=int)),
        NEIGHBOURHOOD: asked("n", np.ones(120), np.zeros(120, dtype=int)),
        RETENTION: asked("r", known, known),
    }
    return before, {
        TARGET: asked("t", rng.random(60) < success, np.ones(60)),
        NEIGHBOURHOOD: asked("n", moved == 0, moved),
        RETENTION: asked("r", after, after),
    }


def test_gates_block_harm_and_let_good_updates_pass() -> None:
    rng = np.random.default_rng(0)
    harms: list[str | None] = [TARGET, NEIGHBOURHOOD, RETENTION]
    blocked: dict[bool, list[bool]] = {True: [], False: []}
    slack: dict[bool, list[float]] = {True: [], False: []}
    for number in range(200):
        harm = harms[number // 2 % 3] if number % 2 else None
        verdict = judge(STANDARD_GATES, *slices(rng, harm), rng)
        blocked[harm is not None].append(not verdict)
        slack[harm is not None].append(verdict.slack)
    assert np.mean(blocked[True]) >= 0.95
    assert np.mean(blocked[False]) <= 0.10
    wins = np.subtract.outer(slack[False], slack[True])
    assert np.mean(wins > 0) >= 0.98  # the area under the ROC curve of the least slack


def test_a_gate_can_ask_its_interval_and_its_sample() -> None:
    rng = np.random.default_rng(0)
    before, after = slices(rng, None)
    estimate = judge([Gate(TARGET, "success", 0.90)], before, after, rng)
    interval = judge([Gate(TARGET, "success", 0.97, by="interval")], before, after, rng)
    assert estimate
    assert not interval
    assert interval.codes == ("target.success:missed",)
    few = judge([Gate(TARGET, "success", 0.5, fewest=61)], before, after, rng)
    assert few.codes == ("target.success:too-few:60<61",)
    assert not judge([Gate("unknown slice", "success", 0.5)], before, after, rng)
    assert judge([Gate(TARGET, "gain", 0.5)], before, after, rng)
    with pytest.raises(Invalid, match="different questions"):
        judge(STANDARD_GATES, before, {**after, TARGET: after[TARGET][::-1]}, rng)
    with pytest.raises(Invalid, match="no metric"):
        Gate(TARGET, "niceness", 0.5)  # type: ignore[arg-type]


# -- the disclosure --
def test_a_complete_card_has_no_problems() -> None:
    assert disclosure.problems(CARD) == []
    assert disclosure.problems(json.loads(json.dumps(CARD))) == []


def test_every_missing_or_wrong_field_is_named() -> None:
    for section, fields in disclosure.FIELDS.items():
        assert disclosure.problems({name: part for name, part in CARD.items() if name != section}) == [f"{section}: is missing"]
        for field in fields:
            part = {name: value for name, value in CARD[section].items() if name != field}
            assert disclosure.problems({**CARD, section: part}) == [f"{section}.{field}: is missing"]
            wrong = {**CARD[section], field: object()}
            assert disclosure.problems({**CARD, section: wrong}) == [f"{section}.{field}: expected {fields[field]}"]
    assert disclosure.problems({**CARD, "leakage": {**CARD["leakage"], "overlap": 1.2}}) == ["leakage.overlap: expected share"]
    assert disclosure.problems({**CARD, "cost": {"seconds": math.nan}}) == ["cost.seconds: expected number"]
    assert disclosure.problems({**CARD, "seeds": {"values": []}}) == ["seeds.values: expected list of numbers"]
    assert len(disclosure.problems(None)) == 1


# -- monitors --
def queries_until(rate: float, rng: np.random.Generator, limit: int, monitor: Monitor) -> int | None:
    watch = Watch([monitor])
    for number, happened in enumerate(rng.random(limit) < rate, 1):
        if watch.observe({monitor.event: bool(happened)}) is Action.ROLL_BACK:
            return number
    return None


def test_harm_is_noticed_within_200_queries_and_its_absence_is_not() -> None:
    rng = np.random.default_rng(0)
    monitor = STANDARD[0]
    found = [queries_until(0.2, rng, 200, monitor) for _ in range(300)]
    assert np.mean([n is not None for n in found]) >= 0.99
    assert np.median([n for n in found if n]) <= 100
    assert np.mean([queries_until(0.15, rng, 200, monitor) is not None for _ in range(300)]) >= 0.9
    false = [queries_until(monitor.usual, rng, monitor.horizon, monitor) for _ in range(400)]
    assert np.mean([n is not None for n in false]) <= monitor.false_alarm


def test_harm_that_begins_late_is_noticed_as_soon() -> None:
    rng = np.random.default_rng(1)
    monitor = STANDARD[1]
    delays = []
    for _ in range(200):
        watch = Watch([monitor])
        for _ in range(400):
            watch.observe({monitor.event: bool(rng.random() < 0.01)})
        for number in range(1, 201):
            if watch.observe({monitor.event: bool(rng.random() < 0.25)}) is Action.ROLL_BACK:
                delays.append(number)
                break
    assert len(delays) >= 198


def test_actions_rise_with_the_evidence() -> None:
    watch = Watch([Monitor("wrong", 0.02, 0.2)])
    actions = [watch.observe({"wrong": True}) for _ in range(6)]
    assert actions == sorted(actions)
    assert set(actions) == set(Action)
    assert watch.alarms == ("wrong",)
    with pytest.raises(Invalid, match="no monitor"):
        watch.observe({"other": True})
    for bad in [(0.0, 0.5), (0.5, 0.4), (0.5, 1.0)]:
        with pytest.raises(Invalid):
            Monitor("wrong", *bad)
    with pytest.raises(Invalid):
        Monitor("wrong", 0.1, 0.2, horizon=0)


@given(st.text(max_size=30), st.floats(0, 1))
def test_a_key_always_has_the_same_arm(key: str, share: float) -> None:
    assert arm_of("change", key, share) is arm_of("change", key, share)
    assert arm_of("change", key, 0.0) is Arm.CONTROL
    assert arm_of("change", key, 1.0) is Arm.CANARY


def test_the_split_is_even_and_independent_between_changes() -> None:
    arms = [[arm_of(change, f"user {i}", 0.3) is Arm.CANARY for i in range(4000)] for change in ("a", "b")]
    assert np.mean(arms[0]) == pytest.approx(0.3, abs=0.025)
    assert np.mean(np.logical_and(*arms)) == pytest.approx(0.09, abs=0.02)
    grown = [arm_of("a", f"user {i}", 0.6) is Arm.CANARY for i in range(4000)]
    assert all(later for early, later in zip(arms[0], grown, strict=True) if early)  # a larger share keeps whom it had
    with pytest.raises(Invalid):
        arm_of("a", "x", 1.5)


# -- ledgers --
def entry(stage: Stage, **more: Any) -> AuditEntry:
    return AuditEntry("c1", 0, "2024-05-01T00:00:00+00:00", "alice", stage, "because", **more)


@pytest.fixture(params=["memory", "store"])
def ledger(request: pytest.FixtureRequest, mem: Mnemos) -> Ledger:
    return MemoryLedger() if request.param == "memory" else StoreLedger(mem)


def test_a_ledger_keeps_a_chain(ledger: Ledger) -> None:
    first = ledger.append(entry(Stage.PROPOSED, reasons=("S1:disputed",), metrics=({"value": 0.5, "low": math.nan},)))
    second = ledger.append(entry(Stage.ADMITTED, before={"memory": "log:1"}, body={"n": [1, 2]}))
    assert (first.number, second.number, second.previous) == (0, 1, first.hash)
    got = ledger.entries("c1")
    assert [e.hash for e in got] == [first.hash, second.hash]
    assert got[1].body == {"n": [1, 2]}
    ledger.append(replace(entry(Stage.PROPOSED), change="c2"))
    assert ledger.changes() == ["c1", "c2"]
    with pytest.raises(NotFound):
        ledger.entries("c3")


def test_only_steps_that_a_change_can_take_are_entered(ledger: Ledger) -> None:
    with pytest.raises(Invalid, match="cannot go from nothing"):
        ledger.append(entry(Stage.LIVE))
    ledger.append(entry(Stage.PROPOSED))
    with pytest.raises(Invalid, match="cannot go from proposed to canary"):
        ledger.append(entry(Stage.CANARY))
    ledger.append(entry(Stage.REFUSED))
    for stage in Stage:
        with pytest.raises(Invalid):
            ledger.append(entry(stage))


def test_what_fails_together_is_not_entered(ledger: Ledger) -> None:
    ledger.append(entry(Stage.PROPOSED))

    def fails() -> None:
        with ledger.together():
            ledger.append(entry(Stage.ADMITTED))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert len(ledger.entries("c1")) == 1


def test_any_alteration_of_an_entry_breaks_the_chain() -> None:
    ledger = MemoryLedger()
    ledger.append(entry(Stage.PROPOSED))
    ledger.append(entry(Stage.ADMITTED, metrics=({"measured": 0.9},), before={"memory": "log:1"}))
    ledger.append(entry(Stage.CANARY, body={"restore": {}}))
    entries = ledger.entries("c1")
    check_chain(entries)
    altered = [
        {"actor": "mallory"}, {"at": "2025"}, {"decision": "x"}, {"reasons": ("y",)}, {"metrics": ({"measured": 0.99},)},
        {"before": {"memory": "log:2"}}, {"stage": Stage.PROPOSED}, {"number": 7}, {"previous": "0" * 64}, {"body": {"a": 1}},
    ]  # fmt: skip
    for change in altered:
        with pytest.raises(Corrupt):
            check_chain([entries[0], replace(entries[1], **change), entries[2]])
    for cut in ([entries[1]], [entries[0], entries[2]], [entries[1], entries[0]]):
        with pytest.raises(Corrupt):
            check_chain(cut)
    with pytest.raises(Invalid):
        AuditEntry.from_json({"change": "c1"})


# -- arrays --
@pytest.mark.parametrize("kept", ["memory", "file"])
def test_arrays_come_back_bit_for_bit(kept: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(5, 7)), "kv": rng.integers(0, 255, 99).astype(np.uint8), "nan": np.array([math.nan, -0.0])}
    original = {name: array.tobytes() for name, array in arrays.items()}
    held = arrays["w"]

    def change(arrays: Any) -> None:
        arrays["w"] += 1
        arrays["kv"] = np.append(arrays["kv"], 3)
        arrays["new"] = np.zeros(2)

    tier = Arrays("weights", arrays, change, folder=tmp_path / "states" if kept == "file" else None)
    digest = tier.digest()
    with tier.trial():
        assert tier.digest() != digest
    assert tier.digest() == digest
    undo = tier.apply()
    assert not tier.restored(undo)
    back = Arrays("weights", arrays, folder=tmp_path / "states") if kept == "file" else tier
    back.restore(undo)
    assert tier.restored(undo)
    assert {name: array.tobytes() for name, array in arrays.items()} == original
    assert held is arrays["w"]  # whoever holds the array meets the old values too
    tier.apply()
    tier.finish(undo)
    with pytest.raises(NotFound, match="kept nowhere"):
        tier.restore(undo)


def test_a_damaged_kept_state_is_not_put_back(tmp_path: Path) -> None:
    arrays = {"w": np.zeros(4)}
    tier = Arrays("weights", arrays, lambda a: a.__setitem__("w", np.ones(4)), folder=tmp_path)
    undo = tier.apply()
    np.savez(tmp_path / f"{undo['digest']}.npz", w=np.full(4, 9.0))
    with pytest.raises(Corrupt):
        tier.restore(undo)
    assert arrays["w"].tolist() == [1, 1, 1, 1]


def test_a_change_that_fails_leaves_arrays_alone() -> None:
    arrays = {"w": np.zeros(4)}

    def half(arrays: Any) -> None:
        arrays["w"] += 1
        raise RuntimeError

    tier = Arrays("weights", arrays, half)
    with pytest.raises(RuntimeError):
        tier.apply()
    assert arrays["w"].tolist() == [0, 0, 0, 0]


def test_digests_tell_names_types_and_shapes_apart() -> None:
    forms = [{"a": np.zeros(4)}, {"b": np.zeros(4)}, {"a": np.zeros((2, 2))}, {"a": np.zeros(4, dtype=np.float32)}, {"a": np.zeros(8)}]
    digests = [Arrays("t", dict(form)).digest() for form in forms]
    assert all(x != y for x, y in itertools.combinations(digests, 2))
