"""What every global memory of a corpus gives: clues to a question. They serve to search, and are never evidence.

Source: MemoRAG, arXiv 2409.05591, section 2: clues = Θ_mem(q | memory(D)); evidence = Γ(clues, D).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mnemos.index.terms import query_terms

MOST = 8
"""Clues of a question."""
SURE = {"recall": 1.0, "rewrite": 1.0, "answer": 0.5}
"""Weights of what a model says, by its kind; a drafted answer may be wrong."""


@dataclass(frozen=True, slots=True)
class Clue:
    """What to search for besides the question."""

    text: str
    kind: str
    """`entity` (a name that the question leads to), `gist` (a sentence of a section's gist), `feedback` (what was found first), or `recall`,
    `rewrite` and `answer` of a model."""
    weight: float = 1.0
    """How sure it is against other clues of the same memory; where clues are weighed, the question itself counts 1."""
    via: tuple[str, ...] = ()
    """What led to it, step by step: names."""


class GlobalMemory(Protocol):
    """One corpus, read once, that can be asked for clues. Drivers: "statistical" (`text.clues.statistical`), and "compressed", in the keys and values
    of a local model (`kernel.kv.recalling`).

    `memorise` of a text and then of another under the same name is `memorise` of both together, wherever the first ends at a boundary that the
    driver names. `forget` takes a document out with all its traces: afterwards the memory is as if it had never been there; a driver that
    cannot do so must raise `Invalid`, and say what has to be memorised anew.
    """

    kind: str

    def memorise(self, document: str, text: str) -> None:
        """Read a text of a document, or more of it."""
        ...

    def forget(self, document: str) -> None:
        """Raises `NotFound` for a document that was not memorised."""
        ...

    def clues(self, question: str, most: int = MOST) -> list[Clue]:
        """At most `most` clues, best first, none of them a copy of the question."""
        ...

    def save(self, path: Path) -> None:
        """Write the memory to a file; the driver's `load` reads it."""
        ...


def cleaned(question: str, clues: Iterable[Clue], most: int = MOST) -> list[Clue]:
    """At most `most` clues, in order, without those that name nothing that the question, or a clue before, does not name."""
    asked = set(query_terms(question).hashes.tolist())
    seen: list[set[int]] = [asked]
    out: list[Clue] = []
    for clue in clues:
        if len(out) >= most:
            break
        named = set(query_terms(clue.text).hashes.tolist())
        if any(named <= before for before in seen):
            continue
        seen.append(named)
        out.append(clue)
    return out
