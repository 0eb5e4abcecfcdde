# requires: qdrant-edge-py==0.9.0 numpy
"""Qdrant Edge: a shard in this process, with an HNSW graph. `memory` says where vectors and graph stay ("Cached" or, on disk, "Cold"); `quantize`
"int8" or "binary" keeps such codes in memory, and ranks `oversample` times k by the vectors."""

import importlib
import os
from typing import Any


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._edge: Any = importlib.import_module("qdrant_edge")
        self._path, self._dimensions, self._options, self._cores = os.path.join(folder, "shard"), dimensions, options, cores

    def _config(self) -> Any:
        edge, options = self._edge, self._options
        place = getattr(edge.Memory, options.get("memory", "Cached"))
        codes = {"int8": lambda: edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, memory=edge.Memory.Pinned),
                 "binary": lambda: edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)}  # fmt: skip
        graph = edge.HnswIndexConfig(m=options["m"], ef_construct=options["construction"], full_scan_threshold=10_000,
                                     max_indexing_threads=self._cores, memory=place)  # fmt: skip
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=self._dimensions, distance=edge.Distance.Euclid, memory=place),
            hnsw_config=graph, quantization_config=codes[options["quantize"]]() if "quantize" in options else None,
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1000), max_search_threads=self._cores,
        )  # fmt: skip

    def build(self, vectors: Any, attributes: Any) -> None:
        os.makedirs(self._path)
        self._shard = self._edge.EdgeShard.create(self._path, self._config())
        self._shard.update(self._edge.UpdateOperation.create_field_index("attribute", self._edge.PayloadSchemaType.Integer))
        for start in range(0, len(vectors), 1000):
            block = vectors[start : start + 1000]
            points = [self._point(start + i, row, attributes[start + i]) for i, row in enumerate(block)]
            self._shard.update(self._edge.UpdateOperation.upsert_points(points))
        self._shard.flush()
        while self._shard.optimize():
            pass
        self._shard.flush()

    def _point(self, row: int, vector: Any, attribute: int) -> Any:
        return self._edge.Point(id=row, vector=vector.tolist(), payload={"attribute": int(attribute)})

    def open(self) -> None:
        self._shard = self._edge.EdgeShard.load(self._path, self._config())

    def filter(self, below: int) -> Any:
        edge = self._edge
        return edge.Filter(must=[edge.FieldCondition(key="attribute", range=edge.RangeFloat(lt=float(below)))])

    def search(self, query: Any, k: int, setting: dict[str, Any], allowed: Any) -> list[int]:
        edge = self._edge
        codes = edge.QuantizationSearchParams(rescore=True, oversampling=float(setting["oversample"])) if "oversample" in setting else None
        parameters = edge.SearchParams(hnsw_ef=setting["ef"], quantization=codes)
        request = edge.SearchRequest(query=edge.Query.Nearest(query.tolist()), limit=k, filter=allowed, params=parameters)
        return [point.id for point in self._shard.search(request)]

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._shard.update(self._edge.UpdateOperation.upsert_points([self._point(row, vector, attribute)]))

    def delete(self, row: int) -> None:
        self._shard.update(self._edge.UpdateOperation.delete_points([row]))

    def close(self) -> None:
        self._shard.close()
