"""KV memories in an arena, beside those with tensors of their own, and a cache that concatenates: what growing copies and takes, and a step."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import DynamicCache

from mnemos.activation.arena.backend import MIB
from mnemos.activation.arena.tenancy import KVArena
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.policy import FULL
from mnemos.activation.tail import Landlord, Tail
from mnemos.bench.arena_speed import DIM, HEADS, TOKENS, in_turns, ratio
from mnemos.bench.result import Check

LAYERS, PAST = 4, 2048
ARMS = ("concatenating", "memory, own tensors", "memory, arena")
Append = Callable[[Tensor], object]
"""Takes in one token's states (1, heads, 1, dim)."""


def measure(quick: bool, say: Callable[[str], None]) -> tuple[list[Check], dict[str, Any]]:
    """Checks, and a table of what growing takes."""
    say("KV memories: growth")
    checks, rows = growth(TOKENS, 1 if quick else 3, 1024 if quick else TOKENS)
    say("KV memories: steps")
    return [*checks, _steady(40 if quick else 200)], {f"A layer gains {TOKENS:,} tokens, one by one": rows}


def _arms(arena: KVArena) -> list[Append]:
    cache = DynamicCache()
    return [lambda states: cache.update(states, states, 0), _appending(None), _appending(arena.tenancy())]


def _appending(landlord: Landlord | None) -> Append:
    empty = torch.zeros(1, HEADS, 0, DIM)
    tail = Tail(empty, empty, torch.zeros(1, 1, 0, dtype=torch.int32), landlord=landlord)
    return lambda states: tail.append(states, states, torch.full((1, 1), tail.length, dtype=torch.int32))


def growth(tokens: int, rounds: int, weighed: int) -> tuple[list[Check], dict[str, Any]]:
    """Checks of one layer that gains so many tokens, one at a time, and what each arm takes; what it writes and its peak are of `weighed` tokens."""
    states, totals = torch.randn(1, HEADS, 1, DIM), []
    with KVArena() as arena:
        for _ in range(rounds):
            arms = _arms(arena)
            totals.append(in_turns([lambda arm=arm: arm(states) for arm in arms], tokens).sum(1))  # type: ignore[misc]
        del arms
        written, peaks = [], []
        for place in range(len(ARMS)):
            with _Written() as counted:
                arm = _arms(arena)[place]
                for _ in range(weighed):
                    arm(states)
            written.append(counted.nbytes)
            del arm
            peaks.append(_peak(lambda place=place: _arms(arena)[place], states, weighed))  # type: ignore[misc]
    ratios, live = [[took[arm] / took[2] for took in totals] for arm in (0, 1)], weighed * 2 * HEADS * DIM * 4
    rows = {
        name: {"ms": float(np.median([took[place] for took in totals])) * 1e3, "written ÷ live": written[place] / live,
               "peak ÷ live": peaks[place] / live}
        for place, name in enumerate(ARMS)
    }  # fmt: skip
    return [
        Check(f"a KV memory's growth by {tokens:,} tokens: concatenating ÷ arena", float(np.median(ratios[0])), 5.0, n=rounds * tokens),
        Check(f"a KV memory's growth by {tokens:,} tokens: own tensors ÷ arena", float(np.median(ratios[1])), None, n=rounds * tokens),
        Check("bytes written as it grows ÷ live", written[2] / live, 1.1, at_least=False, baseline=written[0] / live, n=weighed),
        Check("peak of resident memory as it grows ÷ live", peaks[2] / live, 1.1, at_least=False, baseline=peaks[0] / live, n=weighed),
    ], rows


class _Written(TorchFunctionMode):  # type: ignore[misc]
    """Adds up the bytes that concatenating and copying write."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("cat", "clone", "copy_", "pad", "__setitem__"):
            written = args[2] if name == "__setitem__" else out
            self.nbytes += written.numel() * written.element_size()
        return out


def _peak(made: Callable[[], Append], states: Tensor, tokens: int) -> int:
    """Bytes by which the process's resident memory was larger, at its largest, than before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free in this process would be taken first, and not be seen
    append = made()
    append(states)
    Path("/proc/self/clear_refs").write_text("5")  # the largest becomes what it is now
    before = _status("VmRSS")
    for _ in range(tokens - 1):
        append(states)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _steady(blocks: int) -> Check:
    """A step of layers that hold 2,048 tokens and more, as a model's attention calls them."""
    states, past = torch.randn(1, HEADS, 1, DIM), torch.randn(1, HEADS, PAST, DIM)
    with KVArena(budget=1024 * MIB) as arena:
        arms = [[MemoryLayer(FULL, number, landlord=landlord) for number in range(LAYERS)] for landlord in (arena.tenancy(), None)]

        def step(layers: list[MemoryLayer], new: Tensor) -> None:
            for layer in layers:
                keys, values = layer.update(new, new, kwargs={})
                layer.attend(new, keys, values, None, DIM**-0.5, None, None)

        for layers in arms:
            step(layers, past)
        took = in_turns([lambda layers=layers: step(layers, states) for layers in arms], 10 * blocks)  # type: ignore[misc]
    found, interval, runs = ratio(took, 10)
    name = f"a KV memory's steady decoding, {LAYERS} layers: arena ÷ own tensors"
    return Check(name, found, 1.03, at_least=False, interval=interval, n=runs)
