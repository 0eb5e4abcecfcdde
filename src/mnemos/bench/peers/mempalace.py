# requires: mempalace==3.11.0 numpy
"""MemPalace with the vectors given: each text filed as a drawer by its way in for live conversations, then its default search (vectors
from Chroma, re-ranked with BM25), with the language of its stop words set to English.

That way writes drawer by drawer; here they are written in batches as large as those of its miner, which is many times faster.
"""

import importlib
import os
from typing import Any

import numpy as np


class Given:
    """An embedding function as MemPalace and Chroma call it."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {}

    def __call__(self, input: list[str]) -> list[Any]:
        return [np.asarray(self.table[text]) for text in input]

    def embed_query(self, input: list[str]) -> list[Any]:
        return self(input)

    @staticmethod
    def name() -> str:
        return "default"

    def is_legacy(self) -> bool:
        return True


class Batch:
    """Stands for the collection while drawers are filed."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {"ids": [], "documents": [], "metadatas": []}

    def upsert(self, **columns: list[Any]) -> None:
        for name, values in columns.items():
            self.columns[name] += values


class Peer:
    def __init__(self, folder: str, dimensions: int) -> None:
        os.environ["MEMPALACE_LANG"] = "en"
        self._given = Given()
        importlib.import_module("mempalace.embedding").get_embedding_function = lambda *_, **__: self._given  # type: ignore[attr-defined]
        self._folder = folder
        self._collection: Any = importlib.import_module("mempalace.palace").get_collection(folder)
        self._miner: Any = importlib.import_module("mempalace.convo_miner")
        self._search: Any = importlib.import_module("mempalace.searcher").search_memories

    def add(self, texts: list[str], vectors: Any) -> None:
        batch = Batch()
        for index, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
            self._given.table[text.strip()] = vector
            self._miner.file_conversation_exchange(batch, wing="bench", room="bench", text=text, source_file=str(index), agent="bench")
        for start in range(0, len(texts), self._miner.DRAWER_UPSERT_BATCH_SIZE):
            part = slice(start, start + self._miner.DRAWER_UPSERT_BATCH_SIZE)
            self._collection.upsert(**{name: values[part] for name, values in batch.columns.items()})

    def search(self, question: str, vector: Any, k: int) -> list[int]:
        self._given.table[question] = vector
        found = self._search(question, self._folder, n_results=k)
        return [int(hit["source_path"]) for hit in found["results"]]

    def close(self) -> None:
        importlib.import_module("chromadb.api.shared_system_client").SharedSystemClient.clear_system_cache()
