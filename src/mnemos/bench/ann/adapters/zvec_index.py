# requires: zvec==0.8.0 numpy
"""zvec: a collection whose vectors have an HNSW graph ("hnsw") or a DiskANN index ("diskann")."""

import importlib
import os
from typing import Any


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._zvec: Any = importlib.import_module("zvec")
        self._zvec.init(query_threads=cores, optimize_threads=cores, log_level=self._zvec.LogLevel.ERROR)
        self._path, self._dimensions, self._options, self._cores = os.path.join(folder, "collection"), dimensions, options, cores

    def _parameters(self) -> Any:
        zvec, options = self._zvec, self._options
        quantize = getattr(zvec.QuantizeType, options.get("quantize", "UNDEFINED"))
        if options["kind"] == "hnsw":
            return zvec.HnswIndexParam(metric_type=zvec.MetricType.L2, m=options["m"], ef_construction=options["construction"],
                                       quantize_type=quantize)  # fmt: skip
        return zvec.DiskAnnIndexParam(metric_type=zvec.MetricType.L2, max_degree=options["degree"], list_size=options["construction"],
                                      pq_chunk_num=options["chunks"], quantize_type=quantize)  # fmt: skip

    def build(self, vectors: Any, attributes: Any) -> None:
        zvec = self._zvec
        number = zvec.FieldSchema("attribute", zvec.DataType.INT64, index_param=zvec.InvertIndexParam(enable_range_optimization=True))
        vector = zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, self._dimensions, index_param=self._parameters())
        self._collection = zvec.create_and_open(self._path, zvec.CollectionSchema("bench", fields=[number], vectors=[vector]))
        for start in range(0, len(vectors), 1000):
            block = vectors[start : start + 1000]
            self._checked(self._collection.insert([self._doc(start + i, row, attributes[start + i]) for i, row in enumerate(block)]))
        self._collection.flush()
        self._collection.optimize(zvec.OptimizeOption(concurrency=self._cores))
        self._collection.flush()

    def _doc(self, row: int, vector: Any, attribute: int) -> Any:
        return self._zvec.Doc(id=str(row), vectors={"vector": vector}, fields={"attribute": int(attribute)})

    @staticmethod
    def _checked(status: Any) -> None:
        for each in status if isinstance(status, list) else [status]:
            if not each.ok():
                raise SystemExit(f"zvec: {each.message()}")

    def open(self) -> None:
        self._collection = self._zvec.open(self._path)

    def filter(self, below: int) -> str:
        return f"attribute < {below}"

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: str | None) -> list[int]:
        zvec = self._zvec
        if self._options["kind"] == "hnsw":
            parameters = zvec.HnswQueryParam(ef=setting["ef"], is_using_refiner=bool(self._options.get("refine")))
        else:
            parameters = zvec.DiskAnnQueryParam(list_size=setting["ef"])
        found = self._collection.query(zvec.Query(field_name="vector", vector=query, param=parameters), topk=k, filter=allowed, output_fields=[])
        return [int(doc.id) for doc in found]

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        self._checked(self._collection.insert(self._doc(row, vector, attribute)))

    def delete(self, row: int) -> None:
        self._checked(self._collection.delete(str(row)))

    def close(self) -> None:
        self._collection.close()
