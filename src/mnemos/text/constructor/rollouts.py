"""Rollouts: a policy builds a memory from the chunks of an instance, questions are put to the memory, and every step has its reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnemos.text.constructor import rewards
from mnemos.text.constructor.acting import calls
from mnemos.text.constructor.features import describe
from mnemos.text.constructor.gist import Read, read_gist
from mnemos.text.constructor.grpo import DEFAULTS, Parameters, Sample, update
from mnemos.text.constructor.learnt import Choice, Learner
from mnemos.text.constructor.matching import Comparer
from mnemos.text.constructor.memory import DEFAULTS as UNLIMITED
from mnemos.text.constructor.memory import Limits, Memory, Outcome
from mnemos.text.constructor.network import Network
from mnemos.text.constructor.operations import Operation
from mnemos.text.constructor.policy import Chunk, MemoryPolicy, View
from mnemos.text.constructor.reading import MOST, Asked, Scored, ask
from mnemos.text.tokens import TokenCounter, count_tokens

ROLLOUTS = 8
"""Of each instance; the paper's."""


@dataclass(frozen=True)
class Instance:
    """Chunks in order, and what is asked after the last."""

    chunks: Sequence[Chunk]
    questions: Sequence[Asked]
    limits: Limits = UNLIMITED

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for chunk in self.chunks)


@dataclass(frozen=True)
class Surroundings:
    """What is fixed while a policy learns: the reader, the judge, what the terms count. They are part of a policy's identity."""

    read: Read = read_gist
    compared: Comparer | None = None
    judge: rewards.Judge = field(default_factory=rewards.rule_judge)
    weights: rewards.Weights = rewards.DEFAULTS
    most: int = MOST
    """Items that the reader reads, of each list."""
    together: bool = False
    """Whether `most` counts facts and events together."""
    count: TokenCounter = count_tokens
    credit: bool = False
    """Whether a step has, beside the mean score of all questions, the scores that would be lost without the entries that it wrote."""

    def memory(self, instance: Instance) -> Memory:
        return Memory(instance.limits, self.read, self.count)

    def ask(self, memory: Memory, instance: Instance) -> Scored:
        return ask(memory, instance.questions, self.most, self.together, self.credit)


@dataclass
class Rollout:
    """One memory, from the first chunk on, and what was done at each step."""

    memory: Memory
    operations: list[list[Operation]] = field(default_factory=list)
    outcomes: list[list[Outcome]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    terms: list[rewards.Terms] = field(default_factory=list)

    def step(self, chunk: Chunk, operations: list[Operation], confirmed: bool = False) -> None:
        self.memory.begin(chunk.at)
        self.operations.append(operations)
        self.outcomes.append([self.memory.execute(call, confirmed=confirmed) for call in operations])

    def finish(self, instance: Instance, around: Surroundings) -> None:
        """Ask the questions, and give every step its terms."""
        found = around.ask(self.memory, instance)
        r1 = rewards.answered(found.scores)
        r3 = rewards.compressed(self.memory.tokens, instance.tokens)
        for number, (operations, outcomes, chunk) in enumerate(zip(self.operations, self.outcomes, instance.chunks, strict=True), 1):
            r2 = rewards.called(operations, outcomes)
            r4 = rewards.typed(operations, chunk.at, around.judge)
            self.terms.append(rewards.Terms(r1 + found.owed.get(number, 0.0), r2, r3, r4))
        self.answers = r1

    answers: float = 0.0
    """r1."""

    def total(self, weights: rewards.Weights = rewards.DEFAULTS) -> float:
        """Mean reward of a step."""
        return float(np.mean([terms.total(weights) for terms in self.terms])) if self.terms else 0.0

    def mean(self, term: Callable[[rewards.Terms], float]) -> float:
        return float(np.mean([term(terms) for terms in self.terms])) if self.terms else 0.0


def roll(instance: Instance, policy: MemoryPolicy, around: Surroundings, confirmed: bool = False) -> Rollout:
    """One rollout of any policy."""
    out = Rollout(around.memory(instance))
    for chunk in instance.chunks:
        out.step(chunk, policy.decide(View(out.memory, chunk), chunk), confirmed)
    out.finish(instance, around)
    return out


def roll_many(
    instances: Sequence[Instance], network: Network, around: Surroundings, rng: np.random.Generator | None = None, each: int = 1
) -> list[Rollout]:
    """`each` rollouts of every instance, side by side, so that the network is asked once a step. Actions are drawn with `rng`; without, the likeliest
    is taken."""
    runs = [(instance, Rollout(around.memory(instance))) for instance in instances for _ in range(each)]
    for number in range(max((len(instance.chunks) for instance in instances), default=0)):
        alive = [(run, instance.chunks[number]) for instance, run in runs if number < len(instance.chunks)]
        described = [describe(run.memory, chunk.candidates, around.compared) for run, chunk in alive]
        stacked = np.concatenate([features for features, _ in described])
        logs = network.logs(stacked)
        if rng is not None:
            logs = logs + rng.gumbel(size=logs.shape)
        chosen = np.argmax(logs, axis=1)
        at = 0
        for (run, chunk), (features, matches) in zip(alive, described, strict=True):
            actions = chosen[at : at + len(features)]
            at += len(features)
            run.choices.append(Choice(features, actions))
            run.step(chunk, calls(run.memory, chunk.candidates, matches, actions.tolist()))
    for instance, run in runs:
        run.finish(instance, around)
    return [run for _, run in runs]


@dataclass(frozen=True)
class Course:
    """How a network is trained."""

    updates: int = 120
    batch: int = 8
    """Instances of an update."""
    rollouts: int = ROLLOUTS
    rate: float = 2e-2
    """Of Adam at the beginning; it falls to a tenth."""
    entropy: float = 0.05
    """Weight of the entropy of choices at the beginning, which falls to nought: without it a policy stops trying too early."""
    grpo: Parameters = DEFAULTS
    by_step: bool = False
    """Whether rewards are compared with those of the same chunk in the other rollouts, and not with those of all chunks: with credit given entry
    by entry, chunks differ by what is asked of them, which no action changes."""


@dataclass(frozen=True, slots=True)
class Point:
    """An update of a learning curve: means over its rollouts."""

    reward: float
    answers: float
    calls: float
    size: float
    types: float
    tokens: float


def summary(runs: Sequence[Rollout], weights: rewards.Weights) -> Point:
    """Means over some rollouts."""
    rows = [
        (run.total(weights), run.answers, run.mean(lambda terms: terms.calls), run.mean(lambda terms: terms.size),
         run.mean(lambda terms: terms.types), run.memory.tokens)
        for run in runs
    ]  # fmt: skip
    return Point(*np.mean(rows, axis=0).tolist())


def train(
    network: Network,
    instances: Callable[[np.random.Generator], Sequence[Instance]],
    around: Surroundings,
    rng: np.random.Generator,
    course: Course = Course(),
    say: Callable[[str], None] = lambda line: None,
) -> list[Point]:
    """Train a network in place by GRPO; gives the learning curve. `instances` draws those of an update. The same seed gives the same curve."""
    learner = Learner(network, course.rate, course.entropy)
    curve = []
    for number in range(course.updates):
        learner.set_progress(number / max(course.updates, 1), course.rate, course.entropy)
        drawn = list(instances(rng))
        runs = roll_many(drawn, network, around, rng, course.rollouts)
        samples = [
            Sample(choice, terms.total(around.weights), at // course.rollouts, step if course.by_step else 0)
            for at, run in enumerate(runs)
            for step, (choice, terms) in enumerate(zip(run.choices, run.terms, strict=True))
        ]
        update(learner, samples, course.grpo)
        point = summary(runs, around.weights)
        curve.append(point)
        say(f"update {number + 1} of {course.updates}: reward {point.reward:.3f}, answers {point.answers:.3f}, calls {point.calls:.3f}")
    return curve
