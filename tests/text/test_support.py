"""Support of answers read by rules: the neighbour of what was asked is no answer, whoever and whatever else is spoken of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.index.terms import term
from mnemos.text.answering.candidates import Source
from mnemos.text.answering.questions import ask
from mnemos.text.answering.reader import answer
from mnemos.text.block_reading import grounded
from mnemos.text.refusal import RefusalGate
from mnemos.text.subject import Subject, evenly, rarity, terms_of
from mnemos.text.support import evidence, fits, likelihood


def read(*texts: str, author: str | None = "user") -> list[Source]:
    return [Source(f"m{number}", text, author) for number, text in enumerate(texts)]


def weighed(question: str, sources: list[Source]) -> dict[str, float]:
    return evidence(question, answer(question, sources, least=0.0), sources, rarity([source.text for source in sources]))


def test_a_neighbour_of_what_was_asked_is_less_likely() -> None:
    sources = read("I practise the guitar for 30 minutes every day.", "We had soup in the garden.", "The violin is out of tune.")
    asked = likelihood(weighed("How long do I practise the guitar every day?", sources))
    neighbour = likelihood(weighed("How long do I practise the violin every day?", sources))
    assert asked > 0.5 > neighbour
    assert likelihood(weighed("How long do I practise the cello every day?", sources)) < neighbour


def test_the_memory_that_answers_should_speak_of_whom_was_asked() -> None:
    around = ("We ate soup.", "My brother came to dinner, and left.", "The lamp is broken again.", "It rained a lot.")
    of_him, of_me = (weighed("Where does my brother work?", read(told, *around))
                     for told in ("My brother works at the harbour in Porto.", "I work at the harbour in Porto."))  # fmt: skip
    assert (of_him["somebody else"], of_me["somebody else"]) == (0.0, 1.0)
    assert weighed("Where does my brother work?", read("He works at the harbour in Porto.", *around))["somebody else"] == 0.0
    assert likelihood(of_him) > likelihood(of_me) + 0.2


def test_what_another_speaker_says_of_herself_is_no_answer() -> None:
    sources = [Source("1", "I adopted a puppy called Rex last week.", "Maria"), Source("2", "That is lovely, I have no time for one.", "John")]
    own, other = (weighed(f"What is the name of the puppy that {name} adopted?", sources) for name in ("Maria", "John"))
    assert (own["other speaker"], other["other speaker"]) == (0.0, 1.0)
    assert likelihood(own) > 2 * likelihood(other)


def test_each_of_the_things_compared_must_be_told_of() -> None:
    sources = read("I met Tom at the beach in 2019.", "I met Mark at the office in 2021.", "The soup was cold.")
    both = weighed("Who did I meet first, Tom or Mark?", sources)
    assert both["source"] == 1.0
    one = weighed("Who did I meet first, Tom or Anna?", sources)
    assert not one or one["source"] < 1.0


def test_without_quote_or_evidence_nothing_is_likely() -> None:
    assert evidence("Where?", answer("Where?", [], least=0.0), [], evenly) == {}
    assert likelihood({}) == 0.0


def test_the_gate_says_how_likely_an_answer_must_be() -> None:
    sources = read("I moved to Lisbon.", "The hall clock is red.")
    likely = grounded("Where did I move?", sources).confidence
    assert 0 < likely < 1
    assert grounded("Where did I move?", sources, gate=RefusalGate(likely=likely))
    assert not grounded("Where did I move?", sources, gate=RefusalGate(likely=likely + 0.001))


@pytest.mark.parametrize(
    ("kind", "text", "right"),
    [
        ("number", "three bikes", True), ("number", "2024", False), ("duration", "about 9 months", True), ("duration", "the Chronicle", False),
        ("amount", "$420", True), ("amount", "timing and rhythm", False), ("when", "last Friday", True), ("when", "thrilling", False),
        ("who", "Anna", True), ("who", "my sister", True), ("who", "a red lamp", False), ("where", "the Grand Ballroom", True),
        ("where", "at ease", False), ("thing", "anything", True),
    ],
)  # fmt: skip
def test_an_answer_is_of_the_sort_that_was_asked_for(kind: str, text: str, right: bool) -> None:
    assert fits(kind, text) is right


def test_times_and_the_joints_of_compounds_are_not_what_a_question_is_about() -> None:
    subject = Subject(ask("How many shirts did I pack for my 5-day trip on 3 May 2023?"), evenly)
    assert subject.weights.keys() == {term(word) for word in ("shirts", "pack", "trip")}
    joint = Subject(ask("What holds my vegetable-dye samples?"), evenly)
    assert joint.weights.keys() == {term(word) for word in ("hold", "vegetable", "dye", "samples")}


def test_numbers_and_people_are_told_apart() -> None:
    subject = Subject(ask("How many fish are in the 30-gallon tank of my sister Anna?"), evenly)
    assert subject.numbers == {term("30")}
    assert subject.people == {term("sister"), term("anna")}


def test_words_side_by_side_must_stand_together() -> None:
    subject = Subject(ask("How often do I play table tennis?"), evenly)
    assert subject.together(["We play table tennis."]) == 1.0
    assert subject.together(["We play tennis near the kitchen table."]) < 1.0
    assert subject.together([]) == 0.0


def test_a_verb_may_be_missing_where_a_noun_may_not() -> None:
    subject = Subject(ask("Which shirts did I pack?"), evenly)
    assert subject.gap(terms_of(["I brought shirts."])) == 0.0
    assert subject.gap(terms_of(["I pack socks."])) > 0


@given(st.text(max_size=60), st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_text_is_weighed(question: str, texts: list[str]) -> None:
    sources = read(*texts)
    subject = Subject(ask(question), rarity(texts))
    held = [terms_of([text]) for text in texts]
    for share in (subject.share(held[0]), subject.gap(held[0]), subject.together(texts)):
        assert 0 <= share <= 1 + 1e-9
    if ask(question).low:
        assert 0 <= likelihood(weighed(question, sources)) <= 1
