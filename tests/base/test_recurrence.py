"""What comes back: scores, what is due, and the tracker of things that have names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.recurrence import Recurrence, is_due, longest, returns, scores


def by_hand(age: float, gap: float, patience: float = 8.0) -> float:
    def twice(x: float) -> float:
        return 2 / (1 + math.exp(-max(x, -700)))

    if gap > 0 and age <= patience * gap:
        return twice(-age / gap) + twice(-1 / gap)
    return twice(-age) - age * 2.0**-23


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=1, max_size=20), st.sampled_from([2.0, 8.0, math.inf]))
def test_scores_are_those_of_the_paper_and_no_number_overflows(pairs: list[tuple[int, int]], patience: float) -> None:
    ages, gaps = np.array(pairs, dtype=np.float64).T
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = scores(np, ages, gaps, patience=patience)
    assert found.tolist() == pytest.approx([by_hand(age, gap, patience) for age, gap in pairs], abs=1e-12)
    without = scores(np, ages, gaps, interval=False, patience=patience)
    due = is_due(np, ages, gaps, patience)
    assert np.allclose(found - without, np.where(due, 2 / (1 + np.exp(1 / np.maximum(gaps, 1))), 0))


def test_the_second_term_grows_with_the_gap() -> None:
    found = scores(np, np.zeros(4), np.array([1.0, 5.0, 50.0, 500.0]))
    assert np.all(np.diff(found) > 0)


@given(st.lists(st.tuples(st.integers(1, 30), st.sets(st.integers(0, 5))), min_size=1, max_size=30), st.integers(0, 7))
def test_the_tracker_knows_last_uses_and_longest_gaps(steps: list[tuple[int, set[int]]], budget: int) -> None:
    tracker, times, now = Recurrence[int](), dict[int, list[int]](), 0
    for wait, used in steps:
        now += wait
        tracker.observe(used, now)
        for each in used:
            times.setdefault(each, []).append(now)
    rated = tracker.score(now)
    assert rated == pytest.approx({each: by_hand(now - its[-1], longest(its)) for each, its in times.items()})
    kept = tracker.select(budget)
    assert len(kept) == min(budget, len(times)) == len(kept & times.keys())
    assert min((rated[each] for each in kept), default=9) >= max((rated[each] for each in times.keys() - kept), default=-9)
    soon = {each: its[-1] + 0.75 * longest(its) for each, its in times.items() if longest(its)}
    wanted = {each for each, its in soon.items() if its <= now + 10 and times[each][-1] + 1.25 * longest(times[each]) >= now}
    due = tracker.due(now + 10, margin=0.25)
    assert set(due) == wanted
    assert [soon[each] for each in due] == sorted(soon[each] for each in due)
    tracker.drop(times)
    assert (len(tracker), tracker.score(now), tracker.select(3)) == (0, {}, set())


def test_what_was_kept_elsewhere_is_gone_on_with() -> None:
    tracker = Recurrence({"often": (90.0, 10.0), "once": (99.0, 0.0), "long ago": (5.0, 3.0)}, now=100)
    assert tracker.select(1) == {"often"}
    assert tracker.select(2) == {"often", "once"}
    assert returns(90.0, 10.0, 0.5) == (95.0, 105.0)
