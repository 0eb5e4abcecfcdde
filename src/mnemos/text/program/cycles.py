"""Breaking cycles: a worker that repeats itself is asked at a higher temperature (L2MAC, appendix on the control unit)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LENGTHS = (2, 3, 4)
RAISE, DECAY, HIGHEST = 0.4, 0.1, 1.0
_PATHS = re.compile(r"(?:/[\w.@+-]+)*/(?:tmp|temp|var/folders|private/tmp)(?:/[\w.@+-]+)*/?", re.I)
_TIMES = re.compile(r"\b\d+(?:\.\d+)?\s?(?:s|ms|seconds?)\b")


def trace(text: str) -> str:
    """What tells messages apart for finding cycles: a digest without temporary paths, durations and the form of white space."""
    plain = " ".join(_TIMES.sub("…", _PATHS.sub("…", text)).split())
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:16]


def repeats(traces: Sequence[str]) -> bool:
    """Whether the last 2, 3 or 4 messages equal those just before them."""
    return any(len(traces) >= 2 * n and list(traces[-n:]) == list(traces[-2 * n : -n]) for n in LENGTHS)


def next_temperature(temperature: float, traces: Sequence[str]) -> float:
    """The temperature of the next call: 0.4 more, up to 1, in a cycle, else 0.1 less, down to 0."""
    if repeats(traces):
        return min(HIGHEST, round(temperature + RAISE, 6))
    return max(0.0, round(temperature - DECAY, 6))
