"""Bridges: what is found by the names that it shares with what was found, and what has no bearing on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import mnemos
from mnemos.base.cube import Content
from mnemos.kernel.space import Space
from mnemos.text import auto
from mnemos.text.bridging import DEFAULTS, Mentions, _beyond, bridged, names_of
from mnemos.text.hypergraph.strategy import Hypergraph
from mnemos.text.plain import Plain
from mnemos.text.question import Question
from mnemos.text.strategy import Recall, View

QUESTION = "Who is the spouse of the actor who voices the captain in Tin Harbour?"
CAST = "Pia Munk, Tom Arden, Ewa Zoll, Ravi Sood, Ines Cobo, Karl Ohm, Yuki Abe, Lena Fisk, Omar Tal, Rosa Pell, Hugo Brandt and Nils Aker"
CHAIN = (
    ("Tin Harbour", f"Tin Harbour is an animated film. The captain is voiced by the actor Orso Velandi, the gulls by {CAST}."),
    ("Orso Velandi", "Orso Velandi was born in Trieste in 1961. He is married to the painter Lisbeth Quarn."),
)
FILLER = ("village", "summer", "bakery", "garden", "winter")


def documents(count: int = 40) -> list[dict[str, object]]:
    """The two steps of the chain, and many that share words with the question, but no name."""
    filled = [
        (f"Case {n}", f"Case {n} tells of the spouse of an actor, and of {FILLER[n % 5]}." if n < 12 else f"Case {n} tells of a {FILLER[n % 5]}.")
        for n in range(count)
    ]
    return [{"text": f"{title}\n{text}", "type": "document", "source": title, "metadata": {"title": title}} for title, text in (*filled, *CHAIN)]


def test_what_is_asked_beyond_an_origin(space: Space) -> None:
    """Against the definition: the cosine with the question's vector less its part along the origin's."""
    view = looked(space).view
    assert view.cosines is not None
    assert view.vectors is not None
    (question,) = space.system.embedding.matrix([QUESTION])  # type: ignore[misc]
    origin, rows = np.array([3, 3, 7]), np.array([5, 9, 1])
    likeness = view.vectors.vectors(np.arange(len(view.index))) @ question
    found = _beyond(origin, rows, likeness.astype(np.float64), view)
    for at, (one, other) in enumerate(zip(origin, rows, strict=True)):
        held, reached = view.vectors.vectors(np.array([one, other]))
        left = question - (question @ held) * held
        assert found[at] == pytest.approx(float(left @ reached / np.linalg.norm(left)), abs=1e-5)


@pytest.fixture
def space() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("films", strategy="hypergraph")
        space.add_many(documents())
        yield space


def titles(space: Space, question: str = QUESTION, k: int = 10, **conditions: object) -> list[str]:
    return [hit.cube.source or "" for hit in space.search(question, k=k, **conditions)]  # type: ignore[arg-type]


class Looking(Plain):
    """Keeps what a recall was given."""

    def recall(self, question: Question, view: View, k: int) -> Recall:
        self.question, self.view, self.scores = question, view, self.ranking(question, view).scores
        return super().recall(question, view, k)


def looked(space: Space) -> Looking:
    looking = Looking()
    space.system._strategies["plain"] = looking
    space.search(QUESTION, k=5, strategy="plain")
    return looking


def test_the_second_step_is_found_by_the_name_that_the_first_gives(space: Space) -> None:
    assert "Orso Velandi" not in titles(space, strategy="plain")
    assert {"Tin Harbour", "Orso Velandi"} <= set(titles(space))


def test_a_hit_says_what_a_bridge_has_lent_it(space: Space) -> None:
    hits = {hit.cube.source: hit for hit in space.search(QUESTION, k=10)}
    assert hits["Orso Velandi"].signals["bridge"] > 0
    assert "bridge" not in hits["Tin Harbour"].signals


def test_no_score_falls_and_the_best_stay(space: Space) -> None:
    seen = looked(space)
    after = bridged(seen.question, seen.view, seen.scores)
    assert np.all(after >= seen.scores - 1e-4)
    assert after.max() > seen.scores.min()
    order = np.argsort(-seen.scores, kind="stable")
    assert np.argsort(-after, kind="stable")[: DEFAULTS.kept].tolist() == order[: DEFAULTS.kept].tolist()
    assert np.array_equal(after, bridged(seen.question, seen.view, seen.scores))


def test_what_may_not_be_seen_has_no_bearing(space: Space) -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        other = mem.space("films", strategy="hypergraph")
        records = documents()
        hidden = [
            {"text": f"Orso Velandi {n}\nOrso Velandi and Tin Harbour, again, by Lisbeth Quarn.", "type": "document", "source": f"hidden {n}"}
            for n in range(70)
        ]
        cubes = other.add_many([*hidden[:35], *records, *hidden[35:]])
        for cube in cubes:
            if (cube.source or "").startswith("hidden"):
                other.quarantine(cube.id)
        shown = [(hit.cube.source, round(hit.score, 4)) for hit in other.search(QUESTION, k=10)]
    assert shown == [(hit.cube.source, round(hit.score, 4)) for hit in space.search(QUESTION, k=10)]


def test_filters_stand(space: Space) -> None:
    assert titles(space, source="Orso Velandi") == ["Orso Velandi"]
    assert "Tin Harbour" not in titles(space, filter={"title": {"in": ["Orso Velandi", "Case 1", "Case 2"]}})


def test_a_name_that_everything_holds_is_no_bridge(space: Space) -> None:
    notes = [{"text": f"Note {n}\nOrso Velandi was seen again.", "type": "document", "source": f"note {n}"} for n in range(DEFAULTS.commonest + 5)]
    space.add_many(notes)
    assert all("bridge" not in hit.signals for hit in space.search(QUESTION, k=10) if (hit.cube.source or "").startswith("note"))


def test_what_is_written_later_is_found_and_what_is_forgotten_is_not(space: Space) -> None:
    titles(space)
    cube = space.add("Lisbeth Quarn\nOrso Velandi and Lisbeth Quarn live in Udine.", type="document", source="late")
    assert "late" in titles(space)
    space.forget([cube.id])
    assert "late" not in titles(space)
    assert {"Tin Harbour", "Orso Velandi"} <= set(titles(space))


def test_one_memory_and_none() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("few", strategy="hypergraph")
        assert space.search(QUESTION) == []
        space.add("Orso Velandi sings.", type="turn", author="Ann")
        assert len(space.search(QUESTION)) == 1


def test_without_an_embedder_bridges_stand_all_the_same() -> None:
    with mnemos.open(":memory:", embedder=None) as mem:
        space = mem.space("films", strategy="hypergraph")
        space.add_many(documents())
        assert {"Tin Harbour", "Orso Velandi"} <= set(titles(space))


def test_parameters_bear(space: Space) -> None:
    seen = looked(space)
    nothing = replace(DEFAULTS, about=-90.0, mentions=-90.0)
    assert np.array_equal(bridged(seen.question, seen.view, seen.scores, nothing), seen.scores)
    assert Hypergraph(nothing).recall(seen.question, seen.view, 10).rows.tolist() == Plain().recall(seen.question, seen.view, 10).rows.tolist()


def test_what_a_memory_is_about() -> None:
    def content(text: str, **fields: Any) -> Content:
        return Content(id=UUID(int=1), version=1, created_at=0, text=text, **fields)

    about, named = names_of(content("Orso Velandi\nHe was born in Trieste.", type="document"))
    assert about == ["orso velandi"]
    assert "trieste" in named
    assert names_of(content("Orso Velandi was born in Trieste.", type="document"))[0] == ["orso velandi"]
    assert names_of(content("Orso Velandi came by.", type="turn", author="Ann"))[0] == []
    assert names_of(content("He came by.", type="document", metadata={"title": "The Duke"}))[0] == ["duke"]
    assert "udine" in names_of(content("They live there.", type="turn", entities=("Udine",)))[1]


def test_mentions_are_the_same_however_they_were_caught_up(space: Space) -> None:
    step = looked(space).view
    Mentions.of(step)
    space.add_many([{"text": f"Udine {n}\nLisbeth Quarn in Udine.", "type": "document"} for n in range(3)])
    grown, anew = Mentions.of(looked(space).view), Mentions()
    anew._catch_up(looked(space).view)
    for name in ("lisbeth quarn", "orso velandi", "udine 1"):
        one, other = grown.number(name), anew.number(name)
        assert one is not None
        assert other is not None
        assert [part.tolist() for part in grown.naming(one)] == [part.tolist() for part in anew.naming(other)]


def test_a_large_space_is_read_for_names_in_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "SMALL", 2)
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("library")
        for title, text in (
            ("The Lego Film", "Will Arnett speaks the bat in The Lego Film."),
            ("On Broadway", "Amy Poehler plays beside her husband Will Arnett in On Broadway."),
            *((f"Town {n}", f"The town of number {n} has a speaking clock and a film.") for n in range(30)),
        ):
            space.add(f"{title}\n{text}", type="document")
        question = "Who is the wife of the actor who speaks the bat in The Lego Film?"
        assert not any("bridge" in hit.signals for hit in space.search(question, k=5, explain=True))
        mem.preload()
        assert all("bridge" in hit.signals for hit in space.search(question, k=5, explain=True))


def test_among_turns_no_bridge_is_crossed() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("talk")
        space.add_many([{"text": f"Will Arnett said number {n} to Ann.", "type": "turn", "author": "Bob"} for n in range(12)])
        assert not any("bridge" in hit.signals for hit in space.search("What did Will Arnett say?", k=5, explain=True))
