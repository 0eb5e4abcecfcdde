"""What a later memory adds to the description of an earlier one, and what it may not.

Source: A-MEM, arXiv 2502.12110, section 3.3. Without a model, a memory that says what a name means tells those that bear the name.
An evolved note draws on the words of another memory, so it names it as a source and is forgotten with it; it therefore draws on few, and only
where that adds something. Who is less trusted rewrites nothing, and no step leads far from what the memory itself says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemos.base.cube import Content
from mnemos.index.terms import STOP_WORDS, term, words
from mnemos.text.notes.describing import cited, held_keywords, held_tags
from mnemos.text.notes.explaining import inserted
from mnemos.text.notes.note import Description, Note
from mnemos.text.notes.parameters import Parameters
from mnemos.text.quoting import supported

Likeness = Callable[[str, str], float]
"""How alike a context and a content are, −1..1."""
DAY = 86_400_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True)
class Change:
    """A new description for an earlier memory, and the memories whose words came in, the new one first."""

    gives: Description
    sources: tuple[Content, ...]
    reason: str
    by: str = "rules"


def telling(text: str) -> set[int]:
    """The terms of the words that say something."""
    return {term(word) for word in words(text) if word not in STOP_WORDS}


def added(note: Note, content: Content, new: Content, meanings: Mapping[str, str]) -> Change | None:
    """The description of a memory with what a new one says of names in it; None where that is nothing new to it."""
    now = note.now
    known = telling(" ".join((content.text or "", *now.keywords, now.context)))
    for name, what in meanings.items():
        if telling(what) - known:
            gives = Description.of([*now.keywords, what], now.tags, inserted(now.context, name, what))
            return Change(gives, (new,), f"says what {name} is")
    return None


def without_context(change: Change, note: Note) -> Change:
    """The change, but for the context, which stays as it is."""
    return replace(change, gives=replace(change.gives, context=note.now.context))


def proposed(note: Note, content: Content, new: Content, others: Sequence[Content], update: dict[str, Any], by: str) -> Change | None:
    """A model's new description of a memory, as far as the memories say so; None where they do not.

    The model has seen `others`, too. Which of them it has drawn on is told by the words that neither memory nor the new one holds: a
    memory with such a word becomes a source of the step; a description with words of nobody, beyond what a paraphrase has, is not supported.
    """
    now = note.now
    held = telling(" ".join((content.text or "", new.text or "", *now.keywords, *now.tags, now.context)))
    strange = telling(" ".join((update["context"], *update["keywords"], *update["tags"]))) - held
    drawn = [other for other in others if strange & telling(other.text or "")]
    sources = [content, new, *drawn]
    if not supported(update["context"], [*map(cited, sources), now.context]):
        return None
    keywords = [*held_keywords(update["keywords"], sources), *(word for word in update["keywords"] if word in now.keywords)]
    tags = held_tags(update["tags"], [*map(cited, sources), *now.tags])
    gives = Description.of(keywords or now.keywords, tags or now.tags, update["context"])
    return Change(gives, (new, *drawn), "seen in a new light", by) if gives != now else None


def refused(note: Note, content: Content, change: Change, now: int, likeness: Likeness, parameters: Parameters) -> str | None:
    """Why a change may not be made; None where it may."""
    if not all(may_rewrite(source, content) for source in change.sources):
        return "less trusted"
    if len(note.evolutions) >= parameters.rewrites or sum(step.at > now - DAY for step in note.evolutions) >= parameters.rewrites_a_day:
        return "budget"
    if parameters.drift is not None and content.text:
        first, before, after = (likeness(one.context, content.text) for one in (note.own, note.now, change.gives))
        if after < before - parameters.drift or after < parameters.floor * first:
            return "drift"
    return None


def may_rewrite(new: Content, old: Content) -> bool:
    """Whether one memory may change the description of another: what the user said may not be rewritten by what was found or made up, and no label is
    crossed: a lower one must not write upward, and a higher one would hide the note from those who may read its memory."""
    return (new.origin == "user" or old.origin != "user") and new.sensitivity == old.sensitivity
