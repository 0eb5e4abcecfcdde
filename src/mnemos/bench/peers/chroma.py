# requires: chromadb==1.5.9 numpy
"""Chroma with the vectors given: a persistent collection, cosine, its plain query."""

import importlib
import json
import sys
from typing import Any

import numpy as np


def main() -> None:
    request = json.load(sys.stdin)
    chroma: Any = importlib.import_module("chromadb")
    settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
    client = chroma.PersistentClient(path=request["folder"], settings=settings)
    collection = client.create_collection("bench", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    texts, vectors = request["texts"], np.load(request["vectors"])
    step = client.get_max_batch_size()
    for start in range(0, len(texts), step):
        part = slice(start, start + step)
        ids = [str(i) for i in range(start, min(start + step, len(texts)))]
        collection.add(ids=ids, documents=texts[part], embeddings=vectors[part])
    count = min(request["k"], len(texts))
    found = collection.query(query_embeddings=np.load(request["query_vectors"]), n_results=count)["ids"]
    json.dump({"version": chroma.__version__, "rankings": [[int(i) for i in ids] for ids in found]}, sys.stdout)


main()
