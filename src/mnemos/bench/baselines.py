"""What a memory has to beat: SQLite's own full-text search, plain dense search, and the usual fusion of the two."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import apsw
import numpy as np

from mnemos.base.protocols import Vectors

DEPTH = 1000
"""How many of each ranking reciprocal-rank fusion sees: as many as runs at TREC hold, for which it was made."""

RRF_CONSTANT = 60
"""The k of Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion"."""

_STOPPED = """
a about after am an and are as at be been before by did do does for from had has have he her his how i in into is it its my not of on or our
she that the their these they this those to was we were what when where which who whom whose why with you your
"""
STOP_WORDS = frozenset(_STOPPED.split())
"""Words of questions that carry nothing; leaving them out is what a careful user of FTS5 does, and the stronger baseline."""

_WORD = re.compile(r"\w+")


class Bm25:
    """BM25 (k1 1.2, b 0.75) over Porter stems: a real SQLite FTS5 table, asked for any of the question's words."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._db = apsw.Connection(":memory:")
        self._db.execute("CREATE VIRTUAL TABLE t USING fts5(text, tokenize='porter unicode61', content='')")
        with self._db:
            self._db.executemany("INSERT INTO t(rowid, text) VALUES (?, ?)", enumerate(texts))

    def rank(self, question: str, depth: int, stop_words: frozenset[str] = frozenset()) -> list[int]:
        """Indices of the best `depth` texts; fewer where fewer hold any of the words. Ties go by index."""
        words = [word for word in _WORD.findall(question) if word.lower() not in stop_words]
        if not words:
            return []
        query = " OR ".join(f'"{word}"' for word in words)
        return [row[0] for row in self._db.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank, rowid LIMIT ?", (query, depth))]


def rank_dense(vectors: Vectors, query: Vectors, depth: int) -> list[int]:
    """Indices of the `depth` unit vectors nearest to the unit vector `query`, shape (dimensions,), by cosine. Ties go by index."""
    return [int(i) for i in np.argsort(-(vectors @ query), kind="stable")[:depth]]


def fuse(rankings: Sequence[Sequence[int]], depth: int) -> list[int]:
    """Reciprocal-rank fusion. Ties go by index."""
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (RRF_CONSTANT + rank)
    return sorted(scores, key=lambda item: (-scores[item], item))[:depth]
