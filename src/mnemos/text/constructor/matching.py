"""How a statement stands to what is held: whether it is held already, replaces something, contradicts it, adds to it, or is new."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from mnemos.text.agreement import Memory as Compared
from mnemos.text.agreement import Relation, compare
from mnemos.text.constructor.candidates import Candidate
from mnemos.text.constructor.gist import overlap
from mnemos.text.constructor.memory import Entry, Memory

ALIKE = 0.8
"""Overlap from which two statements of no known attribute say the same."""
NEAR = 0.3
"""Overlap from which two statements speak of the same thing; they are then compared word by word where a comparer is at hand."""


class Standing(IntEnum):
    """How a statement stands to what is held."""

    NEW = 0
    HELD = 1
    REPLACES = 2
    CONTRADICTS = 3
    ADDS = 4


_STANDINGS = {
    Relation.DUPLICATE: Standing.HELD,
    Relation.UPDATE: Standing.REPLACES,
    Relation.CONTRADICTION: Standing.CONTRADICTS,
    Relation.SUPPLEMENT: Standing.ADDS,
    Relation.INDEPENDENT: Standing.NEW,
}


class Match(NamedTuple):
    """What a statement bears on."""

    standing: Standing
    overlap: float
    """0..1: of the words, with the entry that is most like it."""
    entry: Entry | None
    """What is held, replaced, contradicted or added to; None where the statement is new."""
    line: int = -1
    """Of the core, the line that gives the same attribute a value, or says the same; -1 where none does."""
    same_value: bool = False
    """Whether that line says the same."""


Comparer = Callable[[str, str], Standing]
"""How the first of two texts stands to the second, which was there before."""


def comparer() -> Comparer:
    """Compares by `text.agreement`, each pair once; what it has read is kept as long as it is."""
    known: dict[tuple[str, str], Standing] = {}

    def compared(new: str, old: str) -> Standing:
        found = known.get((new, old))
        if found is None:
            agreement = compare(Compared(old, written=0), Compared(new, written=1))
            found = known[new, old] = _STANDINGS[agreement.relation] if agreement.confidence >= 0.5 else Standing.NEW
        return found

    return compared


def match(memory: Memory, candidate: Candidate, compared: Comparer | None = None) -> Match:
    """What of a memory a statement bears on. The same attribute decides; where it names none, the words do."""
    gist = candidate.gist
    line, same = _line(memory, candidate)
    keyed = memory.with_key(gist.key)
    if keyed is not None:
        standing = Standing.HELD if keyed.gist.value == gist.value else Standing.REPLACES
        return Match(standing, overlap(gist, keyed.gist), keyed, line, same)
    near = memory.sharing(gist, 1)
    if not near:
        return Match(Standing.NEW, 0.0, None, line, same)
    share, entry = near[0]
    if entry.content == candidate.text or (share >= ALIKE and not (gist.key or entry.gist.key)):
        return Match(Standing.HELD, share, entry, line, same)
    if share >= NEAR and compared is not None:
        standing = compared(candidate.text, entry.content)
        return Match(standing, share, entry if standing is not Standing.NEW else None, line, same)
    return Match(Standing.NEW, share, None, line, same)


def _line(memory: Memory, candidate: Candidate) -> tuple[int, bool]:
    for number, line in enumerate(memory.lines):
        if line.text == candidate.text:
            return number, True
        if candidate.gist.key and line.gist.key == candidate.gist.key:
            return number, line.gist.value == candidate.gist.value
    return -1, False
