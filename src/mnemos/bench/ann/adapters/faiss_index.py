# requires: faiss-cpu==1.15.1 numpy
"""faiss: `kind` says what its index factory makes ({nlist} becomes four times the root of n); saved to one file, read back, `mapped` or not."""

import importlib
import math
import os
from typing import Any

import numpy as np

TRAIN = 64
"""Vectors for each cell that k-means is trained on."""


class Index:
    why_no_change = "faiss's graph indexes cannot delete, and its files are written whole"

    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._faiss: Any = importlib.import_module("faiss")
        self._faiss.omp_set_num_threads(cores)
        self._path, self._dimensions, self._options = os.path.join(folder, "index"), dimensions, options

    def build(self, vectors: Any, attributes: Any) -> None:
        cells = max(16, 4 * round(math.sqrt(len(vectors))))
        index = self._faiss.index_factory(self._dimensions, self._options["kind"].replace("{nlist}", str(cells)), self._faiss.METRIC_L2)
        if "construction" in self._options:
            self._faiss.ParameterSpace().set_index_parameter(index, "efConstruction", self._options["construction"])
        if not index.is_trained:
            index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // (TRAIN * cells))]))
        for start in range(0, len(vectors), 50_000):
            index.add(np.ascontiguousarray(vectors[start : start + 50_000]))
        self._faiss.write_index(index, self._path)
        np.save(self._path + ".attributes.npy", attributes)

    def open(self) -> None:
        self._index = self._faiss.read_index(self._path, self._faiss.IO_FLAG_MMAP_IFC if self._options.get("mapped") else 0)
        self._faiss.omp_set_num_threads(1)
        self._space = self._faiss.ParameterSpace()

    def filter(self, below: int) -> Any:
        if self._options.get("filtered") is False:
            raise NotImplementedError(f"{self._options['kind']} takes no selector of ids")
        return np.packbits(np.load(self._path + ".attributes.npy") < below, bitorder="little")

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: Any) -> list[int]:
        parameters = self._parameters(setting, allowed)
        found = self._index.search(query[None], k, params=parameters)[1][0]
        return [row for row in found.tolist() if row >= 0]

    def _parameters(self, setting: dict[str, int], allowed: Any) -> Any:
        more: dict[str, Any] = {}
        if allowed is not None:
            self._bits = allowed
            more["sel"] = self._faiss.IDSelectorBitmap(allowed)
        if "nprobe" in setting:
            return self._faiss.SearchParametersIVF(nprobe=setting["nprobe"], **more)
        if "ef" in setting:
            return self._faiss.SearchParametersHNSW(efSearch=setting["ef"], **more)
        return self._faiss.SearchParameters(**more) if more else None

    def close(self) -> None:
        self._index = None
