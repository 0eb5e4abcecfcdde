from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.clock import EARLIEST, LATEST, from_micros, iso, to_micros
from mnemos.base.errors import Invalid

_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])


@given(st.datetimes(timezones=_zones, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))
def test_a_time_comes_back_to_the_microsecond(moment: datetime) -> None:
    micros = to_micros(moment)
    assert micros is not None
    assert from_micros(micros) == moment
    assert to_micros(moment.isoformat()) == micros
    assert to_micros(iso(micros)) == micros


def test_naive_times_and_dates_are_utc() -> None:
    assert to_micros(datetime(2023, 5, 8, 13, 56)) == to_micros("2023-05-08T13:56:00+00:00") == to_micros("2023-05-08T14:56:00+01:00")
    assert to_micros(date(2023, 5, 8)) == to_micros("2023-05-08") == to_micros(datetime(2023, 5, 8, tzinfo=UTC))
    assert to_micros("1970-01-01") == 0
    assert to_micros(None) is None


class _NoOffset(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None:
        return None


def test_a_zone_without_an_offset_is_utc() -> None:
    assert to_micros(datetime(2023, 5, 8, tzinfo=_NoOffset())) == to_micros("2023-05-08")


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "yesterday", "2023-13-01", "2023-02-30", "\ud800", "1" * 6000, 5, 1.5, b"2023", [], True),
        *("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"),
    ],
)
def test_what_is_no_time_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(Invalid, match="event_at"):
        to_micros(wrong, "event_at")  # type: ignore[arg-type]


def test_every_accepted_time_can_be_shown() -> None:
    for micros in (EARLIEST, LATEST, 0, -1):
        assert to_micros(iso(micros)) == micros
