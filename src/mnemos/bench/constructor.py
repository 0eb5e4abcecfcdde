"""Mem-α (arXiv 2509.25911): a policy learnt from the answers' reward against rules that need no learning, at one budget; its size, its length, its
reward's terms, and what games them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import bootstrap_mean
from mnemos.bench.constructor_world import (
    DEFAULT,
    GRADED,
    DeleteAll,
    DumpAll,
    Everything,
    Mix,
    Newest,
    Nothing,
    Oracle,
    Random,
    Reading,
    Stream,
    stream,
)
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.text.constructor import learnt, rewards
from mnemos.text.constructor.learnt import untrained
from mnemos.text.constructor.memory import Status
from mnemos.text.constructor.network import Network
from mnemos.text.constructor.policy import MemoryPolicy
from mnemos.text.constructor.rollouts import Course, Point, Rollout, Surroundings, roll, roll_many, train
from mnemos.text.constructor.rules import RulesPolicy

Numbers = NDArray[np.float64]
CHUNKS, TIMES_LONGER = 20, 13
COURSE = Course(updates=80, batch=8, rate=3e-2, entropy=0.1, own=12.0, shared=8.0)
TERMS = replace(COURSE, updates=50, batch=4, entropy=0.05, shared=0.0)
"""Without a limit nothing has to go for something else."""
NOTES = (
    "Streams are generated; every statement is read by the rules that read real text. The reader takes the best 20 items by BM25 and looks the "
    "answer up.",
    "Checks train a network of their own, from nothing. A sample is a statement, compared with the same statement in the other rollouts; beside the "
    "paper's reward it has the answers and the tokens that its own entry is worth (leave-one-out). Rewards are reported as in the paper. Where a "
    "limit is none, in the checks of the reward's terms, only what is a statement's own counts. `shipped` is the network that comes with Mnemos, "
    "which was trained on real and generated histories (its card: `mnemos.text.constructor.learnt.card()`).",
    "`--quick` trains and compares as the whole run does, but for fewer long streams, and without the trainings that compare the reward's terms.",
    "Longer: thirteen times the chunks, the room, the questions and the things spoken of. The reader still takes 20 items.",
    "r4 of an explicit no-op is 1, as its r2 is. `dump all` puts every chunk into both lists and the core.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The sheet's checks 1 to 4, 8 and 9; 5 to 7 are tests."""
    clock = Seconds()
    bench = _Bench(options)
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    parts = (bench.learning, bench.length, bench.gaming, bench.determinism)
    for part in parts if options.quick else (*parts, bench.terms):
        options.say(part.__name__)
        found, table = part()
        checks += found
        tables |= table
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": NOTES}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


class _Bench:
    """One run: the streams, and the network that was trained on them."""

    def __init__(self, options: Options) -> None:
        self.options, self.quick = options, options.quick
        self.reading = Reading()
        self.rng = options.rng()
        self.around = Surroundings(self.reading, judge=rewards.rule_judge(self.reading), together=True, count=self.reading.count)
        self.train_on = [*self.streams(24), *map(_without_limit, self.streams(24))]
        self.test_on = self.streams(64)
        self.network, self.curve = self.trained(self.train_on, self.around, COURSE, options.seed)
        self.short: dict[str, list[Rollout]] = {}
        """What each writer made of the streams to test on, once `learning` has run."""

    def streams(self, count: int, mix: Mix = DEFAULT, chunks: int = CHUNKS, scale: float = 1.0) -> list[Stream]:
        return [stream(self.rng, self.reading, chunks, mix, scale) for _ in range(count)]

    def trained(self, streams: Sequence[Stream], around: Surroundings, course: Course, seed: int) -> tuple[Network, list[Point]]:
        """A network from nothing, and its learning curve."""
        rng = np.random.default_rng(seed)
        network = untrained(rng)

        def draw(rng: np.random.Generator) -> list[Any]:
            return [streams[int(at)].instance for at in rng.integers(0, len(streams), course.batch)]

        return network, train(network, draw, around, rng, course)

    def writers(self) -> dict[str, Callable[[Stream], MemoryPolicy]]:
        return {
            Everything.name: lambda _: Everything(), Nothing.name: lambda _: Nothing(), Newest.name: lambda _: Newest(),
            Random.name: lambda _: Random(np.random.default_rng(self.options.seed)),
        }  # fmt: skip

    def measured(self, streams: Sequence[Stream], write: Callable[[Stream], MemoryPolicy], around: Surroundings | None = None) -> list[Rollout]:
        return [roll(one.instance, write(one), around or self.around, confirmed=True) for one in streams]

    def learnt(self, streams: Sequence[Stream], network: Network | None = None, around: Surroundings | None = None) -> list[Rollout]:
        return roll_many([one.instance for one in streams], network or self.network, around or self.around)

    # -- 1 and 2: learning, and size --
    def learning(self) -> tuple[list[Check], dict[str, Any]]:
        runs = {name: self.measured(self.test_on, write) for name, write in self.writers().items()}
        best = max(runs, key=lambda name: _answers(runs[name]))
        runs |= {
            "learnt": self.learnt(self.test_on), "untrained": self.learnt(self.test_on, untrained(np.random.default_rng(self.options.seed))),
            "shipped": self.learnt(self.test_on, learnt.shipped()), "rules": self.measured(self.test_on, lambda _: RulesPolicy()),
            "oracle": self.measured(self.test_on, Oracle),
        }  # fmt: skip
        self.short = dict(runs)
        whole = [_without_limit(one) for one in self.test_on]
        runs["verbatim, no limit"] = self.measured(whole, lambda _: Everything())
        gain = _scores(runs["learnt"]) - _scores(runs[best])
        interval = bootstrap_mean(gain, [str(at) for at in range(len(gain))], self.options.rng())
        baseline, top = _answers(runs[best]), _answers(runs["oracle"])
        closed = (_answers(runs["learnt"]) - baseline) / max(top - baseline, 1e-9)
        free = self.learnt(whole)
        verbatim = runs["verbatim, no limit"]
        runs["learnt, no limit"] = free
        share = _tokens(free) / _tokens(verbatim)
        lost = _scores(free) - _scores(verbatim)
        between = bootstrap_mean(lost, [str(at) for at in range(len(lost))], self.options.rng())
        return [
            Check(f"answers, learnt − best of store all, store nothing, random, recency ({best})", _answers(runs["learnt"]) - baseline, 0.10,
                  baseline=baseline, interval=(interval.low, interval.high), n=len(gain)),
            Check("share of the gap to an oracle writer that is closed", closed, n=len(gain)),
            Check("tokens of the learnt memory ÷ of the verbatim store", share, 0.75, at_least=False, baseline=1.0, n=len(free)),
            Check("answers, learnt without a limit − verbatim store", float(lost.mean()), 0.0, baseline=_answers(verbatim),
                  interval=(between.low, between.high), n=len(free)),
        ], {"One budget (20 chunks)": {name: _row(found) for name, found in runs.items()}}  # fmt: skip

    # -- 3: length --
    def length(self) -> tuple[list[Check], dict[str, Any]]:
        long = self.streams(2 if self.quick else 8, chunks=CHUNKS * TIMES_LONGER, scale=float(TIMES_LONGER))
        table: dict[str, Any] = {}
        drops: dict[str, float] = {}
        for name, write in {**self.writers(), "rules": lambda _: RulesPolicy()}.items():
            short, far = self.short[name], self.measured(long, write)
            drops[name] = _answers(short) - _answers(far)
            table[name] = {"20 chunks": _answers(short), f"{CHUNKS * TIMES_LONGER} chunks": _answers(far), "drop": drops[name]}
        for name, network in (("learnt", self.network), ("shipped", learnt.shipped())):
            short, far = self.short[name], self.learnt(long, network)
            drops[name] = _answers(short) - _answers(far)
            table[name] = {"20 chunks": _answers(short), f"{CHUNKS * TIMES_LONGER} chunks": _answers(far), "drop": drops[name]}
        return [
            Check(f"drop of answers at {TIMES_LONGER} times the length", drops["learnt"], 0.05, at_least=False, baseline=drops[Everything.name],
                  n=sum(len(one.instance.questions) for one in long)),
        ], {"Length": table}  # fmt: skip

    # -- 4: the terms of the reward --
    def terms(self) -> tuple[list[Check], dict[str, Any]]:
        mix = GRADED
        streams, test, seeds = self.streams(32, mix), self.streams(24, mix), range(3)
        found: dict[str, list[Rollout]] = {}
        by_seed: dict[str, list[float]] = {}
        arms = {f"β = {beta:g}": replace(rewards.DEFAULTS, size=beta) for beta in (0.0, 0.05, 0.2, 0.4)}
        arms |= {"γ = 0": replace(rewards.DEFAULTS, types=0.0), "without r2": replace(rewards.DEFAULTS, calls=0.0)}
        for name, weights in arms.items():
            around = replace(self.around, weights=weights)
            found[name], by_seed[name] = [], []
            for seed in seeds:
                self.options.say(f"terms: {name}, seed {seed + 1}")
                network, _ = self.trained(streams, around, TERMS, self.options.seed + seed)
                runs = roll_many([one.instance for one in test], network, around, np.random.default_rng(seed))
                found[name] += runs
                by_seed[name].append(_tokens(runs))
        sizes = [float(np.mean(by_seed[name])) for name in list(arms)[:4]]
        falls = min(before - after for before, after in pairwise(sizes))
        lost = _types(found["β = 0.05"]) - _types(found["γ = 0"])
        failing, usual = _failed(found["without r2"]), _failed(found["β = 0.05"])
        table = {name: {**_row(runs), "failed calls": _failed(runs)} for name, runs in found.items()}
        return [
            Check("least fall of the memory's tokens from one β to the next", falls, 0.0, n=len(test) * len(seeds)),
            Check("type validity lost with γ = 0", lost, 0.10, baseline=_types(found["β = 0.05"]), n=len(test) * len(seeds)),
            Check("failed calls without r2 ÷ with it", failing / max(usual, 1e-3), 2.0, baseline=usual, n=len(test) * len(seeds)),
        ], {"Terms of the reward": table}

    # -- 8: gaming --
    def gaming(self) -> tuple[list[Check], dict[str, Any]]:
        streams = self.test_on
        fresh = untrained(np.random.default_rng(self.options.seed))
        own = roll_many([one.instance for one in streams], fresh, self.around, self.options.rng())
        games = {policy.name: [roll(one.instance, policy, self.around) for one in streams] for policy in (DeleteAll(), DumpAll())}
        others = {"learnt": self.learnt(streams), Nothing.name: [roll(one.instance, Nothing(), self.around) for one in streams]}
        every = {"untrained": own, **games, **others}
        reward = {name: float(np.mean([run.total() for run in runs])) for name, runs in every.items()}
        table = {name: {**_row(runs), "reward": reward[name]} for name, runs in every.items()}
        return [
            Check(f"reward, untrained − {name}", reward["untrained"] - reward[name], 0.0, baseline=reward[name], n=len(own)) for name in games
        ], {"Total reward": table}  # fmt: skip

    # -- 9: determinism --
    def determinism(self) -> tuple[list[Check], dict[str, Any]]:
        course = replace(COURSE, updates=5)
        curves = [self.trained(self.train_on, self.around, course, self.options.seed)[1] for _ in range(2)]
        marks = np.linspace(0, len(self.curve) - 1, min(12, len(self.curve))).astype(int)
        table = {f"update {at + 1}": {"reward": point.reward, "answers": point.answers, "calls done": point.calls, "types": point.types,
                 "tokens": point.tokens} for at in marks for point in [self.curve[at]]}  # fmt: skip
        return [Check("the same seed gives the same curve", float(curves[0] == curves[1]), 1.0, n=course.updates)], {"Learning curve": table}


def _without_limit(one: Stream) -> Stream:
    limits = replace(one.instance.limits, tokens=None)
    return replace(one, instance=replace(one.instance, limits=limits))


def _scores(runs: Sequence[Rollout]) -> Numbers:
    return np.array([run.answers for run in runs])


def _answers(runs: Sequence[Rollout]) -> float:
    return float(_scores(runs).mean())


def _tokens(runs: Sequence[Rollout]) -> float:
    return float(np.mean([run.memory.tokens for run in runs]))


def _types(runs: Sequence[Rollout]) -> float:
    """Share of the steps' calls that belong where they are put."""
    return float(np.mean([run.mean(lambda terms: terms.types) for run in runs]))


def _failed(runs: Sequence[Rollout]) -> float:
    """Share of calls that were not done."""
    outcomes = [outcome for run in runs for step in run.outcomes for outcome in step]
    return float(np.mean([outcome.status is not Status.OK for outcome in outcomes])) if outcomes else 0.0


def _row(runs: Sequence[Rollout]) -> dict[str, float]:
    return {
        "answers": _answers(runs), "tokens": _tokens(runs), "calls done": float(np.mean([run.mean(lambda terms: terms.calls) for run in runs])),
        "types": _types(runs),
    }  # fmt: skip
