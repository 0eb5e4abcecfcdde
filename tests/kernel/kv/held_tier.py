"""A tier of a scheduler that says what was dropped."""

from __future__ import annotations


class Held:
    name = "held"

    def __init__(self) -> None:
        self.dropped: list[object] = []

    def drop(self, key: object) -> None:
        self.dropped.append(key)
