"""Generated streams, and what they show in small: an oracle, games that do not pay, the same seed, reading by rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mnemos.bench.constructor_world import DeleteAll, DumpAll, Everything, Newest, Nothing, Oracle, Reading, Stream, stream
from mnemos.text.constructor import rewards
from mnemos.text.constructor.learnt import untrained
from mnemos.text.constructor.policy import MemoryPolicy
from mnemos.text.constructor.rollouts import Course, Instance, Point, Surroundings, roll, roll_many, train


@pytest.fixture(scope="module")
def world() -> tuple[list[Stream], Surroundings]:
    reading, rng = Reading(), np.random.default_rng(5)
    streams = [stream(rng, reading, 12) for _ in range(6)]
    return streams, Surroundings(reading, judge=rewards.rule_judge(reading), together=True, count=reading.count)


def answers(streams: Sequence[Stream], around: Surroundings, write: Callable[[Stream], MemoryPolicy]) -> float:
    return float(np.mean([roll(one.instance, write(one), around, confirmed=True).answers for one in streams]))


def test_an_oracle_answers_what_a_heap_cannot(world: tuple[list[Stream], Surroundings]) -> None:
    streams, around = world
    best = answers(streams, around, Oracle)
    assert best >= 0.97
    assert best > answers(streams, around, lambda _: Newest()) > 0.2
    assert best > answers(streams, around, lambda _: Everything()) > 0.2
    assert answers(streams, around, lambda _: Nothing()) == 0.0


def test_every_memory_stays_in_its_room(world: tuple[list[Stream], Surroundings]) -> None:
    streams, around = world
    for write in (Everything, Newest, DumpAll):
        for one in streams:
            limit = one.instance.limits.tokens
            assert limit is not None
            assert 0 < roll(one.instance, write(), around, confirmed=True).memory.tokens <= limit


def test_games_pay_less_than_knowing_nothing(world: tuple[list[Stream], Surroundings]) -> None:
    streams, around = world
    own = roll_many([one.instance for one in streams], untrained(np.random.default_rng(0)), around, np.random.default_rng(0))
    for policy in (DeleteAll(), DumpAll()):
        assert np.mean([roll(one.instance, policy, around).total() for one in streams]) < np.mean([run.total() for run in own])


def test_the_same_seed_gives_the_same_curve_and_another_one_not(world: tuple[list[Stream], Surroundings]) -> None:
    streams, around = world

    def curve(seed: int) -> list[Point]:
        rng = np.random.default_rng(seed)

        def draw(rng: np.random.Generator) -> list[Instance]:
            return [streams[int(at)].instance for at in rng.integers(0, len(streams), 2)]

        return train(untrained(rng), draw, around, rng, Course(updates=3, rollouts=3))

    assert curve(1) == curve(1) != curve(2)
