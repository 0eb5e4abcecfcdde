"""Procedures out of runs, without a model: from what worked, from failures that were overcome, and from runs that went differently.

ReMe (arXiv 2512.10696, section 3.1) has a language model distil; the deterministic counterparts are ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from mnemos.index.terms import STOP_WORDS, words
from mnemos.text.procedures.procedure import Procedure, common_places, confidence, is_subsequence, scenario
from mnemos.text.trajectories.slots import Slotted, family, generalised, slotted
from mnemos.text.trajectories.trajectory import SUCCESS, Call, Trajectory

MOST_STEPS = 30
"""Calls of one pattern; longer runs are cut there."""
MOST_COMPARED = 300
"""Calls of each run that a comparison looks at: its time is the product of both."""
MOST_WORDS = 160
"""Characters of an error that are kept."""
MOST_HINTS = 2
"""Tools that an error that was not overcome is taken to point at."""
_KEYWORDS = 12


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was distilled, and the numbers (from 0) of the runs that it rests on."""

    procedure: Procedure
    sources: tuple[int, ...]


def distil(runs: Sequence[Trajectory], threshold: float = SUCCESS) -> list[Lesson]:
    """What the three distillers find in `runs`: patterns of success first, then failures, then comparisons, without those that advise what a
    failure taught already. Nothing where nothing is told."""
    overcome = failures(runs)
    told = {lesson.procedure.actions for lesson in overcome}
    compared = [lesson for lesson in comparisons(runs, threshold) if lesson.procedure.actions not in told]
    return [*successes(runs, threshold), *overcome, *compared]


# ---- success --------------------------------------------------------------------------------------------------------


def successes(runs: Sequence[Trajectory], threshold: float = SUCCESS) -> list[Lesson]:
    """For each family of tasks the shortest sequence of calls that succeeded, its arguments slot-typed, and which of its calls every success made.

    Calls that failed are left out of a sequence. Its support are the successes that made these calls in this order, its contradiction the
    failures that tried to.
    """
    families: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        families[family(run.task)].append(number)
    out = []
    for numbers in families.values():
        won = [(number, working(runs[number])) for number in numbers if runs[number].succeeded(threshold)]
        won = [(number, calls) for number, calls in won if calls]
        if not won:
            continue
        shortest, calls = min(won, key=lambda one: len(one[1]))
        order = [call.tool for call in calls]
        pro = [number for number, made in won if is_subsequence(order, [call.tool for call in made])]
        contra = [n for n in numbers if not runs[n].succeeded(threshold) and is_subsequence(order, attempted(runs[n]))]
        needed = [tool for tool in dict.fromkeys(order) if all(any(call.tool == tool for call in made) for _, made in won)]
        task = slotted(runs[shortest].task)
        steps = typed(calls[:MOST_STEPS], task)
        said = "; ".join(f"{place}. {step}" for place, step in enumerate(steps, 1))
        if len(won) > 1 and needed != list(dict.fromkeys(order)):
            said += f". Every success called {', '.join(needed)}"
        procedure = Procedure(
            scenario=scenario(task.text, order), content=said + ".", category="success", keywords=keywords(task.text, order),
            confidence=confidence(len(pro), len(contra)), tools=tuple(dict.fromkeys(order)), steps=tuple(step.as_json() for step in steps),
            query=runs[shortest].task, support=len(pro), contradiction=len(contra),
        )  # fmt: skip
        out.append(Lesson(procedure, tuple(dict.fromkeys((shortest, *pro)))))
    return out


def working(run: Trajectory) -> list[Call]:
    """The calls of a run that worked towards its end: without those that failed, those after which a call failed as it had before, and
    immediate repetitions."""
    calls = run.calls()
    vain: set[int] = set()
    last: dict[tuple[str, str], int] = {}
    for at, call in enumerate(calls):
        if call.failed:
            error = (call.tool, error_of(call))
            vain.update(range(last.get(error, at), at))
            last[error] = at
    out: list[Call] = []
    for at, call in enumerate(calls):
        if not call.failed and at not in vain and (not out or (out[-1].tool, out[-1].arguments) != (call.tool, call.arguments)):
            out.append(call)
    return out


def attempted(run: Trajectory) -> list[str]:
    """The tools of all calls of a run, of those that failed too."""
    return [call.tool for call in run.calls()]


# ---- failure --------------------------------------------------------------------------------------------------------


def failures(runs: Sequence[Trajectory]) -> list[Lesson]:
    """For each error of a tool: the calls after which the same tool succeeded, or what else about its call had changed; in the same run, or, where
    that one gave up, in another run of the same task.

    Its support are the runs in which that cure was followed by success of the call, its contradiction those in which the cure stood before the
    very same error.
    """
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[int, Call, Sequence[Call]]]] = defaultdict(list)
    against: dict[tuple[str, str], list[tuple[int, list[str]]]] = defaultdict(list)
    groups: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        groups[run.group].append(number)
    for number, run in enumerate(runs):
        calls = run.calls()
        for at, call in enumerate(calls):
            if not call.failed:
                continue
            error = error_of(call)
            against[call.tool, error].append((number, [earlier.tool for earlier in calls[:at] if not earlier.failed]))
            cure = _cure(calls, at)
            if cure is None and not any(later.tool == call.tool for later in calls[at + 1 :]):
                cure = _cure_elsewhere(calls[:at], call.tool, [runs[n] for n in groups[run.group] if n != number])
            if cure is not None:
                found[call.tool, error, tuple(one.tool for one in cure)].append((number, call, cure))
    out = []
    for (tool, error, cure_tools), cases in found.items():
        number, call, cure = cases[0]
        before = cure_tools[:-1]
        support = len({case[0] for case in cases})
        contra = len({n for n, made in against[tool, error] if before and is_subsequence(before, made)})
        out.append(Lesson(_overcome(runs[number].task, call, error, cure, support, contra), tuple(dict.fromkeys(case[0] for case in cases))))
    return out


def _cure(calls: Sequence[Call], at: int) -> Sequence[Call] | None:
    """The calls by which the failure of `calls[at]` was overcome, the last of them the same tool's success; None where another failure of that
    tool comes first, or no success."""
    between: list[Call] = []
    for call in calls[at + 1 :]:
        if call.tool == calls[at].tool:
            return None if call.failed else [*between, call]
        if not call.failed:
            between.append(call)
    return None


def _cure_elsewhere(before: Sequence[Call], tool: str, others: Iterable[Trajectory]) -> Sequence[Call] | None:
    """What another run called, and this one had not, before the same tool succeeded there; None where there is no such run."""
    had = {call.tool for call in before if not call.failed}
    for other in others:
        calls = working(other)
        at = next((place for place, call in enumerate(calls) if call.tool == tool), None)
        if at is not None and (added := [call for call in calls[:at] if call.tool not in had]):
            return [*added, calls[at]]
    return None


def _overcome(task: str, call: Call, error: str, cure: Sequence[Call], support: int, contra: int) -> Procedure:
    held = slotted(task)
    steps = typed(cure, held)
    if len(steps) > 1:
        said = _cure_in_words(call.tool, error, steps)
    else:
        said = f"`{call.tool}` failed with “{error}” when called as {typed([call], held)[0]}; it worked as {steps[0]}."
    tools = tuple(dict.fromkeys(step.tool for step in steps))
    return Procedure(
        scenario=f"{scenario(held.text, tools)}; when `{call.tool}` fails: {error}", content=said, category="failure", step_type="observation",
        keywords=keywords(error, [call.tool, *tools]), confidence=confidence(support, contra), tools=tools,
        steps=tuple(step.as_json() for step in steps), trigger=call.tool, query=task, support=support, contradiction=contra, extra={"error": error},
    )  # fmt: skip


def _cure_in_words(tool: str, error: str, steps: Sequence[Call]) -> str:
    firsts = _listed(steps[:-1])
    return f"`{tool}` failed with “{error}” until {firsts} had been called. Call {firsts} first, then {steps[-1]}."


def in_common(lesson: Procedure, other: Procedure) -> Procedure:
    """Of two cures of one failure what both did: the calls that every success made."""
    kept = [lesson.steps[place] for place in common_places(lesson.actions, other.actions)]
    steps = [Call(str(step["tool"]), step["arguments"]) for step in kept]
    tools = tuple(dict.fromkeys(step.tool for step in steps))
    content = _cure_in_words(lesson.trigger or "", str(lesson.extra.get("error")), steps)
    return replace(lesson, content=content, steps=tuple(kept), tools=tools)


def reflection(run: Trajectory, known: Iterable[str] = ()) -> Procedure | None:
    """A provisional lesson of one run that failed: the last error, the call that made it, and the tools that the error's words point at.

    `known` are tools beside those that the run says it had. Without an error the lesson is the order of calls that did not do. None where
    nothing was called. What it advises is a guess until a retry succeeds: it names the tools, and has no support.
    """
    calls = run.calls()
    if not calls:
        return None
    held = slotted(run.task)
    last = next((call for call in reversed(calls) if call.failed), None)
    order = [call.tool for call in calls if not call.failed]
    if last is None:
        said = f"Calling {', '.join(order[:MOST_STEPS])} in this order was not enough: a step is missing, or one is wrong."
        return Procedure(scenario(held.text, order), said, "failure", keywords(held.text, order), 0.0, run.called(), query=run.task, support=0)
    error = error_of(last)
    tools = [tool for tool in dict.fromkeys((*run.tools, *known)) if tool not in order and tool != last.tool]
    hints = pointed_at(error, tools)
    said = f"`{last.tool}` failed with “{error}”."
    if hints:
        said += f" Call {' or '.join(f'`{tool}`' for tool in hints)} before it."
    return Procedure(
        scenario=f"{scenario(held.text, run.called())}; when `{last.tool}` fails: {error}", content=said, category="failure",
        step_type="observation", keywords=keywords(error, [last.tool, *hints]), confidence=0.0, tools=run.called(),
        steps=tuple({"tool": tool, "arguments": {}} for tool in hints), trigger=last.tool, query=run.task, support=0, extra={"error": error},
    )  # fmt: skip


def error_of(call: Call) -> str:
    """The first line of a failed call's result, without its particulars."""
    line = next((line for line in (call.result or "").splitlines() if line.strip()), "no result")
    return slotted(line.strip()).text[:MOST_WORDS]


def pointed_at(error: str, tools: Sequence[str]) -> list[str]:
    """The tools whose names share the most letters with telling words of an error: "not authenticated" points at `authenticate`."""
    told = [word for word in words(error) if len(word) > 3 and word not in STOP_WORDS]
    weights = {tool: sum(any(_kin(part, word) for word in told) for part in _parts(tool)) / max(len(_parts(tool)), 1) for tool in tools}
    best = sorted((tool for tool in tools if weights[tool] > 0), key=lambda tool: -weights[tool])
    return best[:MOST_HINTS]


def _parts(tool: str) -> list[str]:
    return [part for part in words(tool.replace("_", " ").replace(".", " ").replace("-", " ")) if len(part) > 3]


def _kin(one: str, other: str) -> bool:
    """Whether two words begin alike: five letters, or all of the shorter one."""
    shortest = min(len(one), len(other))
    return shortest > 3 and one[: min(shortest, 5)] == other[: min(shortest, 5)]


# ---- comparison -----------------------------------------------------------------------------------------------------


def comparisons(runs: Sequence[Trajectory], threshold: float = SUCCESS) -> list[Lesson]:
    """Soft comparison: for each task the best against the worst of its runs, where their rewards differ: which calls the better one made that
    the worse one did not, and before which call that both made. Where the worse one gave up after an error, only what belongs before that call.

    Its support are the successes that did so, its contradiction the failures that did and the successes that did not.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        groups[run.group].append(number)
    out: list[Lesson] = []
    for numbers in groups.values():
        best = max(numbers, key=lambda number: runs[number].reward)
        worst = min(numbers, key=lambda number: runs[number].reward)
        if runs[best].reward > runs[worst].reward:
            out += _compared(runs, numbers, best, worst, threshold)
    return out


def _compared(runs: Sequence[Trajectory], numbers: Sequence[int], best: int, worst: int, threshold: float) -> Iterator[Lesson]:
    better, worse = working(runs[best]), runs[worst].calls()
    gave_up = bool(worse) and worse[-1].failed
    task = slotted(runs[best].task)
    for added, then in differences(better, worse):
        if gave_up and (then is None or then.tool != worse[-1].tool):  # what made it fail stands before the call that failed
            continue
        order = [call.tool for call in added] + ([then.tool] if then is not None else [])
        pro = [n for n in numbers if runs[n].succeeded(threshold) and is_subsequence(order, [c.tool for c in working(runs[n])])]
        contra = [n for n in numbers if n not in pro and is_subsequence(order, attempted(runs[n])) is not runs[n].succeeded(threshold)]
        steps = typed([*added, *([then] if then is not None else [])], task)
        where = f"before {steps[-1]}" if then is not None else "at the end"
        firsts = steps[:-1] if then is not None else steps
        procedure = Procedure(
            scenario=scenario(task.text, order), content=f"The better run called {_listed(firsts)} {where}; the worse one did not.",
            category="comparative", step_type="decision", keywords=keywords(task.text, order), confidence=confidence(len(pro), len(contra)),
            tools=tuple(dict.fromkeys(order)), steps=tuple(step.as_json() for step in steps), query=runs[best].task,
            trigger=then.tool if then is not None else None, support=len(pro), contradiction=len(contra),
        )  # fmt: skip
        yield Lesson(procedure, (best, worst))


def differences(better: Sequence[Call], worse: Sequence[Call]) -> list[tuple[list[Call], Call | None]]:
    """Runs of calls that `better` has and `worse` has not, by a longest common subsequence of their tools, each with the common call that follows
    (None at the end)."""
    better = better[:MOST_COMPARED]
    common = set(common_places([call.tool for call in better], [call.tool for call in worse[:MOST_COMPARED]]))
    out: list[tuple[list[Call], Call | None]] = []
    added: list[Call] = []
    for place, call in enumerate(better):
        if place not in common:
            added.append(call)
        elif added:
            out.append((added, call))
            added = []
    return [*out, (added, None)] if added else out


# ---- shared ---------------------------------------------------------------------------------------------------------


def typed(calls: Sequence[Call], task: Slotted) -> list[Call]:
    """The calls with slot-typed arguments."""
    out: list[Call] = []
    earlier: list[tuple[str, str]] = []
    for call in calls:
        out.append(Call(call.tool, generalised(call.arguments, task, earlier)))
        if call.result:
            earlier.append((call.tool, call.result))
    return out


def keywords(text: str, tools: Iterable[str]) -> tuple[str, ...]:
    """Telling words of a text and the tools' names."""
    told = [word for word in words(text) if len(word) > 2 and word not in STOP_WORDS]
    return tuple(dict.fromkeys((*tools, *told)))[:_KEYWORDS]


def _listed(steps: Sequence[Call]) -> str:
    return ", then ".join(f"`{step}`" for step in steps)
