"""Planning without a model: every word of a task stands in exactly one requirement, and every requirement in exactly one instruction."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.program.counting import RequestCounter, bytes_bound, last_fitting, tiktoken_counter
from mnemos.text.program.planning import instruction, missing_from, plan, requirements
from mnemos.text.tokens import token_counter

TASK = """Shortener
=========

Make a service that shortens links. It serves e.g. 1,000 users, as Dr. Smith asked. Never lose a link!

## Links ##
1. Links are short
   and are made of letters.

   They never change.
2) Two links never clash.
* Old links work:

  ```
  GET /abc
  - not a bullet
  ```
  and stay.

Deeper
------
Text under a heading that is underlined.
### Empty
"""


def test_headings_bullets_and_sentences_are_requirements() -> None:
    found = requirements(TASK)
    assert [(one.headings, one.text) for one in found] == [
        (("Shortener",), "Make a service that shortens links."),
        (("Shortener",), "It serves e.g. 1,000 users, as Dr. Smith asked."),
        (("Shortener",), "Never lose a link!"),
        (("Shortener", "Links"), "Links are short and are made of letters. They never change."),
        (("Shortener", "Links"), "Two links never clash."),
        (("Shortener", "Links"), "Old links work:\n  ```\n  GET /abc\n  - not a bullet\n  ```\nand stay."),
        (("Shortener", "Deeper"), "Text under a heading that is underlined."),
    ]
    assert [one.text for one in requirements("# A\n## B\n")] == ["A", "B"]
    assert [one.text for one in requirements("Text.\n```\ncode\n\nmore\n```\nEnd.")] == ["Text.", "```\ncode\n\nmore\n```", "End."]
    assert requirements("") == []
    assert requirements("# C# ##\n- a")[0].headings == ("C#",)
    assert [one.text for one in requirements("- a\n```\ncode\n```\n- b")] == ["a", "```\ncode\n```", "b"]


def test_instructions_repeat_requirements_word_for_word() -> None:
    steps = plan(TASK, per_step=2)
    assert steps[0] == "Under “Shortener”:\n- Make a service that shortens links.\n- It serves e.g. 1,000 users, as Dr. Smith asked."
    assert [step.count("\n- ") for step in steps] == [2, 1, 2, 1, 1]
    assert missing_from(steps, TASK) == []
    assert [one.text for one in missing_from(steps[1:], TASK)] == [one.text for one in requirements(TASK)[:2]]
    assert len(plan("- a\n- b\n- c", per_step=99)) == 1
    assert len(plan("- aaaa\n- bbbb\n- cccc", per_step=99, room=30, count=len)) == 3


def test_tasks_without_a_plan() -> None:
    for empty in ("", "   \n\n", "#\n"):
        with pytest.raises(Invalid, match="asks for nothing"):
            plan(empty)
    with pytest.raises(Invalid, match="begins 'aaaa"):
        plan("- " + "a" * 500, room=100, count=len)
    with pytest.raises(Invalid, match="at least one requirement"):
        plan("a", per_step=0)


words = st.lists(st.text("abcdefgh", min_size=1, max_size=8), min_size=1, max_size=12).map(" ".join)
lines = st.one_of(words.map(lambda w: f"- {w}"), words.map(lambda w: f"{w.capitalize()}."), words.map(lambda w: f"## {w}"), st.just(""),
                  words.map(lambda w: f"3. {w}"), words.map(lambda w: f"    {w}"))  # fmt: skip


@given(st.lists(lines, min_size=1, max_size=30), st.integers(1, 5))
def test_no_word_is_lost_and_none_is_said_twice(given_lines: list[str], per_step: int) -> None:
    task = "\n".join(given_lines)
    found = requirements(task)
    if not found:
        return
    body = " ".join(re.sub(r"^\s*(- |3\. )", "", line) for line in given_lines if not line.startswith("##"))
    if any(not line.startswith("##") and line.strip() for line in given_lines):
        assert " ".join(one.text for one in found).split() == body.split()
    steps = plan(task, per_step=per_step)
    said = [line[2:] for step in steps for line in step.split("\n") if line.startswith("- ")]
    assert said == [one.text for one in found]


def test_tokens_are_counted() -> None:
    assert [bytes_bound(text) for text in ("", "a", "abcd", "abcde", "ä" * 4)] == [0, 1, 1, 2, 2]
    counter = RequestCounter(lambda text: len(text.split()))
    assert counter.request([{"role": "user", "content": "a b c"}]) == 3
    assert RequestCounter(token_counter(lambda text: 7)).text("x") == 7
    assert counter.cut("one two three four", 4, lambda whole, shown: "!") == "one two three four"
    cut = RequestCounter(len).cut("x" * 100, 30, lambda whole, shown: f"[{shown} of {whole}]")
    assert cut == "x" * 15 + "[15 of 100]" or len(cut) <= 28
    assert cut.endswith("of 100]")
    assert [last_fitting([5, 1, 2], room) for room in (0, 2, 3, 8, 7)] == [3, 2, 1, 0, 1]
    assert instruction(requirements("- a")) == "What is asked for:\n- a"


def test_tiktoken_is_optional() -> None:
    try:
        import tiktoken  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        from mnemos.base.errors import ModelUnavailable

        with pytest.raises(ModelUnavailable, match="tiktoken is not installed"):
            tiktoken_counter("gpt-4")
    else:
        with pytest.raises(Invalid, match="knows no model"):
            tiktoken_counter("nothing-like-this")
