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
from mnemos.text.agreement.comparing import FAMILIES, Agreement, Memory, ReadMemory, Relation, compare_read, read_memory
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statement import Statement

Rows = NDArray[np.int64]
_BATCH = 64
"""Rows that are judged together: their vectors meet all others in one product of 64 × n floats."""
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
    out: list[Found] = []
    for start in range(0, len(wanted), _BATCH):
        out += _relations_of(index, whole, wanted[start : start + _BATCH], read, limits)
    return out


def _relations_of(index: SpaceIndex, allowed: Mask, rows: Sequence[int], read: Read, limits: Limits) -> list[Found]:
    memories = {row: read_memory(memory) for row, memory in read(rows).items()}
    rows = [row for row in rows if row in memories]
    near = _neighbours(index, allowed, rows, limits.similar)
    pairs = {row: dict.fromkeys([*_by_words(index, allowed, row, memories[row], limits), *near.get(row, ())]) for row in rows}
    missing = sorted({other for others in pairs.values() for other in others} - memories.keys())
    memories.update((row, read_memory(memory)) for row, memory in read(missing).items())
    vectors = _vectors(index, memories)
    memories = {row: _with(memory, vectors.get(row)) for row, memory in memories.items()}
    out: list[Found] = []
    for row, others in pairs.items():
        found = []
        for other in others:
            if other in memories:
                agreement = compare_read(memories[row], memories[other])
                if agreement.relation is not Relation.INDEPENDENT and agreement.confidence >= limits.confidence:
                    found.append(Found(row, other, agreement))
        out += sorted(found, key=lambda one: (-one.agreement.confidence, one.other))
    return out


def _with(memory: ReadMemory, vector: NDArray[np.float32] | None) -> ReadMemory:
    return memory if vector is None or memory.memory.vector is not None else replace(memory, memory=replace(memory.memory, vector=vector))


def _vectors(index: SpaceIndex, rows: Iterable[int]) -> dict[int, NDArray[np.float32]]:
    """The vectors of `rows`, all of one embedder: of that which has most of them."""
    if not index.vectors:
        return {}
    best = max(index.vectors.values(), key=len)
    wanted = np.array(sorted(rows), dtype=np.int64)
    return {row: vector for row, vector in zip(wanted.tolist(), best.vectors(wanted), strict=True) if vector.any()}


def _by_words(index: SpaceIndex, allowed: Mask, row: int, memory: ReadMemory, limits: Limits) -> Iterable[int]:
    """Rows before `row` that share telling words with `memory`, or that give a value to an attribute that it gives a value to."""
    before = allowed.copy()
    before[row:] = False
    found: dict[int, None] = {}
    if not before.any():
        return found
    _best(index.lexical.search(query_terms(memory.memory.text), before).bm25, limits.lexical, found)
    own = before & (index.author.view() == index.author.view()[row])
    asked: set[bytes] = set()
    for statement in sorted(memory.statements, key=_telling):
        query = _probe(statement)
        if query is not None and len(asked) < limits.probes and query.hashes.tobytes() not in asked:
            asked.add(query.hashes.tobytes())
            _best(index.lexical.search(query, before if statement.subject.names else own).bm25, limits.probed, found)
    return found


def _neighbours(index: SpaceIndex, allowed: Mask, rows: Sequence[int], k: int) -> dict[int, dict[int, None]]:
    """For each of `rows` that has a vector, the `k` rows before it with the most similar ones."""
    out: dict[int, dict[int, None]] = {row: {} for row in rows}
    for vectors in index.vectors.values():
        queries = vectors.vectors(np.array(rows, dtype=np.int64))
        has = queries.any(axis=1)
        if not has.any():
            continue
        n = max(rows)
        cosines = np.where(allowed[:n], np.nan_to_num(vectors.scores_of(queries[has], n, allowed), nan=0.0), 0.0)
        for row, values in zip(np.array(rows)[has].tolist(), cosines, strict=True):
            _best(values[:row], k, out[row])
    return out


def _best(scores: NDArray[np.float32], k: int, found: dict[int, None]) -> None:
    """The `k` rows of the highest scores above nought, the newer one first where they are equal."""
    k = min(k, len(scores))
    if not k:
        return
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
