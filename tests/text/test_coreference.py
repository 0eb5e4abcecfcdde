"""Whom pronouns and descriptions mean, and texts that stand by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.text.coreference import LEAST, Discourse, voiced
from mnemos.text.entities import entities
from mnemos.text.sentence_spans import sentence_spans


def meant(*turns: tuple[str | None, str]) -> list[tuple[str, str]]:
    """What the last turn's references mean, after those before were read."""
    discourse = Discourse()
    return [[(one.surface, one.name) for one in discourse.read(text, author)] for author, text in turns][-1]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("Maria", "Hi John."), ("John", "I like your dog.")], [("I", "John"), ("your", "Maria")]),
        ([("Maria", "I live with my mom. She loves Paris.")], [("I", "Maria"), ("my", "Maria"), ("She", "Maria's mom")]),
        ([("Maria", "I bought a guitar. It sounds great.")], [("I", "Maria"), ("It", "the guitar")]),
        ([(None, "Anna met Bob. He smiled.")], [("He", "Bob")]),
        ([(None, "Anna met Bob. She smiled.")], [("She", "Anna")]),
        ([(None, "Anna called her.")], []),
        ([(None, "Anna called her boss.")], [("her", "Anna")]),
        ([(None, "Acme Corp is in Rome. The company pays well.")], [("The company", "Acme Corp")]),
        (
            [(None, "Summer Wars\nSummer Wars is a film. It was praised. The film tells of Kenji.")],
            [("It", "Summer Wars"), ("The film", "Summer Wars")],
        ),
        ([(None, "I know Sam and Tim."), (None, "They work there.")], [("They", "Sam and Tim")]),
        ([("Ann", "We love the hens."), ("Bob", "I bought 12 apples and gave 5 of them to Carla.")], [("I", "Bob"), ("them", "the apples")]),
        (
            [("Ann", "My six hens laid twelve brown eggs this week. I gave eight of them away.")],
            [("My", "Ann"), ("I", "Ann"), ("them", "the brown eggs")],
        ),
        ([("Ann", "I have 20 eggs and 3 hens. I sold 5 of them.")], [("I", "Ann"), ("I", "Ann"), ("them", "the eggs")]),
        ([(None, "We love the hens. Some of them are old.")], [("them", "the hens")]),
        ([(None, "It's raining. It is great to hear that.")], []),
        ([(None, "He said so.")], []),
        ([("Ann", 'She asked: "What do I do with my car?"')], []),
    ],
)
def test_references(turns: list[tuple[str | None, str]], expected: list[tuple[str, str]]) -> None:
    assert meant(*turns) == expected


def test_nothing_is_meant_that_was_too_long_ago() -> None:
    turns: list[tuple[str | None, str]] = [(None, "Anna left."), *[(None, "It rained. The sun shone. It was hot.")] * 3, (None, "She came back.")]
    assert meant(*turns[:1], turns[-1]) == [("She", "Anna")]
    assert meant(*turns) == []


def test_a_description_far_below_its_name_means_nothing() -> None:
    near = "Acme Corp is in Rome. The company pays well."
    far = "Acme Corp is in Rome. " + "It rained. " * 8 + "The company pays well."
    assert ("The company", "Acme Corp") in meant((None, near))
    assert ("The company", "Acme Corp") not in meant((None, far))


def test_two_that_could_be_meant_make_it_less_sure() -> None:
    sure = Discourse().read("Anna met Bob. She smiled.")[-1].confidence
    unsure = Discourse().read("Anna met Susan. She smiled.")[-1].confidence
    assert LEAST <= unsure < sure


def test_a_turn_stands_by_itself() -> None:
    discourse = Discourse(["Maria", "John"])
    text = "I'm glad, I really live with my mom and her cat. Do you like it?"
    assert voiced(text, discourse.read(text, "Maria")) == (
        "Maria is glad, Maria really lives with Maria's mom and Maria's mom's cat. Do John like it?"
    )
    assert voiced("I've met you.", Discourse(["A", "B"]).read("I've met you.", "A")) == "A has met B."
    assert voiced("He left.", []) == "He left."


def test_sentences_know_their_places() -> None:
    text = ' Dr. Smith met J. K. Rowling.  "Really?" Yes…\nお茶です。本です。'
    assert [one.text for one in sentence_spans(text)] == ["Dr. Smith met J. K. Rowling.", '"Really?"', "Yes…", "お茶です。", "本です。"]


@pytest.mark.parametrize("piece", [" ", ".", "“", '"', "(1999 ", "it ", "A", "Anna said it. ", "the company ", "'", "a-", "1,"])
def test_time_is_linear_whatever_the_text(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    found = Discourse().read(text)
    assert sentence_spans(text) or not text.strip()
    assert entities(text) is not None
    assert len(found) <= len(text)


@given(st.lists(st.tuples(st.sampled_from([None, "Ann", "Bob"]), st.text(max_size=120)), max_size=4))
def test_any_conversation_can_be_read_and_the_same_way_twice(turns: list[tuple[str | None, str]]) -> None:
    one, other = Discourse(), Discourse()
    for author, text in turns:
        found = one.read(text, author)
        assert found == other.read(text, author)
        assert all(text[ref.start : ref.end] == ref.surface and ref.confidence >= LEAST for ref in found)
        assert all(text[sentence.start : sentence.end] == sentence.text for sentence in sentence_spans(text))
        voiced(text, found)
