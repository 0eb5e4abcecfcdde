# requires: mem0ai==2.2.1 qdrant-client==1.20.0 numpy
"""Mem0 as pip installs it, with the vectors given and without a language model: texts stored as they are (`infer=False`), then searched.

Its embedder is a table of the vectors given, its vector store the default one, Qdrant, in a local folder.
"""

import importlib
import os
from typing import Any


class Given:
    """What Mem0 calls of an embedder, with texts that it may have stripped."""

    def __init__(self) -> None:
        self.table: dict[str, list[float]] = {}

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self.table[text.strip()]

    def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list[list[float]]:
        return [self.embed(text) for text in texts]


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        os.environ["MEM0_DIR"] = os.path.join(folder, "mem0")
        store = {"path": os.path.join(folder, "qdrant"), "embedding_model_dims": dimensions, "collection_name": "bench", "on_disk": True}
        self._memory: Any = importlib.import_module("mem0").Memory.from_config(
            {
                "embedder": {"provider": "openai", "config": {"embedding_dims": dimensions}},
                "vector_store": {"provider": "qdrant", "config": store},
                "history_db_path": os.path.join(folder, "history.db"),
            }
        )
        self._given = self._memory.embedding_model = Given()  # it has no provider that takes vectors

    def add(self, texts: list[str], vectors: Any) -> None:
        for index, (text, vector) in enumerate(zip(texts, vectors.tolist(), strict=True)):
            self._given.table[text.strip()] = vector
            self._memory.add(text, user_id="bench", infer=False, metadata={"index": index})

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        self._given.table[question.strip()] = vector.tolist()
        found = self._memory.search(question, filters={"user_id": "bench"}, top_k=k, threshold=0.0)
        return [hit["metadata"]["index"] for hit in found["results"]]

    def close(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.close()
