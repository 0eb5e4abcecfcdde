"""Key phrases: the runs of telling words that a text turns on. No language model.

Words are ranked by a random walk over which stand near each other (TextRank: Mihalcea and Tarau, TextRank: Bringing Order into Texts, EMNLP 2004,
section 3.1); phrases are runs of words between function words and punctuation (Rose et al., Automatic Keyword Extraction, 2010, RAKE).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mnemos.index.terms import STOP_WORDS, fold, term, words
from mnemos.text.agreement.words import word_set
from mnemos.text.summary import centrality

LONGEST = 4
"""Words of a phrase; longer runs are cut there."""
WINDOW = 3
"""Telling words of a text within which two count as near each other."""
MOST_WORDS = 2000
"""Different words that are ranked, the most frequent ones."""
_PIECE = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s]|\n")
_EXTRA_STOPS = word_set(
    """
    really also just like yeah yes okay oh hey hi well thanks thank great good nice lot lots thing things way much many one two going go got get
    would could know think want make sure see time day today maybe still even back cool awesome wow haha let right always never ever
    """
)


class KeyPhrase(NamedTuple):
    """A phrase as it stands first, its weight (the best is 1), and the texts that hold it."""

    text: str
    weight: float
    holders: frozenset[int]


def key_phrases(texts: Sequence[str], k: int = 20) -> list[KeyPhrase]:
    """The `k` phrases that `texts` turn on, best first; none of them within another. Ties go by order of appearance."""
    runs = [(number, run) for number, text in enumerate(texts) for run in _runs(text)]
    counts = Counter(h for _, run in runs for h, _ in run)
    kept = {h for h, _ in counts.most_common(MOST_WORDS)}
    texts_of: dict[int, list[int]] = defaultdict(list)
    for number, run in runs:
        texts_of[number] += [h for h, _ in run if h in kept]
    ranks = _word_ranks(list(texts_of.values()))
    found: dict[tuple[int, ...], list[tuple[str, int]]] = defaultdict(list)
    for number, run in runs:
        for start in range(0, len(run), LONGEST):
            piece = run[start : start + LONGEST]
            found[tuple(h for h, _ in piece)].append((" ".join(word for _, word in piece), number))
    weights = {key: float(np.mean([ranks.get(h, 0.0) for h in key])) * np.log1p(len(places)) * len(key) ** 0.5 for key, places in found.items()}
    out: list[KeyPhrase] = []
    taken: list[set[int]] = []
    best = max(weights.values(), default=1.0) or 1.0
    for key in sorted(weights, key=lambda key: -weights[key]):
        if len(out) == k:
            break
        if not any(set(key) <= other or other <= set(key) for other in taken):
            taken.append(set(key))
            out.append(KeyPhrase(found[key][0][0], float(weights[key] / best), frozenset(number for _, number in found[key])))
    return out


def _runs(text: str) -> list[list[tuple[int, str]]]:
    """The runs of telling words of a text, each word with its term."""
    out: list[list[tuple[int, str]]] = [[]]
    for piece in _PIECE.findall(text):
        folded = fold(piece)
        parts = list(words(piece))
        if not parts or folded in STOP_WORDS or folded in _EXTRA_STOPS or (len(folded) < 3 and folded.isascii() and not folded.isdigit()):
            out.append([])
        else:
            out[-1].append((term(parts[-1]), piece))
    return [run for run in out if run]


def _word_ranks(told: Sequence[Sequence[int]]) -> dict[int, float]:
    """How central each word is among those that stand near each other. `told`: the telling words of each text."""
    number = {h: i for i, h in enumerate(dict.fromkeys(h for text in told for h in text))}
    if not number:
        return {}
    near = np.zeros((len(number), len(number)))
    for text in told:
        for at, one in enumerate(text):
            for other in text[at + 1 : at + WINDOW]:
                if one != other:
                    near[number[one], number[other]] += 1.0
                    near[number[other], number[one]] += 1.0
    counts = np.ones(len(number))
    for text in told:
        for h in text:
            counts[number[h]] += 1.0
    ranks = centrality(near, counts, 0.85)
    return {h: float(ranks[i]) for h, i in number.items()}
