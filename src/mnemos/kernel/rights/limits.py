"""Limits of a space: how much it may hold, how often it may be used, and how many reads a licence allows.

Quotas and licences hold in the transaction that they are about, by what the store holds and has counted, so that they are exact whatever
processes there are.
Rates are counted in the memory of one process: they keep a caller from taking more than its share, and cost nothing durable.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mnemos.base.clock import Clock
from mnemos.base.cube import Content, Json
from mnemos.base.errors import PermissionDenied, QuotaExceeded, RateLimited
from mnemos.kernel.rights.governance import Access, licence_of, until_text

if TYPE_CHECKING:
    from mnemos.store.sqlite_write import Writer

_MINUTE = 60_000_000
_CALLERS = 10_000  # token buckets kept; the one used longest ago goes first, which can only be in its caller's favour


class RateLimiter:
    """Token buckets: `limit` uses a minute, all at once or spread, for each caller, space and verb."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str | None, int, str], tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, principal: str | None, space: int, settings: Json, verb: str) -> None:
        """Use one token. Raises `RateLimited`, saying when there will be one again."""
        limit = (settings.get("rate") or {}).get(f"{'reads' if verb == 'read' else 'writes'}_per_minute")
        if limit is None:
            return
        key, now = (principal, space, verb if verb == "read" else "write"), self._clock()
        with self._lock:
            tokens, then = self._buckets.pop(key, (float(limit), now))
            tokens = min(float(limit), tokens + (now - then) * limit / _MINUTE)
            allowed = tokens >= 1
            self._buckets[key] = (tokens - 1 if allowed else tokens, now)
            while len(self._buckets) > _CALLERS:
                self._buckets.popitem(last=False)
        if not allowed:
            seconds = (1 - tokens) * 60 / limit if limit else 3600.0
            raise RateLimited(f"the space allows {limit} {key[2]}s a minute to each caller; try again in {seconds:.1f} seconds", seconds)


def use_licence(access: Access, space: int, name: str, settings: Json, now: int, writing: Callable[[], object]) -> None:
    """Count one read against the licence under which a principal reads a space, where there is one. Raises `PermissionDenied` where it has
    ended. `writing` opens a transaction: the count is durable before anything is read."""
    licence = licence_of(access, settings)
    if licence is None:
        return
    to, terms = licence
    until, reads = terms.get("until"), terms.get("reads")
    if until is not None and now >= until:
        raise PermissionDenied(f"the licence of {access.principal!r} for space {name!r} ended on {until_text(until)}; ask its owner")
    if reads is None:
        return
    counted = f"licence/{space}/{to}/{access.principal}"
    with writing() as transaction:  # type: ignore[attr-defined]
        if transaction.count_up(counted) > reads:
            raise PermissionDenied(f"the licence of {access.principal!r} for space {name!r} allows {reads} reads, and all are used; ask its owner")


def use_quota(transaction: Writer, space: int, name: str, settings: Json, contents: Sequence[Content], cubes: int) -> None:
    """Hold `cubes` new memories, and the text of `contents`, which are about to be written, against the quota of a space. Raises
    `QuotaExceeded`."""
    quota = settings.get("quota")
    if not quota:
        return
    held = transaction.held(space)
    wanted = {"cubes": cubes, "bytes": sum(len((content.text or "").encode()) for content in contents)}
    for unit, limit in quota.items():
        if held[unit] + wanted[unit] > limit and wanted[unit]:
            raise QuotaExceeded(
                f"space {name!r} may hold {limit:,} {unit}, and holds {held[unit]:,}: {wanted[unit]:,} more do not fit; "
                "forget what is not needed, or raise its quota"
            )
