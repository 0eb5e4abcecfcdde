"""What the guard can be told, with where each default comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mnemos.base.errors import Invalid, shown

COMPARISONS = ("divergence", "clustering", "judge")
TRUST: Mapping[str, float] = {"user": 1.0, "tool": 0.8, "agent": 0.7, "import": 0.5, "web": 0.4}
"""How far a record is believed by where it came from, 0 to 1; unknown origins count as `Settings.unknown_trust`. Ours: the paper has none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A-MemGuard (arXiv 2510.02373). Defaults that are not the paper's say "ours"."""

    compare: str = "divergence"
    """How paths are compared: "divergence" (deterministic, of triples), "clustering" (DBSCAN over embedded paths) or "judge" (a model)."""
    quorum: float = 0.5
    """Share of the vote's weight, 0 to 1, that a consensus must exceed. Ours: a majority."""
    independent_sources: int = 2
    """Independent sources, 1 or more, that a consensus needs. Ours: the least number of witnesses that is not one."""
    action_weight: float = 3.0
    """Weight of the action in the overlap of two paths, where all triples together weigh 1. Ours: the action does the harm."""
    same_action: float = 0.8
    """Similarity of signatures, 0 to 1, from which two actions count as the same. Ours: equal but for the target of a call is 0.75."""
    trust: Mapping[str, float] = field(default_factory=lambda: TRUST)
    """Trust by origin, 0 to 1; a record's own `trust` goes before it."""
    unknown_trust: float = 0.5
    """Trust, 0 to 1, of a record whose origin is not known or not listed. Ours."""
    attested_trust: float = 0.6
    """Trust, 0 to 1, from which a record's labels are believed: below it another source or session costs a liar nothing. Ours."""
    authority_trust: float = 0.9
    """Trust, 0 to 1, from which a record may stand alone against others: the user's own word, say. Ours."""
    echo_size: int = 3
    """Records, 2 or more, that must make one claim for it to be an echo. Ours: two may agree by chance."""
    probes: int = 4
    """Rarest words of a query, 0 or more, that are left out one by one and together to see which records hang on them. Ours."""
    eps: float = 0.5
    """Cosine distance, 0 to 2, within which DBSCAN takes two paths for neighbours (the paper's)."""
    min_samples: int = 2
    """Paths, 1 or more, itself counted, that make a path of DBSCAN a core (the paper's)."""
    judge_safety: bool = False
    """Whether the judge is asked for "consistent and safe", as the published code does, or for "consistent" alone."""
    lessons_shown: int = 4
    """Nearest lessons, 1 or more, that an action is held against (the paper's K_L)."""
    lesson_match: float = 0.8
    """Similarity of signatures, 0 to 1, from which a lesson applies. Ours."""
    lesson_days: float = 180.0
    """Days that a lesson lasts, above 0. Ours."""
    revisions: int = 1
    """Times, 0 or more, that a plan is sent back before it is blocked (the paper's: one regeneration)."""
    quarantine_rate: float = 0.5
    """Rate of divergence, 0 to 1, above which a record is not to be borne. Ours."""
    quarantine_sure: float = 0.95
    """How probable it must be, 0 to 1, that a record's rate lies above `quarantine_rate`. Ours: the usual level."""
    quarantine_votes: int = 3
    """Votes, 1 or more, without which no record is quarantined. Ours."""
    release_agreements: int = 5
    """Independent agreements, 1 or more, that release a quarantined record. Ours."""

    def __post_init__(self) -> None:
        if self.compare not in COMPARISONS:
            raise Invalid(f"compare: {shown(self.compare)} is not known; use one of {', '.join(COMPARISONS)}")
        for name in _SHARES:
            _within(getattr(self, name), name, 0, 1)
        _within(self.eps, "eps", 0, 2)
        for name, least in (("independent_sources", 1), ("echo_size", 2), ("probes", 0), ("min_samples", 1), ("lessons_shown", 1),
                            ("revisions", 0), ("quarantine_votes", 1), ("release_agreements", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise Invalid(f"{name}: expected a whole number, {least} or more, not {shown(value)}")
        _within(self.action_weight, "action_weight", 0, 1e6)
        _within(self.lesson_days, "lesson_days", 1e-9, 1e6)
        for origin, value in self.trust.items():
            _within(value, f"trust of {shown(origin)}", 0, 1)


_SHARES = (
    "quorum", "same_action", "unknown_trust", "attested_trust", "authority_trust", "lesson_match", "quarantine_rate", "quarantine_sure",
)  # fmt: skip


def _within(value: object, name: str, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise Invalid(f"{name}: expected a number from {low:g} to {high:g}, not {shown(value)}")
