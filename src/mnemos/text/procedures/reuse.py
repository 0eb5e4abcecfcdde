"""Procedures brought to a task: what to ask for, in which words they are handed over, and where they stand in the prompt (ReMe, arXiv 2512.10696,
section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mnemos.base.errors import Invalid, shown
from mnemos.text.procedures.procedure import Procedure, scenario
from mnemos.text.trajectories.slots import refilled, slotted

LAST_MESSAGES = 3
"""Messages that say where a run stands, each cut to `MESSAGE_CHARACTERS` (the paper's)."""
MESSAGE_CHARACTERS = 200
LEAST_TRUST = 0.3
"""Mean of confidence and score below which an entry can be left out (the paper's)."""
SECTION = "## Experience from earlier runs"
_NOTE = "Suggestions that may not fit; follow what the task itself and the tools say."


def question(task: str | None = None, messages: Sequence[Mapping[str, Any]] | None = None, tools: Iterable[str] = ()) -> str:
    """What to look procedures up by: the task without its particulars and the tools at hand, as a scenario says it; without a task the last three
    messages, each cut to 200 characters. Raises `Invalid` where neither says anything."""
    if messages is not None and not (isinstance(messages, (list, tuple)) and all(isinstance(message, Mapping) for message in messages)):
        raise Invalid(f"messages: expected a list of messages, each a dict with a role and content, not {shown(messages)}")
    if task is None or not task.strip():
        task = "\n".join(_said(message) for message in (messages or ())[-LAST_MESSAGES:]).strip()
    if not task:
        raise Invalid("procedures: say what they are for, by the task or by messages")
    return scenario(slotted(task).text, tools)


def _said(message: Mapping[str, Any]) -> str:
    calls = " ".join(name for call in _listed(message.get("tool_calls")) if isinstance(name := _part(call, "function", "name"), str))
    content = message.get("content")
    return f"{content if isinstance(content, str) else ''} {calls}".strip()[:MESSAGE_CHARACTERS]


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _part(value: Any, *names: str) -> Any:
    """What stands under these names, one within the other; None where nothing does."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def trusted(procedures: Sequence[Procedure], least: float = LEAST_TRUST) -> list[int]:
    """The places of those whose confidence and score are at least `least` on average."""
    return [place for place, one in enumerate(procedures) if (one.confidence + one.score) / 2 >= least]


def guidance(procedures: Sequence[Procedure], task: str | None = None) -> str:
    """The procedures in words, numbered, their slots filled by what `task` has in their place; empty where there are none."""
    parts = []
    for number, one in enumerate(procedures, 1):
        content = refilled(one.content, task) if task else one.content
        parts.append(f"Experience {number}\nWhen to use: {one.scenario}\nWhat to do: {content}")
    return "\n\n".join(parts)


def injected(messages: Sequence[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    """The messages with guidance in the first of a user, under a heading of its own; once: where there is such a section they stay as they are.

    Raises `Invalid` where no message is a user's, or its content is neither text nor parts.
    """
    out = [dict(message) for message in messages]
    first = next((message for message in out if message.get("role") == "user"), None)
    if first is None:
        raise Invalid("messages: none is a user's, so that there is no place for guidance")
    section = f"{SECTION}\n{_NOTE}\n\n{text}"
    if not text.strip() or any(SECTION in _words(message) for message in out):
        return out
    content = first.get("content")
    if isinstance(content, str):
        first["content"] = f"{content}\n\n{section}"
    elif isinstance(content, (list, tuple)):
        first["content"] = [*content, {"type": "text", "text": section}]
    else:
        raise Invalid(f"messages: the content of the first user's message is {type(content).__name__}, neither text nor parts")
    return out


def _words(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""
