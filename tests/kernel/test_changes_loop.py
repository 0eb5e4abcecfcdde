"""The whole loop over real tiers: a space, weights, KV blocks and a procedural log; harm that gates cannot see is noticed and taken back."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from changes_support import CARD

from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound
from mnemos.kernel.changes.admission import NEIGHBOURHOOD, RETENTION, TARGET, Gate, Observed, Slices
from mnemos.kernel.changes.ledger import Ledger, MemoryLedger, Stage, StoreLedger
from mnemos.kernel.changes.loop import Changes, Terms
from mnemos.kernel.changes.monitors import Action, Arm
from mnemos.kernel.changes.routing import profile
from mnemos.kernel.changes.spaces import SpaceChange
from mnemos.kernel.changes.tiers import Arrays
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos

PEOPLE = [f"Person{i}" for i in range(30)]
GATES = (Gate(TARGET, "success", 0.9, fewest=1), Gate(NEIGHBOURHOOD, "unchanged", 0.95, fewest=5), Gate(RETENTION, "drawdown", 0.02, fewest=10))
TERMS = Terms(gates=GATES, share=0.5, canary_queries=60, watch_queries=40)


@pytest.fixture
def space(mem: Mnemos) -> Space:
    space = mem.space("town")
    space.add_many([{"text": f"{name} lives in house {number}.", "source": name} for number, name in enumerate(PEOPLE)])
    return space


def house(space: Any, name: str) -> str:
    return next((hit.cube.text.split()[-1] for hit in space.search(f"Where does {name} live?", k=3) if hit.cube.text.startswith(name)), "?")


def asked(space: Space, names: list[str], right: Callable[[str], str]) -> list[Observed]:
    answers = {name: house(space, name) for name in names}
    return [Observed(name, answers[name] == right(name), answers[name], name) for name in names]


def measuring(space: Space, target: dict[str, str]) -> Callable[[], Slices]:
    """Ask for the people whom a change is about, for ten neighbours, and for everybody else."""

    def truth(name: str) -> str:
        return target.get(name, f"{PEOPLE.index(name)}.")

    others = [name for name in PEOPLE if name not in target]
    slices = {TARGET: list(target), NEIGHBOURHOOD: others[:10], RETENTION: others[10:]}
    return lambda: {name: asked(space, people, truth) for name, people in slices.items()}


def moving(space: Space, name: str, number: int) -> SpaceChange:
    id = next(cube.id for cube in space.list(limit=100) if cube.text.startswith(f"{name} "))
    return SpaceChange(space, update={id: {"text": f"{name} lives in house {number}."}})


def admitted(changes: Changes, space: Space, *more: Arrays) -> tuple[str, SpaceChange]:
    part = moving(space, "Person3", 77)
    change = changes.propose("A move", [part, *more])
    changes.register(change, TERMS)
    assert changes.admit(change, measuring(space, {"Person3": "77."}), CARD)
    return change, part


@pytest.fixture(params=["memory", "store"])
def ledger(request: pytest.FixtureRequest, mem: Mnemos) -> Ledger:
    return MemoryLedger() if request.param == "memory" else StoreLedger(mem)


def test_a_good_change_goes_live_and_is_finished(space: Space, ledger: Ledger) -> None:
    changes = Changes(ledger, actor="alice")
    change, part = admitted(changes, space)
    assert house(space, "Person3") == "3."  # a trial leaves nothing
    changes.start(change)
    control = part.without(changes.history(change)[-1].body["restore"][part.tier])
    met = {changes.arm(change, f"user {i}"): None for i in range(50)}
    assert set(met) == {Arm.CANARY, Arm.CONTROL}
    assert (house(space, "Person3"), house(control, "Person3")) == ("77.", "3.")
    for number in range(100):
        changes.observe(change, {"unsupported": number == 50}, Arm.CONTROL)
        assert changes.observe(change, {"out of date": number == 5}) is Action.SERVE
    assert changes.stage(change) is Stage.LIVE
    assert changes.arm(change, "anybody") is Arm.CANARY
    entries = changes.history(change)
    assert [entry.decision for entry in entries] == ["proposed", "registered", "admitted", "canary of 50%", "live", "finished"]
    rates = {(m["arm"], m["event"]): m["measured"] for m in entries[-1].metrics}
    assert rates["canary", "out of date"]["value"] == 0.01
    assert rates["control", "unsupported"]["n"] == 100
    assert all(entry.actor == "alice" for entry in entries)
    with pytest.raises(Conflict, match="finished"):
        changes.roll_back(change, ["second thoughts"])
    assert all(changes.observe(change, {"unsupported": True}) is Action.SERVE for _ in range(20))  # nobody watches any more
    assert len(changes.history(change)) == len(entries)


def test_harm_after_admission_is_noticed_within_200_queries_and_every_tier_comes_back(space: Space, ledger: Ledger) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(16, 16))}
    cache = {"k": rng.integers(0, 255, (4, 32)).astype(np.uint8), "v": rng.integers(0, 255, (4, 32)).astype(np.uint8)}
    log = {"episodes": np.frombuffer(b"first episode\nsecond episode\n", dtype=np.uint8).copy()}
    tiers = [
        Arrays("weights", weights, lambda a: a.__setitem__("w", a["w"] * 1.01)),
        Arrays("kv", cache, lambda a: a["k"].__setitem__(0, 7)),
        Arrays("log", log, lambda a: a.__setitem__("episodes", np.append(a["episodes"], np.frombuffer(b"third\n", dtype=np.uint8)))),
    ]
    before = {name: array.tobytes() for arrays in (weights, cache, log) for name, array in arrays.items()}
    houses = {name: house(space, name) for name in PEOPLE}
    changes = Changes(ledger)
    change, _ = admitted(changes, space, *tiers)
    changes.start(change)
    assert {name: array.tobytes() for arrays in (weights, cache, log) for name, array in arrays.items()} != before
    # Nothing in the slices asks about visitors, so no gate could see that a sixth of the traffic now gets a wrong answer.
    queries = 0
    while changes.stage(change) is not Stage.ROLLED_BACK:
        queries += 1
        assert queries <= 200
        changes.observe(change, {"unsupported": bool(rng.random() < 0.3)})
    assert changes.action(change) is Action.ROLL_BACK
    assert {name: array.tobytes() for arrays in (weights, cache, log) for name, array in arrays.items()} == before
    assert {name: house(space, name) for name in PEOPLE} == houses
    last = changes.history(change)[-1]
    assert (last.stage, last.decision, last.reasons) == (Stage.ROLLED_BACK, "rolled back", ("monitor:unsupported",))
    assert set(last.before) == set(last.after) == {"memory:town", "weights", "kv", "log"}
    assert last.after["weights"] == changes.history(change)[0].before["weights"]
    assert last.metrics[0]["measured"]["value"] > 0.1
    assert changes.observe(change, {"unsupported": True}) is Action.ROLL_BACK  # and nothing more happens
    assert space.system.verify()


def test_harm_that_gates_see_is_refused(space: Space) -> None:
    changes = Changes(MemoryLedger())
    spam = [{"text": f"{name} lives in house 99."} for name in PEOPLE]
    part = SpaceChange(space, add=spam)
    change = changes.propose("Many moves", [part])
    changes.register(change, TERMS)
    verdict = changes.admit(change, measuring(space, {"Person3": "99."}), CARD)
    assert not verdict
    assert any(code.startswith(("neighbourhood.unchanged:missed", "retention.drawdown:missed")) for code in verdict.codes)
    assert changes.stage(change) is Stage.REFUSED
    with pytest.raises(Conflict):
        changes.start(change)
    assert house(space, "Person5") == "5."


def test_a_card_without_a_field_is_refused_before_anything_is_measured(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change = changes.propose("A move", [moving(space, "Person3", 77)])
    changes.register(change, TERMS)
    measured: list[int] = []
    verdict = changes.admit(change, lambda: measured.append(1) or {}, {name: part for name, part in CARD.items() if name != "seeds"})  # type: ignore[func-returns-value]
    assert not verdict
    assert verdict.codes == ("card:seeds: is missing",)
    assert not measured
    assert changes.history(change)[-1].reasons == ("card:seeds: is missing",)


def test_thresholds_are_fixed_before_and_do_not_move(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change = changes.propose("A move", [moving(space, "Person3", 77)])
    with pytest.raises(Conflict, match="no terms"):
        changes.admit(change, dict, CARD)
    changes.register(change, TERMS)
    with pytest.raises(Conflict, match="do not move"):
        changes.register(change, Terms())
    changes.admit(change, measuring(space, {"Person3": "77."}), CARD)
    registered, judged = changes.history(change)[1:3]
    assert Terms.from_json(registered.body["terms"]) == TERMS
    assert registered.at < judged.at


def test_the_ladder_degrades_and_refuses_before_it_rolls_back(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change, _ = admitted(changes, space)
    changes.start(change)
    seen = []
    while changes.stage(change) is Stage.CANARY:
        seen.append(changes.observe(change, {"misreplay": True}))
    assert seen == sorted(seen)
    assert {Action.DEGRADE, Action.REFUSE, Action.ROLL_BACK} <= set(seen)


def test_threads_that_observe_roll_back_once(space: Space, ledger: Ledger) -> None:
    changes = Changes(ledger)
    change, _ = admitted(changes, space)
    changes.start(change)
    with ThreadPoolExecutor(8) as pool:
        actions = list(pool.map(lambda _: changes.observe(change, {"unsupported": True}), range(60)))
    assert actions[-1] is Action.ROLL_BACK
    assert [entry.stage for entry in changes.history(change)].count(Stage.ROLLED_BACK) == 1
    assert house(space, "Person3") == "3."


def test_a_change_does_not_go_live_while_monitors_warn(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change, _ = admitted(changes, space)
    changes.start(change)
    with pytest.raises(Conflict, match="cannot go live"):
        changes.promote(change)
    for number in range(TERMS.canary_queries + 5):
        changes.observe(change, {"unsupported": number > TERMS.canary_queries - 4})
        if number == TERMS.canary_queries - 1:
            assert changes.action(change) > Action.SERVE
    assert changes.stage(change) is not Stage.LIVE


def test_another_process_rolls_back_what_it_did_not_begin(space: Space, mem: Mnemos) -> None:
    begun = Changes.of(mem)
    change, _ = admitted(begun, space)
    begun.start(change)
    other = Changes(StoreLedger(mem), actor="bob")
    with pytest.raises(Conflict, match="resume"):
        other.roll_back(change, ["asked for"])
    with pytest.raises(Invalid, match="tiers"):
        other.resume(change, [Arrays("weights", {})])
    other.resume(change, [SpaceChange(space)])
    other.roll_back(change, ["asked for"])
    assert house(space, "Person3") == "3."
    assert begun.observe(change, {}) is Action.ROLL_BACK
    assert begun.history(change)[-1].actor == "bob"


def test_a_principal_sees_the_changes_of_spaces_that_it_may_read(space: Space, mem: Mnemos) -> None:
    mem.space("town", acl={"read": ["bob"]})
    owner = Changes.of(mem)
    change, _ = admitted(owner, space)
    weights = owner.propose("Weights", [Arrays("weights", {"w": np.zeros(2)})])
    bob, eve = Changes.of(mem.as_principal("bob")), Changes.of(mem.as_principal("eve"))
    assert owner.ledger.changes() == [change, weights]
    assert bob.ledger.changes() == [change]
    assert eve.ledger.changes() == []
    assert bob.stage(change) is Stage.ADMITTED
    for blind, hidden in ((eve, change), (bob, weights)):
        with pytest.raises(NotFound, match="there is no change"):
            blind.history(hidden)
        with pytest.raises(NotFound, match="there is no change"):
            blind.ledger.append(owner.history(hidden)[0])


def test_what_somebody_changed_meanwhile_is_kept_and_said(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change, part = admitted(changes, space)
    changes.start(change)
    id = next(cube.id for cube in space.list(limit=100) if cube.text.startswith("Person3 "))
    space.update(id, "Person3 lives in house 12.")
    changes.roll_back(change, ["asked for"])
    assert house(space, "Person3") == "12."
    assert changes.history(change)[-1].reasons == ("asked for", f"changed-since:{part.tier}")


def test_a_start_that_fails_leaves_every_tier(space: Space, ledger: Ledger) -> None:
    changes = Changes(ledger)
    weights = {"w": np.zeros(3)}
    calls: list[int] = []

    def failing(arrays: Any) -> None:
        calls.append(1)
        arrays["w"] += 1
        if len(calls) > 1:
            raise RuntimeError("no memory left")

    change, _ = admitted(changes, space, Arrays("weights", weights, failing))
    with pytest.raises(RuntimeError):
        changes.start(change)
    assert weights["w"].tolist() == [0, 0, 0]
    assert house(space, "Person3") == "3."
    assert changes.stage(change) is Stage.ADMITTED


def test_a_trial_that_leaves_something_is_found_out(space: Space) -> None:
    class Leaky(Arrays):
        def trial(self) -> Any:
            self._arrays["w"] = self._arrays["w"] + 1
            return super().trial()

    changes = Changes(MemoryLedger())
    change = changes.propose("Leaks", [Leaky("weights", {"w": np.zeros(2)})])
    changes.register(change, TERMS)
    with pytest.raises(Corrupt, match="trial"):
        changes.admit(change, measuring(space, {"Person3": "3."}), CARD)


def test_the_ledger_of_a_store_holds_no_text(space: Space, mem: Mnemos) -> None:
    changes = Changes(StoreLedger(mem))
    change, _ = admitted(changes, space)
    changes.start(change)
    changes.roll_back(change, ["asked for"])
    written = " ".join(entry.body or "" for entry in mem.log() if entry.kind == "setting") + str([e.as_json() for e in changes.history(change)])
    assert "lives in house" not in written
    assert "77." not in written


def test_words_that_stay_do_not_repeat_what_is_changed(space: Space) -> None:
    changes = Changes(MemoryLedger())
    for title in ("Person3 lives somewhere", "to house 77."):
        with pytest.raises(Invalid, match="repeats"):
            changes.propose(title, [moving(space, "Person3", 77)])
    change, _ = admitted(changes, space)
    changes.start(change)
    with pytest.raises(Invalid, match="repeats"):
        changes.roll_back(change, ["Person3 lives in house 77."])
    assert house(space, "Person3") == "77."
    seen = profile([{"text": "Nora was born in Ghent.", "entities": ["Nora"]}])
    routed = changes.propose("A fact", [SpaceChange(space, add=[{"text": "Nora was born in Ghent."}])], seen)
    body = changes.history(routed)[0].body
    assert "Nora" not in str(body)
    assert body["route"]["path"] == "edit"
    assert body["profile"]["scope"]["entities"] == 1


def test_a_memory_that_speaks_of_monitors_does_not_keep_them_from_rolling_back(space: Space) -> None:
    changes = Changes(MemoryLedger())
    part = SpaceChange(space, add=[{"text": "monitor:unsupported is what they said"}])
    change = changes.propose("A note", [part])
    changes.register(change, TERMS)
    assert not changes.admit(change, measuring(space, {}), CARD)  # no target, no admission
    change = changes.propose("A note", [part])
    changes.register(change, Terms(gates=(Gate(RETENTION, "drawdown", 0.02, fewest=1),)))
    assert changes.admit(change, measuring(space, {}), CARD)
    changes.start(change)
    while changes.stage(change) is Stage.CANARY:
        changes.observe(change, {"unsupported": True})
    assert changes.stage(change) is Stage.ROLLED_BACK


def test_what_cannot_be_proposed(space: Space) -> None:
    changes = Changes(MemoryLedger())
    with pytest.raises(Invalid):
        changes.propose("", [SpaceChange(space)])
    with pytest.raises(Invalid):
        changes.propose("nothing", [])
    with pytest.raises(Invalid, match="same tier"):
        changes.propose("twice", [SpaceChange(space), SpaceChange(space)])
    for bad in ({"gates": ()}, {"monitors": ()}, {"share": 0.0}, {"canary_queries": 0}):
        with pytest.raises(Invalid):
            Terms(**bad)  # type: ignore[arg-type]


def test_intervals_are_in_the_entries(space: Space) -> None:
    changes = Changes(MemoryLedger())
    change, _ = admitted(changes, space)
    metrics = changes.history(change)[2].metrics
    assert [m["slice"] for m in metrics] == [TARGET, NEIGHBOURHOOD, RETENTION]
    assert metrics[1]["measured"]["value"] == 1.0
    assert metrics[1]["bound"] == 0.95
    assert not math.isnan(metrics[2]["measured"]["low"])
