"""What a sentence is about, as memories are compared: its telling words, and the attribute to which it gives a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mnemos.index.terms import STOP_WORDS, fold, term, words
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statements import read_statements

_STOP = frozenset(term(word) for entry in STOP_WORDS for word in words(entry))
_AUTHOR = re.compile(r"(?P<author>[^\W\d_][^:.!?\n]{0,39}): (?=\S)")
_ONE_VALUE = 0.5
"""How surely an attribute has one value at a time, for a later value to replace an earlier one."""


@dataclass(frozen=True, slots=True)
class Gist:
    """`words`: terms without function words. `key`: whose attribute, where the sentence gives one value to an attribute that has one at a time, else
    empty. `value`: the value, folded."""

    words: frozenset[int]
    key: str = ""
    value: str = ""


Read = Callable[[str], Gist]
"""From a text to its gist."""


def said_by(author: str | None, text: str) -> str:
    """A sentence as a memory keeps it: with its author before it, else nobody could tell who "I" is."""
    return f"{author}: {text}" if author else text


def without_author(text: str) -> str:
    """A sentence without the author whom `said_by` put before it."""
    match = _AUTHOR.match(text)
    return text[match.end() :] if match else text


def read_gist(text: str) -> Gist:
    """The gist of a text, by rules; an author who stands before it, as `said_by` puts him, is whom "I" means. Nothing is kept of the text but hashes
    and the value of its attribute."""
    match = _AUTHOR.match(text)
    author, text = (match["author"], text[match.end() :]) if match else (None, text)
    found = frozenset(map(term, words(text)))
    single = [
        statement
        for statement in read_statements(text, author)
        if statement.single >= _ONE_VALUE and statement.positive and statement.standing is Standing.STATE
    ]
    if len(single) != 1:
        return Gist((found - _STOP) or found)
    one = single[0]
    narrowed = " ".join(sorted(map(str, one.key | one.subject.context)))
    return Gist((found - _STOP) or found, f"{fold(one.name)}|{narrowed}", fold(one.value.shown))


def overlap(one: Gist, other: Gist) -> float:
    """0..1: the words that both hold, over those that either does (Jaccard)."""
    both = len(one.words & other.words)
    return both / (len(one.words) + len(other.words) - both) if both else 0.0
