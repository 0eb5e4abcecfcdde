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
    are nobody's: they are given back when somebody needs them. "team/alice" is a namespace in "team": what it holds counts for both, and it may have
    what both have left. `default` is for each by itself, not for those that it is in.
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
        """Bytes that it, and those in it, are charged for."""
        return self._used.get(namespace, 0)

    def left(self, namespace: str) -> int | None:
        """Bytes that it may still have; None without a limit."""
        left = [max(0, limit - self.used(each)) for each, limit in self._limiting(namespace)]
        return min(left, default=None)

    def over(self, namespace: str, nbytes: int) -> int:
        """Bytes by which a limit would be exceeded with `nbytes` more; 0 where none would, or it gives something back."""
        return max([0, *(self.used(each) + nbytes - limit for each, limit in self._limiting(namespace))]) if nbytes > 0 else 0

    def charge(self, namespace: str, nbytes: int, there: bool = False) -> None:
        """So many bytes more, or less where negative. Raises `OverQuota`, and charges nothing, where that is too many, unless they are `there`
        already and can only be counted."""
        with self._lock:
            if not there and (over := self.over(namespace, nbytes)):
                raise OverQuota(namespace, self.used(namespace), nbytes, over)
            for each in _around(namespace):
                self._used[each] = self.used(each) + nbytes

    def _limiting(self, namespace: str) -> list[tuple[str, int]]:
        """Those that have a limit which holds for a namespace, and the limit."""
        limits = [(each, self.limit(each) if each == namespace else self._limits.get(each)) for each in _around(namespace)]
        return [(each, limit) for each, limit in limits if limit is not None]


def _around(namespace: str) -> list[str]:
    """The namespace, and those that it is in."""
    parts = namespace.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
