"""Watching a change while it serves: sequential tests that notice harm soon, and seldom cry wolf.

Each monitor is a cumulative-sum test (Page 1954) of one kind of event: the log likelihood ratio of the rate that must not stand against the
usual one, never below zero. Over n queries at the usual rate it passes the threshold h with probability ≤ n · exp(−h) (Ville's inequality,
summed over where a run may begin), so h = ln(horizon / false_alarm).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from mnemos.base.errors import Invalid


class Action(IntEnum):
    """What to do with the next query, the mildest first. `DEGRADE`: answer from external memory as it was before the change. `REFUSE`: do not
    answer. At every level the changed memory goes on being asked aside, and watched."""

    SERVE = 0
    DEGRADE = 1
    REFUSE = 2
    ROLL_BACK = 3


class Arm(StrEnum):
    """Which memory a query meets."""

    CANARY = "canary"
    CONTROL = "control"


def arm_of(change: str, key: str, share: float) -> Arm:
    """The arm of a query whose `key` (a user, a conversation) this is: the same for a key whenever it is asked, and independent between changes."""
    if not 0 <= share <= 1:
        raise Invalid(f"canary: the share of traffic must lie between 0 and 1, not {share}")
    place = int.from_bytes(hashlib.sha256(f"{change}\0{key}".encode()).digest()[:8], "big") / 2**64
    return Arm.CANARY if place < share else Arm.CONTROL


@dataclass(frozen=True, slots=True)
class Monitor:
    """One kind of event: `usual` share of queries that show it when all is well, `limit` share that must not stand.

    `false_alarm` is the probability of a false alarm over `horizon` queries, at most.
    """

    event: str
    usual: float
    limit: float
    false_alarm: float = 0.05
    horizon: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.usual < self.limit < 1:
            raise Invalid(f"monitor {self.event!r}: need 0 < usual < limit < 1, not {self.usual} and {self.limit}")
        if not 0 < self.false_alarm < 1 or self.horizon < 1:
            raise Invalid(f"monitor {self.event!r}: need 0 < false_alarm < 1 and horizon >= 1, not {self.false_alarm} and {self.horizon}")

    @property
    def threshold(self) -> float:
        return math.log(self.horizon / self.false_alarm)

    def evidence(self, happened: bool) -> float:
        """The log likelihood ratio of one query."""
        return math.log(self.limit / self.usual) if happened else math.log((1 - self.limit) / (1 - self.usual))


UNSUPPORTED = Monitor("unsupported", usual=0.02, limit=0.10)
OUT_OF_DATE = Monitor("out of date", usual=0.02, limit=0.10)
MISREPLAY = Monitor("misreplay", usual=0.02, limit=0.10)
STANDARD = (UNSUPPORTED, OUT_OF_DATE, MISREPLAY)
"""The survey's three: unsupported claims (UCR at most 0.05 is acceptable), temporal misalignment, and replay of the wrong episode."""

LADDER = ((1 / 3, Action.DEGRADE), (2 / 3, Action.REFUSE), (1.0, Action.ROLL_BACK))
"""Shares of the threshold at which each action begins."""


@dataclass
class Watch:
    """Monitors at work. `sums` are the tests' present values, `seen` and `happened` count queries and events."""

    monitors: Sequence[Monitor]
    sums: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    happened: dict[str, int] = field(default_factory=dict)

    def observe(self, events: Mapping[str, bool]) -> Action:
        """Take the events of one query in; gives what to do now. An event that is not named did not happen. Raises `Invalid` for one that no
        monitor knows: it would go unwatched."""
        unknown = set(events) - {monitor.event for monitor in self.monitors}
        if unknown:
            raise Invalid(f"monitors: no monitor was registered for {sorted(unknown)[0]!r}; there are {', '.join(m.event for m in self.monitors)}")
        self.seen += 1
        for monitor in self.monitors:
            happened = bool(events.get(monitor.event, False))
            self.happened[monitor.event] = self.happened.get(monitor.event, 0) + happened
            self.sums[monitor.event] = max(0.0, self.sums.get(monitor.event, 0.0) + monitor.evidence(happened))
        return self.action

    @property
    def action(self) -> Action:
        """The strongest action that any monitor asks for."""
        highest = max((self.sums.get(m.event, 0.0) / m.threshold for m in self.monitors), default=0.0)
        return max((action for share, action in LADDER if highest >= share), default=Action.SERVE)

    @property
    def alarms(self) -> tuple[str, ...]:
        """The events whose monitors have passed their threshold."""
        return tuple(m.event for m in self.monitors if self.sums.get(m.event, 0.0) >= m.threshold)
