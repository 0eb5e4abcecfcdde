"""What every policy promises, tried on every policy."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable
from typing import NamedTuple

import pytest
from cache_support import DECIDE_LATE, EVERY, KINDS, misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid, NotFound
from mnemos.cache.base import EvictionPolicy, Meta
from mnemos.cache.registry import POLICIES
from mnemos.cache.registry import policy as named

every = pytest.mark.parametrize("name", EVERY)

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("request"), st.integers(0, 12), st.integers(1, 3), st.booleans(), st.sampled_from([None, 0, 1])),
        st.tuples(st.sampled_from(["remove", "drop", "pin", "unpin", "hint", "clean", "evict"]), st.integers(0, 12)),
        st.tuples(st.just("resize"), st.integers(1, 12)),
    ),
    max_size=60,
)


@every
def test_is_an_eviction_policy(name: str) -> None:
    policy = EVERY[name](4)
    assert isinstance(policy, EvictionPolicy)
    assert policy.capacity == 4
    assert len(policy) == 0
    assert list(policy) == []


@every
@settings(max_examples=40, deadline=None)
@given(operations=OPERATIONS, capacity=st.integers(1, 8))
def test_any_order_of_calls_keeps_the_books(name: str, operations: list[tuple], capacity: int) -> None:  # type: ignore[type-arg]
    policy = EVERY[name](capacity)
    held: dict[int, int] = {}
    pins: dict[int, int] = {}

    def went(victims: list[int]) -> None:
        for victim in victims:
            assert victim not in pins, "a pinned page was dropped"
            del held[victim]

    for operation, *arguments in operations:
        key = arguments[0]
        if operation == "request":
            _, size, dirty, bit = arguments
            size = held.get(key, size)
            victims = policy.request(key, Meta(size=size, dirty=dirty, bit=bit, cost=float(key + 1)))
            assert (victims is None) == (key in held)
            if victims == [key]:
                assert size > capacity - sum(held[page] for page in pins)
            elif victims is not None:
                went(victims)
                held[key] = size
        elif operation in ("remove", "drop"):
            (policy.on_remove if operation == "remove" else policy.drop)(key)
            held.pop(key, None)
            pins.pop(key, None)
        elif operation == "pin":
            if key in held:
                policy.pin(key)
                pins[key] = pins.get(key, 0) + 1
            else:
                with pytest.raises(NotFound):
                    policy.pin(key)
        elif operation == "unpin":
            if key in pins:
                policy.unpin(key)
                pins[key] -= 1
                if not pins[key]:
                    del pins[key]
            else:
                with pytest.raises(NotFound):
                    policy.unpin(key)
        elif operation == "hint":
            policy.hint(key, key % 2)
        elif operation == "clean":
            policy.clean(key)
        elif operation == "evict":
            if len(held) > len(pins):
                went([policy.evict()])
            else:
                with pytest.raises(NotFound):
                    policy.evict()
        elif key < sum(held[page] for page in pins):
            with pytest.raises(Invalid):
                policy.resize(key)
        else:
            went(policy.resize(key))
            capacity = key
        assert set(policy) == set(held)
        assert len(policy) == len(held)
        assert policy.used == sum(held.values()) <= policy.capacity == capacity
        assert policy.held == sum(held[page] for page in pins)


@every
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), capacity=st.integers(1, 9), n=st.integers(0, 9))
def test_looking_ahead_changes_nothing_and_says_what_goes(name: str, seed: int, kind: str, capacity: int, n: int) -> None:
    requests = sequence(kind, random.Random(seed), 80, 14)
    policy, unwatched = EVERY[name](capacity), EVERY[name](capacity)
    for key in requests:
        peeked = policy.peek_victims(min(n, capacity))
        assert set(peeked) <= set(policy)
        assert len(set(peeked)) == len(peeked)
        assert policy.request(key) == unwatched.request(key)
    n = min(max(n, 1), capacity)
    expected = policy.peek_victims(n)
    assert len(expected) >= n - (capacity - policy.used)
    if name not in DECIDE_LATE:
        assert policy.on_miss("new", Meta(size=n)) == expected


@every
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), capacity=st.integers(1, 12), cut=st.integers(0, 150))
def test_state_goes_through_json_and_the_future_is_the_same(name: str, seed: int, kind: str, capacity: int, cut: int) -> None:
    rng = random.Random(seed)
    requests = [(key, Meta(size=1 + key % 2, cost=1.0 + key % 3, bit=rng.choice([None, 0, 1]))) for key in sequence(kind, rng, 200, 20)]
    policy = EVERY[name](capacity)
    for key, meta in requests[:cut]:
        policy.request(key, meta)
    if len(policy):
        policy.pin(next(iter(policy)))
    restored = EVERY[name](capacity)
    restored.load(json.loads(json.dumps(policy.state_dict())))
    assert set(restored) == set(policy)
    for key, meta in requests[cut:]:
        assert restored.request(key, meta) == policy.request(key, meta)
    assert restored.state_dict() == policy.state_dict()


@every
def test_state_of_text_tuples_bytes_and_none_as_keys(name: str) -> None:
    keys = ["a", ("a", 1), b"a", None, 1.5, ("a", ("b", b"c")), "", 7]
    policy = EVERY[name](3)
    for key in keys * 3:
        policy.request(key)
    restored = EVERY[name](3)
    restored.load(json.loads(json.dumps(policy.state_dict())))
    assert set(restored) == set(policy)


@every
def test_state_that_is_none_is_refused_and_changes_nothing(name: str) -> None:
    policy, other, further = EVERY[name](3), EVERY["lru" if name != "lru" else "lfu"](3), EVERY[name](3)
    for key in "abacada":
        policy.request(key)
        further.request(ord(key))
    before, good = policy.state_dict(), further.state_dict()
    bad = [None, {}, [], {"policy": name}, other.state_dict(), {**good, "own": {}}, {**good, "own": {**good["own"], "pages": 3}},
           {**good, "own": {**good["own"], "pages": ["dict", [[1]]]}}, {**good, "own": {**good["own"], "pages": ["eval", "1"]}}]
    bad += [{**good, "parts": {**good["parts"], part: {}}} for part in good["parts"]]
    bad += [{**good, "predictor": {**good["predictor"], "trial": 3}}] if "predictor" in good else []
    for state in bad:
        with pytest.raises(Invalid, match="cache state"):
            policy.load(state)  # type: ignore[arg-type]
        assert policy.state_dict() == before
    policy.load(good)
    assert policy.state_dict() == good


class Named(NamedTuple):
    number: int


@every
@pytest.mark.parametrize("key", [frozenset((1, 2)), Named(1)])
def test_keys_that_json_cannot_hold_are_refused_when_state_is_taken(name: str, key: Hashable) -> None:
    policy = EVERY[name](3)
    policy.request(key)
    with pytest.raises(Invalid, match=type(key).__name__):
        policy.state_dict()


@every
def test_what_is_too_large_is_not_kept_and_evicts_nothing(name: str) -> None:
    policy = EVERY[name](4)
    policy.request("a")
    policy.pin("a")
    assert policy.on_miss("b", Meta(size=4)) == ["b"]
    assert policy.on_miss("c", Meta(size=5)) == ["c"]
    assert list(policy) == ["a"]
    assert policy.on_miss("d", Meta(size=3)) == []


@every
def test_wrong_calls_say_what_is_wrong(name: str) -> None:
    policy = EVERY[name](2)
    with pytest.raises(NotFound, match="on_miss"):
        policy.on_hit("a")
    policy.on_miss("a")
    policy.on_hit("a")
    with pytest.raises(Invalid, match="on_hit"):
        policy.on_miss("a")
    with pytest.raises(Invalid, match="size"):
        policy.on_miss("b", Meta(size=0))
    with pytest.raises(Invalid, match="capacity"):
        policy.peek_victims(3)
    for capacity in (0, -1, True, 1.5):
        with pytest.raises(Invalid, match="capacity"):
            EVERY[name](capacity)  # type: ignore[arg-type]
        with pytest.raises(Invalid, match="capacity"):
            policy.resize(capacity)  # type: ignore[arg-type]


@every
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**9), capacity=st.integers(1, 6), n=st.integers(1, 60))
def test_of_a_page_that_is_removed_nothing_is_left(name: str, seed: int, capacity: int, n: int) -> None:
    rng = random.Random(seed)
    policy = EVERY[name](capacity)
    for _ in range(n):
        key = rng.choice(["secret", "a", "b", "c", "d", "e", "f"])
        policy.request(key, Meta(bit=rng.choice([None, 0, 1]), cost=rng.choice([1.0, 5.0]), kind=rng.choice(["", "note"])))
    policy.on_remove("secret")
    policy.on_remove("never was there")
    assert "secret" not in policy
    assert "secret" not in json.dumps(policy.state_dict())


@every
def test_the_same_requests_give_the_same_victims(name: str) -> None:
    requests = sequence("skewed", random.Random(3), 400, 60)
    first, second = EVERY[name](10), EVERY[name](10)
    assert [first.request(key) for key in requests] == [second.request(key) for key in requests]


@every
@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_serves_what_fits_from_the_first_repeat_on(name: str, kind: str) -> None:
    requests = sequence(kind, random.Random(5), 300, 8)
    assert misses(EVERY[name](64), requests) == len(set(requests))


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_made_by_its_name(name: str) -> None:
    assert named(name, 5).name == name


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(NotFound, match="s3-fifo"):
        named("second-chance", 5)
