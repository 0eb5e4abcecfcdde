"""What KV memories take while they are in use, by tenant: those that a space hands out live in the arena of the store's language model.

The arena is that of `LocalModel(…, caches=KVArena(…).caches())`. Its quotas go by the name of the space, and within it by principal ("notes/alice").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory
    from mnemos.kernel.space import Space


def tenant(space: Space) -> str:
    """The namespace of an arena that a caller's KV memories of a space are counted for: a quota for the space's own name bounds all its callers."""
    return space.name if space.system.principal is None else f"{space.name}/{space.system.principal}"


def housed(space: Space, memory: KVMemory) -> KVMemory:
    """The memory in the arena, where the model has one; else as it is. Raises `OverQuota` (a `QuotaExceeded`), `StoreFull`."""
    arena = getattr(getattr(space.system.language_model, "caches", None), "arena", None)
    return memory if arena is None else memory.lodge(arena, tenant(space))
