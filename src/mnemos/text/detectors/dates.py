"""Calendar dates as people write them."""

from __future__ import annotations

import calendar
import re

_MONTHS = (
    r"jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|févr?(?:ier)?|mar(?:ch|s|zo)?|märz|apr(?:il|ile)?|avr(?:il)?|may|mai|mayo|maggio|june?|juni|juin|junio"
    r"|july?|juli|juillet|julio|aug(?:ust)?|août|agosto|sept?(?:ember|embre|iembre)?|oct(?:ober|obre|ubre)?|okt(?:ober)?|nov(?:ember|embre|iembre)?"
    r"|dec(?:ember)?|dez(?:ember)?|déc(?:embre)?|dic(?:iembre)?|enero|ene|febrero|abril|gennaio|febbraio|giugno|luglio|settembre|ottobre|dicembre"
)
_YEAR = r"(?:1[89]|20)[0-9]{2}"
_NUMERIC = (
    rf"(?P<y>{_YEAR})(?P<s1>[-/.])(?P<m>[0-9]{{1,2}})(?P=s1)(?P<d>[0-9]{{1,2}})|(?P<a>[0-9]{{1,2}})(?P<s2>[-/.])(?P<b>[0-9]{{1,2}})(?P=s2)"
    rf"(?:{_YEAR}|[0-9]{{2}})|{_YEAR}年[0-9]{{1,2}}月[0-9]{{1,2}}日"
)
_WORDS = (
    rf"(?:{_MONTHS})\b\.?,? ?(?:the )?[0-9]{{1,2}}(?:st|nd|rd|th)?\b(?:,? ?(?:of )?{_YEAR}\b)?"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th|er|\.)? ?(?:of |de )?(?:{_MONTHS})\b\.?(?!,? [0-9]{{1,2}}\b)(?:,? ?(?:de |del )?{_YEAR}\b)?"
)
DATE = re.compile(rf"(?<![A-Za-z0-9.])(?:{_NUMERIC}|{_WORDS})(?![A-Za-z0-9])", re.IGNORECASE)
"""A date: ISO 8601, day and month in figures with a year, or the month in words, with or without the year."""
_HAS_YEAR = re.compile(rf"{_YEAR}|[-/.][0-9]{{2}}$")


def exists(year: int, month: int, day: int) -> bool:
    """Whether the calendar has this day."""
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(min(max(year, 1), 9999), month)[1]


def plausible(match: re.Match[str]) -> bool:
    """Whether a match of `DATE` names a day that can exist, read either way round."""
    if match["y"]:
        return exists(int(match["y"]), int(match["m"]), int(match["d"]))
    if match["a"]:
        first, second = int(match["a"]), int(match["b"])
        return exists(2000, first, second) or exists(2000, second, first)
    return all(1 <= int(number) <= 31 for number in re.findall(r"(?<![0-9])[0-9]{1,2}(?![0-9])", match[0]))


def has_year(written: str) -> bool:
    return bool(_HAS_YEAR.search(written))
