# requires: lancedb==0.40.0 pyarrow numpy
"""LanceDB with the vectors given: its hybrid query (full text with stemming, and vectors, fused by its default reranker)."""

import importlib
import json
import sys
from typing import Any

import numpy as np


def main() -> None:
    request = json.load(sys.stdin)
    lance: Any = importlib.import_module("lancedb")
    vectors = np.load(request["vectors"])
    rows = [{"id": i, "text": text, "vector": vectors[i]} for i, text in enumerate(request["texts"])]
    table = lance.connect(request["folder"]).create_table("bench", data=rows)
    table.create_fts_index("text", stem=True, remove_stop_words=False)
    rankings = []
    for question, query in zip(request["questions"], np.load(request["query_vectors"]), strict=True):
        hybrid = table.search(query_type="hybrid").vector(query).text(question).distance_type("cosine")
        rankings.append([row["id"] for row in hybrid.limit(request["k"]).to_list()])
    json.dump({"version": lance.__version__, "rankings": rankings}, sys.stdout)


main()
