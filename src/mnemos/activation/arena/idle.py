"""Memories that wait to be used again, and can be made again: they are kept while nothing else needs their pages."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING

from mnemos.activation.arena.quotas import OverQuota
from mnemos.base.errors import StoreFull

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory


class Idle:
    """Between two turns of a conversation, say: `put` after one, `take` before the next, and read again what `take` has not any more. Its `let_go` is
    for `KVArena(let_go=…)`: what waits longest goes first. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, tuple[str, KVMemory]] = {}

    def put(self, key: Hashable, memory: KVMemory, namespace: str = "") -> None:
        """`namespace` is that of the memory. Nobody uses the memory until it is taken."""
        with self._lock:
            self._waiting.pop(key, None)
            self._waiting[key] = namespace, memory

    def take(self, key: Hashable) -> KVMemory | None:
        """The memory, which does not wait any more; None where it was let go of, or never there."""
        with self._lock:
            found = self._waiting.pop(key, None)
        return None if found is None else found[1]

    def let_go(self, namespace: str, error: StoreFull) -> bool:
        """Closes one that can help: of a namespace that is over its quota one of its own, else any. Whether there was one."""
        with self._lock:
            mine = (key for key, (owner, _) in self._waiting.items() if not isinstance(error, OverQuota) or _together(owner, namespace))
            key = next(mine, None)
            found = None if key is None else self._waiting.pop(key)
        if found is None:
            return False
        found[1].close()
        return True


def _together(one: str, other: str) -> bool:
    """Whether a limit may hold for both: they are of the same tenant."""
    return one.split("/")[0] == other.split("/")[0]
