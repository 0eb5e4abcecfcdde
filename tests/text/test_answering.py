"""Short answers from texts, with their quotes, and none where nothing is sure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.answering.candidates import Source, candidates, lines_of
from mnemos.text.answering.questions import ask
from mnemos.text.answering.reader import answer

CHRISTINE = Source("christine", "Christine Ford\nChristine Ford (born 7 May 1970 in Oslo) is a Norwegian film director. She studied in Bergen.")
MANNE = Source("manne", "Shelly's Hole\nShelly's Hole is a 1999 film directed by Christine Ford. It was produced by Madhouse.")
LATER = Source("later", "Winter Wars\nWinter Wars is a 2009 Japanese animated film directed by Kenji Ito. It was produced by Toei.")
KENJI = Source("kenji", "Kenji Ito\nKenji Ito (3 March 1950 – 4 April 2010) was a Japanese director.")
PAGES = [CHRISTINE, MANNE, LATER, KENJI]


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("question", "kind", "focus"),
    [
        ("Who wrote Hamlet?", "who", ""),
        ("when did it end", "when", ""),
        ("What year did it end?", "when", "year"),
        ("Where is Oslo?", "where", ""),
        ("In which city was she born?", "where", "city"),
        ("How many rooms has the hotel?", "number", "rooms"),
        ("How long did it take?", "duration", ""),
        ("What kind of animal is it?", "thing", "animal"),
        ("Which film came first, A Day or The Night?", "choice", "film"),
        ("Is Oslo in Norway?", "yes-no", ""),
        ("Why did she leave?", "reason", ""),
        ("¿Qué?", "thing", ""),
    ],
)
def test_what_is_asked_for(question: str, kind: str, focus: str) -> None:
    asked = ask(question)
    assert asked.kind == kind
    assert asked.focus in (focus, "")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who directed Shelly's Hole?", "Christine Ford"),
        ("When was Christine Ford born?", "7 May 1970"),
        ("Where was Christine Ford born?", "Oslo"),
        ("Which film was released earlier, Shelly's Hole or Winter Wars?", "Shelly's Hole"),
        ("Which film was released more recently, Shelly's Hole or Winter Wars?", "Winter Wars"),
        ("Which film has the director who is older, Shelly's Hole or Winter Wars?", "Winter Wars"),
        ("Do both directors of films Shelly's Hole and Winter Wars have the same nationality?", "no"),
    ],
)
def test_pages_answer(question: str, expected: str) -> None:
    found = answer(question, PAGES, least=0.0)
    assert found.text == expected
    assert found.quote is not None
    source = next(page for page in PAGES if page.id == found.quote.id)
    assert source.text[found.quote.start : found.quote.end] == found.quote.text


TURNS = [
    Source("1", "I went to a concert yesterday! My sister Anna came along.", "Maria", at(2023, 5, 8)),
    Source("2", "I started yoga last week. We moved here four years ago.", "Maria", at(2023, 6, 20)),
]


def test_a_time_is_told_so_that_it_holds_without_the_day_on_which_it_was_said() -> None:
    assert answer("When did Maria go to a concert?", TURNS, least=0.0).text == "7 May 2023"
    assert answer("When did Maria start yoga?", TURNS, least=0.0).text == "the week before 20 June 2023"


def test_time_between_is_counted() -> None:
    question = "How many days passed between the day I went to a concert and the day I started yoga?"
    sources = [TURNS[0], Source("2", "I started yoga today.", "Maria", at(2023, 6, 20))]
    assert answer(question, sources).text == str((at(2023, 6, 20) - at(2023, 5, 7)) // 86_400_000_000)
    assert answer("How many weeks ago did I start yoga?", sources, now=at(2023, 7, 4)).text == "2"


def test_several_things_are_put_together_from_several_turns() -> None:
    turns = [
        Source("1", "I visited Chicago last year.", "Tim", at(2023, 5, 8)),
        Source("2", "I visited Seattle with my brother.", "Tim", at(2023, 6, 20)),
    ]
    found = answer("Which cities has Tim visited?", turns, least=0.0)
    assert set(found.text.split(", ")) == {"Chicago", "Seattle"}
    assert [quote.id for quote in (found.quote, *found.further) if quote] in (["1", "2"], ["2", "1"])
    assert ", " not in answer("Which city has Tim visited?", turns, least=0.0).text


def test_what_happened_first_goes_by_time() -> None:
    sources = [TURNS[0], Source("2", "I started my pottery class.", "Maria", at(2023, 4, 1))]
    assert answer("Which happened first, the concert or the pottery class?", sources).text == "the pottery class"


def test_no_answer_where_nothing_is_sure() -> None:
    unrelated = [Source("1", "The weather was fine and we had some rain later on.")]
    found = answer("Who directed Shelly's Hole?", unrelated)
    assert not found
    assert answer("Who directed Shelly's Hole?", PAGES, least=1.0).text == ""
    assert answer("Who directed Shelly's Hole?", []).quote is None
    assert answer("Who directed Shelly's Hole?", [Source("1", " ")]).confidence == 0.0


def test_the_right_evidence_makes_it_surer() -> None:
    right = answer("Who directed Shelly's Hole?", [MANNE], least=0.0).confidence
    wrong = answer("Who directed Shelly's Hole?", [CHRISTINE], least=0.0).confidence
    assert right > wrong


@pytest.mark.parametrize(("question", "least"), [("", 0.2), ("?!", 0.2), ("Who?", -0.1), ("Who?", 1.1)])
def test_bad_input_is_refused(question: str, least: float) -> None:
    with pytest.raises(Invalid):
        answer(question, PAGES, least=least)


@given(st.text(min_size=1, max_size=60), st.lists(st.text(max_size=150), max_size=3))
def test_any_question_and_texts_are_read_and_quotes_are_verbatim(question: str, texts: list[str]) -> None:
    sources = [Source(str(number), text, time=at(2023, 1, 1)) for number, text in enumerate(texts)]
    asked = ask(question)
    for one in candidates(sources, lines_of(sources, asked.terms)):
        assert 0 <= one.start < one.end <= len(texts[one.line.source])
        assert one.key
    if asked.low:
        found = answer(question, sources, least=0.0)
        assert 0 <= found.confidence <= 1
        if found.quote is not None:
            assert texts[int(found.quote.id)][found.quote.start : found.quote.end] == found.quote.text


def test_the_page_of_the_documentation_says_what_is_so() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "answers.md").read_text("utf-8")
    block = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Any] = {}
    before, said = "", 0
    for line in block.splitlines():
        code, arrow, value = line.partition("  # → ")
        if arrow:
            exec(before, names)
            assert repr(eval(code, names)) == value
            before, said = "", said + 1
        else:
            before += line + "\n"
    assert said == 3


@pytest.mark.parametrize("piece", [" ", ".", "“", "(1999 ", "it ", "A ", "Anna said it. ", "the ", "a-", "1,", "9", "May 5 "])
def test_time_is_linear_whatever_the_text(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    for question in ("Who said it?", "Which came first, Anna or May?", "How many days passed between May and Anna?", "Are Anna and May both old?"):
        found = answer(question, [Source("1", text, time=at(2023, 1, 1))], now=at(2023, 2, 1), least=0.0)
        assert 0 <= found.confidence <= 1


def test_the_same_texts_give_the_same_answer() -> None:
    question = "Who directed Winter Wars?"
    assert answer(question, PAGES) == answer(question, list(PAGES))
