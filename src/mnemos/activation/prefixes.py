"""Prefixes that a model has read, kept on disk, so that no text is read twice: keys and values by chunk, under the digest of all that led to them.

A chunk is some tokens after some others: its key is the digest of the namespace, the model, the chunk before it and its own tokens, so that it can
stand for nothing else, and equal prefixes are stored once. What another prompt has in common with a stored one is found to the token. A namespace (a
space) sees no chunk of another, and cannot tell from the time a search takes whether there is one.

What is stored is derived: a chunk that is damaged, missing or dropped is read again from the text. Only what stands as a model has read it is stored
here: what a policy has shaped belongs to the sequence that shaped it. What is taken may go on under any policy, which has not seen it read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from mnemos.activation.memory import KVMemory
from mnemos.activation.policy import FULL, Policy
from mnemos.activation.published import empty, fill, reads_in_full, watched
from mnemos.base.errors import Corrupt, Invalid, StoreFull
from mnemos.cache.base import EvictionPolicy, Meta

ROOT = ""
"""The key of what stands before the first chunk: nothing."""
_SUFFIX = ".safetensors"
_KEY = "mnemos.chunk"


@dataclass
class Chunk:
    """One stored chunk: `tokens` after what `parent` stands for, `start` tokens in. `nbytes` on disk."""

    key: str
    parent: str
    start: int
    tokens: tuple[int, ...]
    nbytes: int
    children: set[str] = field(default_factory=set)


class Place(Protocol):
    """Where chunks lie, by key. To describe or read what is not there raises `FileNotFoundError`."""

    def keys(self) -> Iterable[str]: ...
    def describe(self, key: str) -> tuple[Mapping[str, Any], int]:
        """What a chunk says of itself (parent and tokens), and its bytes; its tensors are looked at when they are asked for. Raises `Corrupt`."""
        ...

    def read(self, key: str) -> bytes: ...
    def write(self, chunk: Chunk, data: bytes) -> None:
        """Raises `StoreFull`."""
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Without error for what is not there."""
        ...

    def name(self, key: str) -> str:
        """What messages call it."""
        ...


class Folder:
    """Chunks as files, each written whole or not at all. Files that are no chunks are left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def keys(self) -> list[str]:
        return [path.name.removesuffix(_SUFFIX) for path in self.path.glob(f"*{_SUFFIX}")]

    def file(self, key: str) -> Path:
        """Where a chunk lies."""
        return self.path / f"{key}{_SUFFIX}"

    def name(self, key: str) -> str:
        return str(self.file(key))

    def describe(self, key: str) -> tuple[Mapping[str, Any], int]:
        with self.file(key).open("rb") as file:
            size, length = os.fstat(file.fileno()).st_size, file.read(8)
            return header_of(length + file.read(min(int.from_bytes(length, "little"), size)), self.name(key)), size

    def read(self, key: str) -> bytes:
        return self.file(key).read_bytes()

    def write(self, chunk: Chunk, data: bytes) -> None:
        temporary = self.file(chunk.key).with_suffix(f".{os.getpid()}.{threading.get_ident()}.new")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.file(chunk.key))
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreFull(f"a chunk of {len(data):,} bytes could not be written into {self.path}: {error}; free some room") from error

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.file(key).unlink(missing_ok=True)


@dataclass(frozen=True)
class Match:
    """What of a prompt is stored: `length` tokens, in these chunks; the last one may hold more than the prompt shares with it."""

    length: int
    keys: tuple[str, ...]


class PrefixStore:
    """Chunks of one namespace, read by one model, in a folder or any other place. Threads may share one; processes may share the place."""

    def __init__(
        self, place: Path | str | Place, fingerprint: str, namespace: str = "", chunk: int = 128, evict: EvictionPolicy | None = None
    ) -> None:
        """Of a folder, a folder in it is taken that no other namespace and no other model has. `evict` keeps it within its capacity, in bytes; None:
        it grows as it is given. Raises `Invalid` for a chunk of no tokens."""
        if chunk < 1:
            raise Invalid(f"chunks hold {chunk} tokens; give at least 1")
        self.fingerprint, self.namespace, self.chunk = fingerprint, namespace, chunk
        self.place: Place = Folder(Path(place) / _digest(namespace, fingerprint)) if isinstance(place, (str, Path)) else place
        self.hits = self.misses = 0
        """Tokens that were found, and that were not."""
        self._evict, self._lock = evict, threading.RLock()
        self._chunks: dict[str, Chunk] = {}
        self._roots: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Takes up what other processes have stored or dropped meanwhile. What is no chunk is left alone and not used."""
        with self._lock:
            there = set(self.place.keys())
            for gone in self._chunks.keys() - there:
                for key in list(self._below(gone)):  # what followed it is found again when it is back
                    self._forget(key)
            after: dict[str, list[Chunk]] = {}
            for key in there - self._chunks.keys():
                with contextlib.suppress(Corrupt, FileNotFoundError):
                    about, size = self.place.describe(key)
                    self._check(about, key)
                    after.setdefault(about["parent"], []).append(Chunk(key, about["parent"], 0, tuple(about["tokens"]), size))
            waiting = [each for parent in (ROOT, *self._chunks) for each in after.get(parent, ())]
            while waiting:
                each = waiting.pop()
                each.start = self._end(each.parent)
                self._know(each)
                waiting += after.get(each.key, ())

    def match(self, tokens: Sequence[int]) -> Match:
        """The longest prefix of the tokens that is stored."""
        with self._lock:
            keys: list[str] = []
            length, parent = 0, ROOT
            while length < len(tokens):
                shared, best = max(((_shared(self._chunks[key].tokens, tokens[length:]), key) for key in self._children(parent)), default=(0, ""))
                if not shared:
                    break
                keys.append(best)
                length += shared
                if shared < len(self._chunks[best].tokens):
                    break
                parent = best
            return Match(length, tuple(keys))

    def take(self, model: Any, tokens: Sequence[int], policy: Policy = FULL) -> tuple[KVMemory, int]:
        """A new memory that holds the longest stored prefix of the tokens, and how many that are; at most all but one, so that something is left to
        read, and of another policy all but those that it has to see being read (`published.watched`). A chunk that is damaged or gone is dropped and
        read as not stored. The memory shares nothing with what is stored, nor with others."""
        wanted = tokens[: max(0, len(tokens) - (1 if policy is FULL else watched(policy, len(tokens))))]
        while True:
            found = self.match(wanted)
            try:
                pieces = [self._read(key) for key in found.keys]
            except (Corrupt, FileNotFoundError):
                self._drop_damaged(found.keys)
                continue
            break
        memory = empty(model, policy)
        if found.length:
            _fill(memory, [[(keys.to(model.device), values.to(model.device)) for keys, values in piece] for piece in pieces], found.length)
        with self._lock:
            self.hits, self.misses = self.hits + found.length, self.misses + len(tokens) - found.length
            self._touch(found.keys)
        return memory, found.length

    def put(self, tokens: Sequence[int], memory: KVMemory) -> int:
        """Stores what the memory holds of these tokens, its first ones; gives how many of them were not stored yet. Raises `Invalid` for a memory
        that a policy has shaped, of several rows, or that has not read them; `StoreFull` where the disk has no room: what is stored stays.
        """
        states = _states(memory, len(tokens))
        stored = 0
        with self._lock:
            parent = ROOT
            for start in range(0, len(tokens), self.chunk):
                piece = tuple(int(token) for token in tokens[start : start + self.chunk])
                key = _digest(self.namespace, self.fingerprint, parent, json.dumps(piece))
                if key not in self._chunks:
                    covered = max((_shared(self._chunks[other].tokens, piece) for other in self._children(parent)), default=0)
                    if covered == len(piece):
                        break  # the end of the prompt is the beginning of a longer chunk
                    shorter = [other for other in self._children(parent) if self._chunks[other].tokens == piece[: len(self._chunks[other].tokens)]]
                    self._write(Chunk(key, parent, start, piece, 0), states)
                    for other in shorter:  # holds nothing that the new one does not
                        self.drop(other)
                    stored += len(piece) - covered
                if key not in self._chunks:
                    break  # it found no room, so nothing can follow it
                parent = key
            return stored

    def drop(self, key: str) -> int:
        """Drops a chunk and all that follows it; gives the bytes that are free now. No error where it is not there."""
        with self._lock:
            below = list(self._below(key))
            freed = sum(self._chunks[each].nbytes for each in below)
            self.place.remove(below)
            for each in below:
                self._forget(each)
            return freed

    def clear(self) -> int:
        """Drops everything of this namespace and model; gives the bytes that are free now."""
        with self._lock:
            return sum(self.drop(key) for key in list(self._roots))

    def verify(self) -> list[str]:
        """Reads every chunk; says of each that is damaged what is wrong with it, and drops it."""
        problems = []
        for key in list(self._chunks):
            try:
                self._read(key)
            except (Corrupt, FileNotFoundError) as error:
                if key in self._chunks:
                    problems.append(str(error))
                    self.drop(key)
        return problems

    @property
    def nbytes(self) -> int:
        """Of all chunks, on disk."""
        with self._lock:
            return sum(each.nbytes for each in self._chunks.values())

    def chunks(self) -> list[Chunk]:
        """All chunks, those before others first."""
        with self._lock:
            return sorted(self._chunks.values(), key=lambda each: (each.start, each.key))

    def _write(self, chunk: Chunk, states: Sequence[tuple[Tensor, Tensor]]) -> None:
        end = chunk.start + len(chunk.tokens)
        tensors = {}
        for number, (keys, values) in enumerate(states):
            tensors[f"{number}.keys"] = keys[:, chunk.start : end].contiguous()
            tensors[f"{number}.values"] = values[:, chunk.start : end].contiguous()
        about = {"key": chunk.key, "parent": chunk.parent, "tokens": chunk.tokens, "digest": _digest_of(tensors)}  # by the key no two are equal bytes
        data = write_tensors(tensors, {_KEY: json.dumps(about)})
        chunk.nbytes = len(data)
        self.place.write(chunk, data)
        self._know(chunk)

    def _read(self, key: str) -> list[tuple[Tensor, Tensor]]:
        data, name = self.place.read(key), self.place.name(key)
        about, tensors = header_of(data, name), _tensors(name, data)
        self._check(about, key)
        if _digest_of(tensors) != about["digest"]:
            raise Corrupt(f"{name} has changed since it was written: it is dropped, and the text read again")
        return [(tensors[f"{number}.keys"], tensors[f"{number}.values"]) for number in range(len(tensors) // 2)]

    def _check(self, about: Mapping[str, Any], key: str) -> None:
        """Raises `Corrupt` where a chunk is not the one that this key stands for."""
        try:
            own = _digest(self.namespace, self.fingerprint, about["parent"], json.dumps(list(about["tokens"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"{self.place.name(key)} is no chunk of a prefix: {error}") from error
        if own != key:
            raise Corrupt(f"{self.place.name(key)} holds another chunk than its name says: it is dropped, and the text read again")

    def _drop_damaged(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                self._read(key)
            except (Corrupt, FileNotFoundError):
                self.drop(key)
                return

    def _children(self, key: str) -> set[str]:
        return self._roots if key == ROOT else self._chunks[key].children

    def _below(self, key: str) -> Iterator[str]:
        """The chunk, and all that follow it, the last ones first."""
        if key in self._chunks:
            for child in list(self._chunks[key].children):
                yield from self._below(child)
            yield key

    def _end(self, key: str) -> int:
        """How many tokens a chunk and all before it stand for."""
        return 0 if key == ROOT else self._chunks[key].start + len(self._chunks[key].tokens)

    def _know(self, chunk: Chunk) -> None:
        self._chunks[chunk.key] = chunk
        self._children(chunk.parent).add(chunk.key)
        if self._evict is not None:
            for victim in self._evict.on_miss(chunk.key, Meta(size=chunk.nbytes, cost=len(chunk.tokens))):
                self.drop(str(victim))

    def _forget(self, key: str) -> None:
        chunk = self._chunks.pop(key, None)
        if chunk is not None:
            self._roots.discard(key)
            if chunk.parent in self._chunks:
                self._chunks[chunk.parent].children.discard(key)
            if self._evict is not None:
                self._evict.on_remove(key)

    def _touch(self, keys: Sequence[str]) -> None:
        if self._evict is not None:
            for key in keys:
                if key in self._chunks:
                    self._evict.on_hit(key, Meta(size=self._chunks[key].nbytes, cost=len(self._chunks[key].tokens)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _digest_of(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def header_of(data: bytes, name: str) -> dict[str, Any]:
    """What the header of a chunk's bytes says. Raises `Corrupt` where it is none."""
    try:
        length = int.from_bytes(data[:8], "little")
        about: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{name} is no chunk of a prefix: {error}") from error
    return about


def _tensors(name: str, data: bytes) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = read_tensors(data)
        return tensors
    except SafetensorError as error:
        raise Corrupt(f"{name} is damaged: {error}") from error


def _states(memory: KVMemory, length: int) -> list[tuple[Tensor, Tensor]]:
    """Keys and values [G, n, d] of each layer, views."""
    shaped = any(layer.parts or (layer.is_initialized and layer.tail.length != layer.seen) for layer in memory.managed)
    if shaped or not reads_in_full(memory.policy) or len(memory.managed) != len(memory.layers):
        raise Invalid(f"a memory that the policy {memory.policy.name!r} has shaped, or with sliding layers, holds less than was read: it is no "
                      "prefix; put() it before it settles, or dump() it")  # fmt: skip
    states = []
    for layer in memory.managed:
        if layer.seen < length:
            raise Invalid(f"the memory has read {layer.seen} tokens, not the {length} that are to be stored")
        keys, values = layer.tail.keys, layer.tail.values
        if keys.shape[0] != 1:
            raise Invalid(f"the memory has {keys.shape[0]} rows; prefixes are stored row by row: take one by batch_select_indices")
        states.append((keys[0], values[0]))
    return states


def _fill(memory: KVMemory, pieces: Sequence[Sequence[tuple[Tensor, Tensor]]], length: int) -> None:
    def whole(number: int, which: int) -> Tensor:
        return torch.cat([piece[number][which] for piece in pieces], 1)[None, :, :length]

    fill(memory, [(whole(number, 0), whole(number, 1)) for number in range(len(memory.managed))])
