"""Claude's data export: `conversations.json`, a list of messages per conversation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, turn, warn
from mnemos.text.formats.source import archived

_ROLES = {"human": "user"}


def read_claude(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """A turn per message of a Claude export: the zip as downloaded, the folder unpacked from it, or its `conversations.json`.

    The author is "user" or "assistant"; the source "<conversation>:<message>"; `metadata` has `session` (the conversation's number in the
    file, from 1) and its `conversation` name. The text of an attachment follows as a document of its own, the names of other files stand
    in the turn. Thinking and tool traffic are not turns. A message that says nothing is left out, with a notice."""
    for session, (place, value) in enumerate(archived(path, notice=notice), 1):
        conversation = place.mapping(value, "the conversation")
        if "chat_messages" not in conversation:
            raise place.invalid("the conversation has no chat_messages", "give the conversations.json of a Claude export")
        name = place.label(conversation.get("uuid"), "uuid") or f"S{session}"
        title = place.label(conversation.get("name"), "name")
        about: dict[str, Any] = {"session": session, **({"conversation": title} if title else {})}
        now = place.time(conversation.get("created_at"), "created_at")
        for number, item in enumerate(place.sequence(conversation["chat_messages"], "chat_messages"), 1):
            here = place.at(f"message {number}")
            message = here.mapping(item, "the message")
            now = here.time(message.get("created_at"), "created_at") or now
            source = f"{name}:{here.label(message.get('uuid'), 'uuid') or number}"
            yield from _message(message, here, now, source, about)


def _message(message: dict[str, Any], place: Place, now: datetime | None, source: str, about: dict[str, Any]) -> Iterator[Record]:
    sender = place.label(message.get("sender"), "sender")
    if sender is None:
        raise place.invalid("the message has no sender", "export the data again, or name the right format")
    attachments = [place.mapping(item, "an attachment") for item in place.sequence(message.get("attachments") or [], "attachments")]
    files = [place.mapping(item, "a file") for item in place.sequence(message.get("files") or [], "files")]
    names = [place.label(item.get("file_name"), "file_name") or "unnamed" for item in [*files, *attachments]]
    text = "\n".join(filter(None, [_text(message, place).strip(), *(f"[file: {name}]" for name in names)]))
    if not text:
        place.say("the message says nothing, left out")
        return
    role = _ROLES.get(sender, sender)
    yield turn(text, author=role, event_at=now, source=source, metadata={**about, "role": role})
    for number, (item, name) in enumerate(zip(attachments, names[len(files) :], strict=True), 1):
        content = place.label(item.get("extracted_content"), "extracted_content")
        if content and content.strip():
            record = turn(content, author=role, event_at=now, source=f"{source}:attachment{number}", metadata={**about, "title": name})
            yield {**record, "type": "document"}


def _text(message: dict[str, Any], place: Place) -> str:
    """The text blocks of `content`, or the plain `text` of older exports."""
    blocks = [place.mapping(block, "a block of content") for block in place.sequence(message.get("content") or [], "content")]
    texts = [place.text(block.get("text"), "text") for block in blocks if block.get("type") == "text"]
    return "\n".join(texts) if any(text.strip() for text in texts) else place.label(message.get("text"), "text") or ""
