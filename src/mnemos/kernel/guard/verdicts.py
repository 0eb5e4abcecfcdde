"""What the guard says: a verdict for each record, the decision as a whole, and whether an outcome may be remembered."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mnemos.kernel.guard.actions import Action, Risk
from mnemos.kernel.guard.lessons import Lesson


class Answer(enum.Enum):
    """What becomes of one record in this decision."""

    KEEP = "keep"
    EXCLUDE = "exclude"
    UNDECIDED = "undecided"


class Reason(enum.Enum):
    """Why. The first five say that somebody tried something, and raise suspicion; the others do not."""

    ECHO = "echo"
    """Several records that nobody vouches for make one claim in nearly the same terms, more than this memory ever repeats itself."""
    TRIGGER = "trigger"
    """It is found by words that nothing else here uses, and leads elsewhere than what is found without them."""
    DIVERGES = "diverges"
    """Its path departs from the others further than 99 % of benign ones do."""
    HELD_BACK = "held back"
    """It alone would change what is done without memory; it waits for independent support."""
    INCONSISTENT = "inconsistent"
    """The clustering or the judge found its path outside the consensus."""
    OUTVOTED = "outvoted"
    """A consensus of independent records says or does something else."""
    SUPERSEDED = "superseded"
    """A record with the authority to do so corrects it."""
    COPY = "copy"
    """It repeats an earlier record word for word, and nobody vouches for it."""
    ALTERED = "altered"
    """It is not what was admitted under its id."""
    QUARANTINED = "quarantined"
    NO_CONSENSUS = "no consensus"
    """The action needs a consensus, and there is none."""
    UNDECIDED = "undecided"
    """The comparison failed; see the alarm."""
    AGREES = "agrees"
    """It is part of the consensus."""
    CORRECTS = "corrects"
    """It corrects what contradicts it."""
    DISPUTED = "disputed"
    """Another record contradicts it, and there is no majority between them."""
    UNOPPOSED = "unopposed"
    """Nothing speaks against it."""


IN_ITSELF = frozenset({Reason.ECHO, Reason.TRIGGER})
"""Reasons that need no look at the action: a record that merely departs from the others may have come from a neighbouring task."""
SUSPICIOUS = frozenset({Reason.ECHO, Reason.TRIGGER, Reason.DIVERGES, Reason.HELD_BACK, Reason.INCONSISTENT})


class Consensus(enum.Enum):
    """How a decision ended."""

    REACHED = "reached"
    """Independent records agree on what to do."""
    UNOPPOSED = "unopposed"
    """Nothing was to be voted on, or nothing but advice: what is kept may be used."""
    NONE = "none"
    """No consensus where one is needed: act as without memory."""
    UNDECIDED = "undecided"
    """The comparison failed: act as without memory."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one record. `divergence` is D (None: nothing to compare), `weight` its vote, `witness` whom it is one witness with."""

    id: str
    answer: Answer
    reason: Reason
    divergence: float | None = None
    weight: float = 0.0
    witness: str = ""
    action: Action | None = None
    detail: str = ""
    hangs_on: frozenset[int] = frozenset()
    """Terms of the query that it hangs on, where they are a trigger."""

    @property
    def suspicious(self) -> bool:
        return self.answer is Answer.EXCLUDE and self.reason in SUSPICIOUS


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A decision: `verdicts` in the order of the candidates. `kept` are the ids that may be used, in that order: none of them where the
    consensus is NONE or UNDECIDED, for then one acts as without memory. `alarms` say what an operator should look at."""

    decision: str
    verdicts: tuple[Verdict, ...]
    consensus: Consensus
    action: Action | None = None
    share: float = 0.0
    sources: int = 0
    risk: Risk = Risk.READ_ONLY
    needs_approval: bool = False
    alarms: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def excluded(self) -> tuple[str, ...]:
        """The ids that were excluded, in the order of the candidates."""
        return tuple(verdict.id for verdict in self.verdicts if verdict.answer is Answer.EXCLUDE)

    def of(self, id: str) -> Verdict:
        """The verdict on one record. Raises `KeyError`."""
        return next((verdict for verdict in self.verdicts if verdict.id == id), None) or _missing(id)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: what the log keeps, and a replay must give again."""
        return {
            "decision": self.decision,
            "consensus": self.consensus.value,
            "action": self.action.as_json() if self.action else None,
            "share": round(self.share, 9),
            "sources": self.sources,
            "risk": self.risk.name.lower(),
            "needs_approval": self.needs_approval,
            "alarms": list(self.alarms),
            "kept": list(self.kept),
            "verdicts": [
                {"id": v.id, "answer": v.answer.value, "reason": v.reason.value, "weight": round(v.weight, 9), "witness": v.witness,
                 "divergence": None if v.divergence is None else round(v.divergence, 9), "detail": v.detail}
                for v in self.verdicts
            ],
        }  # fmt: skip


class Check(enum.Enum):
    """What may become of a planned action."""

    ALLOW = "allow"
    REVISE = "revise"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class ActionCheck:
    """The guard's word on a plan. `lessons` are those that match; `warning` is their text for a prompt, which instructs nobody to anything."""

    check: Check
    reasons: tuple[str, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    warning: str = ""


class Where(enum.Enum):
    """Where an outcome goes."""

    MEMORY = "memory"
    LESSONS = "lessons"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a record may be written: to memory, to the lessons only, or into quarantine."""

    where: Where
    reasons: tuple[str, ...] = ()
    lesson: Lesson | None = None

    def __bool__(self) -> bool:
        return self.where is Where.MEMORY


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that the guard knows of one record."""

    id: str
    suspicion: Mapping[str, float]
    quarantined: bool
    decisions: tuple[Mapping[str, Any], ...] = ()
    lessons: tuple[Lesson, ...] = field(default=())


def _missing(id: str) -> Verdict:
    raise KeyError(f"no verdict on {id!r} in this decision")
