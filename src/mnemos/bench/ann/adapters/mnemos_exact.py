"""Mnemos' exact index: one float32 matrix, one product a query. It ranks by cosine, so vectors of other lengths are searched with their length in a
further dimension each way: for x of squared length s, (2x, -s) · (q, 1) orders as the squared distance does."""

import importlib
import os
from typing import Any

import numpy as np


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._index: Any = importlib.import_module("mnemos.index.exact").ExactIndex(dimensions + 1)
        self._folder = folder

    def build(self, vectors: Any, attributes: Any) -> None:
        np.save(os.path.join(self._folder, "vectors.npy"), vectors)
        np.save(os.path.join(self._folder, "attributes.npy"), attributes)

    def open(self) -> None:
        vectors = np.load(os.path.join(self._folder, "vectors.npy"), mmap_mode="r")
        for start in range(0, len(vectors), 50_000):
            block = vectors[start : start + 50_000]
            self._index.put(np.arange(start, start + len(block)), self._longer(block))
        self._n = len(vectors)
        self._attributes = np.load(os.path.join(self._folder, "attributes.npy"))

    @staticmethod
    def _longer(vectors: Any) -> Any:
        return np.column_stack([2 * vectors, -np.einsum("ij,ij->i", vectors, vectors)]).astype(np.float32)

    def filter(self, below: int) -> Any:
        return np.flatnonzero(self._attributes < below)

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: Any) -> list[int]:
        scores = self._index.scores(np.append(query, np.float32(1)), self._n)
        if allowed is not None:
            scores = scores[allowed]
        best = np.argpartition(scores, len(scores) - k)[-k:] if len(scores) > k else np.arange(len(scores))
        best = best[np.argsort(-scores[best], kind="stable")]
        rows: list[int] = (best if allowed is None else allowed[best]).tolist()
        return rows

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._index.put(np.array([row]), self._longer(vector[None]))
        self._n = max(self._n, row + 1)

    def delete(self, row: int) -> None:
        self._index.put(np.array([row]), np.full((1, self._index.dimensions), -np.inf, dtype=np.float32))

    def close(self) -> None:
        self._index = None
