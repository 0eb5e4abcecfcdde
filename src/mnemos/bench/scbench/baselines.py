"""Solvers that do not understand: an empty answer, a guess, and a bag of words that picks the sentence most like the question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.records import Record, Turn

BEST = 20
"""Pieces in which options are looked for."""
PIECE = 40
"""Words of a piece at most: sentences that are longer, such as one line of JSON, are cut."""
_WORD = re.compile(r"[A-Za-z0-9_\-']*[A-Za-z0-9_][A-Za-z0-9_\-']*|[\u4e00-\u9fff]{2}|[\u4e00-\u9fff]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=。)|\n+")
_LETTERS = "ABCDEFGHIJ"


def empty(record: Record, turn: Turn) -> str:
    """Nothing."""
    return ""


def guess(record: Record, turn: Turn, draws: Draws) -> str:
    """One of the options, or a word of the context."""
    if record.kind(turn) == "choice":
        return _LETTERS[draws.below(len(turn.options))]
    if turn.options:
        return draws.choice(turn.options)
    words: list[str] = _WORD.findall(record.context)
    return draws.choice(words or [""])


class BagOfWords:
    """The piece of the context that shares most with the question, by rarity of words; of it, the rarest word that the question does not have.

    Of options, the one that stands in the best pieces most. Order inside a piece plays no part.
    """

    def __init__(self, context: str) -> None:
        pieces = [words[i : i + PIECE] for text in _SENTENCE.split(context) for words in [_WORD.findall(text)] for i in range(0, len(words), PIECE)]
        self.pieces = [Counter(piece) for piece in pieces]
        seen = Counter(word for piece in self.pieces for word in piece)
        self.rarity = {word: math.log(1 + len(self.pieces) / n) for word, n in seen.items()}

    def ranked(self, question: str) -> list[int]:
        """Pieces, the most like the question first."""
        asked = set(_WORD.findall(question))
        shared = [sum(self.rarity[word] for word in sorted(asked.intersection(piece))) / math.sqrt(1 + len(piece)) for piece in self.pieces]
        return sorted(range(len(shared)), key=lambda i: (-shared[i], i))

    def answer(self, question: str, options: Sequence[str] = (), letters: bool = False) -> str:
        ranked = self.ranked(question)
        if options and letters:
            worth = [sum(1 / (1 + rank) for rank, i in enumerate(ranked[:BEST]) if self._holds(i, option)) for option in options]
            return _LETTERS[max(range(len(options)), key=lambda i: (worth[i], -i))]
        if options:
            return next((option for i in ranked[:BEST] for option in options if self._holds(i, option)), options[0])
        asked = set(_WORD.findall(question))
        words = sorted(set(self.pieces[ranked[0]]) - asked) if ranked else []
        if any(word.isdigit() for word in asked):
            words = [word for word in words if not word.isdigit()]  # who tells a number asks for something else
        return max(words, key=lambda word: self.rarity[word], default="")

    def _holds(self, piece: int, option: str) -> bool:
        return set(_WORD.findall(option)) <= set(self.pieces[piece])


def bag_of_words(record: Record) -> list[str]:
    """The bag's answer to each turn of a session. Options are taken out of the question before it is looked up."""
    bag = BagOfWords(record.context)
    out = []
    for turn in record.turns:
        question = turn.input.split("\n(A)")[0] if record.kind(turn) == "choice" else turn.input
        out.append(bag.answer(question, turn.options, record.kind(turn) == "choice"))
    return out
