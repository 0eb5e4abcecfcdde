"""Tools for models that know none: offered in words, called by a JSON object in the answer, their results told as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import ChatModel, Message, Reply, ReplyModel, Tool, ToolCall
from mnemos.base.utf8 import tokens_by_bytes
from mnemos.text.json_answers import find_values
from mnemos.text.prompts.prompt import DATA_NOTICE, as_data

_OFFER = """You can call tools. To call one or several, answer with one JSON object and nothing else:
{"calls": [{"tool": "NAME", "arguments": {…}}]}
The results follow as data. The tools, each with the JSON Schema of its arguments:
"""
_CHOICES = {
    "auto": "When no tool is needed, answer in words.", "none": "", "required": "You must call a tool now.",
}  # fmt: skip


def with_tools(chat: ChatModel) -> ReplyModel:
    """`chat` as a model that takes tools: itself where it does so on its own, else with tools in words."""
    return chat if isinstance(chat, ReplyModel) and chat.takes_tools else ToolsInText(chat)


class ToolsInText:
    """A chat model that speaks of tools in words. It says of its replies as much as the model below says: all of a `ReplyModel`; of a model
    that has only `complete`, the text."""

    takes_tools = True

    def __init__(self, chat: ChatModel) -> None:
        self._chat = chat

    @property
    def fingerprint(self) -> str:
        return f"{self._chat.fingerprint}:tools-in-text-1"

    @property
    def context_window(self) -> int | None:
        return self._chat.context_window if isinstance(self._chat, ReplyModel) else None

    def count_tokens(self, text: str) -> int:
        """By the model below; where it cannot, one for each 3 bytes of UTF-8 begun."""
        return self._chat.count_tokens(text) if isinstance(self._chat, ReplyModel) else tokens_by_bytes(text)

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """As the model below does, calls and results in `conversations` told in words."""
        return self._chat.complete([_in_words(turns) for turns in conversations], schema=schema, max_tokens=max_tokens)

    def respond(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
    ) -> list[Reply]:
        """As `ReplyModel.respond`. With tools the schema is not asked for, since a call is no such object. Raises `Invalid` for a choice that
        is no tool's name."""
        names = [tool["name"] for tool in tools]
        if tool_choice not in _CHOICES and tool_choice not in names:
            raise Invalid(f"tool_choice: {tool_choice!r} is none of {', '.join(_CHOICES)}, and no tool has that name")
        offered = [tool for tool in tools if tool_choice in _CHOICES or tool["name"] == tool_choice] if tool_choice != "none" else []
        asked = [_offering(_in_words(turns), offered, tool_choice) for turns in conversations]
        replies = self._replies(asked, None if offered else schema, max_tokens)
        return [_called(reply, len(turns)) if offered else reply for reply, turns in zip(replies, conversations, strict=True)]

    def _replies(self, conversations: list[list[Message]], schema: Mapping[str, Any] | None, max_tokens: int | None) -> list[Reply]:
        if isinstance(self._chat, ReplyModel):
            return self._chat.respond(conversations, schema=schema, max_tokens=max_tokens)
        out: list[Reply] = []
        for turns in conversations:
            try:
                out += [Reply(text) for text in self._chat.complete([turns], schema=schema, max_tokens=max_tokens)]
            except ModelUnavailable as error:
                out.append(Reply("", finish="failed", problem=error))
        return out


def _offering(turns: list[Message], tools: Sequence[Tool], choice: str) -> list[Message]:
    """`turns` with the tools at the end of the system's turn, or before all others where there is none."""
    if not tools:
        return turns
    must = _CHOICES.get(choice, f"You must call the tool {choice} now.")
    told = "\n".join(orjson.dumps(dict(tool)).decode() for tool in tools)
    offer = f"{_OFFER}{told}\n{must}\n\n{DATA_NOTICE}"
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{offer}"}, *turns[1:]]
    return [{"role": "system", "content": offer}, *turns]


def _in_words(turns: Sequence[Message]) -> list[Message]:
    """`turns` with calls and results as texts, the results of one turn's calls, and what the user says after them, in one turn, since some models
    want the roles to alternate."""
    names = {call["id"]: call["name"] for turn in turns for call in turn.get("tool_calls", ())}
    out: list[Message] = []
    following = False
    for turn in turns:
        if turn["role"] == "tool":
            told = f"Result of {names.get(turn.get('tool_call_id', ''), 'a tool')}:\n{as_data(turn['content'])}"
            if following:
                out[-1] = {"role": "user", "content": f"{out[-1]['content']}\n{told}"}
            else:
                out.append({"role": "user", "content": told})
        elif following and turn["role"] == "user":
            out[-1] = {"role": "user", "content": f"{out[-1]['content']}\n\n{turn['content']}"}
        elif turn.get("tool_calls"):
            out.append({"role": "assistant", "content": f"{turn['content']}\n{_calls_told(turn['tool_calls'])}".strip()})
        else:
            out.append({"role": turn["role"], "content": turn["content"]})
        following = turn["role"] == "tool"
    return out


def _calls_told(calls: Sequence[ToolCall]) -> str:
    return orjson.dumps({"calls": [{"tool": call["name"], "arguments": _arguments(call["arguments"])} for call in calls]}).decode()


def _arguments(written: str) -> Any:
    """The arguments of a call as JSON; as the text that they were, where they are none."""
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:
        return written


def _called(reply: Reply, turn: int) -> Reply:
    """`reply` with the calls that its text makes; as it is where it makes none. Calls are named by the turn and their number in it."""
    if reply.finish != "stop":
        return reply
    for found in find_values(reply.text):
        asked = found.value.get("calls") if isinstance(found.value, dict) else None
        if not isinstance(asked, list) or found.cut or not all(isinstance(one, dict) and isinstance(one.get("tool"), str) for one in asked):
            continue
        calls: list[ToolCall] = [
            {"id": f"call-{turn}-{number}", "name": one["tool"], "arguments": orjson.dumps(one.get("arguments", {})).decode()}
            for number, one in enumerate(asked)
        ]
        if calls:
            return replace(reply, text="", calls=tuple(calls), finish="tools")
    return reply
