"""Room in an arena for the newest tokens of a layer: they grow in place, and pages behind what is dropped go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mnemos.activation.arena.lease import Lease, extend
from mnemos.activation.arena.tensors import tensor

if TYPE_CHECKING:
    from mnemos.activation.arena.tenancy import Tenancy

Sizes = tuple[int, int, int, Any]
"""Heads, widths of keys and values, type."""


class LeasedRoom:
    """What `mnemos.activation.tail.Room` asks for. `keys` [B, G, n, d] and `values` [B, G, n, e] are views, tokens side by side as in a tensor
    of their own; n is what there are whole pages for. They are void once the room is closed or gone."""

    keys: Tensor
    values: Tensor
    leases: list[Lease]
    """Of keys and values together, or one of each."""
    _sizes: Sizes
    _wholes: tuple[Tensor, Tensor]
    """All rows that the leases could ever have, [B, G, max_ctx, d] and [B, G, max_ctx, e]."""

    def __init__(self, tenancy: Tenancy, keys: Tensor, values: Tensor) -> None:
        self._tenancy = tenancy
        self._open(keys, values)
        self.hold(keys, values)
        tenancy.rooms.add(self)

    @property
    def tokens(self) -> int:
        """n: tokens for which there are pages."""
        return int(self.keys.shape[2])

    def grow(self, least: int, length: int) -> None:
        """Room for `least` tokens or more; the first `length` stay. The memory's other layers that stand at the same page get theirs at the same
        time, or none does. Raises `OverQuota`, `StoreFull`; `Invalid` beyond the arena's `max_ctx`."""
        alike = [room for room in self._tenancy.rooms if room._sizes == self._sizes and room.tokens == self.tokens and room.leases]
        for place, lease in enumerate(self.leases):
            stop = self._whole(least, lease)
            leases = [room.leases[place] for room in alike]
            self._tenancy.arena.fitting(lease.arena, self._tenancy.namespace, lambda leases=leases, stop=stop: extend(leases, stop))  # type: ignore[misc]
        for room in alike:
            room._show()

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Holds these tokens instead; pages beyond them go back. They may be views of this room."""
        if _sizes(keys, values) == self._sizes and keys.shape[0] == self.keys.shape[0]:
            mine = {each.untyped_storage().data_ptr() for each in (self.keys, self.values)}
            self._write(*(each.clone() if each.untyped_storage().data_ptr() in mine else each for each in (keys, values)))
            return
        before = self._sizes, self.leases
        self._open(keys, values)
        try:
            self._write(keys, values)
        except BaseException:
            for lease in self.leases:
                lease.close()
            self._sizes, self.leases = before
            self._look()
            raise
        for lease in before[1]:
            lease.close()

    def crop(self, length: int) -> None:
        """Pages beyond so many tokens go back; what is written there next is nobody else's."""
        for lease in self.leases:
            lease.trim(length)
        self._show()

    def fork(self, length: int, landlord: Any) -> LeasedRoom:
        """Whole pages are shared until one of both writes there."""
        self.crop(length)
        twin = LeasedRoom.__new__(LeasedRoom)
        twin._tenancy, twin._sizes, twin.leases = landlord or self._tenancy, self._sizes, []
        for lease in self.leases:
            twin.leases.append(self._tenancy.arena.fitting(lease.arena, self._tenancy.namespace, lease.fork))
        twin._look()
        twin._tenancy.rooms.add(twin)
        return twin

    def nbytes(self) -> int:
        """Of the pages; shared ones count in each room."""
        return sum(lease.batch * lease.arena.layout.needed(lease.tokens) * lease.arena.layout.block_bytes for lease in self.leases)

    def close(self) -> None:
        """Gives everything back."""
        for lease in self.leases:
            lease.close()
        self.leases, self._wholes, self.keys, self.values = [], _NOTHING, *_NOTHING
        self._tenancy.rooms.discard(self)

    def _open(self, keys: Tensor, values: Tensor) -> None:
        """Takes slots: with keys and values of one width in one arena, else in one for each."""
        self._sizes = _sizes(keys, values)
        arena = self._tenancy.arena
        if keys.shape[3] == values.shape[3]:
            arenas = [arena.arena_of(keys.shape[3], keys, 2)]
        else:
            arenas = [arena.arena_of(each.shape[3], each, 1) for each in (keys, values)]
        self.leases = [Lease(each, self._tenancy.namespace, overlap=False, returns=True) for each in arenas]
        for lease in self.leases:
            lease.open(keys.shape[0] * keys.shape[1])
        self._look()

    def _write(self, keys: Tensor, values: Tensor) -> None:
        length = keys.shape[2]
        for lease in self.leases:
            stop = self._whole(length, lease)
            self._tenancy.arena.fitting(lease.arena, self._tenancy.namespace, lambda lease=lease, stop=stop: lease.write(0, stop))  # type: ignore[misc]
        self._show()
        self.keys[:, :, :length], self.values[:, :, :length] = keys, values
        for lease in self.leases:
            lease.trim(self._whole(length, lease))
        self._show()

    def _look(self) -> None:
        """At slots that are new."""
        first, last = self.leases[0], self.leases[-1]
        self._wholes = _view(first, 0, self._sizes[0]), _view(last, last.arena.layout.planes - 1, self._sizes[0])
        self._show()

    def _show(self) -> None:
        """Views of what there are pages for."""
        tokens = min(lease.tokens for lease in self.leases)
        self.keys, self.values = (whole.narrow(2, 0, tokens) for whole in self._wholes)

    @staticmethod
    def _whole(tokens: int, lease: Lease) -> int:
        """Up to the end of the page."""
        layout = lease.arena.layout
        whole = layout.needed(tokens) * layout.tokens_per_page
        return whole if tokens > layout.max_ctx else min(whole, layout.max_ctx)


_NOTHING = torch.empty(0, 0, 0, 0), torch.empty(0, 0, 0, 0)


def _sizes(keys: Tensor, values: Tensor) -> Sizes:
    return int(keys.shape[1]), int(keys.shape[3]), int(values.shape[3]), keys.dtype


def _view(lease: Lease, plane: int, heads: int) -> Tensor:
    """[B, G, max_ctx, d] of a lease that has a slot for each head."""
    layout, first = lease.arena.layout, tensor(lease.arena, 0, plane)
    slot = layout.slot_stride // layout.item_bytes
    shape, strides = (lease.batch // heads, heads, layout.max_ctx, layout.head_dim), (heads * slot, slot, layout.head_dim, 1)
    return first.as_strided(shape, strides, first.storage_offset() + lease.slots.start * slot)
