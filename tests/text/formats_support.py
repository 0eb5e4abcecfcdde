"""Writing an input file, reading it, and what every record has to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mnemos.errors import Invalid
from mnemos.text.formats import read

KEYS = {"text", "type", "author", "event_at", "source", "tags", "metadata", "space"}


def put(path: Path, value: Any) -> Path:
    """Writes bytes as they are, text as UTF-8, anything else as JSON."""
    data = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def got(path: Path, format: str = "auto") -> tuple[list[dict[str, Any]], list[str]]:
    notices: list[str] = []
    return list(read(path, format, notice=notices.append)), notices


def wrong(path: Path, format: str = "auto") -> str:
    with pytest.raises(Invalid) as caught:
        list(read(path, format, notice=lambda message: None))
    message = str(caught.value)
    assert str(path) in message
    assert ";" in message, "the message does not say what to do"
    return message


def check(record: dict[str, Any]) -> None:
    """A record has the keywords of `space.add`, of the right types, and UTF-8 can hold it."""
    assert record.keys() <= KEYS
    assert record["type"]
    for key in ("text", "type", "author", "source", "space"):
        assert isinstance(record.get(key, ""), str)
        record.get(key, "").encode()
    assert all(isinstance(tag, str) for tag in record.get("tags", []))
    json.dumps(record.get("metadata", {}), ensure_ascii=False).encode()
    if "event_at" in record:
        assert record["event_at"].utcoffset().total_seconds() == 0


def chatgpt_export() -> list[dict[str, Any]]:
    """One conversation with a branch that was abandoned, in the form of a ChatGPT export."""

    def node(key: str, parent: str | None, children: list[str], role: str = "", text: Any = None, at: float | None = None, **more: Any) -> Any:
        content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
        message = {"id": key, "author": {"role": role, **more}, "create_time": at, "content": content, "metadata": {"model_slug": "m-1"}}
        return {"id": key, "parent": parent, "children": children, "message": message if role else None}

    image = {"content_type": "multimodal_text", "parts": [{"content_type": "image_asset_pointer", "asset_pointer": "file://x"}, "And this?"]}
    nodes = [
        node("root", None, ["s"]), node("s", "root", ["u"], "system", ""), node("u", "s", ["old", "new"], "user", "What is rye?", 1700000000.5),
        node("old", "u", [], "assistant", "A grass.", 1700000001), node("new", "u", ["t"], "assistant", "A cereal.", 1700000002),
        node("t", "new", ["v"], "tool", {"content_type": "execution_output", "text": "42"}, name="python"), node("v", "t", [], "user", image),
    ]
    nodes.reverse()  # the order in the file means nothing
    mapping = {item["id"]: item for item in nodes}
    return [{"title": "Rye", "conversation_id": "c-1", "create_time": 1700000000, "mapping": mapping, "current_node": "v"}]
