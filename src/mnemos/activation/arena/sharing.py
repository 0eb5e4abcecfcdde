"""Pages that several slots have: prefixes, reordered beams, and copies before somebody writes. The arena's lock is held."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from mnemos.activation.arena.outcome import Place, Step, lacking
from mnemos.activation.arena.quotas import OverQuota
from mnemos.activation.arena.undo import Undo

if TYPE_CHECKING:
    from mnemos.activation.arena.core import Core


def written(core: Core, writes: Mapping[int, range]) -> list[Place]:
    """Places with shared blocks among the rows that slots will write to."""
    tokens = core.layout.tokens_per_page
    return [
        (slot, at)
        for slot, rows in writes.items()
        for at in range(rows.start // tokens, min(len(core.table.blocks[slot]), core.layout.needed(rows.stop)) if rows else 0)
        if core.pool.references(core.table.blocks[slot][at]) > 1
    ]


def copy_on_write(core: Core, places: Sequence[Place], undo: Undo) -> list[int]:
    """Gives each place a block of its own with the rows that the slot has; of slots that share one block the last keeps it. The blocks to let go."""
    sharers = Counter(core.table.blocks[slot][at] for slot, at in places)
    left = {block: core.pool.references(block) for block in sharers}
    dropped = []
    for slot, at in places:
        block = core.table.blocks[slot][at]
        if left[block] == 1:
            continue
        left[block] -= 1
        _replace(core, slot, at, undo)
        other = _another(core, slot, at, block)
        rows = min(core.layout.tokens_per_page, core.lens[slot] - at * core.layout.tokens_per_page)
        if rows > 0:
            core.table.copy_rows((slot, at), (other, at), rows)
        dropped.append(block)
    return dropped


def map_common(core: Core, source: int, targets: Sequence[int], blocks: int, tail: int) -> Step:
    """See `Arena.map_common`; everything is checked."""
    lens = list(core.lens)
    for slot in targets:
        lens[slot] = blocks * core.layout.tokens_per_page + tail
    shares = core.capabilities.shares
    own = (0 if shares else blocks) + (tail > 0)

    def change(undo: Undo) -> list[int]:
        for slot in targets:
            core.backend.wait(core.fences[slot])
            core.table.trim(slot, 0, undo)
        core.make_room(own * len(targets), lens, undo)
        if shares:
            common = core.table.blocks[source][:blocks]
            _hold(core, common * len(targets), undo)
            core.table.exchange({(slot, at): block for slot in targets for at, block in enumerate(common)}, undo)
        for slot in targets:
            if own:
                core.grow(slot, own, undo)
            if not shares:
                _copy(core, slot, source, lens[slot])
            elif tail:
                core.table.copy_rows((slot, blocks), (source, blocks), tail)
        return []

    return _changed(core, targets, own * len(targets), core.lens, lens, change)


def reorder(core: Core, sources: Mapping[int, int]) -> Step:
    """See `Arena.reorder`; everything is checked. Each slot gets what its source has."""
    lens = list(core.lens)
    for slot, source in sources.items():
        lens[slot] = core.lens[source]
    return (_reorder_pages if core.capabilities.shares else _reorder_rows)(core, sources, lens)


def _reorder_pages(core: Core, sources: Mapping[int, int], lens: Sequence[int]) -> Step:
    tokens = core.layout.tokens_per_page
    old = {slot: list(core.table.blocks[slot]) for slot in sources}
    new, copied = _reordered(core, sources, lens)

    def change(undo: Undo) -> list[int]:
        core.backend.wait(core.backend.fence())
        core.make_room(len(copied), kept, undo)
        fresh = core.pool.take(len(copied))
        undo(lambda: core.table.let_go(fresh))
        origins = {(slot, at): new[slot][at] for slot, at in copied}
        for (slot, at), block in zip(copied, fresh, strict=True):
            new[slot][at] = block
        places = {(slot, at): block for slot in sources for at, before, block in _side_by_side(old[slot], new[slot]) if before != block}
        _hold(core, [block for place, block in places.items() if block is not None and place not in origins], undo)
        core.table.exchange(places, undo)
        for (slot, at), origin in origins.items():
            core.hand_over(slot, at, core.owners[slot] or "")
            core.table.copy_rows((slot, at), (_another(core, slot, at, origin), at), lens[slot] % tokens)
        return [old[slot][at] for slot, at in places if at < len(old[slot])]

    # What takes part in the exchange is nobody's surplus before it is done.
    kept = [len(core.table.blocks[slot]) * tokens if slot in {*sources, *sources.values()} else count for slot, count in enumerate(core.lens)]
    return _changed(core, list(sources), len(copied), kept, lens, change)


def _reordered(core: Core, sources: Mapping[int, int], lens: Sequence[int]) -> tuple[dict[int, list[int]], list[Place]]:
    """The blocks of each slot afterwards, and the places among them that get a copy instead.

    The first to get a source keeps its last, partly filled block: the source itself where it stays what it was. The others copy it.
    """
    new = {slot: core.table.blocks[source][: core.layout.needed(lens[slot])] for slot, source in sources.items()}
    kept = {source for slot, source in sources.items() if slot == source} | (set(sources.values()) - set(sources))
    copied: list[Place] = []
    for slot, source in sources.items():
        if slot != source and lens[slot] % core.layout.tokens_per_page:
            if source in kept:
                copied.append((slot, len(new[slot]) - 1))
            kept.add(source)
    used = {block for blocks in new.values() for block in blocks}
    for slot, blocks in new.items():  # what was mapped ahead stays mapped
        ahead = core.table.blocks[slot][len(blocks) :]
        if not any(block in used or core.pool.references(block) > 1 for block in ahead):
            blocks += ahead
    return new, copied


def _reorder_rows(core: Core, sources: Mapping[int, int], lens: Sequence[int]) -> Step:
    """By way of buffers, for a backend whose pages stay where they are."""
    moved = {slot: source for slot, source in sources.items() if slot != source and lens[slot]}
    growth = {slot: count for slot in moved if (count := core.layout.needed(lens[slot]) - len(core.table.blocks[slot])) > 0}
    kept = [max(pair) for pair in zip(lens, core.lens, strict=True)]

    def change(undo: Undo) -> list[int]:
        core.make_room(sum(growth.values()), kept, undo)
        for slot, count in growth.items():
            core.grow(slot, count, undo)
        for tensor in range(core.layout.tensors):
            rows = {source: ctypes.create_string_buffer(core.lens[source] * core.layout.row_bytes) for source in set(moved.values())}
            for source, buffer in rows.items():
                core.backend.copy(ctypes.addressof(buffer), core.table.address(tensor, source, 0), len(buffer))
            for slot, source in moved.items():
                core.backend.copy(core.table.address(tensor, slot, 0), ctypes.addressof(rows[source]), len(rows[source]))
        return []

    return _changed(core, list(sources), sum(growth.values()), kept, lens, change)


def _changed(
    core: Core, slots: Sequence[int], wanted: int, kept: Sequence[int], lens: Sequence[int], change: Callable[[Undo], list[int]]
) -> Step:
    """Makes a change that needs so many blocks, all or nothing; those beyond the lengths `kept` can be taken. `change` gives what to let go."""
    short = wanted - core.pool.free - core.surplus(kept)
    if short > 0:
        error = lacking(sorted(slots), short, wanted, core.layout.block_bytes, core.pool.there)
        return Step(unfit=tuple(sorted(slots)), short=short, error=error)
    owners = {core.owners[slot] for slot in slots}
    try:
        with Undo() as undo:
            if not core.capabilities.shares:  # rows that are overwritten do not come back
                core.charge(owners, lens, (), undo)
            dropped = change(undo)
            core.charge(owners, lens, (), undo)
    except OverQuota as error:
        return Step(unfit=tuple(sorted(slots)), over={error.namespace: error.over}, error=error)
    core.table.let_go(dropped)
    core.settle(lens)
    return Step(mapped=wanted)


def _replace(core: Core, slot: int, at: int, undo: Undo) -> None:
    """A free block takes the place of another, which lives on elsewhere."""
    block = core.pool.take(1)
    undo(lambda: core.table.let_go(block))
    core.backend.wait(core.backend.fence())
    core.table.exchange({(slot, at): block[0]}, undo)
    core.hand_over(slot, at, core.owners[slot] or "")


def _hold(core: Core, blocks: Sequence[int], undo: Undo) -> None:
    for block in blocks:
        core.pool.hold(block)
    undo(lambda: core.table.let_go(blocks))


def _another(core: Core, slot: int, at: int, block: int) -> int:
    """Another slot that has the block; it is at the same index there."""
    return next(other for other, blocks in enumerate(core.table.blocks) if other != slot and at < len(blocks) and blocks[at] == block)


def _copy(core: Core, target: int, source: int, tokens: int) -> None:
    for tensor in range(core.layout.tensors):
        core.backend.copy(core.table.address(tensor, target, 0), core.table.address(tensor, source, 0), tokens * core.layout.row_bytes)


def _side_by_side(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[int, int | None, int | None]]:
    for at, (before, after) in enumerate(zip_longest(old, new)):
        yield at, before, after
