"""Telephone numbers: international ones (ITU-T E.164), those of North America, those with a trunk zero, and any that a word announces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.context import Nearby
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_CODES = frozenset(
    str(code)
    for low, high in (
        (1, 1), (7, 7), (20, 20), (27, 27), (30, 34), (36, 36), (39, 41), (43, 49), (51, 58), (60, 66), (81, 82), (84, 84),
        (86, 86), (90, 95), (98, 98),
        (211, 213), (216, 216), (218, 218), (220, 258), (260, 269), (290, 291), (297, 299), (350, 359), (370, 383), (385, 387), (389, 389),
        (420, 421), (423, 423), (500, 509), (590, 599), (670, 670), (672, 683), (685, 692), (800, 800), (808, 808), (850, 850), (852, 853),
        (855, 856), (870, 870), (878, 878), (880, 883), (886, 886), (888, 888), (960, 968), (970, 977), (979, 979), (992, 996), (998, 998),
    )
    for code in range(low, high + 1)
)  # fmt: skip
"""Countries' codes (ITU-T E.164, list of assigned codes); none is the beginning of another."""
_LEAST, _MOST = 8, 15
"""Digits of an international number, its country's code included (E.164, section 6.2.1, and the shortest in use)."""

_GROUP = re.compile(r"[ ./-]{0,2}(?:\(0\)[ ]?)?\(?([0-9]{1,15})\)?")
_PLUS = re.compile(r"\+(?<![\w+]\+)(?=[ (]?[1-9])", re.ASCII)
_EXIT = re.compile(r"(?<![\w.,+/-])(?<![0-9] )00(?=[ (]?[1-9])", re.ASCII)
_NORTH_AMERICA = re.compile(
    r"(?<![\w.,+/#-])(?<![0-9] )(?:1[ .-])?(?:\(([2-9][0-9]{2})\)[ -]?|([2-9][0-9]{2})([ .-]))([2-9][0-9]{2})([ .-])[0-9]{4}", re.ASCII
)
_GOES_ON = re.compile(r"[\w-]|[.,/][0-9]")
_TRUNK = re.compile(
    r"(?<![\w.,+/#-])(?<![0-9] )(?:\(0[1-9][0-9]{0,4}\)[ .-]?|0[1-9][0-9]{0,4}[ ./-]{1,3})[0-9]{2,8}"
    r"(?:[ ./-][0-9]{2,5}){0,4}(?![\w-]|[.,/][0-9])",
    re.ASCII,
)
_BARE = re.compile(r"(?<![\w.,+/#-])(?<![0-9] )(?:0[1-9][0-9]{8,9}|1[3-9][0-9]{9})(?![\w-]|[.,/ ][0-9])", re.ASCII)
"""Ten or eleven digits behind a trunk zero, or a mobile number of China."""
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}([./ -])[0-9]{1,2}\1[0-9]{1,2}\b|[0-9]{1,2}([./ -])[0-9]{1,2}\2(?:19|20)[0-9]{2}\b|[0-9]{1,2}([./-])[0-9]{1,2}\3[0-9]{2}$)"
)
_ANNOUNCED = re.compile(r"(?<![\w.,/+-])\(?[0-9]{1,12}+\)?+(?:[ ./-]{0,2}+[0-9]{2,12}+){0,6}(?!\w|[.,/:-][0-9])", re.ASCII)
_EXTENDED = re.compile(r" ?(?:x|ext\.?|extension) ?[0-9]{1,6}\b")
_REACH = 28
_WORDS = (
    r"\b(?:tele)?phones?\b|\btel\b|\bmobile|\bcell\b|\bcellphone|\bcall(?:ed|ing)?\b"
    r"|\btext(?:ed|ing)? (?:me|us|him|her|them)\b|\bfax\b|\bwhatsapp|\bsms\b"
    r"|\bdial|\bring (?:me|us)\b|\breach|\bcontact|\bhotline|\bnumber\b|\bdigits\b|\btelefon|\bhandy|\brufnummer|\btél|\bportable\b|\bmóvil"
    r"|\bcelular|\bcellulare|\bnúmero|\bnumero|电话|手机|電話|携帯|전화|телефон|\bтел\b"
)
_NEARBY = Nearby(_WORDS)
_ANNOUNCERS = (
    "phone", "tel", "mobile", "cell", "call", "text", "fax", "whatsapp", "sms", "dial", "ring", "reach", "hotline", "number is", "telefon", "handy",
    "tél", "portable", "móvil", "celular", "cellulare", "número", "numero", "电话", "手机", "電話", "携帯", "전화", "телефон", "тел",
)  # fmt: skip


@dataclass(frozen=True)
class Phone:
    """Telephone numbers."""

    kind: str = "phone"

    def find(self, text: Folded) -> Iterator[Span]:
        for opener, confidence in ((_PLUS, 0.95), (_EXIT, 0.6)):
            for match in text.numbered(opener):
                end = _international(text.text, match.end())
                if end:
                    certainty = _NEARBY.weigh(text.lower, match.start(), confidence, spoken_for=0.98, spoken_against=confidence - 0.25)
                    yield Span(match.start(), end, self.kind, certainty, Label.PERSONAL, "international")
        for match in text.numbered(_NORTH_AMERICA):
            bracketed, area, first, exchange, second = match.groups()
            area = bracketed or area
            if area.endswith("11") or exchange.endswith("11") or (first is not None and first != second):
                continue
            alone = 0.9 if bracketed else 0.7 if second == " " else 0.85
            extension = _EXTENDED.match(text.text, match.end())
            if extension is None and _GOES_ON.match(text.text, match.end()):
                continue
            end = extension.end() if extension else match.end()
            certainty = _NEARBY.weigh(text.lower, match.start(), alone, spoken_for=0.97, spoken_against=0.2)
            yield Span(match.start(), end, self.kind, certainty, Label.PERSONAL, "North America")
        for match in text.numbered(_TRUNK):
            digits = sum(character.isdigit() for character in match[0])
            if not 9 <= digits <= 12 or _DATE.match(match[0]):
                continue
            certainty = _NEARBY.weigh(text.lower, match.start(), 0.6, spoken_for=0.95, spoken_against=0.2)
            yield Span(match.start(), match.end(), self.kind, certainty, Label.PERSONAL, "trunk zero")
        for match in text.numbered(_BARE):
            certainty = _NEARBY.weigh(text.lower, match.start(), 0.5, spoken_for=0.9, spoken_against=0.15)
            yield Span(match.start(), match.end(), self.kind, certainty, Label.PERSONAL, "in one piece")
        yield from self._announced(text)

    def _announced(self, text: Folded) -> Iterator[Span]:
        """Numbers of 7 to 15 digits, however they are written, close behind a word that announces one."""
        seen: set[int] = set()
        for at in text.hits(*_ANNOUNCERS):
            match = _ANNOUNCED.search(text.text, at, at + _REACH + 24)
            if match is None or match.start() in seen or match.start() > at + _REACH or _DATE.match(match[0]):
                continue
            seen.add(match.start())
            digits = sum(character.isdigit() for character in match[0])
            if 7 <= digits <= _MOST and _NEARBY(text.lower, match.start()):
                yield Span(match.start(), match.end(), self.kind, 0.8, Label.PERSONAL, "announced")


def _international(text: str, start: int) -> int:
    """Where the number whose country's code begins at `start` ends; 0 where there is none."""
    digits, at, end = "", start, 0
    while (group := _GROUP.match(text, at)) and len(digits) + len(group[1]) <= _MOST:
        if len(group[1]) == 1 and len(digits) > 3:
            break
        digits += group[1]
        at = group.end()
        after = text[at : at + 1]
        after = "" if _EXTENDED.match(text, at) else after
        least, most = (11, 11) if digits[0] in "17" else (_LEAST, _MOST)
        if least <= len(digits) <= most and not (after.isalnum() or after == "_"):
            end = at
    extension = _EXTENDED.match(text, end)
    return (extension.end() if extension else end) if end and any(digits[:length] in _CODES for length in (1, 2, 3)) else 0
