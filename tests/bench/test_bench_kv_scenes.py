"""The parts of `mnemos bench kv-scenes`: what counts as a hit, as read ahead, and as wasted."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from kernel.kv.byte_llama import model
from mnemos.bench.kv import scenes

torch.set_num_threads(1)


def test_a_walk_goes_where_its_chain_leads() -> None:
    path = scenes.walk(np.random.default_rng(5), 4000, 12)
    assert (len(path), path[0]) == (4000, 0)
    after = Counter(following for topic, following in pairwise(path) if topic == path[0])
    shares = [count / sum(after.values()) for _, count in after.most_common(3)]
    assert shares[0] == pytest.approx(0.56, abs=0.1)
    assert shares[1] == pytest.approx(0.26, abs=0.1)


@pytest.mark.parametrize("arm", scenes.ARMS)
def test_a_hit_is_a_text_that_was_there_before_its_step(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "QUESTION", "what?")
    path = [0, 1, 0, 1, 1]
    out = scenes._walked(arm, model(), path, ["the tram is yellow" * 4, "the boat is grey" * 4], 2)
    assert out.hits[:2].tolist() == [0, 0]
    if arm == "recency":  # all that was used fits
        assert out.hits.tolist() == [0, 0, 1, 1, 1]
        assert (out.built, out.wasted) == (2, 0.0)
    if arm == "nothing":
        assert (out.built, out.idle) == (0, pytest.approx(0.0, abs=0.05))
    assert (out.seconds > 0).all()
    assert 0 <= out.wasted <= out.idle
