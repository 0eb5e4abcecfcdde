"""A solver that reads the ground truth from the context by parsing it, and never sees an answer: what a perfect memory would score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.articles import Report
from mnemos.bench.scbench.chronicles import choose, read_chinese, read_english
from mnemos.bench.scbench.functions import describe, facts_of, functions_in
from mnemos.bench.scbench.records import COMPACT, Record

Solver = Callable[[str, str, tuple[str, ...]], str]
"""Gives the answer from the context, the question and the options."""

_US = re.compile(r"(\d\d)/(\d\d)/(\d{4})")


def answers(record: Record) -> list[str]:
    """What a perfect memory answers to each turn of a session, of either rendering. Raises as `solve`."""
    if record.rendering == COMPACT:
        from mnemos.bench.scbench.compact_oracle import solve as read  # only where it is asked for: it reads the reference model's language

        return [read(record.context, turn.input) for turn in record.turns]
    return [solve(record.kind(turn), record.context, turn.input, turn.options) for turn in record.turns]


def solve(kind: str, context: str, question: str, options: tuple[str, ...] = ()) -> str:
    """The answer to a question of a text record of that kind. Raises `Invalid` where the question or the context is not of the generated form."""
    try:
        return _SOLVERS[kind](context, question, options)
    except (KeyError, IndexError, AttributeError, TypeError, StopIteration) as problem:
        raise Invalid(f"oracle: cannot read this question of kind {kind!r}: {question[:80]!r}") from problem


def _kv(context: str, question: str, _: tuple[str, ...]) -> str:
    (key,) = re.findall(r'"([^"]+)"', question)
    pairs: dict[str, str] = dict(re.findall(r'"([^"]+)": "([^"]+)"', context))
    return pairs[key]


def _prefix_suffix(context: str, question: str, _: tuple[str, ...]) -> str:
    first, last = re.findall(r'"([^"]+)"', question)
    (found,) = [line for line in context.splitlines() if line.startswith(first) and line.endswith(last)]
    return found


def _multi_hop(context: str, question: str, _: tuple[str, ...]) -> str:
    value = _only(r"the value (\d+)", question)
    held: dict[str, str] = {}
    for name, other, number in re.findall(r"VAR ([A-Z]+) = (?:VAR ([A-Z]+)|(\d+))\.", context):
        held[name] = number or held.get(other, "")
    return ", ".join(name for name, number in held.items() if number == value)


def _repoqa(context: str, question: str, _: tuple[str, ...]) -> str:
    wanted = question.split("\n\n", 1)[1]
    (found,) = [code for code in functions_in(context) if _described(code) == wanted]
    return found.rstrip("\n")


def _described(code: str) -> str:
    """The description of a function; none of one that was cut."""
    try:
        return describe(facts_of(code))
    except Invalid:
        return ""


def _qa_english(context: str, question: str, _: tuple[str, ...]) -> str:
    return read_english(context, question)


def _qa_chinese(context: str, question: str, _: tuple[str, ...]) -> str:
    return read_chinese(context, question)


def _choice(context: str, question: str, options: tuple[str, ...]) -> str:
    return choose(read_english(context, question.split(" Answer with", 1)[0]), options)


def _math_find(context: str, question: str, _: tuple[str, ...]) -> str:
    numbers = sorted(map(int, re.findall(r"\d+", context)))
    if "largest" in question:
        return str(numbers[-1])
    if "smallest" in question:
        return str(numbers[0])
    if "median" in question:
        return str(numbers[len(numbers) // 2])
    if "frequent" in question:
        return str(Counter(numbers).most_common(1)[0][0])
    given = int(_only(r"(\d+)\?", question))
    return str(numbers[-given] if "falling order" in question else sum(number > given for number in numbers))


def _many_shot(context: str, question: str, _: tuple[str, ...]) -> str:
    case = question.removeprefix("Input: ").removesuffix("\nAnswer:")
    if "Options: " not in case:
        return _labelled(re.findall(r"Input: (.*)\nAnswer: (.*)", context), case)
    asked, listed = case.split(" Options: ")
    options: dict[str, str] = dict(re.findall(r"(\([A-F]\)) ([^(]+)", listed))
    right = _date(asked) if asked.startswith("Today") else _held(asked)
    return next(letter for letter, option in options.items() if option.strip() == right)


def _labelled(shots: list[tuple[str, str]], case: str) -> str:
    """The label, by the first word place of the examples on which labels depend."""
    for place in range(1, 5):
        table: dict[str, str] = {}
        if all(table.setdefault(shot.split()[place], label) == label for shot, label in shots) and case.split()[place] in table:
            return table[case.split()[place]]
    raise Invalid("oracle: no attribute of the examples decides the label")


def _date(asked: str) -> str:
    month, day, year = map(int, _US.findall(asked)[0])
    amount, unit, way = re.findall(r"(\d+) (days|weeks) (later|earlier)", asked)[0]
    then = date(year, month, day) + timedelta(days=int(amount) * (7 if unit == "weeks" else 1) * (1 if way == "later" else -1))
    return f"{then.month:02d}/{then.day:02d}/{then.year}"


def _held(asked: str) -> str:
    held: dict[str, str] = dict(re.findall(r"(\w+) holds the (\w+)", asked))
    for a, b in re.findall(r"(\w+) and (\w+) swap\.", asked):
        held[a], held[b] = held[b], held[a]
    return held[_only(r"What does (\w+) hold", asked)]


def _summary(context: str, question: str, _: tuple[str, ...]) -> str:
    town = _only(r"report from (.+?) in at most", question)
    article = next(part for part in re.split(r"(?=^Report \d+\. From )", context, flags=re.MULTILINE) if f"From {town}.\n" in part)
    read: Mapping[str, str] = {
        "project": r"has decided on (.+?), after years", "leader": r"It put (.+?) in charge", "millions": r"reckons with (\d+) million",
        "workers": r"On the site, (\d+) men", "began": r"Digging began on (.+?), with", "reason": r"given was that (.+?)\.",
    }  # fmt: skip
    found = {name: _only(form, article) for name, form in read.items()}
    numbers = {name: int(found.pop(name)) for name in ("millions", "workers")}
    return Report(town=town, millions=numbers["millions"], workers=numbers["workers"], **found).summary()


def _needle(context: str, question: str, _: tuple[str, ...]) -> str:
    gate = _only(r"the (\w+) gate", question)
    sentence = _only(rf"(The codes of the [^.]*\b{gate} gate[^.]* are [\d, and]+, in this order)", context)
    names, values = re.findall(r"(\w+) gate", sentence), re.findall(r"\d+", sentence)
    return str(dict(zip(names, values, strict=True))[gate])


def _only(form: str, text: str) -> str:
    """What the first group of `form` matches. Raises `Invalid` where it matches nothing."""
    found = re.search(form, text)
    if found is None:
        raise Invalid(f"oracle: {form!r} is not found")
    return str(found.group(1))


_SOLVERS: dict[str, Solver] = {
    "kv": _kv, "prefix_suffix": _prefix_suffix, "multi_hop": _multi_hop, "repoqa": _repoqa, "qa_english": _qa_english, "qa_chinese": _qa_chinese,
    "choice": _choice, "math_find": _math_find, "many_shot": _many_shot, "summary": _summary, "summary_needles": _summary, "needle": _needle,
    "repoqa_kv": _repoqa,
}  # fmt: skip
