"""Generated streams, and what they show in small: an oracle, games that do not pay, the same seed, reading by rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mnemos.bench import constructor_training as training
from mnemos.bench.constructor_world import DeleteAll, DumpAll, Everything, Newest, Nothing, Oracle, Reading, Stream, stream
from mnemos.text.constructor import learnt, rewards
from mnemos.text.constructor.acting import Action
from mnemos.text.constructor.learnt import untrained
from mnemos.text.constructor.policy import MemoryPolicy
from mnemos.text.constructor.reading import look
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


def test_a_statement_has_the_answers_and_the_tokens_of_what_it_left(world: tuple[list[Stream], Surroundings]) -> None:
    """Leave-one-out, by hand: without the entry that answers, the question is lost; what is skipped owes nothing and costs nothing."""
    streams, around = world
    runs = roll_many([one.instance for one in streams], untrained(np.random.default_rng(0)), replace(around, credit=True), np.random.default_rng(0))
    for one, run in zip(streams, runs, strict=True):
        rows = [terms for row in run.statements for terms in row]
        assert len(rows) == sum(len(chunk.candidates) for chunk in one.instance.chunks)
        assert -sum(terms.size for terms in rows) * one.instance.tokens == pytest.approx(run.memory.tokens)
        skipped = [terms for row, choice in zip(run.statements, run.choices, strict=True)
                   for terms, action in zip(row, choice.actions, strict=True) if action == Action.SKIP]  # fmt: skip
        assert skipped
        assert all((terms.answers, terms.calls, terms.size, terms.types) == (0.0, 1.0, 0.0, 1.0) for terms in skipped)
        for number, row in enumerate(run.statements):
            for candidate, terms in zip(one.instance.chunks[number].candidates, row, strict=True):
                held = next((id for id, e in run.memory.entries.items() if (e.step, e.content) == (number + 1, candidate.text)), None)
                if held is not None and terms.answers > 0:
                    read = [(q, look(run.memory, q.words, together=True)) for q in one.instance.questions]
                    lost = sum(q.score(found) - q.score([r for r in found if r.id != held]) for q, found in read)
                    assert terms.answers == pytest.approx(lost / len(one.instance.questions))


def test_the_card_of_the_shipped_policy_says_what_it_does_now() -> None:
    """Else something that it was trained on has changed since, and it has to be trained anew (`mnemos.bench.constructor_training`)."""
    reading, card = Reading(), learnt.card()
    told = card["scores on the others"][training.STREAMS]["learnt"]
    found = training.measures(roll_many(training.streams(card["seed"] + 1, reading), learnt.shipped(), training.surroundings(reading)))
    assert found == pytest.approx(told, abs=0.02)
