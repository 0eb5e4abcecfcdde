"""Mnemos' index of lists on disk (SPANN); `options` are those of `mnemos.index.spann.Options`."""

import importlib
import os
from typing import Any

import numpy as np


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        package: Any = importlib.import_module("mnemos.index.spann.index")
        chosen: Any = importlib.import_module("mnemos.index.spann.options")
        self._class, self._options = package.SpannIndex, chosen.Options(metric="l2", **options)
        self._folder, self._dimensions, self._cores = folder, dimensions, cores
        self.noted: dict[str, float] = {}

    @property
    def _place(self) -> str:
        return os.path.join(self._folder, "index")

    def build(self, vectors: Any, attributes: Any) -> None:
        self._index = self._class.create(self._place, self._dimensions, self._options)
        self._index.build(np.arange(len(vectors)), vectors, workers=self._cores)
        self._index.checkpoint()
        np.save(os.path.join(self._folder, "attributes.npy"), attributes)

    def open(self) -> None:
        self._index = self._class.open(self._place)

    def filter(self, below: int) -> Any:
        return np.load(os.path.join(self._folder, "attributes.npy")) < below

    def search(self, query: Any, k: int, setting: dict[str, Any], allowed: Any) -> list[int]:
        found = self._index.search(query, k, allowed=allowed, **setting)
        self.noted = {"lists": found.lists, "bytes": found.nbytes, "exact": found.exact}
        rows: list[int] = found.ids.tolist()
        return rows

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._index.add(np.array([row]), vector[None])

    def delete(self, row: int) -> None:
        self._index.remove(np.array([row]))

    def tend(self) -> None:
        self._index.tend(64)

    def verify(self) -> list[str]:
        problems: list[str] = self._index.verify()
        return problems

    def space(self) -> dict[str, float]:
        index = self._index
        return {"bytes_on_disk": index.bytes_on_disk, "live_bytes": index.live_bytes, "resident_bytes": index.nbytes, **index.statistics()}

    def close(self) -> None:
        self._index.close()
