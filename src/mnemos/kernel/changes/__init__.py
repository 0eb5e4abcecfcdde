"""Changes of memory, governed: what they do is measured before they are admitted, watched while they serve, and undone where they do harm."""

from __future__ import annotations

from mnemos.kernel.changes.admission import NEIGHBOURHOOD, RETENTION, STANDARD_GATES, TARGET, Gate, Observed, Verdict
from mnemos.kernel.changes.ledger import AuditEntry, MemoryLedger, Stage, StoreLedger, check_chain
from mnemos.kernel.changes.loop import Changes, Terms
from mnemos.kernel.changes.monitors import STANDARD, Action, Arm, Monitor
from mnemos.kernel.changes.routing import Path, Profile, Route, profile, route
from mnemos.kernel.changes.spaces import SpaceChange, Without
from mnemos.kernel.changes.tiers import Arrays, Changeable

__all__ = [
    "NEIGHBOURHOOD",
    "RETENTION",
    "STANDARD",
    "STANDARD_GATES",
    "TARGET",
    "Action",
    "Arm",
    "Arrays",
    "AuditEntry",
    "Changeable",
    "Changes",
    "Gate",
    "MemoryLedger",
    "Monitor",
    "Observed",
    "Path",
    "Profile",
    "Route",
    "SpaceChange",
    "Stage",
    "StoreLedger",
    "Terms",
    "Verdict",
    "Without",
    "check_chain",
    "profile",
    "route",
]
