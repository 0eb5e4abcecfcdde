"""What a text names, and which names are one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.aliases import Aliases
from mnemos.text.corpus_words import Statistics, phrases
from mnemos.text.entities import entities, key_of, keys


def named(text: str, kind: str | None = None, statistics: Statistics | None = None) -> list[str]:
    return [one.surface for one in entities(text, statistics) if kind is None or one.kind == kind]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yesterday I met Anna Karenina at the Gare de Lyon.", ["Anna Karenina", "Gare de Lyon"]),
        ("Looks good! Congrats, Maria.", ["Maria"]),
        ("Coco is adorable.", ["Coco"]),
        ("We asked Dr. Smith and St. Mary's Hospital for Robert W. McElroy.", ["Dr. Smith", "St. Mary's Hospital", "Robert W. McElroy"]),
        ("They played the 2004 Nokia Sugar Bowl, and in 2004 Nokia grew.", ["2004 Nokia Sugar Bowl", "Nokia"]),
        ("She flew a Boeing 747 to the University of the Arts.", ["Boeing 747", "University of the Arts"]),
        ("Maria's Porsche is red.", ["Maria", "Porsche"]),
        ("I think I'm late, but I'll call Bob.", ["Bob"]),
        ("He met Henry I of England, and then I left.", ["Henry I of England"]),
        ("On Monday, May 3, we left for Rome.", ["Rome"]),
        ("Мы были в Москве с Анной.", ["Москве", "Анной"]),
        ("Elle étudie à l’École Normale Supérieure et aime le Ballon d'Or.", ["École Normale Supérieure", "Ballon d'Or"]),
    ],
)
def test_capitals_name(text: str, expected: list[str]) -> None:
    assert [surface for surface in named(text) if surface not in ("Elle", "Мы")] == expected


def test_titles_quotes_acronyms_and_quantities() -> None:
    text = 'Gentleman (film)\nThe film "Set the Fire to the Third Bar" from NASA and the U.S. cost $1,200.50 for 3 km in 1999.'
    found = [(one.kind, one.key) for one in entities(text)]
    assert found == [
        ("title", "gentleman"), ("quoted", "set the fire to the third bar"), ("acronym", "nasa"), ("acronym", "us"), ("quantity", "$1200.50"),
        ("quantity", "3 km"),
    ]  # fmt: skip
    assert named("Anna Karenina: a novel of 1878", "title") == ["Anna Karenina"]
    assert named("note to self: buy milk", "title") == []


def test_scripts_without_capitals_give_n_grams() -> None:
    assert "東京タワー" in named("東京タワーは日本の東京都港区にある。", "ngram")
    assert named("ذهبت إلى القاهرة", "ngram") == ["ذهبت", "إلى", "القاهرة"]


def test_one_key_for_spellings_of_one_name() -> None:
    assert {key_of(name) for name in ("J.K. Rowling", "J. K. Rowling", "JK Rowling", "jk rowling's")} == {"jk rowling"}
    assert key_of("The Zone (2017 film)") == key_of("the zone") == "zone"
    assert key_of("U.S.") == key_of("US")
    assert key_of("Malmö") == key_of("Malmo")
    assert key_of("The") == "the"
    assert key_of("(…)") == ""


def test_the_corpus_tells_words_from_names() -> None:
    statistics = Statistics(["We like fantasy a lot.", "More fantasy, and a visit to Ginger at home.", "To Ginger with love."])
    assert named("Fantasy rocks.", "name", statistics) == []
    assert named("Fantasy rocks.", "name") == ["Fantasy"]
    assert named("Ginger rocks.", "name", statistics) == ["Ginger"]


def test_noun_phrases_by_what_is_rare_in_the_corpus() -> None:
    texts = ["the meeting about the solar battery", "a meeting with the team", "another meeting of the team", "the team had lunch"]
    statistics = Statistics(texts)
    text = "our team has a solar battery for the meeting"
    first = min(phrases(text, statistics, 1))
    assert text[slice(*first)] == "solar battery"
    assert "solar battery" in named(text, "phrase", statistics)
    for gone in reversed(texts):
        statistics.remove(gone)
    assert statistics.texts == 0
    assert statistics.written("meeting") is None
    with pytest.raises(Invalid, match="no text is left"):
        statistics.remove("more")


@given(st.text(max_size=200))
def test_any_text_gives_spans_that_hold(text: str) -> None:
    found = entities(text)
    assert all(text[one.start : one.end] == one.surface and one.key for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)
    assert keys(found) == list(dict.fromkeys(one.key for one in found))


NAMES = [
    "james matthew barrie", "jm barrie", "barrie", "dr barrie", "new york", "york", "national aeronautics and space administration", "nasa",
    "john smith", "jane smith", "smith", "robert w mcelroy", "robert mcelroy",
]  # fmt: skip


def test_short_names_stand_for_the_only_full_one() -> None:
    aliases = Aliases(NAMES)
    assert aliases.groups() == {
        "james matthew barrie": ["barrie", "dr barrie", "jm barrie"],
        "national aeronautics and space administration": ["nasa"],
        "robert w mcelroy": ["robert mcelroy"],
    }
    assert aliases.canonical("smith") == "smith", "two Smiths"
    assert aliases.canonical("smith", nearby=["jane smith"]) == "jane smith"
    assert aliases.canonical("nobody") == "nobody"


def test_a_crowd_of_namesakes_is_ambiguous_but_for_who_is_nearby() -> None:
    crowd = [f"anna{number} smith" for number in range(600)]
    aliases = Aliases([*crowd, "robert john smith"])
    assert aliases.canonical("smith") == "smith"
    assert aliases.canonical("smith", nearby=["anna7 smith"]) == "anna7 smith"
    assert aliases.canonical("robert smith") == "robert john smith"


def test_aliases_do_not_depend_on_the_order_and_can_be_taken_back() -> None:
    rng = random.Random(3)
    expected = Aliases(NAMES).groups()
    for _ in range(20):
        extra = ["peter barrie", "barrie", "robert x mcelroy"]
        order = NAMES + extra
        rng.shuffle(order)
        aliases = Aliases(order)
        assert aliases.groups() != expected
        rng.shuffle(extra)
        aliases.remove(extra)
        assert aliases.groups() == expected
        assert len(aliases) == len(NAMES)
    with pytest.raises(Invalid, match="peter"):
        aliases.remove(["peter barrie"])
