"""Workers: whatever answers the control unit's requests. A function will do; a chat model does; some need no model at all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from mnemos.base.errors import Invalid, shown
from mnemos.base.protocols import Reply, ToolCall
from mnemos.text.program.control import ControlUnit
from mnemos.text.program.request import Request

Worker = Callable[[Request], Any]
"""Gives a `Reply`; or what is said, as a text; or calls, as a list of (tool, arguments); or None, which is silence. A run that was killed asks
again what had not been kept, so that a worker whose answer follows from the request alone leaves the same files whenever it is interrupted."""


def call(name: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """A call as workers in Python write it: call("write_files", files=[…])."""
    return name, arguments


def write(**files: str) -> tuple[str, dict[str, Any]]:
    """The call that writes one file for each keyword; for names that are no keywords give them as **{"name": content}."""
    return call("write_files", files=[{"path": name, "contents": content} for name, content in files.items()])


def as_reply(answer: object) -> Reply:
    """What a worker gave, as a reply. Raises `Invalid` for what is none."""
    if isinstance(answer, Reply):
        return answer
    if answer is None or isinstance(answer, str):
        return Reply(answer or "")
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], str) and isinstance(answer[1], Mapping):
        answer = [answer]
    if not isinstance(answer, (list, tuple)):
        raise Invalid(f"worker: gave {shown(answer)}; give a Reply, a text, or a list of (tool, arguments)")
    calls: list[ToolCall] = []
    for number, one in enumerate(answer):
        if not isinstance(one, (list, tuple)) or len(one) != 2 or not isinstance(one[0], str):
            raise Invalid(f"worker: call {number} is {shown(one)}; give (tool, arguments)")
        try:
            arguments = one[1] if isinstance(one[1], str) else orjson.dumps(one[1]).decode()
        except TypeError as error:
            raise Invalid(f"worker: call {number} of {one[0][:60]}: its arguments are no JSON ({error})") from None
        calls.append({"id": str(number), "name": one[0], "arguments": arguments})
    return Reply("", tuple(calls), "tools" if calls else "stop")


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop for now, with all that was done kept. None: no bound. `seconds` are of one call of `run`, `calls` and `tokens` too."""

    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, kinds in (("calls", int), ("tokens", int), ("seconds", (int, float))):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0):
                raise Invalid(f"{name}: expected a {'whole ' if kinds is int else ''}number, 0 or more, or None for no bound, not {shown(value)}")


def drive(
    unit: ControlUnit,
    worker: Worker,
    budget: Budget | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> str:
    """Let a worker answer until the program is over or the budget is spent. Gives "done", "failed", or what was spent: "calls", "tokens",
    "seconds". What the worker raises goes through: nothing of that call is kept, and the next run asks again."""
    budget = budget or Budget()
    began, calls, tokens = now(), 0, 0
    while (request := unit.next()) is not None:
        if budget.calls is not None and calls >= budget.calls:
            return "calls"
        if budget.tokens is not None and tokens + request.tokens > budget.tokens:
            return "tokens"
        if budget.seconds is not None and now() - began >= budget.seconds:
            return "seconds"
        reply = as_reply(worker(request))
        before = unit.state.tokens
        unit.take(reply)
        calls, tokens = calls + 1, tokens + unit.state.tokens - before
        if progress is not None:
            progress(unit.state.registry.counter, len(unit.state.registry))
    return unit.state.status


_REQUIREMENT = re.compile(r"^- (.*)$", re.M)
_UNDER = re.compile(r"^Under “(.*)”:$", re.M)


class Assembler:
    """A worker without a model: it puts the requirements of a task, word for word, into a document of Markdown, one section for each instruction,
    with an index of all of them; what is asked for becomes a list that can be ticked off. `folder` is where the sections go.

    Its use is that of a table of requirements, and of a first thing to run: every control of the machine is passed through.
    """

    index = "index.md"

    def __init__(self, folder: str = "sections") -> None:
        self._folder = folder

    def __call__(self, request: Request) -> Any:
        told = f"Section {request.address + 1} stands in {self.index}."
        if request.purpose in ("summary", "note"):
            return told if self._has_told(request, told) else f"Section {request.address + 1} is begun."
        if request.instruction is None:
            raise Invalid("this worker makes no plans; begin the program with plan='rules', or with a list of instructions")
        if lacking := {"write_files", "patch_files"} - {tool["name"] for tool in request.tools}:
            raise Invalid(f"this worker needs the tools {', '.join(sorted(lacking))}, which the program was begun without")
        text = request.instruction.text
        under = _UNDER.search(text)
        title = under[1].rpartition(" / ")[2] if under else f"Step {request.address + 1}"
        name = f"{self._folder}/{request.address + 1:04d}-{_slug(title)}.md"
        wanted = _REQUIREMENT.findall(text) or [text]
        if name not in request.files:
            body = "\n".join(f"- [ ] {' '.join(one.split())}" for one in wanted)
            return [write(**{name: f"# {_plain(title)}\n\n{body}\n"})]
        line = f"{request.address + 1}. [{_plain(title)}]({name}) ({len(wanted)})\n"
        if self._has_told(request, told):
            return [call("step_complete")]
        if self.index not in request.files:
            return [write(**{self.index: f"# Contents\n\n{line}{_END}\n"})]
        return [call("patch_files", edits=[{"path": self.index, "find": _END, "replace": f"{line}{_END}"}])]

    def _has_told(self, request: Request, told: str) -> bool:
        """Whether the index was told already, in this context or, as the note says, in one before; told twice it would have two lines."""
        wrote = any(_END in made["arguments"] for message in request.messages for made in message.get("tool_calls") or ())
        return wrote or told in request.messages[1]["content"]


_END = "<!-- the next section goes here -->"


def _slug(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:40].rstrip("-") or "section"


def _plain(title: str) -> str:
    return " ".join(re.sub(r"[\[\]()#`*_<>]", "", title).split()) or "Section"
