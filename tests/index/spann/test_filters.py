"""Searches under filters by masks, functions and attributes: each way gives what is allowed, as much as is asked for, and the nearest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.spann.faulty_disk import FaultyDisk
from index.spann.mixtures import mixture
from mnemos.base.errors import Invalid
from mnemos.index.spann import narrow, whole
from mnemos.index.spann.attributes import UNTIMED, Attributes, Where
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.options import Options
from mnemos.index.spann.sketches import Sketches
from mnemos.index.spann.whole import Whole

N, D = 3000, 24
RNG = np.random.default_rng(5)
SHARES = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "few": 0.001}


def words_of(number: int) -> list[str]:
    """Of vectors 0 … N - 1: `half` has every second one, `tenth` each tenth, and so on; `even` and `odd` have what lies on one side."""
    return [name for name, share in SHARES.items() if number % round(1 / share) == 0] + ["third" if number % 3 == 0 else "rest"]


VECTORS = mixture(N, D)
SIDE = VECTORS[:, 0] > np.quantile(VECTORS[:, 0], 0.7)
"""What lies on one side, three in ten: a filter that has to do with where vectors lie."""
QUERIES = VECTORS[RNG.choice(N, 25, replace=False)] + np.float32(0.05) * RNG.standard_normal((25, D)).astype(np.float32)
WORDS = [[*words_of(number), *(["side"] if SIDE[number] else [])] for number in range(N)]


@pytest.fixture(scope="module")
def index() -> SpannIndex:
    built = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", list_limit=64))
    built.build(np.arange(N), VECTORS, attributes=WORDS, times=np.arange(N))
    return built


@pytest.fixture(params=["whole", "each", "sketches", "lists"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way that a filtered search takes, where it may choose: what the others cost is set high."""
    if request.param != "whole":
        monkeypatch.setattr(narrow, "SMALL", 0)
        monkeypatch.setattr(narrow, "_SKETCHING", 0.0)
        for name, cost in (("each", "_PER_VECTOR"), ("sketches", "_PER_SKETCH"), ("lists", "_PER_LIST")):
            monkeypatch.setattr(narrow, cost, 1e-6 if name == request.param else 1e6 if cost != "_PER_VECTOR" else 10.0)
    return str(request.param)


def nearest(query: np.ndarray, ids: np.ndarray, k: int, vectors: np.ndarray = VECTORS) -> list[int]:
    squares = np.einsum("ij,ij->i", vectors[ids] - query, vectors[ids] - query)
    return [int(key) for key in ids[np.lexsort((ids, squares))[:k]]]


@pytest.mark.parametrize("word", [*SHARES, "side"])
def test_each_way_gives_exactly_k_that_are_allowed_and_the_nearest(index: SpannIndex, way: str, word: str) -> None:
    ids = np.array([number for number in range(N) if word in WORDS[number]])
    mask = np.zeros(N, dtype=bool)
    mask[ids] = True
    right, asked = 0, 0
    for query in QUERIES:
        expected = nearest(query, ids, 10)
        for found in (
            index.search(query, 10, where=Where(any_of=[word])),
            index.search(query, 10, allowed=mask),
            index.search(query, 10, allowed=lambda some: mask[some]),
        ):
            assert len(found.ids) == len(set(found.ids.tolist())) == min(10, len(ids))
            assert mask[found.ids].all()
            if found.exact:
                assert found.ids.tolist() == expected
            right += len(set(found.ids.tolist()) & set(expected))
            asked += len(expected)
    assert right / asked >= 0.95


def test_the_ways_are_taken_that_were_meant(index: SpannIndex, way: str) -> None:
    found = index.search(QUERIES[0], 10, where=Where(any_of=["half"]))
    assert found.exact == (way in ("whole", "each"))
    assert (found.lists > 0) == (way == "lists")
    assert (found.nbytes == 0) == (way == "whole")


def test_less_than_a_hundredth_is_looked_at_whole_and_lists_without_any_are_not_read(index: SpannIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "SMALL", 0)
    assert index.search(QUERIES[0], 10, where=Where(any_of=["few"])).exact
    assert index.search(QUERIES[0], 10, where=Where(any_of=["hundredth"])).exact
    index.search(QUERIES[0], 10, where=Where(any_of=["side"]))  # from then on it is known what that lets through
    monkeypatch.setattr(narrow, "_PER_LIST", 0.0)
    homes = index._parts.slots.homes.view()[index._parts.slots.map.find(np.flatnonzero(SIDE))]
    useful = len(np.unique(homes))
    assert useful < 0.7 * index.lists
    wide = index.search(QUERIES[0], 10, where=Where(any_of=["side"]), lists=index.lists, rescore=len(np.flatnonzero(SIDE)) - 1)
    assert wide.lists == useful
    assert wide.ids.tolist() == nearest(QUERIES[0], np.flatnonzero(SIDE), 10)


def test_words_and_times_are_an_algebra(index: SpannIndex) -> None:
    def ids(*wheres: Where) -> list[int]:
        return sorted(index.search(QUERIES[0], N, where=wheres, exact=True).ids.tolist())

    every = range(N)
    assert ids() == list(every)
    assert ids(Where()) == list(every)
    assert ids(Where(any_of=["tenth", "third"])) == [n for n in every if n % 10 == 0 or n % 3 == 0]
    assert ids(Where(all_of=["tenth", "third"])) == [n for n in every if n % 10 == 0 and n % 3 == 0]
    assert ids(Where(any_of=["tenth"], none_of=["third", "hundredth"])) == [n for n in every if n % 10 == 0 and n % 3 and n % 100]
    assert ids(Where(none_of=["rest"])) == [n for n in every if n % 3 == 0]
    assert ids(Where(since=100, until=120)) == list(range(100, 120))
    assert ids(Where(all_of=["tenth"], since=2950)) == [2950, 2960, 2970, 2980, 2990]
    assert ids(Where(any_of=["tenth"]), Where(any_of=["third"]), Where(until=61)) == [0, 30, 60]
    assert ids(Where(any_of=["nobody has it"])) == []
    assert ids(Where(all_of=["tenth", "nobody has it"])) == []
    assert ids(Where(none_of=["nobody has it"], until=2)) == [0, 1]
    both = index.search(QUERIES[0], N, allowed=lambda some: some < 50, where=Where(all_of=["tenth"]))
    assert sorted(both.ids.tolist()) == [0, 10, 20, 30, 40]
    batches = [key for batch in index.iterate(QUERIES[0], where=Where(any_of=["hundredth"])) for key in batch.ids.tolist()]
    assert sorted(batches) == list(range(0, N, 100))


def test_bad_words_times_and_filters_are_refused(index: SpannIndex) -> None:
    vector = VECTORS[:1]
    for attributes, message in ((["a", "b"], "for 1 vectors"), (["word"], "set of words"), ([[1]], "set of words"), ("a", "for 1 vectors")):
        with pytest.raises(Invalid, match=message):
            index.add(np.array([9000]), vector, attributes=attributes)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="times"):
        index.add(np.array([9000]), vector, times=np.array([1.5]))  # type: ignore[arg-type]
    assert 9000 not in index
    with pytest.raises(Invalid, match="any_of"):
        Where(any_of="word")
    with pytest.raises(Invalid, match="since"):
        Where(since=1.5)  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="begins before"):
        Where(since=2, until=1)
    with pytest.raises(Invalid, match="must be a Where"):
        index.search(vector[0], 1, where="word")  # type: ignore[arg-type]


SETS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=3)
MARKED = st.tuples(st.integers(0, 60), SETS, st.integers(0, 6))
"""An id, its words and its time."""
FILTERS = st.builds(Where, any_of=SETS, all_of=SETS.map(lambda some: some[:1]), none_of=SETS.map(lambda some: some[:2]), since=st.none() | st.just(3))


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.tuples(st.lists(MARKED, max_size=25), st.integers(0, 60)), min_size=1, max_size=8),
    wheres=st.lists(FILTERS, min_size=1, max_size=2),
    k=st.sampled_from([1, 7, 100]),
    way=st.sampled_from(["whole", "each", "sketches", "lists"]),
    seed=st.integers(0, 99),
)
def test_attributes_are_right_after_any_changes(
    steps: list[tuple[list[tuple[int, list[str], int]], int]], wheres: list[Where], k: int, way: str, seed: int
) -> None:
    """Whatever was added, replaced, removed, split, merged, reassigned, and opened again after a kill: exactly k, or all there are."""
    disk, rng = FaultyDisk(seed), np.random.default_rng(seed)
    index = SpannIndex.create(disk, 4, Options(metric="l2", code="int8", list_limit=8, merge_below=2, candidates=8, replicas=4, reassign_heads=8))
    held: dict[int, tuple[set[str], int]] = {}
    durable = dict(held)
    vectors: dict[int, np.ndarray] = {}
    patch = pytest.MonkeyPatch()
    try:
        if way != "whole":
            patch.setattr(narrow, "SMALL", 0)
        patch.setattr(narrow, "SELECTIVE", 0.0)
        for name, cost in (("each", "_PER_VECTOR"), ("sketches", "_PER_SKETCH"), ("lists", "_PER_LIST")):
            patch.setattr(narrow, cost, 0.0 if name == way else 1.0)
        for added, removed in steps:
            marks = {key: (set(words), time) for key, words, time in added}
            keys = np.array(list(marks), dtype=np.int64)
            fresh = rng.standard_normal((len(keys), 4)).astype(np.float32)
            index.add(keys, fresh, [words for words, _ in marks.values()], np.array([time for _, time in marks.values()], dtype=np.int64))
            index.remove(np.array([removed]))
            index.tend(4)
            held = {key: mark for key, mark in {**held, **marks}.items() if key != removed}
            vectors |= dict(zip(keys.tolist(), fresh, strict=True))
            if len(added) % 3 == 0:
                index.checkpoint()
                durable = dict(held)
            if len(added) % 5 == 4:
                disk.reopen()
                index, held = SpannIndex.open(disk), dict(durable)
            if len(added) % 7 == 6:
                index.erase(np.array([removed + 1]))
                held.pop(removed + 1, None)
                durable = dict(held)
            query = rng.standard_normal(4).astype(np.float32)
            for where in (tuple(wheres), wheres[0]):
                through = np.array(
                    [
                        key
                        for key, (words, time) in sorted(held.items())
                        for each in [where if isinstance(where, tuple) else (where,)]
                        if all(_holds(one, words, time) for one in each)
                    ],
                    dtype=np.int64,
                )
                found = index.search(query, k, where=where)
                exact = index.search(query, k, where=where, exact=True)
                assert len(found.ids) == len(set(found.ids.tolist())) == min(k, len(through))
                assert set(found.ids.tolist()) <= set(through.tolist())
                assert set(exact.ids.tolist()) <= set(through.tolist())
                assert len(exact.ids) == min(k, len(through))
                if found.exact:
                    assert found.ids.tolist() == exact.ids.tolist()
        assert index.verify() == []
    finally:
        patch.undo()


def _holds(where: Where, words: set[str], time: int) -> bool:
    any_of, all_of, none_of = set(where.any_of), set(where.all_of), set(where.none_of)
    timed = (where.since is None or time >= where.since) and (where.until is None or time < where.until)
    return (not any_of or bool(any_of & words)) and all_of <= words and not none_of & words and timed


def test_sets_that_nobody_has_any_more_are_let_go_of() -> None:
    index = SpannIndex.create(FaultyDisk(), 4, Options(metric="l2"))
    rng = np.random.default_rng(0)
    for round in range(4):
        words = [[f"only {round} {number}"] for number in range(1500)]
        index.add(np.arange(1500), rng.standard_normal((1500, 4)).astype(np.float32), words)
    held = index._parts.slots.attributes
    assert len(held.tables()["set_ends"]) < 5000
    assert index.search(np.zeros(4), 5, where=Where(any_of=["only 3 7"])).ids.tolist() == [7]
    assert index.search(np.zeros(4), 5, where=Where(any_of=["only 2 7"])).ids.tolist() == []
    index.erase(np.arange(1, 1500))
    assert len(held.tables()["set_ends"]) == 2
    index.checkpoint()
    assert index.verify() == []


def test_an_index_without_attributes_is_filtered_by_them_and_gets_them_later() -> None:
    disk = FaultyDisk()
    index = SpannIndex.create(disk, 4, Options(metric="l2"))
    vectors = np.eye(4, dtype=np.float32)
    index.add(np.arange(2), vectors[:2])
    assert index.search(vectors[0], 5, where=Where(any_of=["a"])).ids.tolist() == []
    assert index.search(vectors[0], 5, where=Where(none_of=["a"])).ids.tolist() == [0, 1]
    assert index.search(vectors[0], 5, where=Where(until=100)).ids.tolist() == []
    assert "attributes" not in index._parts.slots.tables()
    index.add(np.arange(2, 4), vectors[2:], [["a"], []], np.array([7, UNTIMED]))
    index.checkpoint()
    for again in (index, SpannIndex.open(disk)):
        assert again.search(vectors[0], 5, where=Where(any_of=["a"])).ids.tolist() == [2]
        assert again.search(vectors[0], 5, where=Where(none_of=["a"])).ids.tolist() == [0, 1, 3]
        assert again.search(vectors[0], 5, where=Where(until=100)).ids.tolist() == [2]
    index.add(np.array([2]), vectors[2:3])  # a new vector without them
    assert index.search(vectors[0], 5, where=Where(any_of=["a"])).ids.tolist() == []


def test_what_filtered_searches_hold_stays_within_the_memory_and_goes_where_it_is_needed() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((2000, 32)).astype(np.float32)
    roomy = SpannIndex.create(FaultyDisk(), 32, Options(metric="l2"))
    roomy.build(np.arange(2000), vectors)
    needed = roomy.nbytes
    roomy.search(vectors[0], 10, allowed=np.arange(2000) % 2 == 0)
    assert roomy.nbytes > needed
    tight = SpannIndex.create(FaultyDisk(), 32, Options(metric="l2", memory=needed + 20_000))
    tight.build(np.arange(2000), vectors)
    for step in range(2, 8):
        mask = np.arange(2400) % step == 0
        found = tight.search(vectors[0], 10, allowed=mask)
        assert len(found.ids) == 10
        assert mask[found.ids].all()
        assert tight.nbytes <= needed + 20_000


def test_a_vector_that_is_replaced_is_found_where_it_is_whatever_was_held_of_it(way: str) -> None:
    index = SpannIndex.create(FaultyDisk(), D, Options(metric="l2", list_limit=64))
    index.build(np.arange(N), VECTORS, attributes=WORDS)
    where = Where(any_of=["half"])
    index.search(QUERIES[0], 10, where=where)
    index.add(np.array([1]), QUERIES[:1], [["half"]])
    index.remove(np.array([2]))
    index.checkpoint()
    index.add(np.array([2]), QUERIES[:1] + np.float32(0.001), [["half"]])  # into a slot that held another
    assert index.search(QUERIES[0], 2, where=where).ids.tolist() == [1, 2]


@pytest.mark.parametrize("gathered", [0.0, 1.0])
@pytest.mark.parametrize("block", [1, 16 * 32, 1 << 19])
def test_whole_gives_every_vector_that_may_be_among_the_nearest(gathered: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_GATHERED", gathered)
    monkeypatch.setattr(whole, "_BLOCK_BYTES", block)
    rng = np.random.default_rng(2)
    far = np.concatenate([rng.standard_normal((50, 8)) + 1000, np.ones((40, 8)), rng.standard_normal((50, 8)) * 1e-4 + 1]).astype(np.float32)
    held = Whole(8)
    held.put(np.arange(140), far, 140)
    for slots in (np.arange(0, 140, 2), np.arange(0, 140, 7), np.array([9, 11])):
        mask = np.isin(np.arange(140), slots)
        assert held.holds(mask)
        squares = np.einsum("ij,ij->i", far[slots] - far[120], far[slots] - far[120])
        given_slots, vectors = held.nearest(far[120], mask, 5)
        assert set(slots[np.argsort(squares, kind="stable")[:5]].tolist()) <= set(given_slots.tolist()) <= set(slots.tolist())
        np.testing.assert_array_equal(vectors, far[given_slots])
    held.forget(np.array([3, 500]))
    assert held.missing(np.array([2, 3, 139, 140])).tolist() == [False, True, False, True]
    assert held.holds(np.isin(np.arange(200), [2, 139]))
    assert not held.holds(np.isin(np.arange(200), [2, 3]))
    assert not held.holds(np.isin(np.arange(200), [2, 150]))
    held.put(np.arange(140, 200), rng.standard_normal((60, 8)).astype(np.float32), 200)  # more room, and the same rows
    np.testing.assert_array_equal(held.nearest(far[120], np.arange(200) == 9, 5)[1], far[9:10])
    assert 200 * held.size <= held.nbytes <= held.needs(len(held.missing(np.arange(225))))


def test_sketches_tell_near_from_far_and_forget() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((500, 64)).astype(np.float32)
    held = Sketches(64)
    held.make(np.arange(500), vectors, 500)
    query = vectors[17] + np.float32(0.1)
    squares = np.einsum("ij,ij->i", vectors - query, vectors - query)
    estimates = held.estimates(query, held.held(np.arange(500)))
    assert int(np.argmin(estimates)) == 17
    assert np.corrcoef(squares, estimates)[0, 1] > 0.7
    held.forget(np.array([17, 900]))
    assert held.missing(np.array([16, 17, 501])).tolist() == [False, True, True]


def test_a_word_is_kept_as_its_hash_only() -> None:
    marked = Attributes({})
    marked.set(np.array([3]), [["secret", "secret", "other"]], None)
    raw = b"".join(table.view().tobytes() for table in marked.tables().values())
    assert b"secret" not in raw
    assert len(marked.tables()["set_words"]) == 2
    assert marked.passing((Where(all_of=["other", "secret"]),), np.array([0, 3, 9])).tolist() == [False, True, False]
