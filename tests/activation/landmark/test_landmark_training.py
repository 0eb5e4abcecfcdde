"""Training with landmarks: what counts, how it goes on, and that it teaches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from landmark_llama import BLOCK, LANDMARK, ids, llama, with_landmarks

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.training import FINE_TUNING, Batch, Recipe, Training, jumped, loss
from mnemos.base.errors import Conflict, Invalid

torch.set_num_threads(1)

SHORT = Recipe(steps=6, rate=1e-2, warmup=0.2, accumulation=2)


def lesson(number: int) -> Batch:
    """Rows that say the same eight words three times."""
    rows = torch.tensor([ids(8, 10 * number + row) * 3 for row in range(4)])
    return Batch(*tokens.in_training(rows, BLOCK, LANDMARK, torch.ones(rows.shape)))


def test_the_loss_is_of_the_words_after_each_place_and_landmarks_count_where_asked() -> None:
    model, batch = with_landmarks(), lesson(0)
    with torch.no_grad():
        scores = model(input_ids=batch.ids, use_cache=False).logits.log_softmax(-1)
    each = -scores[:, :-1].gather(-1, batch.ids[:, 1:, None])[..., 0]
    words = batch.ids[:, 1:] != LANDMARK
    torch.testing.assert_close(loss(model, batch, Recipe()), each[words].mean())
    torch.testing.assert_close(loss(model, batch, Recipe(landmark_loss=True)), each.mean())
    halved = replace(batch, weights=batch.weights * torch.where(torch.arange(batch.ids.shape[1]) < 9, 0.0, 2.0))
    torch.testing.assert_close(loss(model, halved, Recipe()), each[:, 8:][words[:, 8:]].mean())


def test_positions_of_a_batch_are_those_of_the_model() -> None:
    model, batch = with_landmarks(), lesson(1)
    positions = torch.arange(batch.ids.shape[1]).expand(batch.ids.shape)
    jumping = positions + 7 * (positions > 5)
    with torch.no_grad():
        torch.testing.assert_close(loss(model, replace(batch, positions=positions), SHORT), loss(model, batch, SHORT))
        torch.testing.assert_close(loss(model, replace(batch, positions=positions + 50), SHORT), loss(model, batch, SHORT))  # only distances count
        assert abs(float(loss(model, replace(batch, positions=jumping), SHORT) - loss(model, batch, SHORT))) > 1e-4


def test_positions_jump_behind_landmarks_alone() -> None:
    model, batch = with_landmarks(), lesson(1)
    far = jumped(batch, LANDMARK, 9, Random("jump 1")).positions
    assert far is not None
    steps, marked = far.diff(dim=1), batch.ids == LANDMARK
    assert bool((steps[~marked[:, :-1]] == 1).all())
    assert 1 < int(steps.max()) <= 10
    assert not torch.equal(far[0], far[1])  # each row by itself
    again = jumped(batch, LANDMARK, 9, Random("jump 1"))
    assert torch.equal(far, again.positions)  # type: ignore[arg-type]
    further = jumped(again, LANDMARK, 9, Random("jump 1")).positions
    assert torch.equal(further - far, far - torch.arange(far.shape[1]))  # type: ignore[operator]
    with torch.no_grad():
        torch.testing.assert_close(loss(model, jumped(batch, LANDMARK, 0, Random(0)), SHORT), loss(model, batch, SHORT))
        assert abs(float(loss(model, again, SHORT) - loss(model, batch, SHORT))) > 1e-4
    with pytest.raises(Invalid, match="jump ahead"):
        jumped(batch, LANDMARK, -1, Random(0))


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    recipe = Recipe(steps=1000, rate=1.0)
    assert [recipe.rate_at(step) for step in (0, 9, 19, 20)] == pytest.approx([0.05, 0.5, 1.0, 1.0])
    assert recipe.rate_at(510) == pytest.approx(0.5)
    assert recipe.rate_at(1000) == 0.0
    assert FINE_TUNING.rate == 2e-5


@pytest.mark.parametrize("more", [{}, {"group_dropout": 0.3}, {"muon": True}])
def test_a_training_that_was_broken_off_goes_on_bit_by_bit(tmp_path: Path, more: dict[str, object]) -> None:
    recipe = replace(SHORT, **more)
    whole = Training(with_landmarks(), recipe, lesson)
    whole.train_to(tmp_path / "whole", 4)
    begun = Training(with_landmarks(), recipe, lesson)
    begun.train_to(tmp_path / "part", 2)
    after = Training(with_landmarks(seed=1), recipe, lesson)
    after.restore(tmp_path / "part")
    after.train_to(tmp_path / "part", 4)
    assert after.step == whole.step == 4
    for name, weight in whole.learning.items():
        assert torch.equal(weight, after.learning[name]), name
    with pytest.raises(Conflict, match="another training"):
        Training(with_landmarks(), replace(recipe, rate=0.5), lesson).restore(tmp_path / "part")


def test_it_stops_where_it_is_told_to(tmp_path: Path) -> None:
    training = Training(with_landmarks(), SHORT, lesson)
    seconds = iter(range(0, 1000, 10))
    training.train_to(tmp_path, 6, seconds=25, clock=lambda: float(next(seconds)))
    assert 0 < training.step < 6
    training.stop = True
    before = training.step
    training.train_to(tmp_path, 6)
    assert training.step == before
    with pytest.raises(Invalid, match="no landmarks yet"):
        Training(llama(), SHORT, lesson)


def test_dropped_groups_change_what_is_learnt_and_are_drawn_anew_for_each_batch() -> None:
    training = Training(with_landmarks(), replace(SHORT, group_dropout=0.5), lesson)
    first, second = (training._kept(lesson(number), number) for number in (0, 1))
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)
    batch = lesson(0)
    with torch.no_grad():
        assert float(loss(training.model, batch, SHORT, first)) != float(loss(training.model, batch, SHORT))


def test_each_batch_draws_how_many_blocks_are_seen() -> None:
    training = Training(with_landmarks(), replace(SHORT, top=(1, 2)), lesson)
    assert {training._top(number) for number in range(20)} == {1, 2}
    batch = lesson(0)
    with torch.no_grad():
        assert float(loss(training.model, batch, SHORT, top_blocks=1)) != float(loss(training.model, batch, SHORT))


def test_landmarks_of_other_rows_compete_where_the_grid_is_regular() -> None:
    training, batch = Training(with_landmarks(), SHORT, lesson), lesson(0)
    with torch.no_grad():
        alone, beside, no_more = (float(loss(training.model, batch, replace(SHORT, rivals=rivals))) for rivals in (0, len(batch.ids) - 1, 1000))
        assert alone != beside == no_more
        with pytest.raises(Invalid, match="rivals are rows with the same grid"):
            training.model(batch.ids, landmarks=batch.ids == LANDMARK, rivals=1)


def test_landmarks_learn_to_find_the_block_of_a_key() -> None:
    """Rows of three keys, each with its value, in blocks of their own, and then one of the keys again: its value stands behind a landmark."""
    generator = torch.Generator().manual_seed(0)

    def pairs(_: int) -> Batch:
        rows = torch.full((64, 3 * BLOCK + 2), 20)
        keys = torch.rand(64, 3, generator=generator).argsort(1) + 1
        values = torch.randint(10, 14, (64, 3), generator=generator)
        asked = torch.randint(0, 3, (64,), generator=generator)
        each = torch.arange(64)
        rows[:, 0 : 3 * BLOCK : BLOCK], rows[:, 1 : 3 * BLOCK : BLOCK] = keys, values
        rows[:, -2], rows[:, -1] = keys[each, asked], values[each, asked]
        weights = torch.zeros(rows.shape)
        weights[:, -1] = 1.0
        return Batch(*tokens.in_training(rows, BLOCK, LANDMARK, weights))

    training = Training(with_landmarks(initializer_range=0.08), Recipe(steps=150, rate=6e-3, accumulation=1), pairs)
    losses = [training.advance() for _ in range(80)]
    assert sum(losses[:5]) / 5 > 2
    assert sum(losses[-10:]) / 10 < 0.1
