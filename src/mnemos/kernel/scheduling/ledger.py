"""What a scheduler knows of one tier: what it holds, how much each object is used, and what holding it is worth.

Reuse is the sum of past uses, each fading with the uses of the tier since: a tier that holds n objects forgets over 20 n uses, so that it
follows a drift.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from uuid import UUID

from mnemos.cache.base import EvictionPolicy
from mnemos.kernel.scheduling.costs import CostModel
from mnemos.kernel.scheduling.decisions import Key
from mnemos.kernel.scheduling.scenes import Line

_SAMPLE = 20  # uses over which a use fades, for each object held
_LEAST_HELD = 10
_GHOSTS = 50_000  # objects that are not held and whose uses are remembered
_LINES = 256  # lines of conversation that are remembered; the one heard of longest ago goes first
_PRIORITY = 16.0  # beyond it more makes no difference: 65,536 times the value
_DAY = 86_400_000_000


class Tier(Protocol):
    """A form in which objects can be held. The scheduler says what is to be dropped; building is for whoever asked."""

    name: str

    def drop(self, key: Key) -> None:
        """Let go of an object. Called while the scheduler decides: do not ask it anything from here."""


@runtime_checkable
class Forgets(Protocol):
    """A tier that knows something of memories."""

    def forgotten(self, cubes: Sequence[UUID]) -> Iterable[Key]:
        """Nothing is to be known of these memories any more; gives what objects of them are called."""


@runtime_checkable
class Doubts(Protocol):
    """A tier whose objects may be made and dropped in a transaction of the store."""

    def over(self) -> None:
        """A transaction of this thread has ended: it is durable, or all of it was undone."""


@dataclass(slots=True)
class Fading:
    """A sum of events, each fading to 1/e in a unit of the tier's time: `value` at the time `at`."""

    value: float = 0.0
    at: float = 0.0

    def add(self, now: float) -> None:
        self.value = self.value * math.exp(self.at - now) + 1
        self.at = now

    def now(self, now: float) -> float:
        return self.value * math.exp(self.at - now)


@dataclass(slots=True)
class Use:
    """How much an object is used: its heat, how often in all, and its size."""

    heat: Fading = field(default_factory=Fading)
    hits: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Foreseen:
    """Uses of a held object that are expected next of a line of conversation, as the heat of what is used so often all the time; whether it was built
    for them."""

    line: str
    uses: Fading
    built: bool


@dataclass(slots=True)
class Offer:
    """An object that asks for a place: what its uses are expected to save in seconds, less the rent of its place; how many uses these are; and what
    this use costs more if the object is built in its course (less, where that is negative)."""

    worth: float
    reuse: float = 0.0
    extra: float = 0.0


@dataclass(slots=True)
class Ledger:
    """The account of one tier. Times are those of `pass_time`."""

    tier: Tier
    budget: int
    rent: float
    least_hits: int
    policy: str
    costs: CostModel = field(default_factory=CostModel)
    held: dict[Key, int] = field(default_factory=dict)
    used: int = 0
    uses: dict[Key, Use] = field(default_factory=dict)
    pinned: frozenset[Key] = frozenset()
    """Objects that never give way."""
    time: float = 0.0
    """Grows by 1 while a use fades to 1/e."""
    clock: int = 0
    priorities: dict[Key, float] = field(default_factory=dict)
    heap: list[tuple[float, int, Key]] = field(default_factory=list)
    marks: dict[Key, int] = field(default_factory=dict)
    mark: int = 0
    once: list[int] = field(default_factory=lambda: [1, 2])
    """How many objects that were used once came back before that use had faded, of how many."""
    displacements: Fading = field(default_factory=Fading)
    """Times that objects gave way for another."""
    eviction: EvictionPolicy | None = None
    lines: OrderedDict[str, Line] = field(default_factory=OrderedDict)
    foreseen: dict[Key, Foreseen] = field(default_factory=dict)
    """What a line of conversation is likely to use next."""

    @property
    def tick(self) -> float:
        """What a use takes of the unit in which uses fade."""
        return 1 / (_SAMPLE * max(_LEAST_HELD, len(self.held)))

    def pass_time(self, now: int) -> None:
        """Time as the tier feels it: a use passes 1 ÷ (20 × objects held) of the unit in which uses fade, a day passes all of it."""
        if self.clock:
            self.time += max(0, now - self.clock) / _DAY
        self.clock = now
        self.time += self.tick

    def count_use(self, key: Key, size: int, priority: float) -> Use:
        """Note that an object is used; what was used longest ago is no longer remembered where there is too much."""
        use = self.uses.pop(key, None)
        if use is None:
            use = Use()
            self.once[1] += 1
        elif use.hits == 1 and self.time - use.heat.at <= 1:
            self.once[0] += 1
        use.heat.add(self.time)
        use.hits, use.bytes = use.hits + 1, size
        self.uses[key] = use
        self.priorities.pop(key, None)
        if priority:
            self.priorities[key] = max(-_PRIORITY, min(_PRIORITY, priority))
        if len(self.uses) > _GHOSTS + len(self.held):
            for old in list(self.uses):
                if old not in self.held:
                    del self.uses[old]
                    self.priorities.pop(old, None)
                    break
        return use

    def forget(self, key: Key) -> None:
        """Nothing is remembered of its uses, nor of where it was used."""
        self.uses.pop(key, None)
        self.priorities.pop(key, None)
        for line in self.lines.values():
            line.uses.forget(key)

    # -- what comes next --
    def line(self, name: str) -> Line:
        """A line of conversation, begun where it is not known."""
        line = self.lines.setdefault(name, Line())
        self.lines.move_to_end(name)
        while len(self.lines) > _LINES:
            gone, _ = self.lines.popitem(last=False)
            self.moved_on(gone)
        return line

    def moved_on(self, name: str) -> None:
        """A line is at its next scene: what was held for that has been used now, or was foreseen in vain."""
        for key in [key for key, foreseen in self.foreseen.items() if foreseen.line == name]:
            del self.foreseen[key]
            if key in self.held:
                self.rank(key)

    def lasting(self, line: str) -> float:
        """The heat of what is used once in each turn of a line: how many turns it has while a use fades."""
        return 1 / max(self.line(line).gap(self.time), self.tick)

    def foresee(self, key: Key, line: str, uses: float, built: bool) -> None:
        """A held object is likely to be used in the next turn of a line, so often; `built` for that, in idle time."""
        self.foreseen[key] = Foreseen(line, Fading(uses * self.lasting(line), self.time), built)
        self.rank(key)

    def built_ahead(self) -> int:
        """Bytes of what was built for uses that are still to come."""
        return sum(self.held[key] for key, foreseen in self.foreseen.items() if foreseen.built)

    # -- value --
    def reuse(self, key: Key) -> float:
        """Uses to expect before they fade: what its own uses let expect, or what is foreseen, whichever is more."""
        return max(self._by_uses(key), self.foreseen[key].uses.now(self.time) if key in self.foreseen else 0.0)

    def _by_uses(self, key: Key) -> float:
        """Of an object that was used once: how often such objects come back."""
        use = self.uses.get(key)
        if use is None:
            return 0.0
        fades = math.exp(use.heat.at - self.time)
        return (self.once[0] / self.once[1] if use.hits == 1 else use.heat.value) * fades

    def worth(self, key: Key, size: int) -> float:
        """Seconds that holding an object is expected to save; before costs are known, every use counts the same for a byte."""
        cost = self.costs.cost(size)
        saved = cost.saved if cost is not None else float(max(1, size))
        return float(self.reuse(key) * saved * 2.0 ** self.priorities.get(key, 0.0))

    def rank(self, key: Key, first: bool = False) -> None:
        """Put an object in its place among those that may give way. All heats fade alike, so that their order holds until the next use. `first`:
        before all that are worth as little."""
        if self.eviction is not None:
            return
        size = self.held[key]
        worth = self.worth(key, size) / max(1, size)
        self.mark += 1
        self.marks[key] = mark = -self.mark if first else self.mark
        heapq.heappush(self.heap, ((math.log(worth) if worth > 0 else -math.inf) + self.time, mark, key))
        if len(self.heap) > 64 + 4 * len(self.held):
            self.heap = [entry for entry in self.heap if self.marks.get(entry[2]) == entry[1]]
            heapq.heapify(self.heap)

    def victims(self, size: int, offer: Offer) -> list[Key] | None:
        """The objects of least value for a byte that make room for `size` bytes; None where the offer is not worth that."""
        room, victims, lost, uses, popped = self.budget - self.used, [], 0.0, 0.0, []
        set_aside: list[tuple[float, int, Key]] = []
        while room < size and self.heap:
            entry = heapq.heappop(self.heap)
            _, mark, key = entry
            if self.marks.get(key) != mark:
                continue
            if key in self.pinned:
                set_aside.append(entry)
                continue
            popped.append(entry)
            lost += self.worth(key, self.held[key])
            uses += self.reuse(key)
            if not self._pays(offer, lost, uses):
                break
            victims.append(key)
            room += self.held[key]
        for entry in set_aside if room >= size else (*set_aside, *popped):
            heapq.heappush(self.heap, entry)
        return victims if room >= size else None

    def _pays(self, offer: Offer, lost: float, uses: float) -> bool:
        """Whether to take an offer for which objects give way that are worth `lost` seconds in `uses` uses.

        Where building costs more than it saves at once, the offer has to be worth more in all. Where building is itself a saving, it is had for
        certain, and what is lost is lost only until the next decision: when the object or one of those is used, or others displace it.
        """
        if offer.extra >= 0:
            return lost < offer.worth - offer.extra
        decisions = offer.reuse + uses + self.displacements.now(self.time)
        return offer.worth - lost > offer.extra * decisions

    # -- what is held --
    def hold(self, key: Key, size: int) -> None:
        self.held[key] = size
        self.used += size
        self.rank(key)

    def let_go(self, key: Key) -> None:
        self.used -= self.held.pop(key)
        self.marks.pop(key, None)
        self.foreseen.pop(key, None)
        self.tier.drop(key)
