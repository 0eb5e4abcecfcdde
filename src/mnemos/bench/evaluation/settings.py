"""The three settings of the survey on the same items: closed book, offline on a frozen snapshot, online with live retrieval or replay.

What goes from closed book to offline is what having the information is worth; what goes from offline to online is what finding it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.stats import Interval, bootstrap_difference
from mnemos.bench.evaluation.items import Answer, History, Item, MemorySystem, digest
from mnemos.bench.evaluation.scoring import right
from mnemos.bench.evaluation.systems import CLOSED_BOOK, LONG_CONTEXT, OFFLINE_REPLAY, ONLINE_REPLAY, RETRIEVAL, SETTINGS


@dataclass(frozen=True)
class Plan:
    """What is held equal over settings and systems: the items, their order (drawn by `seed`), decoding, and versions of every part."""

    items: tuple[Item, ...]
    seed: int = 0
    decoding: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def order(self) -> list[Item]:
        """The items in the order in which they are asked."""
        return [self.items[i] for i in np.random.default_rng(self.seed).permutation(len(self.items))]

    def digest(self) -> str:
        """SHA-256 of all of it."""
        return digest([self.items, self.seed, self.decoding, self.versions])


@dataclass(frozen=True)
class Run:
    """One system under one setting. `plan` is the plan's digest; `asked` that of what was asked, item by item, as it was asked."""

    setting: str
    plan: str
    asked: str
    items: tuple[Item, ...]
    answers: tuple[Answer, ...]

    @property
    def truths(self) -> list[str | None]:
        return [item.answer for item in self.items]

    @property
    def texts(self) -> list[str | None]:
        return [answer.text for answer in self.answers]

    @property
    def histories(self) -> list[str]:
        return [item.history for item in self.items]


def run_settings(
    system: MemorySystem, histories: Sequence[History], plan: Plan, settings: Sequence[str] = SETTINGS, *, add: bool = True
) -> dict[str, Run]:
    """Every setting over the same items in the same order. Raises `Invalid` where the items are not those of the histories."""
    known = {item.id for history in histories for item in history.items}
    strangers = [item.id for item in plan.items if item.id not in known]
    if strangers:
        raise Invalid(f"plan: item {strangers[0]!r} belongs to none of the histories; plan and histories must come from one data set")
    if add:
        for history in histories:
            system.add(history)
    runs = {}
    for setting in settings:
        asked, items, answers = [], [], []
        for item in plan.order():
            asked.append([item.id, item.question, item.answer])
            items.append(item)
            answers.append(system.answer(item, setting))
        runs[setting] = Run(setting, plan.digest(), digest([plan.seed, plan.decoding, asked]), tuple(items), tuple(answers))
    check_comparable(list(runs.values()))
    return runs


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise `Invalid` where runs were not asked the same items, in the same order, under the same plan: nothing may be compared then."""
    for run in runs[1:]:
        if (run.plan, run.asked) != (runs[0].plan, runs[0].asked):
            raise Invalid(f"settings {runs[0].setting} and {run.setting} were not asked the same items in the same order; run them from one plan")


def differences(runs: Mapping[str, Run], rng: np.random.Generator) -> dict[str, Interval]:
    """Accuracy differences between settings, paired by item, with intervals clustered by history; only those whose two settings were run."""
    steps = {
        "information availability (long context − closed book)": (LONG_CONTEXT, CLOSED_BOOK),
        "cost of retrieval (retrieval − long context)": (RETRIEVAL, LONG_CONTEXT),
        "cost of replay (live replay − offline replay)": (ONLINE_REPLAY, OFFLINE_REPLAY),
    }
    out = {}
    for name, (ours, theirs) in steps.items():
        if ours in runs and theirs in runs:
            check_comparable([runs[ours], runs[theirs]])
            values = [right(run.truths, run.texts).astype(float) for run in (runs[ours], runs[theirs])]
            out[name] = bootstrap_difference(values[0], values[1], runs[ours].histories, rng)
    return out
