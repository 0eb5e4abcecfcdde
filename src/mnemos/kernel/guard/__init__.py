"""A guard for memory: before a memory is used, what it leads to is compared with what the others lead to (A-MemGuard, arXiv 2510.02373)."""

from __future__ import annotations

from mnemos.kernel.guard.actions import Effect, Risk
from mnemos.kernel.guard.calibration import Calibration, calibrate, leave_one_out
from mnemos.kernel.guard.guard import Guard
from mnemos.kernel.guard.lessons import Lesson, LessonStore, MemoryLessons
from mnemos.kernel.guard.records import Candidate, Outcome, Plan, ToolCall
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.verdicts import ActionCheck, Admission, Answer, Check, Consensus, Reason, Verdict, Verdicts, Where

__all__ = [
    "ActionCheck",
    "Admission",
    "Answer",
    "Calibration",
    "Candidate",
    "Check",
    "Consensus",
    "Effect",
    "Guard",
    "Lesson",
    "LessonStore",
    "MemoryLessons",
    "Outcome",
    "Plan",
    "Reason",
    "Risk",
    "Settings",
    "ToolCall",
    "Verdict",
    "Verdicts",
    "Where",
    "calibrate",
    "leave_one_out",
]
