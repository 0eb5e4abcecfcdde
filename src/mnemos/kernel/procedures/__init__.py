"""Procedures of a space: learnt from runs, handed to new ones, credited by how those end, let go where they do not help (ReMe, arXiv 2512.10696)."""

from __future__ import annotations

from mnemos.kernel.procedures.learning import Learnt
from mnemos.kernel.procedures.pruning import Pruned
from mnemos.kernel.procedures.refining import Solved
from mnemos.kernel.procedures.service import Guidance, Procedures
from mnemos.kernel.procedures.settings import Settings

__all__ = ["Guidance", "Learnt", "Procedures", "Pruned", "Settings", "Solved"]
