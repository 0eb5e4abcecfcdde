"""Blocks of physical pages: which are free, how often each is mapped, and whose rows were written there last."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mnemos.activation.arena.backend import Backend
from mnemos.activation.arena.layout import Layout
from mnemos.base.errors import StoreFull


class Pool:
    """Blocks, each a page for every tensor of the layout. Handles are made in `grow` and given back in `close`; in between they only change hands.

    Not safe for threads: its arena's lock guards it.
    """

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self._layout = layout
        self._backend = backend
        self._starts: list[int] = []
        self._handles: list[Sequence[int]] = []
        self._fresh: list[range] = []
        self._returned: list[int] = []
        self._retired: set[int] = set()
        self._references: dict[int, int] = {}
        self._shared = 0
        self._zeroed = backend.capabilities().zeroed
        self.writer: dict[int, str] = {}
        """By block, the namespace whose rows are in it; blocks that read as zero, or that nobody has written to, are not there."""
        self.size = 0
        """Blocks that were ever made: their numbers run to one below it."""

    @property
    def free(self) -> int:
        """Blocks that are mapped nowhere."""
        return self.size - len(self._references) - len(self._retired)

    @property
    def there(self) -> int:
        """Blocks that there are, free or mapped."""
        return self.size - len(self._retired)

    @property
    def shared(self) -> int:
        """Blocks that more than one slot has."""
        return self._shared

    def grow(self, blocks: int) -> None:
        """Makes so many more. Raises `NoMemory`, and makes none, where they cannot all be had."""
        if blocks < 1:
            return
        handles = self._backend.create(self._layout.page, blocks * self._layout.tensors)
        self._starts.append(self.size)
        self._handles.append(handles)
        self._fresh.append(range(self.size, self.size + blocks))
        self.size += blocks

    def retire(self, count: int) -> int:
        """Gives the pages of so many free blocks back, or of all there are; how many."""
        blocks = self.take(min(count, self.free))
        for block in blocks:
            del self._references[block]
            self._backend.release([self.handle(block, tensor) for tensor in range(self._layout.tensors)])
        self._retired.update(blocks)
        return len(blocks)

    def take(self, count: int) -> list[int]:
        """So many free blocks, each held once; those given back last come first. Raises `StoreFull`, and takes none, where there are not as many."""
        if count > self.free:
            raise StoreFull(f"{count} blocks are wanted and {self.free} of {self.size} are free")
        blocks = [self._returned.pop() for _ in range(min(count, len(self._returned)))]
        while len(blocks) < count:
            some = self._fresh[0]
            taken = some[: count - len(blocks)]
            blocks += taken
            self._fresh[0] = some[len(taken) :]
            if not self._fresh[0]:
                del self._fresh[0]
        self._references.update(dict.fromkeys(blocks, 1))
        return blocks

    def claim(self, blocks: Sequence[int]) -> None:
        """Takes free blocks by number, each held once."""
        for block in blocks:
            self._returned.remove(block)
        self._references.update(dict.fromkeys(blocks, 1))

    def hold(self, block: int) -> None:
        """One more slot has it."""
        self._references[block] += 1
        self._shared += self._references[block] == 2

    def drop(self, block: int) -> bool:
        """One slot less has it; when none is left it is free. Whether it is."""
        left = self._references[block] - 1
        self._shared -= left == 1
        if left:
            self._references[block] = left
            return False
        del self._references[block]
        self._returned.append(block)
        if self._zeroed:
            self.writer.pop(block, None)
        return True

    def references(self, block: int) -> int:
        """How many slots have it."""
        return self._references.get(block, 0)

    def handle(self, block: int, tensor: int) -> int:
        """The page of a block in one tensor."""
        chunk = bisect_right(self._starts, block) - 1
        return self._handles[chunk][(block - self._starts[chunk]) * self._layout.tensors + tensor]

    def close(self) -> None:
        """Gives all pages back. None is mapped any more."""
        for start, handles in zip(self._starts, self._handles, strict=True):
            tensors = self._layout.tensors
            gone = {(block - start) * tensors + tensor for block in self._retired for tensor in range(tensors)}
            self._backend.release([handle for place, handle in enumerate(handles) if place not in gone] if gone else handles)
        self.__init__(self._layout, self._backend)  # type: ignore[misc]
