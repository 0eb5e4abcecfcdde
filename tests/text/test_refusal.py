"""The refusal gate: what is not quoted, not said there, or said of something else, is not claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.index.terms import term
from mnemos.text.advice import asks_advice
from mnemos.text.refusal import RefusalGate
from mnemos.text.subject import coverage, rarity, subject_terms

LAMP = "The colour of my kitchen lamp is blue. It took me a while to decide."
CLOCK = "The colour of my kitchen clock is red."
QUESTION = "What is the colour of my kitchen lamp?"
GATE = RefusalGate()


def test_an_answer_stands_by_its_quote() -> None:
    ruling = GATE.check(QUESTION, "blue", ["The colour of my kitchen lamp is blue."], [LAMP, CLOCK])
    assert ruling
    assert (ruling.reason, ruling.covered) == ("supported", 1.0)
    assert GATE.check(QUESTION, "It is blue.", ["the  colour of my kitchen\nlamp is BLUE"], [LAMP])  # space and case do not count


@pytest.mark.parametrize(
    ("answer", "quotes", "reason"),
    [
        ("blue", [], "no quote"),
        ("blue", ["  "], "no quote"),
        ("green", ["The colour of my kitchen lamp is green."], "quote not in the sources"),
        ("green", [LAMP], "answer not in the quotes"),
        ("red", [CLOCK], "quotes speak of something else"),
    ],
)
def test_what_is_not_supported_is_refused(answer: str, quotes: list[str], reason: str) -> None:
    ruling = GATE.check(QUESTION, answer, quotes, [LAMP, CLOCK])
    assert not ruling.supported
    assert ruling.reason == reason


def test_a_false_quote_beside_a_true_one_does_not_count() -> None:
    ruling = GATE.check(QUESTION, "blue", ["The colour of my kitchen lamp is blue.", "never said"], [LAMP])
    assert ruling.quotes == ("The colour of my kitchen lamp is blue.",)
    assert ruling


def test_what_is_reckoned_need_not_stand_in_the_quotes() -> None:
    quotes = ["I paid 30 dollars for the jazz fair.", "I paid 12 dollars for the jazz fair."]
    assert GATE.check("How much have I paid in total for the jazz fair?", "42", quotes, quotes)


def test_verbs_count_by_their_base_form() -> None:
    said = "I flew the drone with Samir on 9 November 2024."
    assert GATE.check("On which date did I fly the drone with Samir?", "9 November 2024", [said], [said])


def test_what_stands_around_may_say_of_what_is_spoken_but_not_the_answer() -> None:
    said, before = "It is blue, by the way.", "Which colour has your kitchen lamp?"
    assert not GATE.check(QUESTION, "blue", [said], [said])
    assert GATE.check(QUESTION, "blue", [said], [said], near=[before])
    assert not GATE.check(QUESTION, "green", [said], [said], near=[before + " Green?"])


def test_the_noun_that_is_asked_for_need_not_be_said() -> None:
    said = "The kitchen lamp is blue."
    assert GATE.check(QUESTION, "blue", [said], [said])
    assert GATE.check("Which city did Ann visit?", "Rome", ["Ann visited Rome."], ["Ann visited Rome."])
    other = "The colour of my kitchen clock is red."
    assert not GATE.check(QUESTION, "red", [other], [other])


def test_weights_say_which_words_matter() -> None:
    rare = {term("lamp"): 9.0}
    partly = ["The lamp is blue."]
    assert not GATE.check(QUESTION, "blue", partly, partly)
    assert GATE.check(QUESTION, "blue", partly, partly, weight=lambda h: rare.get(h, 0.5))


def test_advice_needs_true_quotes_only() -> None:
    said = "I come out in hives when I eat nuts."
    assert GATE.check("What should I cook on Saturday?", "a soup without nuts", [said], [said])
    assert not GATE.check("What should I cook on Saturday?", "a soup", ["I love beef."], [said])


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Can you recommend a film?", True),
        ("What should I cook on Saturday?", True),
        ("Any tips for my trip?", True),
        ("Which phone should I get?", True),
        ("What did you recommend for my trip?", False),
        ("When did I visit Rome?", False),
    ],
)
def test_advice_is_told_from_memory(text: str, advice: bool) -> None:
    assert asks_advice(text) is advice


def test_the_frame_of_a_question_is_not_its_subject() -> None:
    assert subject_terms("How many days did I spend in Rome?") == (term("spend"), term("rome"))
    assert subject_terms("What did you tell me before?") == ()
    assert coverage((), ["anything"]) == 1.0


@given(st.text(max_size=80), st.text(max_size=80), st.lists(st.text(max_size=60), max_size=4), st.lists(st.text(max_size=60), max_size=4))
def test_nothing_passes_without_a_quote_from_the_sources(question: str, answer: str, quotes: list[str], sources: list[str]) -> None:
    ruling = GATE.check(question, answer, quotes, sources)
    assert 0 <= ruling.covered <= 1
    if ruling:
        assert ruling.quotes
        assert set(ruling.quotes) <= set(quotes)


@pytest.mark.parametrize("wrong", [{"subject": 1.1}, {"answer": -0.1}])
def test_thresholds_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="refusal gate"):
        RefusalGate(**wrong)


def test_what_nobody_says_weighs_most() -> None:
    weight = rarity([LAMP, CLOCK, "Something else."])
    assert weight(term("violin")) > weight(term("lamp")) > weight(term("kitchen")) > 0
