"""Landmark attention within a model of transformers."""

from __future__ import annotations

import pytest
import torch
from landmark_dense import Segmentwise
from landmark_llama import BLOCK, LANDMARK, ids, llama, with_landmarks
from transformers import LogitsProcessorList

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.attention import install
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


def logits(model: torch.nn.Module, row: list[int], **more: object) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([row]), use_cache=False, **more).logits[0]  # type: ignore[no-any-return]


def test_a_model_attends_by_landmarks_as_the_paper_says() -> None:
    model, row = with_landmarks(), tokens.insert(ids(33), BLOCK, LANDMARK)
    dense = Segmentwise(model, BLOCK, top=99, segment=len(row), stingy=False).logits(row)
    torch.testing.assert_close(logits(model, row), dense, atol=1e-4, rtol=0)
    marks = torch.tensor([row]) == LANDMARK
    torch.testing.assert_close(logits(model, row, landmarks=marks), dense, atol=1e-4, rtol=0)


def test_before_the_first_landmark_it_is_the_plain_model() -> None:
    row = ids(BLOCK)
    torch.testing.assert_close(logits(with_landmarks(), row), logits(llama(), row), atol=1e-5, rtol=0)


def test_rows_with_padding_before_them_are_read_as_if_they_stood_alone() -> None:
    model = with_landmarks()
    sequences = [ids(17, 1), ids(6, 2), ids(9, 3)]
    rows = tokens.batch(sequences, BLOCK, LANDMARK, pad=0)
    with torch.no_grad():
        together = model(use_cache=False, **rows.inputs()).logits
    for number, sequence in enumerate(sequences):
        alone = logits(model, tokens.insert(sequence, BLOCK, LANDMARK))
        torch.testing.assert_close(together[number, -len(alone) :], alone, atol=1e-4, rtol=0)


def test_a_moved_grid_has_to_be_said() -> None:
    rows = tokens.batch([ids(9), ids(5)], BLOCK, LANDMARK, pad=0).inputs()
    with pytest.raises(Invalid, match="begins with padding"):
        with_landmarks()(use_cache=False, **{name: each for name, each in rows.items() if name != "landmarks"})
    with pytest.raises(Invalid, match="it says of all"):
        with_landmarks()(use_cache=False, **{**rows, "landmarks": rows["landmarks"][:, 1:]})


def test_padding_at_the_end_changes_nothing() -> None:
    model, row = with_landmarks(), tokens.insert(ids(11), BLOCK, LANDMARK)
    padded = torch.tensor([row + [0] * 5])
    with torch.no_grad():
        got = model(input_ids=padded, attention_mask=(padded != 0).long(), use_cache=False).logits[0, : len(row)]
    torch.testing.assert_close(got, logits(model, row), atol=1e-4, rtol=0)


@pytest.mark.parametrize("regular", [True, False])
def test_dropped_blocks_have_no_influence_on_later_ones(regular: bool) -> None:
    model, row = with_landmarks(), tokens.insert(ids(19), BLOCK, LANDMARK)
    kept = torch.tensor([[True, False, True, True]])
    more = {} if regular else {"landmarks": torch.tensor([row]) == LANDMARK}
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([row]), use_cache=False, kept_blocks=kept, **more).last_hidden_state
        other = [*row[:5], *ids(4, 77), LANDMARK, *row[10:]]
        moved = model.model(input_ids=torch.tensor([other]), use_cache=False, kept_blocks=kept, **more).last_hidden_state
    assert torch.equal(hidden[0, 10:], moved[0, 10:])
    assert not torch.equal(hidden[0, 5:10], moved[0, 5:10])


def test_the_best_blocks_are_the_same_in_any_layout_and_all_where_there_are_no_more() -> None:
    model, row = with_landmarks(), tokens.insert(ids(23), BLOCK, LANDMARK)
    some = {"input_ids": torch.tensor([row]), "use_cache": False}
    marked = torch.tensor([row]) == LANDMARK
    with torch.no_grad():
        every, two, nine = (model(**some, top_blocks=top).logits for top in (None, 2, 9))
        scattered = model(**some, top_blocks=2, landmarks=marked).logits
    torch.testing.assert_close(two, scattered, atol=1e-4, rtol=0)
    assert torch.equal(every, nine)
    assert not torch.allclose(every, two, atol=1e-4)


def test_token_by_token_with_a_cache_is_all_at_once_and_generation_keeps_the_grid() -> None:
    model, begun = with_landmarks(), tokens.insert(ids(10), BLOCK, LANDMARK)
    room = tokens.length_with(9, BLOCK, filled=10 % BLOCK)
    processor = LogitsProcessorList([tokens.LandmarkProcessor(BLOCK, LANDMARK)])
    out = model.generate(torch.tensor([begun]), max_new_tokens=room, do_sample=False, logits_processor=processor)[0].tolist()
    assert [place for place, one in enumerate(out) if one == LANDMARK] == list(range(BLOCK, len(out), BLOCK + 1))
    new = tokens.strip(out[len(begun) :], LANDMARK)
    assert len(new) == 9
    whole = logits(model, out)
    assert all(int(whole[place - 1, :LANDMARK].argmax()) == out[place] for place in range(len(begun), len(out)) if out[place] != LANDMARK)


def test_models_that_cannot_are_refused() -> None:
    with pytest.raises(Invalid, match="ids go from 0 to 59"):
        install(llama(), BLOCK, 60)
    model = llama(attention_dropout=0.5)
    install(model, BLOCK, LANDMARK)
    with pytest.raises(Invalid, match="attention_dropout"):
        model.train()(input_ids=torch.tensor([ids(9)]))
    bare = llama()
    bare.set_attn_implementation("landmark")
    with pytest.raises(Invalid, match="install"):
        bare(input_ids=torch.tensor([ids(9)]))
