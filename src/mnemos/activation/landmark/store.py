"""The store of a layer's blocks: landmark keys near, which are scored, the blocks' keys and values far; of as many as there is room for."""

from __future__ import annotations

from torch import Tensor

from mnemos.activation import coding
from mnemos.activation.chunks import ChunkStore


class BlockStore(ChunkStore):
    """A `ChunkStore` from whose beginning blocks can be dropped."""

    def drop(self, count: int) -> None:
        """Lets go of the first `count` blocks of all rows. What of their piece stays is written anew, so that they take no room."""
        self._near = coding.each(lambda tensor: tensor[:, :, count:].clone(), self._near)
        self.readable, self.spans = self.readable[:, :, count:].clone(), self.spans[:, count:].clone()
        pieces = []
        for piece in self.payloads:
            length = piece.shape[2]
            if count < length:
                pieces.append(self.place.hold(piece[:, :, count:].contiguous()) if count else piece)
            count = max(0, count - length)
        self.payloads = pieces

    def found_by(self, summaries: Tensor) -> BlockStore:
        """The same, its blocks found by other summaries [B, G, n, d], which are kept as they come."""
        other = self.fork()
        other.bits, other._frames, other._near = None, None, summaries
        return other

    def fork(self) -> BlockStore:
        """A store that goes on by itself; what never changes is shared."""
        other = BlockStore(self.place, self.bits)
        other.__dict__.update(self.__dict__, copied=0)
        return other
