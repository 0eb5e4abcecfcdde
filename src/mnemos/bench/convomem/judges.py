"""Right or wrong by rules, one judge for each kind of answer (section 4): no model judges what the generator's own grammar has said."""

from __future__ import annotations

import re
from datetime import date

from mnemos.bench.convomem import words
from mnemos.bench.convomem.personas import rubric
from mnemos.bench.convomem.schema import EvidenceItem

_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_UNITS = {"day": 1, "week": 7, "fortnight": 14}
_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})(?:st|nd|rd|th)?(?: of)? ([A-Z][a-z]+),? (\d{4})"
    r"|([A-Z][a-z]+) (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})"
)
_SPAN = re.compile(r"\b(?:(\d+|an?|" + "|".join(_NUMBERS) + r") )?(day|week|fortnight)s?\b", re.I)
_UNKNOWN = re.compile(
    r"\b(?:(?:you|we) (?:have |had )?(?:never|not|did ?n[o'’]t|have ?n[o'’]t) (?:told|tell|mentioned?|said|say|discussed?|talked|spoken|shared?)"
    r"|you (?:have )?never|(?:do|did|does|have|has|is|are|was|were)(?: not|n['’]t)(?: \w+){0,3} "
    r"(?:know|mention(?:ed)?|information|record|say|said|recall|remember|provided?|available|specif\w+|found|told)"
    r"|no (?:information|record|mention|details?)|not (?:mentioned|enough|provided|specified|known|available|stated|sure)|unknown|unable to"
    r"|can(?:not|['’]t) (?:answer|say|tell|find|determine))\b",
    re.I,
)
"""How an answer acknowledges that it was not told."""
_RUBRIC = rubric([])


def right(item: EvidenceItem, answer: str) -> bool:
    """Whether an answer to an item is right, by the judge of its category."""
    if item.category == "abstention":
        return abstained(answer)
    if item.answer.startswith(_RUBRIC):
        return follows(item.answer, answer)
    if item.category == "temporal":
        return same_time(item.answer, answer)
    return names_all(item.answer, answer) if ";" in item.answer else same_fact(item.answer, answer)


def abstained(answer: str) -> bool:
    """Any acknowledgement of missing information passes; any answer beside it does not save an invented one."""
    return bool(_UNKNOWN.search(answer))


def same_fact(gold: str, answer: str) -> bool:
    """The gold words stand in the answer, in their order and next to each other; case and punctuation do not count. To abstain is no answer."""
    return not abstained(answer) and _said(_words(gold), _words(answer))


def names_all(gold: str, answer: str) -> bool:
    """Every part of the gold (between semicolons) is said; where the answer lists parts, it lists no others. An abstention names nothing."""
    if abstained(answer):
        return False
    wanted = [_words(part) for part in gold.split(";") if part.strip()]
    said = [_words(part) for part in answer.split(";") if part.strip()]
    if len(said) < 2:
        return all(_said(part, _words(answer)) for part in wanted)
    return all(any(_said(part, one) for one in said) for part in wanted) and all(any(_said(part, one) for part in wanted) for one in said)


def follows(gold: str, answer: str) -> bool:
    """A rubric: the answer says what each criterion asks, and the opposite of none."""
    criteria = [part.strip() for part in gold.removeprefix(_RUBRIC).split(";") if part.strip()]
    said = _words(answer)
    opposites = [words.TRAITS[criterion][0] for criterion in criteria if criterion in words.TRAITS]
    return all(_said(_words(criterion), said) for criterion in criteria) and not any(_said(_words(trait), said) for trait in opposites)


def same_time(gold: str, answer: str) -> bool:
    """Dates, lengths of time and orders of events; other ways to write the same pass, a day more or less does not."""
    if abstained(answer):
        return False
    if (days := _days_of(gold)) is not None:
        return _days_of(answer) == days
    if (day := _date_of(gold)) is not None:
        return _date_of(answer) == day
    wanted = [_words(part) for part in gold.split(";")]
    said = _words(answer)
    places = [_place(part, said) for part in wanted]
    return all(place >= 0 for place in places) and places == sorted(set(places))


def _days_of(text: str) -> int | None:
    if _date_of(text) is not None:
        return None
    match = _SPAN.search(text)
    if match is None:
        return None
    count, unit = (match[1] or "a").lower(), match[2].lower()
    number = int(count) if count.isdigit() else 1 if count in ("a", "an") else _NUMBERS.index(count)
    return number * _UNITS[unit]


def _date_of(text: str) -> date | None:
    match = _DATE.search(text)
    if match is None:
        return None
    year, month, day, day2, month2, year2, month3, day3, year3 = match.groups()
    named = month2 or month3
    if named and named not in words.MONTHS:
        return None
    number = words.MONTHS.index(named) + 1 if named else int(month)
    try:
        return date(int(year or year2 or year3), number, int(day or day2 or day3))
    except ValueError:
        return None


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def _place(wanted: list[str], said: list[str]) -> int:
    return next((i for i in range(len(said) - len(wanted) + 1) if said[i : i + len(wanted)] == wanted), -1)


def _said(wanted: list[str], said: list[str]) -> bool:
    return bool(wanted) and _place(wanted, said) >= 0
