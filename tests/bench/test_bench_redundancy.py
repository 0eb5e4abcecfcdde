"""The benchmark of redundancy: what is planted, and how rankings are judged."""

from __future__ import annotations

import numpy as np
import pytest

from mnemos.bench.redundancy import again, area, mean_cosine, ranked, with_copies


def test_copies_are_said_in_other_order_and_take_the_place_of_others() -> None:
    rng = np.random.default_rng(0)
    text = "Ana moved to Lisbon in March and plays the cello"
    said = again(text, rng)
    assert said != text
    assert set(said.split()) <= set(text.split())
    own, other = np.zeros((10, 4), dtype=np.float32), np.ones((10, 4), dtype=np.float32)
    assert with_copies(own, other, 0.4, rng).any(1).sum() == 4
    assert not own.any()


def test_rankings_are_judged_by_pairs_and_planted_topics_are_found() -> None:
    assert area({1: 0.9, 2: 0.1, 3: 0.5, 4: 0.5}, {1, 3}) == pytest.approx(3.5 / 4)
    rng = np.random.default_rng(1)
    own = rng.normal(size=(120, 64)).astype(np.float32)
    found, _ = ranked(own, own, rng)
    assert found > 0.9
    assert mean_cosine(np.tile(own[:1], (3, 1))) == pytest.approx(1)
