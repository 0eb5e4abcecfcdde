"""LazyEviction against a loop over tokens: activations, gaps, what is evicted and when, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from mnemos.activation.activations import (
    GAP,
    LAST,
    MOST,
    UNCOUNTED,
    Recurrence,
    activate,
    begun,
    counted,
    longest_run,
    ones,
    recurrence_scores,
)
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.policies import policy
from mnemos.base.errors import Invalid
from mnemos.base.recurrence import Recurrence as Tracker
from mnemos.bench.kv.recurrence import Shape, falling, hit_rate, lazy, made, raas

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


@dataclass
class Threshold:
    """What a head finds out."""

    least: float
    moves: bool
    calls: int = 0
    steps: int = 0

    def look(self) -> None:
        if self.moves and self.steps >= 16:
            rate = self.calls / self.steps
            if not 0.5 <= rate <= 2:
                self.least = min(0.5, self.least * max(0.25, min(8.0, rate)))
            self.calls = self.steps = 0


def track(tokens: list[Token], paid: list[float], step: int, threshold: Threshold) -> None:
    for token, attention in zip(tokens, paid, strict=True):
        active = attention > threshold.least
        threshold.calls += active
        if token.last == 0:
            token.last = step
        elif active:
            token.gap, token.last = max(token.gap, step - token.last), step
    threshold.steps += 1


def score(token: Token, step: int) -> float:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    gap = 0 if step - token.last > 8 * token.gap else token.gap
    return 2 * sigmoid((token.last - step) / max(1, gap)) + (2 * sigmoid(-1 / gap) if gap else 0)


@pytest.mark.parametrize(("threshold", "budget", "window"), [(None, BUDGET, WINDOW), (0.08, BUDGET, WINDOW), (0.0, BUDGET, WINDOW), (0.1, 42, 36)])
def test_it_tracks_and_evicts_as_a_loop_does(threshold: float | None, budget: int, window: int) -> None:
    generator = torch.Generator().manual_seed(7)
    steps = STEPS if window == WINDOW else 2 * window

    def drawn(heads: int, count: int) -> torch.Tensor:
        return torch.randn(1, heads, count, SIZE, generator=generator) * 1.5

    layer = MemoryLayer(policy("lazyeviction", tokens=budget, window=window, sinks=SINKS, threshold=threshold), 0)
    keys, values = drawn(HEADS, PROMPT), drawn(HEADS, PROMPT)
    layer.lazy_initialization(keys, values)
    scaling = 1 / math.sqrt(SIZE)
    layer.attend(drawn(HEADS * GROUP, PROMPT), keys, values, None, scaling, None, None)
    layer.settle()
    naive = [[Token(place, keys[0, head, place], values[0, head, place]) for place in range(PROMPT)] for head in range(HEADS)]
    evicted, thresholds = 0, [Threshold(0.75 / (PROMPT + 1) if threshold is None else threshold, threshold is None) for _ in range(HEADS)]
    for step in range(PROMPT, PROMPT + steps):
        queries, key, value = drawn(HEADS * GROUP, 1), drawn(HEADS, 1), drawn(HEADS, 1)
        output = layer.attend(queries, key, value, None, scaling, None, None)[0, 0]
        for head, tokens in enumerate(naive):
            tokens.append(Token(step, key[0, head, 0], value[0, head, 0]))
            own = [attended(tokens, queries[0, head * GROUP + each, 0]) for each in range(GROUP)]
            assert torch.allclose(output[head * GROUP : (head + 1) * GROUP], torch.stack([mixed for _, mixed in own]), atol=1e-5)
            track(tokens, [max(weights) for weights in zip(*(paid for paid, _ in own), strict=True)], step, thresholds[head])
            if (step + 1 - PROMPT) % window == 0:
                thresholds[head].look()
            if (step + 1 - PROMPT) % window == 0 and len(tokens) > budget:
                between, held = tokens[SINKS:-window], layer.held()[0][head]
                gone = sorted(score(token, step + 1) for token in between if token.place not in held)
                left = sorted(score(token, step + 1) for token in between if token.place in held)
                ranked = sorted(score(token, step + 1) for token in between)
                assert (gone, left) == (ranked[: len(tokens) - budget], ranked[len(tokens) - budget :])  # which of equal ones goes is open
                naive[head] = [token for token in tokens[:SINKS] + between if token.place in held] + tokens[-window:]
                evicted += len(gone)
        assert layer.held()[0] == [{token.place for token in tokens} for tokens in naive]
        assert layer.stored <= budget + window
        if step % 3 if window == WINDOW else step < PROMPT + steps - 1:
            continue  # so that several steps are counted at once
        layer.policy.scorer.count(layer)  # type: ignore[attr-defined]
        for each in thresholds:
            each.look()
        marks = layer.view().marks
        assert marks[LAST].dtype == marks[GAP].dtype == torch.int32
        assert marks[LAST][0].tolist() == [[token.last for token in tokens] for tokens in naive]
        assert marks[GAP][0].tolist() == [[token.gap for token in tokens] for tokens in naive]
    assert evicted == HEADS * (PROMPT + steps - budget)


def test_a_prompt_over_the_budget_is_compressed_once_and_the_queries_let_go_of() -> None:
    generator = torch.Generator().manual_seed(1)
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS), 0)
    states = torch.randn(1, HEADS, 40, SIZE, generator=generator)
    layer.lazy_initialization(states, states)
    layer.attend(torch.randn(1, HEADS * GROUP, 40, SIZE, generator=generator), states, states, None, 1.0, None, None)
    assert layer.recent.tensors()["states"].shape[2] == 32
    layer.settle()
    assert (layer.stored, layer.recent.tensors()) == (BUDGET, {})
    assert all({0, 1, 2, 39} <= held for held in layer.held()[0])


def test_rows_that_hold_unequally_many_begin_with_thresholds_of_their_own() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS), 0)
    states = torch.ones(2, HEADS, 10, SIZE)
    layer.lazy_initialization(states, states)
    positions = torch.arange(10).expand(2, -1).clone()
    positions[0, :6] = -1
    layer.tail.append(states, states, positions.int())
    assert Recurrence().least(layer, layer.tail.part())[:, 0, 0].tolist() == pytest.approx([0.75 / 4, 0.75 / 10])  # type: ignore[index]


def test_steps_that_are_counted_at_once_count_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(2)
    bits = torch.randint(0, 1 << MOST, (1, 3, 400), generator=generator, dtype=torch.int32)
    bits &= torch.randint(0, 1 << MOST, bits.shape, generator=generator, dtype=torch.int32) & -torch.randint(0, 9, bits.shape, generator=generator)
    bits[..., :4] = torch.tensor([0, 1, 1 << (MOST - 1), (1 << MOST) - 1])
    last = torch.randint(1, 100, bits.shape, generator=generator, dtype=torch.int32)
    gap = torch.randint(0, 40, bits.shape, generator=generator, dtype=torch.int32)
    one_by_one = last.clone(), gap.clone()
    for number in range(MOST):
        activate(*one_by_one, bits & (1 << number), 0, 100 + number)
    counted(last, gap, bits, 100)
    assert (last.tolist(), gap.tolist()) == tuple(each.tolist() for each in one_by_one)
    assert ones(bits).flatten().tolist() == [number.bit_count() for number in bits.flatten().tolist()]
    runs = [max(map(len, f"{number:b}".split("0"))) for number in bits.flatten().tolist()]
    assert longest_run(bits).flatten().tolist() == runs


def test_what_is_new_begins_when_it_came_and_a_prompt_with_the_first_step() -> None:
    lasts = [torch.tensor([[[0, 7]]], dtype=torch.int32), torch.tensor([[[5, 0, 0, 0]]], dtype=torch.int32)]
    begun(lasts, 9, 2)
    assert [last.tolist() for last in lasts] == [[[[9, 7]]], [[[5, 9, 9, 10]]]]


def test_a_prompt_between_steps_that_are_not_counted_yet_begins_with_the_next_step() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=60, window=16, sinks=SINKS, threshold=1.0), 0)
    assert list(decoded(layer, 3)) == [1, 2, 3]
    for count in (4, 1):
        states = torch.ones(1, HEADS, count, SIZE)
        layer.attend(torch.ones(1, HEADS * GROUP, count, SIZE), states, states, None, 0.5, None, None)
    layer.policy.scorer.count(layer)  # type: ignore[attr-defined]
    assert layer.view().marks[LAST][0].tolist() == [[*[12] * PROMPT, 12, 13, 14, *[19] * 5]] * HEADS


def decoded(layer: MemoryLayer, steps: int, seed: int = 3) -> Iterator[int]:
    """Reads a prompt and then steps, whose numbers it gives."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, HEADS, PROMPT, SIZE, generator=generator)
    layer.lazy_initialization(states, states)
    layer.attend(torch.randn(1, HEADS * GROUP, PROMPT, SIZE, generator=generator), states, states, None, 0.5, None, None)
    for step in range(1, steps + 1):
        state = torch.randn(1, HEADS, 1, SIZE, generator=generator)
        layer.attend(torch.randn(1, HEADS * GROUP, 1, SIZE, generator=generator), state, state, None, 0.5, None, None)
        yield step


def test_gaps_never_shrink_and_nothing_goes_between_evictions() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS), 0)
    known: list[dict[int, int]] = [{} for _ in range(HEADS)]
    held: list[set[int]] = [set() for _ in range(HEADS)]
    for step in decoded(layer, STEPS):
        layer.policy.scorer.count(layer)  # type: ignore[attr-defined]
        positions, gaps = layer.view().positions[0].tolist(), layer.view().marks[GAP][0].tolist()
        for head in range(HEADS):
            now = dict(zip(positions[head], gaps[head], strict=True))
            assert all(gap >= known[head].get(place, 0) for place, gap in now.items())
            assert step % WINDOW == 0 or held[head] <= now.keys()
            assert set(range(PROMPT + step - WINDOW, PROMPT + step)) <= now.keys()
            known[head], held[head] = now, set(now)


def test_where_all_attention_counts_all_are_equal_and_the_oldest_go() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=BUDGET, window=WINDOW, sinks=SINKS, threshold=0.0), 0)
    for step in decoded(layer, 10 * WINDOW):
        if step % WINDOW == 0 and step > WINDOW:
            newest = PROMPT + step
            assert layer.held() == [[{*range(SINKS), *range(newest - BUDGET + SINKS, newest)}] * HEADS]
            assert set(layer.view().marks[GAP][..., :-1].flatten().tolist()) == {1}


def test_what_never_came_back_goes_by_age_however_old() -> None:
    ages = torch.tensor([0, 1, 90, 150, 4000, 100_000])
    scores = recurrence_scores(200_000 - ages, torch.zeros_like(ages), 200_000)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert len(set(scores.tolist())) == len(ages)
    assert float(scores[0]) == 1.0
    long, short = recurrence_scores(torch.tensor([0, 0]), torch.tensor([150, 10]), 150)
    assert long > scores[3] == short  # silent for longer than eight times its gap, as if it had never come back
    assert recurrence_scores(torch.tensor(0), torch.tensor(10), 150, patience=math.inf) > scores[0] / 2
    assert recurrence_scores(torch.tensor([70, 70]), torch.tensor([150, 20]), 150).diff() < 0  # the score grows with the gap


def test_a_threshold_is_moved_until_a_token_a_step_is_active() -> None:
    layer = MemoryLayer(policy("lazyeviction", tokens=60, window=16, sinks=SINKS), 0)
    active = []
    for step in decoded(layer, 30 * 16):
        if step % 16 == 15:
            active.append(int(ones(layer.view().marks[UNCOUNTED]).sum()) / 15 / HEADS)
    assert active[0] > 3 > 2 > sum(active[-5:]) / 5 > 0.5


def test_the_term_that_grows_with_the_gap_keeps_what_comes_back() -> None:
    trace = made(Shape(steps=900), 1)
    assert hit_rate(trace, lazy, 200, 80) > max(hit_rate(trace, falling, 200, 80), hit_rate(trace, raas, 200, 80)) + 0.05


def test_tokens_are_tracked_and_kept_as_things_with_names_are() -> None:
    generator = torch.Generator().manual_seed(5)
    tracker = Tracker[int]()
    last, gap = (torch.zeros(1, 1, 40, dtype=torch.int32) for _ in range(2))
    for step in range(1, 60):
        active = torch.rand(1, 1, 40, generator=generator) > 0.95
        if step == 1:
            last += 1
            tracker.observe(range(40), 1)
        activate(last, gap, active.float(), 0.5, step)
        tracker.observe(active[0, 0].nonzero().flatten().tolist(), step)
        rated = tracker.score(step)
        assert recurrence_scores(last, gap, step)[0, 0].tolist() == pytest.approx([rated[token] for token in range(40)], abs=1e-5)


def test_of_query_heads_that_share_a_key_the_largest_or_the_mean_counts() -> None:
    paid = torch.tensor([0.3, 0.0]).view(1, 1, 2, 1, 1)
    layer, piece = MemoryLayer(policy("lazyeviction", tokens=60), 0), None
    assert bool(Recurrence(0.2).active(layer, piece, paid))  # type: ignore[arg-type]
    assert not bool(Recurrence(0.2, heads="mean").active(layer, piece, paid))  # type: ignore[arg-type]
    for wrong in ({"heads": "least"}, {"prompt": "start"}):
        with pytest.raises(Invalid, match="heads is 'max' or 'mean'"):
            policy("lazyeviction", tokens=60, **wrong)


def test_a_prompt_may_begin_with_what_its_last_queries_attended_to() -> None:
    generator = torch.Generator().manual_seed(4)
    count, window = 50, 32
    states, queries = torch.randn(1, HEADS, count, SIZE, generator=generator), torch.randn(1, HEADS * GROUP, count, SIZE, generator=generator)
    layer = MemoryLayer(policy("lazyeviction", tokens=90, window=4, threshold=0.1, prompt="attention"), 0)
    layer.lazy_initialization(states, states)
    layer.attend(queries, states, states, None, 1.0, None, None)
    layer.settle()
    scores = (queries.view(1, HEADS, GROUP, count, SIZE) @ states.unsqueeze(2).mT).masked_fill(torch.ones(count, count).triu(1) > 0, -torch.inf)
    paid = scores.softmax(-1).amax(2)[0]
    first, marks = count - window, layer.view().marks
    for head in range(HEADS):
        for token in range(count):
            last, gap = max(first, token), 0
            for step in range(first, count):
                if paid[head, step, token] > 0.1:
                    gap, last = max(gap, step - last), step
            assert (int(marks[LAST][0, head, token]), int(marks[GAP][0, head, token])) == (last, gap)
