"""The control unit: builds every context, does the calls, has the files checked, and decides what comes next (L2MAC, Algorithm 1).

It is deterministic. The worker is whatever answers its requests; what it says and does is written to a journal, one entry at a time, before
anything rests on it, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mnemos.base.cube import check_text
from mnemos.base.errors import Conflict, Corrupt, Frozen, Invalid, NotFound, shown
from mnemos.base.protocols import Message, Reply, Tool
from mnemos.base.utf8 import sendable
from mnemos.text.program import prompts
from mnemos.text.program.contexts import Contexts
from mnemos.text.program.counting import RequestCounter
from mnemos.text.program.cycles import next_temperature
from mnemos.text.program.evaluators import Evaluator, check_all, evaluators
from mnemos.text.program.files import content_hash
from mnemos.text.program.journal import Journal, MemoryJournal
from mnemos.text.program.planning import grouped, missing_from, requirements
from mnemos.text.program.registry import Instruction, Registry
from mnemos.text.program.request import Hooks, Purpose, Request
from mnemos.text.program.state import PLANNING, Event, Settings, folded, holds
from mnemos.text.program.toolbox import PLAN, SCHEMAS, Done, Toolbox

PLAN_ATTEMPTS = 3
_FORGOTTEN = "Of what was said and written before, a part was forgotten on purpose. Look at what there is."


@dataclass
class ControlUnit:
    """One run of one program. `next` gives what to ask the worker, `take` takes the answer; in between, and whenever `take` was interrupted, the
    journal holds all that is needed to go on.

    `counter`: counts requests. `checks`: evaluators in the place of those that the settings name.
    """

    journal: Journal
    counter: RequestCounter = field(default_factory=RequestCounter)
    checks: Sequence[Evaluator] | None = None
    hooks: Hooks = field(default_factory=Hooks)

    def __post_init__(self) -> None:
        self._load()
        settings = self.state.settings
        self._evaluators = list(self.checks) if self.checks is not None else evaluators(settings.evaluators)
        self._toolbox = Toolbox(self._evaluators, settings.tools, self.hooks.admit)
        tested = any(one.name == "pytest" for one in self._evaluators) and "pytest_files" in settings.tools
        self._contexts = Contexts(self.counter, self._toolbox.tools, prompts.TESTS if tested else "")

    def _load(self) -> None:
        """Take the state from the journal."""
        self._asked: Request | None = None
        self._behind = False
        events, self.files = self.journal.load()
        if not events or events[0].get("event") != "open":
            raise Corrupt("journal of the program: does not begin with what the program is")
        self.state = folded(events)
        if self.state.settings.prompts != prompts.VERSION:
            raise Conflict(f"the program was begun with version {self.state.settings.prompts} of the prompts, and this Mnemos has {prompts.VERSION}")
        if not set(self.files) <= set(self.state.files):
            raise Corrupt("journal of the program: it holds files that its entries do not tell of")

    # -- what is asked --
    def next(self) -> Request | None:
        """What to ask the worker; None where the program is over. The same until `take`. Does what is due without the worker: calls that were
        left over by an interruption, jumps, beginnings."""
        if self._behind:
            self._load()
        if self._asked is not None:
            return self._asked
        while not self.state.over:
            if gone := sorted(set(self.state.files) - set(self.files)):
                self._record({"event": "lost", "names": gone})
            elif self.state.lost:
                self._record({"event": "restart", "note": _FORGOTTEN, "listing": self._listing()})
            elif self.state.pending:
                self._do_pending()
            elif self.state.status == "planning":
                if (request := self._plan_request()) is not None:
                    return self._ask(request)
            elif (current := self.state.registry.current) is None:
                self._record({"event": "end", "status": "done", "reason": ""})
            elif current.jumps:
                self._jump(current)
            elif current.state != "running":
                self._record({"event": "begin", "listing": self._listing()})
            elif (request := self._work_request()) is not None:
                return self._ask(request)
        return None

    def _ask(self, request: Request) -> Request:
        self._asked = request
        if self.hooks.before_call is not None:
            self.hooks.before_call(request)
        return request

    def _request(self, purpose: Purpose, messages: Sequence[Message], tools: Sequence[Tool], choice: str) -> Request:
        tokens = self.counter.request(messages, tools)
        state = self.state
        return Request(
            state.calls, purpose, tuple(messages), tuple(tools), choice, next_temperature(state.temperature, state.traces), tokens,
            max(1, state.settings.window - tokens), state.address, state.registry.current if state.address != PLANNING else None,
            tuple(sorted(self.files)),
        )  # fmt: skip

    def _listing(self) -> str:
        return self._contexts.listing(sorted(self.files), self.state.settings)

    # -- planning --
    def _plan_request(self) -> Request | None:
        """Ask a model for a plan, or for a better one; None where the plan stands now."""
        state, tools = self.state, [SCHEMAS[PLAN]]
        messages = [*self._contexts.planning(state.task, state.settings.steps), *state.messages]
        tokens = self.counter.request(messages, tools)
        enough = bool(state.draft) and state.plans > state.settings.reflections
        given_up = not state.draft and state.plans >= PLAN_ATTEMPTS
        if enough or given_up or tokens > state.settings.limit - state.settings.note_room:
            self._record({"event": "plan", "instructions": self.planned(state.draft), "by": "model" if state.draft else "rules"})
            return None
        return self._request("plan", messages, tools, PLAN)

    def fitting(self, registry: Registry) -> Registry:
        """The registry, where each instruction has room in the window. Raises `Invalid`."""
        room = self._contexts.instruction_room(self.state)
        for address, one in enumerate(registry):
            if (cost := self.counter.quoted(one.text)) > room:
                raise Invalid(f"plan, entry {address}: costs {cost:,} tokens, and {room:,} have room; make the window larger, or divide the entry")
        return registry

    def planned(self, steps: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The plan of a model, and instructions for the requirements that it left out; without a plan, one by rules. Raises `Invalid` where the
        task asks for nothing, or one requirement has no room in the window."""
        task, settings = self.state.task, self.state.settings
        room = self._contexts.instruction_room(self.state)
        fitting = [step for step in steps[: settings.steps] if self.counter.quoted(step) <= room]
        left = missing_from(fitting, task) if fitting else requirements(task)
        if left or not fitting:
            fitting += grouped(left, per_step=settings.per_step, room=room, count=self.counter.quoted)
        return [instruction.as_json() for instruction in Registry.of(fitting)]

    # -- working --
    def _work_request(self) -> Request | None:
        """The next request of the instruction; a note is asked for where the context is full. None where the instruction came to its end."""
        state, settings = self.state, self.state.settings
        tools = self._toolbox.tools
        base = self._contexts.base(state)
        if self.counter.request(base, tools) > settings.limit - settings.note_room:
            self._fail(f"instruction {state.registry.counter} does not fit into a window of {settings.window:,} tokens; make it larger")
            return None
        messages = [*base, *state.messages]
        if self.counter.request(messages, tools) <= settings.limit:
            summing = state.phase == "summary"
            return self._request("summary" if summing else "work", messages, tools, "none" if summing else "auto")
        if state.phase == "summary":
            return self._request("summary", self._contexts.shortened(state, prompts.SUMMARY), tools, "none")
        if state.restarts >= settings.restarts:
            times = "once" if settings.restarts == 1 else f"{settings.restarts} times"
            self._fail(f"instruction {state.registry.counter} was begun anew {times}, and its context was full again")
            return None
        return self._request("note", self._contexts.shortened(state, prompts.NOTE), tools, "none")

    def _jump(self, jump: Instruction) -> None:
        assert jump.when is not None
        passes = jump.when.kind != "checks" or check_all(self._evaluators, self.files, writing=False).ok
        self._record({"event": "jump", "taken": jump.rounds < jump.limit and holds(jump.when, self.files, passes)})

    def _fail(self, reason: str) -> None:
        if self.state.settings.keep_going:
            self._record({"event": "advance", "state": "failed", "summary": f"The step before failed: {reason}."})
        else:
            self._record({"event": "end", "status": "failed", "reason": reason})

    # -- what was answered --
    def take(self, reply: Reply) -> None:
        """Take the worker's answer to what `next` asked: keep it, do its calls one by one, and say what comes next. Raises `Invalid` where
        nothing was asked."""
        request = self._asked
        if request is None or self._behind:
            raise Invalid("take: nothing was asked since the last answer; call `next` first")
        self._asked = None
        heard = self._heard(request, reply)
        if request.purpose == "note":
            note = self._short(sendable(reply.text)) or self._own_note()
            self._record(*heard, {"event": "restart", "note": note, "listing": self._listing()})
            if self.hooks.on_restart is not None:
                self.hooks.on_restart(self.state.registry.counter, note)
        elif request.purpose == "summary":
            summary = self._short(sendable(reply.text)) or self._own_note()
            address = self.state.registry.counter
            self._record(*heard, {"event": "advance", "state": "done", "summary": summary})
            if self.hooks.on_advance is not None:
                self.hooks.on_advance(address, self.state.registry[address])
        elif heard[1]["calls"]:
            self._record(*heard)
            self._do_pending()
        elif request.purpose == "plan":
            self._record(*heard, {"event": "say", "phase": "work", "content": prompts.REPLAN.format(error="It called nothing.")})
        else:
            self._record(*heard, {"event": "say", "phase": "work", "content": prompts.CONTINUE})

    def _heard(self, request: Request, reply: Reply) -> tuple[Event, Event]:
        """The entries that say what was asked and answered. Calls get ids of the run's own: models repeat theirs, or give none."""
        calls = [
            {"id": f"call-{request.number}-{number}", "name": sendable(call["name"]), "arguments": sendable(call["arguments"])}
            for number, call in enumerate(reply.calls if request.choice != "none" else ())
        ]
        text = sendable(reply.text) if calls or reply.text.strip() else "(nothing)"
        spent = reply.tokens_out if reply.tokens_out is not None else self.counter.text(orjson.dumps([text, calls]).decode())
        asked: Event = {
            "event": "call", "number": request.number, "purpose": request.purpose, "address": request.address, "tokens": request.tokens,
            "temperature": request.temperature, "choice": request.choice, "messages": digest(request.messages), "base": digest(request.messages[:2]),
            "kept": max(0, len(request.messages) - 2),
        }  # fmt: skip
        return asked, {"event": "reply", "text": text, "calls": calls, "tokens": spent}

    def _short(self, text: str) -> str:
        """A summary or note, cut to what a base has room for."""
        return self._contexts.cut_words(" ".join(text.split()), self.state.settings)

    def _own_note(self) -> str:
        """A note in the place of one that the worker did not write: which files the instruction has written so far."""
        written = [name for name, entry in self.state.files.items() if entry.author == self.state.registry.counter]
        return self._short(f"Written so far: {', '.join(written)}." if written else "Nothing was written.")

    def _do_pending(self) -> None:
        """Do the calls that are due, each of them one entry of the journal; with the last one goes what the user says next."""
        planning = self.state.status == "planning"
        offered = [SCHEMAS[PLAN]] if planning else self._toolbox.tools
        asked = next(message for message in reversed(self.state.messages) if message["role"] == "assistant")
        room = self._contexts.result_room(self.state) // len(asked["tool_calls"])  # of all calls of the turn, also of those done before a kill
        while self.state.pending:
            call = self.state.pending[0]
            done = self._toolbox.run(call, self.files, offered)
            told = done.content or "(nothing)"
            told = told if planning else self._contexts.cut_result(told, room)
            event: Event = {
                "event": "tool", "id": call["id"], "name": call["name"], "error": done.error, "complete": done.complete, "content": told,
                "wrote": [name for name, content in done.changes.items() if content is not None],
                "deleted": [name for name, content in done.changes.items() if content is None],
                "hashes": {name: content_hash(content) for name, content in done.changes.items() if content is not None},
                "read": dict(done.read),
            }  # fmt: skip
            events: list[Event] = [event]
            if done.steps:
                events.append({"event": "draft", "steps": list(done.steps)})
            if len(self.state.pending) == 1:
                events.append(self._reflection(done) if planning else self._what_next(done, told))
            try:
                self._record(*events, changes=done.changes)
            except Frozen as frozen:  # somebody wants the file to stay as it is: the worker is told, and nothing was written
                self._load()
                self._toolbox.refuse(done.changes, str(frozen))
                continue
            if self.hooks.after_tool is not None:
                self.hooks.after_tool(call["name"], done)

    def _reflection(self, done: Done) -> Event:
        content = prompts.REFLECT if done.steps or self.state.draft else prompts.REPLAN.format(error=done.content)
        return {"event": "say", "phase": "work", "content": content}

    def _what_next(self, done: Done, told: str) -> Event:
        """What the user says after the calls of a turn. What was written after a step was said to be complete makes it incomplete again."""
        complete, errors = (done.complete, told) if done.complete is not None or done.changes else (self.state.completed, self.state.errors)
        if complete:
            return {"event": "say", "phase": "summary", "content": prompts.SUMMARY}
        if complete is False:
            return {"event": "say", "phase": "work", "content": prompts.CORRECT.format(errors=errors)}
        return {"event": "say", "phase": "work", "content": prompts.CONTINUE}

    def _record(self, *events: Event, changes: Mapping[str, str | None] | None = None) -> None:
        """Make events true and durable; where that fails, the next step begins with what the journal holds."""
        self._behind = True
        for event in events:
            self.state.apply(event)
        self.journal.append(events, changes or {}, self.state)
        self._behind = False
        for name, content in (changes or {}).items():
            if content is None:
                self.files.pop(name, None)
            else:
                self.files[name] = content

    # -- after a failure --
    def retry(self) -> None:
        """Let a program that failed go on with the instruction that failed. Raises `Conflict` for one that has not failed."""
        if self.state.status != "failed":
            raise Conflict(f"the program is {self.state.status}; only one that failed can be retried")
        self._record({"event": "retry"})


def digest(messages: Sequence[Message]) -> str:
    """SHA-256 (hex) of messages as they were sent."""
    return hashlib.sha256(orjson.dumps(list(messages), option=orjson.OPT_SORT_KEYS)).hexdigest()


def opening(
    task: str,
    settings: Settings,
    plan_: Sequence[object] | str = "rules",
    *,
    counter: RequestCounter | None = None,
    checks: Sequence[Evaluator] | None = None,
) -> list[Event]:
    """The first events of a run. `plan_`: instructions, "rules" for those that the task itself gives (`planning`), or "model": the worker is
    asked. Raises `Invalid` where there is nothing to do, or an instruction has no room in the window."""
    if not check_text(task, "task").strip():
        raise Invalid("task: is empty; say what is to be made")
    begun: list[Event] = [{"event": "open", "task": task, "settings": settings.as_json()}]
    if isinstance(plan_, str) and plan_ not in ("rules", "model"):
        raise Invalid(f"plan: {shown(plan_)} is none of 'rules', 'model', or a list of instructions")
    unit = ControlUnit(MemoryJournal(begun), counter or RequestCounter(), checks)
    if isinstance(plan_, str):
        planned: Event = {"event": "plan", "instructions": unit.planned(), "by": "rules"}
        return begun if plan_ == "model" else [*begun, planned]  # also a model's plan falls back on this one, so it has to be possible
    return [*begun, {"event": "plan", "instructions": [one.as_json() for one in unit.fitting(Registry.of(plan_))], "by": "caller"}]


def context(events: Sequence[Event], number: int, *, counter: RequestCounter | None = None, checks: Sequence[Evaluator] | None = None) -> Request:
    """What the worker was asked in call `number` of a run, built again from the journal. Raises `NotFound` for a call that there was not,
    `Corrupt` where what is built is not what was sent (the entries were altered, or tokens are counted otherwise than in the run)."""
    at = next((at for at, event in enumerate(events) if event["event"] == "call" and event["number"] == number), None)
    if at is None:
        raise NotFound(f"the program has made no call {shown(number)}")
    before = list(events[:at])
    journal = MemoryJournal(before, dict.fromkeys(folded(before).files, ""))
    request = ControlUnit(journal, counter or RequestCounter(), checks).next()
    if (request is None or digest(request.messages) != events[at]["messages"]) and any(event.get("lost") for event in events[: at + 1]):
        raise NotFound(f"call {number} cannot be built again: a part of what was said there has been forgotten")
    if request is None or digest(request.messages) != events[at]["messages"]:
        raise Corrupt(f"journal of the program: call {number} cannot be built again; is the tokenizer the one of the run?")
    return request
