"""A method over a Hugging Face causal language model and any cache that it takes: the full one, or one that keeps less.

A cache may bring `fork()`, `settle()`, `nbytes()` and `held()`, as `mnemos.activation.memory.KVMemory` does, or the first and third alone; a plain
`DynamicCache` brings none, and is copied, never settled, measured by its tensors, and holds everything.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import DynamicCache

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.saving import dump
from mnemos.base.errors import Invalid
from mnemos.bench.scbench.methods import Generation, Held, Stats

CHUNK = 2048
"""Tokens of a prompt that go through the model at once."""


@runtime_checkable
class ForkingCache(Protocol):
    """A cache of ours."""

    def fork(self) -> Any:
        """A cache that goes on by itself from here."""
        ...

    def settle(self) -> None:
        """The prompt, or this turn of it, is read."""
        ...

    def nbytes(self) -> Any:
        """Bytes that it holds, with `near` and `far`."""
        ...

    def held(self) -> Sequence[Sequence[Sequence[Collection[int]]]]:
        """For each layer, row and head, the positions that can still be attended to."""
        ...


@dataclass
class Handle:
    """A cache, how many tokens were read into it, and what the model says comes next."""

    cache: Any
    length: int = 0
    logits: Tensor | None = None
    """[V], after the last token."""
    moved: int = 0
    peak: int = 0
    """Most bytes that were held when a prompt or a question was read, before the cache settled."""


class CacheMethod:
    """Holds a context in the cache that `make` gives, of a model for one sequence at a time.

    `make`: an empty cache; default DynamicCache, the full one. `query_aware`: the first question is read before the cache settles, so that what is
    kept is chosen for it. Without it, a cache settles when the context is read, and after each question. `chunk`: tokens that go through the model at
    once.
    """

    def __init__(
        self, model: Any, make: Callable[[], Any] | None = None, name: str = "full cache", query_aware: bool = False, chunk: int = CHUNK
    ) -> None:
        if chunk < 1:
            raise Invalid(f"chunk: expected a number of tokens, 1 or more, not {chunk}")
        self.model, self.name, self.query_aware, self._chunk = model, name, query_aware, chunk
        self._make = make or (lambda: DynamicCache(config=model.config))

    def prefill(self, tokens: Sequence[int], query: Sequence[int] = ()) -> Handle:
        """Raises `Invalid` without tokens."""
        if not tokens:
            raise Invalid(f"{self.name}: a context needs at least one token")
        handle = Handle(self._make())
        self._read(handle, [*tokens, *query])
        self._settle(handle)
        return handle

    def fork(self, handle: Handle) -> Handle:
        forks = hasattr(handle.cache, "fork")
        cache = handle.cache.fork() if forks else copy.deepcopy(handle.cache)
        copied = 0 if forks else sum(_resident(handle.cache).values())
        return Handle(cache, handle.length, handle.logits, handle.moved + copied + _brought(handle.cache), handle.peak)

    def append(self, handle: Handle, tokens: Sequence[int]) -> None:
        if tokens:
            self._read(handle, tokens)
            self._settle(handle)

    def rewind(self, handle: Handle, length: int) -> bool:
        """Takes back what was read after the first `length` tokens, where the cache still has them all as they came; else gives False, and nothing
        happened. What comes next is known when a token was read again."""
        layers = handle.cache.layers
        if not all(layer.is_croppable if isinstance(layer, MemoryLayer) else type(layer).__name__ == "DynamicLayer" for layer in layers):
            return False
        for layer in layers:
            layer.crop(length - handle.length)
        handle.length, handle.logits = length, None
        return True

    def generate(self, handle: Handle, n: int, stop: Collection[int] = ()) -> Generation:
        start = perf_counter()
        made: list[int] = []
        first = start
        for i in range(n):
            token = int(self.next_logits(handle).argmax())
            if i == 0:
                first = perf_counter()
            if token in stop:
                break
            made.append(token)
            if i + 1 < n:
                self._read(handle, [token])
        return Generation(tuple(made), first - start, perf_counter() - first)

    def next_logits(self, handle: Handle) -> Tensor:
        """[V]: what comes after the last token that was read."""
        if handle.logits is None:
            raise Invalid(f"{self.name}: nothing was read yet")
        return handle.logits

    def stats(self, handle: Handle) -> Stats:
        resident = _resident(handle.cache)
        peak = max(handle.peak, sum(resident.values()))
        return Stats(resident, handle.moved + _brought(handle.cache), handle.length, _held(handle), peak, _hits(handle.cache))

    def digest(self, handle: Handle) -> str:
        """SHA-256 of all that is saved of a `KVMemory`, of any other cache's tensors; and of the length and the logits."""
        if isinstance(handle.cache, KVMemory):
            return self.digest_of(handle, dump(handle.cache, ""))
        return self.digest_of(handle, *_tensors(handle.cache))

    @staticmethod
    def digest_of(handle: Handle, *states: Tensor | bytes) -> str:
        """SHA-256 of the length, of what the cache holds, and of the logits."""
        hashed = hashlib.sha256(str(handle.length).encode())
        for state in states:
            if isinstance(state, bytes):
                hashed.update(state)
            else:
                _hash(hashed, state)
        if handle.logits is not None:
            _hash(hashed, handle.logits)
        return hashed.hexdigest()

    def release(self, handle: Handle) -> None:
        handle.cache = handle.logits = None

    def _read(self, handle: Handle, tokens: Sequence[int]) -> None:
        device = self.model.device
        for at in range(0, len(tokens), self._chunk):
            piece = torch.tensor([list(tokens[at : at + self._chunk])], device=device)
            places = torch.arange(handle.length, handle.length + piece.shape[1], device=device)[None]
            with torch.no_grad():
                said = self.model(input_ids=piece, position_ids=places, cache=handle.cache, use_cache=True, logits_to_keep=1)
            handle.length += piece.shape[1]
            handle.logits = said.logits[0, -1]

    @staticmethod
    def _settle(handle: Handle) -> None:
        handle.peak = max(handle.peak, sum(_resident(handle.cache).values()))
        if isinstance(handle.cache, ForkingCache):
            handle.cache.settle()


def _resident(cache: Any) -> dict[str, int]:
    """Bytes by tier."""
    if hasattr(cache, "nbytes"):
        size = cache.nbytes()
        return {"device": int(size.near), "host": int(size.far)}
    return {"device": sum(tensor.numel() * tensor.element_size() for tensor in _tensors(cache))}


def _parts(cache: Any) -> Iterator[Any]:
    """The parts of a `KVMemory`; of any other cache, none."""
    for layer in getattr(cache, "managed", ()):
        yield from layer.parts


def _brought(cache: Any) -> int:
    """Bytes that parts have brought near from where the rest of them lies."""
    return sum(int(getattr(getattr(part, "store", None), "copied", 0)) for part in _parts(cache))


def _hits(cache: Any) -> float | None:
    """Of the chunks that decoding asked for, the share that was near already; None where nothing lies far."""
    told: list[Any] = [its for part in _parts(cache) if hasattr(its := getattr(part, "statistics", None), "asked")]
    asked = sum(each.asked for each in told)
    return sum(each.kept for each in told) / asked if asked else None


def _held(handle: Handle) -> Held | None:
    """Positions by layer and head; of a plain cache, all."""
    if isinstance(handle.cache, ForkingCache):
        return [layer[0] for layer in handle.cache.held()]
    if all(type(layer).__name__ == "DynamicLayer" for layer in handle.cache.layers):
        return [[range(handle.length)]] * len(handle.cache.layers)
    return None


def _tensors(cache: Any) -> Iterator[Tensor]:
    """Keys and values of a cache of transformers."""
    for layer in cache.layers:
        if layer.is_initialized:
            yield from (layer.keys, layer.values)


def _hash(hashed: Any, tensor: Tensor) -> None:
    hashed.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    hashed.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
