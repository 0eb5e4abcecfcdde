"""How memories stand to each other: what replaces what, and what may hold beside the other."""

from __future__ import annotations

import dataclasses

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.text.agreement import Agreement, Memory, Relation, compare
from mnemos.text.agreement.statements import read_statements
from mnemos.text.agreement.tokens import tokens
from mnemos.text.agreement.values import compared, number_of, read_value

DAY = 86_400_000_000
START = 1_700_000_000_000_000


def judged(
    first: str, second: str, *, days: float = 3.0, authors: tuple[str | None, str | None] = ("Alice", "Alice"), type: str = "fact"
) -> Agreement:
    """The second said `days` after the first."""
    return compare(
        Memory(first, authors[0], type, event_at=START, written=1),
        Memory(second, authors[1], type, event_at=START + int(days * DAY), written=2),
    )


UPDATES = [
    ("I live in Lisbon.", "I moved to Berlin last month."),
    ("I live in Lisbon.", "I no longer live in Lisbon."),
    ("I live in Lisbon.", "We relocated from Lisbon to Austin."),
    ("I work at Siemens.", "I started a new job at Google."),
    ("I work as a nurse.", "I'm a software engineer now."),
    ("My favorite color is blue.", "Green is my favourite colour now."),
    ("Phone number: 555-0100", "I changed my phone number to 555-0199."),
    ("My manager is Rachel.", "Tom is my manager now."),
    ("I take the bus to work.", "These days I commute by bike."),
    ("I wake up at 7 am.", "I've started waking up at 5:30 am."),
    ("My rent is $900 a month.", "The landlord raised my rent to $1,050."),
    ("I lead a team of four engineers.", "I now lead a team of five engineers in my new role."),
    ("I have 37 pre-1920 coins in my collection.", "I have 38 pre-1920 coins in my collection now."),
    ("I'm vegan.", "I'm pescatarian now."),
    ("I love sushi.", "I can't stand sushi anymore."),
    ("I smoke cigarettes.", "I quit smoking."),
    ("I'm allergic to peanuts.", "It turns out I'm not allergic to peanuts."),
    ("I'm single.", "I got engaged to Tom!"),
    ("My meeting with the bank is on Monday.", "The meeting with the bank was moved to Tuesday."),
    ("I drive a Honda.", "I sold my Honda and bought a Tesla."),
    ("I use Chrome.", "I switched from Chrome to Firefox."),
    ("I prefer tea over coffee.", "I prefer coffee to tea now."),
    ("I practice the violin one hour a day.", "I practice the violin 90 minutes a day now."),
    ("I'm learning Spanish.", "I'm learning Korean now instead of Spanish."),
    ("I play tennis.", "I don't play tennis anymore."),
    ("My sister lives in Oslo.", "My sister moved to Lyon."),
    ("Our flat is on the fifth floor.", "My apartment is on the ninth floor now."),
    ("My son is a student at Saint Anne School.", "My son transferred from Saint Anne School to Oak Hill Elementary."),
    ("I have a subscription to a snack box.", "I no longer get a snack box."),
]
COMPATIBLE = [
    ("I live in Lisbon.", "My sister lives in Berlin."),
    ("I live in Lisbon.", "I live in Lisbon, Portugal."),
    ("I live in Lisbon.", "I used to live in Porto."),
    ("I live in Lisbon.", "I might move to Berlin."),
    ("I live in Lisbon.", "I'm thinking of moving to Berlin."),
    ("I live in Lisbon.", "If I lived in Berlin, I would walk more."),
    ("I live in Lisbon.", "Do you live in Berlin?"),
    ("I live in Lisbon.", "I moved to the night shift."),
    ("I like tea.", "I like coffee."),
    ("I like coffee.", "I don't like cold coffee."),
    ("I don't have much time.", "I have time."),
    ("I have a dog.", "I have a cat."),
    ("I have two cats.", "I have three dogs."),
    ("I speak French.", "I speak Polish."),
    ("My favorite color is blue.", "My favorite food is ramen."),
    ("My phone number is 555-0100.", "My office number is 555-0199."),
    ("I went to the dentist on Monday.", "I went to the dentist on Tuesday."),
    ("I had a meeting with Paolo on Friday.", "I had a meeting with Paolo on Wednesday."),
    ("I ran 5 km this morning.", "I ran 8 km today."),
    ("I prefer tea for breakfast.", "I prefer coffee after lunch."),
    ("I have a pottery class on Mondays.", "I have a yoga class on Thursdays."),
    ("My gym is Basecamp.", "My old gym was Kinetic."),
    ("My flight leaves at 8:40 am.", "My flight could be delayed to 1:30 pm."),
    ("I'm a teacher.", "I'm a mother of two."),
    ("I live in Lisbon.", "Write a letter in which I live in Berlin."),
    ("I joined Siemens.", "I joined an online tournament."),
]


@pytest.mark.parametrize(("earlier", "later"), UPDATES)
def test_a_new_value_replaces_the_old_one(earlier: str, later: str) -> None:
    found = judged(earlier, later)
    assert found.relation is Relation.UPDATE, found
    assert found.confidence >= 0.8, found
    assert found.later == 1
    assert found.outdated > 0.5
    assert found.reason["differ"]


@pytest.mark.parametrize(("earlier", "later"), COMPATIBLE)
def test_what_may_hold_side_by_side_is_no_update(earlier: str, later: str) -> None:
    for found in (judged(earlier, later), judged(later, earlier)):
        assert found.relation not in (Relation.UPDATE, Relation.CONTRADICTION) or found.confidence < 0.5, found


def test_either_order_of_arguments_tells_the_same() -> None:
    early, late = Memory("I live in Lisbon.", "Alice", written=1), Memory("I moved to Berlin.", "Alice", written=2)
    one, other = compare(early, late), compare(late, early)
    assert (one.relation, one.confidence, one.outdated) == (other.relation, other.confidence, other.outdated)
    assert (one.later, other.later) == (1, 0)
    assert one.reason["differ"][0]["values"] == ["Lisbon", "Berlin"]
    assert other.reason["differ"][0]["values"] == ["Berlin", "Lisbon"]


def test_event_time_decides_before_the_order_of_writing() -> None:
    old = Memory("I live in Lisbon.", "Alice", event_at=START, written=9)
    new = Memory("I live in Berlin now.", "Alice", event_at=START + DAY, written=1)
    assert compare(old, new).later == 1
    told_late = Memory("I live in Berlin now.", "Alice", event_at=START - DAY, written=10)
    assert compare(old, told_late).later == 0


def test_two_speakers_contradict_and_do_not_update() -> None:
    apart = judged("I live in Lisbon.", "I moved to Berlin.", authors=("Alice", "Bob"))
    assert apart.relation is Relation.INDEPENDENT
    third = judged("Rachel's phone number is 555-0100.", "Rachel's phone number is 555-0199.", authors=("Alice", "Bob"))
    assert third.relation is Relation.CONTRADICTION
    named = judged("Alice lives in Oslo.", "I live in Lyon.", authors=("Bob", "Alice"))
    assert named.relation is Relation.CONTRADICTION


def test_what_never_changes_contradicts() -> None:
    assert judged("My birthday is May 3.", "My birthday is June 9.").relation is Relation.CONTRADICTION


def test_a_memory_that_says_more_is_outdated_in_part() -> None:
    found = judged("I live in Lisbon. I work as a nurse and I have a dog named Max.", "I moved to Berlin.")
    assert found.relation is Relation.UPDATE
    assert found.outdated < 0.5
    assert judged("I live in Lisbon.", "I moved to Berlin.").outdated == 1.0


def test_a_list_is_not_over_with_one_of_its_items() -> None:
    assert judged("I like jazz and hiking.", "I don't like jazz anymore.").outdated == 0.5
    assert judged("I speak French, Greek and Polish.", "I don't speak Polish anymore.").outdated < 0.5
    assert judged("I like jazz.", "I don't like jazz anymore.").outdated == 1.0
    assert judged("I like hiking with my dog.", "I don't like hiking anymore.").outdated == 1.0


def test_two_that_agree_in_one_thing_may_name_two_others_in_its_place() -> None:
    near, beside = np.array([1.0, 0.0], dtype=np.float32), np.array([0.85, 0.527], dtype=np.float32)

    def told(first: str, second: str) -> Agreement:
        return compare(Memory(first, "A", written=1, vector=near), Memory(second, "A", written=2, vector=beside))

    assert told("I order my firewood from Pinewell.", "I order my firewood from Loggia now.").relation is Relation.UPDATE
    assert told("My kayak is moored at pier 15.", "My kayak is moored at pier 7 now.").relation is Relation.UPDATE
    assert told("I order my firewood from Pinewell.", "I order my firewood from Pinewell now.").relation is not Relation.UPDATE
    assert told("I order my firewood from Pinewell.", "I order my firewood from Loggia.").relation is not Relation.UPDATE


DUPLICATES = [
    ("I live in Lisbon.", "I live in lisbon!"),
    ("I live in Lisbon.", "I'm based in Lisbon."),
    ("My favorite color is blue.", "Blue is my favorite color."),
    ("I work at Siemens.", "I work for Siemens."),
    ("我的上司在深圳上班。", "我的上司在深圳上班"),
]
SUPPLEMENTS = [
    ("I live in Lisbon.", "I live in Lisbon with my dog Max."),
    ("I work as a nurse.", "I work as a nurse at Saint Mary's hospital."),
    ("The attic holds two boxes of old photographs.", "The attic holds two boxes of old photographs from grandfather's voyage to Java."),
]


@pytest.mark.parametrize(("first", "second"), DUPLICATES)
def test_what_says_the_same_is_a_duplicate(first: str, second: str) -> None:
    found = judged(first, second)
    assert found.relation is Relation.DUPLICATE, found
    assert found.confidence >= 0.9


@pytest.mark.parametrize(("first", "second"), SUPPLEMENTS)
def test_what_adds_is_a_supplement_and_the_longer_one_says_more(first: str, second: str) -> None:
    for found, fuller in ((judged(first, second), 1), (judged(second, first), 0)):
        assert found.relation is Relation.SUPPLEMENT, found
        assert found.fuller == fuller


def test_near_copies_that_differ_in_what_matters_are_no_duplicates() -> None:
    for first, second in (
        ("The parcel weighs 12 kg.", "The parcel weighs 21 kg."),
        ("I like olives.", "I do not like olives."),
        ("I fed the cat on Monday.", "I fed the cat on Friday."),
        ("I live in Lisbon.", "My brother lives in Lisbon."),
        ("Alice gave Bob a book.", "Bob gave Alice a book."),
        ("I flew to Rome.", "I flew from Rome."),
        ("He told her.", "She told him."),
    ):
        assert judged(first, second).relation is not Relation.DUPLICATE, (first, second)


def test_what_two_people_say_of_themselves_is_no_duplicate() -> None:
    assert judged("I love hiking.", "I love hiking.", authors=("Alice", "Bob")).relation is Relation.INDEPENDENT
    assert judged("Rachel lives in Oslo.", "Rachel lives in Oslo.", authors=("Alice", "Bob")).relation is Relation.DUPLICATE


def test_a_greeting_that_is_repeated_is_no_sure_duplicate() -> None:
    assert judged("Good morning!", "Good morning!", type="turn").confidence < 0.9
    assert judged("I went to the gym.", "I went to the gym.", days=7).confidence < 0.9


def test_the_user_of_an_assistant_is_one_person_however_called() -> None:
    found = compare(Memory("I live in Lisbon.", "user", written=1), Memory("The user lives in Berlin now.", None, written=2))
    assert found.reason["differ"], found


def test_a_weekday_of_another_week_is_another_meeting() -> None:
    first, second = "My meeting with the bank is on Monday.", "My meeting with the bank is on Tuesday."
    assert judged(first, second, days=2).relation is Relation.UPDATE
    assert judged(first, second, days=40).relation is not Relation.UPDATE
    assert judged("My pottery class is on Mondays.", "My pottery class is on Tuesdays.", days=40).relation is Relation.UPDATE


def test_short_statements_that_are_near_are_one_attribute_where_the_later_says_that_it_changed() -> None:
    near = np.array([1.0, 0.0], dtype=np.float32)
    far = np.array([0.0, 1.0], dtype=np.float32)

    def told(first: str, second: str, vector: np.ndarray) -> Agreement:
        return compare(Memory(first, "A", written=1, vector=near), Memory(second, "A", written=2, vector=vector))

    dog = ("My dog weighs 12 kg.", "My dog's weight is 15 kg now.")
    assert told(*dog, near).relation is Relation.UPDATE
    assert told(*dog, far).relation is not Relation.UPDATE
    assert told(dog[0], "My dog's weight is 15 kg.", near).relation is not Relation.UPDATE
    for first, second in (
        ("I like tea.", "I like coffee now."), ("My dog weighs 12 kg.", "My cat weighs 5 kg now."),
        ("I go to bed at 9 pm.", "I wake up at 7 am now."),
        ("I live in Lisbon.", "My sister lives in Berlin now."), ("I like olives.", "I no longer like mushrooms."),
    ):  # fmt: skip
        assert told(first, second, near).relation not in (Relation.UPDATE, Relation.CONTRADICTION), (first, second)


def test_vectors_are_reported_and_never_needed() -> None:
    vector = np.array([0.6, 0.8], dtype=np.float32)
    first, second = Memory("I live in Lisbon.", "A", written=1), Memory("I moved to Berlin.", "A", written=2)
    bare = compare(first, second)
    seen = compare(dataclasses.replace(first, vector=vector), dataclasses.replace(second, vector=vector))
    assert (seen.relation, seen.confidence) == (bare.relation, bare.confidence)
    assert seen.reason["similarity"] == 1.0
    assert "similarity" not in bare.reason


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200), st.sampled_from([None, "user", "Ann Lee"]))
def test_any_two_texts_can_be_compared(first: str, second: str, author: str | None) -> None:
    one, other = Memory(first, author, written=1), Memory(second, author, written=2)
    found, turned = compare(one, other), compare(other, one)
    assert 0.0 <= found.confidence <= 1.0
    assert 0.0 <= found.outdated <= 1.0
    assert found.relation is turned.relation
    orjson.dumps(dict(found.reason))
    same = compare(one, dataclasses.replace(one, written=2))
    assert same.relation in (Relation.DUPLICATE, Relation.INDEPENDENT)  # independent where there is no word to compare


words = st.sampled_from(
    ["i", "my", "we", "he", "the", "a", "lives", "live", "moved", "to", "in", "no", "longer", "not", "used", "now", "from", "Lisbon", "Berlin",
     "sister", "an", "hour", "for", "is", "was", "have", "3",
     "five", "on", "Monday", "am", "pm", ",", ".", ":", "and", "but", "if", "'", "s", "$5", "5:30"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(words, max_size=30))
def test_any_jumble_of_its_own_words_is_read(jumble: list[str]) -> None:
    for statement in read_statements(" ".join(jumble), "Alice"):
        assert statement.subject.owner != "?"


def test_what_is_not_english_makes_no_statements() -> None:
    german = "Ich wohne seit drei Jahren in Berlin und arbeite dort als Lehrer."
    for text in (german, "我的舅妈的生日是5月18日。", "Я живу в Москве уже пять лет.", "", "!!!"):
        assert read_statements(text, "Alice") == ()


def test_contractions_possessives_and_numbers_are_read() -> None:
    assert [token.low for token in tokens("I'm Bob's; can't, won't, it's $1,200.50 at 7:30")] == [
        "i", "am", "bob", "'s", ";", "can", "not", ",", "will", "not", ",", "it", "is", "$1,200.50", "at", "7:30",
    ]  # fmt: skip
    assert [number_of(word) for word in ("twenty-five", "$1,200", "2.5k", "third", "dozen", "word")] == [25.0, 1200.0, 2500.0, 3.0, 12.0, None]
    assert read_value(tokens("two hundred fifty dollars")).numbers[0][0] == 250.0


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ("Lisbon", "Lisbon, Portugal", "finer"),
        ("Lisbon", "Berlin", "other"),
        ("two hours", "2 hours", "same"),
        ("90 minutes", "one hour", "other"),
        ("120 minutes", "two hours", "same"),
        ("Monday at 3 pm", "Monday", "finer"),
        ("Monday", "Tuesday", "other"),
        ("7 am", "7:00 am", "same"),
        ("Seatle", "Seattle", "same"),
        ("the USA", "the United States", "same"),
        ("software engineer", "engineer", "finer"),
        ("window seats", "aisle seats", "other"),
        ("May 3", "May", "finer"),
        ("May 3", "June 3", "other"),
        ("quarter to eight", "7:45", "same"),
    ],
)
def test_values_are_compared_by_kind(first: str, second: str, relation: str) -> None:
    assert compared(read_value(tokens(first)), read_value(tokens(second))) == relation
