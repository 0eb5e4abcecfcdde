"""Metrics against naive ones on 1,000 random pairs, and cases that are easy to get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import naive_metrics as naive
import pytest

from mnemos.bench.scbench import metrics
from mnemos.bench.scbench.draws import Draws

WORDS = ["the", "mill", "Mill", "straße", "STRASSE", "北京", "灯塔", "é", "é", "x1", "x12", "_a", "42", "-7",
         "٣", "²", "🙂", "(B)", "İ", "", "ﬁ", "a-b", "।"]
SPACES = [" ", "\n", "  ", "，", "", ". ", "-"]


def texts(draws: Draws) -> str:
    return "".join(draws.choice(WORDS) + draws.choice(SPACES) for _ in range(draws.below(12)))


def pairs() -> Iterator[tuple[str, str, Draws]]:
    draws = Draws("metric pairs")
    for i in range(1000):
        one = "" if i % 50 == 0 else texts(draws)
        other = "" if i % 70 == 0 else one[draws.below(len(one) + 1) :] if i % 3 == 0 else texts(draws)
        yield one, other, draws


@pytest.mark.parametrize("name", ["substring", "character_f1", "rouge_l"])
def test_a_metric_of_two_texts_is_the_naive_one(name: str) -> None:
    plain = {"substring": naive.substring, "character_f1": naive.characters, "rouge_l": naive.rouge_l}[name]
    seen = set()
    for one, other, _ in pairs():
        value = getattr(metrics, name)(one, other)
        assert value == pytest.approx(plain(one, other), abs=1e-12), (one, other)
        seen.add(round(value, 6))
    assert {0.0, 1.0} <= seen


def test_names_facts_bleu_and_numbers_are_the_naive_ones() -> None:
    for one, other, draws in pairs():
        wanted = [draws.choice(WORDS[:13]) for _ in range(draws.below(4))]
        assert metrics.names_fraction(one, wanted) == pytest.approx(naive.names(one, wanted)), (one, wanted)
        facts = [tuple(other.split()[i : i + 2]) for i in range(draws.below(3))]
        assert metrics.fact_recall(one, facts) == pytest.approx(naive.fact_recall(one, facts)), (one, facts)
        left, right = metrics.code_tokens(one), metrics.code_tokens(other)
        assert metrics.bleu(left, right) == pytest.approx(naive.bleu(left, right), abs=1e-12), (one, other)
        assert metrics.first_number(one) == naive.first_number(one), one


def test_numbers_and_the_right_function_are_the_naive_ones() -> None:
    seen = set()
    for one, other, draws in pairs():
        wanted = naive.first_number(other)
        assert metrics.number(one, other) == float(wanted is not None and naive.first_number(one) == wanted), (one, other)
        said = f"So:\n```python\n{other}\n```\nDone." if draws.chance(20) else other if draws.chance(50) else one
        assert metrics.code_tokens(said) == naive.code_tokens(said), said
        others = [one, texts(draws), other]
        value = metrics.code_match(said, other, others)
        assert value == naive.code_match(said, other, others), (said, other, others)
        seen.add(value)
    assert seen == {0.0, 1.0}


FRAGMENTS = (("(A)", "A"), ("the answer is B", "B"), ("option C", "C"), ("Answer: D", "D"), ("(E)", None), ("harbour", None), ("北京", None),
             ("it is so", None), ("", None), ("e\u0301", None), ("42", None))  # fmt: skip
"""Pieces of answers, and the letter of four that each chooses."""


def test_choices_are_the_first_letter_that_was_said() -> None:
    draws = Draws("choices")
    options = ["old mill", "quay", "chapel", "tower"]
    seen = set()
    for _ in range(1000):
        said = [draws.choice(FRAGMENTS) for _ in range(draws.below(5))]
        answer = "; ".join(text for text, _ in said)
        chosen = next((letter for _, letter in said if letter), None)
        assert metrics.letter(answer, 4) == chosen, answer
        right = draws.choice("ABCD")
        assert metrics.choice(answer, right, options) == float(chosen == right), answer
        seen.add(chosen)
    assert seen == {None, *"ABCD"}


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [("B", "B"), ("(C)", "C"), ("The answer is D.", "D"), ("Answer: (A) harbour", "A"), ("B. mill", "B"), ("A mill stands there", "A"),
     ("Answer: D", "D"), ("OPTION: C", "C"), ("It is the mill", None), ("", None),
     ("答案是(B)", "B"), ("I think (B), not (C)", "B"), ("option C", "C"), ("E", None), ("bad", None)],
)  # fmt: skip
def test_letters_are_read(answer: str, chosen: str | None) -> None:
    assert metrics.letter(answer, 4) == chosen


def test_a_choice_may_be_named_but_not_together_with_others() -> None:
    options = ["old mill", "harbour", "quay", "chapel"]
    assert metrics.choice("at the harbour", "B", options) == 1
    assert metrics.choice("harbour or quay", "B", options) == 0
    assert metrics.choice("", "B", options) == 0
    assert metrics.choice("(B)", "harbour", options) == 1  # published files name the option itself


def test_the_best_match_must_be_the_right_function_and_near_enough() -> None:
    right = "def a(x):\n    return x + 1\n"
    wrong = "def b(x):\n    return x - 1\n"
    assert metrics.code_match(right, right, [wrong, right]) == 1
    assert metrics.code_match(f"Here it is:\n```python\n{right}```\nDone.", right, [wrong, right]) == 1
    assert metrics.code_match(wrong, right, [wrong, right]) == 0
    assert metrics.code_match("def a", right, [wrong, right]) == 0
    assert metrics.code_match("", right, [wrong, right]) == 0


def test_an_expected_text_that_is_empty_is_met_by_silence_only() -> None:
    assert metrics.substring("", "") == 1
    assert metrics.substring("something", "") == 0
    assert metrics.number("5", "none") == 0


def test_variables_are_matched_whole() -> None:
    assert metrics.names_fraction("X12", ["X1"]) == 0
