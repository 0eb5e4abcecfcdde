"""Dates and relative times in English text. The anchor is Thursday, 25 May 2023."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.clock import from_micros, to_micros
from mnemos.text import time_expressions
from mnemos.text.time_expressions import EARLIEST, LATEST, find_times, mentions_time
from support import growth

ANCHOR = to_micros("2023-05-25T13:14:00")


def days(text: str, anchor: int | None = ANCHOR) -> list[tuple[str, str]]:
    def day(micros: int | None) -> str:
        if micros is None:
            return "?"
        return {EARLIEST: "-", LATEST: "+"}.get(micros) or from_micros(micros).date().isoformat()

    return [(day(found.start), day(found.end)) for found in find_times(text, anchor)]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("8 May, 2023", "2023-05-08", "2023-05-09"),
        ("on May 8th, 2021 we", "2021-05-08", "2021-05-09"),
        ("the 3rd of March 2020", "2020-03-03", "2020-03-04"),
        ("2023-05-08T10:00", "2023-05-08", "2023-05-09"),
        ("12/25/2022", "2022-12-25", "2022-12-26"),
        ("25.12.2022", "2022-12-25", "2022-12-26"),
        ("May 2023", "2023-05-01", "2023-06-01"),
        ("late May 2023", "2023-05-21", "2023-06-01"),
        ("December of 2022", "2022-12-01", "2023-01-01"),
        ("in 2022", "2022-01-01", "2023-01-01"),
        ("summer of 2021", "2021-06-01", "2021-09-01"),
        ("winter 2021", "2021-12-01", "2022-03-01"),
        ("the 1990s", "1990-01-01", "2000-01-01"),
        ("from 3 May 2023 to 7 May 2023", "2023-05-03", "2023-05-08"),
        ("between May 2023 and July 2023", "2023-05-01", "2023-08-01"),
        ("before 2020", "-", "2020-01-01"),
        ("after June 2022", "2022-07-01", "+"),
        ("since 2016", "2016-01-01", "+"),
        ("the week before 9 June 2023", "2023-06-02", "2023-06-09"),
        ("the Friday before 22 October 2023", "2023-10-20", "2023-10-21"),
        ("the sunday after May 8 2023", "2023-05-14", "2023-05-15"),
        ("three days after 1 May 2023", "2023-05-04", "2023-05-05"),
    ],
)
def test_absolute_times_need_no_anchor(text: str, start: str, end: str) -> None:
    assert days(text) == days(text, None) == [(start, end)]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("yesterday", "2023-05-24", "2023-05-25"),
        ("the day before yesterday", "2023-05-23", "2023-05-24"),
        ("the day after tomorrow", "2023-05-27", "2023-05-28"),
        ("last night", "2023-05-24", "2023-05-25"),
        ("this morning", "2023-05-25", "2023-05-26"),
        ("last Friday", "2023-05-19", "2023-05-20"),
        ("last Thursday", "2023-05-18", "2023-05-19"),
        ("next Friday", "2023-05-26", "2023-05-27"),
        ("next Thursday", "2023-06-01", "2023-06-02"),
        ("on Wednesday", "2023-05-24", "2023-05-25"),
        ("last week", "2023-05-15", "2023-05-22"),
        ("next week", "2023-05-29", "2023-06-05"),
        ("last weekend", "2023-05-20", "2023-05-22"),
        ("this weekend", "2023-05-27", "2023-05-29"),
        ("last month", "2023-04-01", "2023-05-01"),
        ("next month", "2023-06-01", "2023-07-01"),
        ("last year", "2022-01-01", "2023-01-01"),
        ("last March", "2023-03-01", "2023-04-01"),
        ("last May", "2022-05-01", "2022-06-01"),
        ("last summer", "2022-06-01", "2022-09-01"),
        ("in December", "2022-12-01", "2023-01-01"),
        ("May 30", "2023-05-30", "2023-05-31"),
        ("December 30", "2022-12-30", "2022-12-31"),
        ("a couple of days ago", "2023-05-23", "2023-05-24"),
        ("two weeks ago", "2023-05-08", "2023-05-15"),
        ("3 years ago", "2020-01-01", "2021-01-01"),
        ("in three days", "2023-05-28", "2023-05-29"),
        ("the past two weeks", "2023-05-11", "2023-05-26"),
    ],
)
def test_relative_times_hang_on_the_anchor(text: str, start: str, end: str) -> None:
    assert days(text) == [(start, end)]
    assert days(text, None) == [("?", "?")]


@pytest.mark.parametrize(
    "text", ["I may go", "we march on", "it was last", "31/31/2020", "version 1.2.3.4", "room 2020", "", "9999 years ago", "the day of"]
)
def test_what_is_no_time(text: str) -> None:
    assert days(text) == []


def test_an_offset_from_an_event() -> None:
    (found,) = find_times("We met two weeks before the wedding, I think", ANCHOR)
    assert (found.kind, found.offset_days, found.event, found.start) == ("event", -14, "the wedding", None)


def test_several_times_and_their_places() -> None:
    text = "Yesterday I ran; on 3 May 2023 I rested."
    assert [text[slice(*found.span)] for found in find_times(text, ANCHOR)] == ["Yesterday", "3 May 2023"]


_WORDS = """
last next this two a few 31 30 02 99 0 9999 weeks days year years ago before after of the May March Sunday winter 2023 1900 in from to between
and - / . , : yesterday wedding é
"""
_PIECES = st.sampled_from([*_WORDS.split(), "\n", "\ud800"])


@given(st.lists(_PIECES, max_size=40).map(" ".join) | st.text(), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_no_text_and_no_anchor_raises(text: str, anchor: int | None) -> None:
    for found in find_times(text, anchor):
        assert (found.start is None) == (found.end is None)
        assert found.start is None or found.start < found.end
        assert 0 <= found.span[0] < found.span[1] <= len(text)
        assert mentions_time(text)


@pytest.mark.parametrize("piece", ["two weeks before ", "last ", "1/", "the day ", "May ", "between 2020 and ", " \t\n"])
def test_time_is_linear_in_the_text(piece: str) -> None:
    assert growth(lambda size: find_times(piece * size, ANCHOR), 2_000) < 24


PIECES = [
    "in", "since", "the", "a", "couple", "of", "two", "twenty", "weeks", "ago", "last", "next", "this", "May", "may", "march", "Sept.",
    "monday", "Tuesdays", "spring", "of", "day", "before", "yesterday", "after", "tomorrow", "3", "12th", "2023", "2023-05-08", "5/6/23",
    "1990s", "early", "mid-June", "for", "past", "few", "hours", "wedding", "x.may", "“", "—", "é", "ſunday",
]


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([" ", "  ", "   ", "\n", ", ", ". ", "-"])), max_size=25))
@settings(max_examples=500, deadline=None)
def test_looking_only_near_words_of_time_misses_nothing(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in parts)
    assert [m.span() for m in time_expressions._matches(text)] == [m.span() for m in time_expressions._PATTERN.finditer(text)]
