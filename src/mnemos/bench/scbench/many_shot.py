"""Many labelled examples of a hidden rule, and a new case (task ICL.ManyShot): dates, swaps of objects, or labels that hang on attributes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial

from mnemos.bench.scbench import words
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, filling, too_short
from mnemos.bench.scbench.records import Span, Turn

SHOT_HEAD = "Below are examples, each with its answer. Answer the new case in the same way, with the answer only.\n\n"
KINDS = ("attributes", "dates", "swaps")
PLAYERS = ("Alice", "Bob", "Claire", "Dave", "Eve", "Fred", "Gertrude")
THINGS = ("ball", "book", "present", "key", "apple", "drum", "hat")
OPTIONS = 6
ATTRIBUTES = {"size": words.SIZES, "colour": words.COLOURS, "shape": words.SHAPES, "material": words.MATERIALS}

Case = tuple[str, str, tuple[str, ...]]
"""What is asked, the answer, and the answers that are possible."""


def many_shot(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Examples to the length, one kind a session. Of attributes, cases that are asked about were not among the examples, but each value that decides
    was; of dates and swaps, the answers are letters of options."""
    kind = draws.choice(KINDS)
    make = _attributes(draws) if kind == "attributes" else partial(_dated if kind == "dates" else _swapped, draws)
    asked: dict[str, Case] = {}
    while len(asked) < turns:
        case = make()
        asked[case[0]] = case
    shots: list[Case] = []

    def shot() -> str:
        while (case := make())[0] in asked:
            pass
        shots.append(case)
        return f"Input: {case[0]}\nAnswer: {case[1]}\n\n"

    texts = filling(shot, length - count(SHOT_HEAD), count)
    page = Page()
    page.add(SHOT_HEAD)
    spans = [page.add(text) for text in texts]
    made = []
    for question, answer, options in asked.values():
        evidence = _deciding(question, shots[: len(texts)], spans) if kind == "attributes" else [(spans[0][0], spans[-1][1])] if spans else []
        if not evidence:
            raise too_short("many_shot", length, "no example shows what decides the new case")
        made.append(Turn(f"Input: {question}\nAnswer:", answer, options, evidence=tuple(evidence)))
    return page.text, tuple(made)


def _deciding(question: str, shots: list[Case], spans: list[Span]) -> list[Span]:
    """The examples that share all that a label can hang on with the new case: those with the attribute that gives their labels away."""
    for place in range(len(ATTRIBUTES)):
        label: dict[str, str] = {}
        if all(label.setdefault(case[0].split()[1 + place], case[1]) == case[1] for case in shots):
            value = question.split()[1 + place]
            return [span for case, span in zip(shots, spans, strict=True) if case[0].split()[1 + place] == value]
    return []


def _attributes(draws: Draws) -> Callable[[], Case]:
    """Cases whose label hangs on one of four attributes."""
    names = list(ATTRIBUTES)
    decides = draws.below(len(names))
    values = ATTRIBUTES[names[decides]]
    label = dict(zip(values, draws.shuffled(words.LABELS), strict=False))
    options = tuple(sorted(label.values()))

    def make() -> Case:
        chosen = [draws.choice(each) for each in ATTRIBUTES.values()]
        return f"a {' '.join(chosen)} thing of {draws.between(2, 99)} parts", label[chosen[decides]], options

    return make


def _dated(draws: Draws) -> Case:
    """A date some days before or after another."""
    start = date(1950, 1, 1) + timedelta(days=draws.below(25_000))
    by, unit = draws.between(2, 40), draws.choice(("days", "weeks"))
    sign = 1 if draws.chance(50) else -1
    step = timedelta(days=by * (7 if unit == "weeks" else 1)) * sign
    right = start + step
    wrong = [right + timedelta(days=offset) for offset in draws.sample([-30, -10, -7, -2, -1, 1, 2, 7, 10, 30], OPTIONS - 1)]
    question = f"Today is {_us(start)}. What date is it {by} {unit} {'later' if sign > 0 else 'earlier'}?"
    return _lettered(question, _us(right), [_us(each) for each in wrong], draws)


def _us(day: date) -> str:
    return f"{day.month:02d}/{day.day:02d}/{day.year}"


def _swapped(draws: Draws) -> Case:
    """Seven players swap what they hold, several times."""
    held = dict(zip(PLAYERS, draws.shuffled(THINGS), strict=True))
    said = [", ".join(f"{player} holds the {thing}" for player, thing in held.items()) + "."]
    for _ in range(draws.between(3, 7)):
        a, b = draws.sample(PLAYERS, 2)
        held[a], held[b] = held[b], held[a]
        said.append(f"{a} and {b} swap.")
    who = draws.choice(PLAYERS)
    wrong = draws.sample([thing for thing in THINGS if thing != held[who]], OPTIONS - 1)
    return _lettered(" ".join(said) + f" What does {who} hold?", held[who], wrong, draws)


def _lettered(question: str, right: str, wrong: list[str], draws: Draws) -> Case:
    order = draws.shuffled([right, *wrong])
    letters = [f"({letter})" for letter in "ABCDEF"]
    listed = " ".join(f"{letter} {option}" for letter, option in zip(letters, order, strict=True))
    return f"{question} Options: {listed}", letters[order.index(right)], tuple(letters)
