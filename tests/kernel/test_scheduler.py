"""The scheduler: costs that are learnt, budgets that are kept, reasons that are given, decisions that can be replayed."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.bench.scheduler import serve_classically, serve_scheduled, zipf_trace
from mnemos.bench.tiny_transformer import TinyTransformer, nbytes
from mnemos.kernel.scheduling import Action, Cost, CostModel, Foresight, SceneModel, Scenes, Scheduler, replay
from mnemos.kernel.scheduling.ledger import Ledger, Offer
from mnemos.kernel.scheduling.scenes import Line, SceneUse


class Kept:
    """A tier that knows what it holds."""

    def __init__(self, name: str = "kv") -> None:
        self.name = name
        self.held: dict[Any, int] = {}

    def drop(self, key: Any) -> None:
        del self.held[key]


class Ticking:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


def scheduler(budget: int = 1000, policy: str = "value", **options: Any) -> tuple[Scheduler, Kept]:
    made, tier = Scheduler(Ticking()), Kept()
    made.register(tier, budget, policy=policy, **options)
    return made, tier


def teach(made: Scheduler, build: float, without: float, within: float, size: int = 100) -> None:
    """Costs in proportion to bytes."""
    for scale in (1, 2, 4):
        for part, seconds in (("build", build), ("without", without), ("within", within)):
            made.observe("kv", part, size * scale, seconds * scale)


def use(made: Scheduler, tier: Kept, key: Any, size: int, **options: Any) -> Action:
    decision = made.use("kv", key, size, **options)
    if decision.action is Action.BUILD:
        tier.held[key] = size
    return decision.action


# ---- costs ----------------------------------------------------------------------------------------------------------


@given(
    a=st.floats(0, 1e-2), b=st.floats(1e-9, 1e-6), c=st.floats(0, 1e-13),
    sizes=st.lists(st.integers(1_000, 10_000_000), min_size=4, max_size=40, unique=True), noise=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_costs_are_learnt_for_sizes_that_were_never_measured(a: float, b: float, c: float, sizes: list[int], noise: int) -> None:
    rng, model = np.random.default_rng(noise), CostModel()

    def seconds(size: float) -> float:
        return a + b * size + c * size * size

    for size in sizes:
        for part in ("build", "without", "within"):
            model.observe(part, size, seconds(size) * float(rng.uniform(0.99, 1.01)))
    between = (min(sizes) + max(sizes)) // 2
    cost = model.cost(between)
    assert cost is not None
    low, high = max(s for s in sizes if s <= between), min(s for s in sizes if s >= between)
    assert 0.8 * seconds(low) <= cost.build <= 1.25 * seconds(high)
    assert CostModel.from_json(json.loads(json.dumps(model.as_json()))).cost(between) is not None


def test_a_busy_moment_does_not_spoil_a_cost() -> None:
    model = CostModel()
    for number in range(60):
        size = 1000 * (1 + number % 6)
        for part in ("build", "without", "within"):
            model.observe(part, size, size * 1e-6 * (50 if number % 15 == 7 else 1))
    cost = model.cost(3500)
    assert cost is not None
    assert cost.build == pytest.approx(3.5e-3, rel=0.05)


@given(build=st.floats(1e-6, 1e3), without=st.floats(1e-6, 1e3), within=st.floats(1e-6, 1e3))
def test_break_even_is_the_first_use_that_pays(build: float, without: float, within: float) -> None:
    cost = Cost(build, without, within, 1)
    if without <= within:
        assert cost.break_even is None
        return
    n = cost.break_even
    assert n is not None
    assert build + n * within <= n * without * (1 + 1e-6) + 1e-12
    assert n == 1 or build + (n - 1) * within >= (n - 1) * without * (1 - 1e-6)


def test_the_papers_table_breaks_even_where_it_says() -> None:
    assert Cost(0.93, 2.04, 0.12, 1).break_even == 1  # Qwen3-8B, long context, short query
    assert Cost(0.12, 0.51, 0.39, 1).break_even == 1  # short context, long query
    assert Cost(1.26, 1.79, 0.15, 1).break_even == 1  # Qwen2.5-72B
    assert Cost(0.93, 2.04, 2.10, 1).break_even is None  # where injecting gains nothing


@pytest.mark.parametrize(("part", "size", "seconds"), [("guess", 1, 1.0), ("build", 1, -1.0), ("build", 1, float("nan")), ("build", -1, 1.0)])
def test_what_is_no_measurement_is_refused(part: str, size: int, seconds: float) -> None:
    with pytest.raises(Invalid):
        CostModel().observe(part, size, seconds)


# ---- deciding -------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    policy=st.sampled_from(["value", "lru", "lfu", "s3-fifo", "sieve", "arc", "auto"]),
    uses=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 400), st.floats(-1, 2)), max_size=120),
    drops=st.sets(st.integers(0, 119), max_size=10),
)
def test_a_budget_is_kept_and_both_sides_agree_on_what_is_held(policy: str, uses: list[tuple[int, int, float]], drops: set[int]) -> None:
    made, tier = scheduler(600, policy)
    teach(made, 0.01, 0.02, 0.001)
    sizes: dict[int, int] = {}
    for number, (key, size, priority) in enumerate(uses):
        size = sizes.setdefault(key, size)
        held = key in tier.held
        action = use(made, tier, key, size, priority=priority)
        assert (action is Action.HELD) is held
        if number in drops:
            made.drop("kv", key)
            assert key not in tier.held
        shown = made.tiers()["kv"]
        assert shown["bytes"] == sum(tier.held.values()) <= 600
        assert shown["objects"] == len(tier.held)
    assert replay(made.log()) == made.decisions()


def test_what_does_not_pay_is_declined_with_its_reason() -> None:
    made, tier = scheduler(1000, least_hits=2)
    teach(made, 0.5, 0.01, 0.02)
    assert use(made, tier, "slow", 100) is Action.DECLINE
    assert "costs no less" in made.decisions()[-1].reason
    made, tier = scheduler(1000, least_hits=2)
    teach(made, 5.0, 0.02, 0.01)
    assert use(made, tier, "large", 2000) is Action.DECLINE
    assert "larger than" in made.decisions()[-1].reason
    assert use(made, tier, "dear", 100) is Action.DECLINE
    assert "less than 2 times" in made.decisions()[-1].reason
    assert use(made, tier, "dear", 100) is Action.DECLINE
    assert "do not save what building" in made.decisions()[-1].reason
    made, tier = scheduler(100)
    teach(made, 0.01, 0.02, 0.001)
    for _ in range(5):
        use(made, tier, "hot", 100)
    assert use(made, tier, "new", 100) is Action.DECLINE
    assert "worth more" in made.decisions()[-1].reason
    assert tier.held == {"hot": 100}


def test_what_is_used_more_takes_the_place_of_what_is_used_no_more() -> None:
    made, tier = scheduler(100)
    teach(made, 0.01, 0.02, 0.001)
    for _ in range(5):
        use(made, tier, "old", 100)
    for _ in range(200):
        if use(made, tier, "new", 100) is Action.HELD:
            break
    assert tier.held == {"new": 100}
    displacing = next(decision for decision in made.decisions() if decision.displaced)
    assert (displacing.key, displacing.displaced) == ("new", ("old",))


@pytest.mark.parametrize(("build", "taken"), [(0.005, True), (0.0185, False), (0.1, False)])
def test_what_saves_by_being_built_takes_the_place_of_what_is_worth_somewhat_more(build: float, taken: bool) -> None:
    made, tier = scheduler(100)
    teach(made, build, 0.02, 0.001)  # built in the course of a use, 0.006 seconds or all that building takes less 0.019
    while use(made, tier, "old", 100) is not Action.HELD:
        pass
    use(made, tier, "old", 100)
    assert use(made, tier, "new", 100) is (Action.BUILD if taken else Action.DECLINE)  # its first use is worth half of one, the old one three
    assert replay(made.log()) == made.decisions()


def test_what_others_displace_soon_anyway_gives_way_sooner() -> None:
    ledger = Ledger(Kept(), 100, 0.0, 1, "value")  # no costs are known: a use of 100 bytes counts 100
    for _ in range(3):
        ledger.count_use("old", 100, 0.0)
    ledger.hold("old", 100)
    offer = Offer(worth=50.0, reuse=0.5, extra=-60.0)
    assert ledger.victims(100, offer) is None  # 250 are lost, and 60 had for each of 3.5 uses
    ledger.displacements.add(ledger.time)
    assert ledger.victims(100, offer) == ["old"]


def test_priority_and_rent_weigh() -> None:
    made, tier = scheduler(100)
    teach(made, 0.01, 0.02, 0.001)
    use(made, tier, "plain", 100)
    assert use(made, tier, "important", 100, priority=3.0) is Action.BUILD
    made, tier = scheduler(100)
    teach(made, 0.01, 0.02, 0.001)
    use(made, tier, "plain", 100)
    assert use(made, tier, "beyond all", 100, priority=1e300) is Action.BUILD
    assert use(made, tier, "nothing", 100, priority=-1e300) is Action.DECLINE
    made, tier = scheduler(1000, rent=1.0)
    teach(made, 0.01, 0.02, 0.001)
    assert use(made, tier, "anything", 100) is Action.DECLINE


def test_an_object_that_grows_makes_room_for_itself() -> None:
    made, tier = scheduler(300)
    teach(made, 0.01, 0.02, 0.001)
    for key in ("a", "b", "c"):
        use(made, tier, key, 100)
    for _ in range(9):
        use(made, tier, "c", 100)
    dropped = made.resized("kv", "c", 250)
    tier.held["c"] = 250
    assert set(dropped) == {"a", "b"}
    assert made.tiers()["kv"]["bytes"] == 250
    assert made.resized("kv", "unknown", 5) == []


def test_a_load_with_costs_is_served_better_than_by_recency() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(50, 2000, 200)
    costs = [Cost(1e-4 * s + 1e-7 * s * s, 1.1e-4 * s + 1e-7 * s * s, 1e-5 * s, int(s)) for s in sizes.tolist()]
    model = CostModel()
    for cost in costs[:40]:
        for part in ("build", "without", "within"):
            model.observe(part, cost.bytes, getattr(cost, part))
    trace = zipf_trace(rng, 8000, 200, 2000)
    budget = int(sizes.sum()) // 10
    ours, made, _ = serve_scheduled(trace, costs, budget, model)
    assert ours.mean() < 0.9 * serve_classically(trace, costs, budget, lambda held: next(iter(held))).mean()
    assert replay(json.loads(json.dumps(made.log()))) == made.decisions()


def test_a_log_that_was_altered_decides_otherwise() -> None:
    made, tier = scheduler(100)
    teach(made, 0.01, 0.02, 0.001)
    for key in "aabbbab":
        use(made, tier, key, 100)
    log = json.loads(json.dumps(made.log()))
    next(event for event in log["events"] if event[0] == "use")[3] = 5000
    assert replay(log) != made.decisions()
    for wrong in ({}, {"events": [["fly"]]}, {"events": [["use", "kv"]]}, {"events": [["use", "none", "a", 1, None, 0.0, 1, ""]]}):
        with pytest.raises((Invalid, NotFound)):
            replay(wrong)


def test_a_log_that_lost_its_beginning_says_so() -> None:
    made, tier = Scheduler(Ticking(), kept=50), Kept()
    made.register(tier, 1000)
    for number in range(100):
        use(made, tier, number % 5, 10)
    assert len(made.decisions()) == 50
    with pytest.raises(Invalid, match="not remembered any more"):
        made.log()


def test_tiers_are_named_once_and_known() -> None:
    made, tier = scheduler()
    with pytest.raises(Conflict):
        made.register(tier, 5)
    with pytest.raises(NotFound, match="there is no tier 'disk'; registered are kv"):
        made.use("disk", "a", 1)
    for budget in (0, -5, "much"):
        with pytest.raises(Invalid):
            made.register(Kept("other"), budget)  # type: ignore[arg-type]


def test_many_threads_leave_one_account() -> None:
    made, tier = scheduler(500)
    teach(made, 0.01, 0.02, 0.001)
    lock = threading.Lock()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for key in rng.integers(0, 20, 300).tolist():
            with lock:  # what the tier holds is its owner's to guard
                use(made, tier, key, 50 + 10 * key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made.tiers()["kv"]["bytes"] == sum(tier.held.values()) <= 500
    assert [decision.number for decision in made.decisions()] == list(range(1, 1201))


# ---- scenes ---------------------------------------------------------------------------------------------------------


def test_what_follows_is_what_followed() -> None:
    model = SceneModel()
    for scene in ["home", "tram", "work", "lunch"] * 20:
        model.observe(scene)
    assert model.current == "lunch"
    assert model.predict(1)[0][0] == "home"
    assert SceneModel.from_json(model.as_json()).predict(4) == model.predict(4)


def test_a_drift_is_followed_and_memory_stays_bounded() -> None:
    model = SceneModel()
    for _ in range(1500):
        model.observe("a")
        model.observe("b")
    for _ in range(1500):
        model.observe("a")
        model.observe("c")
    model.observe("a")
    assert model.predict(1)[0][0] == "c"
    for number in range(1000):
        model.observe(f"scene {number}")
    assert len(model.predict(10_000)) <= 256


def test_nothing_is_foreseen_where_nothing_was_seen() -> None:
    assert SceneModel().predict(3) == []
    assert SceneModel().current is None


def test_vectors_that_are_near_are_one_scene() -> None:
    rng, scenes = np.random.default_rng(0), Scenes(near=0.7, most=8)
    centres = rng.standard_normal((5, 32)).astype(np.float32)
    found = [[scenes.of(centre + 0.1 * rng.standard_normal(32).astype(np.float32)) for _ in range(20)] for centre in centres]
    assert all(len(set(group)) == 1 for group in found)
    assert len({group[0] for group in found}) == len(scenes) == 5
    for _ in range(100):
        scenes.of(rng.standard_normal(32).astype(np.float32))
    assert len(scenes) == 8
    assert 0 <= scenes.of(np.zeros(32, dtype=np.float32)) < 8


def test_a_scene_remembers_what_it_uses() -> None:
    use_ = SceneUse()
    for _ in range(10):
        use_.visit("work")
        use_.note("work", "plan")
    use_.note("work", "joke")
    expected = use_.expected("work")
    assert expected["plan"] > 4 * expected["joke"] > 0
    use_.forget("plan")
    assert set(use_.expected("work")) == {"joke"}
    assert use_.expected("nowhere") == {}


def walked(made: Scheduler, line: str = "", rounds: int = 12, scenes: tuple[str, ...] = ("home", "tram", "work")) -> None:
    """A line goes round by three scenes, and uses two objects of 100 bytes in each."""
    for _ in range(rounds):
        for scene in scenes:
            made.at("kv", scene, line)
            for number in range(2):
                made.use("kv", f"{line}{scene} {number}", 100, line=line)


class Nothing(Kept):
    def drop(self, key: Any) -> None:
        """Nothing is held."""


def foreseeing(budget: int = 1000) -> Scheduler:
    """One that holds nothing by itself: what is held was built ahead, or by hand."""
    made = Scheduler(Ticking())
    made.register(Nothing(), budget, least_hits=10_000)
    teach(made, 0.01, 0.02, 0.001)
    return made


def test_what_comes_next_is_built_ahead() -> None:
    made = foreseeing()
    walked(made)
    built = made.ahead("kv", settings=Foresight(scenes=1))
    assert {decision.key for decision in built} == {"home 0", "home 1"}
    assert all(decision.action is Action.BUILD and decision.value > 0 for decision in built)
    assert made.ahead("kv", settings=Foresight(scenes=1)) == []
    assert replay(json.loads(json.dumps(made.log()))) == made.decisions()


def test_a_share_of_the_budget_is_built_ahead_and_no_more() -> None:
    made = foreseeing()
    walked(made)
    assert sum(decision.bytes for decision in made.ahead("kv", settings=Foresight(share=0.3, idle=0.0))) == 300
    assert made.decisions()[-1].reason == "the share of the budget for what is foreseen is filled"
    assert made.ahead("kv", settings=Foresight(share=0.0, idle=0.0)) == []
    made.at("kv", "home")  # what was foreseen has come, or not
    assert sum(decision.bytes for decision in made.ahead("kv", settings=Foresight(share=0.3, idle=0.0))) == 300


@pytest.mark.parametrize(("costs", "reason"), [
    (None, "never measured"), ((0.01, 0.02, 0.02), "do not save"), ((0.01, 0.01, 0.02), "do not save"), ((9.0, 0.02, 0.001), "do not save"),
])  # fmt: skip
def test_nothing_is_built_ahead_where_no_gain_is_foreseen(costs: tuple[float, float, float] | None, reason: str) -> None:
    made = Scheduler(Ticking())
    made.register(Nothing(), 1000, least_hits=10_000)
    if costs is not None:
        teach(made, *costs)
    walked(made)
    assert made.foreseen("kv") == made.ahead("kv") == []
    decision = made.offer("kv", "home 0", 100, 0.9)
    assert decision.action is Action.DECLINE
    assert reason in decision.reason
    known = made.offer("kv", "home 0", 100, 0.9, known=Cost(0.01, 0.02, 0.001, 100))
    assert (known.action is Action.BUILD) is (costs is None)  # what others have measured counts where nothing was measured here


def test_what_is_hotter_does_not_give_way_to_what_is_foreseen() -> None:
    made = foreseeing(200)
    walked(made)
    for number in range(2):
        made.adopt("kv", f"hot {number}", 100)
        for _ in range(30):
            made.use("kv", f"hot {number}", 100, line="another")
    assert made.ahead("kv", settings=Foresight(share=1.0)) == []
    assert set(made.held("kv")) == {"hot 0", "hot 1"}
    assert made.decisions()[-1].reason == "what would give way for it is worth more"


def test_what_is_foreseen_stays_until_its_line_has_moved_on() -> None:
    made = foreseeing(200)
    walked(made, rounds=3)
    made.ahead("kv", settings=Foresight(scenes=1, share=1.0))
    assert set(made.held("kv")) == {"home 0", "home 1"}
    made.adopt("kv", "passing", 100)  # there is no room for it: what is worth least gives way
    assert set(made.held("kv")) == {"home 0", "home 1"}
    made.use("kv", "passing", 100)
    made.at("kv", "tram")
    made.cool("kv", "home 0")
    made.adopt("kv", "passing", 100)
    assert set(made.held("kv")) == {"passing", "home 1"}


def test_lines_tell_each_other_nothing() -> None:
    made = foreseeing()
    walked(made, "alice/")
    assert made.foreseen("kv", "bob/") == []
    walked(made, "bob/", scenes=("sea", "ship", "port"))
    assert {key for key, _, _ in made.foreseen("kv", "bob/")} == {"bob/sea 0", "bob/sea 1"}
    made.drop("kv", "bob/sea 0")  # forgotten
    assert "bob/sea 0" not in {key for key, _, _ in made.foreseen("kv", "bob/")}
    for number in range(300):
        made.at("kv", "somewhere", f"line {number}")
    assert len(made._ledger("kv").lines) == 256
    assert made.foreseen("kv", "alice/") == []


@settings(max_examples=40)
@given(scenes=st.lists(st.integers(0, 400), min_size=1, max_size=3000))
def test_what_is_foreseen_is_a_probability_whatever_was_seen(scenes: list[int]) -> None:
    line = Line()
    for number, scene in enumerate(scenes):
        line.at(scene if number % 3 else scene % 2, float(number))
        line.note(number % 7)
    follows = line.path._follows
    assert all(count > 0 for row in follows.values() for count in row.values())
    assert sum(count for row in follows.values() for count in row.values()) == min(len(scenes), 2000) - 1
    foreseen = line.path.predict(1000)
    assert sum(probability for _, probability in foreseen) <= 1.0 + 0.02 * len(foreseen)
    assert all(uses >= 0 for uses in line.expected(1000).values())


# ---- the measured stand-in for a model ------------------------------------------------------------------------------


def test_the_small_transformer_gives_the_same_with_its_cache_as_without() -> None:
    rng = np.random.default_rng(1)
    model = TinyTransformer(rng)
    context, query = rng.integers(0, 512, 40), rng.integers(0, 512, 9)
    _, cache = model.run(context)
    before = [(keys.copy(), values.copy()) for keys, values in cache]
    injected, grown = model.run(query, cache)
    whole, _ = model.run(np.concatenate([context, query]))
    assert np.allclose(injected, whole[-9:], atol=1e-4)
    assert all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(before, cache, strict=True))
    assert nbytes(grown) * 40 == nbytes(cache) * 49
