"""Exact BM25 over the rows of one space, held in memory, current right after every append."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.terms import Query, query_terms, unpack_terms

Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]

MAX_ROWS = 1 << 24


@dataclass(frozen=True, slots=True)
class BM25:
    """Okapi BM25 (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.5)."""

    k1: float = 0.9
    """Saturation of term frequency; unitless, 0 (presence only) to about 3. Default: Trotman, Puurula and Burgess, Improvements to BM25
    and Language Models Examined, 2014 (0.9 on average over their collections); Anserini's default as well."""
    b: float = 0.4
    """Strength of length normalisation; 0 to 1. Default: same source."""


class Lexical(NamedTuple):
    """What the words of a query say about each row."""

    bm25: Scores
    """(n,) float32, 0 where no query term occurs or the row is not allowed."""
    coverage: Scores
    """(n,) float32 in 0..1: the inverse document frequency of the query terms that occur, over that of all query terms known to the space."""


class LexicalIndex:
    """Postings of growing rows, numbered 0, 1, 2, … in order of appending.

    A posting is one uint64: hash (32 bits), row (24), count (8). Postings lie in sorted runs whose sizes fall by at least half (the
    log-structured merge of O'Neil et al., 1996), so that an append costs little and a search needs one binary search per term and run.
    Document frequencies and the average length are taken over the allowed rows at each search, so superseded, forgotten or hidden rows
    never bear on another row's score.
    """

    def __init__(self) -> None:
        self._lengths = np.zeros(0, dtype=np.float32)
        self._rows = 0
        self._runs: list[NDArray[np.uint64]] = []
        self._waiting: list[bytes] = []

    def __len__(self) -> int:
        return self._rows + len(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes held by the postings and lengths."""
        return self._lengths.nbytes + sum(run.nbytes for run in self._runs) + sum(map(len, self._waiting))

    def append(self, blobs: Sequence[bytes]) -> None:
        """Adds rows, one per block of `mnemos.index.terms.pack_terms`. Raises `Invalid` beyond 16,777,216 rows."""
        if len(self) + len(blobs) > MAX_ROWS:
            raise Invalid(f"text index: a space holds at most {MAX_ROWS} rows; split it into several spaces")
        self._waiting.extend(blobs)

    def _settle(self) -> None:
        if not self._waiting:
            return
        postings = unpack_terms(self._waiting)
        total = self._rows + len(self._waiting)
        if total > len(self._lengths):
            grown = np.zeros(max(total, 2 * len(self._lengths)), dtype=np.float32)
            grown[: self._rows] = self._lengths[: self._rows]
            self._lengths = grown
        self._lengths[self._rows : total] = postings.lengths
        keys = postings.hashes.astype(np.uint64) << np.uint64(32)
        keys |= (postings.rows + self._rows).astype(np.uint64) << np.uint64(8)
        keys |= postings.counts
        keys.sort()
        self._rows = total
        self._waiting.clear()
        if len(keys):
            self._runs.append(keys)
        while len(self._runs) > 1 and 2 * len(self._runs[-1]) > len(self._runs[-2]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]))]

    def _find(self, term: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows that hold the term, and how often."""
        low, high = np.uint64(term << 32), np.uint64(term << 32 | 0xFFFFFFFF)
        found = []
        for run in self._runs:
            first, last = run.searchsorted(low), run.searchsorted(high, side="right")
            if last > first:
                found.append(run[first:last])
        keys = np.concatenate(found) if len(found) > 1 else found[0] if found else np.zeros(0, dtype=np.uint64)
        rows = (keys >> np.uint64(8) & np.uint64(0xFFFFFF)).astype(np.int64)
        return rows, (keys & np.uint64(0xFF)).astype(np.float32)

    def search(self, query: str | Query, allowed: Mask | None = None, parameters: BM25 = BM25()) -> Lexical:  # noqa: B008  (frozen)
        """BM25 and coverage of `query` for every row; `allowed` (n,) bool says which rows exist for this search.

        The inverse document frequency is ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative. Raises `Invalid` where `allowed`
        has another length.
        """
        self._settle()
        n = self._rows
        if allowed is not None and allowed.shape != (n,):
            raise Invalid(f"text index: the mask has shape {allowed.shape}, the index has {n} rows")
        terms = query_terms(query) if isinstance(query, str) else query
        bm25, matched = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
        lengths = self._lengths[:n]
        alive = n if allowed is None else int(np.count_nonzero(allowed))
        if not alive:
            return Lexical(bm25, matched)
        total = float(lengths.sum(dtype=np.float64) if allowed is None else lengths.sum(dtype=np.float64, where=allowed))
        average = max(total / alive, 1.0)
        k1, b = parameters.k1, parameters.b
        known = 0.0
        for term in terms.hashes.tolist():
            rows, counts = self._find(term)
            if allowed is not None and len(rows):
                keep = allowed[rows]
                rows, counts = rows[keep], counts[keep]
            if not len(rows):
                continue
            idf = float(np.log1p((alive - len(rows) + 0.5) / (len(rows) + 0.5)))
            known += idf
            matched[rows] += np.float32(idf)
            norm = np.float32(k1 * (1 - b)) + np.float32(k1 * b / average) * lengths[rows]
            bm25[rows] += counts * np.float32(idf * (k1 + 1)) / (counts + norm)
        if known:
            matched /= np.float32(known)
        return Lexical(bm25, matched)
