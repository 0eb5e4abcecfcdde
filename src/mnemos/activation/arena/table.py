"""The page table: which block of the pool stands at which place of which slot, and the calls that make the backend agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from mnemos.activation.arena.backend import Backend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.pool import Pool
from mnemos.activation.arena.undo import Undo


class PageTable:
    """`blocks[slot]` are the slot's blocks from its first token on, without holes. A change is made in all tensors or, where the backend fails, none.

    Not safe for threads: its arena's lock guards it.
    """

    def __init__(self, layout: Layout, backend: Backend, base: int, pool: Pool) -> None:
        self._layout = layout
        self._backend = backend
        self._base = base
        self._pool = pool
        self.blocks: list[list[int]] = [[] for _ in range(layout.max_batch)]

    def address(self, tensor: int, slot: int, block: int) -> int:
        """Of a page."""
        return self._base + self._layout.page_offset(tensor, slot, block)

    def append(self, slot: int, count: int, undo: Undo) -> list[int]:
        """So many free blocks at the end of the slot, and which they are. Raises `StoreFull` where the pool has not as many."""
        blocks = self._pool.take(count)
        at = len(self.blocks[slot])
        self._hold(slot, at, blocks)
        undo(lambda: self._cut(slot, at))
        return blocks

    def trim(self, slot: int, left: int, undo: Undo) -> int:
        """Takes blocks from the end until `left` are left; how many went. What was in them is lost, also where it is taken back."""
        blocks = self.blocks[slot][left:]
        if blocks:
            self._cut(slot, left)
            undo(lambda: self._restore(slot, left, blocks))
        return len(blocks)

    def exchange(self, places: Mapping[tuple[int, int], int | None], undo: Undo) -> None:
        """Puts other blocks at places (slot, index), None for none there any more; contents go with the blocks. The backend has to be able to move.

        Whoever calls has taken or held the new blocks, and lets the old ones go at the very end. The slots are without holes afterwards.
        """
        before = {(slot, at): self._block(slot, at) for slot, at in places}
        changes = {place: block for place, block in places.items() if before[place] != block}
        self._swap({place: (before[place], block) for place, block in changes.items()})
        undo(lambda: self._swap({place: (block, before[place]) for place, block in changes.items()}))

    def let_go(self, blocks: Sequence[int]) -> None:
        """Blocks that were exchanged for others are dropped; what is in those that no slot has any more is gone."""
        for block in blocks:
            if self._pool.drop(block):
                self._backend.discard([self._pool.handle(block, tensor) for tensor in range(self._layout.tensors)])

    def copy_rows(self, target: tuple[int, int], source: tuple[int, int], tokens: int) -> None:
        """Copies the first rows of one place's pages to another's, in all tensors."""
        for tensor in range(self._layout.tensors):
            self._backend.copy(self.address(tensor, *target), self.address(tensor, *source), tokens * self._layout.row_bytes)

    def zero(self, slot: int, at: int, count: int) -> None:
        """Overwrites so many blocks of a slot."""
        for tensor in range(self._layout.tensors):
            self._backend.zero(self.address(tensor, slot, at), count * self._layout.page)

    def _block(self, slot: int, at: int) -> int | None:
        return self.blocks[slot][at] if at < len(self.blocks[slot]) else None

    def _cut(self, slot: int, left: int) -> None:
        blocks = self.blocks[slot][left:]
        self._unmap(slot, left, blocks)
        del self.blocks[slot][left:]
        self._drop(blocks)

    def _restore(self, slot: int, at: int, blocks: Sequence[int]) -> None:
        """Maps free blocks again where they were before they were trimmed; one that another slot still has is held once more."""
        fresh = [block for block in blocks if not self._pool.references(block)]
        self._pool.claim(fresh)
        for block in set(blocks) - set(fresh):
            self._pool.hold(block)
        self._hold(slot, at, blocks)

    def _hold(self, slot: int, at: int, blocks: Sequence[int]) -> None:
        """Maps blocks that are taken already at the end of a slot; where that fails, they go back to the pool."""
        try:
            self._map(slot, at, blocks)
        except BaseException:
            self._drop(blocks)
            raise
        self.blocks[slot] += blocks

    def _swap(self, changes: Mapping[tuple[int, int], tuple[int | None, int | None]]) -> None:
        with Undo() as undo:
            for slot, at, blocks in _runs({place: old for place, (old, _) in changes.items()}):
                self._unmap(slot, at, blocks, keep=True)
                undo(lambda slot=slot, at=at, blocks=blocks: self._map(slot, at, blocks))  # type: ignore[misc]
            for slot, at, blocks in _runs({place: new for place, (_, new) in changes.items()}):
                self._map(slot, at, blocks)
                undo(lambda slot=slot, at=at, blocks=blocks: self._unmap(slot, at, blocks, keep=True))  # type: ignore[misc]
        for slot in {slot for slot, _ in changes}:
            known = dict(enumerate(self.blocks[slot]))
            known.update({at: new for (other, at), (_, new) in changes.items() if other == slot})  # type: ignore[misc]
            self.blocks[slot] = [known[at] for at in sorted(known) if known[at] is not None]

    def _map(self, slot: int, at: int, blocks: Sequence[int]) -> None:
        with Undo() as undo:
            for tensor in range(self._layout.tensors):
                address = self.address(tensor, slot, at)
                self._backend.map(address, self._layout.page, [self._pool.handle(block, tensor) for block in blocks])
                undo(lambda address=address: self._backend.unmap(address, self._layout.page, len(blocks)))  # type: ignore[misc]

    def _unmap(self, slot: int, at: int, blocks: Sequence[int], keep: bool = False) -> None:
        with Undo() as undo:
            for tensor in range(self._layout.tensors):
                address = self.address(tensor, slot, at)
                self._backend.unmap(address, self._layout.page, len(blocks), keep)
                handles = [self._pool.handle(block, tensor) for block in blocks]
                undo(lambda address=address, handles=handles: self._backend.map(address, self._layout.page, handles))  # type: ignore[misc]

    def _drop(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            self._pool.drop(block)


def _runs(places: Mapping[tuple[int, int], int | None]) -> list[tuple[int, int, list[int]]]:
    """Slot, first index and blocks of each run of adjacent places that have a block."""
    filled = sorted((slot, at, block) for (slot, at), block in places.items() if block is not None)
    runs = groupby(enumerate(filled), key=lambda item: (item[1][0], item[1][1] - item[0]))
    return [(run[0][1][0], run[0][1][1], [block for _, (_, _, block) in run]) for run in (list(group) for _, group in runs)]
