"""What can be wrong with Markdown: its form, and where its links lead."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:\s+(.*?))??(?:\s+#+)?\s*$")
_LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*(<[^<>]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)")
_OPEN_LINK = re.compile(r"\[[^\[\]]*\]\([^()]*$")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_REMEMBERED = 4096
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:|^//")


def markdown_errors(text: str) -> Iterator[str]:
    """Fences that are not closed, headings that leave out a level or say nothing, links without a target or an end."""
    level = 0
    for number, line, fenced in _lines(text):
        if fenced == "open":
            yield f"line {number}: the block of code that begins here is not closed"
        if fenced:
            continue
        heading = _HEADING.match(line)
        if heading:
            depth = len(heading[1])
            if not heading[2]:
                yield f"line {number}: the heading is empty"
            if level and depth > level + 1:
                yield f"line {number}: a heading of level {depth} follows one of level {level}"
            level = depth
        plain = _CODE.sub("", line)
        for link in _LINK.finditer(plain):
            if not link[2].strip("<>"):
                yield f"line {number}: the link {link[0]!r} leads nowhere"
        if _OPEN_LINK.search(_LINK.sub("", plain)):
            yield f"line {number}: a link is not closed"


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """(number, line, "" outside of code, "code" within, "open" for the line that opens code which is never closed)."""
    lines = text.splitlines()
    fence, opened = "", 0
    kinds = [""] * len(lines)
    for at, line in enumerate(lines):
        match = _FENCE.match(line)
        if fence:
            kinds[at] = "code"
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            fence, opened = match[1], at
            kinds[at] = "code"
    if fence:
        kinds[opened] = "open"
    yield from zip(range(1, len(lines) + 1), lines, kinds, strict=True)


def dead_links(files: Mapping[str, str]) -> Iterator[str]:
    """Relative links of the Markdown files that lead to no file, or to a heading that the file has not. Links to the web are not followed."""
    folders = {name[:at] for name in files for at, character in enumerate(name) if character == "/"}
    for name in sorted(files):
        for number, target in _links(files[name]) if _is_markdown(name) else ():
            path, _, anchor = target.partition("#")
            path = unquote(path.partition("?")[0])
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            if place not in files and place.rstrip("/") not in folders and place != ".":
                yield f"{name}, line {number}: links to {path!r}, which is not there"
            elif anchor and place in files and _is_markdown(place) and unquote(anchor).lower() not in _anchors(files[place]):
                yield f"{name}, line {number}: links to {target!r}, and {place} has no such heading"


def _is_markdown(name: str) -> bool:
    return name.endswith((".md", ".markdown"))


@functools.lru_cache(maxsize=_REMEMBERED)
def _links(text: str) -> tuple[tuple[int, str], ...]:
    """(line, target) of a file's links, without those to the web."""
    found = [
        (number, link[2].strip("<>"))
        for number, line, fenced in _lines(text)
        if not fenced
        for link in _LINK.finditer(_CODE.sub("", line))
    ]
    return tuple((number, target) for number, target in found if target and not _SCHEME.match(target))


@functools.lru_cache(maxsize=_REMEMBERED)
def _anchors(text: str) -> frozenset[str]:
    """The anchors of a file's headings."""
    return frozenset(_slugs(text))


def _slugs(text: str) -> Iterator[str]:
    """The anchors as most renderers make them: small letters, hyphens for blanks, numbered where they repeat."""
    seen: dict[str, int] = {}
    for _, line, fenced in _lines(text):
        heading = None if fenced else _HEADING.match(line)
        if heading and heading[2]:
            words = _LINK.sub(r"\1", heading[2]).replace("`", "")
            slug = re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            yield f"{slug}-{count}" if count else slug
