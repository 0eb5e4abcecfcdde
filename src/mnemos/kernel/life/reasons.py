"""Why something was done: the log keeps it for good, so it must not keep a piece of a memory with it."""

from __future__ import annotations

from collections.abc import Iterable

from mnemos.base.cube import Content, check_word
from mnemos.base.errors import Invalid

_REPEATED = 8  # bytes in a row; shorter ones are in many texts


def check_reason(reason: object) -> str | None:
    """A reason that may be kept; an empty one is none."""
    return check_word(reason, "reason") or None


def refuse_repetition(reason: str | None, texts: Iterable[str], strings: Iterable[str]) -> None:
    """Raise `Invalid` where a reason repeats a piece of one of `texts`, or one of `strings` (an author, a source, a tag) whole."""
    if not reason:
        return
    said = reason.encode()
    if any(len(word.encode()) >= _REPEATED and word in reason for word in strings):
        raise Invalid("reason: repeats an author, source or tag of the memory, and would keep it in the log; say why in other words")
    for text in texts:
        data = text.encode()
        if any(said[i : i + _REPEATED] in data for i in range(len(said) - _REPEATED + 1)):
            raise Invalid("reason: repeats a piece of the memory's text, and would keep it in the log; say why in other words")


def strings_of(content: Content) -> list[str]:
    """What else than its text a version says in words."""
    words = (content.author, content.source, content.place, content.sensitivity, *content.tags, *content.entities)
    return [word for word in words if word]
