"""Message lists as chat APIs use them: `[{"role": …, "content": …}, …]`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, shown, turn, warn
from mnemos.text.formats.source import elements

_TIMES = ("event_at", "timestamp", "created_at", "create_time", "created")
_STAND_INS = {"image_url": "[image]", "input_image": "[image]", "image": "[image]", "input_audio": "[audio]", "audio": "[audio]"}

_THINKING = ("thinking", "redacted_thinking", "reasoning")


def read_messages(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """A turn per message of a `.json` or `.jsonl` file.

    The file holds messages, lists of messages, or objects with `messages` (one conversation each). `content` is a string or a list of
    parts: pictures and sound become "[image]" and "[audio]", a refusal its words; thinking is left out. Calls of tools become text, results
    are turns of the tool. The author is the message's `name`, else its `role`; the source "M<conversation>:<message>", both from 1;
    `metadata` has `session` (the conversation), `role` and the ids of tool calls. A message that says nothing is left out, with a notice."""
    session, number = 1, 0
    for place, value in elements(path, notice=notice):
        if isinstance(value, dict) and "role" in value:
            number += 1
            yield from _message(value, place, session, number, None)
            continue
        whole = place.mapping(value, "the element") if not isinstance(value, list) else {"messages": value}
        if "messages" not in whole:
            raise place.invalid(f"neither a message nor a list of messages, only {shown(sorted(whole))}",
                                'give {"role": …, "content": …} or {"messages": […]}')
        session, number = session + (number > 0), 0
        since = _time(whole, place)
        for number, message in enumerate(place.sequence(whole["messages"], "messages"), 1):
            yield from _message(message, place.at(f"message {number}"), session, number, since)
        session, number = session + 1, 0


def _time(fields: dict[str, Any], place: Place) -> datetime | None:
    return next((place.time(fields[key], key) for key in _TIMES if fields.get(key) is not None), None)


def _message(value: object, place: Place, session: int, number: int, since: datetime | None) -> Iterator[Record]:
    message = place.mapping(value, "the message")
    role = place.label(message.get("role"), "role")
    if role is None:
        raise place.invalid("the message has no role", 'give it a "role": user, assistant, system or tool')
    calls = message.get("tool_calls") or ([{"function": message["function_call"]}] if message.get("function_call") else [])
    said = [content_text(message.get("content"), place), *(_call(call, place) for call in place.sequence(calls, "tool_calls"))]
    text = "\n".join(part for part in said if part.strip())
    if not text:
        place.say("the message says nothing, left out")
        return
    metadata = {"session": session, "role": role}
    for key in ("tool_call_id", "id"):
        if (name := place.label(message.get(key), key)) is not None:
            metadata["message_id" if key == "id" else key] = name
    author = place.label(message.get("name"), "name") or role
    yield turn(text, author=author, event_at=_time(message, place) or since, source=f"M{session}:{number}", metadata=metadata)


def _call(value: object, place: Place) -> str:
    call = place.mapping(value, "a tool call")
    function = place.mapping(call.get("function", call.get("custom")), "the function of a tool call")
    arguments = function.get("arguments", function.get("input", ""))
    shown_arguments = place.text(arguments, "arguments") if isinstance(arguments, str) else json.dumps(place.json(arguments, "arguments"))
    return f"[calls {place.label(function.get('name'), 'the name of a function') or 'a tool'}({shown_arguments})]"


def content_text(value: object, place: Place) -> str:
    """The words of a message's content: a string, `null`, one part, or a list of parts. Raises `Invalid` for parts without meaning."""
    if value is None:
        return ""
    if isinstance(value, str):
        return place.text(value, "content")
    parts = [value] if isinstance(value, dict) else place.sequence(value, "content")
    texts = [_part(part, place.at(f"part {number}")) for number, part in enumerate(parts, 1)]
    return "\n".join(text for text in texts if text)


def _part(value: object, place: Place) -> str:
    if isinstance(value, str):
        return place.text(value, "the part")
    part = place.mapping(value, "the part")
    name = part.get("type", "text")
    if name in _THINKING:
        return ""
    for key in ("text", "refusal"):
        if isinstance(part.get(key), str):
            return place.text(part[key], key)
    if isinstance(name, str) and name in _STAND_INS:
        return _STAND_INS[name]
    if name in ("file", "input_file", "document"):
        inside = part.get("file", part)
        title = inside.get("filename") if isinstance(inside, dict) else None
        return f"[file: {place.text(title, 'filename')}]" if title else "[file]"
    if name == "tool_result":
        return content_text(part.get("content"), place)
    if name == "tool_use":
        return _call({"function": {"name": part.get("name"), "arguments": part.get("input", {})}}, place)
    raise place.invalid(f"a part of unknown type {shown(name)}", "turn it into text, or leave it out")
