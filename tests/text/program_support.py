"""Workers and strict clients for the tests of programs. Each worker's answer follows from the request alone, as runs that are killed need it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from mnemos.base.protocols import Reply
from mnemos.text.program.control import ControlUnit, opening
from mnemos.text.program.conversation import check_conversation
from mnemos.text.program.journal import MemoryJournal
from mnemos.text.program.request import Request
from mnemos.text.program.state import Settings
from mnemos.text.program.workers import as_reply, call, drive, write

SMALL = ("write_files", "view_files", "list_files", "step_complete")


def unit_of(task: str, plan: Any = "rules", *, files: dict[str, str] | None = None, **settings: Any) -> ControlUnit:
    """A run in memory; without evaluators unless they are named."""
    given = {"evaluators": (), **settings}
    return ControlUnit(MemoryJournal(opening(task, Settings.from_json(given), plan), files))


class Strict:
    """A client that takes only what a strict endpoint takes, within the window, and remembers what it was sent."""

    def __init__(self, worker: Callable[[Request], Any], window: int) -> None:
        self.worker = worker
        self.window = window
        self.requests: list[Request] = []
        self.replies: list[Reply] = []

    def __call__(self, request: Request) -> Reply:
        check_conversation(request.messages)
        sent = orjson.dumps({"messages": list(request.messages), "tools": list(request.tools)})
        assert len(sent) / 4 - len(request.messages) - 16 <= request.tokens <= self.window  # its own count, without the marks of the whole
        self.requests.append(request)
        self.replies.append(as_reply(self.worker(request)))
        return self.replies[-1]


def marker_worker(request: Request) -> Any:
    """Writes one file for each instruction, with what is asked for in it, and completes."""
    if request.purpose != "work":
        return f"Step {request.address} is done."
    assert request.instruction is not None
    name = f"out/{request.address:04d}.md"
    if name in request.files:
        return [call("step_complete")]
    return [write(**{name: "\n".join(f"# {line}" for line in re.findall(r"^- (.*)$", request.instruction.text, re.M))})]


def random_worker(seed: int) -> Callable[[Request], Any]:
    """Does anything that a model might: writes, views, large files, unknown tools, broken JSON, words, silence; and completes now and then."""

    def worker(request: Request) -> Any:
        rng = random.Random(f"{seed}/{request.number}")
        if request.purpose != "work":
            return rng.choice(["All is well.", "", "word " * rng.randint(1, 3000), [call("step_complete")]])
        names = [*request.files, "a.py", "b.md", "new.json"]
        calls = [
            lambda: write(**{f"f{rng.randint(0, 9)}.md": "text " * rng.randint(0, 2000)}),
            lambda: call("view_files", names=rng.sample(names, min(len(names), rng.randint(1, 4)))),
            lambda: call("list_files"),
            lambda: call("step_complete"),
            lambda: call("delete_files", names=[rng.choice(names)]),
            lambda: call("patch_files", edits=[{"path": rng.choice(names), "find": "text text", "replace": "x"}]),
            lambda: call(rng.choice(["fly", "plan", ""]), steps=["x"]),
            lambda: ("write_files", rng.choice(['{"files": [', "null", "[]", '{"files": 7}', "nonsense", "x" * rng.randint(1, 9000)])),
            lambda: call("write_files", files=[{"path": rng.choice(["../x", "/etc/x", "a/../b", "", "con\0"]), "contents": "x"}]),
        ]
        kind = rng.random()
        if kind < 0.15:
            return rng.choice(["", "I wonder.", "word " * rng.randint(1, 4000), None])
        return [rng.choice(calls)() for _ in range(rng.choice([1, 1, 1, 2, 3, 6]))]

    return worker


def run(unit: ControlUnit, worker: Callable[[Request], Any], **options: Any) -> str:
    return drive(unit, worker, **options)


def requirements(count: int) -> str:
    """A task with so many requirements, each with a marker of its own."""
    return "# Book\n\n" + "\n".join(f"- REQ-{number:04d} says something of its own about part {number}." for number in range(count))


def texts(messages: Sequence[Any]) -> str:
    return "\n".join(message["content"] for message in messages)
