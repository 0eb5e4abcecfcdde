"""A trajectory: what an agent was asked, the messages and tool calls by which it went about it, and how well that ended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from mnemos.base.cube import check_text, check_word, plain_json
from mnemos.base.errors import Invalid, shown

ROLES = ("system", "user", "assistant", "tool")
SUCCESS = 1.0
"""Reward from which on a run counts as a success (ReMe, arXiv 2512.10696, section 3.1: r ≥ 1)."""
_FAILED = re.compile(
    r"\s*(?:\W{0,3}(?:error|exception|traceback|fail(?:ed|ure)|fatal|denied|invalid|unauthori[sz]ed|forbidden|not found|missing)\b"
    r"|(?:http\s*)?(?:error\s*)?[45]\d\d\b)|[^\n]{0,80}?(?:error|exception):",
    re.IGNORECASE,
)
_BAD_STATUS = frozenset({"error", "failed", "failure", "denied"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: its arguments by name, what came back (None: nothing did), and whether that was an error.

    `seconds`, `tokens` and `score` (0 to 1) are what the run measured of it, where it did. `at` is the index of the message that made the call.
    """

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: str | None = None
    failed: bool = False
    seconds: float | None = None
    tokens: int | None = None
    score: float | None = None
    at: int = -1

    def as_json(self) -> dict[str, Any]:
        """What the call was, without what came back."""
        return {"tool": self.tool, "arguments": dict(self.arguments)}

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_said(value)}" for name, value in self.arguments.items())
        return f"{self.tool}({inside})"


def _said(value: object) -> str:
    return value if isinstance(value, str) and value.startswith("<") and value.endswith(">") else orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Messages in the OpenAI form (`role`, `content`, `tool_calls`, `tool_call_id`) with the task and the reward, 0 to 1.

    `task_id` says which runs tried the same task; without one, equal task texts do. `tools` names the tools that the agent had; without any,
    those that it called. Make one with `importing.trajectory`, which reads the message lists of common frameworks.
    """

    task: str
    messages: tuple[Mapping[str, Any], ...]
    reward: float
    task_id: str | None = None
    tools: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Runs with the same group tried the same task."""
        return self.task_id if self.task_id is not None else self.task

    def succeeded(self, threshold: float = SUCCESS) -> bool:
        return self.reward >= threshold

    def calls(self) -> list[Call]:
        """The tool calls in their order, each with its result: that of its id, or else the next result that belongs to no other call."""
        results = {m["tool_call_id"]: m for m in self.messages if m["role"] == "tool" and m.get("tool_call_id") is not None}
        out = []
        for at, message in enumerate(self.messages):
            made = message.get("tool_calls") or ()
            unnamed = iter(self._results_after(at)) if made else iter(())
            for call in made:
                told = results.get(call["id"]) if call.get("id") is not None else None
                told = told if told is not None else next(unnamed, None)
                function = call["function"]
                out.append(_call(function["name"], _arguments(function.get("arguments")), told, at))
        return out

    def _results_after(self, at: int) -> Iterator[Mapping[str, Any]]:
        for message in self.messages[at + 1 :]:
            if message["role"] != "tool":
                return
            if message.get("tool_call_id") is None:
                yield message

    def called(self) -> tuple[str, ...]:
        """The tools that were called, each once, in the order of their first call."""
        return tuple(dict.fromkeys(call.tool for call in self.calls()))

    def as_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"task": self.task, "messages": [dict(m) for m in self.messages], "reward": self.reward}
        if self.task_id is not None:
            out["task_id"] = self.task_id
        if self.tools:
            out["tools"] = list(self.tools)
        return out

    @classmethod
    def from_json(cls, record: object) -> Trajectory:
        """The trajectory that `as_json` described. Raises `Invalid`, naming the field."""
        if not isinstance(record, Mapping) or not {"task", "messages", "reward"} <= record.keys():
            raise Invalid(f"trajectory: expected a dict with task, messages and reward, not {shown(record)}")
        return checked(record["task"], record["messages"], record["reward"], record.get("task_id"), record.get("tools") or ())


def checked(task: object, messages: object, reward: object, task_id: object = None, tools: object = ()) -> Trajectory:
    """A trajectory of messages in the OpenAI form, each field checked. Raises `Invalid`."""
    text = check_text(task, "task").strip()
    if not text:
        raise Invalid("task: is empty; say what the agent was asked")
    if isinstance(reward, bool):
        reward = float(reward)
    if not isinstance(reward, (int, float)) or not 0 <= reward <= 1:
        raise Invalid(f"reward: expected a number from 0 to 1, not {shown(reward)}; scale it, 1 being success")
    if isinstance(messages, (str, bytes, Mapping)) or not hasattr(messages, "__iter__"):
        raise Invalid(f"messages: expected a list of messages, not {type(messages).__name__}")
    read = tuple(_message(message, number) for number, message in enumerate(messages, 1))
    if isinstance(tools, str) or not isinstance(tools, (list, tuple)) or not all(isinstance(tool, str) for tool in tools):
        raise Invalid("tools: expected a list of names")
    return Trajectory(text, read, float(reward), check_word(task_id, "task_id"), tuple(dict.fromkeys(tools)))


def _message(message: object, number: int) -> Mapping[str, Any]:
    where = f"message {number}"
    if not isinstance(message, Mapping) or message.get("role") not in ROLES:
        raise Invalid(f"{where}: expected a dict with a role, one of {', '.join(ROLES)}, not {shown(message)}")
    plain: dict[str, Any] = plain_json(dict(message), where)
    if not isinstance(plain.get("content", ""), str):
        raise Invalid(f"{where}: content is a text; read lists of parts with `importing.trajectory`")
    if not isinstance(plain.get("tool_calls") or [], list):
        raise Invalid(f"{where}: tool_calls: expected a list, not {shown(plain['tool_calls'])}")
    if not isinstance(plain.get("tool_call_id"), (str, type(None))):
        raise Invalid(f"{where}: tool_call_id: expected a text, not {shown(plain['tool_call_id'])}")
    for call in plain.get("tool_calls") or ():
        if isinstance(call, dict) and not isinstance(call.get("id"), (str, type(None))):
            raise Invalid(f"{where}: the id of a tool call is a text, not {shown(call['id'])}")
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Invalid(f'{where}: a tool call is {{"id": …, "function": {{"name": …, "arguments": …}}}}, not {shown(call)}')
    return plain


def _arguments(given: object) -> Mapping[str, Any]:
    """Arguments as a dict, whether they came as one or as JSON text; what is neither stands under "text" or "value"."""
    if isinstance(given, str):
        try:
            given = orjson.loads(given) if given.strip() else {}
        except orjson.JSONDecodeError:
            return {"text": given}
    if isinstance(given, Mapping):
        return dict(given)
    return {} if given is None else {"value": given}


def _call(tool: str, arguments: Mapping[str, Any], told: Mapping[str, Any] | None, at: int) -> Call:
    if told is None:
        return Call(tool, arguments, at=at)
    result = told.get("content", "")
    return Call(
        tool, arguments, result, failed(result, told.get("error", told.get("is_error"))), _number(told.get("seconds")),
        None if _number(told.get("tokens")) is None else int(told["tokens"]), _number(told.get("score")), at,
    )  # fmt: skip


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def failed(result: str, flag: object = None) -> bool:
    """Whether a tool's result tells of an error: by the message's own flag, by an `error`, `success` or `status` of a JSON object, or by how its
    text begins."""
    if isinstance(flag, bool):
        return flag
    if flag:
        return True
    head = result.lstrip()
    if head.startswith("{"):
        try:
            value = orjson.loads(head)
        except orjson.JSONDecodeError:
            value = {}
        if value.get("error") or value.get("success") is False or str(value.get("status", "")).lower() in _BAD_STATUS:
            return True
        if value:
            return False
    return _FAILED.match(head) is not None
