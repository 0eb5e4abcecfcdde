"""Which prompts that a language model has read hold a text that is forgotten, whether or not anybody said so: forgetting looks (decision 16).

A chunk of a prompt says its words, and how the prompt went on after it. A text is in it where they have enough letters and digits in a row in common;
blanks, marks and capitals do not count, since tokenizers, templates and contexts change them. What cannot be looked into counts as holding it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from mnemos.kernel.lineage import PROMPT, is_reading, readings
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Snapshot, Transaction, VersionRow

BLOCK = 24
"""Letters and digits in a row that make a piece of a text; a shorter text is one piece, and stands between words. So a run of `2 * BLOCK - 1` of a
text is always noticed, and from `BLOCK` on it may be."""
_BEFORE = 4 * BLOCK
"""Characters before a chunk that are looked at with it."""
_FORGETTINGS = "forgettings/{}"
_FEW = 64
"""Pieces up to which each is looked for by itself."""


def squeezed(text: str) -> str:
    """The letters and digits of a text alone, in one case."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


class Traces:
    """What is looked for of some texts: pieces of the long ones, the short ones whole."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._pieces: set[str] = set()
        self._whole: dict[str, re.Pattern[str]] = {}
        for text in texts:
            letters = squeezed(text)
            if len(letters) >= BLOCK:
                self._pieces.update(letters[at : at + BLOCK] for at in range(0, len(letters) - BLOCK + 1, BLOCK))
            elif text.strip():
                self._whole[letters] = _whole(text)

    def __bool__(self) -> bool:
        return bool(self._pieces or self._whole)

    def within(self, words: Words) -> bool:
        """Whether something of the texts is in these words."""
        letters = words.letters
        if len(self._pieces) <= _FEW:
            if any(piece in letters for piece in self._pieces):
                return True
        elif not self._pieces.isdisjoint(letters[at : at + BLOCK] for at in range(len(letters) - BLOCK + 1)):
            return True
        return any(
            found.start() < words.stop and found.end() > words.start
            for short, pattern in self._whole.items()
            if short in words.all_letters
            for found in pattern.finditer(words.plain)
        )


class Words:
    """Some words, in which texts are looked for, or which texts reach into from what stands before and after them."""

    def __init__(self, text: str, before: str = "", after: str = "") -> None:
        around = squeezed(before), squeezed(text), squeezed(after)
        self.letters = around[0][1 - BLOCK :] + around[1] + around[2][: BLOCK - 1]
        """A piece that is in these reaches into the words."""
        self.all_letters = "".join(around)
        self.start, self.stop = len(_plain(before)), len(_plain(before + text))
        self.plain = _plain(before + text + after)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _whole(text: str) -> re.Pattern[str]:
    """A short text as it may stand between other words, whatever blanks and marks are in it."""
    letters = squeezed(text)
    if not letters:  # nothing but marks
        return re.compile(r"\s*".join(map(re.escape, "".join(_plain(text).split()))))
    return re.compile(r"(?<![^\W_])" + r"[\W_]*".join(letters) + r"(?![^\W_])")


def prompts_with(snapshot: Snapshot, cubes: Iterable[UUID], viewings: Mapping[int, Viewing]) -> tuple[list[UUID], list[UUID]]:
    """The chunks of prompts, in the spaces of these memories, that hold something of what any version of them says: (those that the caller may see,
    others). `viewings`: how the caller sees each space, by its number.

    Of the others only those that were kept after the text was there: what somebody else had asked before is their own words, and who writes a guess
    into a space, and forgets it again, learns nothing of that.
    """
    said: dict[int, list[tuple[int, str]]] = {}
    for cube in cubes:
        seqs = [entry.seq for entry in snapshot.entries_of(cube) if entry.kind in ("add", "update")]
        for seq, row in snapshot.versions(seqs).items():
            if row.content.text and not is_reading(row.content):
                said.setdefault(row.space, []).append((seq, row.content.text))
    mine: list[UUID] = []
    others: list[UUID] = []
    for space, texts in said.items():
        rows = [row for row in readings(snapshot, space) if PROMPT in row.content.metadata]
        if not rows:
            continue
        by_key = {about_of(row)["key"]: row for row in rows}
        everything = Traces(text for _, text in texts)
        if not everything:
            continue
        for row in rows:
            shown = viewings[space].shows(row)
            traces = everything if shown or all(seq < row.seq for seq, _ in texts) else Traces(text for seq, text in texts if seq < row.seq)
            if traces and _holds(row, by_key, traces):
                (mine if shown else others).append(row.content.id)
    return mine, others


def forgettings(snapshot: Snapshot, space: int) -> int:
    """How often memories of a space were forgotten, those apart that a language model has read."""
    return snapshot.counter(_FORGETTINGS.format(space))


def count_forgetting(transaction: Transaction, space: int) -> None:
    """To be called where memories of a space are forgotten: who reads a prompt meanwhile does not keep it."""
    transaction.count_up(_FORGETTINGS.format(space))


def about_of(row: VersionRow) -> Mapping[str, Any]:
    """What a chunk of a prompt says of itself."""
    about: Mapping[str, Any] = row.content.metadata[PROMPT]
    return about


def _holds(row: VersionRow, by_key: Mapping[str, VersionRow], traces: Traces) -> bool:
    about = about_of(row)
    text, before = about.get("text"), ""
    if text is None:
        return True
    parent = by_key.get(about["parent"])
    while parent is not None and len(before) < _BEFORE:
        before = (about_of(parent).get("text") or "") + before
        parent = by_key.get(about_of(parent)["parent"])
    return traces.within(Words(text, before[-_BEFORE:], about.get("after") or ""))
