# requires: lancedb==0.40.0 pyarrow numpy
"""LanceDB: a table with an index of type `kind`; `refine` reads so many times k full vectors to rank the first by them."""

import importlib
from typing import Any

import numpy as np


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._arrow: Any = importlib.import_module("pyarrow")
        self._db: Any = importlib.import_module("lancedb").connect(folder)
        self._table: Any = None
        self._dimensions, self._options = dimensions, options

    def _rows(self, ids: Any, vectors: Any, attributes: Any) -> Any:
        flat = self._arrow.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        column = self._arrow.FixedSizeListArray.from_arrays(flat, self._dimensions)
        return self._arrow.table({"id": np.asarray(ids, dtype=np.int64), "attribute": np.asarray(attributes, dtype=np.int64), "vector": column})

    def build(self, vectors: Any, attributes: Any) -> None:
        for start in range(0, len(vectors), 50_000):
            end = min(start + 50_000, len(vectors))
            rows = self._rows(np.arange(start, end), vectors[start:end], attributes[start:end])
            if start:
                self._table.add(rows)
            else:
                self._table = self._db.create_table("vectors", data=rows)
        parameters = {name: value for name, value in self._options.items() if name != "kind"}
        self._table.create_index(metric="l2", index_type=self._options["kind"], **parameters)
        self._table.create_scalar_index("id")
        self._table.create_scalar_index("attribute")

    def open(self) -> None:
        self._table = self._db.open_table("vectors")

    def filter(self, below: int) -> str:
        return f"attribute < {below}"

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: str | None) -> list[int]:
        search = self._table.search(query).distance_type("l2").select(["id"]).limit(k).nprobes(setting["nprobe"])
        if "ef" in setting:
            search = search.ef(setting["ef"])
        if setting.get("refine"):
            search = search.refine_factor(setting["refine"])
        if allowed is not None:
            search = search.where(allowed, prefilter=True)
        found: list[int] = search.to_arrow()["id"].to_pylist()
        return found

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._table.add(self._rows([row], vector[None], [attribute]))

    def delete(self, row: int) -> None:
        self._table.delete(f"id = {row}")

    def close(self) -> None:
        self._table = None
