"""Deciding again from a scheduler's log, to see that it decides the same, or what it would have decided otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.kernel.scheduling.costs import Cost
from mnemos.kernel.scheduling.decisions import Decision, Key
from mnemos.kernel.scheduling.scenes import Foresight
from mnemos.kernel.scheduling.scheduler import Scheduler


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
    steps: dict[str, Callable[..., Any]] = {"observe": scheduler.observe, "drop": scheduler.drop, "resized": scheduler.resized,
                                              "adopt": scheduler.adopt, "cool": scheduler.cool, "pin": scheduler.pin, "at": scheduler.at,
                                              "forget": scheduler.forget, "rebudget": scheduler.rebudget}  # fmt: skip
    try:
        for kind, *values in log["events"]:
            if kind == "register":
                name, budget, policy, rent, least_hits = values
                scheduler.register(_Silent(name), budget, policy=policy, rent=rent, least_hits=least_hits)
            elif kind == "use":
                tier, key, size, scene, priority, times[0], line = values
                scheduler.use(tier, key, size, scene=scene, priority=priority, line=line)
            elif kind == "offer":
                tier, key, size, uses, line, settings, known, times[0] = values
                cost = None if known is None else Cost(known[0], known[1], known[2], size)
                scheduler.offer(tier, key, size, uses, line=line, settings=Foresight(*settings), known=cost)
            else:
                steps[kind](*values)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"scheduler: this is no log of a scheduler ({error!r}); give what `log` gave") from None
    return scheduler.decisions()
