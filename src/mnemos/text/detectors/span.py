"""What a detector is, and what it gives."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mnemos.base.errors import Invalid, shown
from mnemos.text.detectors.folding import Folded


class Label(enum.IntEnum):
    """How far a text may go: anybody, those who work here, whom it is about, nobody."""

    PUBLIC = 0
    INTERNAL = 1
    PERSONAL = 2
    SECRET = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str | Label) -> Label:
        """The label of that name. Raises `Invalid`."""
        if isinstance(word, Label):
            return word
        if not isinstance(word, str) or word.upper() not in cls.__members__:
            raise Invalid(f"label: {shown(word)} is none of {', '.join(label.word for label in cls)}")
        return cls[word.upper()]


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is sensitive. `confidence` (0 to 1) is the rule's own; `detail` says which form of its kind it has."""

    start: int
    end: int
    kind: str
    confidence: float
    label: Label
    detail: str = ""


class Detector(Protocol):
    """Finds the strings of one kind. Its time is linear in the text, whatever the text is."""

    @property
    def kind(self) -> str:
        """One word; its mark in a redacted text is `[kind]`."""
        ...

    def find(self, text: Folded) -> Iterator[Span]:
        """The spans in `text.text`, in any order; they may overlap."""
        ...
