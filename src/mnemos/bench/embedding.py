"""The embedder of a run: counts its seconds, and embeds no text twice, so that product and baselines rank by the same vectors."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
import numpy as np

from mnemos.base.protocols import Embedder, Progress, Vectors

VARIABLE = "MNEMOS_BENCH_VECTORS"
"""Names a folder in which vectors outlive the run, for repeated runs over the same texts; ingest rates then say nothing."""


class CountingEmbedder:
    """An embedder around another. `seconds` and `texts` count what the inner one really did; `recalled` what a folder of vectors gave."""

    def __init__(self, inner: Embedder, folder: Path | None = None) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._vectors: dict[str, Vectors] = {}
        self._file = _VectorFile(folder, inner.fingerprint) if folder else None
        self.seconds = 0.0
        self.texts = 0
        self.recalled = 0

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """As the inner embedder; shape (len(texts), dimensions)."""
        with self._lock:
            new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
            if new and self._file:
                known = self._file.read(new)
                self.recalled += len(known)
                self._vectors.update(known)
                new = [text for text in new if text not in known]
            if new:
                self._embed_new(new, progress)
            if not texts:
                return np.zeros((0, self.dimensions), dtype=np.float32)
            return np.stack([self._vectors[text] for text in texts])

    def _embed_new(self, texts: list[str], progress: Progress | None) -> None:
        start = time.perf_counter()
        vectors = self._inner.embed(texts, progress=progress)
        self.seconds += time.perf_counter() - start
        self.texts += len(texts)
        found = dict(zip(texts, np.asarray(vectors, dtype=np.float32), strict=True))
        self._vectors.update(found)
        if self._file:
            self._file.write(found)

    def rate(self) -> float | None:
        """Texts a second of the inner embedder, over all that it did; None where it did nothing."""
        return self.texts / self.seconds if self.seconds else None


class _VectorFile:
    """Vectors of one embedder by the digest of their text."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        self._db = apsw.Connection(str(folder / f"vectors-{name}.db"))
        self._db.set_busy_timeout(60_000)
        self._db.pragma("journal_mode", "WAL")
        self._db.pragma("synchronous", 0)  # what is lost is embedded again
        self._db.execute("CREATE TABLE IF NOT EXISTS v (digest BLOB PRIMARY KEY, vector BLOB)")

    def read(self, texts: Sequence[str]) -> dict[str, Vectors]:
        found = {}
        for text in texts:
            row = self._db.execute("SELECT vector FROM v WHERE digest = ?", (_digest(text),)).fetchone()
            if row:
                found[text] = np.frombuffer(row[0], dtype=np.float32)
        return found

    def write(self, vectors: dict[str, Vectors]) -> None:
        with self._db:
            rows = ((_digest(text), vector.tobytes()) for text, vector in vectors.items())
            self._db.executemany("INSERT OR REPLACE INTO v VALUES (?, ?)", rows)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def vector_folder() -> Path | None:
    """The folder that the environment names for vectors that outlive the run, or None."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


class SeededEmbedder:
    """Random unit vectors, seeded by each text: the geometry and size of a real model's vectors at no cost, for measuring a store."""

    fingerprint = "bench-seeded-unit-vectors-384-v1"
    dimensions = 384

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            vectors[row] = np.random.Generator(np.random.SFC64(seed)).standard_normal(self.dimensions, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if progress:
            progress(len(texts), len(texts))
        return vectors
