"""Message lists and the exports of chat products: every turn comes through, and nothing that is no turn."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from typing import Any

from formats_support import chatgpt_export, check, got, put, wrong

from mnemos.text.formats import detect


def test_message_lists(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ana", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "…"}}]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x":1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "a red door"},
        {"role": "assistant", "content": "", "created_at": 1},
        {"role": "assistant", "content": "A red door.", "created_at": "2025-03-01T10:00:00Z"},
    ]
    records, notices = got(put(tmp_path / "m.json", messages))
    for record in records:
        check(record)
    assert [record["text"] for record in records] == [
        "Be brief.", "What is this?\n[image]", '[calls look({"x":1})]', "a red door", "A red door.",
    ]
    assert [record["author"] for record in records] == ["system", "ana", "assistant", "tool", "assistant"]
    assert [record["source"] for record in records] == ["M1:1", "M1:2", "M1:3", "M1:4", "M1:6"]
    assert records[3]["metadata"] == {"session": 1, "role": "tool", "tool_call_id": "c1"}
    assert records[4]["event_at"] == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert len(notices) == 1
    assert "says nothing" in notices[0]
    assert got(put(tmp_path / "m.jsonl", "\n".join(map(json.dumps, messages))))[0] == records
    assert got(put(tmp_path / "one.json", {"messages": messages}))[0] == records
    two, _ = got(put(tmp_path / "two.jsonl", "\n".join(json.dumps({"messages": messages}) for _ in range(2))))
    assert [record["source"] for record in two][5:] == ["M2:1", "M2:2", "M2:3", "M2:4", "M2:6"]
    assert got(put(tmp_path / "lists.json", [messages, messages]))[0] == two
    thinking = [{"type": "thinking", "thinking": "hm"}, {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "A door."}]
    assert got(put(tmp_path / "t.json", [{"role": "assistant", "content": thinking}]))[0][0]["text"] == "A door."
    assert "hologram" in wrong(put(tmp_path / "bad.json", [{"role": "user", "content": [{"type": "hologram"}]}]))
    assert "role" in wrong(put(tmp_path / "bad.json", {"messages": [{"content": "x"}]}))


def test_chatgpt_follows_the_current_branch(tmp_path):
    path = put(tmp_path / "conversations.json", chatgpt_export())
    records, notices = got(path)
    for record in records:
        check(record)
    assert [record["text"] for record in records] == ["What is rye?", "A cereal.", "42", "[image]\nAnd this?"]
    assert [record["author"] for record in records] == ["user", "assistant", "tool:python", "user"]
    assert records[1] == {
        "text": "A cereal.", "type": "turn", "author": "assistant", "source": "c-1:new", "event_at": datetime.fromtimestamp(1700000002, UTC),
        "metadata": {"session": 1, "role": "assistant", "conversation": "Rye", "model": "m-1"},
    }
    times = [record["event_at"] for record in records]
    assert times == sorted(times)
    assert len(set(times)) == 4
    assert len(notices) == 1
    assert "1 messages of abandoned branches" in notices[0]
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("user.json", "{}")
        archive.write(path, "conversations.json")
    assert detect(tmp_path / "export.zip") == detect(tmp_path) == detect(path) == "chatgpt"
    assert got(tmp_path / "export.zip")[0] == got(tmp_path)[0] == records


def test_chatgpt_leaves_out_thinking_marks_and_repeated_instructions(tmp_path):
    def conversation(name: str, *messages: tuple[str, Any, bool]) -> dict[str, Any]:
        mapping: dict[str, Any] = {"root": {"message": None, "parent": None}}
        for number, (role, content, hidden) in enumerate(messages):
            about = {"is_visually_hidden_from_conversation": True} if hidden else {}
            message = {"author": {"role": role}, "create_time": None, "content": content, "metadata": about}
            mapping[f"m{number}"] = {"message": message, "parent": list(mapping)[-1]}
        return {"id": name, "title": name, "create_time": 1700000000, "mapping": mapping, "current_node": list(mapping)[-1]}

    def said(*parts: Any) -> dict[str, Any]:
        return {"content_type": "text", "parts": list(parts)}

    instructions = {"content_type": "user_editable_context", "user_profile": "Call me Sam.", "user_instructions": "Be brief."}
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "The user wants a town."}]}
    recap = {"content_type": "reasoning_recap", "content": "Thought for 3 seconds"}
    town, source = '\ue200entity\ue202["city","Porto","in Portugal"]\ue201', "\ue200cite\ue202turn0search1\ue202turn0search2\ue201"
    marked = f"Go to {town}, it is near.{source} Yes."
    first = conversation(
        "c1", ("system", said(""), True), ("user", instructions, True), ("user", said("Which town?"), False), ("assistant", thoughts, False),
        ("assistant", recap, False), ("assistant", said(None, marked), False), ("assistant", None, False),
        ("user", {"content_type": "multimodal_text", "parts": [{"content_type": "audio_transcription", "text": "Thanks", "direction": "in"}]}, False),
    )  # fmt: skip
    second = conversation("c2", ("user", instructions, True), ("user", said("Which river?"), False))
    records, notices = got(put(tmp_path / "conversations.json", [first, second]))
    for record in records:
        check(record)
    assert [(record["source"], record["text"]) for record in records] == [
        ("c1:m1", "Call me Sam.\nBe brief."), ("c1:m2", "Which town?"), ("c1:m5", "Go to Porto, it is near. Yes."), ("c1:m7", "Thanks"),
        ("c2:m1", "Which river?"),
    ]
    assert records[0]["tags"] == ["hidden"]
    assert notices == []


def test_a_broken_tree_is_named(tmp_path):
    path = tmp_path / "conversations.json"
    circle, lost = chatgpt_export(), chatgpt_export()
    circle[0]["mapping"]["root"]["parent"] = "v"
    lost[0]["mapping"]["u"]["parent"] = "gone"
    assert "circle" in wrong(put(path, circle))
    assert "gone" in wrong(put(path, lost))
    for wrong_zip in (b"PK\x03\x04 and no more", b"PK\x05\x06" + bytes(18)):
        wrong(put(tmp_path / "x.zip", wrong_zip))


def test_claude_export(tmp_path):
    chat = {
        "uuid": "k-1", "name": "Bread", "created_at": "2025-02-01T08:00:00.123456Z",
        "chat_messages": [
            {"uuid": "a", "sender": "human", "text": "Why flat?", "content": [{"type": "text", "text": "Why flat?"}],
             "created_at": "2025-02-01T08:00:01Z", "files": [{"file_name": "loaf.jpg"}],
             "attachments": [{"file_name": "log.txt", "extracted_content": "day 1: sad"}]},
            {"uuid": "b", "sender": "assistant", "text": "", "content": [
                {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Too young."}, {"type": "tool_use", "name": "x", "input": {}}]},
            {"uuid": "c", "sender": "human", "text": "Thanks", "content": []},
            {"uuid": "d", "sender": "assistant", "text": "", "content": []},
        ],
    }
    path = put(tmp_path / "conversations.json", [chat])
    records, notices = got(path)
    for record in records:
        check(record)
    assert [(record["source"], record["author"], record["type"], record["text"]) for record in records] == [
        ("k-1:a", "user", "turn", "Why flat?\n[file: loaf.jpg]\n[file: log.txt]"), ("k-1:a:attachment1", "user", "document", "day 1: sad"),
        ("k-1:b", "assistant", "turn", "Too young."), ("k-1:c", "user", "turn", "Thanks"),
    ]
    assert records[2]["metadata"] == {"session": 1, "conversation": "Bread", "role": "assistant"}
    assert records[2]["event_at"] == datetime(2025, 2, 1, 8, 0, 1, tzinfo=UTC)
    assert len(notices) == 1
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "data/conversations.json")
    assert detect(tmp_path / "c.zip") == "claude"
    assert got(tmp_path / "c.zip")[0] == records
    whole = (tmp_path / "c.zip").read_bytes()
    wrong(put(tmp_path / "c.zip", whole[:60] + b"\x00\xff\x00" + whole[63:]), "claude")
