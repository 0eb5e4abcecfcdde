"""Decides for each object of a tier whether it is held there, within the tier's budget, by what holding it saves; and may decline.

The value of holding an object is reuse × seconds saved by each use − seconds of building it − bytes × rent (MemOS, arXiv 2507.03724, section 5.3;
the formula is this project's, the paper names the inputs). Of what does not fit, the least value for a byte goes first. Reuse is the sum of
past uses, each fading with the uses of the tier since: a tier that holds n objects forgets over 10 n uses, so that it follows a drift.
"""

from __future__ import annotations

import enum
import heapq
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from mnemos.base.clock import Clock
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.cache.base import EvictionPolicy, Meta
from mnemos.cache.registry import policy as eviction_policy
from mnemos.kernel.scheduling.costs import Cost, CostModel
from mnemos.kernel.scheduling.scenes import SceneModel, SceneUse

Key = str | int
VALUE = "value"
"""The policy that weighs costs; the names of `mnemos.cache` are the others."""

_SAMPLE = 10  # uses over which a use fades, for each object held
_LEAST_HELD = 10
_SHARPNESS = 1.3  # power of the heat: of objects that were used little, more were lucky than of those that were used much
_GHOSTS = 50_000  # objects that are not held and whose uses are remembered
_DAY = 86_400_000_000


class Action(enum.StrEnum):
    """What to do with an object that is used, or may be."""

    HELD = "held"
    """It is held: use it."""
    BUILD = "build"
    """Build it, and hold it from now on."""
    DECLINE = "decline"
    """Use it without: holding it does not pay."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision, and why. `value` is in seconds; `displaced` were dropped for it. `number` counts a scheduler's decisions from 1."""

    number: int
    at: int
    tier: str
    key: Key
    action: Action
    reason: str
    bytes: int
    value: float
    displaced: tuple[Key, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"action": self.action.value, "displaced": list(self.displaced)}


class Tier(Protocol):
    """A form in which objects can be held. The scheduler says what is to be dropped; building is for whoever asked."""

    name: str

    def drop(self, key: Key) -> None:
        """Let go of an object. Called while the scheduler decides: do not ask it anything from here."""


@dataclass(slots=True)
class _Use:
    """How much an object is used: its heat at the tier's time `at`, and how often in all."""

    value: float = 0.0
    at: float = 0.0
    hits: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Ledger:
    """What the scheduler knows of one tier."""

    tier: Tier
    budget: int
    rent: float
    least_hits: int
    policy: str
    costs: CostModel = field(default_factory=CostModel)
    held: dict[Key, int] = field(default_factory=dict)
    used: int = 0
    uses: dict[Key, _Use] = field(default_factory=dict)
    time: float = 0.0
    """Grows by 1 while a use fades to 1/e."""
    clock: int = 0
    priorities: dict[Key, float] = field(default_factory=dict)
    heap: list[tuple[float, int, Key]] = field(default_factory=list)
    marks: dict[Key, int] = field(default_factory=dict)
    mark: int = 0
    once: list[int] = field(default_factory=lambda: [1, 2])
    """How many objects that were used once came back before that use had faded, of how many."""
    eviction: EvictionPolicy | None = None
    scenes: SceneModel = field(default_factory=SceneModel)
    scene_use: SceneUse = field(default_factory=SceneUse)


class Scheduler:
    """Safe to use from many threads. Everything that it is told is remembered, so that its decisions can be replayed (`log`, `replay`)."""

    def __init__(self, clock: Clock, *, kept: int = 20_000) -> None:
        """`kept`: about how many events and decisions are remembered."""
        self._clock = clock
        self._kept = kept
        self._tiers: dict[str, _Ledger] = {}
        self._lock = threading.RLock()
        self._events: deque[list[Any]] = deque()
        self._decisions: deque[Decision] = deque(maxlen=kept)
        self._count = 0
        self._dropped = 0

    # -- tiers --
    def register(self, tier: Tier, budget: int, *, policy: str = VALUE, rent: float = 0.0, least_hits: int = 1) -> None:
        """A tier that may hold `budget` bytes. `rent`: seconds that a byte has to save to be worth its place. `least_hits`: uses before an object
        is held. Raises `Conflict` for a name that is taken, `Invalid`."""
        if not isinstance(budget, int) or budget < 1:
            raise Invalid(f"tier {tier.name!r}: a budget is a number of bytes, 1 or more, not {shown(budget)}")
        with self._lock:
            if tier.name in self._tiers:
                raise Conflict(f"tier {tier.name!r} is registered already")
            ledger = _Ledger(tier, budget, rent, least_hits, policy)
            if policy != VALUE:
                ledger.eviction = eviction_policy(policy, budget)
            self._tiers[tier.name] = ledger
            self._note("register", tier.name, budget, policy, rent, least_hits)

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
    def use(self, tier: str, key: Key, size: int, *, scene: Key | None = None, priority: float = 0.0) -> Decision:
        """An object of `size` bytes is to be used now: is it held, is it to be built and held, or used without?

        `scene` says what the conversation is about; each unit of `priority` doubles the value of holding. What has to give way is dropped.
        """
        with self._lock:
            ledger, now = self._ledger(tier), self._clock()
            self._note("use", tier, key, size, scene, priority, now)
            return self._use(ledger, key, size, scene, priority, now)

    def _use(self, ledger: _Ledger, key: Key, size: int, scene: Key | None, priority: float, now: int) -> Decision:
        self._pass_time(ledger, now)
        use = self._count_use(ledger, key, size, priority)
        if scene is not None:
            if scene != ledger.scenes.current:
                ledger.scene_use.visit(scene)
            ledger.scenes.observe(scene)
            ledger.scene_use.note(scene, key)
        if key in ledger.held:
            if ledger.eviction is not None:
                ledger.eviction.on_hit(key, Meta(size=max(1, size)))
            self._rank(ledger, key)
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
        worth = self._worth(ledger, key, size)
        value = worth - (cost.extra if cost is not None else 0.0) - size * ledger.rent
        if value <= 0:
            return self._decide(ledger, now, key, Action.DECLINE, "its expected uses do not save what building it costs", size, value)
        victims = self._victims(ledger, size, value)
        if victims is None:
            return self._decide(ledger, now, key, Action.DECLINE, "what would give way for it is worth more", size, value)
        return self._hold(ledger, now, key, size, value, victims)

    def _admit_by_policy(self, ledger: _Ledger, now: int, key: Key, size: int) -> Decision:
        assert ledger.eviction is not None
        victims = _keys(ledger.eviction.on_miss(key, Meta(size=max(1, size))))
        if key in victims:
            return self._decide(ledger, now, key, Action.DECLINE, f"policy {ledger.policy} does not keep it", size, 0.0)
        return self._hold(ledger, now, key, size, 0.0, victims)

    def _hold(self, ledger: _Ledger, now: int, key: Key, size: int, value: float, victims: Iterable[Key]) -> Decision:
        victims = tuple(victims)
        for victim in victims:
            self._let_go(ledger, victim)
        ledger.held[key] = size
        ledger.used += size
        self._rank(ledger, key)
        return self._decide(ledger, now, key, Action.BUILD, "it pays to hold it", size, value, victims)

    def _let_go(self, ledger: _Ledger, key: Key) -> None:
        ledger.used -= ledger.held.pop(key)
        ledger.marks.pop(key, None)
        ledger.tier.drop(key)

    def _decide(
        self, ledger: _Ledger, now: int, key: Key, action: Action, reason: str, size: int, value: float, victims: tuple[Key, ...] = ()
    ) -> Decision:
        self._count += 1
        decision = Decision(self._count, now, ledger.tier.name, key, action, reason, size, value, victims)
        self._decisions.append(decision)
        return decision

    # -- value --
    def _pass_time(self, ledger: _Ledger, now: int) -> None:
        """Time as the tier feels it: a use passes 1 ÷ (10 × objects held) of the unit in which uses fade, a day passes all of it."""
        if ledger.clock:
            ledger.time += max(0, now - ledger.clock) / _DAY
        ledger.clock = now
        ledger.time += 1 / (_SAMPLE * max(_LEAST_HELD, len(ledger.held)))

    def _count_use(self, ledger: _Ledger, key: Key, size: int, priority: float) -> _Use:
        use = ledger.uses.pop(key, None)
        if use is None:
            use = _Use()
            ledger.once[1] += 1
        elif use.hits == 1 and ledger.time - use.at <= 1:
            ledger.once[0] += 1
        use.value = use.value * math.exp(use.at - ledger.time) + 1
        use.at, use.hits, use.bytes = ledger.time, use.hits + 1, size
        ledger.uses[key] = use
        if priority:
            ledger.priorities[key] = priority
        if len(ledger.uses) > _GHOSTS + len(ledger.held):
            for old in list(ledger.uses):
                if old not in ledger.held:
                    del ledger.uses[old]
                    ledger.priorities.pop(old, None)
                    break
        return use

    def _reuse(self, ledger: _Ledger, key: Key) -> float:
        """Uses to expect before they fade. Of an object that was used once: how often such objects come back."""
        use = ledger.uses.get(key)
        if use is None:
            return 0.0
        expected = ledger.once[0] / ledger.once[1] if use.hits == 1 else use.value**_SHARPNESS
        return expected * math.exp(_SHARPNESS * (use.at - ledger.time))

    def _worth(self, ledger: _Ledger, key: Key, size: int) -> float:
        """Seconds that holding an object is expected to save; before costs are known, every use counts the same for a byte."""
        cost = ledger.costs.cost(size)
        saved = cost.saved if cost is not None else float(max(1, size))
        return float(self._reuse(ledger, key) * saved * 2.0 ** ledger.priorities.get(key, 0.0))

    def _rank(self, ledger: _Ledger, key: Key) -> None:
        """Put an object in its place among those that may give way. All heats fade alike, so that their order holds until the next use."""
        if ledger.eviction is not None:
            return
        size = ledger.held[key]
        worth = self._worth(ledger, key, size) / max(1, size)
        ledger.mark += 1
        ledger.marks[key] = ledger.mark
        heapq.heappush(ledger.heap, ((math.log(worth) if worth > 0 else -math.inf) + _SHARPNESS * ledger.time, ledger.mark, key))
        if len(ledger.heap) > 64 + 4 * len(ledger.held):
            ledger.heap = [entry for entry in ledger.heap if ledger.marks.get(entry[2]) == entry[1]]
            heapq.heapify(ledger.heap)

    def _victims(self, ledger: _Ledger, size: int, value: float) -> list[Key] | None:
        """The objects of least value for a byte that make room for `size` bytes; None where they are worth more than `value`."""
        room, victims, lost, popped = ledger.budget - ledger.used, [], 0.0, []
        while room < size and ledger.heap:
            entry = heapq.heappop(ledger.heap)
            _, mark, key = entry
            if ledger.marks.get(key) != mark:
                continue
            popped.append(entry)
            lost += self._worth(ledger, key, ledger.held[key])
            if lost >= value:
                break
            victims.append(key)
            room += ledger.held[key]
        if room < size:
            for entry in popped:
                heapq.heappush(ledger.heap, entry)
            return None
        return victims

    # -- ahead of time --
    def ahead(self, tier: str, *, scenes: int = 3, share: float = 0.25) -> list[Decision]:
        """What to build in idle time, for what is likely to be asked next: the objects that the `scenes` most likely scenes used most, for a
        byte, within `share` of the budget. The caller builds them. Nothing that is worth more gives way."""
        with self._lock:
            ledger, now = self._ledger(tier), self._clock()
            self._note("ahead", tier, scenes, share, now)
            return self._ahead(ledger, scenes, share, now)

    def _ahead(self, ledger: _Ledger, scenes: int, share: float, now: int) -> list[Decision]:
        if ledger.eviction is not None:
            return []
        self._pass_time(ledger, now)
        wanted: dict[Key, float] = {}
        for scene, probability in ledger.scenes.predict(scenes):
            for key, uses in ledger.scene_use.expected(scene).items():
                if isinstance(key, (str, int)) and key in ledger.uses:
                    wanted[key] = wanted.get(key, 0.0) + probability * uses
        room = int(ledger.budget * share)
        out = []
        for key in sorted(wanted, key=lambda key: (-wanted[key] / max(1, ledger.uses[key].bytes), str(key))):
            size = ledger.uses[key].bytes
            cost = ledger.costs.cost(size)
            if key in ledger.held or size > room or (cost is not None and cost.saved <= 0):
                continue
            value = wanted[key] * (cost.saved if cost is not None else float(max(1, size)))
            victims = self._victims(ledger, size, value)
            if victims is not None:
                room -= size
                out.append(self._hold(ledger, now, key, size, value, victims))
        return out

    # -- what goes otherwise --
    def drop(self, tier: str, key: Key) -> None:
        """The object is gone, or must go: it was forgotten, or what it was made from has changed. Nothing is remembered of its uses."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("drop", tier, key)
            if key in ledger.held:
                self._let_go(ledger, key)
                if ledger.eviction is not None:
                    ledger.eviction.on_remove(key)
            ledger.uses.pop(key, None)
            ledger.priorities.pop(key, None)
            ledger.scene_use.forget(key)

    def resized(self, tier: str, key: Key, size: int) -> list[Key]:
        """A held object has `size` bytes now; gives what was dropped to stay within the budget (the object itself, where it is worth least)."""
        with self._lock:
            ledger = self._ledger(tier)
            self._note("resized", tier, key, size)
            if key not in ledger.held:
                return []
            ledger.used += size - ledger.held[key]
            ledger.held[key] = size
            if key in ledger.uses:
                ledger.uses[key].bytes = size
            self._rank(ledger, key)
            dropped: list[Key] = []
            if ledger.eviction is not None:
                ledger.eviction.on_remove(key)
                dropped = _keys(ledger.eviction.on_miss(key, Meta(size=max(1, size))))
            while ledger.eviction is None and ledger.used - sum(ledger.held[one] for one in dropped) > ledger.budget and ledger.heap:
                _, mark, worst = heapq.heappop(ledger.heap)
                if ledger.marks.get(worst) == mark and worst not in dropped:
                    dropped.append(worst)
            for victim in dropped:
                self._let_go(ledger, victim)
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

    def _ledger(self, tier: str) -> _Ledger:
        if tier not in self._tiers:
            raise NotFound(f"scheduler: there is no tier {shown(tier)}; registered are {', '.join(self._tiers) or 'none'}")
        return self._tiers[tier]


def _keys(victims: Iterable[object]) -> list[Key]:
    """What a policy drops, which holds nothing but keys of objects."""
    return [victim for victim in victims if isinstance(victim, (str, int))]


class _Silent:
    """A tier that holds nothing, for a replay."""

    def __init__(self, name: str) -> None:
        self.name = name

    def drop(self, key: Key) -> None:
        pass


def replay(log: Mapping[str, Any]) -> list[Decision]:
    """Decide again from a `log`: the decisions that a scheduler makes which is told the same. Raises `Invalid` for no log."""
    times: list[int] = [0]
    scheduler = Scheduler(lambda: times[0], kept=len(log.get("events", ())) + 1)
    steps: dict[str, Callable[..., Any]] = {"observe": scheduler.observe, "drop": scheduler.drop, "resized": scheduler.resized}
    try:
        for kind, *values in log["events"]:
            if kind == "register":
                name, budget, policy, rent, least_hits = values
                scheduler.register(_Silent(name), budget, policy=policy, rent=rent, least_hits=least_hits)
            elif kind == "use":
                tier, key, size, scene, priority, times[0] = values
                scheduler.use(tier, key, size, scene=scene, priority=priority)
            elif kind == "ahead":
                tier, scenes, share, times[0] = values
                scheduler.ahead(tier, scenes=scenes, share=share)
            else:
                steps[kind](*values)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"scheduler: this is no log of a scheduler ({error!r}); give what `log` gave") from None
    return scheduler.decisions()
