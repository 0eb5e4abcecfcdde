"""What a statement says of its subject, as something that can be compared: numbers with units, times, names, words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from mnemos.index.terms import fold, term
from mnemos.index.terms import words as split_words
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.words import EMPTY, EXCLUSIVE, OPPOSITES, PREPOSITIONS, word_set

Comparison = Literal["same", "finer", "other", "unlike"]
"""`same`; `finer`: one says what the other says and more; `other`: of one kind, and they exclude each other; `unlike`: of different kinds."""

_IN_ORDER = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_ONES = {word: float(number) for number, word in enumerate(_IN_ORDER.split())}
_TENS = {word: 10.0 * number for number, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)}
_SCALES = {"hundred": 100.0, "thousand": 1000.0, "million": 1e6, "billion": 1e9, "dozen": 12.0}
_OTHER_NUMBERS = {"once": 1.0, "twice": 2.0, "thrice": 3.0, "half": 0.5, "quarter": 0.25, "couple": 2.0, "single": 1.0, "double": 2.0, "triple": 3.0}
_ORDINALS = {
    word: float(number)
    for number, word in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"], 1
    )
}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_SHORT_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "sept": 9, "oct": 10, "nov": 11, "dec": 12}
_NUMBER = re.compile(r"([$€£¥]?)(\d[\d,]*(?:\.\d+)?)([kKmM]?)(%|st|nd|rd|th)?$")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?([ap])\.?m\.?$|(\d{1,2}):(\d\d)$")
_YEAR = re.compile(r"(?:19|20)\d\d$")
_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})$")
_SYMBOLS = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "%": "percent"}
_UNITS = {
    "bucks": "dollar", "usd": "dollar", "eur": "euro", "gbp": "pound", "percent": "percent", "kg": "kilogram", "kilo": "kilogram", "lb": "pound",
    "lbs": "pound", "km": "kilometer", "mi": "mile", "min": "minute", "mins": "minute", "hr": "hour", "hrs": "hour", "yr": "year", "yrs": "year",
    "cm": "centimeter", "mg": "milligram",
}  # fmt: skip
_MEASURES = {
    "second": ("minute", 1 / 60), "minute": ("minute", 1.0), "hour": ("minute", 60.0), "day": ("day", 1.0), "week": ("day", 7.0),
    "month": ("day", 30.0), "year": ("day", 365.0), "meter": ("kilometer", 0.001), "kilometer": ("kilometer", 1.0), "mile": ("kilometer", 1.609),
    "gram": ("kilogram", 0.001), "kilogram": ("kilogram", 1.0), "milligram": ("kilogram", 1e-6),
}  # fmt: skip
"""Units that are converted, so that 90 minutes and one hour can be compared: the unit, and how many of it."""
_OPPOSITE = {pair for a, b in OPPOSITES for pair in ((a, b), (b, a))}


@dataclass(frozen=True, slots=True)
class Value:
    """What is said of a subject."""

    shown: str
    """The words as they stand."""
    words: frozenset[str]
    """The telling words, folded."""
    terms: frozenset[int]
    """The hashes of their stems (`index.terms.term`)."""
    numbers: tuple[tuple[float, int], ...] = ()
    """Numbers with the term of what they count, 0 where nothing follows."""
    times: frozenset[tuple[str, int]] = frozenset()
    """Weekdays, clock times (minutes), months, days of months and years."""
    names: frozenset[str] = frozenset()
    """The words that are written like names."""

    def __bool__(self) -> bool:
        return bool(self.words or self.numbers or self.times)


NOTHING = Value("", frozenset(), frozenset())


@lru_cache(maxsize=1 << 14)
def stems(word: str) -> tuple[int, ...]:
    """The terms of one folded word; a compound gives its parts."""
    return tuple(term(part) for part in split_words(word))


def number_of(word: str) -> float | None:
    """The number that a word stands for: digits, money, `twenty-five`, `third`, `2.5k`; else None."""
    known = _ONES.get(word) or _TENS.get(word) or _SCALES.get(word) or _OTHER_NUMBERS.get(word) or _ORDINALS.get(word)
    if known is not None:
        return known
    if word == "zero":
        return 0.0
    match = _NUMBER.match(word)
    if match:
        digits = float(match[2].replace(",", ""))
        return digits * {"k": 1e3, "m": 1e6}.get(match[3].lower(), 1.0)
    if "-" in word:
        first, _, second = word.partition("-")
        if first in _TENS and second in _ONES:
            return _TENS[first] + _ONES[second]
    return None


def read_value(tokens: Sequence[Token]) -> Value:
    """The value that a run of tokens stands for."""
    kept: dict[str, None] = {}
    numbers: list[tuple[float, int]] = []
    times: set[tuple[str, int]] = set()
    names: set[str] = set()
    used = 0
    for at, token in enumerate(tokens):
        if at < used:
            continue
        low = token.low
        if not low[:1].isalnum() and low[:1] not in "$€£¥@#":
            continue
        found = _time(tokens, at)
        if found:
            times.update(found[0])
            used = at + found[1]
            continue
        number = number_of(low)
        if number is not None and not (low in ("second", "may", "half", "single", "double") and at + 1 == len(tokens)):
            number, used = _whole_number(tokens, at, number)
            before = tokens[at - 1].low if at and tokens[at - 1].low[:1].isalpha() and tokens[at - 1].low not in EMPTY else ""
            numbers.append(_measured(number, _unit(tokens, used, token) or before))
            used += used < len(tokens) and dimension(tokens[used].low) is not None
            continue
        folded = fold(low)
        if folded in EMPTY:
            continue
        kept[folded] = None
        if token.capital:
            names.add(folded)
    words = frozenset(kept)
    return Value(
        " ".join(token.text for token in tokens), words, frozenset(h for word in words for h in stems(word)),
        tuple(numbers), frozenset(times), frozenset(names),
    )  # fmt: skip


def _whole_number(tokens: Sequence[Token], at: int, number: float) -> tuple[float, int]:
    """A number of several words (`two hundred fifty`, `30 dozen`), and the place after it."""
    total, current, used = 0.0, number, at + 1
    while used < len(tokens):
        low = tokens[used].low
        following = _SCALES.get(low)
        if following is not None:
            current *= following
        elif low == "and" and current >= 100 and used + 1 < len(tokens) and tokens[used + 1].low in (_ONES.keys() | _TENS.keys()):
            pass
        elif (low in _TENS and current >= 100) or (low in _ONES and (current >= 100 or (current >= 20 and current % 10 == 0))):
            if current >= 1000:
                total, current = total + current, 0.0
            current += _TENS.get(low, 0.0) or _ONES.get(low, 0.0)
        else:
            break
        used += 1
    return total + current, used


def _unit(tokens: Sequence[Token], after: int, number: Token) -> str:
    """What a number counts: the currency or percent sign that it carries, else the next telling word; empty for none."""
    for sign, name in _SYMBOLS.items():
        if sign in number.text:
            return name
    for token in tokens[after : after + 2]:
        if token.low in PREPOSITIONS:
            break
        if token.low in EMPTY:
            continue
        if not token.low[:1].isalpha():
            break
        return _UNITS.get(token.low, token.low)
    return ""


def ordinal(word: str) -> bool:
    """Whether a number says which one, and not how many."""
    return word in _ORDINALS or (word[-2:] in ("st", "nd", "rd", "th") and word[:1].isdigit())


def dimension(word: str) -> str | None:
    """What a unit measures (`minute`, `day`, `kilometer`, `kilogram`), as the unit to which it is converted; None where it is none."""
    known = _MEASURES.get(_UNITS.get(word, word).removesuffix("s"))
    return known[0] if known else None


def _measured(number: float, unit: str) -> tuple[float, int]:
    """A number with the term of its unit; minutes, kilometers and kilograms where it measures time, length or weight."""
    known = _MEASURES.get(unit.removesuffix("s"))
    if known is not None:
        return round(number * known[1], 6), term(known[0])
    return number, term(unit) if unit else 0


def _time(tokens: Sequence[Token], at: int) -> tuple[set[tuple[str, int]], int] | None:
    """The time that begins at `at`, as its parts, and how many tokens it takes."""
    token = tokens[at]
    low = token.low.rstrip(".")
    following = tokens[at + 1].low.rstrip(".") if at + 1 < len(tokens) else ""
    clock = _CLOCK.match(low)
    if clock:
        hour, minute = (int(clock[1]), int(clock[2] or 0)) if clock[1] else (int(clock[4]), int(clock[5]))
        half = clock[3] or (following[:1] if re.fullmatch(r"[ap]\.?m", following) else "")
        return {("clock", _minutes(hour, minute, half))}, 2 if half and not clock[3] else 1
    if re.fullmatch(r"[ap]\.?m", following) and number_of(low) is not None:
        return {("clock", _minutes(int(number_of(low) or 0), 0, following[0]))}, 2
    if following == "o'clock" and number_of(low) is not None:
        return {("clock", 60 * int(number_of(low) or 0))}, 2
    if low in ("noon", "midday", "midnight"):
        return {("clock", 0 if low == "midnight" else 720)}, 1
    if low in ("half", "quarter") and following in ("past", "to") and at + 2 < len(tokens) and number_of(tokens[at + 2].low) is not None:
        minutes = (30 if low == "half" else 15) * (1 if following == "past" else -1)
        return {("clock", 60 * int(number_of(tokens[at + 2].low) or 0) + minutes)}, 3
    day = low.rstrip("s")
    if day in _LONG_DAYS or (low in _WEEKDAYS and token.capital):
        return {("weekday", _WEEKDAYS.index(day[:3]))}, 1
    if low in ("weekend", "weekends", "weekday", "weekdays"):
        return {("week", 1 if low.startswith("weekend") else 2)}, 1
    month = _MONTHS.index(low) + 1 if low in _MONTHS else _SHORT_MONTHS.get(low)
    if month and (token.capital or low not in ("may", "march", "mar", "dec", "jan", "sun")):
        number = number_of(following)
        if number is not None and number <= 31 and float(number).is_integer() and following[:1].isdigit():
            return {("month", month), ("day", int(number))}, 2
        return {("month", month)}, 1
    iso = _ISO.match(low)
    if iso:
        return {("year", int(iso[1])), ("month", int(iso[2])), ("day", int(iso[3]))}, 1
    number = number_of(low)
    if number is not None and low[:1].isdigit():
        skip = 2 if following == "of" else 1
        named = tokens[at + skip].low if at + skip < len(tokens) else ""
        month = _MONTHS.index(named) + 1 if named in _MONTHS else _SHORT_MONTHS.get(named)
        if month and number <= 31 and (named != "may" or tokens[at + skip].capital):
            return {("month", month), ("day", int(number))}, skip + 1
        if _YEAR.match(low):
            return {("year", int(low))}, 1
    return None


def _minutes(hour: int, minute: int, half: str) -> int:
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return 60 * hour + minute


def compared(first: Value, second: Value) -> Comparison:
    """How two values of one attribute stand to each other."""
    times = _compared_times(first, second)
    numbers = _compared_numbers(first, second)
    if times == "other" or numbers == "other":
        return "other"
    exclusive = any(first.words & group and second.words & group and not first.words & second.words & group for group in EXCLUSIVE)
    if exclusive or opposed(first, second):
        return "other"
    first, second = _spelled(first, second)
    if bool(first.words) is not bool(second.words) and not (first.times and second.times) and not (first.numbers and second.numbers):
        return "unlike"
    if first.terms == second.terms:
        plain = times == "same" and numbers == "same"
        return "same" if plain else "finer"
    if first.terms <= second.terms or second.terms <= first.terms:
        return "finer"
    return "other"


_ALIASES = {
    word_set("usa"): word_set("united states"), word_set("america"): word_set("united states"),
    word_set("us"): word_set("united states"), word_set("uk"): word_set("united kingdom"),
    word_set("nyc"): word_set("new york"), word_set("la"): word_set("los angeles"),
}  # fmt: skip


def _spelled(first: Value, second: Value) -> tuple[Value, Value]:
    """The values with one spelling of what is plainly one word (`Seatle`, `Seattle`), and one name of what has two."""
    first, second = (
        replace(one, words=_ALIASES[one.words], terms=_terms(_ALIASES[one.words])) if one.words in _ALIASES else one for one in (first, second)
    )
    ours, theirs = first.words - second.words, second.words - first.words
    for word in ours:
        twin = next((other for other in theirs if _nearly(word, other)), None)
        if twin is not None:
            words = (second.words - {twin}) | {word}
            second, theirs = replace(second, words=words, terms=_terms(words)), theirs - {twin}
    return first, second


def _terms(words: frozenset[str]) -> frozenset[int]:
    return frozenset(h for word in words for h in stems(word))


def _nearly(first: str, second: str) -> bool:
    """Whether two words of five letters or more differ by one letter left out, put in, or swapped with the next."""
    if min(len(first), len(second)) < 5 or abs(len(first) - len(second)) > 1 or not (first.isalpha() and second.isalpha()) or first[0] != second[0]:
        return False
    if len(first) == len(second):
        at = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
        return len(at) == 2 and at[1] == at[0] + 1 and first[at[0]] == second[at[1]] and first[at[1]] == second[at[0]]
    longer, shorter = (first, second) if len(first) > len(second) else (second, first)
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def opposed(first: Value, second: Value) -> bool:
    """Whether the values differ by one pair of opposites."""
    ours, theirs = first.words - second.words, second.words - first.words
    return any((a, b) in _OPPOSITE for a in ours for b in theirs) or any(_negated(a, b) or _negated(b, a) for a in ours for b in theirs)


def _negated(plain: str, other: str) -> bool:
    """Whether `other` is `plain` with a prefix that denies it; short words are left alone (`in`, `till`, `until`)."""
    return len(plain) > 4 and other in ("un" + plain, "in" + plain, "dis" + plain, "non" + plain, "non-" + plain, "im" + plain, "ir" + plain)


def _compared_times(first: Value, second: Value) -> Comparison:
    if first.times == second.times:
        return "same"
    if not first.times or not second.times:
        return "finer"
    ours, theirs = _by_kind(first), _by_kind(second)
    shared = ours.keys() & theirs.keys()
    for kind in shared:
        if ours[kind] == theirs[kind]:
            continue
        if kind == "clock" and {m % 720 for m in ours[kind]} == {m % 720 for m in theirs[kind]} and min(*ours[kind], *theirs[kind]) < 720:
            continue  # "at 7" and "at 7 pm"
        if ours[kind] < theirs[kind] or theirs[kind] < ours[kind]:
            continue
        return "other"
    return "finer"


def _by_kind(value: Value) -> dict[str, set[int]]:
    out: dict[str, set[int]] = {}
    for kind, number in value.times:
        out.setdefault(kind, set()).add(number)
    return out


def _compared_numbers(first: Value, second: Value) -> Comparison:
    """Numbers are compared unit by unit; where one side has none, or other units, nothing is said."""
    if first.numbers == second.numbers:
        return "same"
    if not first.numbers or not second.numbers:
        return "finer"
    ours: dict[int, set[float]] = {}
    theirs: dict[int, set[float]] = {}
    for number, unit in first.numbers:
        ours.setdefault(unit, set()).add(number)
    for number, unit in second.numbers:
        theirs.setdefault(unit, set()).add(number)
    shared = ours.keys() & theirs.keys()
    if any(ours[unit].isdisjoint(theirs[unit]) for unit in shared):
        return "other"
    if not shared and len(first.numbers) == len(second.numbers) == 1:
        return "same" if first.numbers[0][0] == second.numbers[0][0] else "other" if 0 in (first.numbers[0][1], second.numbers[0][1]) else "unlike"
    return "finer"
