"""Payment cards and bank accounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mnemos.text.detectors.checksums import luhn, mod97
from mnemos.text.detectors.context import OTHER_NUMBERS, Nearby
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span

_CARD = re.compile(
    r"(?<![\w.+-])(?:[0-6][0-9]{11,18}"
    r"|[1-6][0-9]{3}([ -])(?:[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?|[0-9]{6}\1[0-9]{4,5}))(?![\w-]|\.[0-9])",
    re.ASCII,
)
_ISSUERS: tuple[tuple[str, tuple[tuple[int, int], ...], frozenset[int]], ...] = (
    ("Visa", ((4, 4),), frozenset({13, 16, 19})),
    ("Mastercard", ((51, 55), (2221, 2720)), frozenset({16})),
    ("American Express", ((34, 34), (37, 37)), frozenset({15})),
    ("Discover", ((6011, 6011), (644, 649), (65, 65)), frozenset({16, 17, 18, 19})),
    ("Diners Club", ((300, 305), (309, 309), (36, 36), (38, 39)), frozenset({14, 16, 19})),
    ("JCB", ((3528, 3589),), frozenset({16, 17, 18, 19})),
    ("JCB", ((1800, 1800), (2131, 2131)), frozenset({15})),
    ("UnionPay", ((62, 62),), frozenset({16, 17, 18, 19})),
    ("Mir", ((2200, 2204),), frozenset({16})),
    ("Maestro", ((50, 50), (56, 58), (6304, 6304), (6390, 6390), (6759, 6763), (6769, 6769)), frozenset(range(12, 20))),
)
"""Issuer, the first digits of its numbers, and their lengths (ISO/IEC 7812; ranges as the issuers publish them)."""
_NEARBY = Nearby(
    r"card|\bvisa\b|mastercard|maestro|\bamex\b|american express|\bcvv|\bcvc|credit|debit|\bpa(?:y|id\b)|\bcharge|karte|carte|tarjeta|cartão|карт|卡",
    rf"{OTHER_NUMBERS}|\bserial\b|\bbarcode\b",
)


@dataclass(frozen=True)
class Card:
    """Numbers of payment cards: an issuer's first digits and length, and the check digit (Luhn)."""

    kind: str = "card"

    def find(self, text: Folded) -> Iterator[Span]:
        for match in text.numbered(_CARD):
            for written in (match[0], match[0][: match[0].rfind(" ")] if match[0].count(" ") == 4 else ""):
                digits = re.sub("[ -]", "", written)
                if not digits or not luhn(digits) or len(set(digits)) == 1:
                    continue
                issuer = _issuer(digits)
                known = (0.85, 0.98, 0.3) if issuer else (0.2, 0.7, 0.1)
                certainty = _NEARBY.weigh(text.lower, match.start(), known[0], spoken_for=known[1], spoken_against=known[2])
                yield Span(match.start(), match.start() + len(written), self.kind, certainty, Label.SECRET, issuer or "")
                break


def _issuer(digits: str) -> str | None:
    for name, ranges, lengths in _ISSUERS:
        if len(digits) in lengths and any(low <= int(digits[: len(str(low))]) <= high for low, high in ranges):
            return name
    return None


_IBAN = re.compile(
    r"[A-Za-z](?<![A-Za-z0-9].)[A-Za-z][0-9]{2}"
    r"(?:[A-Za-z0-9]{11,30}|([ -])[A-Za-z0-9]{4}(?:\1[A-Za-z0-9]{4}){1,6}(?:\1[A-Za-z0-9]{1,3})?)(?![A-Za-z0-9])"
)
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""Country → characters of its IBANs (ISO 13616, registry of SWIFT)."""


@dataclass(frozen=True)
class Iban:
    """International bank account numbers: a country's length, and the check digits."""

    kind: str = "iban"

    def find(self, text: Folded) -> Iterator[Span]:
        for match in _IBAN.finditer(text.text):
            separator = match[1] or ""
            wanted = _IBAN_LENGTHS.get(match[0][:2].upper(), 0)
            written = match[0][: wanted + (wanted - 1) // 4] if separator else match[0]  # without a short word that follows
            number, end = written.replace(separator, ""), match.start() + len(written)
            if wanted == len(number) and mod97(number) and not text.text[end : end + 1].isalnum():
                yield Span(match.start(), end, self.kind, 0.99, Label.SECRET, number[:2].upper())
