"""What a learnt policy sees of a statement: its own form, how it stands to what is held, and how much room is left; all as shares, never as counts,
so that a policy that was taught on short histories reads long ones alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mnemos.text.constructor.candidates import Candidate, Sort
from mnemos.text.constructor.matching import Match, Standing
from mnemos.text.constructor.memory import Memory
from mnemos.text.constructor.operations import EPISODIC

Floats = NDArray[np.float32]

NAMES: tuple[str, ...] = (
    *(f"sort: {sort.value}" for sort in Sort),
    "first person", "a name", "a number", "said by an assistant", "names a time", "time known", "gives an attribute a value", "length", "words",
    *(f"standing: {standing.name.lower()}" for standing in Standing),
    "overlap", "bears on an event", "age of what it bears on", "length beside what it bears on", "core speaks of it", "core says it",
    "a limit", "room left", "fits", "core's room left", "fits into the core", "anything held",
)  # fmt: skip
SIZE = len(NAMES)
_SORTS = {sort: number for number, sort in enumerate(Sort)}


def describe(memory: Memory, candidate: Candidate, found: Match) -> Floats:
    """(SIZE,) features of a statement that bears on `found`."""
    row = np.zeros(SIZE, dtype=np.float32)
    limits, entry = memory.limits, found.entry
    row[_SORTS[candidate.sort]] = 1.0
    at = len(Sort)
    row[at : at + 9] = (
        candidate.own, candidate.named, candidate.numbered, candidate.assistant, candidate.dated, candidate.at is not None,
        bool(candidate.gist.key), math.log1p(candidate.tokens) / 4.0, min(len(candidate.gist.words), 20) / 20.0,
    )  # fmt: skip
    at += 9
    row[at + found.standing] = 1.0
    at += len(Standing)
    row[at:] = (
        found.overlap,
        entry is not None and entry.kind == EPISODIC,
        0.0 if entry is None else math.log1p(max(memory.step - entry.step, 0)) / 5.0,
        0.0 if entry is None else math.tanh((candidate.tokens - entry.tokens) / 10.0),
        found.line >= 0,
        found.same_value,
        limits.tokens is not None,
        1.0 if limits.tokens is None else max(memory.room or 0, 0) / limits.tokens,
        limits.tokens is None or (memory.room or 0) >= candidate.tokens,
        max(memory.core_room, 0) / limits.core_tokens,
        memory.core_room >= candidate.tokens,
        bool(memory.entries),
    )
    return row
