"""Relations: what is held, caught up row by row and let go of piece by piece, is what would be read anew; and nothing written by hand breaks it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mnemos
from mnemos.base.cube import Link
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.index.relations import Relations
from mnemos.index.space_index import SpaceIndex
from mnemos.kernel.space import Space
from mnemos.text.reading import Flag


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="none") as mem:
        yield mem.space("here", strategy="plain")


def held(space: Space, index: SpaceIndex | None = None) -> tuple[SpaceIndex, Relations]:
    """The index that is held, or a new one, with its relations."""
    with space.system.snapshot() as snapshot:
        index = space.system.index(space.num, snapshot) if index is None else index
        with index.lock:
            index.catch_up(snapshot)
            return index, Relations.of(index, snapshot, (index.flags.view() & Flag.VIEW) != 0)


def told(index: SpaceIndex, relations: Relations) -> list[list[Any]]:
    """All that relations say of rows that are not forgotten, by the ids of memories."""
    living = index.died.view() != 0
    first = index.first.view()

    def ids(rows: Any) -> list[str]:
        return [str(index.id_at(row)) if row >= 0 else "gone" for row in rows.tolist()]

    views, sources = relations.sources(living)
    out: list[list[Any]] = [list(zip(ids(views), ids(sources), strict=True))]
    for kind in sorted(relations.kinds.words):
        edges = relations.edges(first, living, [kind])
        out.append([kind, *zip(ids(edges.source), ids(edges.target), edges.weight.tolist(), strict=True)])
    for role in sorted(relations.roles.words):
        members = relations.incidence(living, [role])
        out.append([role, *zip(ids(members.relation), ids(members.node), members.weight.tolist(), strict=True)])
    out.append([(name, ids(np.flatnonzero(relations.of_strategy(name, len(index)) & living))) for name in sorted(relations.strategies.words)])
    return out


def view(space: Space, text: str, sources: list[Any], **metadata: Any) -> Any:
    links = [Link(parse_id(source.id), source.version, VIEW_OF) for source in sources]
    return space.add(text, type="note", derived_from=links, metadata=metadata)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_held_is_what_would_be_read_anew(space: Space, seed: int) -> None:
    choose = random.Random(seed)
    cubes = [space.add(f"Memory {n}") for n in range(4)]
    held(space)
    for step in range(60):
        what = choose.random()
        if what < 0.25 or len(cubes) < 3:
            cubes.append(space.add(f"Memory {step}"))
        elif what < 0.7:
            near = choose.sample(cubes, 2)
            ends = [choose.choice(cubes).id for _ in range(choose.randrange(3))]
            edges = [{"to": end, "kind": f"kind {choose.randrange(4)}", "weight": choose.random()} for end in ends]
            members = [{"id": one.id, "role": f"role {choose.randrange(4)}"} for one in near]
            cubes.append(view(space, f"View {step}", near, edges=edges, members=members, strategy=f"strategy {choose.randrange(3)}"))
        elif what < 0.85:
            at = choose.randrange(len(cubes))
            cubes[at] = space.update(cubes[at].id, f"Changed {step}")
        else:
            gone = {cube.id for cube in space.forget([choose.choice(cubes).id]).cubes}
            cubes = [cube for cube in cubes if cube.id not in gone]
        if choose.random() < 0.7:
            assert told(*held(space)) == told(*held(space, SpaceIndex(space.num)))
    index, relations = held(space)
    assert index.attached("relations", Relations) is relations


def test_words_of_forgotten_views_are_not_held(space: Space) -> None:
    one, two = space.add("One"), space.add("Two")
    secret = view(space, "Secret", [one], edges=[{"to": two.id, "kind": "loves"}], members=[{"id": two.id, "role": "lover"}], strategy="gossip")
    view(space, "Other", [two], edges=[{"to": one.id, "kind": "knows"}], strategy="plain")
    before = held(space)[1]
    space.forget([secret.id])
    after = held(space)[1]
    assert after is before, "it need not be read again"
    assert (after.kinds.words, after.roles.words, after.strategies.words) == (["knows"], [], ["plain"])
    assert after.kinds.number("loves") is None


def test_an_edge_to_a_memory_that_comes_later(space: Space) -> None:
    """A view may name what is not there yet: it is joined when that is, and the same after opening again."""
    later = "01890a5d-ac96-774b-bcce-b302099a8057"
    one = space.add("One")
    view(space, "View", [one], edges=[{"to": later, "kind": "next"}, {"to": one.id, "kind": "next"}], members=[{"id": later, "role": "end"}])
    index, relations = held(space)
    assert len(relations.edges(index.first.view(), np.ones(len(index), dtype=bool)).source) == 1
    space.add("Two", id=later)
    index, relations = held(space)
    edges = relations.edges(index.first.view(), np.ones(len(index), dtype=bool))
    assert [str(index.id_at(row)) for row in edges.target] == [later, one.id]
    assert told(index, relations) == told(*held(space, SpaceIndex(space.num)))


@pytest.mark.parametrize(
    "edges",
    [5, "x", {}, [5], [{}], [{"to": 5}], [{"to": "no id"}], [{"to": None}], [{"to": "ID", "weight": "heavy"}], [{"to": "ID", "weight": True}],
     [{"to": "ID", "weight": None}], [[["ID"]]]],
)  # fmt: skip
def test_metadata_by_hand_break_nothing(space: Space, edges: Any) -> None:
    one = space.add("One")
    if isinstance(edges, list):
        edges = [{**edge, "to": one.id} if isinstance(edge, dict) and edge.get("to") == "ID" else edge for edge in edges]
    view(space, "View", [one], edges=edges, members=edges, strategy=["plain"])
    index, relations = held(space)
    everything = np.ones(len(index), dtype=bool)
    assert len(relations.edges(index.first.view(), everything).source) == 0
    assert len(relations.incidence(everything).node) == 0
    assert relations.sources(everything)[0].tolist() == [1]
    assert space.search("One")


def test_a_chain_of_views_falls_with_its_end(space: Space) -> None:
    chain = [space.add("Source")]
    for depth in range(40):
        chain.append(view(space, f"View {depth}", [chain[-1]]))
    index, relations = held(space)
    is_view, seen = (index.flags.view() & Flag.VIEW) != 0, np.ones(len(index), dtype=bool)
    assert relations.usable(seen, is_view).tolist() == [False] + [True] * 40
    for missing in (0, 20):
        seen[:] = True
        seen[missing] = False
        assert np.flatnonzero(relations.usable(seen, is_view)).tolist() == list(range(1, missing))


def test_what_touches_some_memories_is_said_in_the_same_order(space: Space) -> None:
    rng = random.Random(4)
    sources = space.add_many([{"text": f"memory {n}"} for n in range(12)])
    for n in range(30):
        edges = [{"to": str(rng.choice(sources).id), "weight": rng.random()} for _ in range(rng.randrange(4))]
        view(space, f"view {n}", [rng.choice(sources)], edges=edges)
    index, relations = held(space)
    views = np.array([bool(flag & Flag.VIEW) and rng.random() < 0.8 for flag in index.flags.view().tolist()])
    saying, nodes, weights = relations.said(views)
    assert len(saying) > 20
    assert relations.edges(index.first.view(), views).weight.tolist() == weights.tolist()
    for _ in range(10):
        asked, towards = np.array(rng.sample(range(12, 42), 3)), np.array(rng.sample(range(12), 2))
        near = np.isin(saying, asked) | np.isin(nodes, towards)
        some = relations.said(views, (asked, towards))
        assert [part.tolist() for part in some] == [part[near].tolist() for part in (saying, nodes, weights)]
    nobody = np.zeros(0, dtype=np.int64)
    assert [len(part) for part in relations.said(views, (nobody, nobody))] == [0, 0, 0]
