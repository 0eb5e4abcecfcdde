"""Landmarks taught by where the model looked before it had them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from landmark_llama import BLOCK, ids, llama

from mnemos.activation.landmark import dense, tokens
from mnemos.activation.landmark.distilling import Distilling, Gates, Masses, Wanted
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.landmark.retrofit import Retrofit
from mnemos.activation.landmark.training import Batch, Recipe
from mnemos.models.reference.training.batches import Books

torch.set_num_threads(1)


def taught(words: int = 22, jumps: bool = False, **wanted: float) -> tuple[Distilling, Batch]:
    base = llama(initializer_range=0.1)
    retrofit = Retrofit(copy.deepcopy(base), BLOCK, silent=True)
    rows = torch.tensor([ids(words, 1), [*ids(words - 3, 2), 0, 0, 0]])
    positions = (torch.arange(words) + 9 * (torch.arange(words) > 11)).expand(2, -1) if jumps else None
    weights = torch.zeros(rows.shape)
    weights[:, 15:19] = 1.0
    made = tokens.in_training(rows, BLOCK, retrofit.token, weights, positions)
    batch = Batch(*made)
    recipe = Recipe(steps=20, rate=5e-3, accumulation=1)
    return Distilling(retrofit.model, recipe, lambda _: batch, base, padding=0, wanted=Wanted(**wanted) if wanted else None), batch


def test_masses_are_the_sums_over_blocks() -> None:
    weights = torch.rand(2, 3, 5, 11).tril(6)
    weights = weights / weights.sum(-1, keepdim=True)
    found = Masses(4).of(weights, 6, 3)
    for query in range(5):
        mine = (6 + query) // 4
        assert torch.allclose(found[:, :, query, 0], weights[:, :, query, 4 * mine :].sum(-1))
        for block in range(3):
            expected = weights[:, :, query, 4 * block : 4 * block + 4].sum(-1) if block < mine else torch.zeros(2, 3)
            assert torch.allclose(found[:, :, query, 1 + block], expected)


def test_landmarks_that_weigh_as_their_blocks_did_have_nothing_to_learn() -> None:
    queries, keys = torch.randn(1, 4, 10, 8), torch.randn(1, 2, 10, 8)
    scores = torch.matmul(queries, keys.repeat_interleave(2, 1).transpose(-1, -2))
    keys[:, :, 4::5] = torch.randn(8)
    words = [0, 1, 2, 3, 5, 6, 7, 8]
    inside = {query: [word for word in words if word <= query and word // 5 == query // 5] for query in words}
    said = torch.stack([scores[..., query, those].logsumexp(-1) for query, those in inside.items()], 2)
    landmark = torch.matmul(queries[:, :, words], keys[:, :, 4].repeat_interleave(2, 1).unsqueeze(-1)).squeeze(-1)
    landmark[:, :, :4] = -torch.inf
    wanted = torch.cat([torch.stack([said, landmark], -1).softmax(-1), torch.zeros(1, 4, 8, 1)], -1)
    gates = Gates(Masses(4, {0: wanted}), torch.ones(1, 8))
    gates.compare(0, queries, keys, 1.0)
    assert abs(float(gates.lost[0])) < 1e-5
    gates.masses.layers[0] = wanted.roll(1, 2)
    gates.compare(0, queries, keys, 1.0)
    assert float(gates.lost[1]) > 0.1


@pytest.mark.parametrize("jumps", [False, True])
def test_what_is_taught_is_learnt(jumps: bool) -> None:
    training, batch = taught(jumps=jumps)
    first = float(training.lost(batch, 0).detach())
    for _ in range(20):
        last = training.advance()
    assert last < 0.7 * first


def test_padding_teaches_nothing() -> None:
    training, batch = taught()
    one = training.lost(batch, 0)
    other = batch.ids.clone()
    padded = tokens.place_of(19, BLOCK)  # of the second row: the last three of its words
    with torch.no_grad():
        table: Any = training.model.get_input_embeddings().weight
        table[0] += 1.0
    assert int(other[1, padded]) == 0
    assert torch.allclose(training.lost(Batch(other, batch.weights), 0), one, atol=0.05)


def test_lessons_jump_and_have_their_landmarks_in_place() -> None:
    jumped = 0
    for number in range(3):
        batch = dense.lessons(Books(None))(number)
        marked = batch.ids == dense.LANDMARK
        assert bool(marked[:, dense.BLOCK :: dense.BLOCK + 1].all())
        assert not batch.weights[marked].any()
        assert batch.positions is not None
        steps = batch.positions.diff(dim=1)
        assert int(steps.min()) == 1
        assert bool((steps[:, dense.BLOCK - 1 :: dense.BLOCK + 1] == 1).all())  # a landmark stands right behind its block
        jumped += int((steps > 1).any(1).sum())
    assert jumped


def test_a_silent_landmark_leaves_the_word_before_it_to_say_what_comes(tmp_path: Any) -> None:
    retrofit = Retrofit(llama(), BLOCK, silent=True)
    retrofit.save(tmp_path)
    again = Retrofit.load(llama(), tmp_path)
    assert again.silent
    row = ids(13)
    with torch.no_grad():
        whole = again.model(input_ids=torch.tensor([tokens.insert(row, BLOCK, again.token)]), use_cache=False).logits[0]
        said = Landmarked(again.merged(), top=5)(torch.tensor([row])).logits[0]
    expected = whole[[tokens.place_of(place, BLOCK) for place in range(13)]]
    assert torch.allclose(said[:, : again.token], expected[:, : again.token], atol=1e-3)


def test_noise_is_on_landmarks_alone_and_drawn_from_what_is_given() -> None:
    keys = torch.randn(2, 3, 5 * 400, 8, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 9)
    masses, counts = Masses(4), torch.ones(2, 1600)
    one, again = (Gates(masses, counts, 0.1, torch.Generator().manual_seed(7)).coarse(keys) for _ in range(2))
    assert torch.equal(one, again)
    added = one - keys
    assert not added[:, :, torch.arange(2000) % 5 != 4].any()
    spread = added[:, :, 4::5].std(2) / keys[:, :, 4::5].std(2)
    assert torch.allclose(spread, torch.full_like(spread, 0.1), rtol=0.2)
    assert Gates(masses, counts).coarse(keys) is keys
