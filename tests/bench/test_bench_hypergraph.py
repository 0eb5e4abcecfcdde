"""The made-up world of the hypergraph benchmark is what it says, and its ways to gather evidence keep to their budgets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import mnemos
from mnemos.bench import hypergraph
from mnemos.bench.hypergraph_arms import PASSAGES, arms
from mnemos.bench.hypergraph_world import TOWNS, World, world
from mnemos.bench.registry import Options
from mnemos.text.entities import entities, keys


@pytest.fixture(scope="module")
def made() -> World:
    return world(np.random.default_rng(3))


def test_affairs_are_told_on_pages_apart_and_share_names_from_one_to_the_next_only(made: World) -> None:
    texts = {str(record["source"]): str(record["text"]) for record in made.corpus.records}
    assert len(texts) == 400
    assert len(made.affairs) == 60
    for affair in made.affairs:
        assert 4 <= len(affair.pages) <= 6
        assert len(set(affair.pages)) == len(affair.pages)
        assert len(affair.names) == len(affair.pages) + 1
        for page, one, other in zip(affair.pages, affair.names, affair.names[1:], strict=False):
            assert any(one in sentence and other in sentence for sentence in texts[page].split("."))
    names = Counter(key for text in texts.values() for key in keys(entities(text)))
    for affair in made.affairs:
        inner = [names[name.lower()] for name in affair.names[1:-1]]
        assert min(inner) >= 2
        assert max(inner) <= 4
    assert all(names[town.lower()] > 80 for town in TOWNS)


def test_questions_name_their_beginning_only(made: World) -> None:
    for question in made.corpus.questions:
        number = int(question.id.split()[1])
        affair = made.affairs[number]
        if question.category == "chain":
            assert len(question.evidence) >= 3
            assert affair.names[0] in question.text
            assert not any(name in question.text for name in affair.names[1:])
            assert question.evidence == set(affair.pages[: len(question.evidence)])
        assert {"single": 1, "list": 7, "mixed": 6}.get(question.category, 3) <= len(question.evidence) <= 8
    assert [question.id for question in world(np.random.default_rng(3)).corpus.questions] == [question.id for question in made.corpus.questions]
    assert world(np.random.default_rng(4)).corpus.questions != made.corpus.questions


def test_every_way_keeps_to_its_passages_and_the_hypergraph_finds_more(made: World) -> None:
    asked = [question for question in made.corpus.questions if question.id in ("chain 0", "chain 1", "single 0")]
    found: dict[str, list[float]] = {}
    with mnemos.open(":memory:", embedder="hashed") as memory:
        space = memory.space("affairs")
        space.add_many(list(made.corpus.records))
        for name, arm in arms().items():
            for question in asked:
                pages = arm(space, question.text)
                assert len(pages) == len(set(pages)) <= PASSAGES
                found.setdefault(name, []).append(len(question.evidence & set(pages)) / len(question.evidence))
    assert np.mean(found["hypergraph"]) >= np.mean(found["flat list"]) + hypergraph.OVER_FLAT
    assert np.mean(found["hypergraph"]) > np.mean(found["one search"])


def test_checks_notice_what_is_missed(made: World) -> None:
    questions = [question for question in made.corpus.questions if int(question.id.split()[1]) < 3]

    def arm(value: float) -> hypergraph.Gathered:
        return hypergraph.Gathered(questions, [value] * len(questions))

    same = {name: arm(0.5) for name in arms()}
    assert [check.holds for check in hypergraph._planted(same, Options())][:2] == [False, False]
    better = {**same, "hypergraph": arm(0.9), "no merge": arm(0.5)}
    checks = {check.metric: check.holds for check in hypergraph._planted(better, Options())}
    assert checks["evidence recall, hypergraph − flat list, several facts"] is True
    assert checks["evidence recall, with and without merging apart, one fact"] is False
    assert arm(0.5).table() == {"single": 0.5, "chain": 0.5, "list": 0.5, "mixed": 0.5}
