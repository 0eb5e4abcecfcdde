"""What can be read off a text once, when it is written, so that no search has to read it again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from mnemos.text.time_expressions import mentions_time, plain_case, times_at_cues

READING_VERSION = 1
"""Changes when the same text gives another reading: stored readings of another version must be computed anew."""

MOST_MOMENTS = 32
"""Moments kept of one text, the first ones: a calendar pasted into a note shall not outweigh the note."""

_WORD = re.compile(r"[a-z]+")
_IMAGE = re.compile(r"\[(?:image|photo|picture|video)\b", re.I)
_PERSON_WORDS = frozenset({"i", "my", "we", "our", "me"})
_FIRST_PERSON = re.compile(rf"\b(?:{'|'.join(sorted(_PERSON_WORDS))})\b", re.I)
_TIME_WORDS = frozenset(
    """yesterday today tonight tomorrow last next ago week weekend month year monday tuesday wednesday thursday friday saturday sunday january
    february march april june july august september october november december summer winter spring fall autumn recently morning evening night day
    days""".split()  # noqa: SIM905 (a list of words)
)
_OF_TIME = re.compile(rf"\b(?:{'|'.join(sorted(_TIME_WORDS))}|(?:19|20)\d\d|\d{{1,2}}(?:st|nd|rd|th))\b", re.I)
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
    VIEW = 64
    """Is a view of other memories (`base.lineage.VIEW_OF`). Said by its links, not by its text."""


_ASKS, _ENDS_ASKING, _TIME, _NUMBER, _IMAGE_FLAG, _FIRST_PERSON_FLAG, _ = (flag.value for flag in Flag)


@dataclass(frozen=True, slots=True)
class Reading:
    """`flags`: bits of `Flag`. `moments`: int64 pairs, little-endian: start and end, microseconds since 1970, of times that the text names."""

    flags: int = 0
    moments: bytes = b""


def read(text: str, *, type: str = "turn", author: str | None = None, event_at: int | None = None) -> Reading:
    """Read `text`, said by `author` at `event_at` (microseconds since 1970 in UTC), from which "yesterday" is reckoned. Takes any text."""
    flags = 0
    if "?" in text:
        flags |= _ASKS
        if text.rstrip().endswith("?"):
            flags |= _ENDS_ASKING
    if "[" in text and _IMAGE.search(text):
        flags |= _IMAGE_FLAG
    digit = _DIGIT.search(text) is not None
    if digit:
        flags |= _NUMBER
    # A text that lacks their words cannot match the patterns.
    words = frozenset(_WORD.findall(text.lower())) if plain_case(text) else None
    if (words is None or not words.isdisjoint(_PERSON_WORDS)) and _FIRST_PERSON.search(text):
        flags |= _FIRST_PERSON_FLAG
    if not mentions_time(text, words):
        return Reading(flags)
    if (words is None or digit or not words.isdisjoint(_TIME_WORDS)) and _OF_TIME.search(text):
        flags |= _TIME
    moments = [(time.start, time.end) for time in times_at_cues(text, event_at) if time.start is not None][:MOST_MOMENTS]
    return Reading(flags, np.array(moments, dtype="<i8").tobytes() if moments else b"")
