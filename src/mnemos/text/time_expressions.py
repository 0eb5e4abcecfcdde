"""Times that English text speaks of, as intervals: absolute dates, and expressions relative to the moment at which the text was said.

A small parser of its own: one pass of bounded patterns over the text, so its time is linear in the text and no text makes it raise. Days
are days in UTC; a week runs from Monday to Sunday (ISO 8601); seasons are those of the northern hemisphere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date

DAY = 86_400_000_000
"""Microseconds in a day."""

EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_800_000_000
"""Ends of open intervals: the years 1 and 9999, microseconds since 1970."""

_EPOCH = date(1970, 1, 1).toordinal()
_LAST_DAY = date.max.toordinal()
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "twenty": 20, "thirty": 30, "couple": 2, "few": 3, "several": 4,
}  # fmt: skip
_DAYS_IN = {"day": 1, "night": 1, "week": 7, "weekend": 7, "fortnight": 14, "month": 30, "year": 365, "decade": 3652, "hour": 0, "minute": 0}

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?"
_LONG_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
_SEASON = r"(?:spring|summer|autumn|fall|winter)"
_UNIT = r"(?:minute|hour|day|night|weekend|week|fortnight|month|year|decade)s?"
_COUNT = (
    r"(?:\d{1,4}|an?(?:[ ](?:couple(?:[ ]of)?|few))?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty"
    r"|couple(?:[ ]of)?|few|several)"
)
_YEAR = r"(?:1[0-9]|20|21)\d\d"
_SOON = r"(?:last|past|previous|next|coming|upcoming|this)"
_GAP = r"[ \t\n]{1,3}"

_PATTERN = re.compile(
    rf"""(?<![\w.])(?:
    (?P<iso>(?P<iy>\d{{4}})[-/](?P<im>\d{{1,2}})[-/](?P<id>\d{{1,2}})(?!\d))
    |(?P<num>(?P<n1>\d{{1,2}})(?P<sep>[/.])(?P<n2>\d{{1,2}})(?P=sep)(?P<ny>\d{{4}}|\d\d)(?!\d))
    |(?P<dm>(?P<dmd>\d{{1,2}})(?:st|nd|rd|th)?{_GAP}(?:of{_GAP})?(?P<dmm>{_MONTH})(?:,?{_GAP}(?P<dmy>{_YEAR})\b)?)
    |(?P<md>(?P<mdm>{_MONTH}){_GAP}(?:the{_GAP})?(?P<mdd>\d{{1,2}})(?:st|nd|rd|th)?(?![\w:]|\.\d)(?:,?{_GAP}(?P<mdy>{_YEAR})\b)?)
    |(?P<my>(?:(?P<part>early|mid|late|beginning{_GAP}of|start{_GAP}of|middle{_GAP}of|end{_GAP}of)[ \t\n-]{{1,3}})?
        (?P<mym>{_MONTH}),?{_GAP}(?:of{_GAP})?(?P<myy>{_YEAR})\b)
    |(?P<seas>(?P<ss>{_SEASON}),?{_GAP}(?:of{_GAP})?(?P<sy>{_YEAR})\b)
    |(?P<dayrel>(?:the{_GAP})?day{_GAP}(?:before{_GAP}yesterday|after{_GAP}tomorrow)|yesterday|today|tonight|tomorrow
        |last{_GAP}night|this{_GAP}(?:morning|afternoon|evening))\b
    |(?P<soon>(?P<which>{_SOON}){_GAP}(?P<what>week|weekend|month|year|decade|{_LONG_WEEKDAY}|{_SEASON}|{_MONTH})\b)
    |(?P<ago>(?P<an>{_COUNT}){_GAP}(?P<au>{_UNIT}){_GAP}(?P<aw>ago|back|later|earlier|from{_GAP}(?:now|today))\b)
    |(?P<ahead>in{_GAP}(?P<hn>{_COUNT}){_GAP}(?P<hu>{_UNIT})\b)
    |(?P<span>(?:for{_GAP})?(?:the{_GAP})?(?:last|past){_GAP}(?P<pn>{_COUNT}){_GAP}(?P<pu>{_UNIT})\b)
    |(?P<shift>(?:(?P<bn>{_COUNT})|the|that){_GAP}(?P<bu>{_UNIT}|{_LONG_WEEKDAY}){_GAP}(?P<bw>before|after|prior{_GAP}to|following|of){_GAP}(?!that\b))
    |(?P<inm>(?:in|since|until|till|by|during|of|before|after|around|from){_GAP}(?:(?:early|mid|late)[ \t\n-]{{1,3}})?
        (?P<imm>{_MONTH})(?!\w|[ \t\n,]{{1,3}}(?:of[ ])?\d))
    |(?P<year>(?:in|since|until|till|by|during|of|before|after|around|from|to|year|and|circa){_GAP}(?:(?:early|mid|late)[ \t\n-]{{1,3}})?
        (?P<yy>{_YEAR})(?!\w|[.,/:-]\d))
    |(?P<decade>(?:the{_GAP})?(?P<dy>(?:1[5-9]|20)\d0)'?s\b)
    |(?P<weekday>{_LONG_WEEKDAY})\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CUE = re.compile(
    rf"\b(?:\d|(?:{_MONTH}|{_LONG_WEEKDAY}|{_SEASON}|{_SOON}|{_UNIT}|yesterday|today|tonight|tomorrow)\b)"
)
"""Lower case: what each match of `_PATTERN` holds, `_BEFORE_CUE` characters from its start at most (`in a couple of    weeks`)."""
_BEFORE_CUE = 20
_LONGEST_OPENER = 16
_START = re.compile(
    rf"(?<![\w.])(?:\d|(?:the|that|for|early|mid|late|beginning|start|middle|end|in|since|until|till|by|during|of|before|after|around|from|to|and"
    rf"|circa|{_COUNT}|{_CUE.pattern})\b)"
)
"""Lower case: the words that a match can begin with."""
_RELATION = re.compile(r"\b(before|prior to|until|till|by|after|since|from|between|following)[ \t\n]{1,3}(?:the[ \t\n]{1,3})?$", re.I)
_JOIN = re.compile(r"[ \t\n]{0,3}(?:and|to|until|till|through|-|–)[ \t\n]{1,3}\Z|[ \t\n]{0,3}[-–][ \t\n]{0,3}\Z", re.I)
_EVENT = re.compile(r"[^.,;:!?\n()\"]{1,80}")
_WORD = re.compile(r"[a-z]+")
_DIGIT = re.compile(r"[0-9]")
_THIRD_CASE = re.compile("[\u0130\u0131\u017f\u212a]")  # İ, ı, ſ and the Kelvin sign, which `re` takes for i, s and k in another case
_CUES = frozenset(
    """january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct nov dec
    monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays sundays spring summer
    autumn fall winter yesterday today tonight tomorrow ago last past previous next coming upcoming this week weekend weeks weekends day days
    month months year years night nights decade decades fortnight hour hours minute minutes""".split()  # noqa: SIM905 (a list of words)
)


@dataclass(frozen=True, slots=True)
class TimeExpression:
    """A time that a text speaks of."""

    start: int | None
    """Start, microseconds since 1970 in UTC, included; None where the time hangs on an unknown anchor or on an event."""
    end: int | None
    """End, excluded; None with `start`."""
    span: tuple[int, int]
    """Where it stands in the text."""
    kind: str
    """`day`, `week`, `month`, `season`, `year`, `decade`, `range` (an explicit or open range) or `event` (an offset from an event)."""
    offset_days: int | None = None
    """With kind `event`: days from the event, negative before it."""
    event: str | None = None
    """With kind `event`: the words that name the event."""


def mentions_time(text: str, words: Iterable[str] | None = None) -> bool:
    """Whether `text` can hold a time expression at all: cheap, and never wrongly False. `words`: its runs of a to z in lower case, where at hand."""
    return _DIGIT.search(text) is not None or not _CUES.isdisjoint(_WORD.findall(text.lower()) if words is None else words)


def plain_case(text: str) -> bool:
    """Whether a pattern of ASCII letters that ignores case finds in `text` what it finds in the lowered text, at the same places."""
    return text.isascii() or _THIRD_CASE.search(text) is None


def find_times(text: str, anchor: int | None = None) -> list[TimeExpression]:
    """The time expressions of `text`, in order. `anchor` is the moment at which it was said, microseconds since 1970 in UTC.

    Without an anchor, expressions that need one have neither start nor end. Never raises, whatever the text or the anchor.
    """
    return times_at_cues(text, anchor) if mentions_time(text) else []


def times_at_cues(text: str, anchor: int | None) -> list[TimeExpression]:
    """`find_times` of a text that is known to mention a time."""
    today = _EPOCH + anchor // DAY if anchor is not None else None
    if today is not None and not 800 <= today <= _LAST_DAY - 800:
        today = None
    found: list[TimeExpression] = []
    waiting: tuple[re.Match[str], int] | None = None
    for match in _matches(text):
        if match["shift"]:
            if waiting:
                found += _event(text, *waiting)
            waiting = match, match.end()
            continue
        resolved = _resolve(match, today)
        if resolved is None:
            continue
        days, kind = resolved
        span = _trimmed(match)
        if waiting:
            before, end = waiting
            waiting = None
            if _filler(text[end : span[0]]):
                days, kind = _shifted(before, days)
                span = before.start(), span[1]
            else:
                found += _event(text, before, end)
        start, end_ = (None, None) if days is None else (_micros(days[0]), _micros(days[1]))
        found.append(TimeExpression(start, end_, span, kind))
    if waiting:
        found += _event(text, *waiting)
    return _related(text, found)


def _matches(text: str) -> Iterator[re.Match[str]]:
    """The matches of `_PATTERN`, those that `finditer` gives, tried only where a cue is near: most words of a text are far from any."""
    if not plain_case(text):
        yield from _PATTERN.finditer(text)
        return
    done = 0
    lowered = text.lower()
    for cue in _CUE.finditer(lowered):
        at = cue.start()
        position = max(done, at - _BEFORE_CUE)
        while (start := _START.search(lowered, position, at + _LONGEST_OPENER)) and start.start() <= at:
            match = _PATTERN.match(text, start.start())
            if match:
                yield match
            position = done = match.end() if match else start.start() + 1


# -- one expression --
Days = tuple[int, int]
"""Ordinals of the first day and of the day after the last."""


def _resolve(match: re.Match[str], today: int | None) -> tuple[Days | None, str] | None:
    """The days and kind of a match; days None where it needs an anchor that is not there; None where it is no time after all."""
    try:
        return _resolve_unchecked(match, today)
    except (ValueError, OverflowError):
        return None


def _resolve_unchecked(match: re.Match[str], today: int | None) -> tuple[Days | None, str] | None:
    kind = match.lastgroup
    g = match.group
    if g("iso"):
        return _day(int(g("iy")), int(g("im")), int(g("id"))), "day"
    if g("num"):
        first, second, year = int(g("n1")), int(g("n2")), int(g("ny"))
        year += 0 if year > 99 else 2000 if year < 70 else 1900
        day_first = first > 12 or (g("sep") == "." and second <= 12)
        return _day(year, second if day_first else first, first if day_first else second), "day"
    if g("dm") or g("md"):
        prefix = "dm" if g("dm") else "md"
        day, month, written = int(g(prefix + "d")), _month(g(prefix + "m")), g(prefix + "y")
        if written:
            return _day(int(written), month, day), "day"
        return (None if today is None else _nearest_day(today, month, day)), "day"
    if g("my"):
        first_day, end = _month_days(int(g("myy")), _month(g("mym")))
        part = (g("part") or "").lower()
        third = (end - first_day) // 3
        if part.startswith(("early", "begin", "start")):
            end = first_day + third + 1
        elif part.startswith("mid"):
            first_day, end = first_day + third, end - third
        elif part.startswith(("late", "end")):
            first_day = end - third - 1
        return (first_day, end), "month"
    if g("seas"):
        return _season_days(int(g("sy")), g("ss").lower()), "season"
    if g("year"):
        year = int(g("yy"))
        return (_ordinal(year, 1, 1), _ordinal(year + 1, 1, 1)), "year"
    if g("decade"):
        year = int(g("dy"))
        return (_ordinal(year, 1, 1), _ordinal(year + 10, 1, 1)), "decade"
    if g("inm"):
        name = g("imm")
        if name.lower() in ("may", "mar", "march", "sun") and not name[0].isupper():
            return None
        return (None if today is None else _latest_month(today, _month(name), include_now=True)), "month"
    if g("dayrel"):
        if today is None:
            return None, "day"
        words = g("dayrel").lower()
        step = -1 if "yester" in words or "last" in words else 1 if "tomorrow" in words else 0
        step *= 2 if words.split()[-1] in ("yesterday", "tomorrow") and " " in words else 1
        return (today + step, today + step + 1), "day"
    if g("soon"):
        return _soon(g("which").lower(), g("what"), today)
    if g("ago"):
        return _offset(_count(g("an")), g("au"), -1 if g("aw").lower() in ("ago", "back", "earlier") else 1, today)
    if g("ahead"):
        return _offset(_count(g("hn")), g("hu"), 1, today)
    if g("span"):
        if today is None:
            return None, "range"
        return (today - max(1, _count(g("pn")) * _DAYS_IN[_unit(g("pu"))]), today + 1), "range"
    if kind == "weekday":
        if today is None:
            return None, "day"
        back = (today - 1 - _weekday(g("weekday"))) % 7
        return (today - back, today - back + 1), "day"
    return None


def _soon(which: str, what: str, today: int | None) -> tuple[Days | None, str] | None:
    """`last week`, `next Friday`, `this summer`, …"""
    low = what.lower().rstrip(".")
    kind = {"week": "week", "weekend": "day", "month": "month", "year": "year", "decade": "decade"}.get(low)
    kind = kind or ("season" if low in _SEASONS else "day" if low.rstrip("s").endswith("day") else "month")
    if low in ("mar", "may") and not what[0].isupper() and which == "this":
        return None
    if today is None:
        return None, kind
    step = -1 if which in ("last", "past", "previous") else 0 if which == "this" else 1
    now = date.fromordinal(today)
    monday = today - (today - 1) % 7
    if low == "week":
        return (monday + 7 * step, monday + 7 * step + 7), kind
    if low == "weekend":
        saturday = monday + 5 + (0 if step <= 0 else 7 * (today >= monday + 5))
        if step < 0:
            saturday -= 7
        return (saturday, saturday + 2), kind
    if low == "month":
        index = now.year * 12 + now.month - 1 + step
        return _month_days(index // 12, index % 12 + 1), kind
    if low == "year":
        return (_ordinal(now.year + step, 1, 1), _ordinal(now.year + step + 1, 1, 1)), kind
    if low == "decade":
        first = now.year // 10 * 10 + 10 * step
        return (_ordinal(first, 1, 1), _ordinal(first + 10, 1, 1)), kind
    if kind == "day":
        weekday = _weekday(low)
        day = today - ((today - 2 - weekday) % 7 + 1) if step < 0 else today + (weekday - (today - 1)) % 7
        if step > 0 and day == today:
            day += 7
        return (day, day + 1), kind
    if kind == "season":
        seasons = [_season_days(now.year + year, low) for year in (-2, -1, 0, 1, 2)]
        return _choose(seasons, today, step), kind
    month = _month(low)
    return (_latest_month(today, month, include_now=False) if step < 0 else _choose(_years_of(now.year, month), today, step)), kind


def _choose(candidates: list[Days], today: int, step: int) -> Days:
    """Of intervals in order: the last that is over (step -1), the one that is on or else the nearest (0), or the first to begin (1)."""
    if step < 0:
        return [c for c in candidates if c[1] <= today][-1]
    if step > 0:
        return next(c for c in candidates if c[0] > today)
    return min(candidates, key=lambda c: max(c[0] - today, today - c[1] + 1, 0))


def _offset(count: int, unit: str, sign: int, today: int | None) -> tuple[Days | None, str]:
    """`count` units before or after today, as wide as such words are meant: a day, a week, a month, a year."""
    name = _unit(unit)
    kind = {"week": "week", "weekend": "week", "fortnight": "week", "month": "month", "year": "year", "decade": "decade"}.get(name, "day")
    if today is None:
        return None, kind
    if name == "year":
        now = date.fromordinal(today)
        return (_ordinal(now.year + sign * count, 1, 1), _ordinal(now.year + sign * count + 1, 1, 1)), kind
    centre = today + sign * count * _DAYS_IN[name]
    half = {"week": 3, "month": 15, "decade": 1826}.get(kind, 0)
    return _checked(centre - half, centre + half + 1), kind


def _shifted(match: re.Match[str], days: Days | None) -> tuple[Days | None, str]:
    """`the week before 9 June 2023`, `two days after Christmas 2020`: from the prefix and the days it hangs on."""
    unit, word = match["bu"].lower(), match["bw"].lower()
    weekday = unit.rstrip("s").endswith("day") and _unit(unit) != "day"
    name = "week" if weekday else _unit(unit)
    kind = "day" if weekday else {"week": "week", "month": "month", "year": "year", "decade": "decade"}.get(name, "day")
    if days is None:
        return None, kind
    if word == "of":
        return days, kind
    sign = -1 if word.startswith(("before", "prior")) else 1
    try:
        if weekday:
            wanted = _weekday(unit)
            day = days[0] - ((days[0] - 2 - wanted) % 7 + 1) if sign < 0 else days[1] - 1 + ((wanted - (days[1] - 1 - 1) - 1) % 7 + 1)
            return _checked(day, day + 1), kind
        length = max(1, _DAYS_IN[name])
        if match["bn"] is None or name in ("weekend",):
            return (_checked(days[0] - length, days[0]) if sign < 0 else _checked(days[1], days[1] + length)), kind
        steps = _count(match["bn"]) * length
        half = {"week": 3, "month": 15, "year": 183}.get(kind, 0)
        centre = (days[0] if sign < 0 else days[1] - 1) + sign * steps
        return _checked(centre - half, centre + half + 1), kind
    except (ValueError, OverflowError):
        return None, kind


def _event(text: str, match: re.Match[str], end: int) -> list[TimeExpression]:
    """`two weeks before the wedding`: the offset, and the event's words; nothing where no words follow, or for `the day of …`."""
    words = _EVENT.match(text, end)
    phrase = " ".join(words.group().split()[:8]) if words else ""
    if not phrase or match["bw"].lower() == "of":
        return []
    unit = match["bu"].lower()
    weekday = unit.rstrip("s").endswith("day") and _unit(unit) != "day"
    days = (_count(match["bn"]) if match["bn"] else 1) * (7 if weekday else _DAYS_IN[_unit(unit)])
    sign = -1 if match["bw"].lower().startswith(("before", "prior")) else 1
    return [TimeExpression(None, None, (match.start(), end + len(words.group().rstrip()) if words else end), "event", sign * days, phrase)]


# -- what joins expressions --
def _related(text: str, found: list[TimeExpression]) -> list[TimeExpression]:
    """Explicit ranges (`from May to July 2023`) joined; `before`, `after`, `since` and `until` opened."""
    out: list[TimeExpression] = []
    for time in found:
        if time.start is None or time.end is None:
            out.append(time)
            continue
        relation = _RELATION.search(text, max(0, time.span[0] - 24), time.span[0])
        word = relation[1].lower() if relation else text[time.span[0] : time.span[1]].split(maxsplit=1)[0].lower()
        last = out[-1] if out else None
        if last and last.start is not None and last.start < time.end and _JOIN.fullmatch(text, last.span[1], time.span[0]):
            before = _RELATION.search(text, max(0, last.span[0] - 24), last.span[0])
            inside = text[last.span[0] : last.span[1]].split(maxsplit=1)[0].lower()
            if (before and before[1].lower() in ("from", "between")) or inside in ("from", "between") or "-" in text[last.span[1] : time.span[0]]:
                out[-1] = TimeExpression(last.start, time.end, (last.span[0], time.span[1]), "range")
                continue
        if word in ("before", "prior", "prior to", "until", "till"):
            time = replace(time, start=EARLIEST, end=time.start if word in ("before", "prior", "prior to") else time.end, kind="range")
        elif word in ("after", "since", "following"):
            time = replace(time, start=time.end if word != "since" else time.start, end=LATEST, kind="range")
        out.append(time)
    return out


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    """The span of a match without its white space at the end."""
    return match.start(), match.end() - (len(match.group()) - len(match.group().rstrip()))


def _filler(text: str) -> bool:
    return text.strip().lower() in ("", "the", "on", "of")


# -- calendar --
def _micros(ordinal: int) -> int:
    return (ordinal - _EPOCH) * DAY


def _checked(start: int, end: int) -> Days:
    if not 1 <= start < end <= _LAST_DAY:
        raise OverflowError("beyond the calendar")
    return start, end


def _ordinal(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal()


def _day(year: int, month: int, day: int) -> Days:
    start = _ordinal(year, month, day)
    return _checked(start, start + 1)


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1


def _weekday(name: str) -> int:
    return _WEEKDAYS.index(name[:3].lower())


def _unit(name: str) -> str:
    return name.lower().rstrip("s")


def _count(words: str) -> int:
    last = words.lower().replace(" of", "").split()[-1]
    return int(last) if last.isdigit() else _COUNTS[last]


def _month_days(year: int, month: int) -> Days:
    return _checked(_ordinal(year, month, 1), _ordinal(year + month // 12, month % 12 + 1, 1))


def _season_days(year: int, name: str) -> Days:
    first = _SEASONS[name]
    return _checked(_ordinal(year, first, 1), _ordinal(year + (first == 12), first % 12 + 3, 1))


def _years_of(year: int, month: int) -> list[Days]:
    return [_month_days(year + step, month) for step in (-1, 0, 1, 2)]


def _latest_month(today: int, month: int, include_now: bool) -> Days:
    """The latest such month that has begun, or, without `include_now`, that is over."""
    now = date.fromordinal(today)
    past = month < now.month or (include_now and month == now.month)
    return _month_days(now.year if past else now.year - 1, month)


def _nearest_day(today: int, month: int, day: int) -> Days:
    year = date.fromordinal(today).year
    days = []
    for candidate in (year - 1, year, year + 1):
        try:
            days.append(_ordinal(candidate, month, day))
        except ValueError:
            continue  # 29 February
    best = min(days, key=lambda d: abs(d - today))
    return best, best + 1
