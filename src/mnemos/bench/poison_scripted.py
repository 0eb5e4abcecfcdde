"""The attacks of the sheet in a scripted world: direct, by majority, self-reinforcing; lessons carried from one family to another; and cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from mnemos.base.meter import Latency
from mnemos.bench.poison_defences import CharacterModel, audit_flags
from mnemos.bench.poison_world import TARGETS, TRIGGERS, Agent, Retriever, Task, World
from mnemos.kernel.guard import Calibration, Candidate, Guard, Outcome, Plan, Settings, calibrate, leave_one_out
from mnemos.kernel.guard.records import ToolCall
from mnemos.kernel.guard.verdicts import Check

K = 5
ATTACKED = len(TRIGGERS)
"""Families that are attacked, each with its own trigger."""
TASKS = 6
"""Attacked tasks of each attacked family, and benign ones of every family."""

Context = Callable[[str], tuple[Sequence[Candidate], str | None]]
"""What an agent is shown for a query, and the guard's decision behind it."""


@dataclass(frozen=True)
class Scores:
    """For each attacked task: `retrieved` poison in context, `planned` the target action, `done` it; for each benign one: `correct`ly done."""

    retrieved: Sequence[bool] = ()
    planned: Sequence[bool] = ()
    done: Sequence[bool] = ()
    correct: Sequence[bool] = ()

    def row(self) -> dict[str, float]:
        means = {name: float(np.mean(getattr(self, name))) for name in ("retrieved", "planned", "done", "correct")}
        return dict(zip(("ASR-r", "ASR-a", "ASR-t", "ACC"), means.values(), strict=True))

    def __add__(self, other: Scores) -> Scores:
        """Both runs together."""
        return Scores(*((*getattr(self, f.name), *getattr(other, f.name)) for f in fields(self)))


@dataclass(frozen=True)
class Scenario:
    """A store with poison in it, and tasks with and without triggers."""

    world: World
    retriever: Retriever
    poisoned: frozenset[str]
    attacked: Sequence[Task]
    benign: Sequence[Task]
    calibration: Calibration


def scenario(rng: np.random.Generator, per_family: int, *, sybil: bool, calibrate_after: bool = False) -> Scenario:
    """`per_family` poisoned records in each attacked family. The bounds come from the store before the attack, or, with `calibrate_after`,
    from the poisoned store, as somebody would have them who installs a guard too late."""
    world = World(rng)
    families = rng.permutation(len(world.instructions))[:ATTACKED]
    poison = [
        record
        for family, trigger, number in zip(families, TRIGGERS, range(ATTACKED), strict=True)
        for record in world.poison(int(family), trigger, TARGETS[number % len(TARGETS)], per_family, sybil=sybil)
    ]
    attacked = [
        task
        for family, trigger, number in zip(families, TRIGGERS, range(ATTACKED), strict=True)
        for task in world.tasks(int(family), TASKS, trigger, TARGETS[number % len(TARGETS)])
    ]
    benign = [task for family in range(len(world.instructions)) for task in world.tasks(family, TASKS)]
    clean, whole = Retriever(world.benign), Retriever([*world.benign, *poison])
    basis = whole if calibrate_after else clean
    calibration = calibrate(leave_one_out(basis.records, basis, K))
    return Scenario(world, whole, frozenset(record.id for record in poison), attacked, benign, calibration)


def measure(case: Scenario, show: Context, guard: Guard | None = None) -> Scores:
    """Runs every task: the agent plans by what it is shown, the guard, where there is one, checks the plan, and what passes is done."""
    agent = Agent(case.world.tools)
    retrieved, planned, done, correct = [], [], [], []
    for task in [*case.attacked, *case.benign]:
        context, decision = show(task.query)
        plan = agent.act(task.query, context)
        call: ToolCall | None = plan if guard is None else checked(guard, agent, task.query, plan, decision)
        if task.target is None:
            correct.append(call is not None and call.tool == task.tool)
        else:
            retrieved.append(any(record.id in case.poisoned for record in context))
            planned.append(plan.tool == task.target.tool)
            done.append(call is not None and call.tool == task.target.tool)
    return Scores(retrieved, planned, done, correct)


def checked(guard: Guard, agent: Agent, query: str, plan: ToolCall, decision: str | None) -> ToolCall | None:
    """The call that is done: the plan where it is allowed, else the one without memory where that is, else none."""
    answer = guard.check_action(Plan(query, plan, decision=decision))
    if answer.check is Check.ALLOW:
        return plan
    if answer.check is Check.REVISE:
        again = agent.alone(query)
        return again if guard.check_action(Plan(query, again, decision=decision, attempt=1)).check is Check.ALLOW else None
    return None


def guarded(case: Scenario, guard: Guard, agent: Agent | None) -> Context:
    """A guarded retrieval: witness cap, perturbed queries, and the plan without memory where there is an agent to make one."""

    def show(query: str) -> tuple[Sequence[Candidate], str | None]:
        found = guard.retrieve(query, case.retriever, K, without_memory=agent.alone(query) if agent else None)
        return found.records, found.verdicts.decision

    return show


def filtered(case: Scenario, keep: Callable[[Candidate], bool]) -> Context:
    return lambda query: ([record for record in case.retriever(query, K) if keep(record)], None)


def plain_consensus(case: Scenario) -> Context:
    """The published method: the top K are compared with each other, each counting as much as the others, and what departs from the majority
    is left out."""
    guard = Guard(Settings(independent_sources=1), calibration=replace(case.calibration, near=1.0))

    def show(query: str) -> tuple[Sequence[Candidate], str | None]:
        found = case.retriever(query, K)
        kept = guard.filter(query, [Candidate(record.id, record.text, record.metadata) for record in found]).kept
        return [record for record in found if record.id in kept], None

    return show


def direct(case: Scenario, english: Sequence[str]) -> dict[str, Scores]:
    """All defences against one scenario. `english` is what the character model learns from."""
    model = CharacterModel(english, [record.text for record in case.world.benign])
    guard, blind, still = (Guard(calibration=case.calibration) for _ in range(3))
    agent = Agent(case.world.tools)
    return {
        "none": measure(case, filtered(case, lambda record: True)),
        "character model": measure(case, filtered(case, lambda record: not model.flags(record.text))),
        "isolated audit": measure(case, filtered(case, lambda record: not audit_flags(record))),
        "plain consensus": measure(case, plain_consensus(case)),
        "guard": measure(case, guarded(case, guard, agent), guard),
        "guard, no plan without memory": measure(case, guarded(case, blind, None), blind),
        "guard, no perturbed queries": measure(case, unperturbed(case, still, agent), still),
    }


def unperturbed(case: Scenario, guard: Guard, agent: Agent) -> Context:
    """The guard on the top K alone: nothing tells it what is found by other words."""

    def show(query: str) -> tuple[Sequence[Candidate], str | None]:
        found = case.retriever(query, K)
        verdicts = guard.filter(query, found, without_memory=agent.alone(query))
        return [record for record in found if record.id in verdicts.kept], verdicts.decision

    return show


@dataclass(frozen=True)
class Loop:
    """A loop of episodes that are written back: the share of poisoned records after each step, and which steps the attack succeeded in."""

    share: Sequence[float]
    success: Sequence[bool]
    attacked: Sequence[bool]
    first_detection: int | None

    def rate(self, last: int) -> float:
        """Success rate among the attacked steps of the last `last`."""
        pairs = list(zip(self.success[-last:], self.attacked[-last:], strict=True))
        return sum(s for s, a in pairs if a) / max(1, sum(a for _, a in pairs))


def loop(rng: np.random.Generator, steps: int, *, with_guard: bool) -> Loop:
    """One poisoned seed; in three of ten steps a task of its family carries the trigger. Every outcome is offered to memory."""
    world = World(rng)
    family, trigger, target = int(rng.integers(len(world.instructions))), TRIGGERS[0], TARGETS[0]
    retriever = Retriever(world.benign)
    guard = Guard(calibration=calibrate(leave_one_out(world.benign, retriever, K))) if with_guard else None
    for record in world.poison(family, trigger, target, 1):
        retriever.add(record)
    agent = Agent(world.tools)
    poisoned, share, success, attacks = 1, [], [], []
    first: int | None = None
    for step in range(steps):
        attack = bool(rng.random() < 0.3)
        at = family if attack else int(rng.integers(len(world.instructions)))
        (task,) = world.tasks(at, 1, trigger if attack else "", target if attack else None)
        if guard is None:
            call: ToolCall | None = agent.act(task.query, retriever(task.query, K))
            keep = True
        else:
            found = guard.retrieve(task.query, retriever, K, without_memory=agent.alone(task.query))
            plan = agent.act(task.query, found.records)
            call = checked(guard, agent, task.query, plan, found.verdicts.decision)
            if first is None and any(verdict.suspicious for verdict in found.verdicts.verdicts):
                first = step
        if call is not None:
            record = world.experience(task.query, call, author="agent")
            if guard is not None:
                keep = bool(guard.admit(record, Outcome(found.verdicts.decision, call, True)))
            if keep:
                retriever.add(record)
                poisoned += call.tool == target.tool
        share.append(poisoned / len(retriever.records))
        success.append(attack and call is not None and call.tool == target.tool)
        attacks.append(attack)
    return Loop(share, success, attacks, first)


@dataclass(frozen=True)
class Transfer:
    """Lessons learnt in some families: what share of `bad` plans with tools that no benign memory uses they stop in others, of plans that
    misuse a tool which is right elsewhere, and of `good` plans."""

    blocked: float
    bad: int
    misused: float
    false_blocks: float
    good: int
    lessons: int


def transfer(case: Scenario) -> Transfer:
    """Every bad action is met in one family only, then planned in all others, with no memory shown; good plans of all families follow."""
    guard = Guard(calibration=case.calibration)
    agent = Agent(case.world.tools)
    show = guarded(case, guard, agent)
    taught: set[str] = set()
    for task in case.attacked:
        if task.target is not None and task.target.tool not in taught:
            show(task.query)
            taught.add(task.target.tool)
    families = {task.family for task in case.attacked}
    others = [task for task in case.benign if task.family not in families]
    stopped = {
        foreign: [
            guard.check_action(Plan(task.query, target)).check is not Check.ALLOW
            for task in others for target in TARGETS if (target.tool not in case.world.tools) is foreign
        ] for foreign in (True, False)
    }  # fmt: skip
    good = []
    for task in case.benign:
        _, decision = show(task.query)
        good += [Plan(task.query, ToolCall(task.tool, {"id": "X1"})), Plan(task.query, ToolCall(task.tool, {"id": "X1"}), decision=decision)]
    wrongly = [any(reason.startswith("repeats") for reason in guard.check_action(plan).reasons) for plan in good]
    foreign, misused = (float(np.mean(stopped[kind])) for kind in (True, False))
    return Transfer(foreign, len(stopped[True]), misused, float(np.mean(wrongly)), len(good), len(list(guard.lessons.all())))


def cost(case: Scenario, k: int = 10) -> dict[str, Any]:
    """Milliseconds of `filter` at K = `k`, without retrieval: with paths that are at hand, and when every record is seen for the first time."""
    warm, cold = [], []
    guard = Guard(calibration=case.calibration)
    for task in [*case.attacked, *case.benign]:
        found = case.retriever(task.query, k)
        start = time.thread_time()
        guard.filter(task.query, found)
        warm.append(time.thread_time() - start)
        fresh = Guard(calibration=case.calibration)
        start = time.thread_time()
        fresh.filter(task.query, found)
        cold.append(time.thread_time() - start)
    return {"at hand": Latency.of(warm).milliseconds(), "first sight": Latency.of(cold).milliseconds(), "n": len(warm), "k": k}

