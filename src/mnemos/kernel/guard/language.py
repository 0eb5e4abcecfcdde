"""What the guard reads of a text without a model: terms, names and numbers, negation, opposites, and which verbs do what.

English, by lists: on other languages terms and numbers still work, negation and verbs do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from mnemos.index.terms import STOP_WORDS, term, words

MAX_CHARACTERS = 16_384
"""Characters that are read of one text, as by the embedders."""

_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|\n+")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_NAME = re.compile(r"[A-Z][\w'’&-]*")
_DENIALS = """
not never none nobody nothing neither nor without cannot no isnt wasnt arent werent doesnt didnt dont wont cant couldnt shouldnt wouldnt hasnt havent
hadnt mustnt neednt
"""
_NEGATIONS = frozenset(_DENIALS.split())
"""As `words` gives them: "isn't" is "isnt"."""
_COUNTS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty
"""
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_AMBIGUOUS = frozenset({"second", "first", "one"})
"""Number words that more often say something else."""
NUMBER_WORDS = {word: str(value) for names in (_COUNTS, _ORDINALS) for value, word in enumerate(names.split())}

_OPPOSITES = """
true false|yes no|allow deny|allow forbid|permit forbid|accept reject|approve reject|enable disable|open closed|open close|start stop|begin end|
increase decrease|rise fall|grow shrink|more less|more fewer|higher lower|high low|above below|before after|first last|always never|safe unsafe|
safe dangerous|legal illegal|possible impossible|include exclude|like dislike|love hate|win lose|won lost|alive dead|hot cold|warm cold|early late|
old new|old young|on off|in out|up down|left right|present absent|same different|internal external|public private|buy sell|lend borrow|male female|
north south|east west|day night|full empty|rich poor|strong weak|healthy sick|vegetarian carnivorous|guilty innocent|married single
"""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence as the guard compares it."""

    words: tuple[str, ...]
    """All its words, folded, in order."""
    terms: frozenset[int]
    """Hashes of the stems of those that carry something; number words count as digits."""
    keys: frozenset[int]
    """Terms of its names and numbers: words with a capital that do not merely begin it, and figures. What a claim turns on."""
    figures: frozenset[str]
    """Its numbers, as digits; those written as words count ("two" is "2")."""
    negated: bool
    """Whether it denies: an odd number of negations, so that "not without" affirms."""


def sentences(text: str) -> list[str]:
    """The sentences of the first `MAX_CHARACTERS` of `text`."""
    return [part for part in map(str.strip, _SENTENCE.split(text[:MAX_CHARACTERS])) if part]


def read(text: str) -> list[Sentence]:
    """The sentences of the first `MAX_CHARACTERS` of `text`, read."""
    return [_read(part) for part in sentences(text)]


def _read(sentence: str) -> Sentence:
    found = tuple(words(sentence))
    figures = {number.replace(",", "") for number in _NUMBER.findall(sentence)}
    figures |= {NUMBER_WORDS[word] for word in found if word in NUMBER_WORDS and word not in _AMBIGUOUS}
    names = " ".join(match[0] for match in _NAME.finditer(sentence) if match.start() > 1)  # a quotation mark may go before the first word
    keys = terms_of((*content(words(names)), *figures))
    return Sentence(found, terms_of(content(found)), keys, frozenset(figures), sum(word in _NEGATIONS for word in found) % 2 == 1)


def content(found: Iterable[str]) -> list[str]:
    """Those of the folded words that carry something, in order; number words as digits."""
    return [NUMBER_WORDS.get(word, word) for word in found if word not in STOP_WORDS]


def terms_of(found: Iterable[str]) -> frozenset[int]:
    """The terms (hashes of stems) of folded words."""
    return frozenset(map(term, found))


@lru_cache(maxsize=1)
def opposites() -> frozenset[tuple[int, int]]:
    """Pairs of terms that exclude each other, in both orders."""
    pairs = [pair.split() for pair in _OPPOSITES.replace("\n", "").split("|")]
    return frozenset(both for a, b in pairs for both in ((term(a), term(b)), (term(b), term(a))))


def opposed(a: frozenset[int], b: frozenset[int]) -> bool:
    """Whether one set of terms holds the opposite of a term that only the other one holds."""
    only_a, only_b = a - b, b - a
    return any((x, y) in opposites() for x in only_a for y in only_b) if only_a and only_b else False
