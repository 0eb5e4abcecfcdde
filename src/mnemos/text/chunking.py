"""Cutting a document into chunks along its structure, so that each fits an embedder's window."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mnemos.base.errors import Invalid
from mnemos.text.tokens import TokenCounter, count_tokens

_LINE = re.compile(r"[^\n]*(?:\n(?:[ \t\r\f\v]*+\n)*|\Z)")  # a line with the blank lines that follow it
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S[^\n]{0,300})")
_UNDERLINE = re.compile(r"(={3,}|\*{3,}|-{3,}|~{3,}|\^{3,})[ \t\r]*(?:\n|\Z)")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,4}[.)])[ \t]+")
_BREAK = re.compile(r"[.!?…]++[\"'”’)\]]*+(\s++)?|[。！？]++[」』”]*+()|\n(\s*+)|(?<=\S)(\s++)")
_ABBREVIATIONS = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "cf", "no", "fig", "vol", "jr", "sr", "ltd"))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch `text[start:end]` of a document. `heading` is the path of the headings it stands under, joined with " > "."""

    start: int
    end: int
    heading: str


@dataclass(slots=True)
class _Block:
    """A paragraph, list item, code fence or heading, with the blank lines after it."""

    start: int
    end: int
    path: tuple[str, ...]
    is_heading: bool = False
    tokens: int = 0


def chunk(text: str, *, target_tokens: int = 200, max_tokens: int = 256, tokens: TokenCounter = count_tokens) -> list[Chunk]:
    """Cuts `text` into chunks that partition it: in order, and joined they are the text, character for character.

    Blocks (paragraphs, list items, code fences) are kept whole and joined up to `target_tokens`; a new heading starts a new chunk unless
    the one before is still small, and stays with what it heads. A block of more than `target_tokens` is kept whole up to `max_tokens`, else
    cut after a sentence, then a line, then a word, then a character. No chunk has more than `max_tokens` by `tokens`, except where a
    single character has. Time is linear in the text, with about three counts of each character. An empty text has no chunks. The defaults
    suit embedders with a window of 256 tokens. Raises `Invalid`."""
    if not 1 <= target_tokens <= max_tokens:
        raise Invalid(f"chunks of {target_tokens} tokens with at most {max_tokens} cannot be made; give 1 <= target_tokens <= max_tokens")
    cutter = _Cutter(text, target_tokens, max_tokens, tokens)
    return [Chunk(piece.start, piece.end, " > ".join(piece.path)) for piece in cutter.joined(cutter.packed(_blocks(text)))]


def _blocks(text: str) -> Iterator[_Block]:
    """The blocks of a text, which partition it."""
    path: list[tuple[int, str]] = []
    styles: list[str] = []
    fence = ""
    current: _Block | None = None
    skip_to = 0
    for found in _LINE.finditer(text):
        start, end = found.span()
        if start == end or start < skip_to:
            continue
        mark = _FENCE.match(text, start, end)
        if fence:
            assert current is not None  # a fence has a block
            current.end = end
            if mark and mark.group(1).startswith(fence) and not text[mark.end() : end].strip():
                fence = ""
                yield current
                current = None
            continue
        heading = _heading(text, start, end, styles)
        if mark or heading or current is None or _ITEM.match(text, start, end):
            if current is not None:
                yield current
            current = _Block(start, end, tuple(name for _, name in path))
        current.end = end
        if mark:
            fence = mark.group(1)
            continue
        if heading:
            level, name, skip_to = heading
            path = [*(pair for pair in path if pair[0] < level), (level, name)]
            yield _Block(start, skip_to, tuple(name for _, name in path), is_heading=True)
            current = None
        elif text.count("\n", start, end) > 1:  # blank lines end a block
            yield current
            current = None
    if current is not None:
        yield current


def _heading(text: str, start: int, end: int, styles: list[str]) -> tuple[int, str, int] | None:
    """Level, name and end of the heading that starts here: "# Name", or a line that the next line underlines. Of underlines, the style
    that the text uses first is the highest level (`styles` keeps their order)."""
    if found := _HEADING.match(text, start, end):
        return len(found.group(1)), found.group(2).rstrip(" \t\r#"), end
    line = text[start : min(end, start + 200)]
    if not line.endswith("\n") or line.count("\n") > 1 or not line.strip():
        return None
    under = _UNDERLINE.match(text, end)
    if under is None or len(under.group().strip()) < len(line.strip()) // 2:
        return None
    if (style := under.group(1)[0]) not in styles:
        styles.append(style)
    rest = _LINE.match(text, end)
    return styles.index(style) + 1, line.strip(), rest.end() if rest else under.end()


class _Cutter:
    """Packs blocks into chunks, and cuts those that are too large."""

    def __init__(self, text: str, target: int, most: int, tokens: TokenCounter) -> None:
        self._text, self._target, self._most, self._tokens = text, target, most, tokens
        self._reach = 4 * target  # characters that about `target` tokens take; learnt from piece to piece

    def packed(self, blocks: Iterable[_Block]) -> Iterator[_Block]:
        """Blocks joined up to the target, headings kept with what follows."""
        held: list[_Block] = []
        size = 0
        for block in self._fitting(blocks):
            full = size + block.tokens > self._target or (block.is_heading and size >= self._target // 4)
            if held and full and not (len(held) == 1 and held[0].is_heading and size + block.tokens <= self._most):
                heads = _trailing_headings(held)
                yield from self._join(held[: len(held) - heads])
                held = held[len(held) - heads :]
                size = sum(each.tokens for each in held)
                if size + block.tokens > self._most:
                    yield from self._join(held)
                    held, size = [], 0
            held.append(block)
            size += block.tokens
        yield from self._join(held)

    def joined(self, pieces: Iterable[_Block]) -> Iterator[_Block]:
        """Pieces, with a small one joined to the piece before it where both stand under the same heading and fit."""
        before: _Block | None = None
        for piece in pieces:
            small = before is not None and piece.tokens < self._target // 4 and piece.path == before.path
            if before is not None and small and self._tokens(self._text[before.start : piece.end]) <= self._most:
                before = replace(before, end=piece.end, tokens=before.tokens + piece.tokens)
                continue
            if before is not None:
                yield before
            before = piece
        if before is not None:
            yield before

    def _fitting(self, blocks: Iterable[_Block]) -> Iterator[_Block]:
        for block in blocks:
            block.tokens = self._tokens(self._text[block.start : block.end])
            if block.tokens <= self._most:
                yield block
            else:
                yield from self._cut(block)

    def _join(self, held: list[_Block]) -> Iterator[_Block]:
        """One block from several. A tokenizer may count the whole higher than its parts together: then it is cut again."""
        if not held:
            return
        whole = _Block(held[0].start, held[-1].end, _common([block.path for block in held]))
        whole.tokens = self._tokens(self._text[whole.start : whole.end]) if len(held) > 1 else held[0].tokens
        if whole.tokens <= self._most or whole.end - whole.start == 1:
            yield whole
        else:
            yield from self._cut(whole)

    def _cut(self, block: _Block) -> Iterator[_Block]:
        """Pieces of a block that is too large, each as near to the target as a good place to cut allows."""
        start = block.start
        while start < block.end:
            end, size = self._end_of_piece(start, block.end)
            yield _Block(start, end, block.path, block.is_heading and start == block.start, size)
            start = end

    def _end_of_piece(self, start: int, limit: int) -> tuple[int, int]:
        reach, most = self._reach, limit - start
        enough = (self._target + self._most) // 2
        shrunk = False
        while True:
            end = _good_end(self._text, start, start + reach, limit)
            size = self._tokens(self._text[start:end])
            if size > (self._most if shrunk else enough) and end - start > 1:
                most = end - start - 1
                reach = max(1, min(most, (end - start) * self._target // size, reach - 1))
                shrunk = True
            elif end < limit and 2 * size < self._target and not shrunk and reach < most:
                reach = min(2 * reach, most)
            else:
                break
        self._reach = max(1, min((end - start) * self._target // max(size, 1), 64 * self._target))
        return end, size


def _good_end(text: str, start: int, wanted: int, limit: int) -> int:
    """The best place to cut at or before `wanted`: after a sentence, else a line, else a word, in the second half; else a character."""
    if wanted >= limit:
        return limit
    half = start + (wanted - start + 1) // 2
    best = [0, 0, 0]
    for found in _BREAK.finditer(text, half, min(limit, wanted + 1)):
        end = found.end()
        if not half < end <= wanted:
            continue
        sentence, ideographic, line, word = found.groups()
        if ideographic is not None or (sentence and not _abbreviation(text, found.start())):
            best[0] = end
        elif line is not None:
            best[1] = end
        elif sentence or word:
            best[2] = end
    return next((end for end in best if end), None) or _character(text, start, wanted)


def _abbreviation(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` ends an abbreviation or an initial, not a sentence."""
    word = re.split(r"[\s(\"'“‘]", text[max(0, stop - 12) : stop])[-1]
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper() and word != "I")


def _character(text: str, start: int, wanted: int) -> int:
    """At most eight characters back from `wanted`, so that no accent or joined emoji is parted from its base."""
    for end in range(wanted, max(start, wanted - 8), -1):
        if not (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f" or text[end - 1] == "\u200d"):
            return end
    return max(wanted, start + 1)


def _trailing_headings(held: list[_Block]) -> int:
    """How many headings end the list; none where it holds nothing else."""
    count = 0
    while count < len(held) and held[-1 - count].is_heading:
        count += 1
    return count if count < len(held) else 0


def _common(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all of the paths share, or the first path where they share none."""
    first = min(paths, key=len)
    while first and any(path[: len(first)] != first for path in paths):
        first = first[:-1]
    return first or paths[0]
