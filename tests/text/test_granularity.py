"""Granularity: the router, the mixture, sessions and their associations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mnemos
from mnemos.kernel.space import Space
from mnemos.text.granularity.gathering import leaned, one_turn
from mnemos.text.granularity.mixture import split
from mnemos.text.granularity.nodes import Nodes
from mnemos.text.granularity.router import entropy, profile, standard, weights
from mnemos.text.granularity.strategy import Granularity, Parameters, Session, Sessions
from mnemos.text.strategy import Memory, Recall, View

SCORES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1))


# ---- router ---------------------------------------------------------------------------------------------------------


@given(st.lists(SCORES, min_size=1, max_size=4))
def test_weights_are_shares_and_the_surer_grain_counts_more(grains: list[np.ndarray]) -> None:
    found = weights(grains)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0)
    vague = [entropy(scores) for scores in grains]
    for one, weight in zip(vague, found, strict=True):
        for other, rest in zip(vague, found, strict=True):
            assert weight >= rest - 1e-12 or one > other


@pytest.mark.parametrize("n", [1, 2, 50])
def test_flat_grains_count_alike(n: int) -> None:
    assert weights([np.zeros(n), np.full(n, 0.7)]).tolist() == [0.5, 0.5]


def test_the_published_slip_is_not_repeated() -> None:
    """With entropies in nats above 1 the published weights turn the order round: of 20 and 8 equal candidates the vaguer would win."""
    sure, vague = np.r_[np.ones(2), np.zeros(98)], np.r_[np.ones(60), np.zeros(40)]
    found = weights([sure, vague])
    assert found[0] > 0.5 > found[1]


@given(SCORES, st.floats(-5, 5))
def test_entropy_is_of_differences(scores: np.ndarray, shift: float) -> None:
    assert 0.0 <= entropy(scores) <= 1.0
    assert entropy(scores + shift) == pytest.approx(entropy(scores), abs=1e-6)


# ---- mixture --------------------------------------------------------------------------------------------------------


def clustered(rng: np.random.Generator, high: int, low: int = 30, apart: float = 0.4) -> np.ndarray:
    return np.r_[0.5 + apart + 0.03 * rng.standard_normal(high), 0.5 + 0.05 * rng.standard_normal(low)]


@pytest.mark.parametrize("high", [2, 5, 12, 20])
def test_what_stands_out_is_accepted(high: int) -> None:
    scores = clustered(np.random.default_rng(high), high)
    assert split(scores).accepted.tolist() == [True] * high + [False] * 30


def test_nothing_stands_out_of_one_heap() -> None:
    rng = np.random.default_rng(0)
    assert sum(split(0.4 + 0.05 * rng.standard_normal(30)).accepted.any() for _ in range(200)) <= 20


@given(SCORES, st.floats(0.1, 10), st.floats(-3, 3), st.randoms(use_true_random=False))
def test_a_split_moves_with_the_scores(scores: np.ndarray, scale: float, shift: float, source: object) -> None:
    assume(np.var(scores) > 1e-4)
    found = split(scores)
    assert split(scores * scale + shift).accepted.tolist() == found.accepted.tolist()
    order = list(range(len(scores)))
    source.shuffle(order)  # type: ignore[attr-defined]
    assert split(scores[order]).accepted.tolist() == found.accepted[order].tolist()


@given(SCORES)
def test_what_is_accepted_is_above_what_is_not(scores: np.ndarray) -> None:
    found = split(scores)
    assert found.accepted.shape == found.posterior.shape == scores.shape
    assert ((found.posterior >= 0) & (found.posterior <= 1)).all()
    if found.accepted.any():
        assert scores[found.accepted].min() >= np.mean(scores[~found.accepted]) if (~found.accepted).any() else True


@pytest.mark.parametrize("scores", [[], [0.5], [0.5, 0.9], [0.3] * 20])
def test_too_little_to_split(scores: list[float]) -> None:
    assert not split(np.array(scores)).accepted.any()


# ---- sessions -------------------------------------------------------------------------------------------------------

TALKS = {
    "boats": ("We sailed the sloop to the harbour.", "The mast of the sloop is new.", "Rigging a sloop takes time.", "The harbour was full."),
    "bread": ("I baked rye bread at dawn.", "The sourdough starter is ten years old.", "Rye dough wants a hot oven.", "We ate the loaf warm."),
    "boats again": ("The sloop leaks at the keel.", "We hauled the sloop out at the harbour.", "New planks for the keel.", "The crane lifts."),
    "stars": ("Saturn was bright last night.", "My telescope needs a mirror.", "We counted nine meteors.", "The observatory's dome is rusty."),
}


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("talks", strategy="granularity")
        for name, turns in TALKS.items():
            space.add_many([{"text": text, "type": "turn", "author": "Ann", "metadata": {"session": name}} for text in turns])
        yield space


def look(space: Space, query: str = "sloop") -> View:
    seen: list[View] = []

    class Spy(Granularity):
        def recall(self, question: object, view: View, k: int) -> Recall:  # type: ignore[override]
            seen.append(view)
            return super().recall(question, view, k)  # type: ignore[arg-type]

    kept = space.system._strategies["granularity"] = Spy()
    space.search(query)
    space.system._strategies["granularity"] = Granularity()
    assert kept
    return seen[0]


def test_each_session_gets_a_summary_and_key_phrases(space: Space) -> None:
    assert space.consolidate().added == 8
    summaries, phrases = space.list(types=["summary"]), space.list(types=["keywords"])
    assert len(summaries) == len(phrases) == 4
    assert all(len(view.derived_from) == 4 for view in (*summaries, *phrases))
    assert "sloop" in phrases[0].text


def test_a_session_that_goes_on_is_described_anew(space: Space) -> None:
    space.consolidate()
    space.add("The sloop won the regatta of Hyères.", type="turn", metadata={"session": "boats"})
    done = space.consolidate()
    assert (done.added, done.revised) == (0, 2)
    assert any(len(view.derived_from) == 5 for view in space.list(types=["summary"]))


def test_a_session_that_loses_too_much_has_no_description_any_more(space: Space) -> None:
    space.consolidate()
    boats = [cube for cube in space.list(types=["turn"]) if cube.metadata["session"] == "boats"]
    space.forget([boats[0].id])
    assert len(space.list(types=["summary"])) == 3
    space.forget([boats[1].id])
    space.consolidate()
    assert len(space.list(types=["summary"])) == 3


def test_one_turn_says_it_or_only_the_session_does() -> None:
    session = np.array([0, 0, 1, 1, 2, 2])
    assert one_turn(np.array([0b11, 0, 0, 0, 0, 0]), session, 2) == pytest.approx(1.0)
    assert one_turn(np.array([0b01, 0b10, 0, 0, 0, 0]), session, 2) == pytest.approx(0.5)
    common = np.array([0b101, 0b100, 0b100, 0, 0b100, 0])  # the third term stands in all sessions: it hardly counts
    assert one_turn(common | np.array([0, 0b010, 0, 0, 0, 0]), session, 3) == pytest.approx(0.5, abs=0.05)
    assert one_turn(np.zeros(6, dtype=np.int64), session, 2) == one_turn(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 2) == 1.0


def test_the_turn_counts_alone_where_it_is_enough_and_else_by_what_it_says() -> None:
    sure = np.full(4, 0.25)
    assert leaned(sure, 1.0).tolist() == leaned(sure, 0.5).tolist() == [1, 0, 0, 0]
    found = leaned(sure, 0.2)
    assert found.sum() == pytest.approx(1.0)
    assert found[1:].tolist() == pytest.approx([0.8 / 2.6] * 3)
    assert np.all(np.diff([leaned(sure, alone)[0] for alone in (0.0, 0.1, 0.3, 0.49)]) > 0)


def test_a_session_lends_its_bearing_to_its_turns(space: Space) -> None:
    space.consolidate()
    view = look(space, "the sloop in the harbour")
    bearing = Granularity().bearing(view)
    assert bearing is not None
    sessions = {name: bearing[4 * at : 4 * at + 4] for at, name in enumerate(TALKS)}
    assert all(len(set(values.tolist())) == 1 for values in sessions.values())
    assert max(sessions, key=lambda name: sessions[name][0]) in ("boats", "boats again")
    assert sessions["bread"][0] < sessions["boats"][0]


def test_lengths_of_vectors_do_not_matter(space: Space) -> None:
    space.consolidate()
    view = look(space)
    assert view.cosines is not None
    before = Sessions(view).scores(Parameters())
    assert before.sum() == pytest.approx(1.0)
    longer = replace(view, cosines=3 * view.cosines)
    assert np.allclose(Sessions(longer).scores(Parameters()), before)


def test_without_walking_the_seeds_decide(space: Space) -> None:
    space.consolidate()
    view = look(space)
    sessions = Sessions(view)
    scores = sessions.scores(Parameters(follow=0.0))
    grains = sessions.grains()
    sure = weights(grains)
    together = profile(sum(weight * standard(one) for weight, one in zip(sure, grains, strict=True)))
    assert np.argsort(-scores).tolist() == np.argsort(-together).tolist()
    assert np.abs(scores - together).max() < 0.05, "only the weakest nodes are no seeds"


def test_associations_are_the_same_portion_by_portion(space: Space) -> None:
    """Consolidated after each session, or all at once: the same edges between the same sessions."""

    def edges(of: Space) -> set[tuple[str, str, str]]:
        summaries = {view.id: str(of.get(view.derived_from[0].id).metadata["session"]) for view in of.list(types=["summary"])}
        return {
            (summaries[view.id], summaries.get(edge["to"], edge["to"]), edge["kind"])
            for view in of.list(types=["summary"])
            for edge in view.metadata.get("edges", [])
        }

    space.consolidate()
    with mnemos.open(":memory:", embedder="hashed") as mem:
        other = mem.space("talks", strategy="granularity")
        for name, turns in TALKS.items():
            other.add_many([{"text": text, "type": "turn", "author": "Ann", "metadata": {"session": name}} for text in turns])
            other.consolidate()
        assert edges(other) == edges(space)


def test_vectors_that_are_held_are_those_that_would_be_read_anew(space: Space) -> None:
    """Whatever has come, changed, been hidden or gone since, the nodes are those of a first look."""

    def nodes(view: View) -> set[tuple[object, ...]]:
        made = Nodes.of(Sessions(view))
        assert made is not None
        assert view.vectors is not None
        newcomer = Session(-7, [Memory(view.contents([0])[0], len(view.index))])  # which all others came before
        likeness = made.likeness(newcomer, np.eye(view.vectors.dimensions, dtype=np.float32)[:3])
        found = made.nearest(likeness[0], 100).tolist()
        return {(made.id_at(at), made.grain_of(at), *np.round(likeness[:, at], 5).tolist()) for at in found}

    def same() -> int:
        view = look(space)
        held = nodes(view)
        del view.index._attached["granularity nodes"]
        assert nodes(view) == held
        nodes(view)  # what is held is caught up from here
        return len(held)

    space.consolidate()
    assert same() == 12
    turns = space.list(types=["turn"])
    space.add("A memory that stands alone.", type="turn")
    assert same() == 13
    space.archive(turns[0].id)
    assert same() == 11, "what was made of it is hidden with it"
    space.restore(turns[0].id)
    space.update(turns[5].id, "The sourdough starter died.")
    space.consolidate()
    assert same() == 13
    space.forget([turn.id for turn in turns[8:12]])
    assert same() == 10


# ---- with a language model ------------------------------------------------------------------------------------------


class Scripted:
    """A chat model that says what it is told to."""

    fingerprint = "scripted"

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, 0

    def complete(self, conversations: object, *, schema: object = None, max_tokens: int | None = None) -> list[str]:
        count = len(conversations)  # type: ignore[arg-type]
        self.asked += count
        return [self.answer] * count


def consolidated(answer: str) -> tuple[Space, dict[str, int]]:
    mem = mnemos.open(":memory:", embedder="hashed", chat=Scripted(answer))
    space = mem.space("talks", strategy="granularity")
    space.add_many([{"text": text, "type": "turn", "author": "Ann", "metadata": {"session": 1}} for text in TALKS["boats"]])
    return space, dict(space.consolidate().report)


def test_a_model_describes_a_session() -> None:
    space, report = consolidated(json.dumps({"summary": "We sailed the sloop to the harbour.", "keywords": ["sloop", "harbour"]}))
    assert report == {}
    assert [view.text for view in space.list(types=["summary", "keywords"])] == ["We sailed the sloop to the harbour.", "sloop, harbour"]
    assert "scripted" in space.list(types=["summary"])[0].metadata["by"]


def test_what_a_model_invents_is_rejected() -> None:
    space, report = consolidated(json.dumps({"summary": "The submarine sank near Malta in 1943.", "keywords": ["sloop"]}))
    assert report == {"rejected: not in its sources": 1}
    assert "submarine" not in space.list(types=["summary"])[0].text


@pytest.mark.parametrize("answer", ["I'd rather not.", '{"summary": ', "[]", ""])
def test_without_a_useful_answer_the_rules_describe_it(answer: str) -> None:
    space, report = consolidated(answer)
    assert [key.split(":")[0] for key in report] == ["degraded"]
    assert space.list(types=["summary"])[0].metadata["by"] == "rules"
