"""Which pairs are compared: enough of them to find what a new memory replaces, and few enough for a large space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mnemos.base.clock import from_micros
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.text.agreement import Found, Limits, Memory, Relation, find_relations, memory_of
from support import HandClock

DEFAULT = Limits()
FILLER = [
    "the heron left its pond", "a kettle sang all afternoon",
    "nobody oiled the gate", "rain crossed the valley twice", "the choir forgot its third verse",
]


def relations(mem: Mnemos, space: Space, newest: int, limits: Limits = DEFAULT) -> tuple[list[Found], list[int], list[str]]:
    """What is found for the newest rows; how many memories each call of `read` asked for; the text of each row."""
    asked: list[int] = []
    with mem.snapshot() as snapshot:
        index = mem.index(space.num, snapshot)
        with index.lock:
            index.catch_up(snapshot)
            allowed, seqs = index.visible(snapshot.position), index.seq.view().tolist()

            def read(rows: Sequence[int]) -> Mapping[int, Memory]:
                asked.append(len(rows))
                versions = snapshot.versions([seqs[row] for row in rows])
                return {row: memory_of(versions[seqs[row]].content, seqs[row]) for row in rows}

            found = find_relations(index, allowed, np.flatnonzero(allowed)[-newest:], read, limits=limits)
            texts = [version.content.text or "" for _, version in sorted(snapshot.versions(seqs).items())]
    return found, asked, texts


def filled(space: Space, count: int) -> None:
    space.add_many([{"text": f"{FILLER[i % len(FILLER)]}, item {i}", "author": f"person {i % 7}"} for i in range(count)])


def test_a_statement_finds_what_it_replaces_without_a_common_word(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:", embedder="none")
    space = mem.space("alice")
    space.add("I live in Lisbon.", author="Alice")
    space.add("I live in Porto.", author="Bob")
    filled(space, 300)
    space.add("We relocated to Berlin last week.", author="Alice")
    found, _, texts = relations(mem, space, 1)
    assert [(texts[f.row], texts[f.other], f.agreement.relation) for f in found] == [
        ("We relocated to Berlin last week.", "I live in Lisbon.", Relation.UPDATE)
    ]
    assert found[0].agreement.later == 0


def test_only_rows_that_are_allowed_and_older_are_met(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:")
    space = mem.space("alice")
    old = space.add("I live in Lisbon.", author="Alice")
    space.archive(old.id)
    space.add("I live in Berlin now.", author="Alice")
    space.add("I live in Oslo now.", author="Alice")
    found, _, texts = relations(mem, space, 2)
    assert [(texts[f.row], texts[f.other]) for f in found] == [("I live in Oslo now.", "I live in Berlin now.")]


def test_what_read_does_not_give_is_left_out(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:")
    space = mem.space("alice")
    space.add("I live in Lisbon.", author="Alice")
    space.add("I live in Berlin now.", author="Alice")
    with mem.snapshot() as snapshot:
        index = mem.index(space.num, snapshot)
        with index.lock:
            index.catch_up(snapshot)
            assert find_relations(index, index.visible(snapshot.position), [1], lambda rows: {}) == []
            assert find_relations(index, index.visible(snapshot.position), [], lambda rows: {}) == []


def test_the_lowest_confidence_is_kept(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:")
    space = mem.space("alice")
    space.add("I have 12 coins.", author="Alice")
    space.add("I have 15 coins.", author="Alice")
    assert relations(mem, space, 1)[0]
    assert not relations(mem, space, 1, Limits(confidence=0.9))[0]


def test_parts_of_documents_are_left_out(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:")
    space = mem.space("alice")
    text = "\n\n".join(f"Paragraph {i} says that the harbour office keeps the tide tables of station {i}. " * 4 for i in range(12))
    for _ in range(2):
        space.add(text, type="document")
    assert relations(mem, space, 50)[0] == []


def test_few_memories_are_read_however_many_there_are(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory(":memory:", embedder="none")
    space = mem.space("alice")
    filled(space, 3000)
    space.add("I live in Berlin now.", author="person 1")
    _, asked, _ = relations(mem, space, 1)
    assert sum(asked) <= 1 + DEFAULT.lexical + DEFAULT.similar + DEFAULT.probes * DEFAULT.probed


def test_relations_come_in_the_same_order_each_time(open_memory: Callable[..., Mnemos], clock: HandClock) -> None:
    mem = open_memory(":memory:")
    space = mem.space("alice")
    for city in ("Lisbon", "Oslo", "Lyon", "Austin"):
        space.add(f"I live in {city}.", author="Alice", event_at=from_micros(clock()))
    space.add("I moved to Berlin.", author="Alice", event_at=from_micros(clock()))
    first, second = relations(mem, space, 2)[0], relations(mem, space, 2)[0]
    assert first == second
    rows = [found.row for found in first]
    assert rows == sorted(rows)
    assert len([found for found in first if found.row == 4]) == 4
