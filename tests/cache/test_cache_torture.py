"""The claims of the paper on thousands of sequences (sheet, checks 1 and 2), and long runs of every policy: `pytest -m torture tests/cache`."""

from __future__ import annotations

import random

import pytest
from cache_bounds import bounds_hold, exact_with_true_bits, instances
from cache_support import EVERY, KINDS, misses, sequence

from mnemos.cache import bounds
from mnemos.cache.auto import Auto
from mnemos.cache.base import Meta
from mnemos.cache.lfu import LFU
from mnemos.cache.lru import LRU
from mnemos.cache.s3fifo import S3FIFO
from mnemos.cache.switching import Hedge, Switching, Tracking

pytestmark = [pytest.mark.torture, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("kind", KINDS)
def test_true_bits_make_the_algorithms_exact_on_a_thousand_sequences(kind: str) -> None:
    for requests, k in instances(kind, 300):
        exact_with_true_bits(requests, k)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_bits_cost_no_more_than_is_proven_on_fifteen_hundred_sequences(kind: str) -> None:
    for number, (requests, k) in enumerate(instances(kind, 300, first=1000)):
        bounds_hold(requests, k, random.Random(number))


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_leads_the_bound_of_shadows_holds_in_long_runs(kind: str) -> None:
    for number in range(60):
        rng = random.Random(f"{kind} {number}")
        k = rng.randint(1, 60)
        requests = sequence(kind, rng, 4000, rng.randint(k + 1, 5 * k + 5))
        for shadows in (Switching([LRU(k), LFU(k), S3FIFO(k)]), Tracking([LRU(k), LFU(k), S3FIFO(k)]), Hedge([LRU(k), LFU(k), S3FIFO(k)]), Auto(k)):
            assert misses(shadows, requests) <= bounds.switching(shadows.led_misses, shadows.switches, k)


@pytest.mark.parametrize("name", EVERY)
def test_long_runs_with_everything_that_callers_do(name: str) -> None:
    """100,000 calls: requests of all sizes, pins, hints, removals, new capacities; the books are balanced all along."""
    rng = random.Random(name)
    capacity = 500
    policy = EVERY[name](capacity)
    held: dict[int, int] = {}
    pins: set[int] = set()
    for number in range(100_000):
        key = min(int(rng.paretovariate(0.6)), 3000)
        draw = rng.random()
        if draw < 0.9:
            meta = Meta(size=1 + key % 7, cost=1.0 + key % 3, bit=rng.choice([None, None, 0, 1]), dirty=draw < 0.1)
            victims = policy.request(key, meta)
            assert (victims is None) == (key in held)
            if victims is not None and victims != [key]:
                for victim in victims:
                    del held[victim]  # type: ignore[arg-type]
                held[key] = 1 + key % 7
        elif draw < 0.93:
            policy.on_remove(key)
            held.pop(key, None)
            pins.discard(key)
        elif draw < 0.95 and key in held and len(pins) < 20 and key not in pins:
            policy.pin(key)
            pins.add(key)
        elif draw < 0.97 and pins:
            policy.unpin(pins.pop())
        elif draw < 0.98:
            policy.hint(key, number % 2)
        elif draw < 0.9805:
            for victim in policy.resize(rng.randint(300, 700)):
                del held[victim]  # type: ignore[arg-type]
        if number % 500 == 0:
            assert set(policy) == set(held)
            assert policy.used == sum(held.values()) <= policy.capacity
            assert pins <= set(held)
