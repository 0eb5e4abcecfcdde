"""Whether an index is what it should be: every vector found at home, none twice, and every byte what was written."""

from __future__ import annotations

import numpy as np

from mnemos.index.spann.parts import Numbers, Parts
from mnemos.index.spann.slots import NOWHERE

_SHOWN = 10


def problems(parts: Parts) -> list[str]:
    """What is wrong, in words. Whoever calls holds the lock."""
    found: list[str] = []
    slots, lists, entries = parts.slots, parts.lists, parts.entries
    numbers = lists.numbers()
    if not np.array_equal(numbers, parts.heads.numbers()):
        found.append(f"lists and heads differ: {len(numbers)} lists, {len(parts.heads)} heads")
    damaged = set(lists.damaged())
    found += [f"list {number} is damaged on disk" for number in sorted(damaged)]
    live = slots.live()
    ids = slots.ids.view()[live]
    if len(np.unique(ids)) < len(ids):
        found.append(f"{len(ids) - len(np.unique(ids))} ids have two vectors")
    if not np.array_equal(slots.map.find(ids), live) or len(slots.map) != len(live):
        found.append("the map of ids does not lead to the slots that hold their vectors")
    homes = slots.homes.view()
    at_home = np.zeros(len(homes), dtype=bool)
    for number in numbers.tolist():
        if number in damaged:
            continue
        raw = lists.read(number)
        beyond = entries.slots(raw) >= len(homes)
        if beyond.any():
            found.append(f"list {number} has {int(beyond.sum())} entries of slots that there are not")
            continue
        held = entries.slots(raw)[parts.live(raw)]
        dead = homes[held] == NOWHERE
        if dead.any():
            found.append(f"list {number} has {int(dead.sum())} entries that count, of slots that hold nothing")
        at_home[held[homes[held] == number]] = True
    missing = live[~at_home[live]]
    missing = missing[~np.isin(homes[missing], list(damaged))] if damaged else missing
    if len(missing) and len(parts.heads):
        found.append(f"{len(missing)} vectors are in no list of their nearest head, of ids {_some(slots.ids.view()[missing])}")
    broken = parts.vectors.damaged(live)
    if len(broken):
        found.append(f"{len(broken)} vectors are damaged on disk, of ids {_some(slots.ids.view()[broken])}")
    return found


def _some(ids: Numbers) -> str:
    return ", ".join(map(str, ids[:_SHOWN].tolist())) + (", …" if len(ids) > _SHOWN else "")
