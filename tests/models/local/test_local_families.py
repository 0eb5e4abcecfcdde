"""One table of tests over all families: chunks, batches, turns and the library's own `generate` all say the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, SLIDES, model, tokens
from transformers import DynamicCache

from mnemos.base.errors import Invalid
from mnemos.base.protocols import LanguageModel

TOLERANCE = 1e-5
every_family = pytest.mark.parametrize("family", FAMILIES)


def apart(left: Any, right: Any) -> float:
    return float((left - right).abs().max())


def alone(family: str, ids: list[int], count: int) -> list[int]:
    """Greedy tokens by the module alone: the whole sequence is read for each, with no cache."""
    module, ids, start = model(family).module, list(ids), len(ids)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(module(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[start:]


@every_family
def test_it_is_a_language_model(family: str) -> None:
    assert isinstance(model(family), LanguageModel)
    assert model(family).decode(model(family).encode("Grüße, 世界")) == "Grüße, 世界"


@every_family
@pytest.mark.parametrize("length", [9, 60])
def test_logits_are_those_of_the_module_and_chunks_change_nothing(family: str, length: int) -> None:
    """60 tokens are beyond the windows, and beyond the switch of LongRoPE."""
    ids = tokens(length)
    with torch.no_grad():
        plain = model(family).module(torch.tensor([ids]), use_cache=False).logits[0]
    assert apart(model(family).logits(ids)[0], plain) <= TOLERANCE
    for chunk in (1, 7, 16, 17, length, 1000):
        assert apart(model(family).logits(ids, chunk=chunk)[0], plain) <= TOLERANCE
        prefilled = model(family).prefill(ids, chunk=chunk)
        assert apart(prefilled.logits[0], plain[-1]) <= TOLERANCE
        assert prefilled.lengths == (length,)
        assert prefilled.tokens == (tuple(ids),)


@every_family
def test_generation_is_greedy_and_as_the_library_generates(family: str) -> None:
    """Over the window, and over the switch of LongRoPE."""
    ids, count = tokens(30), 30
    expected = alone(family, ids, count)
    for chunk in (None, 8):
        (written,) = model(family).generate(ids, max_tokens=count, chunk=chunk, ends=()).run()
        assert written.tokens == expected
    made = model(family).module.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert made[0, len(ids) :].tolist() == expected
    assert len(set(expected)) > 3, "a model that repeats itself would show little"


@every_family
@pytest.mark.parametrize("chunk", [None, 6])
def test_a_batch_is_what_its_rows_are_alone(family: str, chunk: int | None) -> None:
    rows = [tokens(25, 1), tokens(3, 2), tokens(33, 3), tokens(33, 4)]
    count = 7 if family == "phi3-long" else 20
    together = model(family).prefill(rows, chunk=chunk)
    expected = [model(family).prefill(row) for row in rows]
    assert max(apart(together.logits[number], one.logits[0]) for number, one in enumerate(expected)) <= TOLERANCE
    scores = model(family).logits(rows, chunk=chunk)
    assert max(apart(score, model(family).logits(row)[0]) for score, row in zip(scores, rows, strict=True)) <= TOLERANCE
    written = model(family).generate(rows, max_tokens=count, chunk=chunk, ends=()).run()
    assert [row.tokens for row in written] == [model(family).generate(row, max_tokens=count, ends=()).run()[0].tokens for row in rows]


@every_family
def test_rows_that_end_early_leave_the_others_as_they_are(family: str) -> None:
    rows = [tokens(20, 1), tokens(7, 2), tokens(28, 3)]
    count = 10 if family == "phi3-long" else 24
    whole = [model(family).generate(row, max_tokens=count, ends=()).run()[0].tokens for row in rows]
    end = whole[0][2]
    cut = [row[: row.index(end) + 1] if end in row else row for row in whole]
    written = model(family).generate(rows, max_tokens=count, ends=[end]).run()
    assert [row.tokens for row in written] == cut
    assert written[0].ended == "end"
    assert len(written[0].tokens) <= 3


@every_family
def test_turns_are_what_one_prompt_is(family: str) -> None:
    """Read, generate, read more, generate: as if all had been given at once; also in a cache of transformers that the caller brings."""
    first, second = tokens(12, 1), tokens(9, 2)
    start = model(family).generate(first, max_tokens=8, ends=())
    (said,) = start.run()
    whole = [*first, *said.tokens, *second]
    plain = model(family).logits(whole)[0][-1]
    for chunk in (None, 4):
        cache = DynamicCache(config=model(family).module.config)
        stream = model(family).generate(first, cache, max_tokens=8, ends=(), chunk=chunk)
        stream.run()
        after = model(family).prefill(second, stream.context, chunk=chunk)
        assert after.tokens == (tuple(whole),)
        assert after.cache is cache
        assert apart(after.logits[0], plain) <= TOLERANCE
    raw = DynamicCache(config=model(family).module.config)
    model(family).prefill(whole[:20], raw)
    assert apart(model(family).prefill(whole[20:], raw).logits[0], plain) <= TOLERANCE


@every_family
def test_batches_have_turns_too(family: str) -> None:
    """Rows of unlike length, whose answers end at unlike places; layers with a window take this up to the window, and say so beyond."""
    sizes = ((4, 2), (3, 4)) if family in SLIDES else ((14, 6), (5, 9))
    rows, more = [tokens(sizes[0][0], 1), tokens(sizes[0][1], 2)], [tokens(sizes[1][0], 3), tokens(sizes[1][1], 4)]
    stream = model(family).generate(rows, max_tokens=3, ends=())
    written = stream.run()
    whole = [[*row, *said.tokens, *new] for row, said, new in zip(rows, written, more, strict=True)]
    after = model(family).prefill(more, stream.context)
    expected = [model(family).logits(row)[0][-1] for row in whole]
    assert max(apart(after.logits[number], one) for number, one in enumerate(expected)) <= TOLERANCE
    assert after.lengths == tuple(map(len, whole))
    if family in SLIDES:
        with pytest.raises(Invalid, match="one by one"):
            model(family).prefill([tokens(20), tokens(22)], after)


@every_family
@pytest.mark.parametrize("count", [1, 10, 40])
def test_bytes_are_those_of_the_tensors(family: str, count: int) -> None:
    cache = model(family).new_cache()
    model(family).prefill(tokens(count), cache)
    kept = sum(tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert model(family).kv_bytes(count) == kept
    assert model(family).memory_per_token() * count >= kept
    shapes = model(family).shapes
    assert len(shapes.layers) == 3
    assert bool(shapes.sliding) == (family in SLIDES)
    assert shapes.layers[0].key_dim == cache.layers[0].keys.shape[3]
