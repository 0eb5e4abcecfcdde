"""Expected Attention: its statistics are those of the queries before rotation, and its score is the formula's."""

from __future__ import annotations

import math

import pytest
import torch

from activation.tiny_llama import llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.expected import COUNT, MEAN, SPREAD, ExpectedAttention
from mnemos.base.errors import Invalid

torch.set_num_threads(1)

LENGTH, FUTURE, SINKS, SIZE = 48, 24, 4, 8
ROOMY = {"tokens": 500, "future": FUTURE}


def heard(ids: torch.Tensor, chunk: int | None = None, mask: torch.Tensor | None = None) -> tuple[object, KVMemory, list[torch.Tensor]]:
    """A model, a memory of it that has read the tokens and not settled, and each layer's queries [B, H, t, d] before rotation, as its projection
    gave them."""
    model = llama()
    said: list[list[torch.Tensor]] = [[] for _ in model.model.layers]
    hooks = [layer.self_attn.q_proj.register_forward_hook(lambda _, __, out, its=its: its.append(out))
             for layer, its in zip(model.model.layers, said, strict=True)]  # fmt: skip
    memory = KVMemory.of(model, policy("expected", **ROOMY))
    for its in said:
        its.clear()  # what `of` read to find out the rotation
    run(model, memory, ids, chunk, mask)
    for hook in hooks:
        hook.remove()
    return model, memory, [torch.cat(its, 1).unflatten(-1, (-1, SIZE)).transpose(1, 2) for its in said]


def angle(place: int, pair: int) -> float:
    return place * 10000.0 ** (-2 * pair / SIZE)


def turned(place: int) -> torch.Tensor:
    """The rotation of a column of queries, as the paper has it."""
    matrix, half = torch.zeros(SIZE, SIZE, dtype=torch.float64), SIZE // 2
    for pair in range(half):
        cosine, sine = math.cos(angle(place, pair)), math.sin(angle(place, pair))
        matrix[pair, pair] = matrix[pair + half, pair + half] = cosine
        matrix[pair, pair + half], matrix[pair + half, pair] = -sine, sine
    return matrix


@pytest.mark.parametrize("covariance", [True, False])
def test_the_score_is_the_formula(covariance: bool) -> None:
    _model, memory, queries = heard(tokens(1, LENGTH))
    mean_rotation = sum((turned(LENGTH + ahead) for ahead in range(FUTURE)), torch.zeros(SIZE, SIZE, dtype=torch.float64)) / FUTURE
    for layer, its in zip(memory.managed, queries, strict=True):
        view = layer.view()
        shares = torch.zeros(2, LENGTH, dtype=torch.float64)
        for head in range(4):
            some = its[0, head, SINKS:].double()
            mean = mean_rotation @ some.mean(0)
            spread = mean_rotation @ torch.cov(some.T, correction=0) @ mean_rotation.T
            weights = torch.zeros(LENGTH, dtype=torch.float64)
            for place in range(SINKS, LENGTH):
                key = view.keys[0, head // 2, place].double()
                more = float(key @ spread @ key) / SIZE / 2 if covariance else 0.0
                weights[place] = math.exp(float(mean @ key) / math.sqrt(SIZE) + more)
            shares[head // 2] += weights / weights.sum()
        expected = shares * view.values[0].norm(dim=-1)
        scored = ExpectedAttention(FUTURE, SINKS, covariance).score(view)[0]
        assert torch.allclose(scored.double(), expected, rtol=1e-3, atol=1e-6)


def test_queries_count_alike_however_they_come() -> None:
    short, long = tokens(1, 31, seed=1), tokens(1, LENGTH, seed=2)
    both = torch.cat([torch.cat([torch.zeros(1, LENGTH - 31, dtype=torch.long), short], 1), long])
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, : LENGTH - 31] = 0
    _model, together, _ = heard(both, chunk=11, mask=mask)
    for row, alone in enumerate((short, long)):
        _model, by_itself, _ = heard(alone)
        for layer, its in zip(together.managed, by_itself.managed, strict=True):
            assert int(layer.notes[COUNT][row]) == int(its.notes[COUNT]) == alone.shape[1] - SINKS
            for name in (MEAN, SPREAD):
                assert torch.allclose(layer.notes[name][row], its.notes[name][0], rtol=1e-3, atol=1e-4)


def test_the_mean_alone_keeps_no_covariance() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("expected", tokens=20, recent=8, covariance=False))
    run(model, memory, tokens(1, LENGTH), chunk=11)
    memory.settle()
    assert all(layer.notes.keys() == {COUNT, MEAN} and layer.stored == 20 for layer in memory.managed)


def test_the_first_tokens_stay_and_what_was_heard_cannot_be_taken_back() -> None:
    model = llama()
    memory = KVMemory.of(model, policy("expected", tokens=20, recent=8))
    run(model, memory, tokens(1, LENGTH))
    assert not memory.is_croppable
    with pytest.raises(Invalid, match="has noted something"):
        memory.crop(-1)
    memory.settle()
    for layer in memory.managed:
        assert all({*range(4), *range(LENGTH - 8, LENGTH)} <= held and len(held) == 20 for held in layer.held()[0])
    with pytest.raises(Invalid, match="at least 1"):
        policy("expected", tokens=40, future=0)
