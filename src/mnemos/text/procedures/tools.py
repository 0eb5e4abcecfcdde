"""What is known of a tool from its calls: the last hundred, counted, the last twenty in words (the tool memory beside ReMe, arXiv 2512.10696)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mnemos.base.cube import check_text, plain_json
from mnemos.base.errors import Invalid, shown
from mnemos.text.procedures.distilling import error_of
from mnemos.text.trajectories.slots import slotted, type_of
from mnemos.text.trajectories.trajectory import Call

KEPT_CALLS = 100
SUMMARISED_CALLS = 20
MOST_RESULT = 500
"""Characters of a result that are kept."""
_MOST_SHOWN = 3


def call_record(call: Call) -> dict[str, Any]:
    """A call as plain JSON, its result cut to 500 characters. Raises `Invalid` where it holds what no call does."""
    if not isinstance(call.arguments, Mapping):
        raise Invalid(f"call: arguments: expected a dict by name, not {shown(call.arguments)}")
    if call.result is not None:
        check_text(call.result, "call: result")
    record = asdict(replace(call, arguments=dict(call.arguments), result=None if call.result is None else call.result[:MOST_RESULT]))
    record.pop("at")
    return {name: value for name, value in record.items() if value is not None}


def read_call(record: object) -> Call:
    """The call that `call_record` described. Raises `Invalid`, naming the field."""
    if not isinstance(record, Mapping) or not isinstance(record.get("tool"), str) or not record["tool"]:
        raise Invalid(f"call: expected a dict with a tool's name, not {shown(record)}")
    unknown = record.keys() - {"tool", "arguments", "result", "failed", "seconds", "tokens", "score"}
    if unknown:
        raise Invalid(f"call: unknown field {shown(sorted(unknown, key=str)[0])}; known are tool, arguments, result, failed, seconds, tokens, score")
    plain: dict[str, Any] = plain_json(dict(record), "call")
    if not isinstance(plain.get("arguments", {}), dict):
        raise Invalid(f"call: arguments: expected a dict by name, not {shown(plain['arguments'])}")
    if plain.get("result") is not None:
        check_text(plain["result"], "call: result")
    if not isinstance(plain.get("failed", False), bool):
        raise Invalid(f"call: failed: expected true or false, not {shown(plain['failed'])}")
    for name in ("seconds", "tokens", "score"):
        value = plain.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise Invalid(f"call: {name}: expected a number, not {shown(value)}")
    return Call(**plain)


@dataclass(frozen=True, slots=True)
class ToolStatistics:
    """The last calls of a tool, counted. `seconds` and `tokens` are medians, `score` the mean; None where no call told."""

    tool: str
    calls: int
    successes: int
    seconds: float | None
    tokens: float | None
    score: float | None

    @property
    def success_rate(self) -> float:
        return self.successes / self.calls


class ToolMemory:
    """The last hundred calls of each tool, oldest first. Not safe for several threads without a lock."""

    def __init__(self) -> None:
        self._calls: dict[str, deque[Call]] = {}

    def copy(self) -> ToolMemory:
        """The same, to which nothing is added that is added to this."""
        out = ToolMemory()
        out._calls = {tool: calls.copy() for tool, calls in self._calls.items()}
        return out

    def add(self, calls: Iterable[Call]) -> None:
        for call in calls:
            self._calls.setdefault(call.tool, deque(maxlen=KEPT_CALLS)).append(call)

    @property
    def tools(self) -> list[str]:
        return sorted(self._calls)

    def calls(self, tool: str) -> list[Call]:
        return list(self._calls.get(tool, ()))

    def statistics(self, tool: str) -> ToolStatistics | None:
        """None for a tool that was never called."""
        calls = self.calls(tool)
        if not calls:
            return None
        return ToolStatistics(
            tool, len(calls), sum(not call.failed for call in calls), _median([c.seconds for c in calls]), _median([c.tokens for c in calls]),
            _mean([c.score for c in calls]),
        )  # fmt: skip

    def summary(self, tool: str) -> str:
        """In words: how often it succeeds, how long it takes, which errors it gave in its last twenty calls, and how the calls that worked looked.
        Empty for a tool that was never called."""
        told = self.statistics(tool)
        if told is None:
            return ""
        lines = [f"Of the last {told.calls} calls {told.successes} succeeded ({told.success_rate:.0%})."]
        if told.seconds is not None:
            lines.append(f"A call takes {told.seconds:.3g} s.")
        if told.tokens is not None:
            lines.append(f"Its result takes {told.tokens:.0f} tokens.")
        if told.score is not None:
            lines.append(f"Its results were scored {told.score:.2f} on average.")
        recent = self.calls(tool)[-SUMMARISED_CALLS:]
        errors = Counter(error_of(call) for call in recent if call.failed)
        lines += [f"Failed {count} of {len(recent)} times with: {error}" for error, count in errors.most_common(_MOST_SHOWN)]
        shapes = Counter(_shape(call) for call in recent if not call.failed)
        lines += [f"Worked as {shape} ({count} of {len(recent)})." for shape, count in shapes.most_common(_MOST_SHOWN)]
        return "\n".join(lines)

    def described(self, tool: str, description: str) -> str:
        """A tool's description with what is known of its use below it."""
        summary = self.summary(tool)
        return f"{description}\n\nFrom earlier calls:\n{summary}" if summary else description


def _shape(call: Call) -> str:
    """A call by the names and types of its arguments; choices and flags as they are."""
    shown_arguments = {
        name: value if isinstance(value, bool) or (isinstance(value, str) and type_of(value) == "string" and slotted(value).text == value
                                                   and len(value) <= 12 and value.islower()) else f"<{type_of(value)}>"
        for name, value in call.arguments.items()
    }  # fmt: skip
    return str(Call(call.tool, shown_arguments))


def _median(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return float(np.median(told)) if told else None


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return float(np.mean(told)) if told else None
