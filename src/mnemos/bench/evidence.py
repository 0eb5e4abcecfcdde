"""Does a text hold the part of an evidence turn that answers the question? Decided without a judge, by the turn's own sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[^\W_]+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Held:
    """`whole`: the whole turn is in the text. `answer`: an answer-bearing sentence of it is (always so where the whole turn is)."""

    whole: bool
    answer: bool


def held(turn: str, among_hits: bool, text: str, question: str, answer: str) -> Held:
    """Whether `text` holds the evidence turn `turn`; never where the turn is not `among_hits`. White space is not compared."""
    if not among_hits:
        return Held(False, False)
    shown = _flat(text)
    whole = _flat(turn) in shown
    return Held(whole, whole or any(_flat(sentence) in shown for sentence in bearing(turn, question, answer)))


def bearing(turn: str, question: str, answer: str) -> list[str]:
    """The sentences of `turn` that have `answer` in them word for word; where none has, those that share the most words with question
    and answer. An answer of digits alone counts as such only with its neighbours: a bare number proves little, so it goes the second way."""
    sentences = [part.strip() for part in _SENTENCE.split(turn) if part.strip()]
    words = _words(answer)
    if any(not word.isdigit() for word in words):
        phrase = f" {' '.join(words)} "
        verbatim = [sentence for sentence in sentences if phrase in f" {' '.join(_words(sentence))} "]
        if verbatim:
            return verbatim
    wanted = {word for word in (*_words(question), *words) if len(word) > 3 or word.isdigit()}
    shared = [len(wanted.intersection(_words(sentence))) for sentence in sentences]
    return [sentence for sentence, count in zip(sentences, shared, strict=True) if count == max(shared)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _flat(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
