# requires: chromadb==1.5.9 numpy
"""Chroma with the vectors given: a persistent client, a collection with cosine, its plain query."""

import importlib
from typing import Any


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        self._client: Any = importlib.import_module("chromadb").PersistentClient(path=folder, settings=settings)
        self._collection = self._client.create_collection("bench", metadata={"hnsw:space": "cosine"}, embedding_function=None)

    def add(self, texts: list[str], vectors: Any) -> None:
        step = self._client.get_max_batch_size()
        for start in range(0, len(texts), step):
            part = slice(start, start + step)
            ids = [str(i) for i in range(start, min(start + step, len(texts)))]
            self._collection.add(ids=ids, documents=texts[part], embeddings=vectors[part])

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        found = self._collection.query(query_embeddings=vector[None], n_results=k)
        return [int(id) for id in found["ids"][0]]

    def close(self) -> None:
        self._client.close()
