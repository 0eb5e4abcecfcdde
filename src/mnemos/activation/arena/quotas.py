"""Bytes of keys and values that each namespace may hold, over as many arenas as share the object."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from mnemos.base.errors import Invalid, QuotaExceeded


class OverQuota(QuotaExceeded):
    """`namespace` would hold `over` bytes more than it may. Nothing was mapped: let it give up sequences, or raise its limit."""

    def __init__(self, namespace: str, used: int, wanted: int, over: int) -> None:
        self.namespace = namespace
        self.over = over
        super().__init__(
            f"namespace {namespace!r} holds {used:,} bytes of keys and values and wants {wanted:,} more: "
            f"{over:,} over its limit; free some of its sequences, or raise the limit"
        )


class Quotas:
    """Limits in bytes by namespace; `default` for those without one, None for no limit. Safe for threads.

    A namespace is charged for the blocks that the lengths of its sequences need, a shared block once. Pages that are mapped ahead or kept for reuse
    are nobody's: they are given back when somebody needs them.
    """

    def __init__(self, limits: Mapping[str, int] | None = None, default: int | None = None) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, int | None] = dict(limits or {})
        self._default = default
        self._used: dict[str, int] = {}

    def set_limit(self, namespace: str, nbytes: int | None) -> None:
        """Also below what is held: then nothing is taken away, and nothing more is given."""
        if nbytes is not None and nbytes < 0:
            raise Invalid(f"a limit is at least 0 bytes, not {nbytes}")
        with self._lock:
            self._limits[namespace] = nbytes

    def limit(self, namespace: str) -> int | None:
        return self._limits.get(namespace, self._default)

    def used(self, namespace: str) -> int:
        """Bytes that it is charged for."""
        return self._used.get(namespace, 0)

    def left(self, namespace: str) -> int | None:
        """Bytes that it may still have; None without a limit."""
        limit = self.limit(namespace)
        return None if limit is None else max(0, limit - self.used(namespace))

    def over(self, namespace: str, nbytes: int) -> int:
        """Bytes by which it would exceed its limit with `nbytes` more; 0 where it would not, or gives something back."""
        limit = self.limit(namespace)
        return max(0, self.used(namespace) + nbytes - limit) if limit is not None and nbytes > 0 else 0

    def charge(self, namespace: str, nbytes: int, there: bool = False) -> None:
        """So many bytes more, or less where negative. Raises `OverQuota`, and charges nothing, where that is too many, unless they are `there`
        already and can only be counted."""
        with self._lock:
            if not there and (over := self.over(namespace, nbytes)):
                raise OverQuota(namespace, self.used(namespace), nbytes, over)
            self._used[namespace] = self.used(namespace) + nbytes
