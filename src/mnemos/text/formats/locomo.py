"""LoCoMo: very long dated conversations of two people (Maharana et al. 2024, "Evaluating Very Long-Term Conversational Memory")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mnemos.text.formats.record import Notice, Place, Record, shown, turn, utc, warn
from mnemos.text.formats.source import elements

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
TURN_STEP = timedelta(seconds=1)
_SESSION = re.compile(r"session_([1-9]\d{0,5})")
_TIME = re.compile(r"\s*(\d{1,2}):(\d{2})\s*([ap])\.?m\.?\s+on\s+(\d{1,2})\s+([a-z]{3})[a-z]*\.?,?\s+(\d{4})\s*", re.IGNORECASE | re.ASCII)


def read_locomo(path: Path, *, notice: Notice = warn) -> Iterator[Record]:
    """The turns of every sample, in the samples' order; `space` is the sample's id. Labels, summaries and observations are not read."""
    for place, sample in elements(path, notice=notice):
        yield from sample_records(sample, place)


def sample_records(sample: object, place: Place) -> Iterator[Record]:
    """The turns of one sample, session by session.

    The source is the turn's `dia_id`, `metadata` {"session": N}. A picture's caption is text: "… [image: a red door]". A turn's time is
    its session's, one second on per turn, so that the order is kept. Raises `Invalid`."""
    whole = place.mapping(sample, "the sample")
    conversation = place.mapping(whole.get("conversation", whole), "conversation")
    space = place.label(whole.get("sample_id"), "sample_id")
    numbers = sorted(int(found.group(1)) for key in conversation if (found := _SESSION.fullmatch(key)))
    if not numbers:
        raise place.invalid("the sample has no session_1", "give the JSON file of LoCoMo as it was published")
    for number in numbers:
        here = place.at(f"session_{number}")
        start = session_time(conversation.get(f"session_{number}_date_time"), here)
        for index, item in enumerate(here.sequence(conversation[f"session_{number}"], "the session")):
            spot = here.at(f"turn {index + 1}")
            yield from _turn(spot.mapping(item, "the turn"), spot, start + index * TURN_STEP, space, number)


def _turn(item: dict[str, Any], place: Place, moment: datetime, space: str | None, session: int) -> Iterator[Record]:
    speaker, source = place.label(item.get("speaker"), "speaker"), place.label(item.get("dia_id"), "dia_id")
    if speaker is None or source is None:
        raise place.invalid("the turn has no speaker or no dia_id", "give the JSON file of LoCoMo as it was published")
    text, caption = place.text(item.get("text", ""), "text"), place.label(item.get("blip_caption"), "blip_caption")
    text = f"{text} [image: {caption}]".lstrip() if caption else text
    if not text.strip():
        place.say("the turn says nothing, left out")
        return
    yield turn(text, author=speaker, event_at=moment, source=source, metadata={"session": session}, space=space)


def session_time(value: object, place: Place) -> datetime:
    """The time (UTC) that "1:56 pm on 8 May, 2023" names. Raises `Invalid`."""
    text = place.text(value, "the session's date_time")
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not of the form 1:56 pm on 8 May, 2023")
        hour, minute, half, day, month, year = found.groups()
        if not 1 <= int(hour) <= 12:
            raise ValueError("the hour is not 1 to 12")
        hours = int(hour) % 12 + 12 * (half.lower() == "p")
        moment = utc(datetime(int(year), MONTHS.index(month.lower()) + 1, int(day), hours, int(minute)))
    except ValueError as error:
        raise place.invalid(f"the date_time {shown(text)} cannot be read ({error})", 'write it as "1:56 pm on 8 May, 2023"') from error
    return moment
