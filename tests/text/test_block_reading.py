"""Answers that stand by their quotes: blocks, quotes that are looked up, a model that lies, fails or refuses, and the rules in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.clock import to_micros
from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Message
from mnemos.text.answering.candidates import Source
from mnemos.text.asking import Report
from mnemos.text.block_reading import blocks_of, grounded, quotes_by_rules, quotes_of

LAMP = Source("a", "We talked a while. The kitchen lamp is blue now, I painted it.", "Ann", to_micros("2024-03-01"))
CLOCK = Source("b", "The hall clock is red.", "Ann", to_micros("2024-03-02"))
NUTS = Source("c", "I come out in hives when I eat nuts.", "Ann", to_micros("2024-03-03"))
QUESTION = "What is the colour of the kitchen lamp?"


class Scripted:
    """A model that answers each prompt by a function of what it is shown."""

    fingerprint = "scripted"

    def __init__(self, extract: Callable[[str], Any], answer: Callable[[str], Any]) -> None:
        self.extract, self.answer = extract, answer
        self.batches: list[int] = []

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        self.batches.append(len(conversations))
        out = []
        for conversation in conversations:
            shown = conversation[-1]["content"]
            said = (self.answer if "The quotes:" in shown else self.extract)(shown)
            out.append(said if isinstance(said, str) else json.dumps(said))
        return out


def quoting(*texts: str) -> Callable[[str], Any]:
    """Quotes those of `texts` that stand in what is shown, each from the first turn."""
    return lambda shown: {"quotes": [{"id": f"m{i}", "text": text} for text in texts for i in range(1, 4) if f'"m{i}"' in shown]}


def saying(answer: str, *rests_on: str, known: bool = True) -> Callable[[str], Any]:
    return lambda _: {"known": known, "answer": answer, "rests_on": list(rests_on)}


# -- with a model --
def test_a_models_answer_stands_by_quotes_that_are_looked_up() -> None:
    chat, report = Scripted(quoting("the kitchen LAMP is blue now"), saying("blue", "q1")), Report()
    found = grounded(QUESTION, [CLOCK, LAMP], chat=chat, report=report)
    assert (found.text, found.reason, found.by) == ("blue", "supported", "scripted")
    (quote,) = found.quotes
    assert (quote.id, quote.text) == ("a", "The kitchen lamp is blue now")
    assert LAMP.text[quote.start : quote.end] == quote.text
    assert report.unsupported == 1  # the clock's turn does not say it


def test_blocks_are_asked_for_in_one_batch() -> None:
    chat = Scripted(quoting("The kitchen lamp is blue now"), saying("blue", "q1"))
    assert grounded(QUESTION, [LAMP, CLOCK, NUTS], chat=chat, block_tokens=10).text == "blue"
    assert chat.batches == [3, 1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (saying("green", "q1"), "answer not in the quotes"),
        (saying("blue"), "no quote"),
        (saying("blue", "q9"), "no quote"),
        (saying("", "q1"), "not told"),
        (saying("blue", "q1", known=False), "not told"),
    ],
)
def test_what_its_quotes_do_not_support_is_not_claimed(answer: Callable[[str], Any], reason: str) -> None:
    found = grounded(QUESTION, [LAMP], chat=Scripted(quoting("The kitchen lamp is blue now"), answer))
    assert not found
    assert found.reason == reason


def test_the_value_of_another_thing_is_not_claimed() -> None:
    found = grounded(QUESTION, [CLOCK], chat=Scripted(quoting("The hall clock is red."), saying("red", "q1")))
    assert (found.text, found.reason) == ("", "quotes speak of something else")
    assert found.quotes[0].id == "b"


def test_invented_quotes_leave_nothing_to_answer_from() -> None:
    report = Report()
    found = grounded(QUESTION, [LAMP], chat=Scripted(quoting("The kitchen lamp is green"), saying("green", "q1")), report=report)
    assert (found.text, found.reason, report.unsupported) == ("", "no quote", 1)


def test_advice_rests_on_what_shares_no_word_with_it() -> None:
    chat = Scripted(quoting("I come out in hives when I eat nuts."), saying("a soup without nuts", "q1"))
    assert grounded("What should I cook on Saturday?", [CLOCK, NUTS], chat=chat).text == "a soup without nuts"


@pytest.mark.parametrize("said", ["I cannot help with that.", "{oops", '{"quotes": "none"}'])
def test_a_model_of_no_use_gives_way_to_the_rules(said: str) -> None:
    report = Report()
    found = grounded(QUESTION, [LAMP, CLOCK], chat=Scripted(lambda _: said, lambda _: said), report=report)
    assert found.by == "rules"
    assert found.quotes
    assert all(quote.text in {"a": LAMP.text, "b": CLOCK.text}[quote.id] for quote in found.quotes)
    assert sum(report.as_json()["refused"].values()) >= 2


def test_a_model_that_is_away_gives_way_to_the_rules() -> None:
    def away(_: str) -> Any:
        raise ModelUnavailable("the server does not answer")

    assert grounded(QUESTION, [LAMP, CLOCK], chat=Scripted(away, away)).by == "rules"


# -- without --
def test_the_rules_answer_from_a_sentence_and_refuse_what_is_of_something_else() -> None:
    found = grounded("Where did Ann move in May?", [Source("x", "Ann moved to Lisbon in May.", "Ann"), CLOCK])
    assert "Lisbon" in found.text
    assert found.quotes[0].text == "Ann moved to Lisbon in May."
    refused = grounded("Where did Tom buy the violin?", [Source("x", "Ann moved to Lisbon in May.", "Ann"), CLOCK])
    assert (refused.text, refused.by) == ("", "rules")
    assert refused.reason != "supported"


def test_nothing_is_claimed_of_nothing() -> None:
    assert not grounded(QUESTION, [])
    assert not grounded(QUESTION, [], chat=Scripted(quoting(), saying("blue")))
    with pytest.raises(Invalid):
        grounded("…", [LAMP])
    with pytest.raises(Invalid, match="block_tokens"):
        grounded(QUESTION, [LAMP], block_tokens=0)


def test_rules_quote_the_sentences_that_speak_of_the_question() -> None:
    assert [quote.text for quote in quotes_by_rules(QUESTION, [LAMP, CLOCK])] == ["The kitchen lamp is blue now, I painted it."]
    assert quotes_by_rules("What did you say?", [LAMP]) == []


# -- blocks --
@given(st.lists(st.integers(0, 60), max_size=30), st.integers(1, 80))
def test_blocks_hold_everything_once_in_order_and_fit(lengths: list[int], limit: int) -> None:
    sources = [Source(str(i), "x" * length) for i, length in enumerate(lengths)]
    blocks = blocks_of(sources, limit, len)
    assert [source for block in blocks for source in block] == sources
    assert all(len(block) == 1 or sum(len(source.text) for source in block) <= limit for block in blocks)
    assert all(blocks)


def test_a_quote_counts_once_and_only_from_the_turn_that_it_names() -> None:
    twice = lambda _: {"quotes": [{"id": "m1", "text": "The hall clock"}] * 2 + [{"id": "m2", "text": "The hall clock"}, {"id": "zz", "text": "x"}]}  # noqa: E731
    report = Report()
    (found,) = quotes_of("?", [[CLOCK, LAMP]], Scripted(twice, saying("")), report)
    assert [quote.id for quote in found] == ["b"]
    assert report.unsupported == 2
