"""The attribution rule: which memory an answer came from, told by what it needs (arXiv 2509.18868, the memory quadruple)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Memory(StrEnum):
    """Where memory sits, and what changes it."""

    PARAMETRIC = "parametric"
    CONTEXTUAL = "contextual"
    EXTERNAL = "external"
    EPISODIC = "procedural-episodic"
    NONE = "none"
    """Right under no condition, or under none that the rule can tell from luck."""


@dataclass(frozen=True)
class Evidence:
    """What was observed of one fact, asked under different conditions.

    `closed_book`: right or wrong for each paraphrase, nothing but the weights. `in_context`: the same for each position at which the text
    was put into the prompt, and `confidence` in the right answer beside each. `retrieved`: right with live retrieval, and `cited` says
    whether the answer cites a retrieved piece that holds the fact. `replayed`: right with earlier sessions replayed, and `replay_used` whether
    a replayed piece holds the fact.
    """

    closed_book: Sequence[bool]
    in_context: Sequence[bool] = ()
    confidence: Sequence[float] = ()
    retrieved: bool = False
    cited: bool = False
    replayed: bool = False
    replay_used: bool = False


@dataclass(frozen=True)
class AttributionRule:
    """`stable`: share of paraphrases that must be right closed book for the weights to have it. `position_effect`: how far confidence must
    differ over positions for an answer to count as read from the prompt (a share of the highest)."""

    stable: float = 0.75
    position_effect: float = 0.001

    def __call__(self, seen: Evidence) -> Memory:
        """The memory that the answer came from.

        Right closed book and stable under paraphrase: parametric. Else right with retrieval and citing what was retrieved: external. Else
        right with replay of earlier sessions: procedural-episodic. Else right only with the text in the prompt, and dependent on its
        position: contextual. Who is right without any of these is right by luck.
        """
        if len(seen.closed_book) and np.mean(seen.closed_book) >= self.stable:
            return Memory.PARAMETRIC
        if seen.retrieved and seen.cited:
            return Memory.EXTERNAL
        if seen.replayed and seen.replay_used:
            return Memory.EPISODIC
        if any(seen.in_context) and self._depends_on_position(seen):
            return Memory.CONTEXTUAL
        return Memory.NONE

    def _depends_on_position(self, seen: Evidence) -> bool:
        if not all(seen.in_context):
            return True
        most = max(seen.confidence, default=0.0)
        return most > 0 and (most - min(seen.confidence)) / most > self.position_effect


def attribute(observations: Sequence[Evidence], rule: AttributionRule | None = None) -> list[Memory]:
    """The rule over many facts."""
    return [(rule or AttributionRule())(seen) for seen in observations]
