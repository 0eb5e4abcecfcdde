"""Vectors: of the embedder that the store is opened with, made anew in the background when that is another one, while searches stay right."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Progress
from mnemos.kernel.system import Mnemos
from mnemos.kernel.writing import embedding as embedding_module
from mnemos.models.hashed import HashedEmbedder
from support import EMBEDDER

OTHER = HashedEmbedder(dimensions=64)
TESTS = Path(__file__).parents[1]
WORDS = ["lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge"]
TEXTS = [f"{WORDS[i % 8]} {WORDS[i * 3 % 7]} number {i}" for i in range(40)]


class Watched:
    """An embedder that counts what it is asked for, and that a test can hold, break, or make lie."""

    def __init__(self, name: str = "watched:1", size: int = 32) -> None:
        self.inner = HashedEmbedder(dimensions=size)
        self.fingerprint, self.dimensions = name, size
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.answer: Callable[[np.ndarray], Any] = lambda vectors: vectors

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Any:
        self.asked += texts
        assert len(texts) == 1 or self.gate.wait(60)  # many at once are work in the background
        return self.answer(self.inner.embed(texts))


def numbers(mem: Mnemos) -> dict[str, int]:
    """How many vectors the store holds of each embedder."""
    out: dict[str, int] = {}
    with mem.snapshot() as snapshot:
        names = snapshot.embedders()
        for space in snapshot.spaces():
            for _, embedder, value in snapshot.vectors(space.num, 0):
                assert len(value) == 4 * names[embedder][1]
                out[names[embedder][0]] = out.get(names[embedder][0], 0) + 1
    return out


def found(mem: Mnemos, query: str = "tram in snow", k: int = 100) -> dict[str, float]:
    return {hit.cube.text: hit.score for hit in mem.space("a").search(query, k=k)}


def fill(mem: Mnemos) -> None:
    mem.space("a").add_many([{"text": text, "created_at": "2024-01-01"} for text in TEXTS])


@pytest.fixture
def alone(open_memory: Callable[..., Mnemos]) -> dict[str, float]:
    """What a store that never knew another embedder than `OTHER` finds."""
    mem = open_memory(":memory:", embedder=OTHER)
    fill(mem)
    return found(mem)


# -- another embedder than before --
def test_another_embedder_takes_over_in_the_background(open_memory: Callable[..., Mnemos], alone: dict[str, float]) -> None:
    first = open_memory()
    fill(first)
    first.close()
    mem = open_memory(embedder=OTHER)
    mem.embedding.wait()
    assert numbers(mem) == {OTHER.fingerprint: len(TEXTS)}
    assert (mem.embedding.done, mem.embedding.total) == (len(TEXTS), len(TEXTS))
    assert found(mem) == pytest.approx(alone, abs=1e-4)
    assert mem.verify().ok
    mem.close()
    again = Watched(OTHER.fingerprint, 64)
    mem = open_memory(embedder=again)
    mem.embedding.wait()
    assert again.asked == []


@pytest.mark.parametrize("old", [EMBEDDER, Watched("gone:1")], ids=["available", "not available"])
def test_searches_are_right_before_during_and_after(
    open_memory: Callable[..., Mnemos], alone: dict[str, float], old: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_module, "_BATCH", 7)
    first = open_memory(embedder=old)
    fill(first)
    before = found(first)
    first.close()
    new = Watched("new:1", 64)
    mem = open_memory(embedder=new)
    steps: list[tuple[int, int]] = []
    mem.embedding.wait()
    assert found(mem) == pytest.approx(alone, abs=1e-4)
    mem.close()
    third = Watched("third:1", 64)
    mem = open_memory(embedder="none")
    assert set(found(mem)) == set(before)
    mem.embedding.embedder = third

    def progress(done: int, total: int) -> None:  # between two batches: some vectors are of the one, some of the other
        steps.append((done, total))
        assert sum(numbers(mem).values()) == len(TEXTS)
        assert numbers(mem)["third:1"] == done
        among = mem.space("a").search("tram in snow", k=100)
        assert {hit.cube.text for hit in among} == set(TEXTS)
        assert TEXTS[11] in list(found(mem, TEXTS[11], k=5))
        mem.space("a").add(f"written at {done}")
        mem.space("a").forget([hit.cube.id for hit in among if hit.cube.text.startswith("written")] or [mem.space("a").list(limit=99)[-1].id])

    mem.embedding.catch_up(mem.store, progress)
    assert steps[:2] == [(7, 40), (14, 40)]
    assert steps[-1][0] == steps[-1][1] >= 40
    assert numbers(mem) == {"third:1": len(TEXTS)}
    assert found(mem) == pytest.approx(alone, abs=1e-4)


def test_searches_are_answered_while_the_new_embedder_works(open_memory: Callable[..., Mnemos]) -> None:
    first = open_memory()
    fill(first)
    first.close()
    new = Watched("slow:1", 64)
    new.gate.clear()
    mem = open_memory(embedder=new)
    space = mem.space("a")
    for i in (3, 10, 17, 30):
        assert next(iter(found(mem, TEXTS[i], k=1))) == TEXTS[i]
    fresh, gone = space.add("written meanwhile"), space.list(limit=1)[0]
    space.forget([gone.id])
    changed = space.update(space.list(limit=1)[0].id, "changed meanwhile")
    assert numbers(mem) == {EMBEDDER.fingerprint: len(TEXTS) - 1, "slow:1": 2}
    assert {fresh.text, changed.text} < set(found(mem))
    assert gone.text not in found(mem)
    new.gate.set()
    mem.embedding.wait()
    assert numbers(mem) == {"slow:1": len(TEXTS) + 1}
    assert gone.text not in found(mem)
    assert len(found(mem)) == len(TEXTS)
    assert mem.verify().ok


KILLED = """
    import os, sys
    from mnemos.kernel.writing import embedding
    from mnemos.kernel.system import Mnemos
    from test_embedding import Watched
    embedding._BATCH = 5
    new = Watched("new:1", 64)
    made = [0]
    def answer(vectors):
        made[0] += len(vectors)
        if made[0] > 12:
            os._exit(9)
        return vectors
    new.answer = answer
    mem = Mnemos(sys.argv[1], embedder=new)
    mem.embedding.wait()
"""


def test_killed_in_the_middle_it_goes_on_at_the_next_open(open_memory: Callable[..., Mnemos], alone: dict[str, float]) -> None:
    first = open_memory()
    fill(first)
    first.close()
    code = textwrap.dedent(KILLED)
    killed = subprocess.run([sys.executable, "-c", code, first.path], cwd=TESTS / "kernel", env={"PYTHONPATH": str(TESTS)}, timeout=60)
    assert killed.returncode == 9
    mem = open_memory(embedder="none")
    assert numbers(mem) == {"new:1": 10, EMBEDDER.fingerprint: 30}
    assert set(found(mem)) == set(TEXTS)
    mem.close()
    new = Watched("new:1", 64)
    mem = open_memory(embedder=new)
    mem.embedding.wait()
    assert len(new.asked) == 30
    assert numbers(mem) == {"new:1": 40}
    assert found(mem) == pytest.approx(alone, abs=1e-4)


def test_what_was_written_without_vectors_gets_them(open_memory: Callable[..., Mnemos], alone: dict[str, float]) -> None:
    mem = open_memory(embedder="none")
    fill(mem)
    assert set(found(mem)) == set(TEXTS)
    mem.close()
    mem = open_memory(embedder=OTHER)
    mem.embedding.wait()
    assert numbers(mem) == {OTHER.fingerprint: 40}
    assert found(mem) == pytest.approx(alone, abs=1e-4)
    mem.close()
    mem = open_memory(embedder="none")
    mem.space("a").add("one more")
    mem.close()
    mem = open_memory(embedder=OTHER)
    mem.embedding.wait()
    assert numbers(mem) == {OTHER.fingerprint: 41}


def test_an_old_embedder_that_fails_is_one_that_is_not_there(open_memory: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    old = Watched("old:1")
    first = open_memory(embedder=old)
    fill(first)
    first.close()

    def broken(vectors: np.ndarray) -> Any:
        raise ModelUnavailable("its weights are not on this machine")

    old.answer = broken
    monkeypatch.setattr(embedding_module, "from_fingerprint", lambda fingerprint: old)
    new = Watched("new:1", 64)
    new.answer = lambda vectors: vectors if len(vectors) == 1 else broken(vectors)
    mem = open_memory(embedder=new)
    with pytest.raises(ModelUnavailable):
        mem.embedding.wait()
    assert numbers(mem) == {"old:1": 40}
    assert set(found(mem)) == set(TEXTS)
    report = mem.verify()
    assert [finding.place for finding in report.findings] == ["vectors"]


def test_two_open_stores_with_different_embedders_write_what_both_find(open_memory: Callable[..., Mnemos]) -> None:
    one, two = open_memory(), open_memory(embedder=OTHER)
    for i in range(6):
        (one, two)[i % 2].space("a").add(f"tram number {i}")
        for mem in (one, two):
            assert set(found(mem, "tram number")) == {f"tram number {n}" for n in range(i + 1)}
    assert numbers(one) == {EMBEDDER.fingerprint: 3, OTHER.fingerprint: 3}


# -- what is kept --
def test_fingerprints_stand_beside_the_vectors(mem: Mnemos) -> None:
    fill(mem)
    with mem.snapshot() as snapshot:
        assert list(snapshot.embedders().values()) == [(EMBEDDER.fingerprint, 32)]
        stored = [np.frombuffer(value, dtype="<f4") for _, _, value in snapshot.vectors(1, 0)]
    assert np.array_equal(np.stack(stored), EMBEDDER.embed(TEXTS))


def test_a_text_is_embedded_once(open_memory: Callable[..., Mnemos]) -> None:
    watched = Watched()
    mem = open_memory(embedder=watched)
    for name in ("a", "b"):
        mem.space(name).add_many([{"text": "the same"}, {"text": "the same"}, {"text": "another"}])
    cube = mem.space("a").add("the same", tags=["x"])
    mem.space("a").update(cube.id, tags=["y"])
    assert sorted(watched.asked) == ["another", "the same"]
    assert numbers(mem) == {"watched:1": 8}
    mem.space("a").forget([cube.id])
    mem.space("a").add("the same")  # what is forgotten is not remembered here either
    assert watched.asked.count("the same") == 2


def test_documents_are_embedded_by_their_parts(open_memory: Callable[..., Mnemos]) -> None:
    watched = Watched()
    mem = open_memory(embedder=watched)
    mem.space("a").add("# Trams\n\n" + "\n\n".join(f"Sentence {i} about the tram in the harbour of Lisbon." for i in range(80)), type="document")
    assert len(watched.asked) == len(mem.space("a").list(limit=100, parts=True)) - 1 > 1
    assert all(text.startswith("Trams\n") for text in watched.asked)


# -- embedders that do not keep their promise --
WRONG: dict[str, Callable[[np.ndarray], Any]] = {
    "NaN": lambda vectors: vectors * np.float32("nan"),
    "infinity": lambda vectors: np.where(vectors > 0, np.float32("inf"), vectors),
    "too few": lambda vectors: vectors[:-1],
    "too many": lambda vectors: np.concatenate([vectors, vectors]),
    "too short": lambda vectors: vectors[:, :-1],
    "flat": lambda vectors: vectors.ravel(),
    "nothing": lambda vectors: None,
    "words": lambda vectors: [["x"] * 32] * len(vectors),
    "ragged": lambda vectors: [[0.1], [0.1, 0.2]],
    "not unit": lambda vectors: vectors * 2,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_vectors_are_refused_and_nothing_is_stored(open_memory: Callable[..., Mnemos], wrong: str) -> None:
    watched = Watched()
    mem = open_memory(embedder=watched)
    space = mem.space("a")
    kept = space.add("the tram")
    position = mem.position()
    watched.answer = WRONG[wrong]
    for act in (lambda: space.add("a new one"), lambda: space.update(kept.id, "changed"), lambda: space.search("violin")):
        with pytest.raises(ModelUnavailable, match="watched:1"):
            act()
    assert (mem.position(), [cube.text for cube in space.list()]) == (position, ["the tram"])
    watched.answer = lambda vectors: vectors
    space.add("a new one")
    assert [hit.cube.text for hit in space.search("a new one", k=1)] == ["a new one"]
    assert mem.verify().ok


@pytest.mark.parametrize("dtype", [np.float64, np.float16, list])
def test_right_vectors_in_another_form_are_taken(open_memory: Callable[..., Mnemos], dtype: Any) -> None:
    watched = Watched()
    watched.answer = lambda vectors: vectors.tolist() if dtype is list else vectors.astype(dtype)
    mem = open_memory(embedder=watched)
    fill(mem)
    assert next(iter(found(mem, TEXTS[5], k=1))) == TEXTS[5]
    assert mem.verify().ok


def test_an_embedder_that_raises_stores_nothing(open_memory: Callable[..., Mnemos]) -> None:
    watched = Watched()
    mem = open_memory(embedder=watched)

    def broken(vectors: np.ndarray) -> Any:
        raise RuntimeError("out of order")

    watched.answer = broken
    with pytest.raises(RuntimeError, match="out of order"):
        mem.space("a").add_many([{"text": "one"}, {"text": "two"}])
    with pytest.raises(RuntimeError, match="out of order"), mem.transaction():
        mem.space("a").add("three")
    watched.answer = lambda vectors: vectors
    assert mem.space("a").list() == []
    mem.space("a").add("four")
    assert set(found(mem)) == {"four"}


@pytest.mark.parametrize("vector", [[0.1] * 31, [float("nan")] * 32, "words", [["x"]], None])
def test_a_question_vector_of_the_caller_is_checked(mem: Mnemos, vector: Any) -> None:
    space = mem.space("a")
    space.add("the tram")
    if vector is None:
        given = EMBEDDER.embed(["the tram"])[0]
        assert space.search("the tram", vector=given)[0].score == pytest.approx(space.search("the tram")[0].score)
        return
    with pytest.raises(Invalid, match="vector"):
        space.search("tram", vector=vector)


def test_a_question_that_comes_again_is_not_embedded_again_until_something_is_forgotten(mem: Mnemos) -> None:
    class Counting:
        fingerprint, dimensions = EMBEDDER.fingerprint, EMBEDDER.dimensions

        def __init__(self) -> None:
            self.texts: list[str] = []

        def embed(self, texts: Any, *, progress: Any = None) -> Any:
            self.texts += texts
            return EMBEDDER.embed(texts)

    counting = mem.embedding.embedder = Counting()
    space = mem.space("a")
    cube = space.add("The tram is yellow.")
    first = space.search("Which colour has the tram?")
    asked = len(counting.texts)
    assert space.search("Which colour has the tram?") == first
    assert len(counting.texts) == asked
    space.forget(cube.id)
    space.add("The tram is red.")
    space.search("Which colour has the tram?")
    assert counting.texts.count(counting.texts[asked - 1]) == 2


def test_an_import_does_not_drive_out_what_was_written_one_by_one(mem: Mnemos) -> None:
    space = mem.space("a")
    space.add("The tram is yellow.")
    space.add_many({"text": f"number {number}"} for number in range(300))
    assert list(mem.embedding._known) == ["The tram is yellow."]
