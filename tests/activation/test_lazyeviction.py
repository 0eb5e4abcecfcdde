"""LazyEviction against a loop over tokens: activations, gaps, what is evicted and when, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.policies import policy
from mnemos.activation.policies.lazyeviction import GAP, LAST, Recurrence

HEADS, GROUP, SIZE, PROMPT, STEPS = 2, 2, 8, 12, 48
BUDGET, WINDOW, SINKS = 18, 4, 3


@dataclass
class Token:
    """What a head keeps of one."""

    place: int
    key: torch.Tensor
    value: torch.Tensor
    last: int = 0
    gap: int = 0


def attended(tokens: list[Token], query: torch.Tensor) -> tuple[list[float], torch.Tensor]:
    weights = torch.stack([token.key @ query for token in tokens]).div(math.sqrt(SIZE)).softmax(0)
    return weights.tolist(), sum((weight * token.value for weight, token in zip(weights, tokens, strict=True)), torch.zeros(SIZE))


def track(tokens: list[Token], paid: list[float], step: int, threshold: float | None) -> None:
    least = 0.75 / len(tokens) if threshold is None else threshold
    for token, attention in zip(tokens, paid, strict=True):
        if token.last == 0:
            token.last = step
        elif attention > least:
            token.gap, token.last = max(token.gap, step - token.last), step


def score(token: Token, step: int) -> float:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    return 2 * sigmoid((token.last - step) / max(1, token.gap)) + (2 * sigmoid(-1 / token.gap) if token.gap else 0)


@pytest.mark.parametrize("threshold", [None, 0.08, 0.0])
def test_it_tracks_and_evicts_as_a_loop_does(threshold: float | None) -> None:
    generator = torch.Generator().manual_seed(7)

    def drawn(heads: int, count: int) -> torch.Tensor:
        return torch.randn(1, heads, count, SIZE, generator=generator) * 1.5

    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS, threshold=threshold), 0)
    keys, values = drawn(HEADS, PROMPT), drawn(HEADS, PROMPT)
    layer.lazy_initialization(keys, values)
    scaling = 1 / math.sqrt(SIZE)
    layer.attend(drawn(HEADS * GROUP, PROMPT), keys, values, None, scaling, None, None)
    layer.settle()
    naive = [[Token(place, keys[0, head, place], values[0, head, place]) for place in range(PROMPT)] for head in range(HEADS)]
    evicted = 0
    for step in range(PROMPT, PROMPT + STEPS):
        queries, key, value = drawn(HEADS * GROUP, 1), drawn(HEADS, 1), drawn(HEADS, 1)
        output = layer.attend(queries, key, value, None, scaling, None, None)[0, 0]
        for head, tokens in enumerate(naive):
            tokens.append(Token(step, key[0, head, 0], value[0, head, 0]))
            own = [attended(tokens, queries[0, head * GROUP + each, 0]) for each in range(GROUP)]
            assert torch.allclose(output[head * GROUP : (head + 1) * GROUP], torch.stack([mixed for _, mixed in own]), atol=1e-5)
            track(tokens, [max(weights) for weights in zip(*(paid for paid, _ in own), strict=True)], step, threshold)
            if (step + 1 - PROMPT) % WINDOW == 0 and len(tokens) > BUDGET:
                between, held = tokens[SINKS:-WINDOW], layer.held()[0][head]
                gone = sorted(score(token, step + 1) for token in between if token.place not in held)
                left = sorted(score(token, step + 1) for token in between if token.place in held)
                ranked = sorted(score(token, step + 1) for token in between)
                assert (gone, left) == (ranked[: len(tokens) - BUDGET], ranked[len(tokens) - BUDGET :])  # which of equal ones goes is open
                naive[head] = [token for token in tokens[:SINKS] + between if token.place in held] + tokens[-WINDOW:]
                evicted += len(gone)
        assert layer.held()[0] == [{token.place for token in tokens} for tokens in naive]
        assert layer.stored <= BUDGET + WINDOW
        marks = layer.view().marks
        assert marks[LAST].dtype == marks[GAP].dtype == torch.int32
        assert marks[LAST][0].tolist() == [[token.last for token in tokens] for tokens in naive]
        assert marks[GAP][0].tolist() == [[token.gap for token in tokens] for tokens in naive]
    assert evicted == HEADS * (PROMPT + STEPS - BUDGET)


def test_a_prompt_over_the_budget_is_compressed_once_and_the_queries_let_go_of() -> None:
    generator = torch.Generator().manual_seed(1)
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS), 0)
    states = torch.randn(1, HEADS, 40, SIZE, generator=generator)
    layer.lazy_initialization(states, states)
    layer.attend(torch.randn(1, HEADS * GROUP, 40, SIZE, generator=generator), states, states, None, 1.0, None, None)
    assert layer.queries()["states"].shape[2] == 32
    layer.settle()
    assert (layer.stored, layer.queries()) == (BUDGET, {})
    assert all({0, 1, 2, 39} <= held for held in layer.held()[0])


def test_rows_that_hold_unequally_many_have_thresholds_of_their_own() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS), 0)
    states = torch.ones(2, HEADS, 10, SIZE)
    layer.lazy_initialization(states, states)
    positions = torch.arange(10).expand(2, -1).clone()
    positions[0, :6] = -1
    layer.tail.append(states, states, positions.int())
    assert Recurrence()._least(layer, layer.tail.part())[:, 0, 0].tolist() == pytest.approx([0.75 / 4, 0.75 / 10])  # type: ignore[index]
