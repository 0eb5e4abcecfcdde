"""A guard for memory: before a memory is used, what it leads to is compared with what the others lead to (A-MemGuard, arXiv 2510.02373)."""

from __future__ import annotations

from mnemos.kernel.guard.actions import Effect, Risk
from mnemos.kernel.guard.calibration import Calibration, calibrate, leave_one_out
from mnemos.kernel.guard.guard import Guard
from mnemos.kernel.guard.lessons import Lesson, LessonStore, MemoryLessons
from mnemos.kernel.guard.records import Candidate, Outcome, Plan, ToolCall
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.verdicts import Admission, Answer, Consensus, Verdict, Verdicts

__all__ = [
    "Admission",
    "Answer",
    "Calibration",
    "Candidate",
    "Consensus",
    "Effect",
    "Guard",
    "Lesson",
    "LessonStore",
    "MemoryLessons",
    "Outcome",
    "Plan",
    "Risk",
    "Settings",
    "ToolCall",
    "Verdict",
    "Verdicts",
    "calibrate",
    "leave_one_out",
]
