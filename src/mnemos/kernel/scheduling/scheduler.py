"""Decides for each object of a tier whether it is held there, within the tier's budget, by what holding it saves; and may decline.

The value of holding an object is reuse × seconds saved by each use − seconds of building it − bytes × rent (MemOS, arXiv 2507.03724, section 5.3;
the formula is this project's, the paper names the inputs). Of what does not fit, the least value for a byte goes first.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple
from typing import Any
from uuid import UUID

from mnemos.base.clock import Clock
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.cache.base import Meta
from mnemos.cache.registry import policy as eviction_policy
from mnemos.kernel.scheduling.costs import Cost
from mnemos.kernel.scheduling.decisions import Action, Decision, Key
from mnemos.kernel.scheduling.ledger import Doubts, Forgets, Ledger, Offer, Tier
from mnemos.kernel.scheduling.scenes import FORESIGHT, Foresight

VALUE = "value"
"""The policy that weighs costs; the names of `mnemos.cache` are the others."""
FORESEEN = "it is likely to be used next"
"""The reason for which something is built ahead."""


class Scheduler:
    """Safe to use from many threads. Everything that it is told is remembered, so that its decisions can be replayed (`log`, `replay`)."""

    def __init__(self, clock: Clock, *, kept: int = 20_000) -> None:
        """`kept`: about how many events and decisions are remembered."""
        self._clock = clock
        self._kept = kept
        self._tiers: dict[str, Ledger] = {}
        self._lock = threading.RLock()
        self._events: deque[list[Any]] = deque()
        self._decisions: deque[Decision] = deque(maxlen=kept)
        self._count = 0
        self._dropped = 0

    # -- tiers --
    def register(self, tier: Tier, budget: int, *, policy: str = VALUE, rent: float = 0.0, least_hits: int = 1) -> None:
        """A tier that may hold `budget` bytes. `rent`: seconds that a byte has to save to be worth its place. `least_hits`: uses before an object
        is held. Raises `Conflict` for a name that is taken, `Invalid`."""
        _check_budget(tier.name, budget)
        with self._lock:
            if tier.name in self._tiers:
                raise Conflict(f"tier {tier.name!r} is registered already")
            ledger = Ledger(tier, budget, rent, least_hits, policy)
            if policy != VALUE:
                ledger.eviction = eviction_policy(policy, budget)
            self._tiers[tier.name] = ledger
            self._note("register", tier.name, budget, policy, rent, least_hits)

    def rebudget(self, tier: str, budget: int) -> list[Key]:
        """The tier may hold `budget` bytes from now on; gives what was dropped for that: what is worth least, and not pinned. Raises `Invalid`."""
        _check_budget(tier, budget)
        with self._lock:
            ledger = self._ledger(tier)
            self._note("rebudget", tier, budget)
            ledger.budget = budget
            if ledger.eviction is None:
                return self._let_go(ledger, [], ledger.pinned)
            ledger.eviction, dropped = eviction_policy(ledger.policy, budget), list[Key]()
            for key, size in ledger.held.items():  # in the order in which they came: a policy cannot be told another capacity
                dropped += _keys(ledger.eviction.on_miss(key, Meta(size=max(1, size))))
            return self._let_go(ledger, [key for key in dict.fromkeys(dropped) if key not in ledger.pinned], ledger.pinned)

    def tiers(self) -> dict[str, dict[str, Any]]:
        """What each tier holds: budget and bytes held, objects, policy, and how many measurements its costs rest on."""
        with self._lock:
            return {
                name: {
                    "budget": ledger.budget, "bytes": ledger.used, "objects": len(ledger.held), "policy": ledger.policy,
                    "measured": {part: ledger.costs.measured(part) for part in ("build", "without", "within")},
                }
                for name, ledger in self._tiers.items()
            }  # fmt: skip

    def tier(self, name: str) -> Tier:
        """The tier of that name, as it was registered. Raises `NotFound`."""
        with self._lock:
            return self._ledger(name).tier

    def observe(self, tier: str, part: str, size: int, seconds: float) -> None:
        """A measurement: `part` is "build", "without" or "within"; see `costs`."""
        with self._lock:
            self._ledger(tier).costs.observe(part, size, seconds)
            self._note("observe", tier, part, size, seconds)

    def cost(self, tier: str, size: int) -> Cost | None:
        """The predicted cost of an object of `size` bytes; None before anything was measured."""
        with self._lock:
            return self._ledger(tier).costs.cost(size)

    # -- deciding --
    def at(self, tier: str, scene: Key, line: str = "") -> None:
        """A line of conversation (a caller in a space, say) is at `scene` now: what is used from here on in this line is used there."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("at", tier, scene, line)
            self._at(ledger, scene, line)

    def _at(self, ledger: Ledger, scene: Key, line: str) -> None:
        ledger.moved_on(line)
        ledger.line(line).at(scene, ledger.time)

    def use(self, tier: str, key: Key, size: int, *, scene: Key | None = None, line: str = "", priority: float = 0.0) -> Decision:
        """An object of `size` bytes is to be used now: is it held, is it to be built and held, or used without?

        `scene` says what the conversation is about, where `at` has not said it for all that is used together; `line` whose conversation it is. Each
        unit of `priority` doubles the value of holding. What has to give way is dropped.
        """
        with self._lock:
            ledger, now = self._ledger(tier), self._clock()
            self._note("use", tier, key, size, scene, priority, now, line)
            return self._use(ledger, key, size, scene, line, priority, now)

    def _use(self, ledger: Ledger, key: Key, size: int, scene: Key | None, line: str, priority: float, now: int) -> Decision:
        ledger.pass_time(now)
        use = ledger.count_use(key, size, priority)
        if scene is not None:
            self._at(ledger, scene, line)
        if line in ledger.lines:
            ledger.lines[line].note(key)
        if key in ledger.held:
            if ledger.eviction is not None:
                ledger.eviction.on_hit(key, Meta(size=max(1, size)))
            ledger.rank(key)
            return self._decide(ledger, now, key, Action.HELD, "it is held", size, 0.0)
        cost = ledger.costs.cost(size)
        if cost is not None and cost.saved <= 0:
            return self._decide(ledger, now, key, Action.DECLINE, "a use costs no less where it is held", size, cost.saved)
        if size > ledger.budget:
            return self._decide(ledger, now, key, Action.DECLINE, "it is larger than the tier's budget", size, 0.0)
        if ledger.eviction is not None:
            return self._admit_by_policy(ledger, now, key, size)
        if use.hits < ledger.least_hits:
            return self._decide(ledger, now, key, Action.DECLINE, f"used less than {ledger.least_hits} times", size, 0.0)
        offer = Offer(ledger.worth(key, size) - size * ledger.rent, ledger.reuse(key), cost.extra if cost is not None else 0.0)
        value = offer.worth - offer.extra
        if value <= 0:
            return self._decide(ledger, now, key, Action.DECLINE, "its expected uses do not save what building it costs", size, value)
        victims = ledger.victims(size, offer)
        if victims is None:
            return self._decide(ledger, now, key, Action.DECLINE, "what would give way for it is worth more", size, value)
        return self._hold(ledger, now, key, size, value, victims)

    def _admit_by_policy(self, ledger: Ledger, now: int, key: Key, size: int) -> Decision:
        assert ledger.eviction is not None
        victims = [victim for victim in _keys(ledger.eviction.on_miss(key, Meta(size=max(1, size)))) if victim not in ledger.pinned]
        if key in victims:
            return self._decide(ledger, now, key, Action.DECLINE, f"policy {ledger.policy} does not keep it", size, 0.0)
        return self._hold(ledger, now, key, size, 0.0, victims)

    def _hold(
        self, ledger: Ledger, now: int, key: Key, size: int, value: float, victims: Iterable[Key], why: str = "it pays to hold it"
    ) -> Decision:  # fmt: skip
        victims = tuple(victims)
        for victim in victims:
            ledger.let_go(victim)
        if victims:
            ledger.displacements.add(ledger.time)
        ledger.hold(key, size)
        return self._decide(ledger, now, key, Action.BUILD, why, size, value, victims)

    def _decide(
        self, ledger: Ledger, now: int, key: Key, action: Action, reason: str, size: int, value: float, victims: tuple[Key, ...] = ()
    ) -> Decision:
        self._count += 1
        decision = Decision(self._count, now, ledger.tier.name, key, action, reason, size, value, victims)
        self._decisions.append(decision)
        return decision

    # -- ahead of time --
    def foreseen(self, tier: str, line: str = "", settings: Foresight = FORESIGHT) -> list[tuple[Key, int, float]]:
        """What a line of conversation is likely to use next, held or not, where that saves more than building it in idle time costs, as (object,
        bytes, uses to expect); the most seconds for a byte first. Decides nothing: `offer` does, for each when its turn has come."""
        with self._lock:
            ledger = self._ledger(tier)
            return self._foreseen(ledger, line, settings)

    def _foreseen(self, ledger: Ledger, line: str, settings: Foresight) -> list[tuple[Key, int, float]]:
        if ledger.eviction is not None or line not in ledger.lines:
            return []
        out = []
        for key, uses in ledger.lines[line].expected(settings.scenes).items():
            if isinstance(key, (str, int)) and key in ledger.uses and ledger.uses[key].hits >= settings.hits:
                size = ledger.uses[key].bytes
                gain = self._gain(ledger, size, uses, ledger.costs.cost(size), settings)
                if gain > 0:
                    out.append((gain / max(1, size), key, size, uses))
        out.sort(key=lambda each: (-each[0], str(each[1])))
        return [(key, size, uses) for _, key, size, uses in out]

    @staticmethod
    def _gain(ledger: Ledger, size: int, uses: float, cost: Cost | None, settings: Foresight) -> float:
        """Seconds that building an object ahead is expected to save, less what that costs; nothing before costs were measured."""
        return 0.0 if cost is None else uses * cost.saved - settings.idle * cost.build - size * ledger.rent

    def offer(
        self, tier: str, key: Key, size: int, uses: float, *, line: str = "", settings: Foresight = FORESIGHT, known: Cost | None = None
    ) -> Decision:  # fmt: skip
        """An object of `size` bytes may be built in idle time, for `uses` that are expected of a line of conversation: is it to be? What is held
        already is kept for these uses. Nothing that is worth more gives way, and no more than a share of the budget is filled so. `known`: what it
        costs, where whoever asks has measured it and this scheduler has not."""
        with self._lock:
            ledger, now = self._ledger(tier), self._clock()
            told = None if known is None else [known.build, known.without, known.within]
            self._note("offer", tier, key, size, uses, line, list(astuple(settings)), told, now)
            return self._offer(ledger, key, size, uses, line, settings, known, now)

    def _offer(
        self, ledger: Ledger, key: Key, size: int, uses: float, line: str, settings: Foresight, known: Cost | None, now: int
    ) -> Decision:  # fmt: skip
        ledger.pass_time(now)
        if key in ledger.held:
            ledger.foresee(key, line, uses, built=key in ledger.foreseen and ledger.foreseen[key].built)
            return self._decide(ledger, now, key, Action.HELD, "it is held", size, 0.0)
        cost = ledger.costs.cost(size) or known
        gain = self._gain(ledger, size, uses, cost, settings)
        if cost is None or gain <= 0:
            why = "what it costs was never measured" if cost is None else "the uses that are foreseen do not save what building it costs"
            return self._decide(ledger, now, key, Action.DECLINE, why, size, gain)
        if size > settings.share * ledger.budget - ledger.built_ahead():
            return self._decide(ledger, now, key, Action.DECLINE, "the share of the budget for what is foreseen is filled", size, gain)
        victims = ledger.victims(size, Offer(gain * ledger.lasting(line)))  # as if it went on so: what is hotter saves more until then
        if victims is None:
            return self._decide(ledger, now, key, Action.DECLINE, "what would give way for it is worth more", size, gain)
        decision = self._hold(ledger, now, key, size, gain, victims, FORESEEN)
        ledger.foresee(key, line, uses, built=True)
        return decision

    def ahead(self, tier: str, line: str = "", settings: Foresight = FORESIGHT) -> list[Decision]:
        """What to build in idle time, for what a line of conversation is likely to use next. The caller builds it at once."""
        with self._lock:
            ledger = self._ledger(tier)
            offered = [self.offer(tier, *wanted, line=line, settings=settings) for wanted in self._foreseen(ledger, line, settings)]
            return [decision for decision in offered if decision.action is Action.BUILD]

    # -- what goes otherwise --
    def drop(self, tier: str, key: Key) -> None:
        """The object is gone, or must go: it was forgotten, or what it was made from has changed. Nothing is remembered of its uses."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("drop", tier, key)
            if key in ledger.held:
                ledger.let_go(key)
                if ledger.eviction is not None:
                    ledger.eviction.on_remove(key)
            ledger.forget(key)

    def forgotten(self, cubes: Sequence[UUID]) -> None:
        """These memories were forgotten: nothing is remembered of their uses. What is held of them goes when its tier looks for it."""
        with self._lock:
            for ledger in self._tiers.values():
                for key in ledger.tier.forgotten(cubes) if isinstance(ledger.tier, Forgets) else ():
                    if key in ledger.uses:
                        self.forget(ledger.tier.name, key)

    def over(self) -> None:
        """A transaction of this thread has ended: what tiers were told in it holds, or does not."""
        with self._lock:
            tiers = [ledger.tier for ledger in self._tiers.values()]
        for tier in tiers:
            if isinstance(tier, Doubts):
                tier.over()

    def forget(self, tier: str, key: Key) -> None:
        """Nothing is remembered of the uses of an object."""
        with self._lock:
            self._note("forget", tier, key)
            self._ledger(tier).forget(key)

    def cool(self, tier: str, key: Key) -> None:
        """The object is out of use, and may be used again: it is held as one that was never used, and is the first to give way."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("cool", tier, key)
            ledger.uses.pop(key, None)
            if key in ledger.held:
                ledger.rank(key, first=True)

    def pin(self, tier: str, keys: Iterable[Key]) -> None:
        """These objects, and no others, never give way; they go where `drop` says so."""
        with self._lock:
            ledger, pinned = self._ledger(tier), sorted(keys, key=str)
            self._note("pin", tier, pinned)
            ledger.pinned = frozenset(pinned)

    def resized(self, tier: str, key: Key, size: int, stays: bool = False) -> list[Key]:
        """A held object has `size` bytes now; gives what was dropped to stay within the budget (the object itself, where it is worth least and does
        not have to stay)."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("resized", tier, key, size, stays)
            if key not in ledger.held:
                return []
            ledger.used += size - ledger.held[key]
            ledger.held[key] = size
            if key in ledger.uses:
                ledger.uses[key].bytes = size
            ledger.rank(key)
            if ledger.eviction is not None:
                ledger.eviction.on_remove(key)
            return self._within_budget(ledger, key, size, stays)

    def adopt(self, tier: str, key: Key, size: int, stays: bool = False) -> None:
        """An object of `size` bytes is held that the scheduler does not know of: it was built before it began, or by hand. No error where it knows
        it; where the budget has no room, what is worth least gives way, which may be the object itself, unless `stays`."""
        with self._lock:
            ledger = self._ledger(tier)
            if key not in ledger.held:
                self._note("adopt", tier, key, size, stays)
                ledger.hold(key, size)
                self._within_budget(ledger, key, size, stays)

    def held(self, tier: str) -> dict[Key, int]:
        """What is held, as far as the scheduler knows, with its bytes."""
        with self._lock:
            return dict(self._ledger(tier).held)

    def holds(self, tier: str, key: Key) -> bool:
        """Whether the object is held, as far as the scheduler knows."""
        with self._lock:
            return key in self._ledger(tier).held

    def _within_budget(self, ledger: Ledger, key: Key, size: int, stays: bool = False) -> list[Key]:
        """Drops what is worth least, and not pinned, until an object that is held now, of that size, fits with the others; gives what was dropped."""
        pinned = ledger.pinned | {key} if stays else ledger.pinned
        dropped = [] if ledger.eviction is None else _keys(ledger.eviction.on_miss(key, Meta(size=max(1, size))))
        return self._let_go(ledger, [one for one in dropped if one not in pinned], pinned)

    @staticmethod
    def _let_go(ledger: Ledger, dropped: list[Key], pinned: Collection[Key]) -> list[Key]:
        """Drops these, and, where costs are weighed, of the others what is worth least until all is within the budget; gives what was dropped."""
        set_aside, over = [], ledger.used - ledger.budget
        while ledger.eviction is None and over > 0 and ledger.heap:
            entry = heapq.heappop(ledger.heap)
            _, mark, worst = entry
            if ledger.marks.get(worst) != mark or worst in dropped:
                continue
            if worst in pinned:
                set_aside.append(entry)
                continue
            dropped.append(worst)
            over -= ledger.held[worst]
        for entry in set_aside:
            heapq.heappush(ledger.heap, entry)
        for victim in dropped:
            ledger.let_go(victim)
        return dropped

    # -- looking back --
    def decisions(self, since: int = 0) -> list[Decision]:
        """The decisions after number `since` that are still remembered, oldest first."""
        with self._lock:
            return [decision for decision in self._decisions if decision.number > since]

    def log(self) -> dict[str, Any]:
        """Everything that the scheduler was told since it was made, and what it decided, as plain JSON: what `replay` takes.

        Raises `Invalid` where it was told more than it remembers; make it with a larger `kept` to replay longer runs.
        """
        with self._lock:
            if self._dropped:
                raise Invalid(f"scheduler: {self._dropped:,} of its first events are not remembered any more; make it with kept={2 * self._kept:,}")
            return {"events": [list(event) for event in self._events], "decisions": [decision.as_json() for decision in self._decisions]}

    def _note(self, *event: Any) -> None:
        self._events.append(list(event))
        if len(self._events) > self._kept:
            self._events.popleft()
            self._dropped += 1

    def _ledger(self, tier: str) -> Ledger:
        if tier not in self._tiers:
            raise NotFound(f"scheduler: there is no tier {shown(tier)}; registered are {', '.join(self._tiers) or 'none'}")
        return self._tiers[tier]


def _check_budget(tier: str, budget: int) -> None:
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
        raise Invalid(f"tier {tier!r}: a budget is a number of bytes, 1 or more, not {shown(budget)}")


def _keys(victims: Iterable[object]) -> list[Key]:
    """What a policy drops, which holds nothing but keys of objects."""
    return [victim for victim in victims if isinstance(victim, (str, int))]
