"""The hashed index: its law, its buckets after any operations, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.thoughts.hashing import Hash, HashedIndex, Parameters, probes
from mnemos.text.thoughts.neighbours import HashedNeighbours

SMALL = Parameters(exact_below=8, fewest=8, most=64, per_bucket=4, cap=12)


def unit(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_length_of_a_vector_does_not_matter_and_its_opposite_lies_elsewhere() -> None:
    hash, vectors = Hash(16, 64, 0, 0), unit(500)
    found = hash(vectors, 64)
    for scale in (0.25, 4.0, 1024.0):
        assert np.array_equal(hash(vectors * np.float32(scale), 64), found)
    assert (hash(-vectors, 64) != found).all()
    assert np.array_equal(hash(-vectors, 64), (found + 32) % 64)


def test_the_same_seed_gives_the_same_buckets_everywhere() -> None:
    """The values are pinned: a store on another machine has to find what this one wrote."""
    vectors = np.eye(8, dtype=np.float32)
    assert Hash(8, 32, 7, 0)(vectors, 32).tolist() == PINNED
    assert Hash(8, 32, 8, 0)(vectors, 32).tolist() != PINNED


PINNED = [18, 6, 19, 28, 18, 21, 31, 12]


def test_fewer_buckets_use_the_same_directions() -> None:
    hash, vectors = Hash(16, 64, 0, 0), unit(200)
    assert np.array_equal(hash(vectors, 8), Hash(16, 8, 0, 0)(vectors, 8))


def test_the_first_probe_is_the_bucket_and_the_others_differ() -> None:
    hashes = [Hash(16, 64, 0, table) for table in range(4)]
    for vector in unit(50):
        projected = np.stack([hash.directions(64) @ vector for hash in hashes])
        found = probes(projected, 3)
        along = np.concatenate([projected, -projected], axis=1)
        assert found.tolist() == np.argsort(-along, axis=1, kind="stable")[:, :3].tolist()
        assert found[:, 0].tolist() == [int(hash(vector[None], 64)[0]) for hash in hashes]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 5)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 30), min_size=1, max_size=6), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(OPERATIONS)
def test_every_vector_is_in_exactly_the_buckets_that_it_dictates(operations: list[tuple[str, list[int], int]]) -> None:
    index, held = HashedIndex(16, parameters=SMALL), {}
    pool = np.vstack([unit(40, seed=1), np.zeros((1, 16), dtype=np.float32)])
    for what, ids, shift in operations:
        numbers = np.array(ids, dtype=np.int64)
        if what == "remove":
            index.remove(numbers)
            for id in ids:
                held.pop(id, None)
        else:
            index.add(numbers, pool[(numbers + shift) % len(pool)])
            held.update({id: pool[(id + shift) % len(pool)] for id in ids})
        assert len(index) == len(held)
        if not index.hashed:
            continue
        for table in range(SMALL.tables):
            inside = {id: bucket for bucket, members in index.contents(table).items() for id in members}
            assert sum(len(members) for members in index.contents(table).values()) == len(inside)
            assert set(inside) == {id for id, vector in held.items() if vector.any()}
            for id, bucket in inside.items():
                assert index.keys(held[id][None])[0, table] == bucket
        for id, vector in list(held.items())[:3]:
            near = index.search(vector if vector.any() else pool[0], len(held))
            assert set(near.ids.tolist()) <= set(held)
            assert not vector.any() or id in near.ids


def test_below_the_limit_every_vector_is_compared() -> None:
    vectors = unit(1999, 24)
    index = HashedIndex(24)
    index.add(np.arange(1999), vectors)
    near = index.search(vectors[5], 10)
    assert not index.hashed
    assert near.compared == 1999
    assert near.ids.tolist() == np.argsort(-(vectors @ vectors[5]), kind="stable")[:10].tolist()
    with pytest.raises(Invalid, match="2,000"):
        index.keys(vectors[:1])


def test_what_a_filter_keeps_out_is_not_found_and_the_floor_holds() -> None:
    vectors = unit(3000, 24)
    index = HashedIndex(24)
    index.add(np.arange(3000), vectors)
    allowed = np.arange(3000) % 2 == 0
    near = index.search(vectors[4], 5, allowed, least=0.2)
    assert index.hashed
    assert near.ids[0] == 4
    assert (near.ids % 2 == 0).all()
    assert (near.cosines >= 0.2).all()


def test_full_buckets_are_split() -> None:
    rng = np.random.default_rng(3)
    centre = unit(1, 16)[0]
    crowd = centre + 0.2 * rng.standard_normal((200, 16)).astype(np.float32)
    index = HashedIndex(16, parameters=SMALL)
    index.add(np.arange(8), unit(8))
    before = index.buckets
    index.add(np.arange(8, 208), (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32))
    assert index.buckets == SMALL.most > before


def test_vectors_of_another_embedder_are_refused() -> None:
    index = HashedIndex(16, "one")
    index.add(np.arange(3), unit(3), "one")
    with pytest.raises(Invalid, match="new index"):
        index.add(np.arange(3), unit(3), "two")
    with pytest.raises(Invalid, match="shape"):
        index.add(np.arange(3), unit(3, 8))
    with pytest.raises(Invalid, match="shape"):
        index.search(unit(1, 8)[0], 1)


@pytest.mark.parametrize("wrong", [{"tables": 0}, {"probes": 5}, {"fewest": 6}, {"most": 4}, {"per_bucket": 0}])
def test_parameters_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid, match="hashing"):
        Parameters(**wrong)


def test_neighbours_in_the_manner_of_scikit_learn() -> None:
    vectors = 3 * unit(2500, 24)
    found = HashedNeighbours().fit(vectors)
    distances, indices = found.kneighbors(vectors[:20], 3)
    assert indices[:, 0].tolist() == list(range(20))
    assert np.allclose(distances[:, 0], 0, atol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert found.transform(vectors[:4]).shape == (4, 4)
    with pytest.raises(Invalid, match="fit"):
        HashedNeighbours().kneighbors(vectors)
