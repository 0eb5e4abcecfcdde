"""An index made anew, or put together from its last checkpoint."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound
from mnemos.index.spann.codes import Entries
from mnemos.index.spann.disk import Disk, FolderDisk
from mnemos.index.spann.extents import Extents
from mnemos.index.spann.head_index import ChosenKernel, Kernel, chosen, head_index
from mnemos.index.spann.lists import Lists
from mnemos.index.spann.manifest import Checkpoints
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.metric import measure, middle
from mnemos.index.spann.options import Options
from mnemos.index.spann.parts import Parts, Settings, Source, random_rotation
from mnemos.index.spann.slots import Slots
from mnemos.index.spann.tables import Table
from mnemos.index.spann.turnover import Turnover
from mnemos.index.spann.vector_file import VectorFile

LISTS, VECTORS = "lists.dat", "vectors.dat"


@dataclass(frozen=True, slots=True)
class Opened:
    """What an index works with. `meta`, `rotation` and `queries` are in each of its checkpoints; `queries`: what settings are chosen by, if any."""

    disk: Disk
    checkpoints: Checkpoints
    parts: Parts
    mender: Mender
    meta: dict[str, Any]
    rotation: Table
    queries: Table | None


def created(
    folder: Path | str | Disk,
    dimensions: int,
    options: Options,
    source: Source | None,
    cache: MutableMapping[int, bytes] | None,
    kernel: Kernel,
) -> Opened:
    """See `SpannIndex.create`. Nothing of it is durable yet."""
    using = chosen(kernel)
    disk = _disk(folder)
    if not 1 <= dimensions <= 65536:
        raise Invalid(f"vector index: vectors have 1 to 65,536 dimensions, not {dimensions}")
    checkpoints = Checkpoints(disk)
    if checkpoints.load() is not None:
        raise Conflict(f"vector index: {folder} holds one already; open it, or choose another folder")
    for name in (LISTS, VECTORS):
        disk.remove(name)  # of an index that was never finished
    inside = measure(options, dimensions).dimensions
    rotation = Table(np.float32, inside)
    rotation.resize(inside)
    rotation.set(np.arange(inside), random_rotation(inside, options.seed))
    meta = {"dimensions": dimensions, "options": options.to_json(), "position": 0}
    return _assembled(disk, checkpoints, {"rotation": rotation}, meta, source, cache, using)


def opened(folder: Path | str | Disk, source: Source | None, cache: MutableMapping[int, bytes] | None, kernel: Kernel) -> Opened:
    """See `SpannIndex.open`."""
    using = chosen(kernel)
    disk = _disk(folder)
    checkpoints = Checkpoints(disk)
    loaded = checkpoints.load()
    if loaded is None:
        raise NotFound(f"vector index: there is none in {folder}; create it")
    return _assembled(disk, checkpoints, *loaded, source, cache, using)


def _disk(folder: Path | str | Disk) -> Disk:
    return FolderDisk(folder) if isinstance(folder, (str, Path)) else folder


def _assembled(
    disk: Disk,
    checkpoints: Checkpoints,
    tables: dict[str, Table],
    meta: dict[str, Any],
    source: Source | None,
    cache: MutableMapping[int, bytes] | None,
    kernel: ChosenKernel,
) -> Opened:
    options, dimensions = Options.from_json(meta["options"]), int(meta["dimensions"])
    inside = measure(options, dimensions)
    entries = Entries(options.code, inside.dimensions)
    extents = Extents(disk, LISTS)
    lists = Lists(extents, entries, tables.get("lists"), cache)
    used = lists.table.view()[lists.numbers()]
    extents.restore(used["page"].astype(np.int64), used["pages"].astype(np.int64))
    parts = Parts(
        options=options,
        measure=inside,
        rotation=np.ascontiguousarray(tables["rotation"].view()),
        entries=entries,
        heads=head_index(kernel, np.zeros((0, inside.dimensions), dtype=np.float32)),
        kernel=kernel,
        lists=lists,
        slots=Slots(tables if "ids" in tables else None),
        vectors=VectorFile(disk, VECTORS, inside.dimensions),
        settings=Settings.from_json(meta["settings"]) if "settings" in meta else Settings(),
        source=source,
        turnover=Turnover(tables.get("turnover")),
    )
    parts.building = "building" in meta
    mender = Mender(parts)
    _load_heads(parts, mender, tables.get("groups"))
    for number in np.flatnonzero(lists.counts() > parts.limit).tolist():
        parts.waiting[number] = "split"
    return Opened(disk, checkpoints, parts, mender, meta, tables["rotation"], tables.get("queries"))


def _load_heads(parts: Parts, mender: Mender, groups: Table | None) -> None:
    """The heads, from the lists; a damaged one from the vectors that are at home there."""
    numbers = parts.lists.numbers()
    heads, damaged = parts.lists.heads(numbers)
    if damaged and parts.building:
        raise Corrupt(f"vector index: the head of list {numbers[damaged[0]]} is damaged, and its build was stopped; build the index again")
    empty = []
    for at in damaged:
        home = np.flatnonzero(parts.slots.homes.view() == numbers[at])
        if len(home):
            heads[at] = middle(mender.vectors(home))
        else:
            parts.lists.drop(int(numbers[at]))
            empty.append(at)
    damaged = [int(numbers[at]) for at in damaged if at not in empty]
    heads, numbers = np.delete(heads, empty, axis=0), np.delete(numbers, empty)
    known = None if groups is None else groups.view()[numbers].astype(np.int64)
    parts.heads = head_index(parts.kernel, heads, numbers=numbers, groups=known, seed=parts.options.seed)
    if damaged:
        mender.make_again(damaged)


def tables(parts: Parts, rotation: Table, queries: Table | None) -> dict[str, Table]:
    """What a checkpoint holds of an index, by name. Whoever calls holds `parts.lock`."""
    groups = Table(np.int32)
    groups.resize(len(parts.lists.table))
    if len(parts.heads):
        groups.set(parts.heads.numbers(), parts.heads.groups())
    kept = {"rotation": rotation, "lists": parts.lists.table, "turnover": parts.turnover.table, "groups": groups, **parts.slots.tables()}
    return kept if queries is None else {**kept, "queries": queries}
