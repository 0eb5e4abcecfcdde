# requires: txtai==9.14.0 --no-deps faiss-cpu==1.14.3 msgpack regex pyyaml numpy
"""txtai with the vectors given: its hybrid index (`hybrid: True`: BM25 and Faiss, combined by its default weights), with content stored.

Installed without torch and transformers, which its index does without; the vectors come by its `external` method. Its index lives in
memory: `add` ends with `save`.
"""

import importlib
import os
from typing import Any


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        self._path = os.path.join(folder, "index")
        self._given: dict[str, Any] = {}

        def transform(texts: list[str]) -> list[Any]:
            return [self._given[text] for text in texts]

        config = {"method": "external", "transform": transform, "hybrid": True, "content": True}
        self._index: Any = importlib.import_module("txtai").Embeddings(config)

    def add(self, texts: list[str], vectors: Any) -> None:
        self._given.update(zip(texts, vectors, strict=True))
        self._index.index(enumerate(texts))
        self._index.save(self._path)

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        self._given[question] = vector
        return [int(row["id"]) for row in self._index.search(question, k)]

    def close(self) -> None:
        self._index.close()
