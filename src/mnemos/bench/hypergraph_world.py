"""A made-up corpus with planted n-ary facts: affairs that are told in sentences far apart, which share names only from one to the next.

400 pages of four sentences; 60 affairs of 4 to 6 sentences, each in another page; the other sentences tell of the same kinds of dealings, in the same
words and the same towns, of people who occur nowhere else, and of people of the affairs with such. So words alone lead nowhere; names lead from one
sentence to the next, and to others, too; towns lead astray.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mnemos.bench.corpus import Corpus, Question

PAGES = 400
SENTENCES = 4
AFFAIRS = 60
ECHOES = 2
"""Sentences in which each name of an affair occurs besides: other dealings, with people who occur nowhere else."""
TOWNS = ("Marrow Bay", "Old Quarter", "Tessin Gate", "Low Harbour", "Elm Crossing", "Saltmarsh")
"""Hubs: each stands in a sixth of all sentences."""
DEALINGS = (
    ("financed", "{a} financed {b}, it was said in {town}.", "the one that {x} financed"),
    ("chartered", "In {town}, {a} chartered {b} for a season.", "the one that {x} chartered"),
    ("insured", "{a} insured {b} against fire, {town} papers noted.", "the one that {x} insured"),
    ("audited", "Clerks from {town} saw how {a} audited {b}.", "the one that {x} audited"),
    ("supplied", "{a} supplied {b} with rope and tar through {town}.", "the one that {x} supplied"),
    ("sued", "Before the court of {town}, {a} sued {b} over a debt.", "the one that {x} sued"),
)
_STARTS = ("B", "Br", "C", "Cr", "D", "Dr", "F", "G", "Gr", "H", "K", "L", "M", "N", "P", "Qu", "R", "S", "St", "T", "V", "W", "Z")
_MIDDLES = ("a", "e", "i", "o", "u", "ae", "or", "an", "el", "in", "ol", "ur", "as", "em")
_ENDS = ("ck", "ld", "m", "n", "nd", "nt", "r", "rn", "ss", "st", "t", "x", "z", "lv", "mb", "dt")


@dataclass(frozen=True, slots=True)
class Affair:
    """`names[i]` stands to `names[i + 1]` by dealing `dealings[i]`, as page `pages[i]` tells."""

    names: tuple[str, ...]
    dealings: tuple[int, ...]
    pages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """The pages, the affairs, and questions by kind: "single" (one fact), "chain" (three facts or more), "list" (eight facts of different affairs),
    "mixed" (a chain, and facts of five other affairs)."""

    corpus: Corpus
    affairs: list[Affair] = field(repr=False)


def world(rng: np.random.Generator, pages: int = PAGES, affairs: int = AFFAIRS) -> World:
    """A corpus of that size; the same for the same state of the generator."""
    names = _Names(rng)
    texts: list[list[str]] = [[] for _ in range(pages)]
    told = []
    for _ in range(affairs):
        length = int(rng.integers(4, 7))
        chain = tuple(names.new() for _ in range(length + 1))
        dealings = tuple(rng.permutation(len(DEALINGS))[:length].tolist())
        where = rng.choice([at for at in range(pages) if len(texts[at]) < SENTENCES], length, replace=False).tolist()
        for at, dealing, a, b in zip(where, dealings, chain, chain[1:], strict=False):
            texts[at].append(_told(dealing, a, b, rng))
        told.append(Affair(chain, dealings, tuple(f"page {at}" for at in where)))
    known = [name for affair in told for name in affair.names]
    for name in (name for name in known for _ in range(ECHOES)):
        at = int(rng.choice([at for at in range(pages) if len(texts[at]) < SENTENCES]))
        ends = (name, names.new()) if rng.integers(2) else (names.new(), name)
        texts[at].append(_told(int(rng.integers(len(DEALINGS))), *ends, rng))
    for sentences in texts:
        while len(sentences) < SENTENCES:
            sentences.append(_told(int(rng.integers(len(DEALINGS))), names.new(), names.new(), rng))
        rng.shuffle(sentences)
    records = [{"text": " ".join(sentences), "type": "document", "source": f"page {at}"} for at, sentences in enumerate(texts)]
    return World(Corpus("affairs", records, _questions(told, rng)), told)


def _told(dealing: int, a: str, b: str, rng: np.random.Generator) -> str:
    return DEALINGS[dealing][1].format(a=a, b=b, town=TOWNS[int(rng.integers(len(TOWNS)))])


def _questions(affairs: list[Affair], rng: np.random.Generator) -> list[Question]:
    out = []
    for number, affair in enumerate(affairs):
        at = int(rng.integers(len(affair.pages)))
        single = f"What became of {_nested(affair, at, 1)}?"
        out.append(_question(f"single {number}", single, affair.pages[at : at + 1]))
        hops = int(rng.integers(3, 5))
        out.append(_question(f"chain {number}", f"What became of {_nested(affair, 0, hops)}?", affair.pages[:hops]))
        others = [affairs[int(other)] for other in rng.permutation(len(affairs)) if int(other) != number][:7]
        listed = [affair, *others]
        facts = ", ".join(_nested(one, 0, 1) for one in listed)
        out.append(_question(f"list {number}", f"What became of {facts}?", tuple(one.pages[0] for one in listed)))
        facts = ", ".join(_nested(one, 0, 1) for one in others[:5])
        evidence = (*affair.pages[:3], *(one.pages[0] for one in others[:5]))
        out.append(_question(f"mixed {number}", f"What became of {_nested(affair, 0, 3)}, and of {facts}?", evidence))
    return out


def _question(id_: str, text: str, pages: tuple[str, ...]) -> Question:
    return Question(id_, text, frozenset(pages), id_.split()[0], id_)


def _nested(affair: Affair, start: int, hops: int) -> str:
    """What stands at the end of `hops` dealings from a name, described: "the one that the one that Ann financed insured"."""
    told = affair.names[start]
    for dealing in affair.dealings[start : start + hops]:
        told = DEALINGS[dealing][2].format(x=told)
    return told


class _Names:
    """Names that were not given before."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._given: set[str] = set()

    def new(self) -> str:
        while True:
            name = f"{self._word()} {self._word()}"
            if not self._given & set(name.split()):
                self._given |= set(name.split())
                return name

    def _word(self) -> str:
        parts = (_STARTS, _MIDDLES, _ENDS[:6], _MIDDLES, _ENDS)
        return "".join(part[int(self._rng.integers(len(part)))] for part in parts)
