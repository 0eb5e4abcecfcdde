"""Filling an empty index at once: vectors, then heads, then lists (SPANN, section 3.2). Each stage is durable; a stopped build goes on behind it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from mnemos.base.errors import Conflict, Invalid
from mnemos.base.protocols import Progress
from mnemos.index.spann.attributes import Words, marking
from mnemos.index.spann.closure import assign_all, sparing_factor
from mnemos.index.spann.clustering import balanced_tree
from mnemos.index.spann.codes import Floats
from mnemos.index.spann.head_index import head_index
from mnemos.index.spann.metric import checked
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.selection import leaf_for, select_heads

_BLOCK = 8192
_SAMPLE = 2048
"""Vectors that the factor of the rule is chosen by."""
_VECTORS, _HEADS = "vectors", "heads"
_SHARES = {_VECTORS: 0.05, _HEADS: 0.55, "lists": 1.0}
"""At which part of the work each stage ends."""


class Durable(Protocol):
    dimensions: int

    def __len__(self) -> int: ...
    def checkpoint(self) -> None: ...


def build(
    index: Durable,
    parts: Parts,
    meta: dict[str, Any],
    ids: Numbers,
    vectors: Floats | Callable[[Numbers], Floats],
    workers: int,
    progress: Progress | None,
    words: Words | None = None,
    times: Numbers | None = None,
) -> None:
    """See `SpannIndex.build`. `meta["building"]` says which stage is durable of which vectors."""
    begun, task = _begun(index, parts, meta, ids)
    if not callable(vectors) and len(vectors) != len(ids):
        raise Invalid(f"vectors: {len(vectors)} for {len(ids)} ids")
    parts.building = True
    try:
        stages = _Stages(len(ids), progress)
        if begun is None:
            with marking(parts.slots, ids, words, times):
                _write_vectors(index, parts, ids, vectors, stages)
            begun = _saved(index, meta, task, _VECTORS)
        _build(index, parts, meta, task, begun, ids, workers, stages)
    finally:
        parts.building = "building" in meta


def _begun(index: Durable, parts: Parts, meta: dict[str, Any], ids: Numbers) -> tuple[str | None, dict[str, int]]:
    """The stage that a build of `ids` is behind, and what tells it from others. Raises `Conflict` where there is something else."""
    task = {"vectors": len(ids), "ids": zlib.crc32(ids.tobytes())}
    begun = meta.get("building")
    if begun is None and (len(index) or len(parts.heads)):
        raise Conflict(f"vector index: holds {len(index):,} vectors already; `add` more to it, or build another")
    if begun is not None and {name: begun[name] for name in task} != task:
        raise Conflict(
            f"vector index: a build of {begun['vectors']:,} other vectors was stopped here; build those, or create the index in an empty folder"
        )
    return (begun["stage"] if begun else None), task


def _build(
    index: Durable,
    parts: Parts,
    meta: dict[str, Any],
    task: dict[str, int],
    stage: str,
    ids: Numbers,
    workers: int,
    stages: _Stages,
) -> None:
    slots = parts.slots.map.find(ids)

    def rotated(rows: Numbers) -> Floats:
        return parts.rotated(slots[rows])

    if stage == _VECTORS:
        chosen = _heads(rotated, len(ids), parts, workers, stages)
        parts.heads = head_index(parts.kernel, chosen, seed=parts.options.seed)
        nothing = np.zeros((0, parts.entries.size), dtype=np.uint8)
        for number, head in enumerate(chosen):
            parts.lists.create(number, head, nothing)
        _saved(index, meta, task, _HEADS)
    if parts.options.rng_factor is None and len(ids):
        parts.options = replace(parts.options, rng_factor=_rng_factor(rotated, len(ids), parts))
        meta["options"] = parts.options.to_json()
    _write_lists(rotated, parts, slots, workers, stages)
    meta.pop("building")


class _Stages:
    """One progress over all stages, in vectors."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress

    def of(self, before: float, after: float) -> Progress:
        def report(done: int, total: int) -> None:
            if self._progress is not None:
                self._progress(int(self._total * (before + (after - before) * done / max(total, 1))), self._total)

        return report


def _saved(index: Durable, meta: dict[str, Any], task: dict[str, int], stage: str) -> str:
    meta["building"] = {**task, "stage": stage}
    index.checkpoint()
    return stage


def _write_vectors(
    index: Durable, parts: Parts, ids: Numbers, vectors: Floats | Callable[[Numbers], Floats], stages: _Stages
) -> None:
    report = stages.of(0, _SHARES[_VECTORS])
    slots = parts.slots.reserve(len(ids))
    try:
        for start in range(0, len(slots), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(slots)))
            values = vectors(rows) if callable(vectors) else vectors[start : start + _BLOCK]
            parts.vectors.write(slots[rows], parts.measure.stored(checked(values, index.dimensions, "vectors")))
            report(start + len(rows), len(slots))
    except BaseException:
        parts.slots.give_back(slots)
        raise
    parts.slots.take(slots, ids, np.zeros(len(slots)), np.zeros(len(slots)))


def _heads(rotated: Callable[[Numbers], Floats], n: int, parts: Parts, workers: int, stages: _Stages) -> Floats:
    """The heads (m, dimensions): vectors among those of the index that are near all others."""
    options = parts.options
    if not n:
        return np.zeros((0, parts.measure.dimensions), dtype=np.float32)
    ratio = options.head_ratio
    if options.memory is not None:
        ratio = min(ratio, (options.memory - parts.aside - parts.nbytes) / (parts.bytes_of_a_head * n))
        if ratio <= 0:
            raise Invalid(
                f"SPANN option memory: {options.memory:,} bytes do not hold the places of {n:,} vectors and one head; give at least "
                f"{(parts.nbytes + 64 * parts.bytes_of_a_head) * 32 // 31:,}"
            )
    if n * ratio < 2:
        return rotated(np.arange(1))
    report = stages.of(_SHARES[_VECTORS], _SHARES[_HEADS])
    tree = balanced_tree(rotated, n, leaf=leaf_for(ratio), rng=np.random.default_rng(options.seed), workers=workers, progress=report)
    return rotated(np.sort(select_heads(tree, ratio)))


def _rng_factor(rotated: Callable[[Numbers], Floats], n: int, parts: Parts) -> float:
    """The factor that suits the data, told by a sample of it."""
    options = parts.options
    sample = np.sort(np.random.default_rng(options.seed).choice(n, min(n, _SAMPLE), replace=False))
    return sparing_factor(rotated(sample), parts.heads, candidates=options.candidates, epsilon=options.epsilon, replicas=options.replicas)


def _write_lists(rotated: Callable[[Numbers], Floats], parts: Parts, slots: Numbers, workers: int, stages: _Stages) -> None:
    """Each vector into the lists that it belongs to. A list that is too long loses copies, the farthest first, never a vector at home there."""
    options = parts.options
    if not len(slots):
        return
    middle = (_SHARES[_HEADS] + 1) / 2
    chosen = assign_all(
        rotated,
        len(slots),
        parts.heads,
        candidates=options.candidates,
        epsilon=options.epsilon,
        rng_factor=parts.rng_factor,
        replicas=options.replicas,
        workers=workers,
        progress=stages.of(_SHARES[_HEADS], middle),
    )
    rows, places = np.nonzero(chosen >= 0)
    numbers = chosen[rows, places]
    order = np.lexsort((places, numbers))
    rows, numbers, home = rows[order], numbers[order], places[order] == 0
    bounds = np.flatnonzero(np.diff(numbers)) + 1
    report, done = stages.of(middle, 1.0), 0
    copies = np.zeros(len(slots), dtype=np.int64)
    for group in np.split(np.arange(len(rows)), bounds):
        number = int(numbers[group[0]])
        members, at_home = rows[group], home[group]
        vectors, head = rotated(members), parts.heads.vector(number)
        if len(members) > parts.limit:
            difference = vectors - head
            squares = np.where(at_home, -1.0, np.einsum("ij,ij->i", difference, difference))
            kept = np.sort(np.argsort(squares, kind="stable")[: max(parts.limit, int(at_home.sum()))])
            members, vectors = members[kept], vectors[kept]
        if len(members) > parts.limit:
            parts.waiting[number] = "split"
        held = slots[members]
        parts.lists.create(number, head, parts.entries.write(held.astype(np.uint32), parts.slots.stamps.view()[held], vectors, head))
        copies[members] += 1
        done += len(group)
        report(done, len(rows))
    parts.slots.move(slots, chosen[:, 0], copies)
    empty = np.setdiff1d(parts.lists.numbers(), np.unique(numbers))
    for number in empty.tolist():
        parts.waiting[number] = "merge"
