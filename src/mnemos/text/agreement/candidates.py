"""Which pairs of memories are worth comparing: for each new one a few older ones that share words, meaning or an attribute with it.

Nothing looks at all pairs. A new memory asks the postings for its telling words, the vectors for its neighbours, and, for each attribute that
it gives a value to, the postings for the words by which that attribute is called, among what the same author said: "I moved to Berlin" finds
"I live in Lisbon", with which it shares no word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mnemos.index.lexical import Mask
from mnemos.index.space_index import SpaceIndex
from mnemos.index.terms import Query, query_terms, term
from mnemos.text.agreement.comparing import FAMILIES, Agreement, Memory, Relation, compare
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statement import Statement
from mnemos.text.agreement.statements import read_statements

Rows = NDArray[np.int64]
Read = Callable[[Sequence[int]], Mapping[int, Memory]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far to look."""

    lexical: int = 10
    """Candidates of each memory by words; 1 and more."""
    similar: int = 8
    """Candidates by vectors."""
    probed: int = 6
    """Candidates for each attribute that a memory gives a value to."""
    probes: int = 4
    """Attributes of one memory that are looked up; the surest first."""
    confidence: float = 0.5
    """The lowest that is given back; 0..1."""


@dataclass(frozen=True, slots=True)
class Found:
    """A pair that is not independent."""

    row: int
    other: int
    """A row that was written before `row`."""
    agreement: Agreement
    """Of `row`, the first, and `other`, the second."""


def find_relations(index: SpaceIndex, allowed: Mask, rows: Sequence[int] | Rows, read: Read, *, limits: Limits = Limits()) -> list[Found]:
    """How each of `rows` stands to the rows written before it: the pairs that are not independent, by row, the surest first.

    `allowed` (n,) says which rows may be looked at; parts of documents are left out. `read` gives the memories of rows, which may miss rows that
    are gone. The caller has caught the index up, and holds its lock. The cost is that of a few searches for each of `rows`.
    """
    whole = allowed & (index.whole.view() < 0)
    wanted = [int(row) for row in rows if whole[row]]
    memories = dict(read(wanted))
    pairs = {row: candidates(index, whole, row, memories[row], limits) for row in wanted if row in memories}
    missing = sorted({other for found in pairs.values() for other in found} - memories.keys())
    memories.update(read(missing))
    vectors = _vectors(index, memories)
    out: list[Found] = []
    for row, others in pairs.items():
        found = []
        for other in others:
            if other in memories:
                agreement = compare(_with(memories[row], vectors.get(row)), _with(memories[other], vectors.get(other)))
                if agreement.relation is not Relation.INDEPENDENT and agreement.confidence >= limits.confidence:
                    found.append(Found(row, other, agreement))
        out += sorted(found, key=lambda one: (-one.agreement.confidence, one.other))
    return out


def _with(memory: Memory, vector: NDArray[np.float32] | None) -> Memory:
    return memory if vector is None or memory.vector is not None else replace(memory, vector=vector)


def _vectors(index: SpaceIndex, rows: Iterable[int]) -> dict[int, NDArray[np.float32]]:
    """The vectors of `rows`, all of one embedder: of that which has most of them."""
    if not index.vectors:
        return {}
    best = max(index.vectors.values(), key=len)
    wanted = np.array(sorted(rows), dtype=np.int64)
    return {row: vector for row, vector in zip(wanted.tolist(), best.vectors(wanted), strict=True) if vector.any()}


def candidates(index: SpaceIndex, allowed: Mask, row: int, memory: Memory, limits: Limits = Limits()) -> list[int]:
    """The rows before `row`, among `allowed`, that `memory` may be the same as, add to, or contradict; in no order that matters, each once."""
    before = allowed.copy()
    before[row:] = False
    if not before.any():
        return []
    found: dict[int, None] = {}
    _best(index.lexical.search(query_terms(memory.text), before).bm25, limits.lexical, found)
    own = before & (index.author.view() == index.author.view()[row])
    statements = sorted(read_statements(memory.text, memory.author), key=_telling)
    asked: set[bytes] = set()
    for statement in statements:
        if len(asked) >= limits.probes:
            break
        query = _probe(statement)
        if query is not None and query.hashes.tobytes() not in asked:
            asked.add(query.hashes.tobytes())
            _best(index.lexical.search(query, before if statement.subject.names else own).bm25, limits.probed, found)
    for vectors in index.vectors.values():
        vector = vectors.vectors(np.array([row]))[0]
        if vector.any():
            cosines = np.where(before, np.nan_to_num(vectors.scores(vector, len(before)), nan=0.0), 0.0)
            _best(cosines, limits.similar, found)
    return list(found)


def _best(scores: NDArray[np.float32], k: int, found: dict[int, None]) -> None:
    """The `k` rows of the highest scores above nought, the newer one first where they are equal."""
    k = min(k, len(scores))
    rows = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    rows = rows[scores[rows] > 0]
    found.update(dict.fromkeys(rows[np.lexsort((-rows, -scores[rows]))].tolist()))


def _telling(statement: Statement) -> tuple[float, bool]:
    return (-statement.single - 0.5 * bool(statement.cue) - 0.5 * (not statement.positive), statement.standing is Standing.STATE)


@lru_cache(maxsize=256)
def _family(slot: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(term(word) for word in FAMILIES.get(slot, slot.removeprefix("how many ")).split()))


def _probe(statement: Statement) -> Query | None:
    """The words by which a statement's attribute is called: the thing's own, else those of the attribute's family."""
    if statement.standing not in (Standing.STATE, Standing.PAST):
        return None
    hashes = sorted(statement.subject.thing | statement.key)
    if not statement.subject.thing or statement.slot not in ("is", "when", "name"):
        hashes += [h for h in _family(statement.slot) if h not in hashes]
    if not statement.single or statement.previous:
        hashes += sorted(statement.value.terms | statement.previous.terms)
    hashes = list(dict.fromkeys(hashes))
    return Query(np.array(hashes, dtype=np.uint32), tuple(str(h) for h in hashes)) if hashes else None
