"""Dates of birth, and names that a caller gives."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mnemos.base.errors import Invalid, shown
from mnemos.text.detectors.dates import DATE, has_year, plausible
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_STEMS = (
    "born", "birth", "b-day", "bday", "dob", "d.o.b", "gebor", "geburt", "née le", "né le", "naissance", "nací", "nacid", "nacimiento", "nato il",
    "nata il", "nascita", "nascid", "nascimento", "生年月日", "出生", "生日", "родил", "рожден",
)  # fmt: skip
_BIRTH = re.compile(
    r"\bborn\b|birth(?:day|date|s)?\b|\bb-?day\b|\bd\.?o\.?b\b|gebor|geburt|née? le|naissance|nací|nacid|nacimiento|nat[oa] il|nascita|nascid[oa]"
    r"|nascimento|生年月日|出生|生日|родил|рожден"
)
_IS_MY = re.compile(r"[\s,]*(?:is|was|=|-)?\s*(?:my|his|her|their|our|the)?\s*")
_AHEAD, _BACK = 40, 40
_DIGIT = re.compile("[0-9]")
_NOT_OURS = re.compile(r"company|firm|startup|nation|country|republic|movement|band\b|club|idea|project")


@dataclass(frozen=True)
class BirthDate:
    """Dates close to a word that makes them dates of birth. With a year they are surer: a birthday alone says less."""

    kind: str = "birth_date"

    def find(self, text: Folded) -> Iterator[Span]:
        for at in text.hits(*_STEMS):
            if not _DIGIT.search(text.text, max(0, at - _BACK), at + _AHEAD):
                continue
            word = _BIRTH.search(text.lower, max(0, at - 2), at + 16)
            if word is None or _NOT_OURS.search(text.lower, max(0, at - 30), at):
                continue
            date = DATE.search(text.text, word.end(), word.end() + _AHEAD)
            if date is None or not plausible(date):
                before = [found for found in DATE.finditer(text.text, max(0, at - _BACK), at) if plausible(found)]
                date = before[-1] if before and _IS_MY.fullmatch(text.lower, before[-1].end(), at) else None
            if date:
                yield Span(date.start(), date.end(), self.kind, 0.95 if has_year(date[0]) else 0.75, Label.PERSONAL)


_WORD = re.compile(r"(?:[^\W\d_][\u0300-\u036f]*)+|\d+")
_NEXT = re.compile(rf"[ .'-]{{0,3}}({_WORD.pattern})")
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


Tree = dict[str, "Tree"]
"""Names by their words, one after the other; `_END` where a name may end."""
_END = ""


class Names:
    """Names that the caller lists: whole words, in capitals or not, however their accents are encoded; of one word or several.

    The time does not depend on how many names there are, but for those in scripts without blanks between words.
    """

    kind = "name"

    def __init__(self, names: Iterable[str]) -> None:
        """Raises `Invalid` for what is no list of texts with letters or digits in them."""
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise Invalid(f"names: expected a list of names, not {type(names).__name__}")
        self._tree: Tree = {}
        unspaced = set()
        for name in names:
            words = [_key(match[0]) for match in _WORD.finditer(Folded(name).text)] if isinstance(name, str) else []
            if not words:
                raise Invalid(f"names: {shown(name)} is no name")
            if _UNSPACED.search(name):
                unspaced.add(Folded(name.strip()).text)
                continue
            node = self._tree
            for word in words:
                node = node.setdefault(word, {})
            node[_END] = {}
        longest_first = sorted(unspaced, key=lambda name: (-len(name), name))
        self._unspaced = re.compile("|".join(map(re.escape, longest_first))) if unspaced else None

    def find(self, text: Folded) -> Iterator[Span]:
        if self._tree:
            for match in _WORD.finditer(text.text):
                node = self._tree.get(_key(match[0]))
                end = _longest(text.text, match.end(), node) if node else 0
                if end:
                    yield Span(match.start(), end, self.kind, 0.9, Label.PERSONAL)
        if self._unspaced:
            for match in self._unspaced.finditer(text.text):
                yield Span(match.start(), match.end(), self.kind, 0.9, Label.PERSONAL)


def _key(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFC", word).casefold()


def _longest(text: str, at: int, node: Tree) -> int:
    """Where the longest name ends whose first word ends at `at`; 0 where the words of none follow."""
    end = 0
    while True:
        if _END in node:
            end = at
        following = _NEXT.match(text, at)
        child = node.get(_key(following[1])) if following else None
        if following is None or child is None:
            return end
        node, at = child, following.end()
