"""Which conversations strict chat endpoints take, and how one that is too long is shortened so that it stays one of them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from mnemos.base.errors import Invalid, shown
from mnemos.base.protocols import Message

_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


def check_conversation(messages: Sequence[Message]) -> None:
    """Raise `Invalid`, saying which message, unless a strict endpoint takes the conversation: one system message at most, at the beginning;
    then user and assistant in turn, a user first and last; after an assistant's calls the result of each of them, once, in their order, and no
    result without its call. Contents are texts, and only an assistant that calls tools may say nothing."""
    waiting: list[str] = []
    before = "system"
    seen: set[str] = set()
    for number, message in enumerate(messages):
        where, role = f"message {number}", message.get("role")
        if role not in _KEYS or not set(message) <= _KEYS[role]:
            raise Invalid(f"{where}: {shown(dict(message))} has an unknown role or key")
        calls = message.get("tool_calls") or ()
        if not isinstance(message.get("content"), str) or not (message["content"].strip() or calls):
            raise Invalid(f"{where} ({role}): has no content")
        if role == "tool":
            if not waiting or message.get("tool_call_id") != waiting.pop(0):
                raise Invalid(f"{where}: a result without its call, or out of order")
            before = "tool"
            continue
        if waiting:
            raise Invalid(f"{where}: comes before the results of the calls {', '.join(waiting)}")
        follows = {"system": number == 0, "user": before != "user", "assistant": before in ("user", "tool")}[role]
        if not follows:
            raise Invalid(f"{where}: {role} cannot follow {before if number else 'nothing'}")
        for call in calls:
            if set(call) != {"id", "name", "arguments"} or not all(isinstance(part, str) for part in call.values()):
                raise Invalid(f"{where}: a call needs an id, a name and arguments, each a text")
            if call["id"] in seen:
                raise Invalid(f"{where}: call {call['id']} is there twice")
            seen.add(call["id"])
            waiting.append(call["id"])
        before = role
    if waiting or before not in ("user", "tool"):
        raise Invalid(f"the conversation ends with {'open calls' if waiting else before}; it has to end with a user's turn or a result")


def rounds(messages: Sequence[Message]) -> list[list[Message]]:
    """The messages after the base, cut before each assistant's turn: what is left out is left out a whole round at a time, so that no result
    stays without its call."""
    out: list[list[Message]] = []
    for message in messages:
        if message["role"] == "assistant" or not out:
            out.append([])
        out[-1].append(message)
    return out


def ending(messages: Sequence[Message], last: str) -> list[Message]:
    """The conversation with `last` as what the user says in the end, in the place of what he said there; to the base, which nobody has
    answered, it is added."""
    said: Message = {"role": "user", "content": last}
    if len(messages) > 2:
        return [*(messages[:-1] if messages[-1]["role"] == "user" else messages), said]
    return [*messages[:-1], {"role": "user", "content": f"{messages[-1]['content']}\n\n{last}"}]


def text_of(message: Message) -> str:
    """What a message says, with its calls, and without the ids that tell equal ones apart."""
    calls = [[call["name"], call["arguments"]] for call in message.get("tool_calls") or ()]
    return f"{message['role']}\n{message['content']}" + (f"\n{orjson.dumps(calls).decode()}" if calls else "")
