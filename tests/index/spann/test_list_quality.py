"""Checks 1 and 2 of the sheet: what closure assignment and the RNG rule are worth, on real images and generated mixtures."""

from __future__ import annotations

import gzip
from functools import cache

import numpy as np
import pytest

from index.spann.mixtures import mixture
from mnemos.base.errors import NotFound
from mnemos.bench.ann.mixtures import Mixture
from mnemos.bench.datasets import data_folder, file_of
from mnemos.index.spann.closure import assign_all, sparing_factor
from mnemos.index.spann.clustering import balanced_tree
from mnemos.index.spann.heads import Heads
from mnemos.index.spann.measures import ListQuality, list_quality
from mnemos.index.spann.selection import leaf_for, select_heads

RATIO = 0.12


def images(name: str) -> np.ndarray:
    try:
        path = file_of(data_folder() / "images", name)
    except NotFound as error:
        pytest.skip(str(error))
    pixels = np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=16).reshape(-1, 784).astype(np.float32)
    return pixels[np.random.default_rng(0).permutation(len(pixels))]


@cache
def measured(name: str) -> dict[str, ListQuality]:
    """The lists of one set three ways: as in the paper, each vector in the nearest list only, and closure without the RNG rule."""
    vectors = mixture(12_200, 32, seed=11) if name == "mixture" else images(name)
    queries, vectors = vectors[:200], np.ascontiguousarray(vectors[200:])
    squared = (vectors**2).sum(axis=1) - 2 * queries @ vectors.T
    nearest = np.argpartition(squared, 10, axis=1)[:, :10]
    tree = balanced_tree(lambda rows: vectors[rows], len(vectors), leaf=leaf_for(RATIO), rng=np.random.default_rng(0))
    heads = Heads(vectors[select_heads(tree, RATIO)])
    options: dict[str, dict[str, float]] = {"closure": {}, "nearest only": {"replicas": 1}, "no rule": {"rng_factor": np.inf}}
    return {
        way: list_quality(assign_all(lambda rows: vectors[rows], len(vectors), heads, **given), heads, queries, nearest)  # type: ignore[arg-type]
        for way, given in options.items()
    }


SETS = pytest.mark.parametrize("name", ["mixture", "mnist-dev-images.idx3.gz", "omniglot28-dev-images.idx3.gz"])


@SETS
def test_closure_finds_more_in_eight_lists_than_the_nearest_list_alone(name: str) -> None:
    ways = measured(name)
    assert ways["closure"].recall[8] >= ways["nearest only"].recall[8] + 0.15
    assert ways["closure"].recall[32] >= 0.95


@SETS
def test_the_rule_saves_replicas_and_costs_little_recall_and_lists_are_even(name: str) -> None:
    ways = measured(name)
    assert ways["closure"].replicas <= min(8, 0.8 * ways["no rule"].replicas)
    assert ways["closure"].recall[8] >= ways["no rule"].recall[8] - 0.08
    assert ways["closure"].unevenness <= 0.65


def test_the_factor_of_the_rule_is_chosen_for_the_data() -> None:
    """In many dimensions most heads stand at the angle that the rule asks for: with a factor of 1 it would spare next to nothing."""
    vectors = Mixture(256, 60, np.random.default_rng(3)).sample(4200, np.random.default_rng(4))
    queries, vectors = vectors[:200], vectors[200:]
    nearest = np.argsort((vectors**2).sum(axis=1) - 2 * queries @ vectors.T, axis=1)[:, :10]
    heads = Heads(vectors[np.random.default_rng(5).choice(len(vectors), 480, replace=False)])
    factor = sparing_factor(vectors[:1000], heads)

    def lists(**options: float) -> ListQuality:
        return list_quality(assign_all(lambda rows: vectors[rows], len(vectors), heads, **options), heads, queries, nearest)  # type: ignore[arg-type]

    chosen, plain, without, alone = lists(rng_factor=factor), lists(), lists(rng_factor=np.inf), lists(replicas=1)
    assert plain.replicas > 0.9 * without.replicas
    assert 0.7 < factor < 1
    assert 0.7 * without.replicas < chosen.replicas <= 0.8 * without.replicas
    assert chosen.recall[8] >= max(without.recall[8] - 0.08, alone.recall[8] + 0.15)
    flat = vectors[:, :3].copy()
    assert sparing_factor(flat[:500], Heads(flat[-480:])) == 1.0
    assert sparing_factor(flat[:0], heads) == 1.0


def test_quality_is_counted_right() -> None:
    heads = Heads(np.array([[0.0], [1.0], [5.0]], dtype=np.float32))
    heads.remove(1)
    lists = np.array([[0, -1], [0, 2], [2, -1], [2, -1]])
    quality = list_quality(lists, heads, np.array([[0.5], [4.0]], dtype=np.float32), np.array([[0, 2], [1, 3]]), reads=(1, 2))
    assert quality.recall == {1: 0.75, 2: 1.0}
    assert quality.entries == {1: 2.5, 2: 5.0}
    assert quality.replicas == 1.25
    assert quality.unevenness == 0.2
