"""Words of a column as small integers."""

from __future__ import annotations

from collections.abc import Iterable


class Codes:
    """Words as small integers, in order of first appearance; None is -1."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str | None, int] = {None: -1}

    def encode(self, words: Iterable[str | None]) -> list[int]:
        numbers = self._numbers
        out = []
        for word in words:
            number = numbers.get(word)
            if number is None:
                number = numbers[word] = len(self.words)
                assert word is not None
                self.words.append(word)
            out.append(number)
        return out

    def number(self, word: str) -> int | None:
        return self._numbers.get(word)
