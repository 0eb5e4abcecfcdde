"""Reading the message lists of common agent frameworks: OpenAI chat completions and responses, Anthropic, LangChain, and ReAct texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from mnemos.base.errors import Invalid, shown
from mnemos.text.trajectories.trajectory import Trajectory, checked

_ROLES = {
    "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant", "model": "assistant", "system": "system",
    "developer": "system", "tool": "tool", "function": "tool",
}  # fmt: skip
_KEPT = ("name", "tool_call_id", "error", "is_error", "seconds", "tokens", "score")
_WORDLESS = ("thinking", "redacted_thinking", "reasoning", "image", "image_url", "input_image", "input_audio", "audio")
_REACT = re.compile(r"^(Thought|Action|Observation)(?:[ ]+\d+)?:[ ]*", re.MULTILINE)
_ACTION = re.compile(r"\s*([\w.-]+)\s*[\[(](.*)[\])]\s*", re.DOTALL)


def trajectory(
    messages: Sequence[Any] | str, reward: float, *, task: str | None = None, task_id: str | None = None, tools: Iterable[Any] = ()
) -> Trajectory:
    """The trajectory of a run. `messages`: OpenAI chat messages (also with the older `function_call`), items of its Responses API, Anthropic's
    with content blocks, LangChain's as dicts or objects, or one text of "Thought/Action/Observation" (ReAct).

    `task` is what was asked; None takes the first words of a user. `tools`: what the agent had, as names or as the definitions that a chat
    request lists. Raises `Invalid`, naming the message.
    """
    read = list(_react(messages) if isinstance(messages, str) else _read(messages))
    if task is None:
        task = next((message["content"] for message in read if message["role"] == "user" and message.get("content", "").strip()), None)
        if task is None:
            raise Invalid("trajectory: no message of a user says what was asked; give the task")
    return checked(task, read, reward, task_id, tuple(_tool_name(tool) for tool in tools))


def _tool_name(tool: object) -> str:
    if isinstance(tool, Mapping):
        tool = tool.get("function", tool)
        tool = tool.get("name") if isinstance(tool, Mapping) else tool
    if not isinstance(tool, str) or not tool:
        raise Invalid(f"tools: expected names or definitions with a name, not {shown(tool)}")
    return tool


def _read(messages: object) -> Iterator[dict[str, Any]]:
    if isinstance(messages, (bytes, Mapping)) or not isinstance(messages, Iterable):
        raise Invalid(f"messages: expected a list of messages, not {type(messages).__name__}")
    for number, given in enumerate(messages, 1):
        message = _plain(given)
        if message is None:
            raise Invalid(f"message {number}: expected a dict or a message object with a role and content, not {shown(given)}")
        yield from _message(message, f"message {number}")


def _plain(given: object) -> dict[str, Any] | None:
    """A message as a dict: itself, LangChain's `{"type", "data"}`, or what a message object says of itself."""
    if not isinstance(given, Mapping):
        dump = getattr(given, "model_dump", None) or getattr(given, "dict", None)
        given = dump() if callable(dump) else None
        if not isinstance(given, Mapping):
            return None
    message = dict(given)
    if isinstance(message.get("data"), Mapping) and "content" in message["data"]:
        message = {"type": message.get("type"), **message["data"]}
    return message


def _message(message: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    kind = message.get("type")
    if kind == "function_call":  # an item of the Responses API
        yield {"role": "assistant", "content": "", "tool_calls": [_call(message, message.get("call_id") or message.get("id"), where)]}
        return
    if kind == "function_call_output":
        yield {"role": "tool", "content": _text(message.get("output"), where), "tool_call_id": message.get("call_id")}
        return
    if kind in _WORDLESS and "role" not in message:
        return
    role = _ROLES.get(str(message.get("role") or kind).lower())
    if role is None:
        raise Invalid(f"{where}: role {shown(message.get('role') or kind)} is none of {', '.join(_ROLES)}")
    kept = {name: message[name] for name in _KEPT if message.get(name) is not None}
    if message.get("status") == "error":  # LangChain's ToolMessage
        kept["error"] = True
    calls = [_call(call, call.get("id") if isinstance(call, Mapping) else None, where) for call in _list(message.get("tool_calls"), where)]
    if isinstance(message.get("function_call"), Mapping):
        calls.append(_call(message["function_call"], None, where))
    words, results = [], []
    content = message.get("content")
    for part in [content] if isinstance(content, (str, Mapping)) or content is None else _list(content, where):
        if isinstance(part, Mapping) and part.get("type") == "tool_use":
            calls.append(_call(part, part.get("id"), where))
        elif isinstance(part, Mapping) and part.get("type") == "tool_result":
            told = {"role": "tool", "content": _text(part.get("content"), where), "tool_call_id": part.get("tool_use_id")}
            results.append(told | ({"error": True} if part.get("is_error") else {}))
        else:
            words.append(_text(part, where))
    calls = list({call["id"] if call["id"] is not None else index: call for index, call in enumerate(calls)}.values())
    yield from results
    said = "\n".join(word for word in words if word)
    if said or calls or not results:
        yield {"role": role, "content": said, **kept, **({"tool_calls": calls} if calls else {})}


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise Invalid(f"{where}: expected a list, not {shown(value)}")
    return list(value)


def _text(part: object, where: str) -> str:
    if part is None:
        return ""
    if isinstance(part, str):
        return part
    if isinstance(part, (list, tuple)):
        return "\n".join(filter(None, (_text(one, where) for one in part)))
    if isinstance(part, Mapping):
        if part.get("type") in _WORDLESS:
            return ""
        for key in ("text", "content", "output", "refusal"):
            if isinstance(part.get(key), str):
                return str(part[key])
        return orjson.dumps(dict(part), default=str).decode()
    raise Invalid(f"{where}: content {shown(part)} is no text, nor a list of parts")


def _call(call: Any, id: object, where: str) -> dict[str, Any]:
    """A tool call in the OpenAI form, from any of the forms in which frameworks write it."""
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise Invalid(f"{where}: a tool call needs a name, which {shown(call)} has not")
    arguments: Any = next((inner[key] for key in ("arguments", "args", "input", "parameters") if inner.get(key) is not None), {})
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments, default=str).decode()
    return {"id": id if isinstance(id, str) else None, "type": "function", "function": {"name": inner["name"], "arguments": arguments}}


def _react(text: str) -> Iterator[dict[str, Any]]:
    """The messages of a text in ReAct's form: "Thought 1: …", "Action 1: Search[x]", "Observation 1: …"."""
    pieces = _REACT.split(text)
    if len(pieces) < 3:
        raise Invalid("trajectory: the text has no lines that begin with 'Thought:', 'Action:' or 'Observation:'; give a list of messages")
    if pieces[0].strip():
        yield {"role": "user", "content": pieces[0].strip()}
    for kind, said in zip(pieces[1::2], pieces[2::2], strict=True):
        said = said.strip()
        if kind == "Observation":
            yield {"role": "tool", "content": said}
        elif kind == "Thought":
            yield {"role": "assistant", "content": said}
        else:
            made = _ACTION.fullmatch(said)
            name, inside = (made[1], made[2]) if made else ((said.split() or ["nothing"])[0], said)
            yield {"role": "assistant", "content": "", "tool_calls": [_call({"name": name, "arguments": {"text": inside}}, None, "action")]}
