# requires: lancedb==0.40.0 pyarrow numpy
"""LanceDB with the vectors given: its hybrid query, full text (BM25 over stems) and vectors, fused by its default reranker."""

import importlib
from typing import Any


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        self._db: Any = importlib.import_module("lancedb").connect(folder)
        self._dimensions = dimensions

    def add(self, texts: list[str], vectors: Any) -> None:
        arrow: Any = importlib.import_module("pyarrow")
        column = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), self._dimensions)
        rows = arrow.table({"id": list(range(len(texts))), "text": texts, "vector": column})
        self._table = self._db.create_table("bench", data=rows)
        self._table.create_fts_index("text", stem=True, remove_stop_words=False)

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        hybrid = self._table.search(query_type="hybrid").vector(vector).text(question).distance_type("cosine")
        return [row["id"] for row in hybrid.limit(k).to_list()]

    def close(self) -> None:
        del self._table
