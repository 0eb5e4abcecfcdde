"""What the guard is given: retrieved records, planned actions, and how an action went. Plain values, from any store or framework."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from mnemos.base.clock import to_micros
from mnemos.base.cube import check_word, plain_json
from mnemos.base.errors import Invalid, shown

CALL_KEYS = ("tool_calls", "calls", "actions", "action", "procedure", "steps")
"""Keys of metadata under which a record's structured tool calls are looked for."""
_WORDS = ("source", "author", "session", "origin")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: its name, and its arguments by name, as JSON values."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object) -> ToolCall | None:
        """The call that `value` describes: a `ToolCall`, `{"tool" or "name": …, "arguments": {…}}`, or OpenAI's `{"function": {…}}` with its
        arguments as JSON text. None where it describes none, or one that cannot be read."""
        if isinstance(value, ToolCall):
            return value
        if not isinstance(value, Mapping):
            return None
        inner = value.get("function")
        call = inner if isinstance(inner, Mapping) else value
        tool = call.get("tool") or call.get("name")
        arguments: Any = next((call[key] for key in ("arguments", "args", "input", "parameters") if key in call), {})
        if isinstance(arguments, str):
            try:
                arguments = orjson.loads(arguments)
            except orjson.JSONDecodeError:
                arguments = {"text": arguments}
        if not isinstance(tool, str) or not tool.strip():
            return None
        if not isinstance(arguments, Mapping):
            arguments = {"value": arguments} if arguments is not None else {}
        return cls(tool.strip(), {str(name): argument for name, argument in arguments.items()})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One retrieved record. Only `id` and `text` are needed; every label that is known makes the guard sharper.

    `metadata` is JSON, and may hold structured calls under one of `CALL_KEYS`. `source` (document, tool, address), `author`, `session` and
    `origin` ("user", "tool", "agent", "import", "web") say where it came from; `trust` (0 to 1) overrides what the origin is trusted with.
    `created_at` is in microseconds since 1970, `score` the retriever's, `supersedes` the ids of records that this one corrects.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    author: str | None = None
    session: str | None = None
    origin: str | None = None
    trust: float | None = None
    created_at: int | None = None
    score: float | None = None
    supersedes: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: object) -> Candidate:
        """A candidate from a mapping with its fields (times may be datetimes or ISO 8601 text). Raises `Invalid`, naming the field."""
        if isinstance(value, Candidate):
            return value
        if not isinstance(value, Mapping):
            raise Invalid(f"candidate: expected a Candidate or a dict with id and text, not {type(value).__name__}")
        known = cls.__slots__
        unknown = next((name for name in value if name not in known), None)
        if unknown is not None:
            raise Invalid(f"candidate: unknown field {shown(unknown)}; known are {', '.join(known)}; put what is your own into metadata")
        if not isinstance(value.get("id"), str) or not value["id"] or not isinstance(value.get("text"), str):
            raise Invalid("candidate: needs an id and a text, both of them text")
        fields: dict[str, Any] = {"id": value["id"], "text": value["text"], "metadata": plain_json(value.get("metadata") or {}, "metadata")}
        if not isinstance(fields["metadata"], dict):
            raise Invalid("candidate: metadata is a dict with text keys")
        fields |= {name: check_word(value.get(name), name) or None for name in _WORDS}
        created: Any = value.get("created_at")
        fields["created_at"] = created if isinstance(created, int) and not isinstance(created, bool) else to_micros(created, "created_at")
        fields["trust"] = _number(value.get("trust"), "trust", 0.0, 1.0)
        fields["score"] = _number(value.get("score"), "score", -math.inf, math.inf)
        given = value.get("supersedes") or ()
        if isinstance(given, str) or not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(i, str) for i in given):
            raise Invalid("candidate: supersedes is a list of ids")
        return cls(**fields, supersedes=tuple(dict.fromkeys(given)))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The structured tool calls that the metadata holds, in order."""
        for key in CALL_KEYS:
            value = self.metadata.get(key)
            if value is None:
                continue
            items = value if isinstance(value, (list, tuple)) else [value]
            found = tuple(call for call in map(ToolCall.of, items) if call is not None)
            if found:
                return found
        return ()

    def content_digest(self) -> str:
        """SHA-256 (hex) of what the record says and calls, whatever labels a retriever gives along with it."""
        calls = [[call.tool, call.arguments] for call in self.calls]
        return _sha256([self.text, calls])

    def digest(self) -> str:
        """SHA-256 (hex) of what the record says and claims of itself; its score is the retriever's and not part of it."""
        labels = [self.source, self.author, self.session, self.origin, self.trust, self.created_at, list(self.supersedes)]
        return _sha256([self.id, self.text, self.metadata, labels])


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent means to do for `query`: a call, or an answer, and why in its own words (`reasoning`).

    `decision` is the id of the `Verdicts` whose records the plan rests on; None where it rests on no memory. `attempt` counts from 0: a
    plan that was sent back comes again with 1.
    """

    query: str
    action: ToolCall | None = None
    answer: str | None = None
    reasoning: str = ""
    decision: str | None = None
    attempt: int = 0

    @classmethod
    def of(cls, value: object, query: str = "") -> Plan:
        """A plan from a `Plan`, a call in any of its forms, or the text of an answer. Raises `Invalid`."""
        if isinstance(value, Plan):
            return value if value.query or not query else replace(value, query=query)
        if isinstance(value, str):
            return cls(query, answer=value)
        call = ToolCall.of(value)
        if call is None:
            raise Invalid(f"plan: expected a Plan, a tool call or the text of an answer, not {shown(value)}")
        return cls(query, action=call)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the action went that a record tells of: the decision it rested on, what was done, and whether it worked (None: not known)."""

    decision: str | None = None
    action: ToolCall | None = None
    success: bool | None = None


def candidates_of(given: Iterable[object]) -> list[Candidate]:
    """The candidates, in their order. Raises `Invalid` where an id comes twice: one record must not vote twice."""
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise Invalid(f"candidates: expected a list of records, not {type(given).__name__}")
    found = [Candidate.of(value) for value in given]
    seen: set[str] = set()
    for candidate in found:
        if candidate.id in seen:
            raise Invalid(f"candidates: id {shown(candidate.id)} comes twice; give each record once")
        seen.add(candidate.id)
    return found


def _sha256(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)).hexdigest()


def _number(value: object, name: str, low: float, high: float) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise Invalid(f"candidate: {name} is a number" + (f" from {low:g} to {high:g}" if math.isfinite(low) else "") + f", not {shown(value)}")
    return float(value)
