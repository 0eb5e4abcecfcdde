"""JSON in what a language model writes: found in prose and fences, its small faults mended where only one reading is possible."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

MOST_CHARACTERS = 1 << 18
"""Of a longer answer only so much is read."""
DEEPEST = 40
"""Objects and lists within each other; more is no answer that anybody asked for."""
_MOST_STARTS = 20
"""Places of an answer at which an object may begin that are tried."""
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.S)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.S)
_BARE = re.compile(r"[A-Za-z_][\w-]*")
_DIGITS = re.compile(r"[-+.\deE]+", re.A)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_FIRST_DIGITS = frozenset("-0123456789")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_QUOTES = {'"': '"', "'": "'", "“": "”"}
_OPENING = re.compile(r"[{\[]")
_SPACE = " \t\r\n\ufeff\xa0"


class Found(NamedTuple):
    """A value in an answer. `mended`: it was not JSON as it stood. `cut`: its end was missing, after a whole value."""

    value: Any
    mended: bool
    cut: bool


def find_values(text: str) -> list[Found]:
    """The objects and lists that an answer holds, each once, in order: as it stands, in fences, and in prose. Thoughts (`<think>`) are left out.

    Mended are single and curly quotes, names without quotes, commas too many, line breaks in texts, Python's True, False and None, and missing
    brackets at the very end where the value before them is whole. A text or number that is cut off is nowhere completed: what it would have
    been nobody knows.
    """
    text = _THOUGHT.sub("", text[:MOST_CHARACTERS]).strip(_SPACE)
    whole = _strict(text)
    if whole is not None:
        return [whole]
    fenced = [found for match in _FENCE.finditer(text) for found in _in_prose(match[1])]
    out: list[Found] = []
    for found in [*fenced, *_in_prose(_FENCE.sub(" ", text) if fenced else text)]:
        if found.value not in [other.value for other in out]:
            out.append(found)
    return out


def _strict(text: str) -> Found | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return Found(value, False, False) if isinstance(value, (dict, list)) else None


def _in_prose(text: str) -> Iterator[Found]:
    """The values that begin at some bracket of `text`, none within another."""
    at = 0
    for _ in range(_MOST_STARTS):
        match = _OPENING.search(text, at)
        if match is None:
            return
        reader = _Reader(text, match.start())
        try:
            value = reader.value(0)
        except _Unreadable:
            if reader.at >= len(text):
                return  # cut off; what stands within is a part, and no answer
            at = match.start() + 1
            continue
        at = reader.at
        strict = None if reader.cut else _strict(text[match.start() : reader.at])
        yield Found(value, strict is None, reader.cut)


class _Unreadable(Exception):
    """No value stands here, or more than one could be meant."""


class _Reader:
    """Reads one value from `at` on, kindly. `cut` says that the text ended before the value's brackets did."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.cut = False

    def value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise _Unreadable
        self._skip()
        here = self._here()
        if here == "{":
            return self._object(depth)
        if here == "[":
            return self._list(depth)
        if here in _QUOTES:
            return self._text(_QUOTES[here])
        return self._word()

    def _object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        out: dict[str, Any] = {}
        while not self._closed("}"):
            here = self._here()
            name = self._text(_QUOTES[here]) if here in _QUOTES else self._match(_BARE)
            self._skip()
            if self._here() != ":":
                raise _Unreadable
            self.at += 1
            out[name] = self.value(depth + 1)
            self._comma("}")
        return out

    def _list(self, depth: int) -> list[Any]:
        self.at += 1
        out: list[Any] = []
        while not self._closed("]"):
            out.append(self.value(depth + 1))
            self._comma("]")
        return out

    def _closed(self, bracket: str) -> bool:
        """Whether the object or list ends here: at its bracket, or where the text does."""
        self._skip()
        if self._here() == bracket:
            self.at += 1
            return True
        if not self._here():
            self.cut = True
            return True
        return False

    def _comma(self, bracket: str) -> None:
        """A comma, or nothing where the object or list ends."""
        self._skip()
        if self._here() == ",":
            self.at += 1
        elif self._here() not in (bracket, ""):
            raise _Unreadable

    def _text(self, closing: str) -> str:
        self.at += 1
        out: list[str] = []
        while (here := self._here()) != closing:
            if not here:
                raise _Unreadable  # cut off within a text
            self.at += 1
            if here != "\\":
                out.append(here)
                continue
            escaped = self._here()
            self.at += 1
            if escaped == "u":
                out.append(self._hex())
            elif escaped in _ESCAPES:
                out.append(_ESCAPES[escaped])
            else:
                raise _Unreadable
        self.at += 1
        try:
            return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16")  # pairs of halves become characters
        except UnicodeDecodeError:
            raise _Unreadable from None

    def _hex(self) -> str:
        digits = self.text[self.at : self.at + 4]
        self.at += len(digits)
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise _Unreadable
        return chr(int(digits, 16))

    def _word(self) -> Any:
        digits = _DIGITS.match(self.text, self.at) if self._here() in _FIRST_DIGITS else None
        if digits:
            self.at = digits.end()
            if self.at == len(self.text) or not _NUMBER.fullmatch(digits[0]):
                raise _Unreadable  # at the very end more digits may have followed
            try:
                return orjson.loads(digits[0])
            except orjson.JSONDecodeError:
                raise _Unreadable from None  # too large
        word = self._match(_BARE)
        if word not in _WORDS:
            raise _Unreadable
        return _WORDS[word]

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Unreadable
        self.at = match.end()
        return match[0]

    def _here(self) -> str:
        return self.text[self.at : self.at + 1]

    def _skip(self) -> None:
        while self._here() and self._here() in _SPACE:
            self.at += 1
