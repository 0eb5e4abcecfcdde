"""What a reader gives, and the place in a file that an error or a notice names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, datetime
from typing import Any

from mnemos.base.errors import Invalid

Record = dict[str, Any]
"""The keywords of `space.add` as keys: `text` and `type` always; `author`, `event_at` (aware datetime), `source`, `tags` (list of str),
`metadata` (JSON object) where the file knows them. One more key, `space`, names the space where a file holds several histories that
must not mix (LoCoMo, LongMemEval): take it out before calling `space.add`."""

Notice = Callable[[str], None]
"""Is told, in one sentence, of everything that a reader left out or had to repair."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def warn(message: str) -> None:
    """The notice used where the caller gives none: an ordinary Python warning."""
    warnings.warn(message, UserWarning, stacklevel=3)


@dataclass(frozen=True)
class Place:
    """A place in an input: `path`, and the line or element inside it. Checks values and says where they are wrong."""

    path: str
    element: str = ""
    notice: Notice = warn

    def __str__(self) -> str:
        return f"{self.path}, {self.element}" if self.element else self.path

    def at(self, element: str) -> Place:
        """A place further inside."""
        return replace(self, element=f"{self.element}, {element}" if self.element else element)

    def invalid(self, what: str, do: str) -> Invalid:
        """The error that names this place, what is wrong there and what the user can do."""
        return Invalid(f"{self}: {what}; {do}")

    def say(self, message: str) -> None:
        """Reports something left out or repaired here."""
        self.notice(f"{self}: {message}")

    def mapping(self, value: object, name: str) -> dict[str, Any]:
        """`value` as a JSON object. Raises `Invalid`."""
        if not isinstance(value, dict):
            raise self.invalid(f"{name} is {kind(value)}, not a JSON object", "correct it, or name the right format")
        return value

    def sequence(self, value: object, name: str) -> list[Any]:
        """`value` as a JSON array. Raises `Invalid`."""
        if not isinstance(value, list):
            raise self.invalid(f"{name} is {kind(value)}, not a JSON array", "correct it, or name the right format")
        return value

    def text(self, value: object, name: str) -> str:
        """`value` as a string that UTF-8 can hold: halves of surrogate pairs become U+FFFD, which is reported. Raises `Invalid`."""
        if not isinstance(value, str):
            raise self.invalid(f"{name} is {kind(value)}, not a string", "correct it, or name the right format")
        if _SURROGATE.search(value) is None:
            return value
        self.say(f"{name} holds half of a surrogate pair, which is no character; it was read as U+FFFD")
        return _SURROGATE.sub("\ufffd", value)

    def label(self, value: object, name: str) -> str | None:
        """A short name: `None` for null and "", the digits of a number, else as `text`. Raises `Invalid`."""
        if value is None or value == "":
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return self.text(value, name)

    def labels(self, value: object, name: str) -> list[str]:
        """A list of short names; one string is a list of one. Raises `Invalid`."""
        values = [value] if isinstance(value, str) else [] if value is None else self.sequence(value, name)
        found = [self.label(item, f"{name}[{number}]") for number, item in enumerate(values)]
        return [item for item in found if item is not None]

    def time(self, value: object, name: str) -> datetime | None:
        """A time in UTC from ISO 8601 text (without an offset: UTC) or from seconds since 1970; `None` for null. Raises `Invalid`."""
        if value is None or value == "":
            return None
        do = "write it as ISO 8601, such as 2025-01-12T19:04:00+00:00, or leave it out"
        try:
            if isinstance(value, str):
                return utc(datetime.fromisoformat(value.strip()))
            if isinstance(value, int | float) and not isinstance(value, bool):
                return utc(datetime.fromtimestamp(value, UTC))
        except (ValueError, OverflowError, OSError) as error:
            raise self.invalid(f"{name} {shown(value)} is no time that a calendar has", do) from error
        raise self.invalid(f"{name} is {kind(value)}, not a time", do)

    def json(self, value: object, name: str) -> Any:
        """A JSON value whose every string UTF-8 can hold (as `text`). Raises `Invalid` for one nested too deeply to walk."""
        try:
            return self._json(value, name)
        except RecursionError as error:
            raise self.invalid(f"{name} is nested too deeply", "flatten it") from error

    def _json(self, value: object, name: str) -> Any:
        if isinstance(value, str):
            return self.text(value, name)
        if isinstance(value, list):
            return [self._json(item, name) for item in value]
        if isinstance(value, dict):
            return {self.text(key, f"a key of {name}"): self._json(item, name) for key, item in value.items()}
        return value


def utc(moment: datetime) -> datetime:
    """The moment in UTC; one without an offset is taken as UTC. Raises `ValueError` in the calendar's last year, which leaves no room
    for the steps that keep turns in order."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment.year == MAXYEAR:
        raise ValueError("the year is the calendar's last")
    return moment


def kind(value: object) -> str:
    """The JSON name of a value's type, for messages."""
    names: Mapping[type, str] = {type(None): "missing", bool: "true or false", int: "a number", float: "a number", str: "a string",
                                 list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def shown(value: object, limit: int = 60) -> str:
    """A value as a message shows it: in quotes, and short."""
    try:
        text = ascii(value)
    except RecursionError:
        text = "a deeply nested value"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def turn(text: str, **fields: Any) -> Record:
    """A record of one conversation turn, without the fields that are `None` or empty."""
    return {"text": text, "type": "turn", **{key: value for key, value in fields.items() if value not in (None, [], {})}}
