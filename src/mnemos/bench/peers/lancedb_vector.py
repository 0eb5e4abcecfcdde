# requires: lancedb==0.40.0 pyarrow numpy
"""LanceDB with the vectors given: its plain vector query, cosine, exact (no index)."""

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
    rankings = [
        [row["id"] for row in table.search(query).distance_type("cosine").limit(request["k"]).to_list()]
        for query in np.load(request["query_vectors"])
    ]
    json.dump({"version": lance.__version__, "rankings": rankings}, sys.stdout)


main()
