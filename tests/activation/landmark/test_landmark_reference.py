"""Reading by few blocks: as the paper says it, and with what the reference model has learnt."""

from __future__ import annotations

import pytest
import torch
from landmark_dense import Segmentwise
from landmark_llama import BLOCK, LANDMARK, ids, with_landmarks

from mnemos.activation.landmark import dense, reference, tokens
from mnemos.activation.landmark.attention import BLOCK as SAYS_BLOCK
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.landmark.retrofit import Retrofit
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.policies import policy
from mnemos.base.errors import Conflict
from mnemos.models.reference import language, tasks
from mnemos.models.reference.score import score
from mnemos.models.reference.training.batches import Books
from mnemos.models.reference.training.beginning import fresh

torch.set_num_threads(1)


@pytest.mark.parametrize(("top", "trained", "words"), [(2, 30, 41), (1, 40, 50), (3, 30, 9)])
def test_segments_are_read_as_the_paper_says(top: int, trained: int, words: int) -> None:
    model, row = with_landmarks(), tokens.insert(ids(words), BLOCK, LANDMARK)
    segment = policy("landmark", block=BLOCK, top=top, trained=trained).segment  # type: ignore[attr-defined]
    wanted = Segmentwise(model, BLOCK, top, segment).logits(row)
    got, _ = segmentwise(model, torch.tensor([row]), top=top, trained=trained)
    torch.testing.assert_close(got[0], wanted, atol=1e-3, rtol=0)


def test_true_positions_are_another_thing() -> None:
    model, row = with_landmarks(), tokens.insert(ids(41), BLOCK, LANDMARK)
    stingy, true = (Segmentwise(model, BLOCK, 2, 10, stingy=each).logits(row) for each in (True, False))
    assert float((stingy - true).abs().max()) > 0.1


def test_the_published_model_finds_notes_by_two_blocks_and_weighs_little() -> None:
    model, _ = reference.load()
    assert reference.card()["bytes"] <= 3_000_000
    assert getattr(model.config, SAYS_BLOCK) == reference.BLOCK
    reader = Landmarked(model, top=2, trained=reference.TRAINED)
    asked = [tasks.make("needle", 420, 5, f"published {number}") for number in range(2)]
    assert score(reader, asked).accuracy >= 0.9
    with pytest.raises(Conflict, match="learnt on another model"):
        Retrofit.load(fresh(0), reference.folder())


def test_lessons_are_the_same_each_time_and_fit_what_it_is_said_to_have_learnt_on() -> None:
    books = Books(None)
    for number in range(4):
        one, other = reference.lessons(books)(number), reference.lessons(books)(number)
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.weights, other.weights)
        assert one.ids.shape[1] <= reference.TRAINED
        marked = one.ids == reference.LANDMARK
        assert not one.weights[marked].any()
        assert bool(marked[:, reference.BLOCK :: reference.BLOCK + 1].all())
        assert marked.sum() == len(one.ids) * (one.ids.shape[1] // (reference.BLOCK + 1))
    assert len(language.VOCABULARY) == reference.LANDMARK


def test_the_one_with_small_blocks_finds_keys_that_stand_densely() -> None:
    model, _ = dense.load()
    assert dense.card()["bytes"] <= 3_000_000
    assert dense.card()["silent"]
    assert getattr(model.config, SAYS_BLOCK) == dense.BLOCK
    reader = Landmarked(model, **dense.READING)
    asked = [tasks.make("kv", 300, 5, f"published {number}") for number in range(2)]
    assert score(reader, asked).accuracy >= 0.8
