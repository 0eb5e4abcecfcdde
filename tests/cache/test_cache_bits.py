"""What "Paging with Succinct Predictions" proves: exact with true bits, and bounded by the errors of wrong ones. Torture tries it on thousands."""

from __future__ import annotations

import random

import numpy as np
import pytest
from cache_bounds import bounds_hold, exact_with_true_bits, instances
from cache_support import KINDS, flipped, misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.cache.base import Meta
from mnemos.cache.belady import Belady
from mnemos.cache.flush_when_all_0s import FlushWhenAll0s
from mnemos.cache.labels import DONT_CARE, Errors, discard_bits, discard_errors, phase_bits, phase_errors, phases
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.mark_0 import Mark0
from mnemos.cache.mark_and_predict import MarkAndPredict
from mnemos.cache.optgen import OptGen
from mnemos.cache.predictors import Given, Recorded


@pytest.mark.parametrize("kind", KINDS)
def test_true_bits_make_the_algorithms_exact(kind: str) -> None:
    for requests, k in instances(kind, 40):
        exact_with_true_bits(requests, k)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_bits_cost_no_more_than_is_proven(kind: str) -> None:
    for requests, k in instances(kind, 8):
        bounds_hold(requests, k, random.Random(k))


def test_discard_bits_are_beladys_decisions() -> None:
    requests = [1, 2, 3, 1, 2, 4, 1]
    # k = 2: at 3 the page 2 goes (asked for at 4, page 1 at 3); at 2 the page 3 goes (never again); at 4 the page 2 goes.
    assert discard_bits(requests, 2).tolist() == [0, 1, 1, 0, 1, DONT_CARE, DONT_CARE]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 8))
def test_discard_bits_are_1_for_each_page_that_belady_drops(seed: int, kind: str, k: int) -> None:
    requests = sequence(kind, random.Random(seed), 120, 14)
    policy = Belady(k, requests)
    expected = np.zeros(len(requests), dtype=np.int8)
    last: dict[int, int] = {}
    for number, key in enumerate(requests):
        for victim in policy.request(key) or []:
            expected[last[victim]] = 1  # type: ignore[index]
        last[key] = number
    expected[[last[key] for key in policy]] = DONT_CARE  # type: ignore[index]
    assert discard_bits(requests, k).tolist() == expected.tolist()


def test_phases_are_cut_greedily() -> None:
    requests = [1, 2, 1, 3, 3, 1, 2, 4]
    assert list(phases(requests, 2)) == [range(3), range(3, 6), range(6, 8)]
    assert phase_bits(requests, 2).tolist() == [0, 1, 0, 1, 1, 1, DONT_CARE, DONT_CARE]
    assert list(phases([], 2)) == []


def test_errors_are_counted_by_kind_and_not_where_either_bit_is_right() -> None:
    truth = np.array([0, 0, 1, 1, DONT_CARE, DONT_CARE], dtype=np.int8)
    assert discard_errors([0, 1, 0, 1, 0, 1], truth) == Errors(eta0=1, eta1=1)
    with pytest.raises(Invalid, match="one for each"):
        discard_errors([0, 1], truth)


def test_phase_errors_count_once_for_a_page_and_phase_by_its_last_bit() -> None:
    requests = [1, 1, 2, 3, 3, 1]  # phases of two pages: 1 1 2 | 3 3 1
    assert phase_bits(requests, 2)[:3].tolist() == [0, 0, 1]
    assert phase_errors(requests, 2, [1, 0, 1, 0, 0, 0]) == Errors(0, 0)
    assert phase_errors(requests, 2, [0, 1, 0, 0, 0, 0]) == Errors(eta0=1, eta1=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), k=st.integers(1, 10), window=st.integers(1, 400))
def test_optgen_keeps_as_often_as_belady_hits(seed: int, kind: str, k: int, window: int) -> None:
    requests = sequence(kind, random.Random(seed), 200, 20)
    hits = len(requests) - misses(Belady(k, requests), requests)

    def kept(generator: OptGen[int]) -> int:
        return sum(bit == 0 for key in requests for _, bit in generator.request(key))

    assert kept(OptGen(k, len(requests))) == hits
    assert kept(OptGen(k, window)) <= hits


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), kind=st.sampled_from(KINDS), window=st.integers(1, 60))
def test_optgen_labels_each_request_once_and_in_time(seed: int, kind: str, window: int) -> None:
    requests = sequence(kind, random.Random(seed), 200, 20)
    generator: OptGen[int] = OptGen(4, window)
    last: dict[int, int] = {}
    for number, key in enumerate(requests):
        labels = generator.request(key)
        due = [page for page, when in last.items() if when == number - window]
        if key in last and key not in due:
            due.append(key)
        assert sorted(page for page, _ in labels) == sorted(due)
        assert all(bit == 1 for page, bit in labels if page != key or last.get(key) == number - window)
        for page in due:
            del last[page]
        last[key] = number
        assert all(generator.waits(page) == (page in last) for page in range(20))


def test_optgen_counts_sizes() -> None:
    generator: OptGen[str] = OptGen(10, 100)
    generator.request("large", 6)
    generator.request("small", 4)
    assert generator.request("large", 6) == [("large", 0)]
    generator.request("other", 5)
    assert generator.request("large", 6) == [("large", 1)]  # 6 beside 5 is more than 10


def test_optgen_draws_only_pages_without_a_label() -> None:
    generator: OptGen[str] = OptGen(2, 8)
    for key in "abca":
        generator.request(key)
    drawn = [generator.drawn(place, 4) for place in (0.0, 0.3, 0.6, 0.9)]
    assert drawn == ["a", "c", "b", None]  # the fourth from the end is the first request for a, which has come back


def test_flush_when_all_0s_flushes_when_all_are_0() -> None:
    policy = FlushWhenAll0s(3)
    for key in "abc":
        policy.request(key, Meta(bit=0))
    assert policy.request("d", Meta(bit=1)) == ["a", "b", "c"]
    policy.request("e", Meta(bit=0))
    policy.request("f", Meta(bit=0))
    assert policy.request("g") == ["d"]
    policy.pin("f")
    assert policy.request("h") == ["e", "g"]


def test_mark0_starts_a_phase_when_all_are_marked_and_0() -> None:
    policy = Mark0(3, Given(), random.Random(0))
    for key in "abc":
        policy.request(key)
    first = policy.request("d")
    assert first is not None
    unmarked = set("abc") - set(first)
    policy.request(min(unmarked))  # marks it: of the old pages only the other one is unmarked
    assert policy.request("e") == [max(unmarked)]


def test_clean_pages_go_before_dirty_ones_of_the_same_bit() -> None:
    for make in (LRU1Bit, Mark0, FlushWhenAll0s):
        policy = make(3)
        policy.request("dirty", Meta(bit=1, dirty=True))
        policy.request("clean", Meta(bit=1))
        policy.request("kept", Meta(bit=0))
        assert policy.request("new") == ["clean"]
        policy.clean("dirty")
        assert policy.request("newer") == ["dirty"]


def test_a_hint_turns_a_bit_between_requests() -> None:
    policy = LRU1Bit(3)
    for key in "abc":
        policy.request(key)
    policy.hint("b", 1)
    policy.hint("not there", 1)
    assert [policy.bit_of(key) for key in "abc"] == [0, 1, 0]
    assert policy.request("d") == ["b"]
    policy.hint("c", 1)
    policy.hint("c", 0)
    assert policy.request("e") == ["a"]
    with pytest.raises(Invalid, match="bit"):
        policy.hint("c", 2)


def test_without_bits_lru_1bit_is_lru_and_bits_are_asked_once_a_request() -> None:
    requests = sequence("skewed", random.Random(2), 500, 50)
    assert misses(LRU1Bit(10), requests) == misses(LRU(10), requests)
    with pytest.raises(Invalid, match="there are 3"):
        misses(MarkAndPredict(2, Recorded([0, 0, 0])), [1, 2, 1, 2])


def test_wrong_bits_do_what_wrong_bits_do() -> None:
    """The tests above would pass with bits that nobody reads: here they are read."""
    requests = sequence("skewed", random.Random(4), 800, 40)
    truth = discard_bits(requests, 8).tolist()
    worse = [misses(Mark0(8, Recorded(flipped(truth, share, random.Random(1)))), requests) for share in (0.0, 0.1, 0.5)]
    assert worse[0] < worse[1] < worse[2]
