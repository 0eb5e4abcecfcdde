# requires: MemoryOS==2.0.33 qdrant-client==1.20.0 numpy
"""MemOS' general text memory with the vectors given, in a local Qdrant folder: memories added as they are, then searched.

Its extractor, a language model, is configured because its configuration must have one, and never called.
"""

import importlib
import os
from typing import Any

BATCH = 500


class Given:
    """What MemOS calls of an embedder."""

    def __init__(self) -> None:
        self.table: dict[str, list[float]] = {}

    def embed(self, texts: list[str]) -> list[list[float]]:
        return [self.table[text] for text in texts]


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        self._item: Any = importlib.import_module("memos.memories.textual.item").TextualMemoryItem
        store = {"collection_name": "bench", "path": os.path.join(folder, "qdrant"), "vector_dimension": dimensions, "distance_metric": "cosine"}
        unused = {"model_name_or_path": "unused", "api_key": "unused"}
        config = importlib.import_module("memos.configs.memory").GeneralTextMemoryConfig(
            extractor_llm={"backend": "openai", "config": unused},
            vector_db={"backend": "qdrant", "config": store},
            embedder={"backend": "universal_api", "config": {**unused, "provider": "openai"}},
        )
        self._memory: Any = importlib.import_module("memos.memories.textual.general").GeneralTextMemory(config)
        self._given = self._memory.embedder = Given()  # it has no backend that takes vectors
        self._places: dict[str, int] = {}

    def add(self, texts: list[str], vectors: Any) -> None:
        self._given.table.update(zip(texts, vectors.tolist(), strict=True))
        for start in range(0, len(texts), BATCH):
            items = [self._item(memory=text) for text in texts[start : start + BATCH]]
            self._places.update({item.id: start + i for i, item in enumerate(items)})
            self._memory.add(items)

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        self._given.table[question] = vector.tolist()
        return [self._places[item.id] for item in self._memory.search(question, k)]

    def close(self) -> None:
        self._memory.vector_db.client.close()
