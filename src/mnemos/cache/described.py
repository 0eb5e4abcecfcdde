"""What a caller says of a page, as numbers for a predictor."""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

from mnemos.cache.base import UNIT, Meta

_BUCKETS = 16
WIDTH = 8 + _BUCKETS
_DAY = 86_400.0


def says_something(meta: Meta) -> bool:
    """Whether there is anything in it to learn from, beyond a bit and whether the page is dirty."""
    return meta is not UNIT and any(
        (meta.size != 1, meta.cost != 1.0, meta.kind, meta.tier, meta.tenant, meta.writer, meta.rank is not None, meta.score is not None,
         meta.open is not None, meta.at is not None)
    )


@lru_cache(maxsize=4096)
def described(meta: Meta) -> tuple[float, ...]:
    """`WIDTH` numbers of the order of 1; labels (kind, tier, tenant, writer) share 16 buckets by a hash that is the same everywhere."""
    day = 0.0 if meta.at is None else 2 * math.pi * (meta.at % _DAY) / _DAY
    numbers = [
        math.log2(max(meta.size, 1)) / 16,
        math.log2(max(meta.cost, 2**-16)) / 16,
        0.0 if meta.rank is None else 1 / max(meta.rank, 1),
        0.0 if meta.score is None else math.tanh(meta.score),
        0.0 if meta.open is None else 1.0 if meta.open else -1.0,
        0.0 if meta.at is None else math.sin(day),
        0.0 if meta.at is None else math.cos(day),
        1.0,
    ]
    buckets = [0.0] * _BUCKETS
    for field in ("kind", "tier", "tenant", "writer"):
        if value := getattr(meta, field):
            buckets[zlib.crc32(f"{field}={value}".encode("utf-8", "surrogatepass")) % _BUCKETS] += 1.0
    return (*numbers, *buckets)
