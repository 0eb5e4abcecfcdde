# requires: usearch==2.26.6 numpy
"""usearch: an HNSW graph with its vectors in `dtype`; saved to one file, read back, or with `view` mapped from it."""

import importlib
import os
from typing import Any

import numpy as np


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._module: Any = importlib.import_module("usearch.index")
        self._path, self._dimensions, self._options, self._cores = os.path.join(folder, "index"), dimensions, options, cores

    def _new(self) -> Any:
        return self._module.Index(ndim=self._dimensions, metric="l2sq", dtype=self._options["dtype"], connectivity=self._options["connectivity"],
                                  expansion_add=self._options["construction"])  # fmt: skip

    def build(self, vectors: Any, attributes: Any) -> None:
        index = self._new()
        for start in range(0, len(vectors), 50_000):
            block = np.ascontiguousarray(vectors[start : start + 50_000])
            index.add(np.arange(start, start + len(block)), block, threads=self._cores)
        index.save(self._path)

    def open(self) -> None:
        self._index = self._new()
        if self._options.get("view"):
            self._index.view(self._path)
        else:
            self._index.load(self._path)

    def filter(self, below: int) -> Any:
        raise NotImplementedError("usearch's Python interface has no filter")

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: Any) -> list[int]:
        self._index.expansion_search = setting["ef"]
        found: list[int] = self._index.search(query, k, threads=1).keys.tolist()
        return found

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._index.add(row, np.asarray(vector), threads=1)

    def delete(self, row: int) -> None:
        self._index.remove(row)

    def close(self) -> None:
        self._index = None
