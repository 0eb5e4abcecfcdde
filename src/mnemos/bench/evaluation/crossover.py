"""Proposition D: at an equal budget of tokens, when does retrieval with a small replayed window beat reading as much as fits?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mnemos.base.stats import Interval, bootstrap_difference
from mnemos.bench.evaluation.items import History, Message
from mnemos.bench.evaluation.scoring import right
from mnemos.bench.evaluation.systems import MnemosSystem, newest, read
from mnemos.bench.evaluation.timeline import Shape, make_history
from mnemos.kernel.system import Mnemos
from mnemos.text.tokens import token_counter

_COUNT = token_counter(None)


@dataclass(frozen=True)
class Point:
    """One history size and one budget. `ratio` is tokens of history by tokens of budget; `gain` the accuracy of retrieval minus that of reading,
    paired by question, clustered by history."""

    sessions: int
    budget: int
    ratio: float
    reading: float
    retrieval: float
    gain: Interval


def surface(
    open_memory: Callable[[], Mnemos], sizes: Sequence[int], budgets: Sequence[int], rng: np.random.Generator, histories: int = 6
) -> list[Point]:
    """Accuracy of both policies over histories of `sizes` sessions and `budgets` tokens. Six facts and eighteen messages of chatter a session."""
    points = []
    for sessions in sizes:
        made = [make_history(f"{sessions}-{i}", rng, Shape(sessions=sessions, facts=min(240, 6 * sessions))) for i in range(histories)]
        system = MnemosSystem(k=50, memory=open_memory())
        for history in made:
            system.add(history)
        pairs = [(history, item) for history in made for item in history.items]
        tokens = float(np.mean([sum(_COUNT(m.text) for m in history.messages) for history in made]))
        truths = [item.answer for _, item in pairs]
        rankings = [system.rank(item, at_once=False)[0] for _, item in pairs]
        for budget in budgets:
            long = [read(item.question, newest(history.messages, budget)).text for history, item in pairs]
            short = [read(i.question, window(history, ranking, budget)).text for (history, i), ranking in zip(pairs, rankings, strict=True)]
            ours, theirs = right(truths, short).astype(float), right(truths, long).astype(float)
            gain = bootstrap_difference(ours, theirs, [history.name for history, _ in pairs], rng)
            points.append(Point(sessions, budget, tokens / budget, float(theirs.mean()), float(ours.mean()), gain))
    return points


def window(history: History, ranking: Sequence[str], budget: int) -> list[Message]:
    """Hits, best first, each with the message before and after it, as far as the budget of tokens goes; in the order in which they were said."""
    place = {message.source: i for i, message in enumerate(history.messages)}
    chosen: dict[int, None] = {}
    left = budget
    for source in ranking:
        for i in (place[source], place[source] - 1, place[source] + 1):
            if 0 <= i < len(history.messages) and i not in chosen:
                cost = _COUNT(history.messages[i].text)
                if cost > left:
                    return [history.messages[i] for i in sorted(chosen)]
                left -= cost
                chosen[i] = None
    return [history.messages[i] for i in sorted(chosen)]
