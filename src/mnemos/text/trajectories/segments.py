"""Cutting a trajectory into groups of steps: by rules, or at the points that a judge names (ReMe, arXiv 2512.10696, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from mnemos.text.trajectories.trajectory import Trajectory

CONTEXT_STEPS = 2
"""Steps on both sides that are shown with a segment, each cut to `CONTEXT_CHARACTERS` (the paper's)."""
CONTEXT_CHARACTERS = 100
_ARRAY = re.compile(r"\[[\s\d,]*\]")
_INTEGER = re.compile(r"(?<![\w.-])\d+(?![\w.])")


def boundaries(messages: Iterable[Mapping[str, Any]]) -> list[int]:
    """Where groups of steps end, without a model: 1-based numbers of the last message of each.

    A group ends before a user speaks again, and after the results of calls where the next message says something and calls no tool that the
    group has called: a sub-task is done, or the focus changes. Calls that follow each other without a word stay together.
    """
    steps = list(messages)
    ends: list[int] = []
    called: set[str] = set()
    for number, message in enumerate(steps):
        names = {call["function"]["name"] for call in message.get("tool_calls") or ()}
        after_results = number > 0 and steps[number - 1]["role"] == "tool" and message["role"] != "tool"
        again = number > 0 and message["role"] == "user" and any(step["role"] != "system" for step in steps[:number])
        if again or (after_results and message.get("content") and not names & called):
            ends.append(number)
            called = set()
        called |= names
    return cleaned(ends, len(steps))


def read_points(said: str, length: int) -> list[int]:
    """The end points in a judge's answer: a JSON list or object with one, or else any whole numbers in it; cleaned."""
    for candidate in [said, *_ARRAY.findall(said)]:
        try:
            value = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            value = next((held for held in value.values() if isinstance(held, list)), None)
        if isinstance(value, list):
            return cleaned([point for point in value if isinstance(point, int) and not isinstance(point, bool)], length)
    return cleaned(map(int, _INTEGER.findall(said)[:1000]), length)


def cleaned(points: Iterable[int], length: int) -> list[int]:
    """Sorted, each once, within 1 to `length`, with the end itself: no valid point means one segment."""
    if length == 0:
        return []
    return sorted({point for point in points if 1 <= point <= length} | {length})


def segments(trajectory: Trajectory, points: Iterable[int] | None = None) -> list[Trajectory]:
    """The trajectory cut after the messages numbered `points` (None: `boundaries`); each has the whole one's task and reward."""
    length = len(trajectory.messages)
    ends = boundaries(trajectory.messages) if points is None else cleaned(points, length)
    starts = [0, *ends[:-1]]
    return [replace(trajectory, messages=trajectory.messages[start:end]) for start, end in zip(starts, ends, strict=True)]


def around(trajectory: Trajectory, start: int, end: int) -> tuple[list[str], list[str]]:
    """What stands next to the messages `start` to `end` (0-based, end excluded): up to two steps before and after, cut short."""
    before = trajectory.messages[max(0, start - CONTEXT_STEPS) : start]
    after = trajectory.messages[end : end + CONTEXT_STEPS]
    return [short(message) for message in before], [short(message) for message in after]


def short(message: Mapping[str, Any], limit: int = CONTEXT_CHARACTERS) -> str:
    """A message in one line of at most `limit` characters."""
    calls = [f"{call['function']['name']}({call['function'].get('arguments', '')})" for call in message.get("tool_calls") or ()]
    text = " ".join(" ".join([message.get("content") or "", *calls]).split())
    line = f"{message['role']}: {text}"
    return line if len(line) <= limit else line[: limit - 1] + "…"
