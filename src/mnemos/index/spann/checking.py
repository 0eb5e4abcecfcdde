"""Whether an index is what it should be: every vector found at home, none twice, and every byte what was written. And making it so."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnemos.index.spann.extents import PAGE
from mnemos.index.spann.mending import Mender
from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.slots import NOWHERE, SortedMap
from mnemos.index.spann.updating import Updater
from mnemos.index.spann.vector_file import DamagedVectors

_SHOWN = 10


def problems(parts: Parts) -> list[str]:
    """What is wrong, in words. Whoever calls holds the lock."""
    found: list[str] = []
    slots, lists = parts.slots, parts.lists
    numbers, heads = set(lists.numbers().tolist()), set(parts.heads.numbers().tolist())
    if numbers != heads:
        found.append(f"lists and heads differ: no head has list {_some(sorted(numbers - heads))}; no list has head {_some(sorted(heads - numbers))}")
    damaged = lists.damaged()
    found += [f"list {number} is damaged on disk" for number in damaged]
    whole = sorted((numbers & heads) - set(damaged))
    found += [f"list {number} has another head on disk than in memory" for number in _otherwise_headed(parts, whole)]
    live = slots.live()
    ids = slots.ids.view()[live]
    if len(np.unique(ids)) < len(ids):
        found.append(f"{len(ids) - len(np.unique(ids))} ids have two vectors")
    if not np.array_equal(slots.map.find(ids), live) or len(slots.map) != len(live):
        found.append("the map of ids does not lead to the slots that hold their vectors")
    found += slots.attributes.problems()
    if not parts.building and not slots.accounted():
        found.append("a slot is held and free at once, or neither")
    if lists.total != int(lists.counts().sum()):
        found.append(f"lists are thought to have {lists.total:,} entries, and have {int(lists.counts().sum()):,}")
    pages = int(lists.table.view()["pages"].sum(dtype=np.int64))
    if lists.extents.bytes_used != pages * PAGE:
        found.append(f"{lists.extents.bytes_used // PAGE:,} pages are in use, and lists have {pages:,}")
    seen = _Seen(parts, damaged)
    found += [f"list {number} has {count} entries of slots that there are not" for number, count in seen.beyond.items()]
    dead = slots.empty()[seen.copies[slots.empty()] > 0]
    if len(dead):
        found.append(f"{len(dead)} slots that hold nothing have entries that count: {_some(dead.tolist())}")
    missing = live[~seen.at_home[live]]
    missing = missing[~np.isin(slots.homes.view()[missing], [*damaged, *seen.beyond])]
    if len(missing) and not parts.building:
        found.append(f"{len(missing)} vectors are in no list of their nearest head, of ids {_some(slots.ids.view()[missing].tolist())}")
    broken = parts.vectors.damaged(live)
    if len(broken):
        found.append(f"{len(broken)} vectors are damaged on disk, of ids {_some(slots.ids.view()[broken].tolist())}")
    return found


def put_right(parts: Parts, updater: Updater, mender: Mender) -> int:
    """Make again what is damaged, and, where memory and lists disagree, believe the ids and heads in memory; how many lists and vectors were made
    again or written anew. Whoever calls holds the lock."""
    before, slots = mender.mended, parts.slots
    broken = parts.vectors.damaged(slots.live())
    if len(broken):
        mender.mend_vectors(DamagedVectors(parts.vectors.name, broken.tolist()))
    numbers, heads = set(parts.lists.numbers().tolist()), set(parts.heads.numbers().tolist())
    for number in numbers - heads:
        parts.lists.drop(number)
    for number in heads - numbers:
        parts.heads.remove(number)
    damaged = set(parts.lists.damaged())
    mender.make_again(sorted(damaged | set(_otherwise_headed(parts, sorted((numbers & heads) - damaged)))))
    mender.make_again(list(_Seen(parts).beyond))
    live = slots.live()
    slots.map = SortedMap(slots.ids.view()[live], live)
    twice = live[slots.map.find(slots.ids.view()[live]) != live]
    if len(twice):
        slots.release(twice)
        slots.map = SortedMap(slots.ids.view()[slots.live()], slots.live())
    seen, empty, live = _Seen(parts), slots.empty(), slots.live()
    slots.restamp(empty[seen.copies[empty] > 0], 2)
    lost = live[~seen.at_home[live]]
    if len(lost):
        updater.writer.write_anew(lost, mender.vectors(lost))
    slots.copies.set(live, np.minimum(_Seen(parts).copies[live], np.iinfo(np.uint8).max))
    slots.entries = int(slots.copies.view().sum(dtype=np.int64))
    parts.epoch += 1
    return mender.mended - before + len(lost) + len(twice)


class _Seen:
    """What all lists that are whole say of each slot."""

    def __init__(self, parts: Parts, damaged: list[int] | None = None) -> None:
        homes = parts.slots.homes.view()
        self.at_home: NDArray[np.bool_] = np.zeros(len(homes), dtype=bool)
        """(slots,) whether the list that the slot is at home in has an entry of it that counts."""
        self.copies: Numbers = np.zeros(len(homes), dtype=np.int64)
        """(slots,) in how many lists there is one."""
        self.beyond: dict[int, int] = {}
        """Lists with entries of slots that there are not, and how many."""
        for number in np.setdiff1d(parts.lists.numbers(), damaged or []).tolist():
            raw = parts.lists.read(number)
            beyond = int(np.count_nonzero(parts.entries.slots(raw) >= len(homes)))
            if beyond:
                self.beyond[number] = beyond
                continue
            held = np.unique(parts.entries.slots(raw)[parts.live(raw)])
            self.copies[held] += 1
            self.at_home[held[(homes[held] == number) & (homes[held] != NOWHERE)]] = True


def _otherwise_headed(parts: Parts, numbers: list[int]) -> list[int]:
    """Those of the lists whose head on disk is not the one in memory."""
    return [number for number in numbers if not np.array_equal(parts.lists.head(number), parts.heads.vector(number))]


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_SHOWN])) + (", …" if len(numbers) > _SHOWN else "")
