"""How far a batch of sequences has been read: the cache, and what is not seen from the cache alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from mnemos.base.errors import Invalid


@runtime_checkable
class Settling(Protocol):
    """A cache that wants to know when a prompt has been read: it compresses then."""

    def settle(self) -> None:
        """Called after the last chunk of a prompt."""
        ...


@runtime_checkable
class Chunked(Protocol):
    """A cache that wants to know, before it is given a chunk of a prompt, whether it is the last."""

    last_chunk: bool


@runtime_checkable
class Roomy(Protocol):
    """A cache in which many tokens take few of the model's positions: it says itself how many more it takes."""

    def room(self) -> int | None:
        """Tokens that each row can still be given; None where that is unknown."""
        ...


@dataclass(frozen=True)
class Prefilled:
    """What has been read of each row. `cache` is shared by all that are made from one another: only the newest of them can be continued."""

    cache: Any
    """A transformers `Cache`."""
    logits: Tensor | None
    """(rows, vocabulary), float32: of the token after the last; None where the reading was cancelled before its end."""
    lengths: tuple[int, ...]
    """Tokens that each row has in the cache."""
    slots: int
    """Places that a row takes in the cache: its tokens, and what pads it to the others' length."""
    mask: Tensor | None = None
    """(rows, slots), bool, true where there is a token; None where there is one everywhere."""
    pending: tuple[tuple[int, ...], ...] = ()
    """Tokens of each row that belong to it and are not in the cache yet, such as the last that was generated: the next call reads them first."""
    tokens: tuple[tuple[int, ...], ...] | None = None
    """The tokens in the cache, where all of them are known."""

    @property
    def rows(self) -> int:
        """Sequences in the batch."""
        return len(self.lengths)

    @property
    def aligned(self) -> bool:
        """Whether padding stands only before the rows' first tokens, so that distances in the cache are distances between tokens."""
        return self.mask is None or not bool((self.mask[:, :-1] & ~self.mask[:, 1:]).any())

    def cropped(self, keep: int) -> Prefilled | None:
        """Of a single row, only its first `keep` tokens, the cache cropped to them; None, and nothing is done, where that cannot be undone so."""
        if self.rows != 1 or not 0 <= keep <= self.lengths[0]:
            raise Invalid(f"cannot keep {keep} tokens of {self.lengths}: crop a single row, to at most its length")
        remove = self.lengths[0] - keep
        if remove and not can_crop(self.cache):
            return None
        if remove:
            self.cache.crop(-remove)
        mask = None if self.mask is None else self.mask[:, : self.slots - remove]
        tokens = None if self.tokens is None else (self.tokens[0][:keep],)
        return replace(self, logits=None, lengths=(keep,), slots=self.slots - remove, mask=mask, pending=((),), tokens=tokens)


def can_crop(cache: Any) -> bool:
    """Whether the newest tokens of a cache can be taken away as if they had never been read. Layers with a window forget what they no longer need."""
    if not getattr(cache, "is_croppable", False):
        return False
    return not any(
        getattr(layer, "is_sliding", False) and layer.get_seq_length() >= layer.sliding_window and not getattr(layer, "record_past", False)
        for layer in cache.layers
    )
