"""Updating (MemOS): after a fact has changed, the current one answers, and the old one is reached only through its history."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.errors import NotFound
from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import Interval, wilson
from mnemos.bench import updating_histories, updating_relations, updating_speed
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.fact_families import FAMILIES, FRESH, PARTS, UNSEEN, Family, stated
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.reading.results import Hit
from mnemos.models.minilm import MiniLM

PEOPLE, CHANGES, STABLE, OTHERS, QUICK_PEOPLE = 50, 10, 15, 10, 10
BOUND = 0.95
K = 10
FIRST_DAY = datetime(2024, 3, 4, 9, tzinfo=UTC)
_NAMES = ("Ada", "Boris", "Clara", "Dmitri", "Elena", "Farid", "Gita", "Hugo", "Irene", "Jonas")
_FRIENDS = ("Kira", "Luis", "Mona", "Nils", "Olga")
NOTES = (
    "Each of the people has a space: ten facts of hers that change later, fifteen that do not, and ten statements of a friend about the same "
    "attributes. A question asks in the third person, with the family's values as the choices (a yes or no where the fact is affirmed and then "
    "denied). The answer is read off ten hits, with no model: of those of the person asked about that name a choice, the newest, or the first.",
    "Only through history: the older statement is among no ten hits and is in the history of the newer one.",
    "Baseline: the same spaces, never tended, read in the same way.",
    'Families: "made" were at hand while the comparison was made, "held" for a part of it; of "fresh" only figures were looked at, and "unseen" '
    "were written when all was done: what is measured on these two is to be expected of attributes that nobody thought of.",
    "Facts told together: pairs that one speaker of MSC told in one dialogue, of dialogues that nothing was fitted on; half of the later ones with a "
    '"now" put behind. A few do replace each other, so the rate is an upper bound of false alarms.',
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A fact, and what it changed to."""

    person: str
    family: Family
    older: str
    newer: str
    value: str
    told: datetime
    changed: datetime

    @property
    def question(self) -> str:
        return self.family.question.format(name=self.person, v=self.value)


@dataclass(frozen=True, slots=True)
class Life:
    """What one space holds: facts that change, and statements that stay."""

    name: str
    pairs: list[Pair]
    stable: list[dict[str, Any]]


def run(benchmark: Benchmark, options: Options) -> Result:
    """500 facts that change, tended and not; relations of generated pairs and of real conversations; what tending does to LongMemEval."""
    clock, rng = Seconds(), options.rng()
    lives = [life(number, rng) for number in range(QUICK_PEOPLE if options.quick else PEOPLE)]
    folder = Path(tempfile.mkdtemp(prefix="mnemos-bench-"))
    try:
        embedder = CountingEmbedder(MiniLM(), vector_folder())
        options.say(f"{CHANGES * len(lives)} facts that change")
        measured = _measure(lives, folder, embedder)
        options.say("pairs of memories")
        found = updating_relations.generated(rng, embedder)
        options.say("a large space")
        took = updating_speed.speed(options, folder)
        checks = [*_checks(measured), *found.checks, *took.checks]
        tables: dict[str, Any] = {
            "Facts that change, by part": _by_part(measured), "Relations of generated pairs": found.table, "Finding relations": took.table,
        }  # fmt: skip
        notes = list(NOTES)
        try:
            options.say("real conversations")
            alarms = updating_relations.conversations(options)
            checks += [*alarms.checks, *updating_relations.facts_told_together(options, embedder)]
            tables["Updates and contradictions found in real conversations"] = alarms.table
            if not options.quick:
                options.say("LongMemEval, tended")
                effect = updating_histories.effect(options, embedder, folder)
                checks += effect.checks
                tables["LongMemEval knowledge updates, recall@10 of evidence turns"] = effect.table
        except NotFound as missing:
            notes.append(f"Left out for want of data: {missing}")
    finally:
        shutil.rmtree(folder)
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(),
        details={"tables": tables, "notes": notes, "quick": options.quick, "seed": options.seed},
    )  # fmt: skip


def life(number: int, rng: np.random.Generator) -> Life:
    """The facts of one person: each change comes after its fact, appointments within days; and what stays."""
    person, friend = _NAMES[number % len(_NAMES)], _FRIENDS[number % len(_FRIENDS)]
    drawn = [FAMILIES[i] for i in rng.choice(len(FAMILIES), CHANGES + STABLE, replace=False)]
    pairs, stable = [], []
    for family in drawn[:CHANGES]:
        told = _sometime(rng)
        gap = float(rng.uniform(1, 5) if family.soon else rng.uniform(20, 300))
        older, newer, value = stated(family, rng)
        pairs.append(Pair(person, family, older, newer, value, told, told + timedelta(days=gap)))
    for family in drawn[CHANGES:]:
        stable.append({"text": stated(family, rng)[0], "author": person, "event_at": _sometime(rng)})
    for family in drawn[:OTHERS]:
        stable.append({"text": stated(family, rng)[0], "author": friend, "event_at": _sometime(rng)})
    return Life(f"{person} {number}", pairs, stable)


def _sometime(rng: np.random.Generator) -> datetime:
    return FIRST_DAY + timedelta(hours=float(rng.uniform(0, 24 * 30)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tended and the plain space gave for one pair."""

    pair: Pair
    newest: bool
    """Whether the newest hit that names a choice is the newer statement; `first`: whether the first such hit is."""
    first: bool
    hidden: bool
    in_history: bool
    plain_newest: bool
    plain_first: bool


@dataclass(slots=True)
class Measured:
    """All outcomes; and of the statements that stay, how many were superseded."""

    outcomes: list[Outcome] = field(default_factory=list)
    wrong: int = 0
    stable: int = 0


def _measure(lives: Sequence[Life], folder: Path, embedder: CountingEmbedder) -> Measured:
    out = Measured()
    with mnemos.open(str(folder / "updating.db"), embedder=embedder) as memory:
        for one in lives:
            space = memory.space(one.name)
            older = [c.id for c in space.add_many([{"text": p.older, "author": p.person, "event_at": p.told} for p in one.pairs])]
            stable = {cube.id for cube in space.add_many(one.stable)}
            memory.tend([one.name])
            newer = [c.id for c in space.add_many([{"text": p.newer, "author": p.person, "event_at": p.changed} for p in one.pairs])]
            plain = [space.search(pair.question, k=K) for pair in one.pairs]
            memory.tend([one.name])
            for pair, old, new, before in zip(one.pairs, older, newer, plain, strict=True):
                hits = space.search(pair.question, k=K)
                out.outcomes.append(
                    Outcome(
                        pair,
                        _answer(pair, sorted(hits, key=_when, reverse=True)) == new,
                        _answer(pair, hits) == new,
                        all(hit.cube.id != old for hit in hits),
                        old in {cube.id for cube in space.history(new)},
                        _answer(pair, sorted(before, key=_when, reverse=True)) == new,
                        _answer(pair, before) == new,
                    )
                )
            out.wrong += len(stable - {cube.id for cube in space.list(limit=1000)})
            out.stable += len(stable)
    return out


def _answer(pair: Pair, hits: Sequence[Hit]) -> str | None:
    """The first hit of the person asked about that names a choice: a value of the family, or, where a fact is affirmed or denied, what it is."""
    choices = pair.family.choices or ((pair.value,) if pair.family.kind == "polarity" else pair.family.values)
    names = [re.compile(rf"(?<!\w){re.escape(choice)}", re.I) for choice in choices]
    own = (hit for hit in hits if hit.cube.author == pair.person)
    return next((hit.cube.id for hit in own if any(name.search(hit.cube.text) for name in names)), None)


def _when(hit: Hit) -> datetime:
    return hit.cube.event_at or FIRST_DAY


def _checks(measured: Measured) -> list[Check]:
    outcomes = measured.outcomes
    plain = {reader: _share([getattr(one, f"plain_{reader}") for one in outcomes]).value for reader in ("newest", "first")}
    new = [one for one in outcomes if one.pair.family.part in (FRESH, UNSEEN)]
    only = _share([one.hidden and one.in_history for one in outcomes])
    return [
        Check.of("current answer, newest choice of ten hits", _share([one.newest for one in outcomes]), BOUND, baseline=plain["newest"]),
        Check.of("old value only through history", only, BOUND, baseline=0.0),
        Check.of("the same, of attributes that nothing was made for", _share([one.hidden and one.in_history for one in new]), BOUND, baseline=0.0),
        Check.of("current answer, first choice of ten hits", _share([one.first for one in outcomes]), baseline=plain["first"]),
        Check.of("statements that stay, superseded", wilson(measured.wrong, measured.stable)),
    ]


def _share(flags: Sequence[bool]) -> Interval:
    return wilson(sum(flags), len(flags))


def _by_part(measured: Measured) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for part in (*PARTS, "all"):
        chosen = [one for one in measured.outcomes if part in (one.pair.family.part, "all")]
        if chosen:
            rows[part] = {
                "n": len(chosen),
                "newest choice": _share([one.newest for one in chosen]).value,
                "first choice": _share([one.first for one in chosen]).value,
                "old hidden": _share([one.hidden for one in chosen]).value,
                "old in history": _share([one.in_history for one in chosen]).value,
                "plain, first choice": _share([one.plain_first for one in chosen]).value,
                "plain, newest choice": _share([one.plain_newest for one in chosen]).value,
            }
    return rows
