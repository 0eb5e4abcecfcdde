"""YAML as language models write it: blocks of mappings, lists and plain texts, in fences or without; small faults are forgiven, big ones are None.

A reader of the form that such answers have, not of YAML: no anchors, tags or documents. JSON is YAML to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from mnemos.base.protocols import ChatModel, Message, Reply, ReplyModel, Tool
from mnemos.text.json_answers import find_values
from mnemos.text.tokens import count_tokens

MOST_CHARACTERS = 1 << 17
DEEPEST = 12
_FENCE = re.compile(r"```[ \t]*(?:ya?ml)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S | re.I)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.S)
_KEY = re.compile(r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[A-Za-z_][\w .()/-]*?)[ \t]*:(?:[ \t]+(?P<rest>.*)|[ \t]*)$""")
_NUMBER = re.compile(r"[-+]?(?:\d{1,15})(?:\.\d+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "yes": True, "no": False, "none": None, "": None}


class _Unreadable(Exception):
    """Not written as blocks are."""


def read_blocks(text: str) -> Any:
    """The mapping or list that a text in YAML's block form holds: of its first fence that can be read, else of the whole. None where there is none.

    A last line that breaks off in a quotation or a bracket is left out, as is what stands above the first line of a block.
    """
    text = _THOUGHT.sub("", text[:MOST_CHARACTERS])
    for part in [*(match[1] for match in _FENCE.finditer(text)), text]:
        try:
            found = _Reader(part).read()
        except _Unreadable:
            continue
        if isinstance(found, (dict, list)) and found:
            return found
    return None


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines: list[tuple[int, str]] = []
        for line in text.expandtabs(2).splitlines():
            told = line.strip()
            if told and not told.startswith("#") and told not in ("---", "...", "```"):
                self.lines.append((len(line) - len(line.lstrip()), told))
        while self.lines and not (self.lines[0][1].startswith("-") or _KEY.match(self.lines[0][1])):
            self.lines.pop(0)
        self.at = 0

    def read(self) -> Any:
        if not self.lines:
            raise _Unreadable
        return self._block(self.lines[0][0], 0)

    def _block(self, indent: int, depth: int) -> Any:
        """The value whose lines begin at `indent`."""
        if depth > DEEPEST:
            raise _Unreadable
        told = self.lines[self.at][1]
        return self._list(indent, depth) if told == "-" or told.startswith("- ") else self._mapping(indent, depth)

    def _list(self, indent: int, depth: int) -> list[Any]:
        out: list[Any] = []
        while self.at < len(self.lines):
            here, told = self.lines[self.at]
            if here != indent or not (told == "-" or told.startswith("- ")):
                break
            rest = told[1:].strip()
            if not rest:
                self.at += 1
                out.append(self._inner(indent, depth))
                continue
            if _KEY.match(rest) and not rest.startswith(("{", "[")):  # a mapping that begins on the dash's line
                inner = indent + len(told) - len(told[1:].lstrip())
                self.lines[self.at] = inner, rest
                out.append(self._mapping(inner, depth + 1))
                continue
            self.at += 1
            self._add(out, self._continued(rest, indent))
        return out

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        if depth > DEEPEST:
            raise _Unreadable
        out: dict[str, Any] = {}
        while self.at < len(self.lines):
            here, told = self.lines[self.at]
            if here != indent or told.startswith("- "):
                break
            match = _KEY.match(told)
            if match is None:
                if not out:
                    raise _Unreadable
                break
            key = _unquoted(match["key"])
            rest = (match["rest"] or "").strip()
            self.at += 1
            if rest in ("|", ">", "|-", ">-", "|+", ">+"):
                out.setdefault(key, self._text(indent, "\n" if rest.startswith("|") else " "))
            elif rest:
                try:
                    out.setdefault(key, _plain(self._continued(rest, indent)))
                except _Unreadable:
                    if self.at < len(self.lines):
                        raise
            else:
                out.setdefault(key, self._inner(indent, depth))
        if not out:
            raise _Unreadable
        return out

    def _inner(self, indent: int, depth: int) -> Any:
        """What stands below a key or a dash: a deeper block, or a list at the same indentation."""
        if self.at >= len(self.lines):
            return None
        here, told = self.lines[self.at]
        if here > indent or (here == indent and told.startswith("- ") and depth >= 0 and not self.lines[self.at - 1][1].startswith("-")):
            return self._block(here, depth + 1)
        return None

    def _continued(self, rest: str, indent: int) -> str:
        """A plain text with the deeper lines that go on with it."""
        while self.at < len(self.lines) and self.lines[self.at][0] > indent:
            told = self.lines[self.at][1]
            if told.startswith("- ") or (_KEY.match(told) and rest[:1] not in ("{", "[", '"', "'")):
                break
            rest, self.at = f"{rest} {told}", self.at + 1
        return rest

    def _text(self, indent: int, joint: str) -> str:
        out: list[str] = []
        first: int | None = None
        while self.at < len(self.lines) and self.lines[self.at][0] > indent:
            here, told = self.lines[self.at]
            first = here if first is None else first
            out.append(" " * max(here - first, 0) + told)
            self.at += 1
        return joint.join(out)

    def _add(self, out: list[Any], rest: str) -> None:
        try:
            out.append(_plain(rest))
        except _Unreadable:
            if self.at < len(self.lines):  # only the last line may break off
                raise


def _plain(text: str) -> Any:
    """A text, number, flag, or a list or mapping in brackets."""
    if text[:1] in ("{", "["):
        found = [one for one in find_values(text) if not one.cut]
        if len(found) == 1:
            return found[0].value
        if text.startswith("[") and text.endswith("]"):
            return [_plain(part.strip()) for part in text[1:-1].split(",") if part.strip()]
        raise _Unreadable
    if text[:1] in ('"', "'"):
        closed = re.fullmatch(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'', text, re.S)
        if closed is None:
            if text.count(text[0]) % 2:
                raise _Unreadable  # cut off within a text
            return text
        return _unquoted(text)
    bare = re.sub(r"\s+#.*$", "", text)
    if bare.startswith("- "):  # a list on one line is none
        raise _Unreadable
    if bare.lower() in _WORDS:
        return _WORDS[bare.lower()]
    if _NUMBER.fullmatch(bare):
        return float(bare) if "." in bare else int(bare)
    return bare


def _unquoted(text: str) -> str:
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        try:
            return str(orjson.loads(text))
        except orjson.JSONDecodeError:
            return text[1:-1]
    return text[1:-1].replace("''", "'") if text[:1] == "'" and text[-1:] == "'" and len(text) > 1 else text


class YamlTolerant:
    """A chat model whose answers in YAML arrive as JSON, which is what `text.asking` reads; answers in JSON stay as they are."""

    def __init__(self, chat: ChatModel) -> None:
        self.chat = chat

    @property
    def fingerprint(self) -> str:
        return self.chat.fingerprint

    @property
    def context_window(self) -> int | None:
        return self.chat.context_window if isinstance(self.chat, ReplyModel) else None

    @property
    def takes_tools(self) -> bool:
        return isinstance(self.chat, ReplyModel) and self.chat.takes_tools

    def count_tokens(self, text: str) -> int:
        return self.chat.count_tokens(text) if isinstance(self.chat, ReplyModel) else count_tokens(text)

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        return [as_json(text) for text in self.chat.complete(conversations, schema=schema, max_tokens=max_tokens)]

    def respond(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
    ) -> list[Reply]:
        if isinstance(self.chat, ReplyModel):
            replies = self.chat.respond(conversations, schema=schema, max_tokens=max_tokens, tools=tools, tool_choice=tool_choice)
        else:
            replies = [Reply(text) for text in self.chat.complete(conversations, schema=schema, max_tokens=max_tokens)]
        return [replace(one, text=as_json(one.text)) if one.finish == "stop" else one for one in replies]


def as_json(text: str) -> str:
    """An answer in YAML as JSON; what holds JSON, or cannot be read, as it is."""
    if any(isinstance(one.value, dict) for one in find_values(text)):
        return text
    found = read_blocks(text)
    return text if found is None else orjson.dumps(found).decode()
