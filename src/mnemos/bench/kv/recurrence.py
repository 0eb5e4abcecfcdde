"""Traces of attention in which tokens come back after gaps, and how many returns find their token still held (sheet of LazyEviction, check 1).

A generated token is attended to for about 25 steps and then hardly ever again; 6 % of them, and 40 % of the prompt, come back again and again: after
short gaps first, then after gaps of their own around 150 steps. No model is run: the trace is the attention row of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnemos.activation.activations import GAP, LAST, activate, put_off, recurrence_scores
from mnemos.activation.chunks import Host
from mnemos.activation.demoted import SLOT, Copies, Demoted
from mnemos.activation.parts import Dense, joined
from mnemos.activation.policies.lazyeviction import LEAST_WINDOW, QUANTILE

Floats = NDArray[np.float64]
Score = Callable[["Held", int], Tensor]


@dataclass(frozen=True)
class Trace:
    """Steps of attention: `rows[t]` over all tokens up to then, prompt first; `returns[t]`, the tokens that come back in step t."""

    prompt: int
    rows: Sequence[Floats]
    returns: Sequence[NDArray[np.int64]]


@dataclass(frozen=True)
class Shape:
    """What a trace is made by; the numbers are the sheet's."""

    steps: int = 2000
    prompt: int = 100
    recurring: tuple[float, float] = (0.40, 0.06)
    """Of the prompt's tokens, and of those generated."""
    gap: float = 150.0
    spread: float = 0.5
    """Of the logarithm of the gaps."""
    least: float = 60.0
    most: float = 400.0
    lives: float = 25.0
    """Steps for which a token is attended to after it came, on average."""


def made(shape: Shape, seed: int) -> Trace:
    """A trace of that shape, the same for the same seed."""
    rng = np.random.default_rng(seed)
    total = shape.prompt + shape.steps
    born = np.concatenate([np.zeros(shape.prompt), np.arange(shape.steps)]).astype(int)
    shares = np.where(np.arange(total) < shape.prompt, shape.recurring[0], shape.recurring[1])
    recurs = rng.random(total) < shares
    gaps = np.clip(np.exp(rng.normal(np.log(shape.gap), shape.spread, total)), shape.least, shape.most)
    lives = rng.exponential(shape.lives, total)
    comes_back: list[list[int]] = [[] for _ in range(shape.steps)]
    for token in np.flatnonzero(recurs).tolist():
        at, times = float(born[token]), 0
        while True:
            grown = min(1.0, (times + 1) / 3)  # gaps grow to what they are
            at += max(2.0, gaps[token] * grown * rng.uniform(0.85, 1.15))
            if at >= shape.steps:
                break
            comes_back[int(at)].append(token)
            times += 1
    rows = []
    for step in range(shape.steps):
        count = shape.prompt + step + 1
        ages = step - born[:count]
        row = np.zeros(count)
        young = (ages < lives[:count]) & (rng.random(count) < 0.5)
        row[young] += rng.uniform(0.002, 0.02, int(young.sum()))
        row[comes_back[step]] += rng.uniform(0.01, 0.05, len(comes_back[step]))
        row[count - 1] += 0.05
        rows.append(0.97 * row / row.sum() + rng.uniform(0, min(1e-4, 0.06 / count), count))
    return Trace(shape.prompt, rows, [np.array(tokens, dtype=np.int64) for tokens in comes_back])


@dataclass
class Held:
    """What a cache holds at a step: the tokens, and what policies keep of them, [n] each."""

    tokens: Tensor
    last: Tensor
    gap: Tensor
    mass: Tensor
    newest: Tensor

    def take(self, index: Tensor) -> Held:
        """Only these places."""
        return Held(self.tokens[index], self.last[index], self.gap[index], self.mass[index], self.newest[index])


def lazy(held: Held, step: int) -> Tensor:
    """LazyEviction's score."""
    return recurrence_scores(held.last, held.gap, step)


def without_interval(held: Held, step: int) -> Tensor:
    """Without the term that grows with the interval."""
    return recurrence_scores(held.last, held.gap, step, interval=False)


def without_age(held: Held, step: int) -> Tensor:
    """Without the term that falls with the age."""
    return recurrence_scores(held.last, held.gap, step, age=False)


def without_patience(held: Held, step: int) -> Tensor:
    """As the paper has it: what came back once counts as due for ever."""
    return recurrence_scores(held.last, held.gap, step, patience=float("inf"))


def falling(held: Held, step: int) -> Tensor:
    """With a second term that falls with the interval, as some renderings of the paper read."""
    second = torch.where(held.gap > 0, 2 * torch.sigmoid(-held.gap / 100), 0.0)
    return recurrence_scores(held.last, held.gap, step, interval=False) + second


def raas(held: Held, step: int) -> Tensor:
    """The last activation."""
    return held.last


def h2o(held: Held, step: int) -> Tensor:
    """All attention so far."""
    return held.mass


def tova(held: Held, step: int) -> Tensor:
    """The newest attention."""
    return held.newest


def hit_rate(trace: Trace, score: Score, budget: int, window: int | None, threshold: float = 5e-4) -> float:
    """The share of returns whose token was held. Every `window` steps all but the best and the `window` newest tokens are dropped; None: the window
    is what most gaps so far fit into, within 32 and a third of the budget, as the policy finds it out."""
    prompt = trace.prompt
    held = Held(torch.arange(prompt), *(torch.zeros(prompt) for _ in range(4)))
    hits = found = waited = 0
    wait = window or LEAST_WINDOW
    for step, (row, returns) in enumerate(zip(trace.rows, trace.returns, strict=True), 1):
        newest = torch.tensor([prompt + step - 1])
        held = Held(torch.cat([held.tokens, newest]), *(torch.cat([mark, torch.zeros(1)]) for mark in (held.last, held.gap, held.mass, held.newest)))
        hits += int(np.isin(returns, held.tokens.numpy()).sum())
        found += len(returns)
        attention = torch.from_numpy(row)[held.tokens].float()
        held.last.masked_fill_(held.last == 0, step)
        activate(held.last, held.gap, attention, threshold, step)
        held.mass += attention
        held.newest = attention
        waited += 1
        if waited < wait:
            continue
        waited = 0
        if window is None and bool((held.gap > 0).any()):
            wait = max(LEAST_WINDOW, min(int(held.gap[held.gap > 0].quantile(QUANTILE)), budget // 3))
        if len(held.tokens) > budget:
            scores = score(held, step).clone()
            scores[held.tokens > prompt + step - 1 - wait] = torch.inf
            held = held.take(scores.topk(budget).indices.sort().values)
    return hits / max(1, found)


@dataclass(frozen=True)
class Returns:
    """Shares of the returns of a trace: that found their token near; that found it near because it had come back; and what was copied for it."""

    hits: float
    came_back: float
    copies: Copies


def demoting(trace: Trace, budget: int, window: int, margin: float, eager: bool, threshold: float = 5e-4) -> Returns:
    """`hit_rate` of LazyEviction where what goes lies far and comes back when it is expected, by the policy's own far store (keys are the tokens)."""
    prompt, hits, found, again = trace.prompt, 0, 0, 0
    tokens = torch.arange(prompt, dtype=torch.float32).view(1, 1, -1, 1)
    near = Dense(tokens, tokens, tokens[..., 0].int(), [0], {name: torch.zeros(1, 1, prompt, dtype=torch.int32) for name in (LAST, GAP, SLOT)})
    far = Demoted.none(near, Host())
    for step, (row, returns) in enumerate(zip(trace.rows, trace.returns, strict=True), 1):
        place = prompt + step - 1
        one = torch.full((1, 1, 1, 1), float(place))
        near = joined([near, Dense(one, one, one[..., 0].int(), [0], {name: torch.zeros(1, 1, 1, dtype=torch.int32) for name in near.marks})])
        held = near.positions[0, 0].numpy()
        back = held[(near.marks[SLOT][0, 0] > 0).numpy()]
        hits, found, again = hits + int(np.isin(returns, held).sum()), found + len(returns), again + int(np.isin(returns, back).sum())
        last, gap = near.marks[LAST], near.marks[GAP]
        last.masked_fill_(last == 0, step)
        activate(last, gap, torch.from_numpy(row)[held][None, None].float(), threshold, step)
        if step % window or near.length <= budget:
            continue
        recent = near.positions > place - window
        scores, _ = put_off(recurrence_scores(last, gap, step), last, gap, step, window, margin, eager)
        brought, far = far.passed(step - window, step).bring(far.expected(step, window, margin, (budget - window) // 2), near)
        order = scores.masked_fill(recent, torch.inf).topk(near.length, -1).indices
        gone = order[..., budget - brought.length :]
        far = far.put(near.take(gone), step)
        near = joined([brought, near.take(order[..., : budget - brought.length].sort(-1).values)])
    return Returns(hits / max(1, found), again / max(1, found), far.copies)
