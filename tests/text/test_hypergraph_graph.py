"""The graph of names and sentences, and what one sub-query finds in it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mnemos.base.errors import Invalid
from mnemos.text.hypergraph.graph import Graph
from mnemos.text.hypergraph.retrieval import Limits, Wanted, neighbours, retrieve

TEXTS = (
    "Orso Velandi met Pia Munk in Trieste.",
    "Pia Munk wrote to Lisbeth Quarn. Lisbeth Quarn paints.",
    "Lisbeth Quarn lives near Karl Ohm.",
    "Hugo Brandt keeps bees in Udine.",
    "Karl Ohm sold a boat to Hugo Brandt.",
)


def graph() -> Graph:
    out = Graph()
    for row, text in enumerate(TEXTS):
        out.add(row, text)
    return out


def everything(graph: Graph) -> np.ndarray:
    return np.ones(graph.read, dtype=bool)


def keys(graph: Graph, mask: np.ndarray) -> set[str]:
    return {graph.key(number) for number in np.flatnonzero(mask).tolist()}


def test_sentences_join_names() -> None:
    one = graph()
    assert [one.key(name) for name in one.unit(0).names] == ["orso velandi", "pia munk", "trieste"]
    assert one.shown(one.numbers(["orso velandi"])[0]) == "Orso Velandi"
    assert ("pia munk", "lisbeth quarn", 1) in set(one.edges())
    assert dict(one.nodes())["udine"] == "Udine"
    assert one.numbers(["nobody", "udine"]).tolist() == [one.number("udine")]


def test_the_title_is_what_each_sentence_is_about() -> None:
    one = Graph()
    one.add(0, "She paints. Karl Ohm sings.", ["Lisbeth Quarn"])
    assert [[one.key(name) for name in one.unit(unit).names] for unit in range(one.sentences)] == [["lisbeth quarn"], ["karl ohm", "lisbeth quarn"]]


def test_two_hops_are_two_common_sentences() -> None:
    one = graph()
    seed = one.numbers(["orso velandi"])
    assert keys(one, one.within(seed, 1, everything(one))) == {"orso velandi", "pia munk", "trieste"}
    assert keys(one, one.within(seed, 2, everything(one))) == {"orso velandi", "pia munk", "trieste", "lisbeth quarn"}
    hidden = everything(one)
    hidden[1] = False
    assert "lisbeth quarn" not in keys(one, one.within(seed, 4, hidden))


def test_within_is_breadth_first_search() -> None:
    for seed in range(60):
        source, one = random.Random(seed), Graph()
        links = [(row, [f"N{source.randint(0, 30)}" for _ in range(source.randint(1, 4))]) for row in range(25)]
        for row, names in links:
            one.link(row, names)
        allowed = np.array([source.random() < 0.8 for _ in range(25)])
        start = source.choice(links[0][1])
        for hops in (1, 2, 3):
            reached = {start.lower()}
            for _ in range(hops):
                reached |= {name.lower() for row, names in links if allowed[row] and reached & {n.lower() for n in names} for name in names}
            assert keys(one, one.within(one.numbers([start.lower()]), hops, allowed)) == reached


def test_how_telling_it_is_that_names_meet() -> None:
    one = Graph()
    for row in range(8):
        one.link(row, ["Town", f"Person {row}"])
    one.link(8, ["Rare", "Seldom"])
    allowed = everything(one)
    assert one.telling(8, allowed) == pytest.approx(1.0)
    assert one.telling(0, allowed) < 0.3


def test_local_stays_near_and_global_goes_away() -> None:
    one = graph()
    scores = np.array([0.1, 0.2, 0.3, 5.0, 0.4])
    far = retrieve(one, everything(one), scores, Wanted("bees"), Limits(used=2, of_names=1, plain=1))
    assert one.key(far.names[0]) in ("hugo brandt", "udine")
    near = retrieve(one, everything(one), scores, Wanted("bees", near=one.numbers(["orso velandi"])), Limits(used=4, of_names=3, plain=1))
    assert {one.key(name) for name in near.names} <= {"orso velandi", "pia munk", "trieste", "lisbeth quarn"}
    assert not near.widened
    away = retrieve(one, everything(one), scores, Wanted("bees", away=one.numbers(["hugo brandt", "udine"])), Limits(used=2, fewest=1))
    assert not {"hugo brandt", "udine"} & {one.key(name) for name in away.names}


def test_a_filter_that_leaves_nothing_is_widened() -> None:
    one = graph()
    scores = np.array([-np.inf, -np.inf, -np.inf, 5.0, -np.inf])
    found = retrieve(one, everything(one), scores, Wanted("bees", near=one.numbers(["orso velandi"])), Limits(hops=1))
    assert found.widened
    assert found.rows == [3]
    away = retrieve(one, everything(one), scores, Wanted("bees", away=one.numbers(["hugo brandt", "udine"])), Limits())
    assert away.widened
    assert away.rows


def test_what_may_not_be_seen_has_no_bearing() -> None:
    one, few = Graph(), Graph()
    secret = ("LISBETH QUARN and Trieste, near Karl Ohm.", "Karl Ohm and Pia Munk: Hugo Brandt, Trieste.")
    for row, text in enumerate((*secret, *TEXTS)):
        one.add(row, text)
    for row, text in enumerate(TEXTS):
        few.add(row, text)
    hidden = np.array([False, False, *[True] * len(TEXTS)])
    for scores in (np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.ones(5)):
        for query in (Wanted("Pia Munk"), Wanted("what?")):
            seen = retrieve(one, hidden, np.concatenate([[9.0, 9.0], scores]), query, Limits(used=3))
            without = retrieve(few, everything(few), scores, query, Limits(used=3))
            assert [one.key(name) for name in seen.names] == [few.key(name) for name in without.names]
            assert [row - 2 for row in seen.rows] == without.rows
            assert [one.unit(unit)[1:3] for unit in seen.units] == [few.unit(unit)[1:3] for unit in without.units]
    assert neighbours(one, one.numbers(["lisbeth quarn"]), hidden, 9) == neighbours(few, few.numbers(["lisbeth quarn"]), everything(few), 9)


def test_nothing_at_all() -> None:
    one = Graph()
    found = retrieve(one, np.zeros(0, dtype=bool), np.zeros(0), Wanted("bees"))
    assert (found.names, found.units, found.rows) == ([], [], [])
    with pytest.raises(Invalid, match="hops"):
        Limits(hops=0)
    with pytest.raises(Invalid, match="common"):
        Limits(common=0)
