"""Time, passed in and never read behind one's back. Stored as whole microseconds since 1970 in UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from mnemos.base.errors import Invalid, shown

Clock = Callable[[], int]
"""A clock gives the time now, in microseconds since 1970-01-01 UTC."""

Moment = datetime | date | str
"""What callers may give for a time: a datetime (naive means UTC), a date (its midnight in UTC) or ISO 8601 text."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = 64  # characters of a written time; Python would read a megabyte of digits as one
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
"""Years 1 to 9999 in UTC: what a datetime can say."""


def system_clock() -> int:
    """The machine's clock, in microseconds since 1970."""
    return time.time_ns() // 1000


def to_micros(moment: Moment | None, field: str = "time") -> int | None:
    """Microseconds since 1970 for `moment`; None stays None. Raises `Invalid`, naming `field`, where it is no time."""
    if moment is None:
        return None
    if isinstance(moment, str):
        try:
            if len(moment) > _LONGEST:
                raise ValueError
            moment = datetime.fromisoformat(moment.strip())
        except ValueError:
            raise Invalid(f"{field}: {shown(moment)} is no ISO 8601 time; write it like 2023-05-08T13:56:00+00:00") from None
    if isinstance(moment, datetime):
        aware = moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)
        micros = (aware - EPOCH) // _MICROSECOND
        if not EARLIEST <= micros <= LATEST:
            raise Invalid(f"{field}: {moment.isoformat()} lies outside the years 1 to 9999 in UTC")
        return micros
    if isinstance(moment, date):
        return (datetime(moment.year, moment.month, moment.day, tzinfo=UTC) - EPOCH) // _MICROSECOND
    raise Invalid(f"{field}: expected a datetime, a date or ISO 8601 text, not {type(moment).__name__}")


def from_micros(micros: int) -> datetime:
    """The UTC datetime of `micros` microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


def optional_datetime(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def iso(micros: int | None) -> str | None:
    """ISO 8601 text in UTC for `micros`, or None."""
    return None if micros is None else from_micros(micros).isoformat()
