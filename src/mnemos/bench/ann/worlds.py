"""What is searched: embedded passages and chat turns, pixels of images, and generated mixtures, each as files that every system maps."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnemos.base.errors import Corrupt, Invalid
from mnemos.base.protocols import Embedder
from mnemos.bench import longmemeval, multihop, nq_open
from mnemos.bench.ann.mixtures import Mixture, clusters_of
from mnemos.bench.ann.truth import Floats, Ids, exact
from mnemos.bench.datasets import file_of
from mnemos.bench.registry import Options

PICTURES = ("mnist-dev-images.idx3.gz", "fashion900-images.idx3.gz", "omniglot28-dev-images.idx3.gz")
"""Of one size, 28 by 28."""
DIMENSIONS = 384
K = 10


@dataclass(frozen=True)
class World:
    """Vectors (n, d) and queries (m, d), float32, as .npy files; the exact answers; and a number for each vector, a permutation of 0 … n-1 that has
    nothing to do with where it lies, so that `attribute < share * n` is a filter of exactly that share. The file of vectors holds further ones after
    the n, to be inserted."""

    name: str
    folder: Path
    n: int
    dimensions: int

    @property
    def vectors(self) -> Path:
        return self.folder / "vectors.npy"

    @property
    def queries(self) -> Path:
        return self.folder / "queries.npy"

    @property
    def attributes(self) -> Path:
        return self.folder / "attributes.npy"

    @property
    def raw_bytes(self) -> int:
        """Bytes of the vectors themselves, in float32."""
        return self.n * self.dimensions * 4

    def base(self) -> Floats:
        """The vectors, mapped."""
        return mapped(self.vectors)[: self.n]

    def asked(self) -> Floats:
        """The queries."""
        return np.asarray(np.load(self.queries), dtype=np.float32)

    def truth(self, share: float | None = None) -> NDArray[np.float64]:
        """Squared distances (m, K) of the exact neighbours, among the filtered `share` where it is given; kept in a file once they are known."""
        kept = self.folder / f"truth-{'all' if share is None else share}.npy"
        if not kept.is_file():
            rows = None if share is None else self.allowed(share)
            np.save(kept, exact(self.base(), self.asked(), K, rows)[1])
        return np.asarray(np.load(kept), dtype=np.float64)

    def allowed(self, share: float) -> Ids:
        """The ids that a filter of that share lets through, ascending."""
        return np.flatnonzero(np.load(self.attributes) < self.below(share)).astype(np.int64)

    def below(self, share: float) -> int:
        """The bound of the attribute for that share; at least one vector passes."""
        return max(1, round(share * self.n))


def mapped(path: Path) -> Floats:
    """A .npy file of vectors, read as it is looked at."""
    vectors: Floats = np.load(path, mmap_mode="r")
    return vectors


def world(name: str, folder: Path, vectors: Floats, queries: Floats, rng: np.random.Generator, further: int = 0) -> World:
    """Writes a world of vectors that are at hand into a new folder; the last `further` of them are kept to be inserted."""
    if vectors.ndim != 2 or queries.shape[1:] != vectors.shape[1:] or not len(queries):
        raise Invalid(f"world {name}: vectors {vectors.shape} and queries {queries.shape} do not fit together")
    folder.mkdir(parents=True)
    np.save(folder / "vectors.npy", np.ascontiguousarray(vectors, dtype=np.float32))
    return _finished(name, folder, len(vectors) - further, queries, rng)


def _finished(name: str, folder: Path, n: int, queries: Floats, rng: np.random.Generator) -> World:
    np.save(folder / "queries.npy", np.ascontiguousarray(queries, dtype=np.float32))
    np.save(folder / "attributes.npy", rng.permutation(n).astype(np.int64))
    return World(name, folder, n, queries.shape[1])


def generated(folder: Path, n: int, queries: int, rng: np.random.Generator, further: int = 0, dimensions: int = DIMENSIONS) -> World:
    """A mixture of `n` vectors and `further` ones, and queries from the same mixture that are none of them."""
    folder.mkdir(parents=True)
    mixture = Mixture(dimensions, clusters_of(n), rng)
    mixture.write(folder / "vectors.npy", n + further, rng)
    return _finished(f"mixture {n:,}", folder, n, mixture.sample(queries, rng), rng)


def replaced(
    folder: Path, n: int, steps: int, queries: int, rng: np.random.Generator, dimensions: int = DIMENSIONS, drifting: bool = True
) -> World:
    """A mixture of `n` vectors, and `n` further ones that replace them in their order, while the mixture drifts or stays what it is. Of the queries,
    the first `queries` are meant for the start, the next for the time after the first of `steps` equal steps, and so on; each is drawn as the vectors
    that stand then."""
    folder.mkdir(parents=True)
    mixture = Mixture(dimensions, clusters_of(n), rng)
    mixture.write(folder / "vectors.npy", n if drifting else 2 * n, rng, drifting=n if drifting else 0)
    asked = []
    for step in range(steps + 1):
        for old in np.linspace(step / steps - 1, step / steps, 4):  # those of before the drift stand at 0
            mixture.drift(max(0.0, float(old)) if drifting else 0.0)
            asked.append(mixture.sample(queries // 4, rng))
    return _finished(f"replaced {n:,}{'' if drifting else ', no drift'}", folder, n, np.concatenate(asked), rng)


def pictures(data: Path, folder: Path, queries: int, rng: np.random.Generator, further: int = 0) -> World:
    """Pixels of digits, clothes and letters, 0 to 1, in L2; `queries` of them, drawn at random, are asked for and not stored."""
    pixels = np.concatenate([read_idx(file_of(data / "images", name)) for name in PICTURES])
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)
    order = rng.permutation(len(flat))
    return world("images", folder, flat[order[queries:]], flat[order[:queries]], rng, further)


def texts(data: Path, folder: Path, queries: int, embedder: Embedder, options: Options, rng: np.random.Generator, further: int = 0) -> World:
    """Passages of nq-open and the multi-hop sets and turns of LongMemEval's histories, each once, and questions of all three."""
    corpora = [nq_open.load(data), *multihop.load(data), *longmemeval.load(data, options)]
    stored = list(dict.fromkeys(str(record["text"]) for corpus in corpora for record in corpus.records))
    asked = list(dict.fromkeys(question.text for corpus in corpora for question in corpus.questions))
    chosen = [asked[i] for i in rng.permutation(len(asked))[:queries]]
    stored = [stored[i] for i in rng.permutation(len(stored))]
    return world("texts", folder, embedder.embed(stored), embedder.embed(chosen), rng, further)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in a gzip-compressed IDX file. Raises `Corrupt`."""
    try:
        with gzip.open(path) as file:
            data = file.read()
    except (gzip.BadGzipFile, EOFError) as error:
        raise Corrupt(f"images: {path} is no whole gzip file ({error}); fetch it again") from error
    axes = data[3] if len(data) > 3 else 0
    shape = np.frombuffer(data, ">u4", axes, 4) if data[:3] == b"\0\0\x08" and len(data) >= 4 + 4 * axes else np.empty(0)
    if not axes or len(data) != 4 + 4 * axes + int(np.prod(shape, dtype=np.int64)):
        raise Corrupt(f"images: {path} is no IDX file of bytes as long as its header says; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape([int(size) for size in shape])
