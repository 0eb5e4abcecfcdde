"""What is distilled is stored only where it passes: rules without a model, a judge's five scores with one (ReMe, arXiv 2512.10696, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

CRITERIA = ("actionability", "accuracy", "relevance", "clarity", "uniqueness")
LEAST_SCORE = 0.5
"""Score from which on an entry is kept (the paper's)."""


class Distilled(Protocol):
    """What the rules look at; ReMe's procedures and ArcMemo's concepts have it."""

    @property
    def scenario(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def actions(self) -> tuple[str, ...]: ...
    @property
    def support(self) -> int: ...
    def contradicts(self, other: Any) -> bool:
        """Whether both cannot hold."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an entry is kept, its score (0 to 1), and why it is not."""

    valid: bool
    score: float
    reason: str = ""

    @property
    def kept(self) -> bool:
        return self.valid and self.score >= LEAST_SCORE


def by_rules(entry: Distilled, held: Iterable[Distilled] = ()) -> Verdict:
    """The verdict without a model: when and what are said, at least one action is named, a run supports it, and nothing held that contradicts it
    has more support. The score is 1 for what passes."""
    if not entry.scenario.strip() or not entry.content.strip():
        return Verdict(False, 0.0, "does not say when to use it, or what to do")
    if not entry.actions:
        return Verdict(False, 0.0, "names no action")
    if entry.support < 1:
        return Verdict(False, 0.0, "no run supports it")
    if any(other.support > entry.support and entry.contradicts(other) for other in held):
        return Verdict(False, 0.0, "contradicts an entry with more support")
    return Verdict(True, 1.0)


def by_judge(said: Mapping[str, Any] | None) -> Verdict:
    """The verdict in a judge's answer: {"valid": true, "scores": {…}} with the five criteria, each 0 to 1, or {"valid": …, "score": …}.

    A judge that failed (None), or whose answer has no readable score, keeps nothing.
    """
    if said is None:
        return Verdict(False, 0.0, "the judge gave no verdict")
    scores = said.get("scores")
    given = [scores.get(name) for name in CRITERIA] if isinstance(scores, Mapping) else [said.get("score")]
    numbers = [float(one) for one in given if isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= 1]
    if len(numbers) < len(given) or not isinstance(said.get("valid"), bool):
        return Verdict(False, 0.0, "the judge's verdict cannot be read")
    reason = said.get("reason")
    return Verdict(said["valid"], sum(numbers) / len(numbers), reason if isinstance(reason, str) else "")
