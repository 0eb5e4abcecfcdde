"""The working memory: whatever is done to it, incidence, provenance and the journal agree."""

from __future__ import annotations

import random

import orjson
import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.text.hypergraph.memory import Change, Point, Span, WorkingMemory, apart

NAMES = tuple("abcdefgh")


def span(passage: str, start: int = 0) -> Span:
    return Span(passage, start, start + 5)


def consistent(memory: WorkingMemory) -> None:
    """No dangling incidence, in either direction."""
    points = {point.id: point for point in memory}
    assert memory.names == {name for point in points.values() for name in point.names}
    for name in memory.names:
        assert [point.id for point in memory.holding(name)] == sorted(id_ for id_, point in points.items() if name in point.names)
    assert memory.passages == {one.passage for point in points.values() for one in point.spans}


def one_step(memory: WorkingMemory, source: random.Random, turn: int) -> None:
    ids = [point.id for point in memory]
    names = source.sample(NAMES, source.randint(1, 4))
    spans = [span(f"p{source.randint(0, 9)}", source.randint(0, 3)) for _ in range(source.randint(1, 3))]
    match source.choice(("insert", "insert", "update", "merge", "remove")) if len(ids) > 1 else "insert":
        case "insert":
            point = memory.insert("said", names, spans, turn)
            assert point.id not in ids
        case "update":
            old = memory.point(source.choice(ids))
            new = memory.update(old.id, "said again", names, spans, turn)
            assert new.id == old.id
            assert new.spans == old.spans | set(spans)
            assert [point.id for point in memory] == ids
        case "merge":
            parts = [memory.point(id_) for id_ in source.sample(ids, source.randint(2, min(3, len(ids))))]
            merged = memory.merge([part.id for part in parts], "together", turn)
            assert merged.names == frozenset().union(*(part.names for part in parts))
            assert merged.spans == frozenset().union(*(part.spans for part in parts))
            assert merged.parents == tuple(part.id for part in parts)
            assert [point.id for point in memory] == [id_ for id_ in ids if id_ not in merged.parents] + [merged.id]
        case _:
            gone = source.choice(ids)
            memory.remove(gone)
            assert gone not in memory


def test_a_thousand_random_sequences() -> None:
    for seed in range(1000):
        source, memory = random.Random(seed), WorkingMemory()
        for turn in range(12):
            one_step(memory, source, turn)
        consistent(memory)
        half = len(memory.journal) // 2
        again, early = WorkingMemory.replayed(memory.journal), WorkingMemory.replayed(memory.journal[:half])
        assert list(again) == list(memory)
        assert again.journal == memory.journal
        consistent(early)
        written = orjson.dumps([change.as_json() for change in memory.journal])
        assert list(WorkingMemory.replayed(map(Change.of_json, orjson.loads(written)))) == list(memory)


def test_two_points_over_the_same_names_stand_side_by_side() -> None:
    memory = WorkingMemory()
    one, other = (memory.insert(text, ["a", "b"], [span("p")], 0) for text in ("A met B.", "A left B."))
    assert [point.statement for point in memory] == ["A met B.", "A left B."]
    memory.remove(one.id)
    assert memory.holding("a") == [other]


def test_what_a_point_needs() -> None:
    memory = WorkingMemory()
    for statement, names, spans in ((" ", ["a"], [span("p")]), ("said", [], [span("p")]), ("said", [""], [span("p")]), ("said", ["a"], [])):
        with pytest.raises(Invalid, match="a point needs"):
            memory.insert(statement, names, spans, 0)
    point = memory.insert("said", ["a"], [span("p")], 0)
    for call in (lambda: memory.update(7, "x", ["a"], [], 0), lambda: memory.remove(7), lambda: memory.merge([point.id, 7], "x", 0)):
        with pytest.raises(NotFound, match="no point 7"):
            call()
    with pytest.raises(Invalid, match="two points or more"):
        memory.merge([point.id, point.id], "x", 0)
    assert list(memory) == [point]
    assert len(memory.journal) == 1


def test_overlapping_groups_are_parted_the_same_way_always() -> None:
    assert apart([(1, 2), (2, 4, 5)], [1, 2, 3, 4, 5]) == [(1, 2), (4, 5)]
    assert apart([(1, 2), (2, 3)], [1, 2, 3]) == [(1, 2)]
    assert apart([(9, 1), (1, 1), (3, 2)], [1, 2, 3]) == [(3, 2)]


def test_what_may_not_be_read_any_more_takes_points_with_it_and_what_is_left_of_a_merge_comes_back() -> None:
    memory = WorkingMemory()
    kept = memory.insert("A met B.", ["a", "b"], [span("p")], 0)
    lost = memory.insert("B met C.", ["b", "c"], [span("q")], 0)
    merged = memory.merge([kept.id, lost.id], "A met B, who met C.", 1)
    assert memory.keep(["p", "q"]) == []
    assert memory.keep(["p"]) == [merged.id]
    assert list(memory) == [kept]
    consistent(memory)
    assert list(WorkingMemory.replayed(memory.journal)) == [kept]


def test_a_point_as_json() -> None:
    point = Point(3, "A met B.", frozenset("ab"), frozenset([span("p"), span("q", 4)]), 2, (1, 2), "rules")
    assert Point.of_json(orjson.loads(orjson.dumps(point.as_json()))) == point
