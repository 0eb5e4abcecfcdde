"""Rollouts: a policy builds a memory from the chunks of an instance, questions are put to the memory, and every step has its reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mnemos.text.constructor import rewards
from mnemos.text.constructor.acting import calls
from mnemos.text.constructor.features import SIZE, describe
from mnemos.text.constructor.gist import Read, read_gist
from mnemos.text.constructor.grpo import DEFAULTS, Parameters, Sample, update
from mnemos.text.constructor.learnt import Choice, Learner
from mnemos.text.constructor.matching import Comparer, match
from mnemos.text.constructor.memory import DEFAULTS as UNLIMITED
from mnemos.text.constructor.memory import Limits, Memory, Outcome
from mnemos.text.constructor.network import Network
from mnemos.text.constructor.operations import NOTHING, Operation
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
    """Whether every statement that was chosen for by itself gets terms of its own (`Rollout.statements`)."""

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
    growth: list[list[int]] = field(default_factory=list)
    """Tokens by which each call made the memory longer."""
    made: list[list[int]] = field(default_factory=list)
    """How many of each step's calls are for each statement, in order."""
    terms: list[rewards.Terms] = field(default_factory=list)
    statements: list[list[rewards.Terms]] = field(default_factory=list)
    """Of each step, the terms of each of its statements by itself, where credit is given: `calls` and `types` of its own calls, `answers` the mean
    score that would be lost without what it left in the memory, `size` the share of all tokens by which it made the memory shorter. A counterfactual
    baseline: for a choice that changes no later one its mean is that of the step's reward, without the noise of what other statements earn."""
    answers: float = 0.0
    """r1."""

    def step(self, chunk: Chunk, operations: list[Operation], confirmed: bool = False) -> None:
        self.begin(chunk)
        self.call(operations, confirmed)

    def begin(self, chunk: Chunk) -> None:
        """The next step."""
        self.memory.begin(chunk.at)
        for rows in (self.operations, self.outcomes, self.growth):
            rows.append([])

    def call(self, operations: list[Operation], confirmed: bool = False) -> None:
        """Calls of the step that has begun."""
        self.operations[-1] += operations
        for call in operations:
            before = self.memory.tokens
            self.outcomes[-1].append(self.memory.execute(call, confirmed=confirmed))
            self.growth[-1].append(self.memory.tokens - before)

    def finish(self, instance: Instance, around: Surroundings) -> None:
        """Ask the questions, and give every step its terms."""
        found = around.ask(self.memory, instance)
        r1 = rewards.answered(found.scores)
        r3 = rewards.compressed(self.memory.tokens, instance.tokens)
        for operations, outcomes, chunk in zip(self.operations, self.outcomes, instance.chunks, strict=True):
            r2 = rewards.called(operations, outcomes)
            r4 = rewards.typed(operations, chunk.at, around.judge)
            self.terms.append(rewards.Terms(r1, r2, r3, r4))
        self.answers = r1
        if around.credit and self.choices:
            self._give_credit(instance, around, found)

    def _give_credit(self, instance: Instance, around: Surroundings, found: Scored) -> None:
        owed = {(entry.step, entry.content): found.owed.get(id, 0.0) for id, entry in self.memory.entries.items()}
        for number, line in enumerate(self.memory.lines):
            owed[line.step, line.text] = found.owed.get(f"core {number}", 0.0)
        for number, chunk in enumerate(instance.chunks):
            row, end = [], 0
            for candidate, count in zip(chunk.candidates, self.made[number], strict=True):
                own, end = slice(end, end + count), end + count
                made = self.operations[number][own] or [NOTHING]
                lost = owed.get((number + 1, " ".join(candidate.text.split())), 0.0) if count else 0.0
                row.append(
                    rewards.Terms(
                        lost / len(instance.questions) if instance.questions else 0.0,
                        rewards.called(made, self.outcomes[number][own]) if count else 1.0,
                        -sum(self.growth[number][own]) / max(instance.tokens, 1),
                        rewards.typed(made, chunk.at, around.judge),
                    )
                )
            self.statements.append(row)

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
    """`each` rollouts of every instance, side by side, so that the network is asked for all of them at once, statement by statement. Actions are
    drawn with `rng`; without, the likeliest is taken."""
    runs = [(instance, Rollout(around.memory(instance))) for instance in instances for _ in range(each)]
    for number in range(max((len(instance.chunks) for instance in instances), default=0)):
        alive = [(run, instance.chunks[number]) for instance, run in runs if number < len(instance.chunks)]
        for run, chunk in alive:
            run.begin(chunk)
            run.made.append([])
            run.choices.append(Choice(np.zeros((len(chunk.candidates), SIZE), np.float32), np.zeros(len(chunk.candidates), np.int64)))
        for place in range(max(len(chunk.candidates) for _, chunk in alive)):
            asked = [(run, chunk.candidates[place]) for run, chunk in alive if place < len(chunk.candidates)]
            found = [match(run.memory, candidate, around.compared) for run, candidate in asked]
            features = np.stack([describe(run.memory, candidate, one) for (run, candidate), one in zip(asked, found, strict=True)])
            logs = network.logs(features)
            if rng is not None:
                logs = logs + rng.gumbel(size=logs.shape)
            for (run, candidate), one, row, action in zip(asked, found, features, np.argmax(logs, axis=1).tolist(), strict=True):
                made = calls(run.memory, candidate, one, action)
                run.choices[-1].features[place], run.choices[-1].actions[place] = row, action
                run.made[-1].append(len(made))
                run.call(made)
        for run, _ in alive:
            if not run.operations[-1]:
                run.call([NOTHING])
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
    own: float = 0.0
    """Weight of a statement's own terms (`Rollout.statements`). 0: a sample is a chunk, compared with all chunks of all rollouts, as in the paper.
    Else a sample is a statement, compared with the same statement in the other rollouts."""
    shared: float = 1.0
    """Beside `own`, weight of what all statements share, r1 and r3: only these know of what had to go for something else."""


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
    around = replace(around, credit=course.own > 0)
    learner = Learner(network, course.rate, course.entropy)
    curve = []
    for number in range(course.updates):
        learner.set_progress(number / max(course.updates, 1), course.rate, course.entropy)
        drawn = list(instances(rng))
        runs = roll_many(drawn, network, around, rng, course.rollouts)
        samples = [sample for at, run in enumerate(runs) for sample in _samples(run, at // course.rollouts, around.weights, course)]
        update(learner, samples, course.grpo)
        point = summary(runs, around.weights)
        curve.append(point)
        say(f"update {number + 1} of {course.updates}: reward {point.reward:.3f}, answers {point.answers:.3f}, calls {point.calls:.3f}")
    return curve


def _samples(run: Rollout, group: int, weights: rewards.Weights, course: Course) -> list[Sample[Choice]]:
    """A sample for each chunk, or for each statement where it has terms of its own."""
    if not course.own:
        return [Sample(choice, terms.total(weights), group) for choice, terms in zip(run.choices, run.terms, strict=True)]
    whole = course.shared * (run.answers + weights.size * run.terms[0].size) if run.terms else 0.0
    out: list[Sample[Choice]] = []
    for choice, row in zip(run.choices, run.statements, strict=True):
        start = len(out)
        for at, terms in enumerate(row):
            left = terms.answers + weights.size * terms.size
            reward = whole + course.own * left + weights.calls * terms.calls + weights.types * terms.types
            out.append(Sample(Choice(choice.features[at : at + 1], choice.actions[at : at + 1]), reward, group, start + at))
    return out
