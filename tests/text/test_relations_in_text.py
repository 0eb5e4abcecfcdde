"""What a text says of two things at once, and which things a corpus speaks of together."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.cooccurrence import Cooccurrence
from mnemos.text.relations_in_text import relations


def triples(text: str, author: str | None = None) -> set[tuple[str, str, str]]:
    return {(one.head, one.relation, one.tail) for one in relations(text, author)}


@pytest.mark.parametrize(
    ("text", "author", "expected"),
    [
        ("Summer Wars\nIt was produced by Madhouse.", None, ("summer wars", "produced by", "madhouse")),
        ("Mamoru Hosoda was born in Kamiichi and married Anna Ito.", None, ("mamoru hosoda", "marry", "anna ito")),
        ("Berlin is the capital of Germany.", None, ("berlin", "capital of", "germany")),
        ("Anna's brother Bob lives near Munich.", None, ("anna", "brother", "bob")),
        ("Anna's brother Bob lives near Munich.", None, ("bob", "live near", "munich")),
        ("I came with my sister Anna.", "Maria", ("maria", "sister", "anna")),
        ("I live in Paris.", "Maria", ("maria", "home", "paris")),
    ],
)
def test_frames_and_statements(text: str, author: str | None, expected: tuple[str, str, str]) -> None:
    assert expected in triples(text, author)


def test_what_is_asked_or_not_linked_states_nothing() -> None:
    assert triples("Did Anna marry Bob?") == set()
    assert triples("Anna. Bob.") == set()
    assert not any(head == "29 games" for head, _, _ in triples("The 29 games played at Wembley drew Anna."))


def test_denials_are_no_affirmations() -> None:
    found = [one for one in relations("Anna did not marry Bob.") if one.tail == "bob"]
    assert found
    assert not any(one.positive for one in found)


def test_when_a_relation_holds() -> None:
    def micros(year: int, month: int) -> int:
        return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1_000_000

    moved = next(one for one in relations("Anna moved to Paris in May 2020.") if one.relation == "move to")
    assert (moved.valid_from, moved.valid_to) == (micros(2020, 5), None)
    won = next(one for one in relations("Anna won the Grand Prix in 2020.") if one.relation == "win")
    assert (won.valid_from, won.valid_to) == (micros(2020, 1), micros(2021, 1))


@given(st.text(max_size=200), st.sampled_from([None, "Ann"]))
def test_any_text_gives_sentences_that_are_in_it(text: str, author: str | None) -> None:
    for one in relations(text, author):
        assert text[one.start : one.end] == one.sentence
        assert 0 < one.confidence <= 1


@pytest.mark.parametrize("piece", [" ", ".", "“", "it ", "Anna ", "Anna met Bob. ", "Anna's ", "a-", "1,"])
def test_time_is_linear_whatever_the_text(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    assert all(text[one.start : one.end] == one.sentence for one in relations(text, "Maria"))


UNITS = [["a", "b"], ["a", "b", "c"], ["c", "d"], ["d"], ["a", "a"]]


def test_pmi_is_that_of_the_counts() -> None:
    counts = Cooccurrence(UNITS)
    assert counts.together("a", "b") == 2
    assert counts.pmi("a", "b") == pytest.approx(math.log(2 * 5 / (3 * 2)))
    assert counts.npmi("a", "b") == pytest.approx(math.log(2 * 5 / (3 * 2)) / -math.log(2 / 5))
    assert (counts.pmi("a", "d"), counts.npmi("a", "d")) == (-math.inf, -1.0)
    assert [key for key, _ in counts.beside("c")] == ["b", "d", "a"]
    assert [key for key, _ in counts.beside("a", least=2)] == ["b"]


def test_units_can_be_taken_back_in_any_order() -> None:
    counts = Cooccurrence([*UNITS, ["a", "d", "x"]])
    counts.remove(["x", "d", "a"])
    assert vars(counts) == vars(Cooccurrence(UNITS))
    with pytest.raises(Invalid, match="never added"):
        counts.remove(["x"])
