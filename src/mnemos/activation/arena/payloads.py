"""A place for what a policy keeps far away: host memory of an arena, counted by namespace, that goes back to the system with the last view of it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mnemos.activation.arena.lease import Lease

if TYPE_CHECKING:
    from mnemos.activation.arena.tenancy import Tenancy


class HeldPayloads:
    """A `mnemos.activation.chunks.Place`."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._arena, self._namespace = tenancy.arena, tenancy.namespace

    def hold(self, payload: Tensor) -> Tensor:
        """A copy in pages of its own, contiguous. Raises `OverQuota`, `StoreFull`; `Invalid` for more than a GiB."""
        if not payload.numel():
            return payload.detach().to("cpu", copy=True)
        arena = self._arena.arena_of_payloads()
        lease = Lease(arena, self._namespace, overlap=False, returns=True)
        nbytes = payload.numel() * payload.element_size()
        rows = -(-nbytes // arena.layout.row_bytes)
        lease.open(1)
        self._arena.fitting(arena, self._namespace, lambda: lease.write(0, rows))
        buffer = (ctypes.c_ubyte * nbytes).from_address(arena.span.base + arena.layout.page_offset(0, lease.slots.start, 0))
        buffer._held = lease, arena.span  # torch keeps the buffer as long as it has a view, and so the pages
        return torch.frombuffer(buffer, dtype=payload.dtype).view(payload.shape).copy_(payload.detach())
