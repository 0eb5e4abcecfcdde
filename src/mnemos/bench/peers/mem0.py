# requires: mem0ai==2.2.1 qdrant-client numpy
"""Mem0 with the vectors given and without a language model: texts are stored as they are (`infer=False`) and searched.

Its embedder is a table of the vectors given, its vector store a local Qdrant folder.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np


class Given:
    """What its embedders offer."""

    def __init__(self, table: dict[str, list[float]]) -> None:
        self._table = table

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self._table[text]

    def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list[list[float]]:
        return [self._table[text] for text in texts]


def main() -> None:
    request = json.load(sys.stdin)
    os.environ.update(MEM0_TELEMETRY="False", MEM0_DIR=str(Path(request["folder"], "mem0")), OPENAI_API_KEY="unused")
    texts, questions = request["texts"], request["questions"]
    rows = [*np.load(request["vectors"]).tolist(), *np.load(request["query_vectors"]).tolist()]
    table = dict(zip([*texts, *questions], rows, strict=True))
    store = {"path": str(Path(request["folder"], "qdrant")), "embedding_model_dims": len(rows[0]), "collection_name": "bench", "on_disk": True}
    memory = importlib.import_module("mem0").Memory.from_config(
        {
            "embedder": {"provider": "openai", "config": {"embedding_dims": len(rows[0])}},
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": str(Path(request["folder"], "history.db")),
        }
    )
    memory.embedding_model = Given(table)  # it has no provider that takes vectors
    for index, text in enumerate(texts):
        memory.add(text, user_id="bench", infer=False, metadata={"index": index})
    rankings = []
    for question in questions:
        found = memory.search(question, filters={"user_id": "bench"}, top_k=request["k"], threshold=0.0)["results"]
        rankings.append([hit["metadata"]["index"] for hit in found])
    version = importlib.import_module("importlib.metadata").version("mem0ai")
    json.dump({"version": version, "rankings": rankings}, sys.stdout)


main()
