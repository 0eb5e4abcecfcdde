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
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from mnemos.activation.memory import KVMemory
from mnemos.activation.policy import FULL, Policy
from mnemos.activation.prefix_places import CHUNK_KEY, Chunk, Folder, Place, header_of
from mnemos.activation.published import empty, fill, reads_in_full, watched
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, shown
from mnemos.cache.base import EvictionPolicy, Meta

ROOT = ""
"""The key of what stands before the first chunk: nothing."""


@dataclass(frozen=True)
class Match:
    """What of a prompt is stored: `length` tokens, in these chunks; the last one may hold more than the prompt shares with it."""

    length: int
    keys: tuple[str, ...]


class PrefixStore:
    """Chunks of one namespace, read by one model, in a folder or any other place. Threads may share one; processes may share the place."""

    def __init__(
        self, place: Path | str | Place, fingerprint: str, namespace: str = "", chunk: int = 128, evict: EvictionPolicy | None = None,
        portion: int = 1,
    ) -> None:  # fmt: skip
        """Of a folder, a folder in it is taken that no other namespace and no other model has. `evict` keeps it within its capacity, in bytes; None:
        it grows as it is given. `portion`: of a model that reads in portions (`LocalModel(portion=…)`), whole ones are taken alone, so that what is
        left is read in the portions in which all of it would be. Raises `Invalid` for a chunk of no tokens."""
        if not isinstance(chunk, int) or chunk < 1:
            raise Invalid(f"chunks hold {shown(chunk)} tokens; give a whole number, at least 1")
        self.fingerprint, self.namespace, self.chunk, self.portion = fingerprint, namespace, chunk, portion
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
                after = tokens[length : length + self._longest(parent)]
                shared, best = max(((_shared(self._chunks[key].tokens, after), key) for key in self._children(parent)), default=(0, ""))
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
        read as not stored. The memory shares nothing with what is stored, nor with others. Raises `FingerprintMismatch` for another model than its
        fingerprint says, where that shows."""
        left = watched(policy, len(tokens)) if policy is not FULL else 1 if self.portion == 1 else 2  # a token by itself would be read with others
        while True:
            found = self._whole(self.match(tokens[: max(0, len(tokens) - left)]))
            try:
                pieces = [self._read(key) for key in found.keys]
            except (Corrupt, FileNotFoundError):
                self._drop_damaged(found.keys)
                continue
            break
        memory = empty(model, policy)
        if pieces and len(pieces[0]) != len(memory.managed):
            raise FingerprintMismatch(f"the prefixes of the model {shown(self.fingerprint)} have keys and values of {len(pieces[0])} layers, and "
                                      f"this one has {len(memory.managed)}: give the model that has read them")  # fmt: skip
        if found.length:
            _fill(memory, [[(keys.to(model.device), values.to(model.device)) for keys, values in piece] for piece in pieces], found.length)
        with self._lock:
            self.hits, self.misses = self.hits + found.length, self.misses + len(tokens) - found.length
            self._touch(found.keys)
        return memory, found.length

    def _whole(self, found: Match) -> Match:
        """Of what was found, whole portions."""
        if self.portion == 1:
            return found
        length = found.length // self.portion * self.portion
        with self._lock:
            return Match(length, tuple(key for key in found.keys if key in self._chunks and self._chunks[key].start < length))

    def put(self, tokens: Sequence[int], memory: KVMemory) -> int:
        """Stores what the memory holds of these tokens, its first ones; gives how many of them were not stored yet. Raises `Invalid` for a memory
        that a policy has shaped, of several rows, or that has not read them; `StoreFull` where the disk has no room: what is stored stays.
        """
        if self.portion > 1 and memory.get_seq_length() % self.portion == 1:  # the last token was read with the portion before it
            tokens = tokens[: max(0, memory.get_seq_length() - 1 - self.portion)]
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
        """Drops everything of this namespace and model, also what is damaged, and what follows chunks that are gone; gives the bytes of chunks that
        are free now."""
        with self._lock:
            self.refresh()
            freed = sum(self.drop(key) for key in list(self._roots))
            self.place.remove(list(self.place.keys()))
            return freed

    def verify(self) -> list[str]:
        """Reads every chunk; says of each that is damaged, or follows one that is gone, what is wrong with it, and drops it."""
        problems = self._astray()
        for key in list(self._chunks):
            try:
                self._read(key)
            except (Corrupt, FileNotFoundError) as error:
                if key in self._chunks:
                    problems.append(str(error))
                    self.drop(key)
        return problems

    def _astray(self) -> list[str]:
        """Drops what lies in the place and can be reached from no prompt; says what that was. Another process writes a chunk after the one before it:
        so what is there, and still not reached when it is looked at again, waits for nothing."""
        with self._lock:
            self.refresh()
            left = set(self.place.keys()) - self._chunks.keys()
            self.refresh()
            problems, lost = [], sorted(left & set(self.place.keys()) - self._chunks.keys())
            for key in lost:
                try:
                    self._check(self.place.describe(key)[0], key)
                    problems.append(f"{self.place.name(key)} follows a chunk that is not there any more: it is dropped, and the text read again")
                except Corrupt as error:
                    problems.append(str(error))
                except FileNotFoundError:
                    continue
            self.place.remove(lost)
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
        data = write_tensors(tensors, {CHUNK_KEY: json.dumps(about)})
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
        """The chunk, and all that follow it, those that follow before what they follow."""
        found = [key] if key in self._chunks else []
        for each in found:  # which grows; long prompts are deeper than calls may be
            found += self._chunks[each].children
        return reversed(found)

    def _longest(self, parent: str) -> int:
        """Tokens of the longest chunk that follows this one."""
        return max((len(self._chunks[key].tokens) for key in self._children(parent)), default=0)

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
