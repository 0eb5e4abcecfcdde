"""A space whose vectors are too many for the memory that they may have: searched on disk, followed, and forgotten there; and the index by itself.

python examples/vectors.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import mnemos
from mnemos.index.spann.index import SpannIndex

TOWNS = ["Aarhus", "Bergen", "Cork", "Dover", "Esbjerg", "Faro", "Gdynia", "Hull"]
THINGS = ["the ferry", "the fish market", "a lighthouse", "the old crane", "the customs house", "a shipyard", "the pilot boat", "a net loft"]
QUESTION = "What is said of the old crane in Gdynia?"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        spaces(Path(folder))
        alone(Path(folder))


def spaces(folder: Path) -> None:
    """A space that goes to disk by itself: here it is told to at once."""
    with mnemos.open(folder / "memory.db", embedder="hashed", vector_memory=100_000) as mem:
        space = mem.space("harbours")
        space.add_many({"text": f"Letter {n} speaks of {thing} in {town}."} for n in range(6) for town in TOWNS for thing in THINGS)
        print(f"{mem.vector_files.work()} vectors went to disk")
        for hit in space.search(QUESTION, k=3):
            print(f"  {hit.cube.text}")
        found = space.search(QUESTION, k=1)[0].cube
        space.forget([found.id])
        (one,) = mem.vector_files.describe()
        print(f"forgotten: {one['vectors']} vectors in {one['lists']} lists, {one['bytes_on_disk']:,} bytes on disk")
        print(f"whole: {mem.verify().ok}")


def alone(folder: Path) -> None:
    """Vectors of your own."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    with SpannIndex.create(folder / "index", 64) as index:
        index.build(np.arange(3000), vectors)
        index.add(np.array([9000]), vectors[:1] + 0.05)
        print(f"nearest: {index.search(vectors[0], k=2).ids.tolist()}")
        print(f"nearest of the odd ones: {index.search(vectors[0], k=2, allowed=lambda ids: ids % 2 == 1).ids.tolist()}")
        index.erase(np.array([0]))
        print(f"after erasing it: {index.search(vectors[0], k=1).ids.tolist()}")


if __name__ == "__main__":
    main()
