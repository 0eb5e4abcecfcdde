# requires: diskannpy==0.7.0 numpy<2
"""diskannpy: DiskANN's static index on disk, with product-quantized vectors in memory; its disk index knows L2 and inner products only. It is opened
for at least two threads, since 0.7.0 never returns from opening for one; a query runs in one, and the process stays on its cores."""

import importlib
import os
from typing import Any

import numpy as np


class Index:
    why_no_change = "diskannpy's index on disk is static"

    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._module: Any = importlib.import_module("diskannpy")
        self._folder, self._dimensions, self._options, self._cores = folder, dimensions, options, cores

    def build(self, vectors: Any, attributes: Any) -> None:
        gigabytes = vectors.shape[0] * self._dimensions * 4 / 2**30
        self._module.build_disk_index(
            data=np.ascontiguousarray(vectors), distance_metric="l2", index_directory=self._folder, complexity=self._options["construction"],
            graph_degree=self._options["degree"], search_memory_maximum=self._options["memory"] * gigabytes,
            build_memory_maximum=max(1.0, 3 * gigabytes), num_threads=self._cores,
        )  # fmt: skip
        for name in os.listdir(self._folder):  # the builder leaves a copy of its input behind, which searching does not need
            if name.endswith("_vectors.bin"):
                os.remove(os.path.join(self._folder, name))

    def open(self) -> None:
        threads = max(2, self._cores)
        self._index = self._module.StaticDiskIndex(index_directory=self._folder, num_threads=threads, num_nodes_to_cache=self._options["cached"])

    def filter(self, below: int) -> Any:
        raise NotImplementedError("diskannpy's index on disk has no filter")

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: Any) -> list[int]:
        found = self._index.search(query, k_neighbors=k, complexity=setting["complexity"], beam_width=setting["beam"])
        rows: list[int] = found.identifiers.astype(np.int64).tolist()
        return rows

    def close(self) -> None:
        self._index = None
