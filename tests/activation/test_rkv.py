"""R-KV: importance and redundancy as the paper's text has them, and what repeats goes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policies.rkv import ImportantOnce
from mnemos.activation.policy import FULL
from mnemos.activation.view import View
from mnemos.base.errors import Invalid

HEADS, GROUP, SIZE = 2, 2, 8


def view_of(keys: torch.Tensor, positions: torch.Tensor, queries: torch.Tensor) -> View:
    """Keys [1, G, n, d] at positions [n], and the newest queries, which stand at the newest positions."""
    newest = positions[positions >= 0][-queries.shape[2] :][None]
    part = Dense(keys, torch.zeros_like(keys), positions[None, None], range(HEADS))
    return View(MemoryLayer(FULL, 0), part, queries, newest, 1 / math.sqrt(SIZE), None)


def naive(view: View, scorer: ImportantOnce, head: int) -> dict[int, float]:
    """The score of each token that is there, one number after the other."""
    places = view.positions[0, head].tolist()
    there = [at for at, place in enumerate(places) if place >= 0]
    paid = view.window_attention()[0, head]
    attention = [float(sum(paid[:, query, at].max() for query in range(paid.shape[1]))) / paid.shape[1] for at in there]
    reach = scorer.kernel // 2
    attention = [max(attention[max(0, i - reach) : i + reach + 1]) for i in range(len(there))]
    keys = view.keys[0, head]
    alike = [[0.0 if one == other else float(cosine_similarity(keys[one], keys[other], dim=0)) for other in there] for one in there]
    for row in alike:
        for newest in [i for i, value in enumerate(row) if value > scorer.alike][::-1][: scorer.spared]:
            row[newest] = 0.0
    means = [sum(row[i] for row in alike) / len(there) for i in range(len(there))]
    total = sum(math.exp(mean) for mean in means)
    return {at: scorer.importance * attention[i] - (1 - scorer.importance) * math.exp(means[i]) / total for i, at in enumerate(there)}


@pytest.mark.parametrize("scorer", [ImportantOnce(4, kernel=3), ImportantOnce(4, 0.6, 5, 0.2, 2), ImportantOnce(4, spared=0)])
def test_the_score_is_that_of_a_loop(scorer: ImportantOnce) -> None:
    generator = torch.Generator().manual_seed(3)
    keys = torch.randn(1, HEADS, 30, SIZE, generator=generator)
    keys[:, :, 10:20] = keys[:, :, :10] + 0.1 * keys[:, :, 10:20]
    positions = torch.arange(30)
    positions[[0, 1, 13]] = -1
    view = view_of(keys, positions, torch.randn(1, HEADS * GROUP, 4, SIZE, generator=generator))
    scored = scorer.score(view)
    for head in range(HEADS):
        for at, value in naive(view, scorer, head).items():
            assert float(scored[0, head, at]) == pytest.approx(value, abs=1e-6)


def test_of_what_repeats_the_newest_stays() -> None:
    keys = torch.eye(SIZE).repeat(1, HEADS, 1, 1)
    keys = torch.cat([keys, keys[:, :, :1], keys[:, :, :1]], 2)  # the first token's key comes twice more
    scorer = ImportantOnce(2, kernel=1)
    scored = scorer.score(view_of(keys, torch.arange(SIZE + 2), torch.zeros(1, HEADS * GROUP, 2, SIZE)))[0, 0]
    assert scored[0] < scored[SIZE] < scored[SIZE + 1]
    assert scored[SIZE] < scored[1:SIZE].min()
    redundancy = scorer.redundancy(view_of(keys, torch.arange(SIZE + 2), torch.zeros(1, HEADS * GROUP, 2, SIZE)))
    assert float(redundancy.sum(-1).min()) == pytest.approx(1)
    assert redundancy[0, 0].argmax() == 0


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(Invalid, match="kernel=4 odd"):
        policy("rkv", tokens=40, kernel=4)
