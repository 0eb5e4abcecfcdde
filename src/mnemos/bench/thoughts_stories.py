"""Consistency: stories with a derived quantity, each asked for in five ways, with a reasoner that errs in one derivation of five."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.stats import wilson
from mnemos.bench.embedding import CountingEmbedder
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.kernel.space import Space
from mnemos.text.thoughts.strategy import Parameters, Thoughts

STORIES, QUICK = 200, 20
ERRS = 0.2
CONSISTENT, CORRECTED = 0.95, 0.95
START = datetime(2024, 3, 4, 9, tzinfo=UTC)
THINGS = ("eggs", "apples", "candles", "stamps", "tickets", "pencils", "jars", "cookies", "tiles", "seeds", "bricks", "muffins")
GETS = ("I bought {n} {t} at the market.", "I picked {n} {t} this morning.", "I got {n} {t} from my aunt.", "I have {n} {t}.", "I collected {n} {t}.")
PARTS = ("I used {n} {t} yesterday.", "I sold {n} {t} to a neighbour.", "I gave {n} {t} to my sister.", "I lost {n} {t} on the way home.")
CHAT = (
    "The weather was lovely today.",
    "I slept badly last night.",
    "My train was late again.",
    "I watched a film about whales.",
    "It rained all day.",
)
ASKED = (
    "How many {t} do I have left?", "How many {t} are left?", "What number of {t} do I still have?", "How many {t} remain?",
    "Do you know how many {t} I have left?",
)  # fmt: skip
NOTE = (
    f"Stories: the reasoner is a stub that derives the right number from the whole history, and a wrong one with p = {ERRS}, anew each time it has "
    "to. Raw: it derives at every question. Thoughts: it recalls a stored conclusion where the search gives one (a thought that says how many are "
    "left), and else derives and answers, and its answer is thought over. Tallies: as thoughts, and the rules draw the conclusion themselves. After "
    "the first round the user objects to every wrong conclusion, once, and the five questions are asked again."
)


@dataclass
class Story:
    """What is told, in order, and what follows from it."""

    thing: str
    turns: list[str]
    left: int
    answers: dict[str, list[int]] = field(default_factory=dict)


def story(number: int, rng: np.random.Generator) -> Story:
    """Something got, two or three parts of it gone, and small talk between."""
    thing = THINGS[number % len(THINGS)]
    left = int(rng.integers(15, 40))
    turns = [str(rng.choice(GETS)).format(n=left, t=thing)]
    for part in rng.choice(PARTS, int(rng.integers(2, 4)), replace=False):
        gone = int(rng.integers(2, 5))
        left -= gone
        turns += [str(rng.choice(CHAT)), str(part).format(n=gone, t=thing)]
    return Story(thing, turns, left)


class Reasoner:
    """Adds up what was told, and errs now and then."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def derive(self, told: Story) -> int:
        return told.left + (int(self._rng.choice([-2, -1, 1, 2])) if self._rng.random() < ERRS else 0)


def measure(options: Options, embedder: CountingEmbedder, folder: Path) -> tuple[list[Check], dict[str, Any]]:
    """Share of stories of which all five answers are equal, of answers that are right, and of wrong conclusions that an objection corrects."""
    rng = options.rng()
    told = [story(number, rng) for number in range(QUICK if options.quick else STORIES)]
    first = [Reasoner(np.random.default_rng([options.seed, 1, number])) for number in range(len(told))]
    for one, reasoner in zip(told, first, strict=True):
        one.answers["raw"] = [reasoner.derive(one) for _ in ASKED]
    corrected: list[bool] = []
    for name, derive in (("thoughts", False), ("tallies", True)):
        with mnemos.open(str(folder / f"{name}.db"), embedder=embedder) as memory:
            memory._strategies["thoughts"] = Thoughts(Parameters(derive=derive))
            for number, one in enumerate(told):
                options.say(f"{name}: story {number + 1} of {len(told)}")
                reasoner = Reasoner(np.random.default_rng([options.seed, 1, number]))
                memory_of = Remembering(memory.space(f"story {number}", strategy="thoughts"), one, reasoner.derive)
                one.answers[name] = memory_of.ask()
                if name == "thoughts" and one.answers[name][0] != one.left:
                    memory_of.tell("user", f"No, that's wrong. I have {one.left} {one.thing} left.")
                    corrected.append(memory_of.ask() == [one.left] * len(ASKED))
    rows = {}
    for name in ("raw", "thoughts", "tallies"):
        same = sum(len(set(one.answers[name])) == 1 for one in told)
        right = [answer == one.left for one in told for answer in one.answers[name]]
        rows[name] = {"n": len(told), "all five equal": same / len(told), "right": float(np.mean(right))}
    single = float(np.mean([one.answers["raw"][0] == one.left for one in told]))
    checks = [
        Check.of("stories with five equal answers, thoughts", wilson(round(rows["thoughts"]["all five equal"] * len(told)), len(told)), CONSISTENT,
                 baseline=rows["raw"]["all five equal"]),
        Check("right answers, thoughts", rows["thoughts"]["right"], single, baseline=rows["raw"]["right"], n=len(told)),
        Check.of("stories with five equal answers, tallies", wilson(round(rows["tallies"]["all five equal"] * len(told)), len(told)), CONSISTENT,
                 baseline=rows["raw"]["all five equal"]),
        Check("right answers, tallies", rows["tallies"]["right"], None, baseline=rows["raw"]["right"], n=len(told)),
        Check.of("wrong conclusions corrected by an objection", wilson(sum(corrected), len(corrected)), CORRECTED),
    ]  # fmt: skip
    return checks, {"Stories with a derived quantity": rows}


class Remembering:
    """One story in a space, and who answers from what is remembered of it."""

    def __init__(self, space: Space, told: Story, derive: Callable[[Story], int]) -> None:
        self.space, self.told, self.derive = space, told, derive
        self._minutes = 0
        for turn in told.turns:
            self._add("user", turn)
        space.consolidate()

    def _add(self, author: str, text: str) -> None:
        self._minutes += 1
        self.space.add(text, type="turn", author=author, event_at=START + timedelta(minutes=self._minutes), metadata={"session": 1})

    def tell(self, author: str, text: str) -> None:
        self._add(author, text)
        self.space.consolidate()

    def ask(self) -> list[int]:
        return [self._answer(question.format(t=self.told.thing)) for question in ASKED]

    def _answer(self, question: str) -> int:
        said = re.compile(rf"\b(\d+) {self.told.thing} left\b")
        for hit in self.space.search(question, k=5, types=["thought"]):
            found = said.search(hit.cube.text)
            if found:
                return int(found[1])
        answer = self.derive(self.told)
        self.tell("assistant", f"You have {answer} {self.told.thing} left.")
        return answer
