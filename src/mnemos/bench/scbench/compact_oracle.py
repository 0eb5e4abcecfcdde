"""The oracle for the compact rendering: reads lines of the context, never an answer."""

from __future__ import annotations

import re

from mnemos.base.errors import Invalid
from mnemos.models.reference.language import ANSWER, QUESTION, START
from mnemos.models.reference.tasks.code import FACTS


def solve(context: str, question: str) -> str:
    """The answer to a question from `<q>` to `<a>`. Raises `Invalid` where the context does not tell it."""
    try:
        words = context.removeprefix(f"{START} ")
        return _solved(words, question.removeprefix(f"{QUESTION} ").removesuffix(f" {ANSWER}").split(" "))
    except (KeyError, IndexError, ValueError) as problem:
        raise Invalid(f"oracle: the context does not answer {question[:80]!r}") from problem


def _solved(context: str, asked: list[str]) -> str:
    kind, *rest = asked
    if kind == "key":
        return _only(rf"\b{rest[0]} {rest[1]} : ([^;]*) ;", context)
    if kind == "note":
        return _only(rf"\. note {rest[0]} {rest[1]} is (\w+ \w+) \.", context)
    if kind == "span":
        return _only(rf"span {rest[0]} {rest[1]} (\w+ \w+) {rest[4]} {rest[5]} ;", context)
    if kind == "names":
        value: dict[str, str] = {}
        for name, before in re.findall(r"(\w+) = (\w+) ;", context):
            value[name] = value.get(before, before)
        return " ".join(name for name, number in value.items() if number == rest[0])
    if kind in ("where", "choose"):
        place: str = re.findall(rf"\b{rest[0]} in (\w+) ;", context)[-1]
        return place if kind == "where" else f"{place} {rest[rest.index(place) - 1]}"
    if kind == "case":
        return _label(re.findall(r"case (\w+) (\w+) : (\w+) ;", context), rest)
    if kind == "code":
        source, kept, done = (re.escape(table[fact]) for fact, table in zip(rest, FACTS, strict=True))
        return _only(rf"fn (\w+ \( {source} \) {{ {kept} ; {done} ; return \w+ \w+ ; }})", context)
    numbers = list(map(int, _only(r"list : ([\d ]+) ;", context).split()))
    return str(max(numbers) if kind == "max" else min(numbers) if kind == "min" else numbers.count(int(rest[0])))


def _label(shots: list[tuple[str, str, str]], case: list[str]) -> str:
    """The label, by the column on which labels depend."""
    for column in (0, 1):
        table: dict[str, str] = {}
        if all(table.setdefault(shot[column], shot[2]) == shot[2] for shot in shots) and case[column] in table:
            return table[case[column]]
    raise ValueError("no column decides")


def _only(form: str, text: str) -> str:
    (found,) = re.findall(form, text)
    return str(found)
