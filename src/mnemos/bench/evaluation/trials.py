"""Updates of a real space whose effect is known, good and harmful ones, and the three slices of questions that gates measure them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from mnemos.base.cube import MemCube
from mnemos.bench.evaluation.items import History, Item, Message
from mnemos.bench.evaluation.systems import USER, read
from mnemos.bench.evaluation.timeline import NAMES, RELATIONS, Shape, asked_about, make_history, statement
from mnemos.kernel.changes.admission import NEIGHBOURHOOD, RETENTION, TARGET, Observed, Slices
from mnemos.kernel.changes.spaces import SpaceChange
from mnemos.kernel.space import Space

HARMS = ("wrong person", "poison", "loses memories", "goes back in time")
FACTS = 12
"""Facts that an update is about."""
K = 10
_LATER = "2025-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Trial:
    """One update: what it would do, what its target questions must answer then, and what is wrong with it (None: nothing)."""

    change: SpaceChange
    target: Mapping[str, str]
    harm: str | None


class Town:
    """A space filled from a history, and updates of it."""

    def __init__(self, space: Space, seed: int, facts: int = 180) -> None:
        shape = Shape(sessions=12, facts=facts, updated=0.2, contradicted=0.0, unknown=0.0, chatter=1.5)
        self.history: History = make_history("town", np.random.default_rng(seed), shape)
        self.space = space
        self.cubes: dict[str, MemCube] = {}
        records = [{"text": m.text, "author": m.author, "source": m.source, "event_at": m.at} for m in self.history.messages]
        for message, cube in zip(self.history.messages, space.add_many(records), strict=True):
            self.cubes[message.source] = cube
        self._answers: dict[str, str | None] = {}

    def trial(self, harm: str | None, rng: np.random.Generator) -> Trial:
        """An update of twelve facts: each gets a new value, told as the latest news. A harmful one does it wrongly, or does something besides."""
        chosen = [self.history.items[i] for i in rng.choice(len(self.history.items), FACTS, replace=False)]
        target: dict[str, str] = {}
        update: dict[str | UUID, dict[str, Any]] = {}
        add: list[dict[str, Any]] = []
        aside: list[str] = []
        for item in chosen:
            about = asked_about(item.question)
            assert about is not None
            relation = next(r for r in RELATIONS if r.name == about[1])
            others = [v for v in relation.values if v != item.answer and v not in item.superseded]
            value = others[int(rng.integers(len(others)))]
            person = about[0]
            if harm == "wrong person":
                person = NAMES[(NAMES.index(person) + 1 + int(rng.integers(len(NAMES) - 1))) % len(NAMES)]
            if harm == "goes back in time" and item.superseded:
                value = item.superseded[0]
            target[item.question] = value if harm != "goes back in time" else others[0]
            cube = self.cubes[item.evidence[0]]
            update[cube.id] = {"text": relation.said[0].format(p=person, v=value), "event_at": _LATER}
        if harm == "poison":
            for item in self.history.items:
                about = asked_about(item.question)
                assert about is not None
                relation = next(r for r in RELATIONS if r.name == about[1])
                if item not in chosen and rng.random() < 0.4:
                    wrong = next(v for v in rng.permutation(relation.values) if v != item.answer)
                    add.append({"text": relation.said[0].format(p=about[0], v=wrong), "author": USER, "event_at": _LATER})
        if harm == "loses memories":
            left = [cube.id for source, cube in self.cubes.items() if cube.id not in update and statement(cube.text)]
            aside = [left[i] for i in rng.choice(len(left), len(left) // 4, replace=False)]
        return Trial(SpaceChange(self.space, update=update, add=add, set_aside=aside), target, harm)

    def measuring(self, trial: Trial, retained: int) -> Callable[[], Slices]:
        """The slices of one trial: its target, the other facts of the same people, and `retained` facts of others. Answers before the change are
        remembered, for they are the same for every trial."""
        people = {about[0] for question in trial.target if (about := asked_about(question))}
        others = [item for item in self.history.items if item.question not in trial.target]
        near = [item for item in others if _person(item) in people]
        far = [item for item in others if _person(item) not in people][:retained]
        rounds: list[int] = []

        def measure() -> Slices:
            rounds.append(1)
            fresh = len(rounds) > 1
            return {
                TARGET: [self._asked(question, value, fresh) for question, value in trial.target.items()],
                NEIGHBOURHOOD: [self._asked(item.question, item.answer or "", fresh) for item in near],
                RETENTION: [self._asked(item.question, item.answer or "", fresh) for item in far],
            }

        return measure

    def _asked(self, question: str, right: str, fresh: bool) -> Observed:
        if fresh:
            answer = self.answer(self.space, question)
        elif question in self._answers:
            answer = self._answers[question]
        else:
            answer = self._answers[question] = self.answer(self.space, question)
        return Observed(question, answer == right, answer, question)

    def answer(self, space: Any, question: str) -> str | None:
        """What the reader makes of the first ten hits."""
        pieces = [
            Message(hit.cube.source or "", 0, hit.cube.author or "", hit.cube.text, hit.cube.event_at.isoformat() if hit.cube.event_at else "")
            for hit in space.search(question, k=K)
        ]
        return read(question, pieces).text


def _person(item: Item) -> str:
    about = asked_about(item.question)
    return about[0] if about else ""
