"""What stands between a cache and bad bits: following the best of several policies, and Guard."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from cache_support import KINDS, flipped, misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.cache import bounds
from mnemos.cache.auto import Auto
from mnemos.cache.base import Meta
from mnemos.cache.guard import Guard
from mnemos.cache.labels import discard_bits
from mnemos.cache.lfu import LFU
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.mark_0 import Mark0
from mnemos.cache.policy import Policy
from mnemos.cache.predictors import Recorded
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.shadows import Shadows
from mnemos.cache.switching import Hedge, Switching, Tracking

RULES: dict[str, Callable[[list[Policy]], Shadows]] = {
    "switching": Switching,
    "tracking": lambda experts: Tracking(experts, half_life=1.0, margin=0.02),
    "hedge": lambda experts: Hedge(experts, rate=0.3),
}


class AtRandom(Tracking):
    """Changes the lead whenever it may: the worst rule there is."""

    name = "at-random"

    def _choose(self) -> int:
        return random.Random(self._requests).randrange(len(self._experts))


def three(k: int) -> list[Policy]:
    return [LRU(k), LFU(k), S3FIFO(k)]


@pytest.mark.parametrize("rule", [*RULES, "at random"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 12))
def test_whoever_leads_the_cache_misses_no_more_than_the_leaders_and_k_for_each_change(rule: str, seed: int, kind: str, k: int) -> None:
    requests = sequence(kind, random.Random(seed), 300, 30)
    shadows = RULES[rule](three(k)) if rule in RULES else AtRandom(three(k))
    assert misses(shadows, requests) <= bounds.switching(shadows.led_misses, shadows.switches, k)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 12))
def test_experts_see_every_request_and_nobody_disturbs_them(seed: int, kind: str, k: int) -> None:
    requests = sequence(kind, random.Random(seed), 300, 30)
    shadows = Switching(three(k))
    misses(shadows, requests)
    assert shadows.losses == [misses(expert, requests) for expert in three(k)]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 12), eps=st.sampled_from([0.0, 0.05, 0.5]))
def test_two_experts_keep_their_bound(seed: int, kind: str, k: int, eps: float) -> None:
    requests = sequence(kind, random.Random(seed), 400, 30)
    shadows = Switching([LFU(k), LRU(k)], eps=eps)
    measured = misses(shadows, requests)
    assert measured <= bounds.two_experts(int(min(shadows.losses)), shadows.switches, k, eps)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(2, 10))
def test_hedge_leaders_keep_their_bound_in_the_mean(seed: int, kind: str, k: int) -> None:
    requests = sequence(kind, random.Random(seed), 300, 30)
    rate, led = 0.1, []
    for draw in range(25):
        shadows = Hedge(three(k), rate=rate, rng=random.Random(draw))
        misses(shadows, requests)
        led.append(shadows.led_misses)
        best = min(shadows.losses)
    assert sum(led) / len(led) <= (rate * best + math.log(3)) / (1 - math.exp(-rate))


def test_hedge_draws_by_weight() -> None:
    """With two experts of which one never misses, the other leads ever more rarely."""
    leaders = []
    for draw in range(200):
        shadows = Hedge([LRU(2), LFU(2)], rate=0.05, rng=random.Random(draw))
        shadows.losses = [0.0, 30.0]
        shadows.request(0)
        leaders.append(shadows.leader)
    share = sum(leaders) / len(leaders)
    assert 0 < share < 0.1  # exp(-0.05 * 31) in 1 + that, where the lead was drawn anew, which is once in 20 times


def test_the_cache_becomes_what_the_leader_holds() -> None:
    rng = random.Random(1)
    shadows = Tracking([LRU(20), LFU(20)], margin=1e9)
    for key in sequence("skewed", rng, 2000, 200):
        shadows.request(key)
    assert set(shadows) == set(shadows.leading)
    shadows.leader = 1
    for key in sequence("skewed", rng, 2000, 200):
        shadows.request(key)
    assert set(shadows) == set(shadows.experts[1])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**9), capacity=st.integers(20, 200))
def test_sizes_and_costs_are_followed_too(seed: int, capacity: int) -> None:
    rng = random.Random(seed)
    worth = {key: Meta(size=rng.randint(1, 20), cost=float(rng.randint(1, 9))) for key in range(60)}
    for rule in (Switching, Tracking, Hedge):
        shadows = rule([LRU(capacity), S3FIFO(capacity)])
        for key in sequence("skewed", rng, 500, 60):
            shadows.request(key % 60, worth[key % 60])
            assert shadows.used == sum(worth[page].size for page in shadows) <= capacity  # type: ignore[index]


def test_experts_have_to_be_new_and_of_one_capacity() -> None:
    used = LRU(3)
    used.request("a")
    for experts in ([LRU(3)], [LRU(3), LRU(4)], [used, LRU(3)]):
        with pytest.raises(Invalid):
            Switching(experts)
    for wrong in (lambda: Switching(three(3), eps=-1), lambda: Tracking(three(3), margin=0), lambda: Hedge(three(3), rate=-1.0),
                  lambda: Switching(three(3), leader=3)):
        with pytest.raises(Invalid):
            wrong()


def _heavy(n: int) -> list[int]:
    """Requests of which the 40 most popular pages get five in six."""
    rng = random.Random(7)
    return [min(int(rng.paretovariate(0.5)), 3000) for _ in range(n)]


def _adversarial(requests: list[int], k: int) -> list[int]:
    return flipped(discard_bits(requests, k).tolist(), 1.0, random.Random(0))


def test_bits_that_are_all_wrong_are_followed_for_a_while_only() -> None:
    """Sheet, check 5: at most 1.07 times LRU, where the algorithm alone does far worse."""
    k, requests = 40, _heavy(12_000)
    bits = _adversarial(requests, k)
    plain = misses(LRU(k), requests)
    auto = Auto(k)
    given = sum(auto.request(key, Meta(bit=bit)) is not None for key, bit in zip(requests, bits, strict=True))
    assert given <= 1.07 * plain
    assert misses(Switching([LRU1Bit(k, Recorded(bits)), LRU(k)]), requests) <= 1.07 * plain
    assert misses(Mark0(k, Recorded(bits)), requests) > 1.3 * plain


def test_guard_bounds_what_wrong_bits_cost() -> None:
    k, requests = 40, _heavy(6000)
    bits = _adversarial(requests, k)
    assert misses(Guard(k, Recorded(bits)), requests) < 0.9 * misses(LRU1Bit(k, Recorded(bits)), requests)


def test_after_a_change_of_regime_auto_is_back_with_the_best_within_4k_requests() -> None:
    """Sheet, check 5, drift: a skewed regime that the learner and LFU like, then a working set that moves on, where recency is all."""
    k, rng = 200, random.Random(11)
    before = [min(int(rng.paretovariate(0.7)), 5000) for _ in range(20_000)]
    after = [10_000 + i // 4 + rng.randrange(250) for i in range(12_000)]
    auto, plain = Auto(k), LRU(k)
    for key in before:
        auto.request(key)
        plain.request(key)
    for key in after[: 4 * k]:
        auto.request(key)
        plain.request(key)
    assert misses(auto, after[4 * k :]) <= 1.05 * misses(plain, after[4 * k :])


def test_auto_tells_who_leads() -> None:
    auto = Auto(5)
    assert auto.leading.name == "s3-fifo"
    assert [expert.name for expert in auto.experts] == ["s3-fifo", "lrfu", "lrfu", "lru-1bit"]
    assert [expert.name for expert in Auto(5, sized=True).experts] == ["s3-fifo", "lrfu", "lrfu", "greedy-dual-1bit"]
