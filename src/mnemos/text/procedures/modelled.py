"""What a language model adds to procedures: insights of its own, a judge of these, the order and the words in which they are handed over.

Nothing here raises for what a model says or a server does (`text.asking`): what cannot be used is left out, and the caller goes on without it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Answer, Refused, Report, ask, ask_all, made_by
from mnemos.text.procedures.distilling import Lesson
from mnemos.text.procedures.procedure import Procedure
from mnemos.text.prompts import Aliases, prompt
from mnemos.text.trajectories.segments import around, cleaned, read_points, segments, short
from mnemos.text.trajectories.trajectory import SUCCESS, Trajectory
from mnemos.text.trajectories.validation import Verdict, by_judge

MOST_STEPS = 60
"""Steps of a run that a model is shown, half from its beginning and half from its end."""
MOST_CHARACTERS = 600
"""Characters of each step that it is shown."""
_TOOL = re.compile(r"\b\w*[a-z0-9]_[a-z0-9]\w*\b|\b\w+(?=\()")
"""What reads like the name of a tool: words with underscores, and words before a bracket."""


@dataclass
class Adviser:
    """A chat model as the procedures of a space use it. `report` counts what was asked, and what came of it."""

    chat: ChatModel
    report: Report = field(default_factory=Report)

    # -- learning --
    def points(self, run: Trajectory) -> list[int] | None:
        """Where groups of steps of a run end; None where the model does not say."""
        got = ask(self.chat, prompt("procedure_segments"), {"steps": _steps(run)}, report=self.report)
        if not isinstance(got, Refused):
            return cleaned(got["ends"], len(run.messages))
        found = read_points(got.said, len(run.messages))  # numbers without their form will do
        return found if len(found) > 1 else None

    def distil(
        self, runs: Sequence[Trajectory], threshold: float = SUCCESS, *, segment: bool = False, without: Collection[int] = ()
    ) -> list[Lesson]:
        """Insights from successes, from failures, and from the best against the worst run of each task; the runs numbered `without` are only
        compared. Insights that name tools which do not occur in their runs are rejected."""
        cases: dict[str, list[tuple[dict[str, Any], tuple[int, ...]]]] = defaultdict(list)
        for number, run in enumerate(runs):
            if number in without:
                continue
            name = "procedure_success" if run.succeeded(threshold) else "procedure_failure"
            start = 0
            for part in segments(run, self.points(run) if segment else ()):
                end = start + len(part.messages)
                before, after = around(run, start, end)
                cases[name].append(({"task": run.task, "before": before, "steps": _steps(part), "after": after}, (number,)))
                start = end
        for best, worst in _contrasts(runs):
            values = {"task": runs[best].task, "better": _steps(runs[best]), "worse": _steps(runs[worst])}
            cases["procedure_compare"].append((values, (best, worst)))
        out: list[Lesson] = []
        for name, some in cases.items():
            checks = [_names_only([runs[number] for number in sources]) for _, sources in some]
            answers = ask_all(self.chat, prompt(name), [values for values, _ in some], check=checks, report=self.report)
            for answer, (_, sources) in zip(answers, some, strict=True):
                if not isinstance(answer, Refused):
                    made = made_by(self.chat, prompt(name))
                    out += [Lesson(_procedure(one, name, runs[sources[0]].task, made), sources) for one in answer["insights"]]
        return out

    def judge(self, lessons: Sequence[Lesson], runs: Sequence[Trajectory]) -> list[Verdict]:
        """A verdict on each lesson; where the judge fails it is to keep nothing."""
        values = [
            {"insight": {"when_to_use": one.procedure.scenario, "what_to_do": one.procedure.content},
             "steps": [step for number in one.sources for step in _steps(runs[number])]}
            for one in lessons
        ]  # fmt: skip
        answers = ask_all(self.chat, prompt("procedure_judge"), values, report=self.report) if values else []
        verdicts = [by_judge(None if isinstance(answer, Refused) else answer) for answer in answers]
        self.report.reject(sum(not verdict.kept for verdict in verdicts))
        return verdicts

    def reflect(self, run: Trajectory) -> list[Procedure]:
        """Provisional lessons of a run that failed."""
        values = {"task": run.task, "before": [], "steps": _steps(run), "after": []}
        got = ask(self.chat, prompt("procedure_failure"), values, check=_names_only([run]), report=self.report)
        made = made_by(self.chat, prompt("procedure_failure"))
        return [] if isinstance(got, Refused) else [_procedure(one, "procedure_failure", run.task, made) for one in got["insights"]]

    # -- using --
    def order(self, task: str, procedures: Sequence[Procedure]) -> list[int]:
        """The places of the procedures, the most helpful first: those that the model names, then the others as they are."""
        places = [str(place) for place in range(len(procedures))]
        names = Aliases(places)
        told = [{"id": names.alias(place), "when_to_use": one.scenario, "what_to_do": one.content}
                for place, one in zip(places, procedures, strict=True)]  # fmt: skip
        got = ask(self.chat, prompt("procedure_rank"), {"task": task, "experiences": told}, report=self.report)
        named = [] if isinstance(got, Refused) else [place for place in map(names.id, got["order"]) if place is not None]
        return [int(place) for place in dict.fromkeys((*named, *places))]

    def rewrite(self, task: str, procedures: Sequence[Procedure]) -> str | None:
        """The procedures as one piece of guidance for a task; None where the model does not give one, or names what they do not."""
        told = [{"when_to_use": one.scenario, "what_to_do": one.content} for one in procedures]
        known = " ".join([task, *(one.text for one in procedures), *(tool for one in procedures for tool in one.tools)])

        def check(answer: Answer) -> str | None:
            return _foreign(str(answer["guidance"]), known)

        got = ask(self.chat, prompt("procedure_rewrite"), {"task": task, "experiences": told}, check=check, report=self.report)
        return None if isinstance(got, Refused) else str(got["guidance"])

    def situation(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """Where a run stands, in a sentence or two; None where the model does not say."""
        told = [{"role": str(message.get("role", "")), "text": short({**message, "role": message.get("role", "")}, MOST_CHARACTERS)}
                for message in messages[-10:]]  # fmt: skip
        got = ask(self.chat, prompt("procedure_situation"), {"messages": told}, report=self.report)
        return None if isinstance(got, Refused) else str(got["situation"])


def _contrasts(runs: Sequence[Trajectory]) -> list[tuple[int, int]]:
    """Of each task the numbers of its best and its worst run, where their rewards differ."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        groups[run.group].append(number)
    pairs = [(max(some, key=lambda n: runs[n].reward), min(some, key=lambda n: runs[n].reward)) for some in groups.values()]
    return [(best, worst) for best, worst in pairs if runs[best].reward > runs[worst].reward]


def _steps(run: Trajectory) -> list[dict[str, Any]]:
    """The steps of a run as a model is shown them, each with its number; what is left out of a long one is said."""
    told = [{"step": number, "text": short(message, MOST_CHARACTERS)} for number, message in enumerate(run.messages, 1)]
    if len(told) <= MOST_STEPS:
        return told
    half = MOST_STEPS // 2
    return [*told[:half], {"step": half + 1, "text": f"({len(told) - 2 * half} steps are left out)"}, *told[-half:]]


def _names_only(runs: Sequence[Trajectory]) -> Callable[[Answer], str | None]:
    """A check that insights name tools of these runs only, in their list and in what they say."""
    tools = {tool for run in runs for tool in (*run.called(), *run.tools)}
    known = " ".join([*tools, *(run.task for run in runs), *(short(message, MOST_CHARACTERS) for run in runs for message in run.messages)])

    def check(answer: Answer) -> str | None:
        for insight in answer["insights"]:
            unknown = [tool for tool in insight["tools"] if tool not in tools]
            if unknown:
                return f"the tool {unknown[0]!r} does not occur in the steps; there are {', '.join(sorted(tools)) or 'none'}"
            if (fault := _foreign(insight["what_to_do"], known)) is not None:
                return fault
        return None

    return check


def _foreign(said: str, known: str) -> str | None:
    """What is wrong with a text that names a tool which stands nowhere in `known`; None where nothing is."""
    words = set(re.findall(r"\w+", known))
    unknown = next((match[0] for match in _TOOL.finditer(said) if match[0] not in words), None)
    return None if unknown is None else f"{unknown!r} is named, and occurs nowhere in what was given"


def _procedure(insight: Mapping[str, Any], name: str, task: str, made: Mapping[str, Any]) -> Procedure:
    category = {"procedure_success": "success", "procedure_failure": "failure", "procedure_compare": "comparative"}[name]
    return Procedure(
        scenario=insight["when_to_use"].strip(), content=insight["what_to_do"].strip(), category=category,
        keywords=tuple(dict.fromkeys(insight["keywords"])), confidence=float(insight["confidence"]), tools=tuple(dict.fromkeys(insight["tools"])),
        step_type=insight["step_type"], query=task, author=str(made["model"]), extra={"made_by": dict(made)},
    )  # fmt: skip
