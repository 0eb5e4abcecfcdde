from __future__ import annotations

import threading
import uuid

import pytest

from mnemos.base.errors import Invalid
from mnemos.base.ids import IdSource, parse_id


def test_ids_are_version_7_and_carry_the_time() -> None:
    made = IdSource().new(1_700_000_000_123_456)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_ids_rise_when_the_clock_stands_still_or_steps_back() -> None:
    source = IdSource()
    times = [5_000_000] * 2000 + [1_000] * 2000 + [6_000_000] * 10 + [0]
    made = [source.new(time) for time in times]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_the_counter_carries_over_into_the_next_millisecond() -> None:
    source = IdSource()
    source.new(7_000)
    source._counter = (1 << 26) - 2
    made = [source.new(7_000) for _ in range(4)]
    assert made == sorted(set(made))


def test_ids_of_many_threads_differ() -> None:
    source, made = IdSource(), []

    def work() -> None:
        mine = [source.new(1_000_000) for _ in range(500)]
        assert mine == sorted(mine)
        made.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000


@pytest.mark.parametrize(
    "wrong",
    ["", "x", None, 5, 10**5000, b"ab", "01890a5d-ac96-774b-bcce-b302099a805", "\ud800" * 40, ["a"], "'; DROP TABLE cube; --"],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_id_is_refused(wrong: object) -> None:
    with pytest.raises(Invalid, match="is no cube id"):
        parse_id(wrong)  # type: ignore[arg-type]


def test_ids_are_read_in_every_spelling() -> None:
    made = IdSource().new(1)
    assert parse_id(made) == parse_id(str(made)) == parse_id(str(made).upper()) == parse_id(made.hex)
