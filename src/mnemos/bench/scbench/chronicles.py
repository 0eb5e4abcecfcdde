"""Reading a chronicle back, for the oracle: what each sentence says, and the state on a day. It shares no code with the generator's engine."""

from __future__ import annotations

import re
from datetime import date

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.words import MONTHS

_DAY = r"(\d+ [A-Z][a-z]+ \d{4})"
_ZH_DAY = r"(\d+年\d+月\d+日)"
Known = tuple[list[tuple[date, str, str]], list[tuple[date, str, str]], dict[str, str]]
"""Where people were from a day on, who had an object from a day on, and which object belonged to whom before."""


def read_english(context: str, question: str) -> str:
    """The answer to a question about an English chronicle. Raises `Invalid` where the chronicle does not tell it."""
    people = [(_date(day), who, where) for day, who, where in re.findall(rf"On {_DAY}, (\w+) (?:came|went) to the ([a-z ]+)\.", context)]
    first = [(_date(day), what, who) for what, who, day in re.findall(rf"The ([a-z ]+) was with (\w+) on {_DAY}\.", context)]
    sent = [(_date(day), what, to) for day, what, to in re.findall(rf"On {_DAY}, \w+ sent the ([a-z ]+) to (\w+)\.", context)]
    former = {whose: what for what, whose in re.findall(r"The ([a-z ]+) had once belonged to ([a-z' ]+)\.", context)}
    known: Known = (people, sorted(first + sent), former)
    day = _date(re.findall(_DAY, question)[0])
    if found := re.match(r"Where was (the )?(.+) on \d", question):
        return _place(known, found[2], day) if found[1] else _at(known[0], found[2], day)
    if found := re.match(r"Who had the (.+) on \d", question):
        return _at(known[1], found[1], day)
    return _place(known, former[re.findall(r"belonged to (.+)\?", question)[0]], day)


def read_chinese(context: str, question: str) -> str:
    """As `read_english`, of a Chinese chronicle."""
    people = [(_zh_date(day), who, where) for day, who, where in re.findall(rf"{_ZH_DAY}，(\w{{2}})(?:来到|去了)(\w{{2}})。", context)]
    first = [(_zh_date(day), what, who) for day, what, who in re.findall(rf"{_ZH_DAY}，(\w{{2}})在(\w{{2}})手里。", context)]
    sent = [(_zh_date(day), what, to) for day, what, to in re.findall(rf"{_ZH_DAY}，\w{{2}}把(\w{{2}})送给了(\w{{2}})。", context)]
    former = {whose: what for what, whose in re.findall(r"。(\w{2})从前属于(\w+)。", "。" + context.replace("。", "。。"))}
    known: Known = (people, sorted(first + sent), former)
    day = _zh_date(re.findall(_ZH_DAY, question)[0])
    asked = question.split("，", 1)[1]
    if found := re.match(r"从前属于(.+)的东西在哪里", asked):
        return _place(known, former[found[1]], day)
    if found := re.match(r"(\w{2})在谁手里", asked):
        return _at(known[1], found[1], day)
    if found := re.match(r"(\w{2})在什么地方", asked):
        return _place(known, found[1], day)
    return _at(known[0], asked[:2], day)


def choose(answer: str, options: tuple[str, ...]) -> str:
    """The letter of the option that says `answer`."""
    return "ABCDEFGH"[options.index(answer)]


def _place(known: Known, thing: str, day: date) -> str:
    return _at(known[0], _at(known[1], thing, day), day)


def _at(history: list[tuple[date, str, str]], about: str, day: date) -> str:
    """The last value of `about` up to `day`."""
    values = [(when, value) for when, whom, value in history if whom == about and when <= day]
    if not values:
        raise Invalid(f"oracle: nothing is told about {about} up to {day}")
    return max(values)[1]


def _date(text: str) -> date:
    day, month, year = text.split()
    return date(int(year), MONTHS.index(month) + 1, int(day))


def _zh_date(text: str) -> date:
    year, month, day = map(int, re.findall(r"\d+", text))
    return date(year, month, day)
