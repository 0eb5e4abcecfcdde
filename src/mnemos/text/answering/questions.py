"""What a question asks for: a person, a time, a place, a number, a choice, yes or no, or a thing of some sort. English."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mnemos.index.terms import STOP_WORDS, fold, words
from mnemos.text.agreement.words import AUXILIARIES, FORMS, OCCUPATIONS, word_set
from mnemos.text.answering.senses import sense
from mnemos.text.name_words import CLASS_OF, COMMON, KIN

KINDS = ("who", "when", "where", "number", "duration", "amount", "choice", "yes-no", "reason", "thing")

_WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
_WHEN_NOUNS = word_set("date year month day time birthday century decade season era")
_WHERE_NOUNS = word_set(
    "city country state place town location county district province region continent island village nationality birthplace capital"
)
_WHO_NOUNS = OCCUPATIONS | word_set(
    "person actor actress singer author director composer player president king queen name people artist writer company band team"
)
_OR = re.compile(
    r"(?:[,:;]|\b(?:is|are|was|were|does|did|do|first|earlier|later|older|younger|between|than)\s(?!I\b)(?=[A-Z\"']))\s*([^,;:]{2,80}?)\s*,?\s+or\s+([^;?]{2,80}?)\s*\?*\s*$"
)
_BOTH = re.compile(
    r"\b(?:both|do|does|did|are|is|were|was|of)\s+(?:the\s+)?(.{2,90}?)\s+and\s+((?:the\s+)?(?:(?:director|producer|author)s?\s+of\s+(?:the\s+)?(?:films?\s+)?)?.{2,90}?)(?:\s+(?:both|have|has|are|is|were|was|share|from|of|located|in|the|a|an"
    r"|films?|born|known|considered|endemic|American|British)\b|\?|$)", re.I
)
_LEADING = re.compile(
    r"^(?:(?:the(?=\s(?:both|film|movie|director|song|magazine))|both|films?|movies?|magazines?|songs?|(?:director|producer|author|composer)s?\s+of)"
    r"\s+)+", re.I,
)  # fmt: skip
_SORTS = word_set("kind kinds type types sort sorts name names")
_EMPTY = word_set("name type kind sort many much long often far old tall big first last did does do was were is are go get happen")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, taken apart."""

    text: str
    kind: str
    """One of `KINDS`."""
    focus: str
    """The noun asked for (`which film`: film), folded; empty where there is none."""
    terms: dict[int, float]
    """Terms of the telling words, with weights: names count 1.5 times, verbs of little meaning half."""
    low: str
    """The folded question."""
    options: tuple[str, ...] = ()
    """With kinds `choice` and `yes-no`: what is compared, as written."""
    verb: int = 0
    """Term of the main verb; 0 where none is known."""
    several: bool = False
    """Whether it asks for several things (`which cities`, `what are …`)."""


def ask(text: str) -> Asked:
    """Takes a question apart. Any text is a question: what none of the rules knows asks for a thing."""
    found = [match.group() for match in _WORD.finditer(text)]
    lows = [fold(word) for word in found]
    kind, focus = _kind(lows)
    options: tuple[str, ...] = ()
    chosen = _OR.search(text)
    if chosen is not None and kind in ("thing", "who", "yes-no"):
        kind, options = "choice", (_option(chosen[1]), _option(chosen[2]))
    elif kind == "yes-no" and (both := _BOTH.search(text)):
        options = _option(both[1]), _option(both[2])
    terms: dict[int, float] = {}
    for at, (word, low) in enumerate(zip(found, lows, strict=True)):
        if low in STOP_WORDS or low in _EMPTY or low in AUXILIARIES:
            continue
        weight = 1.5 if word[:1].isupper() and at else 0.6 if low in COMMON else 1.0
        for part in words(word):
            terms[sense(part)] = max(weight, terms.get(sense(part), 0.0))
    verbs = [low for low in lows if (low in FORMS or low.endswith("ed")) and low not in AUXILIARIES]
    several = kind in ("thing", "who", "where") and ((focus.endswith("s") and not focus.endswith("ss")) or "are" in lows[:3] or focus == "people")
    return Asked(text, kind, focus, terms, " ".join(lows), options, sense(verbs[-1]) if verbs else 0, several)


def _option(text: str) -> str:
    return _LEADING.sub("", text.strip(" ,\"'")).strip()


def _kind(lows: list[str]) -> tuple[str, str]:
    for at, low in enumerate(lows):
        following = lows[at + 1] if at + 1 < len(lows) else ""
        if low in ("who", "whom", "whose", "who's"):
            return "who", ""
        if low == "when":
            return "when", ""
        if low in ("where", "where's"):
            return "where", ""
        if low == "why":
            return "reason", ""
        if low == "how":
            if following == "many":
                return "number", lows[at + 2] if at + 2 < len(lows) else ""
            if following in ("long", "old"):
                return "duration", ""
            if following in ("much", "tall", "far", "big", "high", "large", "often", "fast", "deep", "wide", "heavy"):
                return "amount", ""
            return "reason", ""
        if low in ("what", "which", "what's"):
            focus = _focus(lows[at + 1 :])
            if focus in _WHEN_NOUNS:
                return "when", focus
            if focus in _WHERE_NOUNS:
                return "where", focus
            if focus in _WHO_NOUNS or focus in KIN:
                return "who", focus
            return "number" if focus in ("number", "percentage", "population") else "thing", focus
    return ("yes-no" if lows and lows[0] in AUXILIARIES else "thing"), ""


def _focus(lows: list[str]) -> str:
    """The noun that `what` or `which` asks for: the last one before the verb, or after `is the`."""
    if lows and lows[0] in AUXILIARIES | {"'s"}:
        lows = lows[1:]
        while lows and lows[0] in ("the", "a", "an", "his", "her", "my", "your", "their"):
            lows = lows[1:]
    nouns: list[str] = []
    for low in lows[:6]:
        if low == "of" and nouns[-1:] and nouns[-1] in _SORTS:
            continue
        if low in AUXILIARIES or (low in STOP_WORDS and nouns) or (nouns and low in FORMS and low not in CLASS_OF):
            break
        if low not in STOP_WORDS:
            nouns.append(low)
    return next((noun for noun in reversed(nouns) if noun not in _SORTS), nouns[-1] if nouns else "")
