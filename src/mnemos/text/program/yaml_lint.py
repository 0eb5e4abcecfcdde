"""What can be wrong with the form of YAML. A lint of the form that most files have, not a parser: what it passes may still be no YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator

_KEY = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#\-?:,\[\]{}&*!|>'"%@`][^#]*?|[-?:](?=\S)[^#]*?)\s*:(?=\s|$)""")
_BLOCK = re.compile(r"(?:^|[:\-\s])[|>][+-]?\d?[+-]?$")
_PAIRS = {"]": "[", "}": "{"}


def yaml_errors(text: str) -> Iterator[str]:
    """Tabs that indent, indentation that fits no line above, keys twice in one mapping, quotes and brackets that are not closed."""
    lint = _Lint()
    for number, line in enumerate(text.splitlines(), 1):
        yield from lint.line(number, line)
    yield from lint.end()


class _Lint:
    """What is open while a file is read line by line."""

    def __init__(self) -> None:
        self._levels: list[tuple[int, set[str]]] = []
        """Indentation and keys of each mapping that the next line may belong to, outermost first."""
        self._flow: list[tuple[str, int]] = []
        """Brackets that are open, each with its line."""
        self._quote: tuple[str, int] | None = None
        self._block: int | None = None
        """The indentation of the key whose text block is being read."""

    def line(self, number: int, line: str) -> Iterator[str]:
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        inside = bool(self._flow or self._quote)
        if not body.strip():
            return
        if self._block is not None and indent > self._block:
            return
        self._block = None
        if not inside:
            if body.startswith("\t"):
                yield f"line {number}: is indented by a tab"
                return
            if body.startswith(("#", "%")):
                return
            if line.rstrip() in ("---", "...") or line.startswith("--- "):
                self._levels = []
                return
        faults, code = self._scanned(body, number)
        yield from faults
        if not inside:
            yield from self._placed(indent, code, number)
            if _BLOCK.search(code):
                self._block = self._levels[-1][0] if self._levels else indent

    def end(self) -> Iterator[str]:
        if self._quote:
            yield f"line {self._quote[1]}: the quote {self._quote[0]} is not closed"
        for bracket, number in self._flow:
            yield f"line {number}: the bracket {bracket} is not closed"

    def _scanned(self, body: str, number: int) -> tuple[list[str], str]:
        """(what is wrong with the brackets of a line, the line without its comment). Quotes and brackets count where a value can begin."""
        faults: list[str] = []
        begins, at = True, 0
        while at < len(body):
            here = body[at]
            if self._quote:
                if here == "\\" and self._quote[0] == '"':
                    at += 1
                elif here == self._quote[0]:
                    if here == "'" and body[at + 1 : at + 2] == "'":
                        at += 1
                    else:
                        self._quote = None
                at += 1
                begins = False
                continue
            if here == "#" and (at == 0 or body[at - 1] in " \t"):
                body = body[:at]
                break
            if here in "\"'" and begins:
                self._quote = here, number
            elif here in "[{" and begins:
                self._flow.append((here, number))
            elif here in "]}" and self._flow:
                bracket, opened = self._flow.pop()
                if bracket != _PAIRS[here]:
                    faults.append(f"line {number}: {here} closes {bracket} of line {opened}")
            if not here.isspace():
                begins = here in "[{,:-?" or (begins and here in "&*!")
            at += 1
        return faults, body.rstrip()

    def _placed(self, indent: int, code: str, number: int) -> Iterator[str]:
        """Put a line into the nest of mappings, and say what does not fit there."""
        entry = False
        while code.startswith("- ") or code == "-":
            entry = True
            self._leave(indent)
            rest = code[1:].lstrip(" ")
            indent += len(code) - len(rest)
            code = rest
        if entry:
            while self._levels and self._levels[-1][0] >= indent:
                self._levels.pop()
        key = _KEY.match(code)
        if key is None:
            return
        left = self._leave(indent)
        if not self._levels or self._levels[-1][0] < indent:
            if left and not entry and self._levels:
                yield f"line {number}: its indentation fits no line above it"
            self._levels.append((indent, set()))
        name = key[0].rstrip().removesuffix(":").strip().strip("\"'")
        if name in self._levels[-1][1] and name != "<<":
            yield f"line {number}: the key {name!r} is there twice"
        self._levels[-1][1].add(name)

    def _leave(self, indent: int) -> bool:
        """Leave the mappings that are indented further; say whether there were any."""
        before = len(self._levels)
        while self._levels and self._levels[-1][0] > indent:
            self._levels.pop()
        return len(self._levels) < before
