"""The learnt bit: what it sees of a page, what it learns from it, when it is trusted, and that it forgets."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from cache_support import QUICK, misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.cache.base import UNIT, Meta, Predictor, Rescorer
from mnemos.cache.belady import Belady
from mnemos.cache.described import WIDTH, described, says_something
from mnemos.cache.history import FEATURES, NEW, History
from mnemos.cache.labels import Errors
from mnemos.cache.learned import LearnedBit, Learning
from mnemos.cache.learners import Logistic, TwoLayers
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.mark_0 import Mark0
from mnemos.cache.predictors import Given
from mnemos.cache.trial import Trial


class Plain:
    """What `History` holds, request by request, in the plainest form."""

    def __init__(self, k: int) -> None:
        self.k, self.now, self.novelty = k, 0, 0.0
        self.pages: dict[int, dict[str, float]] = {}

    def gap(self, requests: float) -> float:
        return (math.log2(1 + requests) - math.log2(1 + self.k)) / 3

    def request(self, key: int) -> None:
        self.now += 1
        page = self.pages.get(key)
        self.novelty = self.novelty * 15 / 16 + (page is None) / 16
        if page is None:
            self.pages[key] = page = {"count": 0, "gap": 1.2, "short": 0, "long": 0, "last": self.now}
        else:
            page["gap"] = self.gap(self.now - page["last"])
        since = self.now - page["last"]
        page["short"] = page["short"] * 2 ** (-since / (0.5 * self.k)) + 1
        page["long"] = page["long"] * 2 ** (-since / (2 * self.k)) + 1
        page.update(last=self.now, count=page["count"] + 1, novelty=self.novelty)

    def features(self, key: int) -> list[float]:
        page = self.pages[key]
        since = self.now - page["last"]
        aged, once = max(self.gap(since), -2), page["count"] == 1
        decayed = [page["short"] * 2 ** (-since / (0.5 * self.k)), page["long"] * 2 ** (-since / (2 * self.k))]
        return [1, once, math.log2(page["count"]) / 3, 0, 1, 0, 0, page["gap"], page["novelty"], aged, page["novelty"] * aged, once * aged,
                (1 - once) * (aged - page["gap"]), *(math.log2(1 + count) / 2 for count in decayed)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), k=st.integers(1, 50))
def test_history_in_batches_is_history_request_by_request(seed: int, k: int) -> None:
    rng = random.Random(seed)
    requests = sequence(rng.choice(["skewed", "bursty", "uniform"]), rng, 300, 40)
    history, plain = History(k, 1000), Plain(k)
    while requests:
        size = rng.choice([1, 2, 7, 30])
        batch, requests = requests[:size], requests[size:]
        slots, _ = history.rows_of(batch)
        history.record(slots)
        for key in batch:
            plain.request(key)
    assert history.features(np.array([NEW]))[0, 9] == pytest.approx(max(plain.gap(0), -2))
    keys = list(plain.pages)
    expected = [plain.features(key) for key in keys]
    np.testing.assert_allclose(history.features(np.array([history.slots[key] for key in keys])), expected, atol=2e-4)


def test_labels_of_a_page_become_features() -> None:
    history = History(10, 100)
    slots, _ = history.rows_of(["a"])
    history.record(slots)

    def seen() -> list[float]:
        return history.features(slots)[0, 3:7].tolist()

    assert seen() == [0, 1, 0, 0]
    history.label(int(slots[0]), 1)
    assert seen() == [0.5, 0, 1, 0]
    history.label(int(slots[0]), 0)
    assert seen() == pytest.approx([0.2, 0, 0, 0])
    for _ in range(10):
        history.label(int(slots[0]), 0)
    assert seen()[3] == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), most=st.integers(64, 90))
def test_history_holds_so_many_pages_and_those_asked_for_lately(seed: int, most: int) -> None:
    rng = random.Random(seed)
    history = History(8, most)
    for round_ in range(40):
        batch = [rng.randrange(10) if rng.random() < 0.8 else 100 + 10 * round_ + rng.randrange(10) for _ in range(16)]
        slots, made = history.rows_of(batch)
        history.record(slots)
        assert len(history.slots) <= most
        assert all(history.slots[key] == slot for key, slot in zip(batch, slots.tolist(), strict=True))
        assert len(set(history.slots.values())) == len(history.slots)
        assert NEW not in history.slots.values()
        assert set(made) <= set(slots.tolist())
    assert all(key in history.slots for key in range(10)), "pages asked for in every round made way for others"


@pytest.mark.parametrize("model", [Logistic(3), TwoLayers(3, np.random.default_rng(0), hidden=8)])
def test_models_learn_what_can_be_learnt(model: Logistic | TwoLayers) -> None:
    rng = np.random.default_rng(1)
    rows = np.hstack((np.ones((6000, 1)), rng.normal(size=(6000, 2)))).astype(np.float32)
    labels = (rows[:, 1] - 2 * rows[:, 2] > 0.5).astype(np.float32)
    for start in range(0, 5000, 50):
        model.learn(rows[start : start + 50], labels[start : start + 50])
    assert np.mean((model.predict(rows[5000:]) > 0.5) == labels[5000:]) > 0.95


def test_two_layers_learn_what_one_cannot() -> None:
    rng = np.random.default_rng(1)
    rows = np.hstack((np.ones((20_000, 1)), rng.choice([-1.0, 1.0], size=(20_000, 2)))).astype(np.float32)
    labels = (rows[:, 1] * rows[:, 2] > 0).astype(np.float32)
    one, two = Logistic(3), TwoLayers(3, rng, hidden=8)
    for model in (one, two):
        model.learn(rows, labels)
    assert np.mean((two.predict(rows) > 0.5) == labels) > 0.99
    assert np.mean((one.predict(rows) > 0.5) == labels) < 0.8


def test_two_layers_follow_the_gradient() -> None:
    rng = np.random.default_rng(3)
    model = TwoLayers(4, rng, hidden=5, rate=1e-3)
    rows, labels = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 2, 8).astype(np.float32)

    def loss() -> float:
        p = np.clip(model.predict(rows).astype(np.float64), 1e-9, 1 - 1e-9)
        return float(-np.sum(labels * np.log(p) + (1 - labels) * np.log(1 - p)))

    before_inner, before_outer = model.inner.copy(), model.outer.copy()
    model.learn(rows, labels)
    step_inner, step_outer = (before_inner - model.inner) / 1e-3, (before_outer - model.outer) / 1e-3
    model.inner, model.outer = before_inner.copy(), before_outer.copy()
    for array, step in ((model.inner, step_inner), (model.outer, step_outer)):
        for place in np.ndindex(array.shape):
            array[place] += 1e-2
            up = loss()
            array[place] -= 2e-2
            down = loss()
            array[place] += 1e-2
            assert step[place] == pytest.approx((up - down) / 2e-2, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60), k=st.integers(1, 30))
def test_the_threshold_makes_the_dearest_errors_fewest(pairs: list[tuple[int, bool]], k: int) -> None:
    from mnemos.cache.bounds import harmonic

    trial = Trial(100)
    trial.add(np.array([p / 8 for p, _ in pairs], dtype=np.float32), np.array([y for _, y in pairs], dtype=np.float32))

    def cost(errors: Errors) -> float:
        return 2 * harmonic(k) * errors.eta0 + errors.eta1

    chosen = cost(trial.errors(trial.threshold(k)))
    assert chosen == pytest.approx(min(cost(trial.errors(cut / 16)) for cut in range(-1, 18, 2)))


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_ranking_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    trial = Trial(50)
    trial.add(np.array([p for p, _ in pairs], dtype=np.float32), np.array([y for _, y in pairs], dtype=np.float32))
    ones, zeros = [p for p, y in pairs if y], [p for p, y in pairs if not y]
    wanted = 1.0 if ones else 0.5
    if ones and zeros:
        wanted = sum((a > b) + 0.5 * (a == b) for a in ones for b in zeros) / (len(ones) * len(zeros))
    assert trial.ranking() == pytest.approx(wanted)


def test_a_trial_looks_at_the_latest_only() -> None:
    trial = Trial(10)
    trial.add(np.ones(25, dtype=np.float32), np.zeros(25, dtype=np.float32))
    assert trial.errors(0.5) == Errors(eta0=0, eta1=10)
    trial.add(np.zeros(10, dtype=np.float32), np.zeros(10, dtype=np.float32))
    assert trial.errors(0.5) == Errors(0, 0)
    assert Trial(10).threshold(5) == 0.5


def test_it_is_a_predictor_that_can_be_asked_again() -> None:
    assert isinstance(LearnedBit(5), Rescorer)
    assert isinstance(Given(), Predictor)
    assert not isinstance(Given(), Rescorer)


def _mix(n: int, seed: int = 0) -> list[int]:
    """Popular pages between scans of pages that never come back."""
    rng = random.Random(seed)
    requests: list[int] = []
    scanned = 10_000
    while len(requests) < n:
        requests += [min(int(rng.paretovariate(0.8)), 3000) for _ in range(100)]
        requests += range(scanned, scanned + 60)
        scanned += 60
    return requests[:n]


def test_what_is_learnt_saves_misses() -> None:
    k, requests = 50, _mix(12_000)
    learnt = misses(LRU1Bit(k, LearnedBit(k)), requests)
    assert learnt < 0.85 * misses(LRU(k), requests)
    assert learnt >= misses(Belady(k, requests), requests)


def test_bits_at_requests_are_learnt_too() -> None:
    k, requests = 50, _mix(6000)
    learnt = misses(Mark0(k, LearnedBit(k, QUICK), random.Random(0)), requests)
    assert learnt < 0.97 * misses(Mark0(k, Given(), random.Random(0)), requests)


def test_a_model_of_two_layers_takes_the_place_of_the_logistic_one() -> None:
    k, requests = 50, _mix(8000)
    rng = np.random.default_rng(0)
    predictor = LearnedBit(k, learner=lambda width: TwoLayers(width, rng))
    assert misses(LRU1Bit(k, predictor), requests) < 0.9 * misses(LRU(k), requests)


def test_nothing_is_trusted_where_nothing_can_be_told() -> None:
    """Independent draws of equally likely pages, one in two of which a cache can hold: nobody can rank them."""
    rng = random.Random(0)
    predictor = LearnedBit(60, Learning(warm=4.0))
    policy = LRU1Bit(60, predictor)
    trusted = []
    for _ in range(6000):
        policy.request(rng.randrange(120))
        trusted.append(predictor.trusted)
    assert not trusted[200]
    assert 0.9 < misses(policy, [rng.randrange(120) for _ in range(3000)]) / 1500 < 1.1


def test_what_callers_say_is_learnt_from() -> None:
    """New pages look alike, but what a user wrote is asked for once more, and what a scan wrote never."""
    rng = random.Random(1)
    k, requests, due = 30, [], {}
    for number in range(8000):
        if number in due:
            requests.append((due[number], Meta(writer="user")))
        elif rng.random() < 0.3:
            requests.append((number, Meta(writer="user")))
            due[number + 40 + rng.randrange(20)] = number
        else:
            requests.append((number, Meta(writer="scan")))
    told, untold = LRU1Bit(k, LearnedBit(k)), LRU1Bit(k, LearnedBit(k))
    told_hits = sum(told.request(key, meta) is None for key, meta in requests)
    assert told_hits > 1.5 * sum(untold.request(key) is None for key, _ in requests)


def test_a_callers_bit_goes_before_its_own() -> None:
    predictor = LearnedBit(4)
    predictor.observe("a", Meta(bit=1))
    assert predictor.bit("a", Meta(bit=1)) == 1
    assert predictor.bit("a", Meta(bit=0)) == 0
    policy = LRU1Bit(2, LearnedBit(2))
    policy.request("a", Meta(bit=0))
    policy.request("b", Meta(bit=1))
    assert policy.request("c") == ["b"]


def test_it_starts_anew_when_the_cache_holds_far_more_or_fewer_pages() -> None:
    k, requests = 50, _mix(5000)
    policy = LRU1Bit(k, LearnedBit(k))
    misses(policy, requests)
    predictor = policy.predictor
    assert isinstance(predictor, LearnedBit)
    assert predictor.trusted
    policy.resize(55)
    misses(policy, requests[:500])
    assert predictor.k == 50
    policy.resize(200)
    misses(policy, requests)
    assert predictor.k == 200


def test_forgetting_leaves_no_trace() -> None:
    rng = random.Random(0)
    predictor = LearnedBit(8, QUICK)
    for number in range(3000):
        predictor.observe("secret" if number % 7 == 0 else rng.randrange(30), Meta(kind="letter") if number % 3 else UNIT)
    predictor.forget("secret")
    assert "secret" not in json.dumps(predictor.state_dict())
    predictor.observe("secret")
    predictor.forget("secret")
    predictor.settle()
    assert "secret" not in json.dumps(predictor.state_dict())
    predictor.forget("never seen")


def test_state_of_one_model_is_not_taken_by_another() -> None:
    predictor = LearnedBit(8, QUICK)
    for key in sequence("skewed", random.Random(0), 500, 40):
        predictor.observe(key)
    rng = np.random.default_rng(0)
    with pytest.raises(Invalid, match="another kind"):
        LearnedBit(8, QUICK, learner=lambda width: TwoLayers(width, rng)).load(predictor.state_dict())
    for state in ({}, {"k": "x"}, {**predictor.state_dict(), "trial": 3}):
        with pytest.raises(Invalid, match="state"):
            LearnedBit(8, QUICK).load(state)


def test_what_is_said_becomes_numbers_of_the_order_of_1() -> None:
    assert not says_something(UNIT)
    assert not says_something(Meta(bit=1, dirty=True))
    full = Meta(size=10**9, cost=1e6, kind="note", tier="kv", tenant="a", writer="user", rank=3, score=12.5, open=False, at=1.7e9)
    assert says_something(full)
    numbers = described(full)
    assert len(numbers) == WIDTH
    assert all(abs(number) <= 4 for number in numbers)
    assert described(Meta(kind="note")) != described(Meta(kind="letter"))
    assert described(Meta(open=True)) != described(Meta(open=False))
    assert len(described(Meta(kind="\ud800"))) == WIDTH
    assert History(3, 70).features(np.array([NEW])).shape[1] == FEATURES


@pytest.mark.parametrize("wrong", [{"window": 0}, {"sample": 0}, {"history": 0}, {"warm": -1}, {"better": 0.5}, {"rate": 0}, {"batch": 0},
                                   {"window": float("nan")}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        LearnedBit(8, Learning(**wrong))  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        Logistic(0)
    with pytest.raises(Invalid):
        TwoLayers(3, np.random.default_rng(0), hidden=0)
