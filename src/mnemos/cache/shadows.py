"""Following the best of several policies: each runs as a shadow that holds keys only, and the real cache becomes what the leading one would hold.

Fiat and others (1991), Blum and Burch (2000), Wei (APPROX 2020). While one shadow leads, the real cache misses at most as often as it, and once
more for each page that the shadow held when it took the lead and the real cache did not: at most k. So with s changes of the lead the misses are
at most those of each leader while it led, plus k (s + 1), whatever the rule by which leaders are chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Self

from mnemos.base.errors import Invalid
from mnemos.cache.base import UNIT, Key, Meta
from mnemos.cache.policy import Policy

_FEW = 64


class Shadows(Policy):
    """What the rules share: running the experts, and coming to hold what the leader holds, lazily.

    A page is dropped only when room is needed; it is one that the leader does not hold, first those that it dropped first. The experts have the
    capacity of the cache, and see every request. `led_misses` counts the misses of each leader while it led, `switches` the changes.
    """

    _apart = frozenset({"_experts"})

    def __init__(self, experts: Sequence[Policy], leader: int = 0) -> None:
        if len(experts) < 2 or not 0 <= leader < len(experts):
            raise Invalid(f"{self.name}: {len(experts)} experts of which number {leader} leads; give at least two, and one of them to lead")
        if len({expert.capacity for expert in experts}) > 1 or any(len(expert) for expert in experts):
            raise Invalid(f"{self.name}: the experts have to be new, and of one capacity, which is that of the cache")
        super().__init__(experts[0].capacity)
        self._parts = {str(number): expert for number, expert in enumerate(experts)}
        self._experts = list(experts)
        self.leader = leader
        self.switches = 0
        self.led_misses = 0
        self.losses = [0.0] * len(experts)  # cost of each expert's misses, in units of 1 / weight
        self.weight = 1.0  # of a miss now
        self._missed = 0  # of all experts
        self._missed_cost = 0.0
        self._requests = 0
        self._entered = 0  # since the pages were written anew
        self._leaving: OrderedDict[Key, None] = OrderedDict()  # pages that the leader does not hold, as far as known

    @property
    def experts(self) -> Sequence[Policy]:
        """In the order in which they were given."""
        return tuple(self._experts)

    @property
    def leading(self) -> Policy:
        """The expert that the cache follows."""
        return self._experts[self.leader]

    def hint(self, key: Key, bit: int) -> None:
        for expert in self._experts:
            expert.hint(key, bit)

    def clean(self, key: Key) -> None:
        super().clean(key)
        for expert in self._experts:
            expert.clean(key)

    def resize(self, capacity: int) -> list[Key]:
        for number, expert in enumerate(self._experts):
            dropped = expert.resize(capacity)
            if number == self.leader:
                self._expect_to_leave(dropped)
        return super().resize(capacity)

    def _room_for_new(self, size: int) -> list[Key]:
        self._expect_to_leave(self.leading._make_room(size))
        return self._make_room(size)

    def _miss(self, key: Key, meta: Meta) -> None:
        self._run(key, meta)

    def _touch(self, key: Key, meta: Meta) -> None:
        self._run(key, meta)

    def _run(self, key: Key, meta: Meta) -> None:
        self._requests += 1
        led, led_missed, missed, loss = self.leader, False, 0, 0.0
        for number, expert in enumerate(self._experts):
            if key in expert.pages:
                expert._touch(key, meta) if meta is UNIT else expert.on_hit(key, meta)
                continue
            if not missed:
                self._weigh()
                loss = meta.cost * self.weight
            missed += 1
            self.losses[number] += loss
            dropped = expert._load(key, meta)
            if number == led:
                led_missed = True
                self._expect_to_leave(dropped)
        if missed:
            self._missed += missed
            self._missed_cost += missed * meta.cost
        if led_missed:
            self.led_misses += 1
            self.leader = self._choose()
            if self.leader != led:
                self.switches += 1
                self._leaving.clear()

    @property
    def mean_cost(self) -> float:
        """Of a miss."""
        return self._missed_cost / self._missed if self._missed else 1.0

    def _best(self) -> int:
        return self.losses.index(min(self.losses))

    def _expect_to_leave(self, dropped: Sequence[Key]) -> None:
        for key in dropped:
            if key in self.pages:
                self._leaving[key] = None
                self._leaving.move_to_end(key)

    def _enter(self, key: Key) -> None:
        self.pages[key] = None
        self._entered += 1
        if self._entered > len(self.pages) // 2 + _FEW:  # what left has to give its room back: a dictionary does so only when it grows
            self.pages = dict.fromkeys(self.pages)
            self._entered = 0

    def _evict(self) -> Key:
        kept, leaving = self._experts[self.leader].pages, self._leaving
        while leaving:
            key, _ = leaving.popitem(last=False)
            if key not in kept:
                del self.pages[key]
                return key
        leaving.update((key, None) for key in self.pages if key not in kept)
        key = next(iter(leaving or self.pages.keys()))  # nothing is left that the leader does not hold only where pinned pages are in the way
        self._discard_own(key)
        return key

    def _discard(self, key: Key) -> None:
        for expert in self._experts:
            expert.drop(key)
        self._discard_own(key)

    def _discard_own(self, key: Key) -> None:
        del self.pages[key]
        self._leaving.pop(key, None)

    def _forget(self, key: Key) -> None:
        for expert in self._experts:
            expert.on_remove(key)

    def _twin(self) -> Self:
        twin = super()._twin()
        twin._experts = list(twin._parts.values())
        return twin

    def _weigh(self) -> None:
        """Bring the weight of a miss up to date; called before misses are counted."""

    def _choose(self) -> int:
        """Who leads from now on; called when the leader has missed."""
        raise NotImplementedError
