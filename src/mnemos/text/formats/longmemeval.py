"""LongMemEval: questions about a user's past chats with an assistant (Wu et al. 2025, "LongMemEval")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, shown, turn, utc, warn
from mnemos.text.formats.source import elements

TURN_STEP = timedelta(seconds=1)
_DATE = re.compile(r"\s*(\d{4})/(\d{1,2})/(\d{1,2})\s*(?:\([A-Za-z]+\))?\s*(?:(\d{1,2}):(\d{2}))?\s*", re.ASCII)


def read_longmemeval(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """The turns of every question's history, each history in a `space` of its own. Questions, answers and labels are not read."""
    for place, question in elements(path, notice=notice):
        yield from question_records(question, place)


def space_name(question_id: str) -> str:
    """A name for the space of a question that tells nothing of it: its id says whether the question can be answered."""
    return f"lme-{hashlib.sha256(question_id.encode(errors='surrogatepass')).hexdigest()[:16]}"


def question_records(question: object, place: Place) -> Iterator[Record]:
    """The turns of one question's history, in the order of `session_order`.

    Sessions are keyed anew, since their ids give the evidence away: the source is "s<session>:<turn>", both counted from 1, the session
    in order of time. The author is the role, `metadata` {"session": N}; a turn's time is its session's, one second on per turn. A turn
    that says nothing is left out, with a notice, and keeps its number. Raises `Invalid`."""
    whole = place.mapping(question, "the question")
    sessions = place.sequence(whole.get("haystack_sessions"), "haystack_sessions")
    space = space_name(str(whole.get("question_id", "")))
    for number, (index, start) in enumerate(session_order(whole, place), 1):
        here = place.at(f"haystack_sessions[{index}]")
        for position, item in enumerate(here.sequence(sessions[index], "the session")):
            spot = here.at(f"turn {position + 1}")
            message = spot.mapping(item, "the turn")
            role, text = spot.label(message.get("role"), "role"), spot.text(message.get("content"), "content")
            if role is None:
                raise spot.invalid("the turn has no role", "give the JSON file of LongMemEval as it was published")
            if not text.strip():
                spot.say("the turn says nothing, left out")
                continue
            source, moment = f"s{number}:{position + 1}", start + position * TURN_STEP
            yield turn(text, author=role, event_at=moment, source=source, metadata={"session": number}, space=space)


def session_order(question: dict[str, Any], place: Place) -> list[tuple[int, datetime]]:
    """The place of each session in the file's lists, and its date, in order of time: session N of the records is element N - 1 of this
    list. A scorer maps labels through it. Raises `Invalid`."""
    sessions = place.sequence(question.get("haystack_sessions"), "haystack_sessions")
    dates = place.sequence(question.get("haystack_dates"), "haystack_dates")
    if len(sessions) != len(dates):
        raise place.invalid(f"{len(sessions)} haystack_sessions have {len(dates)} haystack_dates", "give each session one date")
    moments = [session_date(value, place.at(f"haystack_dates[{index}]")) for index, value in enumerate(dates)]
    return sorted(enumerate(moments), key=lambda pair: (pair[1], pair[0]))


def session_date(value: object, place: Place) -> datetime:
    """The time (UTC) that "2023/05/10 (Wed) 21:38" names. Raises `Invalid`."""
    text = place.text(value, "the date")
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not of the form 2023/05/10 (Wed) 21:38")
        year, month, day, hour, minute = (int(part or 0) for part in found.groups())
        moment = utc(datetime(year, month, day, hour, minute))
    except ValueError as error:
        raise place.invalid(f"the date {shown(text)} cannot be read ({error})", 'write it as "2023/05/10 (Wed) 21:38"') from error
    return moment
