"""Reading fewer lists for queries whose neighbours are near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.spann.faulty_disk import FaultyDisk
from index.spann.mixtures import mixture
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options
from mnemos.index.spann.parts import UNLIMITED, Settings
from mnemos.index.spann.pruning import kth_distinct, worth

D = 32


@given(
    distances=st.lists(st.floats(0, 100, width=32), min_size=1, max_size=40),
    kth=st.floats(0.001, 100),
    spreads=st.tuples(st.floats(0, 5), st.floats(0, 5)),
    first=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_a_wider_spread_reads_all_that_a_narrower_one_reads(
    distances: list[float], kth: float, spreads: tuple[float, float], first: int, seed: int
) -> None:
    to_head = np.sort(np.array(distances, dtype=np.float32))
    counts = np.random.default_rng(seed).integers(0, 300, len(to_head))
    few, many = (worth(to_head, counts, 40.0, kth, first, spread) for spread in sorted(spreads))
    every = list(range(len(to_head)))
    assert set(every[:first]) <= set(few.tolist()) <= set(many.tolist())
    assert (np.diff(many) > 0).all()
    assert worth(to_head, counts, 40.0, kth, first, np.inf).tolist() == every
    for unknown in (np.inf, 0.0, -1.0):  # too few vectors, or identical ones
        assert worth(to_head, counts, 40.0, unknown, first, 0.0).tolist() == every


def test_lists_that_are_farther_down_farther_than_the_nearest_or_shorter_have_to_be_nearer() -> None:
    def read(to_head: list[float], counts: list[int], kth: float, spread: float) -> list[int]:
        return worth(np.array(to_head, dtype=np.float32), np.array(counts), 40.0, kth, 1, spread + 1e-5).tolist()

    level = [40] * 6
    assert read([1, 1, 1, 1, 1, 9], level, 1.0, 4**0.15) == [0, 1, 2, 3]
    assert read([1, 1, 1, 1, 1, 9], level, 0.5, 2 * 4**0.15) == [0, 1, 2, 3]
    assert read([0.5, 1, 1, 1, 1, 9], level, 1.0, 4**0.15) == [0, 1]  # (2 * 2) ** 0.15
    assert read([0, 1, 1, 1, 1, 9], level, 1.0, 16**0.15) == [0, 1]  # a query that is a head: as if it were an eighth of kth away
    assert read([1, 1, 1, 1, 1, 9], [40, 40, 10, 80, 40, 40], 1.0, 4**0.15) == [0, 1, 3]


def test_the_kth_nearest_counts_each_vector_once() -> None:
    slots = np.array([7, 7, 3, 5, 3], dtype=np.uint32)
    estimates = np.array([2.0, 1.0, 4.0, 3.0, 5.0], dtype=np.float32)
    assert [kth_distinct(slots, estimates, k) for k in (1, 2, 3, 4)] == [1.0, 3.0, 4.0, np.inf]
    assert kth_distinct(slots[:0], estimates[:0], 1) == np.inf


def test_settings_of_before_leave_out_no_list() -> None:
    """What their spread meant is not known any more."""
    before = {"lists": 24, "spread": 0.3, "rescore": 64, "recall": 0.96}
    for more in ({}, {"first": 4}):
        assert Settings.from_json({**before, **more}) == Settings(24, UNLIMITED, 64, 0.96)
    assert Settings.from_json(Settings(24, 1.8, 64, 0.96).to_json()) == Settings(24, 1.8, 64, 0.96)


@pytest.fixture(scope="module")
def index() -> tuple[SpannIndex, np.ndarray]:
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", head_ratio=0.1))
    vectors = mixture(4000, D)
    index.build(np.arange(3900), vectors[:3900])
    return index, vectors


def test_fewer_lists_are_read_for_as_many_of_the_nearest(index: tuple[SpannIndex, np.ndarray]) -> None:
    spann, vectors = index
    queries = vectors[3900:]
    truth = [set(spann.search(query, 10, exact=True).ids.tolist()) for query in queries]

    def measured(lists: int, spread: float) -> tuple[float, float]:
        found = [spann.search(query, 10, lists=lists, rescore=400, spread=spread) for query in queries]
        hits = [len(near & set(f.ids.tolist())) for near, f in zip(truth, found, strict=True)]
        return float(np.mean(hits)), float(np.mean([f.lists for f in found]))

    fixed = [measured(lists, UNLIMITED) for lists in range(4, 33, 2)]
    for spread in (1.6, 2.0):
        recall, reads = measured(64, spread)
        enough = next(lists for found, lists in fixed if found >= recall)
        assert 4 < reads < enough


def test_too_few_in_the_first_lists_leaves_out_none(index: tuple[SpannIndex, np.ndarray]) -> None:
    spann, vectors = index
    assert len(spann.search(vectors[0], 600, lists=6, spread=0.0).ids) == 600
    assert spann.search(vectors[0], 1, lists=20, spread=0.0).lists == Settings().first


def test_what_a_filter_leaves_out_does_not_count(index: tuple[SpannIndex, np.ndarray]) -> None:
    spann, vectors = index
    allowed = np.arange(3900) % 10 != 0
    for query in vectors[3900:3920]:
        found = spann.search(query, 10, allowed, lists=64, rescore=400, spread=2.6)
        nearest = spann.search(query, 10, allowed, exact=True)
        assert len(set(found.ids.tolist()) & set(nearest.ids.tolist())) >= 9
    parts = spann._parts
    before, parts.settings = parts.settings, replace(parts.settings, spread=2.0, first=2)
    try:
        assert len(spann.search(vectors[3900], 10, np.arange(3900) < 300).ids) == 10
    finally:
        parts.settings = before
