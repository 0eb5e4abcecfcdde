"""The classical policies do what their papers say: victim for victim as in the plainest form, and Belady's rule as the best of all ways."""

from __future__ import annotations

import random
from collections.abc import Callable

import cache_plain as plain
import pytest
from cache_support import KINDS, misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.cache.arc import ARC
from mnemos.cache.base import Meta
from mnemos.cache.belady import Belady
from mnemos.cache.bounds import harmonic
from mnemos.cache.greedy_dual import GreedyDual1Bit, GreedyDualSize
from mnemos.cache.lfu import LFU
from mnemos.cache.lrfu import LRFU
from mnemos.cache.lru import LRU
from mnemos.cache.marker import Marker
from mnemos.cache.policy import Policy
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.sieve import SIEVE

PAIRS: dict[str, tuple[Callable[[int], Policy], Callable[[list[int], int], plain.Victims]]] = {
    "lru": (LRU, plain.lru),
    "lfu": (LFU, plain.lfu),
    "arc": (ARC, plain.arc),
    "s3-fifo": (S3FIFO, plain.s3fifo),
    "sieve": (SIEVE, plain.sieve),
    "greedy-dual-size": (GreedyDualSize, plain.lru),
    "greedy-dual-1bit": (GreedyDual1Bit, plain.lru),
}

instances = given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 25), pages=st.integers(2, 60))


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=60, deadline=None)
@instances
def test_victim_for_victim_as_in_the_plainest_form(name: str, seed: int, kind: str, k: int, pages: int) -> None:
    make, simple = PAIRS[name]
    requests = sequence(kind, random.Random(seed), 300, pages)
    policy = make(k)
    got = [policy.request(key) for key in requests]
    assert [victims[0] if victims else None for victims in got] == simple(requests, k)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(8, 25), half_life=st.sampled_from([0.1, 2.0, 16.0]))
def test_lrfu_evicts_what_has_the_least_faded_count(seed: int, kind: str, k: int, half_life: float) -> None:
    requests = sequence(kind, random.Random(seed), 300, 3 * k // 2 - 1)  # so few pages that the policy, too, forgets none
    policy = LRFU(k, half_life)
    got = [policy.request(key) for key in requests]
    assert [victims[0] if victims else None for victims in got] == plain.lrfu(requests, k, half_life)


def test_lrfu_is_lru_where_requests_fade_at_once_and_goes_on_after_its_numbers_were_scaled() -> None:
    requests = sequence("skewed", random.Random(2), 4000, 80)
    policy = LRFU(20, 1 / 20)  # the last request counts more than all before
    assert misses(policy, requests) == misses(LRU(20), requests)
    assert 1 <= policy._weight <= 1e100 < 2 ** len(requests)


def test_lrfu_remembers_no_more_of_what_was_dropped_than_of_what_was_evicted() -> None:
    policy = LRFU(10, 16.0)
    for key in range(1000):
        policy.request(key)
        policy.drop(key)
    assert len(policy.state_dict()["own"]["_left_counts"][1]) == 80


def test_lrfu_remembers_what_left() -> None:
    policy = LRFU(3, 16.0)
    for key in "aaaaaabcdef":
        policy.request(key)
    assert "a" in policy
    policy.drop("a")
    for key in "ghi":
        policy.request(key)
    policy.request("a")
    for key in "jklm":
        policy.request(key)
    assert "a" in policy
    with pytest.raises(Invalid, match="half_life"):
        LRFU(3, 0.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 4), pages=st.integers(2, 6))
def test_belady_misses_as_few_times_as_any_way_to_evict(seed: int, kind: str, k: int, pages: int) -> None:
    requests = sequence(kind, random.Random(seed), 25, pages)
    assert misses(Belady(k, requests), requests) == plain.fewest_misses(requests, k)


@settings(max_examples=30, deadline=None)
@instances
def test_no_policy_beats_belady_and_lru_keeps_its_bound(seed: int, kind: str, k: int, pages: int) -> None:
    requests = sequence(kind, random.Random(seed), 200, pages)
    fewest = misses(Belady(k, requests), requests)
    for make, _ in PAIRS.values():
        assert misses(make(k), requests) >= fewest
    assert misses(LRU(k), requests) <= k * fewest + k


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 8), pages=st.integers(2, 12))
def test_marker_keeps_its_bound_in_the_mean(seed: int, kind: str, k: int, pages: int) -> None:
    requests = sequence(kind, random.Random(seed), 150, pages)
    fewest = misses(Belady(k, requests), requests)
    runs = [misses(Marker(k, random.Random(draw)), requests) for draw in range(40)]
    assert sum(runs) / len(runs) <= 2 * harmonic(k) * fewest


def test_marker_draws_uniformly_of_the_unmarked() -> None:
    gone = [0] * 4
    for draw in range(4000):
        policy = Marker(4, random.Random(draw))
        for key in range(4):
            policy.request(key)
        victims = policy.request(4)
        assert victims is not None
        gone[victims[0]] += 1  # type: ignore[index]
    assert all(abs(count - 1000) < 150 for count in gone)  # five standard deviations


def test_belady_refuses_another_future() -> None:
    policy = Belady(2, [1, 2, 3])
    policy.request(1)
    with pytest.raises(Invalid, match="request 1 is for 3"):
        policy.request(3)
    policy.request(2)
    policy.request(3)
    with pytest.raises(Invalid, match="request 3"):
        policy.request(1)


def test_greedy_dual_keeps_what_is_dear_for_its_size() -> None:
    policy = GreedyDualSize(10)
    policy.request("dear", Meta(size=5, cost=100.0))
    policy.request("cheap", Meta(size=5, cost=1.0))
    policy.request("dear", Meta(size=5, cost=100.0))
    assert policy.request("new", Meta(size=4, cost=2.0)) == ["cheap"]
    assert policy.request("small", Meta(size=1, cost=1.0)) == []


def test_greedy_dual_lets_what_was_dear_and_is_not_asked_for_go_in_the_end() -> None:
    policy = GreedyDualSize(4)
    policy.request("dear", Meta(size=1, cost=20.0))
    for number in range(200):
        policy.request(number % 5, Meta(size=1, cost=1.0))
    assert "dear" not in policy


def test_a_cost_that_falls_counts_from_then_on() -> None:
    policy = GreedyDualSize(2)
    policy.request("a", Meta(cost=100.0))
    policy.request("b", Meta(cost=50.0))
    policy.request("a", Meta(cost=2.0))
    assert policy.request("c") == ["a"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), capacity=st.integers(5, 40))
def test_greedy_dual_evicts_the_least_credit(seed: int, capacity: int) -> None:
    rng = random.Random(seed)
    worth = {key: (rng.randint(1, 5), rng.choice([1.0, 3.0, 10.0])) for key in range(20)}
    policy = GreedyDualSize(capacity)
    credit: dict[int, float] = {}
    floor = 0.0
    for _ in range(200):
        key = rng.randrange(20)
        size, cost = worth[key]
        for victim in policy.request(key, Meta(size=size, cost=cost)) or []:
            assert credit[victim] == min(credit.values())  # type: ignore[index]
            floor = credit.pop(victim)  # type: ignore[call-overload]
        credit[key] = floor + cost / size


def test_with_bits_the_one_that_is_cheapest_to_lose_for_its_size_and_age_goes() -> None:
    policy = GreedyDual1Bit(12)
    policy.request("old", Meta(size=2, cost=4.0, bit=1))
    policy.request("large", Meta(size=8, cost=4.0, bit=1))
    policy.request("dear", Meta(size=2, cost=100.0, bit=0))
    assert policy.request("new", Meta(size=4)) == ["large"]
    assert policy.request("more", Meta(size=5)) == ["old"]
    assert "dear" in policy


def test_sizes_are_weighed_by_arc_and_s3fifo_as_by_others() -> None:
    for make in (ARC, S3FIFO):
        rng = random.Random(1)
        policy = make(1000)
        for _ in range(3000):
            key = int(rng.paretovariate(0.8)) % 400
            policy.request(key, Meta(size=1 + key % 90))
        assert policy.used <= 1000
        assert policy.used / 1000 > 0.7
