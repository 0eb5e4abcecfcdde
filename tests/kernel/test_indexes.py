"""Indexes of spaces as a tier: held within a budget, loaded again where they gave way, exact whichever of them is held."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mnemos.kernel import indexes
from mnemos.kernel.scheduling import Action
from mnemos.kernel.system import Mnemos


@pytest.fixture
def crowded(open_memory: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch) -> Mnemos:
    """A store of six spaces of which about two indexes fit into the budget."""
    mem = open_memory()
    for number in range(6):
        mem.space(f"space {number}").add_many({"text": f"The tram number {n} of town {number} is yellow."} for n in range(120))
    with mem.snapshot() as snapshot:
        index = mem.index(1, snapshot)
        mem.indexes.catch_up(index, snapshot)
    monkeypatch.setattr(indexes, "BUDGET", int(2.5 * index.nbytes))
    monkeypatch.setattr(indexes, "_UNKNOWN", index.nbytes)
    mem.close()
    reopened = open_memory()
    reopened.scheduler = type(reopened.scheduler)(reopened.clock)
    reopened.indexes = indexes.Indexes(reopened.scheduler, indexes.BUDGET)
    return reopened


def held(mem: Mnemos) -> int:
    return mem.scheduler.tiers()["index"]["bytes"]


def test_searches_are_exact_whatever_is_held(crowded: Mnemos) -> None:
    for round in range(5):
        for number in range(6):
            space = crowded.space(f"space {number}")
            space.add(f"The bridge of round {round} in town {number} is new.")
            assert {hit.cube.id for hit in space.search("bridge", k=500)} == {cube.id for cube in space.list(limit=500)}
            assert held(crowded) <= indexes.BUDGET
    assert len(crowded.indexes._held) < 6


def test_what_is_used_often_stays(crowded: Mnemos) -> None:
    for number in range(60):
        crowded.space("space 0").search("tram")
        if number % 6 == 5:
            crowded.space(f"space {1 + number // 6 % 5}").search("tram")
    late = [decision for decision in crowded.scheduler.decisions()[30:] if decision.key == 1]
    assert {decision.action for decision in late} == {Action.HELD}


def test_every_decision_has_a_reason_and_is_replayed(crowded: Mnemos) -> None:
    from mnemos.kernel.scheduling import replay

    for number in (0, 1, 2, 3, 4, 5, 0, 1, 2):
        crowded.space(f"space {number}").search("tram")
    decisions = crowded.scheduler.decisions()
    assert all(decision.reason for decision in decisions)
    assert replay(crowded.scheduler.log()) == decisions
    assert crowded.scheduler.tiers()["index"]["measured"]["build"] >= 6


def test_what_is_likely_next_is_loaded_ahead(crowded: Mnemos) -> None:
    for _ in range(8):
        for number in (0, 1):
            crowded.space(f"space {number}").search("tram")
    crowded.space("space 0").search("tram")
    crowded.indexes.drop(2)
    crowded.scheduler._ledger("index").held.pop(2, None)
    crowded.scheduler._ledger("index").used = sum(index.nbytes for index in crowded.indexes._held.values())
    loaded = crowded.preload()
    assert loaded <= 1
    assert held(crowded) <= indexes.BUDGET
    assert crowded.space("space 1").search("tram number 7", k=1)[0].cube.text.startswith("The tram number 7 ")


def test_a_forgotten_memory_is_in_no_index(crowded: Mnemos) -> None:
    space = crowded.space("space 0")
    cubes = space.list(limit=1000)
    space.search("tram")
    space.forget([cube.id for cube in cubes])
    assert space.search("tram") == []
    index = crowded.indexes._held.get(1)
    assert index is None or index.forgotten <= len(index)


def test_threads_of_many_spaces_do_not_wait_for_each_other_for_ever(crowded: Mnemos) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round in range(15):
                space = crowded.space(f"space {(number + round) % 6}")
                space.add("one more tram")
                assert space.search("tram", k=3)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []
    assert held(crowded) <= indexes.BUDGET
