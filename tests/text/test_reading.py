"""What is read off a text when it is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.clock import to_micros
from mnemos.text.reading import MOST_MOMENTS, Flag, read

AT = to_micros("2023-05-25T13:14:00")


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("Do you paint?", Flag.ASKS | Flag.ENDS_ASKING),
        ("Really? Great.", Flag.ASKS),
        ("I have 3 cats", Flag.FIRST_PERSON | Flag.NUMBER),
        ("Look! [image: a red barn]", Flag.IMAGE),
        ("See you tomorrow", Flag.TIME),
        ("", Flag(0)),
    ],
)
def test_flags(text: str, flags: Flag) -> None:
    assert Flag(read(text, event_at=AT).flags) == flags


def test_moments_are_reckoned_from_the_event() -> None:
    reading = read("I went yesterday, as in May 2022", event_at=AT)
    expected = [to_micros(day) for day in ("2023-05-24", "2023-05-25", "2022-05-01", "2022-06-01")]
    assert np.frombuffer(reading.moments, "<i8").tolist() == expected
    assert np.frombuffer(read("I went yesterday, as in May 2022").moments, "<i8").tolist() == expected[2:]


def test_moments_are_bounded() -> None:
    assert len(read("3 May 2023, " * 500).moments) == 16 * MOST_MOMENTS


@given(st.text(st.characters(codec=None)), st.none() | st.integers(-(2**63), 2**63 - 1))
def test_any_text_is_read(text: str, event_at: int | None) -> None:
    assert len(read(text, event_at=event_at).moments) % 16 == 0
