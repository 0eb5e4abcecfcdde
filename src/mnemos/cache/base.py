"""What an eviction policy and a predictor are, and what is known of a page when it is asked for.

Terms are those of paging: a cache of `capacity` holds *pages* (any keys); a request for a page that it does not hold is a *miss*, loads the page
and may evict others. *Capacity* and sizes share one unit, that of the caller: slots where all sizes are 1, or bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Key = Hashable


@dataclass(frozen=True, slots=True)
class Meta:
    """What the caller knows of a page at a request; every field may be left out.

    `size` in the unit of the capacity, at least 1; `cost` of loading the page again, in any unit, the same for all pages (tokens, seconds).
    `bit` is a prediction or hint that the caller has: 1, the page will not be needed before it would be evicted (a conversation ended); 0, it
    will (a pinned system prompt). `dirty`: it has to be written back before it is dropped. What follows is for a predictor that learns:
    `kind`, `tier`, `tenant`, `writer` are labels (of the object, its tier, its owner, who writes: user, agent, scan); `rank` from 1 and `score`
    say how a search valued it; `open`, whether its conversation goes on; `at`, UTC seconds of the request.
    """

    size: int = 1
    cost: float = 1.0
    bit: int | None = None
    dirty: bool = False
    kind: str = ""
    tier: str = ""
    tenant: str = ""
    writer: str = ""
    rank: int | None = None
    score: float | None = None
    open: bool | None = None
    at: float | None = None


UNIT = Meta()
"""Of a page of size 1 of which nothing else is known."""


@runtime_checkable
class EvictionPolicy(Protocol):
    """Decides which pages a cache keeps. It holds keys only; who calls it holds the pages, tells it of every request, and obeys."""

    capacity: int

    def on_hit(self, key: Key, meta: Meta = UNIT) -> None:
        """A page that the cache holds was asked for. Raises `NotFound` for any other."""

    def on_miss(self, key: Key, meta: Meta = UNIT) -> list[Key]:
        """A page that the cache does not hold was asked for and loaded. Gives the pages to drop, in order.

        A page that finds no room (larger than what is not pinned) is among them itself: it is not kept. Raises `Invalid` for a page that is held.
        """

    def on_remove(self, key: Key) -> None:
        """The page is gone, and all that was remembered of it is forgotten. No error where it was unknown."""

    def peek_victims(self, n: int) -> list[Key]:
        """The pages that would be dropped now to make room for a new page of size `n`, in order; nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        """All of its state as JSON values. Raises `Invalid` for keys that are not str, int, float, bool, bytes, None or tuples of these."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. Raises `Invalid` for the state of another policy, or for no state."""

    def __contains__(self, key: object) -> bool: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Key]: ...


@runtime_checkable
class Predictor(Protocol):
    """Predicts one bit at each request: 1, the best offline policy would evict the page before its next request; 0, it would keep it."""

    def observe(self, key: Key, meta: Meta = UNIT) -> None:
        """The page is asked for; called once for every request, before `bit`."""

    def bit(self, key: Key, meta: Meta = UNIT) -> float:
        """The bit of the page just asked for: 0, 1, or the probability of 1."""

    def forget(self, key: Key) -> None:
        """Nothing about this page may be remembered."""


@runtime_checkable
class Rescorer(Predictor, Protocol):
    """A predictor that can be asked again under eviction pressure, when a page has gone without a request for a while."""

    trusted: bool
    """Whether its scores mean anything yet."""

    def scores(self, keys: Sequence[Key], held: int) -> NDArray[np.floating[Any]]:
        """For each of some pages of a cache that holds `held`, how surely it has bit 1 as it stands now, shape (keys,); more is surer."""
