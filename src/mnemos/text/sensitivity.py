"""What in a text is not for everybody: e-mail addresses, numbers, keys, passwords, places, dates of birth and names, found and redacted.

Detectors are pluggable: one per kind, in `DETECTORS`; a caller's own goes into a dict beside them. Each reads the text once, in time that is
linear in its length; digits and punctuation of every script count as their ASCII forms, and invisible characters as not there.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from mnemos.base.errors import Invalid, shown
from mnemos.text.detectors.contacts import Email, IpAddress
from mnemos.text.detectors.folding import Folded
from mnemos.text.detectors.identities import NationalId
from mnemos.text.detectors.keys import Key
from mnemos.text.detectors.passwords import Password
from mnemos.text.detectors.payments import Card, Iban
from mnemos.text.detectors.persons import BirthDate, Names
from mnemos.text.detectors.phones import Phone
from mnemos.text.detectors.places import Address
from mnemos.text.detectors.span import Detector, Label, Span

__all__ = ["DETECTORS", "KINDS", "Detector", "Label", "Redactor", "Span", "detect", "label_of", "redact"]

DETECTORS: dict[str, Detector] = {
    detector.kind: detector
    for detector in (Email(), Phone(), Card(), Iban(), Key(), Password(), NationalId(), BirthDate(), Address(), IpAddress())
}  # fmt: skip
"""The detectors by kind. Names are found where the caller lists them."""

KINDS = (*DETECTORS, Names.kind)

LEAST = 0.5
"""Confidence from which on a span counts, 0 to 1: below it stand forms that more other strings have than sensitive ones."""


def detect(
    text: str,
    *,
    kinds: Collection[str] | None = None,
    names: Collection[str] = (),
    least: float = LEAST,
    detectors: Mapping[str, Detector] = DETECTORS,
) -> list[Span]:
    """The sensitive spans of `text`, in order, none overlapping another: of those that do, the surest stays, then the longest.

    `kinds` are those wanted (None: all); `names` are names to find; `least` the confidence to reach. Raises `Invalid` for an unknown kind.
    """
    return Redactor(kinds=kinds, names=names, least=least, detectors=detectors, label=Label.PUBLIC).spans(text)


def label_of(text: str, *, names: Collection[str] = (), least: float = LEAST) -> Label:
    """The highest label of anything in the text; public where there is nothing."""
    return max((span.label for span in detect(text, names=names, least=least)), default=Label.PUBLIC)


def redact(
    text: str,
    *,
    kinds: Collection[str] | None = None,
    label: Label | str = Label.INTERNAL,
    names: Collection[str] = (),
    least: float = LEAST,
) -> str:
    """The text with a mark such as `[email]` or `[card]` in place of each span of these `kinds` (None: all) whose label is `label` or higher.

    Redacting again changes nothing. Raises `Invalid` for an unknown kind or label.
    """
    return Redactor(kinds=kinds, label=Label.of(label), names=names, least=least).redact(text)


@dataclass(frozen=True)
class Redactor:
    """What to redact, made once and used for many texts.

    `kinds`: which (None: all). `label`: from which label on. `names`: names to find. `least`: the confidence to reach, 0 to 1.
    """

    kinds: Collection[str] | None = None
    label: Label = Label.INTERNAL
    names: Collection[str] = ()
    least: float = LEAST
    detectors: Mapping[str, Detector] = field(default_factory=lambda: DETECTORS)
    _used: tuple[Detector, ...] = field(init=False, repr=False, compare=False, default=())
    _marks: re.Pattern[str] = field(init=False, repr=False, compare=False, default=re.compile(""))

    def __post_init__(self) -> None:
        known = (*self.detectors, Names.kind)
        if isinstance(self.kinds, str) or (unknown := [kind for kind in self.kinds or () if kind not in known]):
            raise Invalid(f"kinds: {shown(self.kinds if isinstance(self.kinds, str) else unknown[0])} is none of {', '.join(known)}; give a list")
        if isinstance(self.least, bool) or not isinstance(self.least, (int, float)) or not 0 <= self.least <= 1:
            raise Invalid(f"least: {shown(self.least)} is no confidence; give a number from 0 to 1")
        object.__setattr__(self, "label", Label.of(self.label))
        used = [detector for kind, detector in self.detectors.items() if self.kinds is None or kind in self.kinds]
        if self.names and (self.kinds is None or Names.kind in self.kinds):
            used.append(Names(self.names))
        object.__setattr__(self, "_used", tuple(used))
        object.__setattr__(self, "_marks", re.compile("|".join(re.escape(f"[{kind}]") for kind in known)))

    def spans(self, text: str) -> list[Span]:
        """The spans to redact, in order, none overlapping another: of those that do, the surest stays, then the longest."""
        kept: list[Span] = []
        for span in sorted(self._found(text), key=lambda span: (-span.confidence, span.start - span.end, span.start)):
            at = bisect_left(kept, span.start, key=lambda other: other.start)
            if (at == 0 or kept[at - 1].end <= span.start) and (at == len(kept) or span.end <= kept[at].start):
                kept.insert(at, span)
        return kept

    def redact(self, text: str) -> str:
        """The text with a mark in place of each span; what overlaps a span goes with it. Redacting again changes nothing."""
        return self.redacted(text)[0]

    def redacted(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """(the text with its marks, the (kind, string) that each mark stands for)."""
        gone: list[tuple[str, str]] = []
        while stretches := self._stretches(text):
            pieces, end = [], 0
            for kind, start, stop in stretches:
                pieces += [text[end:start], f"[{kind}]"]
                gone.append((kind, text[start:stop]))
                end = stop
            text = "".join([*pieces, text[end:]])
        return text, gone

    def _found(self, text: str) -> list[Span]:
        """What the detectors find, with places in `text` itself."""
        if not isinstance(text, str):
            raise Invalid(f"text: expected text, not {type(text).__name__}")
        folded = Folded(text)
        spans = []
        for detector in self._used:
            for span in detector.find(folded):
                if span.confidence >= self.least and span.label >= self.label:
                    start, end = folded.span(span.start, span.end)
                    spans.append(replace(span, start=start, end=end))
        marks = {place for mark in self._marks.finditer(text) for place in range(mark.start(), mark.end())} if spans else ()
        return [span for span in spans if not (span.start in marks and all(place in marks for place in range(span.start, span.end)))]

    def _stretches(self, text: str) -> list[tuple[str, int, int]]:
        """(kind of the surest, start, end) of each stretch that overlapping spans, and the marks that they touch, cover together."""
        spans = self._found(text)
        marks = [(mark.start(), mark.end(), -1.0, "") for mark in self._marks.finditer(text)] if spans else []
        merged: list[tuple[int, int, float, str]] = []
        for start, end, confidence, kind in sorted([*((span.start, span.end, span.confidence, span.kind) for span in spans), *marks]):
            if merged and start < merged[-1][1]:
                first, last, surest, name = merged[-1]
                merged[-1] = (first, max(last, end), *max((surest, name), (confidence, kind)))
            else:
                merged.append((start, end, confidence, kind))
        return [(kind, start, end) for start, end, _, kind in merged if kind]
