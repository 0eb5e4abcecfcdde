"""Exact BM25 over the rows of one space, held in memory, current right after every append; and expansion of a query by what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Invalid
from mnemos.index.growing import Growing
from mnemos.index.terms import IN_HEADING, MAX_COUNT, Hashes, Query, query_terms, stop_terms, unpack_terms

Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]
Numbers = NDArray[np.int64]

MAX_ROWS = 1 << 24
_ROW_SHIFT, _ROW_MASK = np.uint64(8), np.uint64(MAX_ROWS - 1)
_COUNT_MASK = np.uint64(0xFF)


@dataclass(frozen=True, slots=True)
class BM25:
    """Okapi BM25 (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.5)."""

    k1: float = 0.9
    """Saturation of term frequency; unitless, 0 (presence only) to about 3. Default: Trotman, Puurula and Burgess, Improvements to BM25
    and Language Models Examined, 2014 (0.9 on average over their collections); Anserini's default as well."""
    b: float = 0.4
    """Strength of length normalisation; 0 to 1. Default: same source."""


class Lexical(NamedTuple):
    """What the words of a query say about each row; all zero where a row is not allowed."""

    bm25: Scores
    """(n,) float32, 0 where no query term occurs."""
    coverage: Scores
    """(n,) float32 in 0..1: inverse document frequency of the query terms that occur, over that of all query terms known to the space."""
    heading: Scores
    """(n,) float32 in 0..1: share of the row's heading (its distinct terms without stop words) that the query names."""
    holders: list[tuple[float, Numbers]]
    """For each query term that the space knows: its share of their inverse document frequency, and the rows that hold it."""


class LexicalIndex:
    """Postings of growing rows, numbered 0, 1, 2, … in order of appending.

    A posting is one uint64: hash (32 bits), row (24), count (8). Postings lie in sorted runs, each at least twice as long as the next (the
    log-structured merge of O'Neil et al., 1996), so that an append costs little and a search needs one binary search per term and run.
    Document frequencies and the average length are taken over the allowed rows at each search, so superseded, forgotten or hidden rows
    never bear on another row's score. Not safe for use by several threads without a lock.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []
        self._lengths = Growing(np.float32)
        self._heading_terms = Growing(np.float32)
        self._hashes = Growing(np.uint32)
        self._counts = Growing(np.uint8)
        self._ends = Growing(np.int64)
        self._waiting: list[bytes] = []
        self._hidden: tuple[Numbers, Hashes] = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint32)
        """Rows that a search did not allow, and their terms, sorted: the next search mostly hides the same ones."""

    def __len__(self) -> int:
        return len(self._lengths) + len(self._waiting)

    @property
    def nbytes(self) -> int:
        """Bytes held by the postings and lengths."""
        columns = (self._lengths, self._heading_terms, self._hashes, self._counts, self._ends)
        return sum(part.view().nbytes for part in columns) + sum(run.nbytes for run in self._runs) + sum(map(len, self._waiting))

    @property
    def lengths(self) -> Scores:
        """(n,) float32 terms of each row."""
        self._settle()
        return self._lengths.view()

    def append(self, blobs: Sequence[bytes]) -> None:
        """Adds rows, one per block of `mnemos.index.terms.pack_terms`. Raises `Invalid` beyond 16,777,216 rows."""
        if len(self) + len(blobs) > MAX_ROWS:
            raise Invalid(f"text index: a space holds at most {MAX_ROWS} rows; split it into several spaces")
        self._waiting.extend(blobs)

    def _settle(self) -> None:
        if not self._waiting:
            return
        postings = unpack_terms(self._waiting)
        first, end = len(self._lengths), len(self._hashes)
        rows = len(postings.lengths)
        titled = (postings.counts & IN_HEADING).astype(bool)
        titled[titled] = ~np.isin(postings.hashes[titled], stop_terms())
        keys = postings.hashes.astype(np.uint64) << np.uint64(32)
        keys |= (postings.rows + first).astype(np.uint64) << _ROW_SHIFT
        keys |= postings.counts
        keys.sort()
        self._lengths.extend(postings.lengths)
        self._heading_terms.extend(np.bincount(postings.rows[titled], minlength=rows))
        self._hashes.extend(postings.hashes)
        self._counts.extend(postings.counts)
        self._ends.extend(end + np.cumsum(np.bincount(postings.rows, minlength=rows)))
        self._waiting.clear()
        if len(keys):
            self._runs.append(keys)
        while len(self._runs) > 1 and 2 * len(self._runs[-1]) > len(self._runs[-2]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]))]

    def _ranges(self, hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last position of each hash in each run: two arrays of shape (runs, hashes)."""
        low = hashes.astype(np.uint64) << np.uint64(32)
        high = low | np.uint64(0xFFFFFFFF)
        first = np.array([run.searchsorted(low) for run in self._runs], dtype=np.int64).reshape(len(self._runs), len(hashes))
        last = np.array([run.searchsorted(high, side="right") for run in self._runs], dtype=np.int64).reshape(len(self._runs), len(hashes))
        return first, last

    def _keys(self, first: NDArray[np.int64], last: NDArray[np.int64], allowed: Mask | None) -> tuple[Numbers, NDArray[np.uint8]]:
        """Allowed rows of one hash, and its counts with their heading bit, from its ranges in the runs."""
        found = [run[a:b] for run, a, b in zip(self._runs, first.tolist(), last.tolist(), strict=True) if b > a]
        keys = np.concatenate(found) if len(found) > 1 else found[0] if found else np.zeros(0, dtype=np.uint64)
        rows = (keys >> _ROW_SHIFT & _ROW_MASK).view(np.int64)
        counts = (keys & _COUNT_MASK).astype(np.uint8)
        if allowed is not None and len(rows):
            keep = allowed[rows]
            rows, counts = rows[keep], counts[keep]
        return rows, counts

    def _size(self, allowed: Mask | None) -> tuple[int, float]:
        """Number and average length of the allowed rows. Raises `Invalid` where `allowed` has another length than the index."""
        lengths = self._lengths.view()
        if allowed is None:
            return len(lengths), float(lengths.mean(dtype=np.float64)) if len(lengths) else 1.0
        if allowed.shape != lengths.shape:
            raise Invalid(f"text index: the mask has shape {allowed.shape}, the index has {len(lengths)} rows")
        alive = int(np.count_nonzero(allowed))
        return alive, float(lengths @ allowed.astype(np.float32)) / alive if alive else 1.0

    def search(self, query: str | Query, allowed: Mask | None = None, parameters: BM25 = BM25()) -> Lexical:
        """BM25 and coverage of `query` for every row; `allowed` (n,) bool says which rows exist for this search.

        The inverse document frequency is ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative. Raises `Invalid` where `allowed`
        has another length than the index.
        """
        self._settle()
        alive, average = self._size(allowed)
        n = len(self._lengths)
        terms = query_terms(query) if isinstance(query, str) else query
        bm25, matched, titled = (np.zeros(n, dtype=np.float32) for _ in range(3))
        lengths = self._lengths.view()
        k1, b = parameters.k1, parameters.b
        known = 0.0
        holders: list[tuple[float, Numbers]] = []
        first, last = self._ranges(terms.hashes)
        for at in range(len(terms.hashes)):
            rows, flagged = self._keys(first[:, at], last[:, at], allowed)
            if not len(rows):
                continue
            idf = _idf(alive, len(rows))
            known += idf
            matched[rows] += np.float32(idf)
            holders.append((idf, rows))
            counts = (flagged & MAX_COUNT).astype(np.float32)
            norm = np.float32(k1 * (1 - b)) + np.float32(k1 * b / max(average, 1.0)) * lengths[rows]
            bm25[rows] += counts * np.float32(idf * (k1 + 1)) / (counts + norm)
            head = flagged >= IN_HEADING
            if head.any():
                titled[rows[head]] += 1
        if known:
            matched /= np.float32(known)
        if titled.any():
            titled /= np.maximum(self._heading_terms.view(), 1)  # a heading may hold nothing but stop words
            np.minimum(titled, 1, out=titled)
        return Lexical(bm25, matched, titled, [(idf / known, rows) for idf, rows in holders])

    def holding(self, hashes: Hashes) -> Numbers:
        """(n,) int64: bit i is set where a row holds term i of `hashes`. Raises `Invalid` for more than 62 terms."""
        if len(hashes) > 62:
            raise Invalid(f"text index: {len(hashes)} terms do not fit; give at most 62")
        self._settle()
        first, last = self._ranges(np.asarray(hashes, dtype=np.uint32))
        out = np.zeros(len(self._lengths), dtype=np.int64)
        for at in range(len(hashes)):
            rows, _ = self._keys(first[:, at], last[:, at], None)
            out[rows] |= 1 << at
        return out

    def expand(self, query: Query, rows: Numbers, weights: Scores, allowed: Mask | None = None, terms: int = 20) -> Scores:
        """How much each row shares of the telling words of `rows` that the query lacks: (n,) float32, 0..1, the best row 1.

        Pseudo-relevance feedback in the manner of Lavrenko and Croft's relevance model (Relevance-Based Language Models, 2001): a word
        counts for its frequency in the feedback `rows`, weighted by `weights`, times its inverse document frequency; the best `terms` words
        are looked up. What a feedback row itself contributed does not count for that row, so that rows do not vouch for themselves.
        """
        self._settle()
        alive, average = self._size(allowed)
        n = len(self._lengths)
        out = np.zeros(n, dtype=np.float32)
        ends, lengths = self._ends.view(), self._lengths.view()
        if not len(rows) or not alive or terms <= 0:
            return out
        spans = [(int(ends[row - 1]) if row else 0, int(ends[row])) for row in rows.tolist()]
        hashes = np.concatenate([self._hashes.view()[a:b] for a, b in spans])
        counts = np.concatenate([self._counts.view()[a:b] for a, b in spans]) & np.uint8(MAX_COUNT)
        which = np.repeat(np.arange(len(rows)), [b - a for a, b in spans])
        keep = ~np.isin(hashes, stop_terms()) & ~np.isin(hashes, query.hashes)
        hashes, counts, which = hashes[keep], counts[keep].astype(np.float32), which[keep]
        if not len(hashes):
            return out
        unique, place = np.unique(hashes, return_inverse=True)
        first, last = self._ranges(unique)
        frequency = self._frequencies(unique, first, last, allowed)
        idf = np.log1p((alive - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        norm = 0.9 * (0.6 + 0.4 * lengths[rows] / max(average, 1.0))
        share = weights[which] * counts / (counts + norm[which]).astype(np.float32) * idf[place]
        total = np.bincount(place, share, len(unique)).astype(np.float32)
        best = np.argsort(-total, kind="stable")[:terms]
        for j in best.tolist():
            found, flagged = self._keys(first[:, j], last[:, j], allowed)
            tf = (flagged & MAX_COUNT).astype(np.float32)
            out[found] += total[j] * idf[j] * (tf / (tf + np.float32(0.9)))
        kept = np.isin(place, best)
        own = share * idf[place] * counts / (counts + np.float32(0.9))
        out[rows] -= np.bincount(which[kept], own[kept], len(rows)).astype(np.float32)
        peak = out.max()
        if peak > 0:
            out /= peak
        return np.maximum(out, 0, out=out)

    def _terms_of_hidden(self, hidden: Numbers) -> Hashes:
        """The terms of all rows of `hidden`, sorted, once for each row that holds them."""
        if not np.array_equal(self._hidden[0], hidden):
            ends = self._ends.view()
            starts = np.where(hidden > 0, ends[hidden - 1], 0)
            sizes = ends[hidden] - starts
            at = np.arange(int(sizes.sum())) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
            self._hidden = hidden, np.sort(self._hashes.view()[at])
        return self._hidden[1]

    def _frequencies(
        self, hashes: Hashes, first: NDArray[np.int64], last: NDArray[np.int64], allowed: Mask | None
    ) -> NDArray[np.int64]:
        """Allowed rows that hold each of several hashes."""
        total: NDArray[np.int64] = (last - first).sum(axis=0)
        if allowed is None:
            return total
        hidden = np.flatnonzero(~allowed)
        if len(hidden) * len(self._hashes) < int(total.sum()) * len(allowed):  # fewer terms in all hidden rows than rows that hold a hash
            terms = self._terms_of_hidden(hidden)
            return total - (terms.searchsorted(hashes, side="right") - terms.searchsorted(hashes))
        out = np.zeros(first.shape[1], dtype=np.int64)
        for run, a, b in zip(self._runs, first, last, strict=True):
            sizes = b - a
            which = np.repeat(np.arange(len(sizes)), sizes)
            at = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes - a, sizes)
            rows = (run[at] >> _ROW_SHIFT & _ROW_MASK).view(np.int64)
            out += np.bincount(which[allowed[rows]], minlength=len(sizes))
        return out


def _idf(rows: int, frequency: int) -> float:
    return float(np.log1p((rows - frequency + 0.5) / (frequency + 0.5)))
