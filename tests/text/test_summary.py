"""Extractive summaries, key phrases and profiles: what they keep, and what they never do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.agreement import Memory
from mnemos.text.key_phrases import key_phrases
from mnemos.text.profile import Person, profile, profile_text
from mnemos.text.summary import DEFAULTS, Passage, SummaryParameters, centrality, coverage, request, sentences, summarise
from mnemos.text.tokens import count_tokens

HARBOUR = [
    "The harbour master closed the north quay because the crane had lost a bolt.",
    "Lunch was fine.",
    "The crane on the north quay will be repaired by Ingrid on Tuesday.",
    "Okay!",
    "Until the crane is repaired, ships unload at the south quay.",
    "Ships unload at the south quay until the crane has been repaired.",
    "Somebody laughed.",
    "The harbour master asked Ingrid to order two spare bolts.",
]


def test_what_stands_for_the_rest_is_kept_and_nothing_twice() -> None:
    found = summarise(HARBOUR, budget=60)
    assert found.tokens == count_tokens(found.text) <= 60
    assert "crane" in found.text
    assert not {"Okay!", "Somebody laughed.", "Lunch was fine."} & {sentence.text for sentence in found.sentences}
    said = {sentence.text for sentence in found.sentences}
    assert len({HARBOUR[4], HARBOUR[5]} & said) == 1
    assert [sentence.passage for sentence in found.sentences] == sorted(sentence.passage for sentence in found.sentences)


def test_every_sentence_is_one_of_the_sources() -> None:
    found = summarise([" ".join(HARBOUR)], budget=80)
    assert {sentence.text for sentence in found.sentences} <= set(HARBOUR)
    assert found.text == " ".join(sentence.text for sentence in found.sentences)


def test_more_budget_covers_more() -> None:
    shares = [summarise(HARBOUR, budget=budget).coverage for budget in (15, 40, 80, 400)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] == 1.0


def test_speakers_are_named_where_there_are_several() -> None:
    both = summarise([Passage("I live in Lisbon.", "Alice"), Passage("I moved to Berlin last year.", "Bob")], budget=50)
    assert both.text == "Alice: I live in Lisbon.\nBob: I moved to Berlin last year."
    alone = summarise([Passage("I live in Lisbon.", "Alice"), Passage("I moved to Berlin last year.", "Alice")], budget=50)
    assert "Alice:" not in alone.text


def test_nothing_fits_and_nothing_is_there() -> None:
    assert summarise(HARBOUR, budget=1).text == ""
    assert summarise([], budget=10).text == ""
    assert summarise(["", "   "], budget=10) == summarise([], budget=10)
    with pytest.raises(Invalid, match="budget"):
        summarise(HARBOUR, budget=0)
    with pytest.raises(Invalid, match="damping"):
        SummaryParameters(damping=1.5)


def test_a_tokenizer_that_counts_the_whole_higher_is_obeyed() -> None:
    def strict(text: str) -> int:
        return count_tokens(text) + 10 * text.count("\n")

    assert strict(summarise(HARBOUR, budget=60, count=strict).text) <= 60


def test_long_texts_are_summarised_piece_by_piece() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    texts = [" ".join(rng.choice(words, 8)) + "." for _ in range(3500)] + ["The vault key lies under the third stair."]
    found = summarise(texts, budget=200)
    assert 100 <= found.tokens <= 200


def test_meaning_joins_what_words_do_not() -> None:
    texts = ["The physician examined him.", "A doctor looked at the patient.", "The fence was painted green."]
    unit = np.array([[1.0, 0.0], [0.99, 0.14], [0.0, 1.0]], dtype=np.float32)
    found = summarise(texts, budget=14, embed=lambda given: unit[[texts.index(text) for text in given]], parameters=SummaryParameters(meaning=1.0))
    assert len({texts[0], texts[1]} & {sentence.text for sentence in found.sentences}) == 1


def test_centrality_is_a_distribution_and_favours_what_many_are_like() -> None:
    likeness = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=float)
    ranks = centrality(likeness, np.ones(4), 0.85)
    assert ranks.sum() == pytest.approx(1.0)
    assert ranks.argmax() == 0
    assert ranks[1] == pytest.approx(ranks[2])


def test_sentences_are_not_cut_after_abbreviations() -> None:
    assert sentences("Dr. Chen came at 5 p.m. on Monday. She left.\nThen rain。然后下雨。") == [
        "Dr. Chen came at 5 p.m. on Monday.", "She left.", "Then rain。", "然后下雨。",
    ]  # fmt: skip


def test_a_request_to_a_model_holds_notes_budget_and_speakers() -> None:
    asked = request([Passage("I live in Lisbon.", "Alice"), Passage("Noted.")], 50)
    assert "50 tokens" in asked[0]["content"]
    assert "Alice: I live in Lisbon.\nNoted." in asked[1]["content"]


@settings(max_examples=100)
@given(st.lists(st.text(max_size=80), max_size=12), st.integers(1, 200))
def test_any_texts_are_summarised_within_the_budget(texts: list[str], budget: int) -> None:
    found = summarise(texts, budget=budget)
    assert count_tokens(found.text) <= budget
    assert 0.0 <= found.coverage <= 1.0
    assert coverage("\n".join(texts), texts) == 1.0
    assert all(0.0 <= phrase.weight <= 1.0 for phrase in key_phrases(texts))


def test_key_phrases_are_what_a_text_turns_on() -> None:
    found = key_phrases(HARBOUR, 4)
    names = [phrase.text.lower() for phrase in found]
    assert any("north quay" in name or "quay" in name for name in names)
    assert any("crane" in name for name in names)
    assert found[0].weight == 1.0
    assert all(phrase.holders for phrase in found)
    assert key_phrases([], 5) == []
    assert key_phrases(["the and of"], 5) == []


def test_key_phrases_do_not_hold_each_other() -> None:
    for one in (phrases := key_phrases(HARBOUR, 20)):
        for other in phrases:
            assert one is other or not set(one.text.lower().split()) <= set(other.text.lower().split())


DAY = 86_400_000_000


def told(*lines: tuple[str, str]) -> list[Memory]:
    return [Memory(text, author, event_at=i * DAY, written=i) for i, (author, text) in enumerate(lines)]


def facts(person: Person) -> dict[str, Any]:
    return {fact.attribute: fact.value for fact in person.facts}


def test_a_profile_holds_the_newest_value_and_knows_those_before() -> None:
    people = profile(
        told(
            ("Alice", "I live in Lisbon."), ("Bob", "I live in Oslo."), ("Alice", "I moved to Berlin."), ("Alice", "My favorite color is blue."),
            ("Alice", "I like sushi and jazz."), ("Alice", "I don't like jazz anymore."), ("Alice", "My sister lives in Lyon."),
            ("Alice", "I went to Rome on Monday."), ("Alice", "I might move to Paris."), ("Alice", "Do you live in Rome?"),
        )
    )  # fmt: skip
    alice = people[0]
    assert alice.name == "alice"
    assert facts(alice) == {"home": "Berlin", "favorite color": "blue", "like": "sushi", "sister: home": "Lyon"}
    home = next(fact for fact in alice.facts if fact.attribute == "home")
    assert home.before == ("Lisbon",)
    assert home.memory == 2
    assert facts(people[1]) == {"home": "Oslo"}


def test_what_ended_is_not_in_a_profile() -> None:
    assert profile(told(("Alice", "I smoke cigarettes."), ("Alice", "I quit smoking."))) == []
    assert profile(told(("Alice", "I used to live in Porto."))) == []


def test_order_is_that_of_time_and_not_of_the_list() -> None:
    late, early = Memory("I live in Berlin now.", "Alice", event_at=2 * DAY), Memory("I live in Lisbon.", "Alice", event_at=DAY)
    assert facts(profile([late, early])[0]) == {"home": "Berlin"}


def test_profile_text_keeps_the_budget_and_ends_no_person_with_a_heading() -> None:
    people = profile(told(("Alice", "I live in Lisbon."), ("Alice", "My favorite color is blue."), ("Bob", "I live in Oslo.")))
    whole = profile_text(people, 100)
    assert whole == "alice:\n- favorite color: blue\n- home: Lisbon\nbob:\n- home: Oslo"
    for budget in range(1, 40):
        text = profile_text(people, budget)
        assert count_tokens(text) <= budget
        assert not text.endswith(":")


def test_the_user_of_an_assistant_has_a_profile() -> None:
    people = profile([Memory("I live in Lisbon.", "user"), Memory("The user likes jazz.", None, written=1)])
    assert facts(people[0]) == {"home": "Lisbon", "like": "jazz"}
    assert people[0].name == "the user"


def test_defaults_are_in_range() -> None:
    assert SummaryParameters() == DEFAULTS
