"""What growing and decoding in an arena cost, beside caches that concatenate, pages that are gathered, and a tensor allocated beforehand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Cache, DynamicCache

from mnemos.activation.arena.arena import Arena
from mnemos.activation.arena.backend import KIB
from mnemos.activation.arena.cpu import CpuBackend
from mnemos.activation.arena.layers import ArenaCache
from mnemos.activation.arena.layout import Layout
from mnemos.base.stats import percentiles
from mnemos.bench.result import Check

HEADS, DIM = 8, 64
TOKENS = 4096
PAGED_FROM, PAGED_BLOCK = 2048, 16
Step = Callable[[Tensor], object]
"""Takes in one token's states (1, heads, 1, dim) and does what a decoding step does."""


def measure(quick: bool, say: Callable[[str], None]) -> tuple[list[Check], dict[str, Any]]:
    """Checks, and a table of times."""
    say("growth")
    growth, grown = _growth(1 if quick else 3)
    say("gathered pages")
    paged, gathered = _paged(8 if quick else 40)
    say("steady decoding")
    steady, decoded = _steady(40 if quick else 200)
    say("overlap")
    overlap, overlapped = _overlap(300 if quick else 600)
    return [growth, paged, *steady, *overlap], {"Times": {**grown, **gathered, **decoded, **overlapped}}


def _arena(layers: int) -> Arena:
    return Arena(Layout(layers, HEADS, DIM, "float32", 1, 8192))


def in_turns(arms: Sequence[Callable[[], object]], steps: int) -> np.ndarray:
    """Seconds of processor time (arms, steps), of this thread, in which all of it is done; arms take turns, each first as often as any other."""
    took = np.zeros((len(arms), steps))
    for step in range(steps):
        for place in range(len(arms)):
            arm = (place + step) % len(arms)
            start = time.thread_time()
            arms[arm]()
            took[arm, step] = time.thread_time() - start
    return took


def ratio(took: np.ndarray, block: int) -> tuple[float, tuple[float, float], int]:
    """Of the first arm's time to the second's: median over runs of `block` steps side by side, its 95 % interval by order statistics, and runs."""
    runs = took.shape[1] // block
    sums = took[:, : runs * block].reshape(2, runs, block).sum(2)
    ratios = np.sort(sums[0] / sums[1])
    half = 0.98 * np.sqrt(runs)
    low, high = max(0, int(np.floor(runs / 2 - half))), min(runs - 1, int(np.ceil(runs / 2 + half)))
    return float(np.median(ratios)), (float(ratios[low]), float(ratios[high])), runs


def _growth(rounds: int) -> tuple[Check, dict[str, Any]]:
    """One layer gains 4,096 tokens, one at a time."""
    states = torch.randn(1, HEADS, 1, DIM)
    ratios, totals = [], []
    for _ in range(rounds):
        with _arena(1) as arena:
            caches: list[Cache] = [DynamicCache(), ArenaCache(arena, overlap=False)]
            took = in_turns([lambda cache=cache: cache.update(states, states, 0) for cache in caches], TOKENS)  # type: ignore[misc]
        totals.append(took.sum(1))
        ratios.append(float(totals[-1][0] / totals[-1][1]))
    concatenating, in_place = np.median(totals, 0)
    times = {"4,096 tokens one by one, concatenating": {"ms": concatenating * 1e3}, "4,096 tokens one by one, arena": {"ms": in_place * 1e3}}
    return Check("growth by 4,096 tokens: concatenating ÷ arena", float(np.median(ratios)), 5.0, n=rounds * TOKENS), times


class _Paged:
    """A cache in blocks of 16 tokens, which a step gathers before attention: what a kernel without block tables needs."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        self._tokens = keys.shape[1]
        blocks = -(-(self._tokens + room) // PAGED_BLOCK)
        # Blocks as a pool hands them out after a while: in no order.
        self._table = torch.randperm(blocks, generator=torch.Generator().manual_seed(0))
        self._pools = []
        for rows in (keys, values):
            pool = torch.zeros(blocks, PAGED_BLOCK, HEADS, DIM)
            whole = torch.zeros(blocks * PAGED_BLOCK, HEADS, DIM)
            whole[: self._tokens] = rows[0]
            pool[self._table] = whole.view(blocks, PAGED_BLOCK, HEADS, DIM)
            self._pools.append(pool)

    def step(self, states: Tensor) -> Tensor:
        block, row = divmod(self._tokens, PAGED_BLOCK)
        at = self._table[block]
        self._tokens += 1
        gathered = []
        for pool in self._pools:
            pool[at, row] = states[0, :, 0]
            rows = pool.index_select(0, self._table[: block + 1]).view(1, -1, HEADS, DIM)
            gathered.append(rows[:, : self._tokens].transpose(1, 2))
        return scaled_dot_product_attention(states, *gathered)


class _Allocated:
    """Tensors (1, room, heads, dim) allocated and touched beforehand: the best that a cache of that layout can be."""

    def __init__(self, layers: int, tokens: int, room: int) -> None:
        self._planes = [[torch.zeros(1, tokens + room, HEADS, DIM).fill_(0.5).transpose(1, 2) for _ in range(2)] for _ in range(layers)]
        self._tokens = tokens

    def step(self, states: Tensor) -> None:
        for planes in self._planes:
            for plane in planes:
                plane.narrow(2, self._tokens, 1).copy_(states)
            scaled_dot_product_attention(states, *(plane.narrow(2, 0, self._tokens + 1) for plane in planes))
        self._tokens += 1


def _arena_step(cache: Cache, layers: int) -> Step:
    def step(states: Tensor) -> None:
        for layer in range(layers):
            scaled_dot_product_attention(states, *cache.update(states, states, layer))

    return step


def _paged(blocks: int) -> tuple[Check, dict[str, Any]]:
    states = torch.randn(1, HEADS, 1, DIM)
    rows, found = {}, []
    for tokens in (PAGED_FROM, TOKENS):
        past = torch.randn(1, HEADS, tokens, DIM)
        with _arena(1) as arena:
            cache = ArenaCache(arena, overlap=False)
            cache.update(past, past, 0)
            paged = _Paged(past.transpose(1, 2), past.transpose(1, 2), 10 * blocks)
            step = _arena_step(cache, 1)
            took = in_turns([lambda: paged.step(states), lambda: step(states)], 10 * blocks)  # noqa: B023  (called in this round)
        found.append(ratio(took, 10))
        for name, some in zip(("gathered pages", "arena"), took, strict=True):
            rows[f"a step at {tokens:,} tokens, {name}"] = {"ms": float(np.median(some)) * 1e3}
    lowest, interval, runs = min(found)
    return Check("decoding step at ≥ 2,048 tokens: gathered pages ÷ arena", lowest, 1.3, interval=interval, n=runs), rows


def _steady(blocks: int) -> tuple[list[Check], dict[str, Any]]:
    checks, rows = [], {}
    for layers, threshold in ((4, 1.03), (1, None)):
        states, past = torch.randn(1, HEADS, 1, DIM), torch.full((1, HEADS, PAGED_FROM, DIM), 0.5)
        with _arena(layers) as arena:
            cache = ArenaCache(arena, overlap=False)
            for layer in range(layers):
                cache.update(past, past, layer)
            ideal, step = _Allocated(layers, PAGED_FROM, 10 * blocks), _arena_step(cache, layers)
            took = in_turns([lambda: step(states), lambda: ideal.step(states)], 10 * blocks)  # noqa: B023  (called in this round)
        found, interval, runs = ratio(took, 10)
        name = f"steady decoding, {layers} layer{'s' * (layers > 1)}: arena ÷ preallocated"
        checks.append(Check(name, found, threshold, at_least=False, interval=interval, n=runs))
        for name, some in zip(("arena", "preallocated"), took, strict=True):
            rows[f"a step of {layers} layers from 2,048 tokens on, {name}"] = {"ms": float(np.median(some)) * 1e3}
    return checks, rows


class _Watched(CpuBackend):
    """Adds up what mapping takes in threads that are not a worker's: seconds by the clock, and of the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = np.zeros(2)

    def map(self, address: int, nbytes: int, handles: Sequence[int]) -> None:
        start = np.array((time.perf_counter(), time.thread_time()))
        super().map(address, nbytes, handles)
        if not threading.current_thread().name.startswith("mnemos-arena"):
            self.spent += np.array((time.perf_counter(), time.thread_time())) - start


def _overlap(steps: int) -> tuple[list[Check], dict[str, Any]]:
    """Eight sequences decode in 16 layers; what a step waits for its pages, when they are mapped in it and when a worker maps them ahead."""
    layers, batch = 16, 8
    states, past = torch.randn(batch, HEADS, 1, DIM), torch.randn(batch, HEADS, 1024, DIM)
    starts = [100 + 37 * slot for slot in range(batch)]
    took = np.zeros((2, 2, steps))
    layout, backends = Layout(layers, HEADS, DIM, "float32", batch, 8192, 256 * KIB), (_Watched(), _Watched())
    with Arena(layout, backends[0]) as plain, Arena(layout, backends[1]) as ahead:
        slots = [list(arena.alloc_slots(batch, 100)) for arena in (plain, ahead)]
        calls = (plain.step, ahead.step_async)
        for step in range(-1, steps):
            for arm in ((0, 1), (1, 0))[step % 2]:
                lens = {slot: start + step for slot, start in zip(slots[arm], starts, strict=True)}
                backends[arm].spent[:] = 0
                start, work = time.perf_counter(), time.thread_time()
                (plain, ahead)[arm].join()
                waited = time.perf_counter() - start, time.thread_time() - work
                calls[arm](lens).check()
                if step >= 0:  # the first has the prompts
                    took[:, arm, step] = backends[arm].spent + waited
                for _ in range(layers):  # the model's turn
                    scaled_dot_product_attention(states, past, past)
    checks: list[Check] = []
    rows: dict[str, Any] = {}
    for what, seconds, threshold in (("waiting for pages", took[0], 0.2), ("the caller's processor time for pages", took[1], None)):
        means, tails = seconds.mean(1), [percentiles(some, 99)[0] for some in seconds]
        checks.append(Check(f"{what}, mean: ahead ÷ in the step", float(means[1] / means[0]), threshold, at_least=False, n=steps))
        checks.append(Check(f"{what}, p99: ahead ÷ in the step", float(tails[1] / tails[0]), threshold, at_least=False, n=steps))
        for name, mean, tail in zip(("in the step", "ahead"), means, tails, strict=True):
            rows[f"{what}, {name}"] = {"ms": float(mean) * 1e3, "p99 ms": float(tail) * 1e3}
    return checks, rows
