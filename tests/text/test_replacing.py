"""Statements of attributes that no reader of clauses knows: what replaces what, by their frames alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.text.agreement import Memory, Relation, compare
from mnemos.text.agreement.frames import Frame, read_frame
from mnemos.text.agreement.replacing import DEFAULT, NAMES, Evidence, akin, evidence, owned_alike, replacement, shared, slot
from mnemos.text.agreement.words import word_set

NEAR, FAR = 0.75, 0.1


def frame(text: str) -> Frame:
    found = read_frame(text)
    assert found is not None, text
    return found


REPLACED = [
    ("My notary is Ms. Falk.", "Mr. Osei is my notary now."),
    ("I fly out of Heathrow.", "These days I fly out of Gatwick."),
    ("Our beehives are on plot 12.", "Our beehives are on plot 19 now."),
    ("The ferry to the island costs 14 euros.", "The ferry to the island costs 17 euros now."),
    ("I fence at the Corwen club.", "I left the Corwen club and joined the Usk one."),
    ("My pension is with Aviva.", "I moved my pension from Aviva to Legal & General."),
    ("I sail on Sundays.", "I sail on Wednesdays now instead of Sundays."),
    ("I juggle clubs.", "I no longer juggle clubs."),
]
BESIDE = [
    ("My notary is Ms. Falk.", "My notary is Mr. Osei."),  # nothing says that it changed, and no reader was asked
    ("My work locker is 12.", "My swimming locker is 19 now."),
    ("Frank fences at Corwen.", "Alice fences at Usk now."),
    ("My cousin fences at Corwen.", "I fence at Usk now."),
    ("I juggle clubs.", "I no longer whistle tunes."),
    ("I speak Welsh.", "I speak Breton now."),
    ("I take tea in the morning at Betty's.", "I take tea in the evening at Fortnum's now."),
    ("My notary is Ms. Falk.", "My old notary was Mr. Osei, now retired."),
    ("I never juggle clubs.", "I juggle rings now."),
    ("The trip took 14 hours.", "The trip takes 14 hours now."),
]


@pytest.mark.parametrize(("earlier", "later"), REPLACED)
def test_a_later_statement_that_says_what_changed_replaces_the_earlier(earlier: str, later: str) -> None:
    found = replacement(frame(earlier), frame(later), NEAR)
    assert found is not None
    assert found.confidence >= 0.8, found
    assert found.outdated >= 0.8
    far = replacement(frame(earlier), frame(later), FAR)
    assert far is not None
    assert far.confidence < found.confidence


@pytest.mark.parametrize(("earlier", "later"), BESIDE)
def test_what_may_hold_beside_it_is_not_compared(earlier: str, later: str) -> None:
    assert evidence(frame(earlier), frame(later), NEAR) is None


@pytest.mark.parametrize(
    "text",
    [
        "Do I fence at Corwen?", "I might fence at Corwen.", "I want to fence at Corwen.", "I used to fence at Corwen.",
        "I'm going to fence at Corwen.", "I previously fenced at Corwen.", "我现在住在上海。", "Corwen", "word " * 30, "x" * 10_000, "",
        "I dream of Corwen.",
    ],
)  # fmt: skip
def test_what_is_asked_wished_over_long_or_no_english_has_no_frame(text: str) -> None:
    assert read_frame(text) is None


def test_going_somewhere_is_no_plan() -> None:
    assert read_frame("We're going to Crete.") is not None


def test_a_frame_tells_what_a_statement_says() -> None:
    found = frame("My sister moved her 3 harps from Leeds to York, and we bought a van.")
    assert found.cue
    assert [value.shown for value in found.ended] == ["Leeds"]
    assert found.names >= {"leeds", "york"}
    assert "van" in found.beside
    assert frame("I sold my Saab.").ended[0].words == {"saab"}
    assert frame("Alice fences.").holder == {"alice"}
    assert frame("Green is my favorite color.").holder == frozenset()
    assert frame("My old locker is 12.").former
    assert frame("I keep bees.").several
    assert not frame("I keep the bees.").several


def test_words_of_one_family_are_akin() -> None:
    family = (("therapy", "therapist"), ("insured", "insurance"), ("subscribe", "subscription"), ("school", "schools"), ("weigh", "weight"))
    for first, second in family:
        assert akin(first, second)
        assert akin(second, first)
    for first, second in (("car", "cat"), ("house", "horse"), ("bank", "bake"), ("cards", "carpet"), ("c7", "c71")):
        assert not akin(first, second)
    assert [sorted(words) for words in shared(frozenset({"therapy", "car"}), frozenset({"therapist"}))] == [["therapy"], ["therapist"]]


def test_what_is_owned_is_compared_by_head_and_by_the_words_before_it() -> None:
    work = frame("My work email is a@example.org.")
    assert owned_alike(work, frame("My private email is b@example.org.")) == "apart"
    assert owned_alike(work, frame("My email is b@example.org.")) == "wider"
    assert owned_alike(work, frame("My work email is b@example.org.")) == "same"
    assert owned_alike(work, frame("My locker is 12.")) == ""


def test_a_slot_is_one_run_of_words() -> None:
    assert slot(frame("I speak Welsh."), frame("I speak Breton.")) == "object"
    assert slot(frame("I bank with Monzo."), frame("I bank with Chase.")) == "other"
    assert slot(frame("I bank with Monzo."), frame("Chase holds my money.")) == ""


def test_what_else_an_earlier_statement_says_is_not_outdated() -> None:
    found = replacement(frame("I fence at Corwen with my brother and his parrot."), frame("I left Corwen."), NEAR)
    assert found is not None
    assert found.outdated < 0.8


def test_a_comparison_of_memories_uses_frames_where_there_are_vectors() -> None:
    near = np.array([1.0, 0.0], dtype=np.float32)
    first = Memory("Our beehives are on plot 12.", "A", written=1, vector=near)
    second = Memory("Our beehives are on plot 19 now.", "A", written=2, vector=near)
    found = compare(first, second)
    assert found.relation is Relation.UPDATE
    assert found.confidence >= 0.8
    assert compare(first, replace(second, author="B")).relation is not Relation.UPDATE
    assert found.later == 1
    assert compare(second, first).later == 0


def test_known_attributes_are_told_apart_whatever_they_share() -> None:
    near = np.array([1.0, 0.0], dtype=np.float32)
    first, second = (Memory(text, "A", written=at, vector=near) for at, text in enumerate(("I wake up at 7 am.", "My bedtime is 11 pm now.")))
    assert compare(first, second).relation not in (Relation.UPDATE, Relation.CONTRADICTION)


def test_every_piece_of_evidence_has_a_weight() -> None:
    assert all(getattr(DEFAULT, name) for name in NAMES)
    assert Evidence().bias == 1.0


_VOCABULARY = word_set("I my our the a moved from to left now no longer new bank Monzo is 12 on Monday and with he not instead of , .")
_WORDS = st.sampled_from(sorted(_VOCABULARY))


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, max_size=14), st.lists(_WORDS, max_size=14), st.floats(-1, 1))
def test_any_words_are_judged_within_bounds(first: list[str], second: list[str], cosine: float) -> None:
    one, other = read_frame(" ".join(first)), read_frame(" ".join(second))
    found = replacement(one, other, cosine) if one and other else None
    if found:
        assert 0 <= found.confidence <= 1
        assert 0 <= found.outdated <= 1
        assert other is not None
        assert other.cue or other.ended
