"""A pipeline fails, at each of its steps and at each thing that it asks of the store, the clock, the embedder, the strategy and the disk: the
store and what searches find stay exactly as they were (MemOS sheet, item 10)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Conflict, MnemosError
from mnemos.base.protocols import Progress
from mnemos.kernel import system
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from mnemos.store.sqlite_write import Writer
from mnemos.text.auto import Auto
from store_contents import rankings, rows
from support import HandClock

QUESTIONS = ["Where did Alice move?", "coffee", "violin in the harbour"]
LONG = "\n\n".join(f"Sentence {i} about the violin in the harbour of Lisbon." for i in range(60))
STEPS: list[dict[str, Any]] = [
    {"step": "retrieve", "query": "{question}", "k": 3, "as": "hits"},
    {"step": "augment", "text": "What is known", "sources": "$hits", "as": "prompt"},
    {"step": "add", "text": "{prompt}", "type": "note", "derived_from": "$hits", "as": "note"},
    {"step": "add", "text": LONG, "type": "document", "space": "new", "as": "document"},
    {"step": "update", "cube": "$note", "text": "{prompt} once more"},
    {"step": "link", "cube": "$note", "to": "$document"},
    {"step": "retrieve", "query": "$question", "k": 5, "as": "again"},
    {"step": "freeze", "cubes": "$document"},
    {"step": "archive", "cubes": "$hits"},
    {"step": "merge", "cubes": ["$note", "$keep"], "as": "merged"},
    {"step": "enqueue", "kind": "compact", "key": "after the pipeline"},
    {"step": "forget", "cubes": "$hits.0"},
]


class Injected(MnemosError):
    """What a fault raises."""


class Faulty:
    """Counts calls, and raises at one of them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at: int | None = None

    def call(self, name: str) -> None:
        self.calls.append(name)
        if self.at is not None and len(self.calls) == self.at:
            raise Injected(f"call {self.at}: {name}")

    def reset(self, at: int | None = None) -> None:
        self.calls, self.at = [], at


class FaultyEmbedder:
    """The hashed embedder, with faults."""

    def __init__(self, faulty: Faulty) -> None:
        self._faulty = faulty
        self._inner = HashedEmbedder(dimensions=32)
        self.fingerprint, self.dimensions = self._inner.fingerprint, 32

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        self._faulty.call(f"embed {len(texts)} texts")
        return self._inner.embed(texts)


class FaultyClock(HandClock):
    """A clock that moves, with faults."""

    def __init__(self, faulty: Faulty) -> None:
        super().__init__()
        self._faulty = faulty

    def __call__(self) -> int:
        self._faulty.call("clock")
        return super().__call__()


@contextmanager
def faulty_strategy(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class Strategy(Auto):
        def encode(self, *arguments: Any) -> Any:
            faulty.call("encode")
            return super().encode(*arguments)

        def recall(self, *arguments: Any) -> Any:
            faulty.call("recall")
            return super().recall(*arguments)

    monkeypatch.setattr(system, "make", lambda name: Strategy())
    yield


VERBS = [
    name
    for kind in Writer.__mro__[:-1]
    for name, value in vars(kind).items()
    if callable(value) and not name.startswith("_") and name not in ("mark", "back_to", "sever", "newest")
]
"""Everything that a transaction can be asked for."""


def filled(mem: Mnemos) -> Any:
    """A memory to keep, in a store with something in it: the pipeline's inputs."""
    space = mem.space("a")
    for number in range(12):
        space.add(f"{'Alice' if number % 2 else 'Bob'} moved to {'Lisbon' if number % 3 else 'Porto'} for coffee, number {number}.")
    space.archive(space.list()[-1].id)
    mem.jobs.enqueue("expire", every=60)
    return space.add("The violin is kept.")


def prove(mem: Mnemos, keep: Any, faulty: Faulty, expected: type[Exception] = Injected, limit: int | None = None) -> int:
    """Run the pipeline with a fault at each call in turn; give how many there were."""
    pipeline = mem.pipeline(STEPS, space="a")
    before, found = rows(mem), rankings(mem, ["a"], QUESTIONS)
    faulty.reset()
    mem.embedding.drop([*mem.embedding._known])  # so that each run embeds anew

    def dry() -> None:
        with mem.transaction():
            pipeline.run(question=QUESTIONS[0], keep=keep)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dry()
    calls = len(faulty.calls)
    assert calls >= 4
    chosen = range(1, calls + 1) if limit is None or calls <= limit else sorted({1 + i * (calls - 1) // (limit - 1) for i in range(limit)})
    for number in chosen:
        faulty.reset(number)
        mem.embedding.drop([*mem.embedding._known])
        with pytest.raises(expected):
            pipeline.run(question=QUESTIONS[0], keep=keep)
        faulty.reset()
        assert rows(mem) == before, f"fault {number}"
        assert mem.spaces() == ["a"]
    assert rankings(mem, ["a"], QUESTIONS) == found
    assert mem.verify().ok
    run = pipeline.run(question=QUESTIONS[0], keep=keep)  # and without a fault it is done
    assert [step.outcome for step in run.steps] == ["done"] * len(STEPS)
    assert rows(mem) != before
    assert mem.verify().ok
    return calls


@pytest.mark.parametrize("place", range(len(STEPS) + 1))
def test_a_failure_after_each_step(mem: Mnemos, place: int) -> None:
    keep = filled(mem)
    before, found = rows(mem), rankings(mem, ["a"], QUESTIONS)
    failing = {"step": "assert", "that": "$question", "where": {"value": "another"}}
    with pytest.raises(Conflict, match=rf"step {place + 1} \(assert\)"):
        mem.pipeline([*STEPS[:place], failing, *STEPS[place:]], space="a").run(question=QUESTIONS[0], keep=keep)
    assert rows(mem) == before
    assert rankings(mem, ["a"], QUESTIONS) == found
    assert mem.position() == max(row[0] for row in before["log"])


def test_a_failing_embedder(open_memory: Callable[..., Mnemos]) -> None:
    faulty = Faulty()
    mem = open_memory(embedder=FaultyEmbedder(faulty))
    assert prove(mem, filled(mem), faulty) >= 5


def test_a_failing_clock(open_memory: Callable[..., Mnemos]) -> None:
    faulty = Faulty()
    mem = open_memory(clock=FaultyClock(faulty))
    assert prove(mem, filled(mem), faulty, limit=40) >= 20


def test_a_failing_strategy(open_memory: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = Faulty()
    with faulty_strategy(faulty, monkeypatch):
        mem = open_memory()
        assert prove(mem, filled(mem), faulty) >= 5


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_failure_of_each_call_of_the_store(open_memory: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    faulty, running = Faulty(), [0]
    mem = open_memory()
    keep = filled(mem)

    def wrapped(name: str, real: Any) -> Any:
        def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
            outermost, running[0] = running[0] == 0, running[0] + 1
            try:
                if outermost and not after:
                    faulty.call(name)
                given = real(self, *arguments, **keywords)
                if outermost and after:
                    faulty.call(name)
                return given
            finally:
                running[0] -= 1

        return call

    for name in dict.fromkeys(VERBS):
        monkeypatch.setattr(Writer, name, wrapped(name, getattr(Writer, name)))
    calls = prove(mem, keep, faulty, limit=120)
    assert calls > 100


def test_a_failing_disk(open_memory: Callable[..., Mnemos], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call that changes a file fails in turn; a failure of the commit itself may find the pipeline whole, never half."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "torture"))
    from torture_vfs import failing_disk

    name, disk, keeper = failing_disk()
    mem = open_memory(vfs=name)
    keep = filled(mem)
    # Without the forget: what it leaves to be erased is done after the commit, and may fail though all is kept.
    pipeline = mem.pipeline(STEPS[:-1], space="a")
    before = rows(mem)
    number, kinds = 0, ("full", "io", "torn")
    while True:
        number += 1
        disk.fail(kinds[number % 3], number)
        try:
            pipeline.run(question=QUESTIONS[0], keep=keep)
        except MnemosError:
            disk.count()
            assert rows(mem) == before, f"{kinds[number % 3]} at call {number}"
            continue
        happened = disk.happened
        disk.count()
        if not happened:
            break
        pytest.fail(f"the fault at call {number} was not noticed")
    assert number > 5
    assert rows(mem) != before
    assert mem.verify().ok
    del keeper
    sys.modules.pop("torture_vfs", None)
