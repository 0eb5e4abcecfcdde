"""The vote on what to do: each record by trust and independence, the plan without memory with a vote of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.kernel.guard.actions import Action, similarity
from mnemos.kernel.guard.settings import Settings


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote. `witness` names who casts it: votes of one witness are those of one source."""

    voter: str
    action: Action
    weight: float
    witness: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote went. `action` won most of the weight, `share` is its part of it, `sources` the witnesses behind it; `quorum` says whether
    that makes a consensus. `voters` are those who voted for it."""

    action: Action | None = None
    share: float = 0.0
    sources: int = 0
    quorum: bool = False
    voters: frozenset[str] = frozenset()
    total: float = 0.0


def alike(a: Action | None, b: Action | None, settings: Settings) -> bool:
    """Whether two actions count as the same."""
    return a is not None and b is not None and similarity(a, b) >= settings.same_action


def tally(ballots: Sequence[Ballot], settings: Settings) -> Tally:
    """Counts the votes: like actions together, by the signature of the first of them. Ties go to the action that was named first."""
    groups: list[list[Ballot]] = []
    for ballot in ballots:
        if ballot.weight <= 0:
            continue
        home = next((group for group in groups if alike(group[0].action, ballot.action, settings)), None)
        if home is None:
            groups.append([ballot])
        else:
            home.append(ballot)
    if not groups:
        return Tally()
    total = sum(ballot.weight for group in groups for ballot in group)
    won = max(groups, key=lambda group: sum(ballot.weight for ballot in group))
    weight = sum(ballot.weight for ballot in won)
    sources = len({ballot.witness for ballot in won})
    quorum = weight > settings.quorum * total and sources >= settings.independent_sources
    return Tally(won[0].action, weight / total, sources, quorum, frozenset(ballot.voter for ballot in won), total)
