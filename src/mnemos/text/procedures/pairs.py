"""Hard comparison: pieces of successes set against the pieces of failures that are most like them (ReMe, arXiv 2512.10696, section 3.1; off by
default there and here)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mnemos.text.procedures.distilling import Lesson, comparisons
from mnemos.text.trajectories.segments import segments, short
from mnemos.text.trajectories.trajectory import SUCCESS, Trajectory

FIRST = 5
"""Segments of successes, and of failures, that are compared."""
LEAST_COSINE = 0.3
MOST_PAIRS = 3

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def pairs(runs: Sequence[Trajectory], embed: Embed, threshold: float = SUCCESS) -> list[tuple[tuple[int, Trajectory], tuple[int, Trajectory]]]:
    """The best three pairs of a segment of a success and one of a failure, each with the number of its run, by the cosine of their texts, above 0.3.
    `embed` gives unit vectors (n, d)."""
    won = [(number, part) for number, run in enumerate(runs) if run.succeeded(threshold) for part in segments(run)][:FIRST]
    lost = [(number, part) for number, run in enumerate(runs) if not run.succeeded(threshold) for part in segments(run)][:FIRST]
    if not won or not lost:
        return []
    vectors = embed([_text(part) for _, part in (*won, *lost)])
    cosines = vectors[: len(won)] @ vectors[len(won) :].T
    best = sorted(((float(cosines[i, j]), i, j) for i in range(len(won)) for j in range(len(lost))), key=lambda one: -one[0])
    return [(won[i], lost[j]) for cosine, i, j in best if cosine > LEAST_COSINE][:MOST_PAIRS]


def hard_comparisons(runs: Sequence[Trajectory], embed: Embed, threshold: float = SUCCESS) -> list[Lesson]:
    """What `distilling.comparisons` finds between the segments of each pair."""
    out = []
    for (winner, better), (loser, worse) in pairs(runs, embed, threshold):
        both = [replace(better, task_id="pair"), replace(worse, task_id="pair")]
        out += [Lesson(lesson.procedure, tuple((winner, loser)[at] for at in lesson.sources)) for lesson in comparisons(both, threshold)]
    return out


def _text(part: Trajectory) -> str:
    return "\n".join(short(message, 400) for message in part.messages)
