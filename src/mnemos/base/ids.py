"""Identifiers: UUID version 7 (RFC 9562), 128 bits that sort by time of creation."""

from __future__ import annotations

import os
import threading
import uuid

from mnemos.base.errors import Invalid, shown

_COUNTER_BITS = 12 + 14
_RANDOM_BITS = 74 - _COUNTER_BITS


class IdSource:
    """Makes UUIDv7s that increase strictly within a process, even within one microsecond or when the clock steps back.

    The 74 bits after the timestamp are a counter of 26 bits, started at random in every millisecond, and 48 random bits
    (RFC 9562, section 6.2, method 1).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millis = 0
        self._counter = 0

    def new(self, micros: int) -> uuid.UUID:
        """A new id for the time `micros` (microseconds since 1970)."""
        noise = int.from_bytes(os.urandom(10), "big")
        with self._lock:
            millis = micros // 1000
            if millis > self._millis:
                self._millis = millis
                self._counter = noise >> (80 - _COUNTER_BITS + 1)
            else:
                self._counter += 1
                if self._counter >> _COUNTER_BITS:
                    self._millis += 1
                    self._counter = 0
            millis, counter = self._millis, self._counter
        low = counter << _RANDOM_BITS | noise & ((1 << _RANDOM_BITS) - 1)
        value = (millis & (1 << 48) - 1) << 80 | 7 << 76 | (low >> 62 & 0xFFF) << 64 | 0b10 << 62 | low & (1 << 62) - 1
        return uuid.UUID(int=value)


def parse_id(text: str | uuid.UUID, field: str = "id") -> uuid.UUID:
    """The UUID that `text` spells. Raises `Invalid` where it spells none."""
    if isinstance(text, uuid.UUID):
        return text
    try:
        return uuid.UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise Invalid(f"{field}: {shown(text)} is no cube id; ids are UUIDs such as 01890a5d-ac96-774b-bcce-b302099a8057") from None
