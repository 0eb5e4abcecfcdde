"""ChatGPT's data export: `conversations.json`, a tree of messages per conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, shown, turn, warn
from mnemos.text.formats.source import archived

_TEXT_KEYS = ("text", "result", "content", "summary", "user_profile", "user_instructions")
_STAND_INS = {"image_asset_pointer": "[image]", "audio_asset_pointer": "[audio]", "video_container_asset_pointer": "[video]",
              "real_time_user_audio_video_asset_pointer": "[audio]"}
_STEP = timedelta(milliseconds=1)
_THINKING = ("thoughts", "reasoning_recap")
_MARKER = re.compile("\ue200([^\ue200-\ue202]*)\ue202?([^\ue200\ue201]*)\ue201")
"""How the export writes what the screen shows as a chip: private-use characters around a kind, such as "cite", and its arguments."""


def read_chatgpt(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """A turn per message of a ChatGPT export: the zip as downloaded, the folder unpacked from it, or its `conversations.json`.

    Of each conversation the branch that ends in `current_node` is read, from the root; messages of abandoned branches (edited prompts,
    regenerated answers) are counted in a notice. Messages that say nothing are structure, thinking is no talk: neither are turns, nor are
    the marks that stand for citations part of a text. The author is the role, or "tool:<name>"; the source "<conversation>:<message>";
    `metadata` has `session` (the conversation's number in the file, from 1), its `conversation` title and the `model`. A message without
    a time gets the one before it, a millisecond on. Hidden ones are tagged "hidden"; one that repeats word for word in later
    conversations, as custom instructions do, is read once."""
    hidden: set[str] = set()
    for session, (place, value) in enumerate(archived(path, notice=notice), 1):
        for record in _conversation(place.mapping(value, "the conversation"), place, session):
            if "tags" in record:
                if record["text"] in hidden:
                    continue
                hidden.add(record["text"])
            yield record


def _conversation(value: dict[str, Any], place: Place, session: int) -> Iterator[Record]:
    if "mapping" not in value:
        raise place.invalid("the conversation has no mapping", "give the conversations.json of a ChatGPT export")
    mapping = place.mapping(value["mapping"], "mapping")
    title = place.label(value.get("title"), "title")
    name = place.label(value.get("conversation_id", value.get("id")), "the conversation's id") or f"S{session}"
    now = place.time(value.get("create_time"), "create_time")
    path = _path(mapping, value.get("current_node"), place)
    for key in path:
        here = place.at(f"message {shown(key)}")
        node = place.mapping(mapping[key], "the node")
        if node.get("message") is None:
            continue
        message = here.mapping(node["message"], "message")
        now = here.time(message.get("create_time"), "create_time") or (now + _STEP if now else None)
        yield from _message(message, here, now, source=f"{name}:{key}", session=session, title=title)
    if left := sum(isinstance(node, dict) and node.get("message") is not None for key, node in mapping.items() if key not in path):
        place.say(f"{left} messages of abandoned branches were left out")


def _path(mapping: dict[str, Any], current: object, place: Place) -> dict[str, None]:
    """The keys from the root to `current_node`, or to the last leaf where the export names none."""
    if current is None or current == "":
        leaves = [key for key, node in mapping.items() if not place.mapping(node, "the node").get("children")]
        current = leaves[-1] if leaves else None
    keys: list[str] = []
    seen: set[str] = set()
    while current is not None:
        if not isinstance(current, str) or current not in mapping:
            raise place.invalid(f"the tree names a node {shown(current)} that it does not hold", "export the data again")
        if current in seen:
            raise place.invalid(f"the tree of messages runs in a circle at {shown(current)}", "export the data again")
        seen.add(current)
        keys.append(current)
        current = place.mapping(mapping[current], "the node").get("parent")
    return dict.fromkeys(reversed(keys))


def _message(
    message: dict[str, Any], place: Place, now: datetime | None, *, source: str, session: int, title: str | None
) -> Iterator[Record]:
    author = place.mapping(message.get("author", {}), "author")
    role = place.label(author.get("role"), "role") or "unknown"
    name = place.label(author.get("name"), "name")
    text = _MARKER.sub(_shown, _text(message.get("content"), place)).strip()
    if not text:
        return
    about = place.mapping(message.get("metadata") or {}, "metadata")
    extra = {"session": session, "role": role, "conversation": title, "model": place.label(about.get("model_slug"), "model_slug")}
    yield turn(
        text,
        author=f"tool:{name}" if role == "tool" and name else role,
        event_at=now,
        source=place.text(source, "the source"),
        tags=["hidden"] if about.get("is_visually_hidden_from_conversation") is True else [],
        metadata={key: item for key, item in extra.items() if item is not None},
    )


def _shown(marker: re.Match[str]) -> str:
    """The words of a marker: the name of an entity; nothing for a citation, a picture or a widget."""
    if marker.group(1) != "entity":
        return ""
    try:
        parts = json.loads(marker.group(2))
    except ValueError:
        return ""
    return parts[1] if isinstance(parts, list) and len(parts) > 1 and isinstance(parts[1], str) else ""


def _text(value: object, place: Place) -> str:
    if value is None:
        return ""
    content = place.mapping(value, "content")
    if content.get("content_type") in _THINKING:
        return ""
    if "parts" in content:
        parts = place.sequence(content["parts"] or [], "parts")
        return "\n".join(filter(None, (_part(part, place.at(f"part {number}")) for number, part in enumerate(parts, 1))))
    return "\n".join(filter(None, (place.label(content.get(key), key) for key in _TEXT_KEYS)))


def _part(value: object, place: Place) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return place.text(value, "the part")
    part = place.mapping(value, "the part")
    if isinstance(part.get("text"), str):
        return place.text(part["text"], "text")
    kind = part.get("content_type")
    return _STAND_INS.get(kind, "[attachment]") if isinstance(kind, str) else "[attachment]"
