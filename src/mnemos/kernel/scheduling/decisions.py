"""What a scheduler decides of an object, and why."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any

Key = str | int


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
