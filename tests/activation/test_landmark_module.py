"""A model with landmarks behind the face of one without: nobody sees a landmark, and text is what token by token makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from activation.landmark.landmark_llama import BLOCK, LANDMARK, WORDS, ids, llama, with_landmarks
from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.saving import dump, load
from mnemos.base.errors import Invalid
from mnemos.base.protocols import Sampling
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)


def fond_of_landmarks() -> Any:
    """A model that would say landmarks all the time."""
    model = with_landmarks()
    with torch.no_grad():
        model.lm_head.weight[LANDMARK] = 5 * model.lm_head.weight[:LANDMARK].abs().max(0).values * model.lm_head.weight[1].sign()
    return model


def by_hand(model: Any, prompt: list[int], count: int) -> list[int]:
    """Greedy, each token and each landmark given by itself; the model would have said a landmark somewhere."""
    memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2))
    grid, out, place, logits, wanted = tokens.Grid(BLOCK, LANDMARK), [], 0, torch.zeros(0), 0

    def read(one: int) -> torch.Tensor:
        nonlocal place
        given = torch.tensor([[one]])
        with torch.no_grad():
            said = model(given, position_ids=torch.tensor([[place]]), cache=memory, landmarks=given == LANDMARK).logits[0, -1]
        place += 1
        return said

    for one in prompt:
        logits = read(one)
        if grid.insert([one])[-1] == LANDMARK:
            logits = read(LANDMARK)
    for _ in range(count):
        wanted += int(logits.argmax()) == LANDMARK
        logits[LANDMARK] = -torch.inf
        out.append(int(logits.argmax()))
        logits = read(out[-1])
        if grid.insert([out[-1]])[-1] == LANDMARK:
            logits = read(LANDMARK)
    assert wanted
    return out


@pytest.mark.parametrize("length", [3, 4, 21])
def test_generation_never_shows_a_landmark_and_goes_on_as_landmarks_by_hand(length: int) -> None:
    model, prompt = fond_of_landmarks(), ids(length)
    local = LocalModel(Landmarked(model, top=2))
    made = local.generate(prompt, max_tokens=14)
    (written,) = made.run()
    assert written.tokens == by_hand(model, prompt, 14)
    assert LANDMARK not in written.tokens
    assert made.context.lengths == (length + 13,)


def test_at_true_positions_there_are_as_many_words_as_the_model_has_places_for() -> None:
    model = with_landmarks()
    places, block = model.config.max_position_embeddings, BLOCK
    for stingy, words in ((True, 0), (False, places // (block + 1) * block)):
        assert Landmarked(model, top=2, stingy=stingy).config.max_position_embeddings == words


def test_sampled_text_has_none_either() -> None:
    local = LocalModel(Landmarked(fond_of_landmarks(), top=2))
    (written,) = local.generate(ids(9), max_tokens=25, sampling=Sampling(temperature=3.0, seed=1)).run()
    assert LANDMARK not in written.tokens


def test_a_batch_is_its_rows_and_chunks_are_the_whole() -> None:
    local, prompts = LocalModel(Landmarked(with_landmarks(), top=2)), [ids(7, 1), ids(18, 2)]
    together = [written.tokens for written in local.generate(prompts, max_tokens=9).run()]
    assert together == [local.generate(prompt, max_tokens=9).run()[0].tokens for prompt in prompts]
    assert together[1] == local.generate(prompts[1], max_tokens=9, chunk=5).run()[0].tokens


def test_logits_say_what_comes_after_a_token_and_its_landmark() -> None:
    model, prompt = with_landmarks(), ids(21)
    local = LocalModel(Landmarked(model, top=9))
    (found,) = local.logits(prompt)
    wide = tokens.insert(prompt, BLOCK, LANDMARK)
    with torch.no_grad():
        expected = model(torch.tensor([wide]), cache=KVMemory.of(model, policy("landmark", block=BLOCK, top=9)),
                         landmarks=torch.tensor([wide]) == LANDMARK).logits[0]  # fmt: skip
    expected = expected[[place for place, _ in enumerate(wide) if [*wide, 1][place + 1] != LANDMARK]]
    assert found.shape == (21, WORDS)
    assert torch.allclose(found[:, :LANDMARK], expected[:, :LANDMARK], atol=1e-4)
    assert bool((found[:, LANDMARK] == -torch.inf).all())


def test_turns_go_on_with_what_was_read_saved_or_not() -> None:
    module = Landmarked(with_landmarks(), top=2)
    local, prompt, more = LocalModel(module), ids(18), ids(9, 5)
    once = local.generate([*prompt, *more], max_tokens=8).run()[0].tokens
    past = local.prefill(prompt)
    assert past.slots == past.cache.get_seq_length() == 18
    loaded = load(module.model, dump(past.cache, "it"), "it", module.policy)
    assert local.generate(more, past, max_tokens=8).run()[0].tokens == once
    assert local.generate(more, loaded, max_tokens=8).run()[0].tokens == once


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(Invalid, match="prepared"):
        Landmarked(llama())
    module = Landmarked(with_landmarks(), top=2)
    with pytest.raises(Invalid, match="is the landmark"):
        LocalModel(module).prefill([1, LANDMARK, 2])
    with pytest.raises(Invalid, match="new_cache"):
        LocalModel(module).prefill([1, 2], KVMemory.of(module.model))
