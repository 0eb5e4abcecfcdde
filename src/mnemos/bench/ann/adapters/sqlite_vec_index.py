# requires: sqlite-vec==0.1.9 apsw numpy
"""sqlite-vec: a vec0 table in an SQLite file. `kind` "exact" scans the vectors; "binary" scans one bit a dimension and ranks the best `oversample`
times k by the vectors. Loaded through apsw, since many Pythons' own sqlite3 loads no extension."""

import importlib
import os
from typing import Any

import numpy as np


class Index:
    def __init__(self, folder: str, dimensions: int, options: dict[str, Any], cores: int) -> None:
        self._apsw: Any = importlib.import_module("apsw")
        self._module: Any = importlib.import_module("sqlite_vec")
        self._path, self._dimensions = os.path.join(folder, "vectors.db"), dimensions
        self._binary = options["kind"] == "binary"

    def _connect(self) -> None:
        self._db = self._apsw.Connection(self._path)
        self._db.enable_load_extension(True)
        self._db.load_extension(self._module.loadable_path())
        self._db.pragma("journal_mode", "WAL")
        self._db.pragma("synchronous", 1)

    def build(self, vectors: Any, attributes: Any) -> None:
        self._connect()
        coarse = f"coarse bit[{self._dimensions}]," if self._binary else ""
        self._db.execute(f"CREATE VIRTUAL TABLE v USING vec0(id INTEGER PRIMARY KEY, {coarse} vector float[{self._dimensions}], attribute INTEGER)")
        with self._db:
            for row in range(len(vectors)):
                self.insert(row, vectors[row], int(attributes[row]))
        self._db.pragma("wal_checkpoint(TRUNCATE)")

    def open(self) -> None:
        self._connect()

    def filter(self, below: int) -> int:
        return below

    def search(self, query: Any, k: int, setting: dict[str, int], allowed: int | None) -> list[int]:
        blob = np.ascontiguousarray(query, dtype=np.float32).tobytes()
        where = "" if allowed is None else f" AND attribute < {allowed}"
        if self._binary:
            inner = f"SELECT id, vector FROM v WHERE coarse MATCH vec_quantize_binary(?) AND k = {min(4096, k * setting['oversample'])}{where}"
            rows = self._db.execute(f"SELECT id FROM ({inner}) ORDER BY vec_distance_l2(vector, ?) LIMIT {k}", (blob, blob))
        else:
            rows = self._db.execute(f"SELECT id FROM v WHERE vector MATCH ? AND k = {k}{where} ORDER BY distance", (blob,))
        return [row[0] for row in rows]

    def insert(self, row: int, vector: Any, attribute: int) -> None:
        blob = np.ascontiguousarray(vector, dtype=np.float32).tobytes()
        if self._binary:
            self._db.execute("INSERT INTO v (id, coarse, vector, attribute) VALUES (?, vec_quantize_binary(?), ?, ?)", (row, blob, blob, attribute))
        else:
            self._db.execute("INSERT INTO v (id, vector, attribute) VALUES (?, ?, ?)", (row, blob, attribute))

    def delete(self, row: int) -> None:
        self._db.execute("DELETE FROM v WHERE id = ?", (row,))

    def close(self) -> None:
        self._db.close()
