"""Numbers that states give to people, told by their form and their check digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mnemos.text.detectors.checksums import luhn, mod11_2, mod11_10, verhoeff, weighted
from mnemos.text.detectors.context import THINGS, Nearby
from mnemos.text.detectors.dates import exists
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.span import Label, Span


@dataclass(frozen=True)
class Form:
    """One country's number. `valid` gets it without blanks, dots, slashes and hyphens, in upper case; `alone` is the confidence where no
    word near speaks for it: below one half for forms that many other numbers have. `numeric`: it is made of digits alone."""

    name: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]
    alone: float
    numeric: bool


def _form(name: str, pattern: str, valid: Callable[[str], bool], alone: float, numeric: bool = True) -> Form:
    edge = r"(?<![\w.+/-])" if numeric else r"(?<![A-Za-z0-9])"
    return Form(name, re.compile(rf"{edge}(?:{pattern})(?![\w-]|[./][0-9])", re.ASCII | re.IGNORECASE), valid, alone, numeric)


def social_security(number: str) -> bool:
    """United States: area, group and serial that can be given out (Social Security Administration, since 2011), and not the two that were
    printed in advertisements."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and number not in ("078051120", "219099999")


def _taxpayer(number: str) -> bool:
    group = int(number[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99


def _national_insurance(number: str) -> bool:
    return number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def _spanish(number: str) -> bool:
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6,
                                                         8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def _italian(number: str) -> bool:
    even = sum(int(c) if c.isdigit() else ord(c) - 65 for c in number[1:15:2])
    return chr((sum(_ODD[c] for c in number[0:15:2]) + even) % 26 + 65) == number[15]


def _french(number: str) -> bool:
    department = number[5:7].replace("2A", "19").replace("2B", "18")
    return 97 - int(number[:5] + department + number[7:13]) % 97 == int(number[13:])


def _dutch(number: str) -> bool:
    return number.strip("0") != "" and weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0


def _brazilian(number: str) -> bool:
    if len(set(number)) == 1:
        return False
    return all(weighted(number[:n], range(n + 1, 1, -1), 11) * 10 % 11 % 10 == int(number[n]) for n in (9, 10))


def _swedish(number: str) -> bool:
    number = number[-10:]
    return luhn(number) and exists(2000, int(number[2:4]), int(number[4:6]) % 60 or 60)


def _polish(number: str) -> bool:
    month = int(number[2:4]) % 20
    return weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0 and exists(2000, month, int(number[4:6]))


def _chinese(number: str) -> bool:
    return mod11_2(number) and exists(int(number[6:10]), int(number[10:12]), int(number[12:14]))


def _swiss(number: str) -> bool:
    return weighted(number, (1, 3) * 6 + (1,), 10) == 0


def _german(number: str) -> bool:
    return number[0] != "0" and mod11_10(number) and len(set(number[:10])) in (8, 9)


FORMS = (
    _form("United States, social security", r"[0-9]{3}([ -])[0-9]{2}\1[0-9]{4}", social_security, 0.8),
    _form("United States, social security", r"[0-9]{9}", social_security, 0.1),
    _form("United States, taxpayer", r"9[0-9]{2}([ -])[0-9]{2}\1[0-9]{4}", _taxpayer, 0.7),
    _form("United Kingdom", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", _national_insurance, 0.85, numeric=False),
    _form("Spain", r"(?:[XYZ]-?[0-9]{7}|[0-9]{2}\.?[0-9]{3}\.?[0-9]{3})-?[TRWAGMYFPDXBNJZSQVHLCKE]", _spanish, 0.8, numeric=False),
    _form("Italy", r"[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z]", _italian, 0.98, numeric=False),
    _form("France", r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", _french, 0.8, numeric=False),
    _form("Germany", r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", _german, 0.3),
    _form("Netherlands", r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}", _dutch, 0.1),
    _form("Brazil", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", _brazilian, 0.95),
    _form("Brazil", r"[0-9]{11}", _brazilian, 0.3),
    _form("Canada", r"[1-79][0-9]{2}([ -])[0-9]{3}\1[0-9]{3}", luhn, 0.4),
    _form("India", r"[2-9][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}", verhoeff, 0.4),
    _form("Sweden", r"(?:19|20)?[0-9]{6}[-+][0-9]{4}", _swedish, 0.6),
    _form("Poland", r"[0-9]{11}", _polish, 0.4),
    _form("China", r"[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9X]", _chinese, 0.95),
    _form("Switzerland", r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", _swiss, 0.9),
)
"""The numbers that are known, as the authorities of each country describe them."""

_NEARBY = Nearby(
    r"social security|\bssn\b|\bsocial\b|\bitin\b|\btax(?:payer)?\b|national insurance|\bnino?\b|\bni number|\bdni\b|\bnie\b|codice fiscale|\bnir\b"
    r"|sécurité sociale|steuer|\bidnr|\bbsn\b|burgerservice|\bcpf\b|\bsin\b|social insurance|aadhaar|\buid\b|personnummer|pesel|身份证|身分证|\bahv\b"
    r"|\bavs\b|national id|identity|\bpassport\b",
    THINGS,
)


@dataclass(frozen=True)
class NationalId:
    """Numbers of `FORMS`."""

    kind: str = "national_id"

    def find(self, text: Folded) -> Iterator[Span]:
        announced = _NEARBY.spoken_for(text.lower)
        for form in FORMS:
            for match in text.numbered(form.pattern) if form.numeric else form.pattern.finditer(text.text):
                valid = form.valid(re.sub(r"[ ./+-]", "", match[0]).upper())
                if valid or announced:  # one that is announced, but mistyped, is still not for everybody
                    weights = (form.alone, 0.97, form.alone / 3) if valid else (0.0, 0.6, 0.0)
                    certainty = _NEARBY.weigh(text.lower, match.start(), weights[0], spoken_for=weights[1], spoken_against=weights[2])
                    yield Span(match.start(), match.end(), self.kind, certainty, Label.SECRET, form.name)
