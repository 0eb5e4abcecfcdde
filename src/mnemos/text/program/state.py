"""The state of a run as the sum of its events: whoever has the events has the state, and can build every context that there was.

Events are plain JSON. `Event["event"]` names the kind; `State.apply` is the only place where the state changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mnemos.base.errors import Corrupt, Invalid, shown
from mnemos.base.protocols import Message, ToolCall
from mnemos.text.program import prompts
from mnemos.text.program.conversation import text_of
from mnemos.text.program.cycles import LENGTHS, trace
from mnemos.text.program.evaluators import DEFAULT
from mnemos.text.program.files import FileEntry
from mnemos.text.program.registry import Condition, Cost, Registry
from mnemos.text.program.toolbox import WORKING

Event = Mapping[str, Any]
SPOKEN: Mapping[str, tuple[str, ...]] = {
    "call": ("messages", "base"), "reply": ("text", "calls"), "tool": ("content", "hashes", "read"), "say": ("content",), "restart": ("note",),
    "advance": ("summary",), "draft": ("steps",),
}  # fmt: skip
"""The parts of events that repeat what stands in files, or would confirm a guess at it, as hashes do. A journal can keep them apart from the rest,
and go on where they were forgotten: such an event says so by "lost", and has those of `NOTHING_SPOKEN` in their place."""
NOTHING_SPOKEN: Mapping[str, Any] = {
    "messages": "", "base": "", "text": "", "calls": [], "content": "", "hashes": {}, "read": {}, "note": "", "summary": "", "steps": [],
}  # fmt: skip
_TRACED = 2 * max(LENGTHS)
PLANNING = -1
"""The address of planning, in costs and records of calls."""


@dataclass(frozen=True)
class Settings:
    """How a program is run. Fixed when it begins, and part of its journal.

    `window`: tokens that a request may have, tools included (C of the paper; default 8,192). `reply`: of these, tokens kept free for the answer
    (default 0: the rule of the paper, whose bound is on the request). `steps`: most instructions of a plan by a model (default 50).
    `per_step`: most requirements of an instruction planned without one (default 4). `reflections`: times that a model looks at its plan again
    (default 1). `restarts`: of an instruction whose context is full, at most (the paper's 30). `free`: tokens that are free when a note is
    asked for (the paper's 700, or a quarter of the window where that is less). `tools`, `evaluators`: their names. `keep_going`: go on with
    the next instruction where one fails.
    """

    window: int = 8192
    reply: int = 0
    steps: int = 50
    per_step: int = 4
    reflections: int = 1
    restarts: int = 30
    free: int = 700
    tools: tuple[str, ...] = WORKING
    evaluators: tuple[str, ...] = DEFAULT
    keep_going: bool = False
    prompts: int = prompts.VERSION

    def __post_init__(self) -> None:
        least = {"window": 256, "reply": 0, "steps": 1, "per_step": 1, "reflections": 0, "restarts": 0, "free": 16}
        for name, bound in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not bound <= value < 2**31:
                raise Invalid(f"{name}: expected a whole number from {bound} to {2**31 - 1:,}, not {shown(value)}")
        if not isinstance(self.keep_going, bool):
            raise Invalid(f"keep_going: expected true or false, not {shown(self.keep_going)}")
        if self.reply > self.window // 2:
            raise Invalid(f"reply: {self.reply:,} tokens are more than half of the window of {self.window:,}")

    @property
    def limit(self) -> int:
        """The tokens of the longest request."""
        return self.window - self.reply

    @property
    def note_room(self) -> int:
        """Tokens left free when a note is asked for."""
        return max(min(self.free, self.window // 4), self.reply)

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Settings:
        """The settings that `as_json` wrote. Raises `Invalid` for an unknown one."""
        for name in ("tools", "evaluators"):
            if name in record and not (isinstance(record[name], (list, tuple)) and all(isinstance(one, str) for one in record[name])):
                raise Invalid(f"{name}: expected a list of names, not {shown(record[name])}")
        try:
            lists = {name: tuple(record[name]) for name in ("tools", "evaluators") if name in record}
            return cls(**{**record, **lists})
        except TypeError as error:
            raise Invalid(f"settings of a program: {error}; known are {', '.join(cls.__dataclass_fields__)}") from None


@dataclass
class State:
    """Where a run stands. `status`: "planning", "running", "done", or "failed" (`reason` says why).

    `messages` are those of the current instruction since its context was last cleared, after the base. `pending` are calls that were kept and are
    still to be done. `phase`: "work", or "summary" when the step is complete. `note` is what is carried over: the summary of the step before, or
    of this one before its context was cleared.
    """

    task: str = ""
    settings: Settings = field(default_factory=Settings)
    status: str = "planning"
    reason: str = ""
    registry: Registry = field(default_factory=Registry)
    phase: str = "work"
    messages: list[Message] = field(default_factory=list)
    pending: list[ToolCall] = field(default_factory=list)
    completed: bool | None = None
    """Whether the checks passed, where the step was said to be complete since the last turn."""
    errors: str = ""
    note: str = ""
    listing: str = ""
    """The names of the files, as the base of the present context tells them."""
    temperature: float = 0.0
    traces: list[str] = field(default_factory=list)
    files: dict[str, FileEntry] = field(default_factory=dict)
    numbered: int = 0
    """Files that there ever were."""
    gone: dict[str, FileEntry] = field(default_factory=dict)
    """Files that were deleted; a name that is used again is another file."""
    restarts: int = 0
    """Times that the context of the current instruction was cleared since it was begun."""
    read: dict[str, str] = field(default_factory=dict)
    """Files that the current instruction has read, with their hashes."""
    calls: int = 0
    tokens: int = 0
    """Of all requests and replies so far."""
    planning: Cost = field(default_factory=Cost)
    plans: int = 0
    """Times that a model was asked for a plan."""
    draft: tuple[str, ...] = ()
    """The plan that a model has given so far."""
    events: int = 0
    lost: bool = False
    """Something that was said in the present context has been forgotten since."""

    @property
    def over(self) -> bool:
        return self.status in ("done", "failed")

    @property
    def address(self) -> int:
        return PLANNING if self.status == "planning" else self.registry.counter

    def apply(self, event: Event) -> None:
        """Change as the event says. Raises `Corrupt` for one of an unknown kind."""
        change = getattr(self, f"_on_{event.get('event')}", None)
        if change is None:
            raise Corrupt(f"journal of the program: event {self.events} is of no known kind: {shown(event.get('event'))}")
        change(event)
        self.events += 1
        self.lost = self.lost or (bool(event.get("lost")) and bool(self.messages))

    # -- the kinds of events --
    def _on_open(self, event: Event) -> None:
        self.task, self.settings = event["task"], Settings.from_json(event["settings"])

    def _on_plan(self, event: Event) -> None:
        self.registry = Registry.of(event["instructions"])
        self.status = "running"
        self._clear()

    def _on_draft(self, event: Event) -> None:
        self.draft = tuple(event["steps"])

    def _on_begin(self, event: Event) -> None:
        self.registry = self.registry.with_(self.registry.counter, state="running")
        self._clear()
        self.traces, self.read, self.restarts = [], {}, 0
        self.listing = event["listing"]

    def _on_call(self, event: Event) -> None:
        self.calls += 1
        self.temperature = event["temperature"]
        self.completed, self.errors = None, ""
        if self.status == "planning":
            self.plans += 1
        self._spend(calls=1, tokens_in=event["tokens"])

    def _on_reply(self, event: Event) -> None:
        calls: list[ToolCall] = [{"id": c["id"], "name": c["name"], "arguments": c["arguments"]} for c in event["calls"]]
        message: Message = {"role": "assistant", "content": event["text"]}
        if calls:
            message["tool_calls"] = calls
        self._say(message)
        self.pending = calls
        self._spend(tokens_out=event["tokens"])

    def _on_tool(self, event: Event) -> None:
        self.pending = self.pending[1:]
        self._say({"role": "tool", "content": event["content"], "tool_call_id": event["id"]})
        for name in event["wrote"]:
            self._write(name, event["hashes"].get(name, ""))
        for name in event["deleted"]:
            self.gone[name] = self.files.pop(name)
        self.read |= event["read"]
        if event["complete"] is not None:
            self.completed, self.errors = event["complete"], "" if event["complete"] else event["content"]
        elif event["wrote"] or event["deleted"]:  # what was written after the checks is not checked
            self.completed, self.errors = None, ""
        self._spend(tools=1)

    def _on_say(self, event: Event) -> None:
        self._say({"role": "user", "content": event["content"]})
        self.phase = event["phase"]

    def _on_restart(self, event: Event) -> None:
        self._spend(restarts=1)
        self.restarts += 1
        self._clear()
        self.note = event["note"]
        self.listing = event["listing"]

    def _on_advance(self, event: Event) -> None:
        self.registry = self.registry.advanced(event["state"], event["summary"])
        self.note = event["summary"]
        self._clear()

    def _on_jump(self, event: Event) -> None:
        self.registry = self.registry.jumped(event["taken"])

    def _on_lost(self, event: Event) -> None:
        """Files were removed by somebody else."""
        for name in event["names"]:
            self.files.pop(name, None)

    def _on_end(self, event: Event) -> None:
        self.status, self.reason = event["status"], event["reason"]

    def _on_retry(self, event: Event) -> None:
        """A program that failed goes on with the instruction that failed."""
        self.status, self.reason = "running", ""
        self.registry = self.registry.with_(self.registry.counter, state="pending")
        self._clear()

    # -- parts of them --
    def _say(self, message: Message) -> None:
        self.messages.append(message)
        if message["role"] == "tool" and self.traces and len(self.messages) > 1 and self.messages[-2]["role"] == "tool":
            self.traces[-1] = trace(self.traces[-1] + text_of(message))  # the results of one turn are one message
        else:
            self.traces = [*self.traces, trace(text_of(message))][-_TRACED:]

    def _write(self, name: str, hash: str) -> None:
        known = self.files.pop(name, None)
        number, version = (known.number, known.version + 1) if known else (self.numbered, 1)
        self.numbered += known is None
        parents = {other: read for other, read in self.read.items() if other != name}
        self.files[name] = FileEntry(number, version, hash, self.address, parents)

    def _clear(self) -> None:
        self.lost = False
        self.messages, self.pending, self.completed, self.errors, self.phase = [], [], None, "", "work"

    def _spend(self, **more: int) -> None:
        self.tokens += more.get("tokens_in", 0) + more.get("tokens_out", 0)
        if self.status == "planning":
            self.planning = self.planning.plus(**more)
        elif self.registry.current is not None:
            self.registry = self.registry.spent(self.registry.counter, **more)


def folded(events: Sequence[Event]) -> State:
    """The state after some events."""
    state = State()
    for event in events:
        state.apply(event)
    return state


def holds(condition: Condition, files: Mapping[str, str], passes: bool) -> bool:
    """Whether a jump's condition is true of the files; `passes` says whether the checks do."""
    content = files.get(condition.name)
    return {
        "always": True,
        "exists": content is not None,
        "missing": content is None,
        "contains": content is not None and condition.text in content,
        "lacks": content is None or condition.text not in content,
        "checks": passes is (condition.name == "pass"),
    }[condition.kind]
