"""Bulk writes: the next chunk is embedded while one is written, and nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Progress, Vectors
from mnemos.kernel.writing.writes import CHUNK
from mnemos.models.hashed import HashedEmbedder

RECORDS = [{"text": f"number {n}"} for n in range(2 * CHUNK + 100)]
LONG = [{"text": f"number {n}. " + ("many words make a document. " * 80 if n % 400 == 7 else "")} for n in range(2 * CHUNK)]


class Failing:
    """Embeds by spelling, and fails at the call that is to fail."""

    fingerprint, dimensions = "failing:1", 256

    def __init__(self, fails_at: int) -> None:
        self.calls, self._fails_at, self._inner = 0, fails_at, HashedEmbedder()

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        self.calls += 1
        if self.calls == self._fails_at:
            raise ModelUnavailable("the model is gone")
        return self._inner.embed(texts)


@pytest.fixture
def threads() -> Iterator[None]:
    """No thread is left behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("durable_by_chunks", [False, True])
def test_cubes_and_vectors_are_those_of_single_adds(tmp_path: Path, durable_by_chunks: bool, threads: None) -> None:
    with mnemos.open(tmp_path / "many.db", embedder="hashed") as many, mnemos.open(tmp_path / "one.db", embedder="hashed") as one:
        cubes = many.space("s").add_many(LONG, progress=(lambda done, total: None) if durable_by_chunks else None)
        for record in LONG:
            one.space("s").add(record["text"])
        assert [cube.text for cube in cubes] == [record["text"] for record in LONG]
        with many.snapshot() as left, one.snapshot() as right:
            found, expected = ([value for _, _, value in snapshot.vectors(1, 0)] for snapshot in (left, right))
            assert found == expected
            assert len(found) > len(LONG) - 6
        assert many.verify().ok


def test_without_progress_a_failure_of_the_embedder_keeps_nothing(tmp_path: Path, threads: None) -> None:
    with mnemos.open(tmp_path / "s.db", embedder=Failing(2)) as memory:
        with pytest.raises(ModelUnavailable, match="gone"):
            memory.space("s").add_many(RECORDS)
        assert memory.space("s").list() == []


def test_with_progress_a_failure_of_the_embedder_keeps_the_chunks_before(tmp_path: Path, threads: None) -> None:
    done: list[int] = []
    with mnemos.open(tmp_path / "s.db", embedder=Failing(3)) as memory:
        with pytest.raises(ModelUnavailable, match="gone"):
            memory.space("s").add_many(RECORDS, progress=lambda n, total: done.append(n))
        assert done == [CHUNK, 2 * CHUNK]
        assert len(memory.space("s").list(limit=len(RECORDS))) == 2 * CHUNK


def test_with_progress_a_wrong_record_keeps_the_chunks_before(tmp_path: Path, threads: None) -> None:
    done: list[int] = []
    wrong = [*RECORDS[: CHUNK + 5], {"text": " "}]
    with mnemos.open(tmp_path / "s.db", embedder="hashed") as memory:
        with pytest.raises(Invalid, match=f"record {CHUNK + 6}"):
            memory.space("s").add_many(wrong, progress=lambda n, total: done.append(n))
        assert done == [CHUNK]
        assert len(memory.space("s").list(limit=len(wrong))) == CHUNK


def test_whoever_breaks_off_in_progress_leaves_what_is_durable(tmp_path: Path, threads: None) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with mnemos.open(tmp_path / "s.db", embedder="hashed") as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.space("s").add_many(RECORDS, progress=stop)
        assert len(memory.space("s").list(limit=len(RECORDS))) == CHUNK


def test_the_next_chunk_is_embedded_while_one_is_written(tmp_path: Path, threads: None) -> None:
    second = threading.Event()

    class Watched(Failing):
        def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
            vectors = super().embed(texts)
            if self.calls == 2:
                second.set()
            return np.asarray(vectors)

    with mnemos.open(tmp_path / "s.db", embedder=Watched(0)) as memory:
        memory.space("s").add_many(RECORDS, progress=lambda done, total: None if second.wait(30) else pytest.fail("it waits for the chunk before"))


def test_records_are_read_in_the_callers_thread(tmp_path: Path, threads: None) -> None:
    """So that they may come from the store itself, inside a transaction."""
    with mnemos.open(tmp_path / "s.db", embedder="hashed") as memory:
        space = memory.space("s")
        space.add_many(RECORDS)
        with memory.transaction():
            copies = memory.space("t").add_many({"text": space.list(limit=1)[0].text + str(n)} for n in range(CHUNK + 3))
        assert len(copies) == CHUNK + 3
