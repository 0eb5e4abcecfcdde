"""Records, guards and scripted models that the guard's tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mnemos.base.errors import ModelUnavailable
from mnemos.base.protocols import Message
from mnemos.kernel.guard import Calibration, Candidate, Guard, Settings
from mnemos.kernel.guard.vocabulary import Vocabulary

START = 1_700_000_000_000_000
DAY = 86_400_000_000


def fact(id: str, text: str, **labels: Any) -> Candidate:
    return Candidate(id, text, **labels)


def deed(id: str, tool: str, session: str | None = None, *, text: str = "", origin: str | None = "agent", **arguments: Any) -> Candidate:
    """A memory of a call of `tool`, in a session of its own unless one is named."""
    metadata = {"calls": [{"tool": tool, "arguments": arguments}]}
    return Candidate(id, text or f"Task {id} was done with {tool}", metadata, session=session or f"session of {id}", origin=origin)


def guard_of(settings: Settings | None = None, **keywords: Any) -> Guard:
    """A guard with ids that count up and a clock that stands."""
    numbers = iter(range(1, 1_000_000))
    options = {"new_id": lambda: f"id{next(numbers)}", "clock": lambda: START} | keywords
    return Guard(settings, **options)


def bounds(**changes: Any) -> Calibration:
    """Bounds as a calibration would give them, with some changed."""
    values: dict[str, Any] = {"divergence": 0.5, "echo": 0.25, "echo_pair": 0.1, "near": 0.9, "vocabulary": Vocabulary(), "samples": 100} | changes
    return Calibration(**values)


class ScriptedChat:
    """A chat model that answers by functions: `derive` for each record or None (no record), `judge` for all paths."""

    fingerprint = "scripted"

    def __init__(
        self, derive: Callable[[Mapping[str, Any]], str] | None = None, judge: Callable[[Sequence[Any]], str] | None = None, failing: int = 0
    ) -> None:
        self.calls: list[int] = []
        self._derive = derive or plain_path
        self._judge = judge or (lambda paths: verdicts_json([True] * len(paths)))
        self._failing = failing

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        self.calls.append(len(conversations))
        if len(self.calls) == self._failing:
            raise ModelUnavailable("the chat model failed: no answer (ReadTimeout)")
        asked = [json.loads(turns[-1]["content"]) for turns in conversations]
        return [self._judge(data["paths"]) if "paths" in data else self._derive(data) for data in asked]


def plain_path(data: Mapping[str, Any]) -> str:
    """What a model says of a record with calls: the first one is its action."""
    record = data["record"]
    calls = record["calls"] if record else [["get_vitals", []]]
    action = {"tool": calls[0][0], "effect": "read", "arguments": []} if calls else None
    return json.dumps({"triples": [["patient", "has", "pressure"]], "action": action})


def verdicts_json(consistent: Sequence[bool]) -> str:
    return json.dumps({"paths": [{"index": i, "consistent": c} for i, c in enumerate(consistent)]})
