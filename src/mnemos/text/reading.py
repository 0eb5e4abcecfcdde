"""What can be read off a text once, when it is written, so that no search has to read it again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from mnemos.text.time_expressions import find_times, mentions_time

READING_VERSION = 1
"""Changes when the same text gives another reading: stored readings of another version must be computed anew."""

MOST_MOMENTS = 32
"""Moments kept of one text, the first ones: a calendar pasted into a note shall not outweigh the note."""

_IMAGE = re.compile(r"\[(?:image|photo|picture|video)\b", re.I)
_TIME_WORDS = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|week|weekend|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday"
    r"|january|february|march|april|june|july|august|september|october|november|december|(?:19|20)\d\d|\d{1,2}(?:st|nd|rd|th)|summer|winter"
    r"|spring|fall|autumn|recently|morning|evening|night|days?)\b",
    re.I,
)
_FIRST_PERSON = re.compile(r"\b(?:i|my|we|our|me)\b", re.I)
_DIGIT = re.compile(r"\d")


class Flag(IntFlag):
    """Properties of a text that bear on how well it can answer."""

    ASKS = 1
    """Holds a question."""
    ENDS_ASKING = 2
    """Ends with a question: it hands the word over rather than tells."""
    TIME = 4
    """Holds words of time."""
    NUMBER = 8
    """Holds a digit."""
    IMAGE = 16
    """Holds an image's caption."""
    FIRST_PERSON = 32
    """Speaks of its author."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`flags`: bits of `Flag`. `moments`: int64 pairs, little-endian: start and end, microseconds since 1970, of times that the text names."""

    flags: int = 0
    moments: bytes = b""


def read(text: str, *, type: str = "turn", author: str | None = None, event_at: int | None = None) -> Reading:
    """Read `text`, said by `author` at `event_at` (microseconds since 1970 in UTC), from which "yesterday" is reckoned. Takes any text."""
    flags = Flag(0)
    if "?" in text:
        flags |= Flag.ASKS
        if text.rstrip().endswith("?"):
            flags |= Flag.ENDS_ASKING
    if "[" in text and _IMAGE.search(text):
        flags |= Flag.IMAGE
    if _DIGIT.search(text):
        flags |= Flag.NUMBER
    if _FIRST_PERSON.search(text):
        flags |= Flag.FIRST_PERSON
    if not mentions_time(text):
        return Reading(int(flags))
    if _TIME_WORDS.search(text):
        flags |= Flag.TIME
    moments = [(time.start, time.end) for time in find_times(text, event_at) if time.start is not None][:MOST_MOMENTS]
    return Reading(int(flags), np.array(moments, dtype="<i8").tobytes())
