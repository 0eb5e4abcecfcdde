"""How far each record is suspected: Beta counts of its votes, and the bound beyond which it is quarantined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mnemos.base.stats import incomplete_beta
from mnemos.kernel.guard.settings import Settings


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Beta(`diverged`, `agreed`) over the rate at which a record diverges, from Beta(1, 1). `votes` counts decisions, `since` the independent
    agreements since it was quarantined."""

    diverged: float = 1.0
    agreed: float = 1.0
    votes: int = 0
    quarantined: bool = False
    since: int = 0

    def probability(self, rate: float) -> float:
        """How probable it is that the record diverges more often than `rate`."""
        return 1.0 - incomplete_beta(self.diverged, self.agreed, rate)

    def after(self, weight: float, settings: Settings) -> Suspicion:
        """The counts after one more vote: an agreement where `weight` is 0, else a divergence of that weight."""
        if weight > 0:
            now = replace(self, diverged=self.diverged + weight, votes=self.votes + 1, since=0)
        else:
            now = replace(self, agreed=self.agreed + 1, votes=self.votes + 1, since=self.since + 1 if self.quarantined else 0)
        if now.quarantined:
            return Suspicion(votes=0) if now.since >= settings.release_agreements else now
        sure = now.votes >= settings.quarantine_votes and now.probability(settings.quarantine_rate) >= settings.quarantine_sure
        return replace(now, quarantined=True, since=0) if sure else now

    def as_json(self) -> dict[str, Any]:
        return {"diverged": self.diverged, "agreed": self.agreed, "votes": self.votes, "quarantined": self.quarantined, "since": self.since}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Suspicion:
        """What `as_json` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(float(value["diverged"]), float(value["agreed"]), int(value["votes"]), bool(value["quarantined"]), int(value["since"]))


class Suspicions(Protocol):
    """Keeps the counts of the records."""

    def get(self, id: str) -> Suspicion:
        """The counts of a record; those of a new one where it is not known."""
        ...

    def put(self, changed: Mapping[str, Suspicion]) -> None:
        """Keep these counts."""
        ...


class MemorySuspicions:
    """Keeps the counts in memory."""

    def __init__(self) -> None:
        self.held: dict[str, Suspicion] = {}

    def get(self, id: str) -> Suspicion:
        return self.held.get(id, _NEW)

    def put(self, changed: Mapping[str, Suspicion]) -> None:
        self.held |= changed


_NEW = Suspicion()
