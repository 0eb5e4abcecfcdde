"""The operations that build a memory, as tools that a language model can call, and as values that any policy can give.

Source: Mem-α, arXiv 2509.25911, section 3.1 (the write tools). The tool `no_operation` is ours: a chunk with nothing worth storing is answered
by saying so, and is then no failure (see `rewards`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from mnemos.base.protocols import Tool, ToolCall

Kind = Literal["core", "semantic", "episodic"]
CORE: Kind = "core"
SEMANTIC: Kind = "semantic"
EPISODIC: Kind = "episodic"
LISTS: tuple[Kind, ...] = (SEMANTIC, EPISODIC)

INSERT, UPDATE, DELETE, NO_OPERATION, SEARCH = "new_memory_insert", "memory_update", "memory_delete", "no_operation", "search_memory"
WRITING = (INSERT, UPDATE, DELETE, NO_OPERATION)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a tool. Anything can stand in it: `Memory.execute` says what is wrong with it."""

    tool: str
    memory_type: str = ""
    content: str = ""
    memory_id: str = ""
    at: int | None = None
    """When an event was, in microseconds since 1970; None takes the chunk's time."""
    sources: tuple[Hashable, ...] = ()
    """What the content was made of: ids of source memories. They are the caller's, and mean nothing here."""
    fault: str = ""
    """Why the arguments of a model's call could not be read; such a call fails."""


NOTHING = Operation(NO_OPERATION)


def _object(required: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": dict(required)}


_LIST = {"type": "string", "enum": list(LISTS)}
_CONTENT = {"type": "string", "minLength": 1, "description": "What to remember, in a sentence that can be understood by itself."}
_TIME = {
    "type": ["string", "null"],
    "description": "Of an event: when it was, as 2024-05-17 or 2024-05-17T09:30; null where the time of the conversation is meant.",
}
_ID = {"type": "string", "description": "The id of the item, as the memory shows it."}

TOOLS: tuple[Tool, ...] = (
    {
        "name": INSERT,
        "description": "Store a new item: semantic (a fact that lasts, a rule) or episodic (an event, with its time).",
        "parameters": _object({"memory_type": _LIST, "content": _CONTENT, "time": _TIME}),
    },
    {
        "name": UPDATE,
        "description": "Replace what an item says, because it has changed or can be said better. The core is one paragraph, has no id, and is "
        "replaced as a whole.",
        "parameters": _object({
            "memory_type": {"type": "string", "enum": [CORE, *LISTS]}, "new_content": _CONTENT,
            "memory_id": {"type": ["string", "null"], "description": "The id of the item; null for the core."}, "time": _TIME,
        }),
    },
    {
        "name": DELETE,
        "description": "Take an item out of memory that is wrong, or not worth its room.",
        "parameters": _object({"memory_type": _LIST, "memory_id": _ID}),
    },
    {"name": NO_OPERATION, "description": "Say that nothing in this text is worth storing.", "parameters": _object({})},
)  # fmt: skip
"""The tools that write, with JSON Schemas that strict servers take."""
SEARCH_TOOL: Tool = {
    "name": SEARCH,
    "description": "Look items up before changing them.",
    "parameters": _object({
        "memory_type": _LIST, "query": {"type": "string", "minLength": 1}, "method": {"type": "string", "enum": ["bm25", "embedding"]},
    }),
}  # fmt: skip
"""The tool that reads; it is no part of what is learnt."""


def operation(call: ToolCall, sources: Sequence[Hashable] = ()) -> Operation:
    """What a model's call asks for. A call that cannot be read becomes an operation with a `fault`, which fails when it is executed."""
    name = call["name"]
    try:
        arguments = orjson.loads(call["arguments"] or "{}")
    except orjson.JSONDecodeError as error:
        return Operation(name, fault=f"the arguments are no JSON ({error}); give one JSON object")
    if not isinstance(arguments, dict):
        return Operation(name, fault="the arguments are no JSON object; give one JSON object")
    texts = {key: arguments.get(key) or "" for key in ("memory_type", "content", "new_content", "memory_id", "time")}
    wrong = [key for key, value in texts.items() if not isinstance(value, str)]
    if wrong:
        return Operation(name, fault=f"{wrong[0]} must be a string")
    at, fault = None, ""
    if texts["time"]:
        at = parse_time(texts["time"])
        fault = "" if at is not None else f"time {texts['time'][:40]!r} is no date; give it as 2024-05-17 or 2024-05-17T09:30"
    return Operation(name, texts["memory_type"], texts["new_content"] or texts["content"], texts["memory_id"], at, tuple(sources), fault)


def parse_time(written: str) -> int | None:
    """Microseconds since 1970 of an ISO date or time, in UTC where it names no zone; None where it is none."""
    try:
        moment = datetime.fromisoformat(written.strip())
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1e6)
    except (OverflowError, ValueError):
        return None


def stamp(at: int) -> str:
    """A time as it stands before an event: `2024-05-17 09:30`."""
    try:
        return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(at)
