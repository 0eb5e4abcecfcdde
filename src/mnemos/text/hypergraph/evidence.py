"""What a session has read so far: passages, their sentences, and how much of the question each holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnemos.index.terms import fold, query_terms, term, words
from mnemos.text.entities import entities, keys
from mnemos.text.hypergraph.corpus import Corpus, Passage, Retrieved, Sentence, SubQuery
from mnemos.text.hypergraph.memory import Point, Span

_BETWEEN = re.compile(r"[,;]|\b(?:and|or)\b")
NEAR = 48
"""Characters before and after a name that are close to it."""
LONGEST_STATEMENT = 4
"""Sentences of a statement that is put together without a language model."""


class Part(NamedTuple):
    """A part of a question: its text, the names that it gives, its terms."""

    text: str
    names: frozenset[str]
    terms: frozenset[int]


class Evidence:
    """`retrieved` of all sub-queries of one session, taken together."""

    def __init__(self, question: str, corpus: Corpus) -> None:
        self.question = question
        self.corpus = corpus
        self.asked = frozenset(keys(entities(question)))
        """Keys of the names that the question gives."""
        self.passages: dict[str, Passage] = {}
        self.sentences: dict[Span, Sentence] = {}
        self.common: set[str] = set()
        self.shown: dict[str, str] = {}
        self.standing: dict[str, float] = {}
        """Passage id → the best place, 1 / rank, that any sub-query gave it."""
        self.direct: dict[str, int] = {}
        """Passage id → its place, from 1 on, for the question itself."""
        self.ranked: list[str] = []
        """Passages as the question finds them by itself, best first: more of them than points are made of."""
        self._weights: dict[int, float] = dict.fromkeys(query_terms(question).hashes.tolist(), 1.0)
        self._words: dict[int, str] = dict(zip(query_terms(question).hashes.tolist(), query_terms(question).words, strict=True))
        self._terms: dict[Span, frozenset[int]] = {}
        self._vectors: dict[str, NDArray[Any]] = {}

    def take(self, query: SubQuery, found: Retrieved) -> list[Sentence]:
        """Note what a sub-query found. Gives the sentences that are new, the relations first."""
        if query.text == self.question:
            self._weights = {one: max(found.weights.get(one, weight), 0.0) for one, weight in self._weights.items()}
            self.passages |= {passage.id: passage for passage in found.ranked}
            self.ranked = [passage.id for passage in found.ranked]
        for place, passage in enumerate(found.passages, 1):
            self.passages.setdefault(passage.id, passage)
            if query.text == self.question:
                self.direct.setdefault(passage.id, place)
            self.standing[passage.id] = max(self.standing.get(passage.id, 0.0), 1 / place)
        for passage in found.related:
            self.passages.setdefault(passage.id, passage)
        self.common |= found.common
        self.shown = {**found.shown, **self.shown}
        fresh = [one for one in dict.fromkeys((*found.relations, *found.sentences)) if one.span not in self.sentences]
        for one in fresh:
            self.sentences[one.span] = one
        return fresh

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of the question that give names; what gives none belongs to each. Empty where the question gives no name."""
        named: list[tuple[str, frozenset[str]]] = []
        rest = ""
        for text in _pieces(self.question):
            names = names_in(text) & self.asked
            if names:
                named.append((text, names))
            else:
                rest += f" {text}"
        return [Part(text, names, frozenset(query_terms(f"{text} {rest}").hashes.tolist())) for text, names in named]

    def joining(self, names: Iterable[str]) -> frozenset[str]:
        """Those of some names that are rare enough to join statements."""
        return frozenset(names) - self.common

    # -- the question --
    def terms(self, sentence: Sentence) -> frozenset[int]:
        if sentence.span not in self._terms:
            self._terms[sentence.span] = terms_of(sentence.text)
        return self._terms[sentence.span]

    def share(self, terms: Iterable[int]) -> float:
        """Share of the question, 0..1, that some terms hold, by how telling they are."""
        return _share(self._weights, frozenset(terms))

    def _of_part(self, terms: frozenset[int]) -> float:
        """The largest share of a part of the question that some terms hold; of the question, where it gives no names."""
        ways = [{one: self._weights[one] for one in part.terms if one in self._weights} for part in self.parts] or [self._weights]
        return max(_share(weights, terms) for weights in ways)

    def lacking(self, terms: Iterable[int], part: Part | None = None) -> list[str]:
        """The telling words of the question, or of a part of it, that are not among some terms, in its order."""
        held = frozenset(terms)
        within = self._weights.keys() if part is None else part.terms
        return [self._words[one] for one, weight in self._weights.items() if weight > 0 and one not in held and one in within]

    def held(self, points: Iterable[Point]) -> frozenset[int]:
        """The terms of all that some points rest on."""
        return frozenset(one for point in points for span in point.spans for one in self._of_span(span))

    def held_in(self, point: Point, passage: str) -> frozenset[int]:
        """The terms of what a point rests on in one passage."""
        return frozenset(one for span in point.spans if span.passage == passage for one in self._of_span(span))

    def _of_span(self, span: Span) -> frozenset[int]:
        sentence = self.sentences.get(span)
        if sentence is not None:
            return self.terms(sentence)
        passage = self.passages.get(span.passage)
        return frozenset() if passage is None else terms_of(passage.text[span.start : span.end])

    def bound(self, point: Point) -> float:
        """How well a point fits what the question says close to a name that both hold, 0..1: the question's words that it holds, each weighed by how
        telling it is and how near to the name it stands; 0 where it holds no such name."""
        held = self.held([point])
        return max((_share(near, held) for name, near in self._near.items() if name in point.names), default=0.0)

    @cached_property
    def _near(self) -> dict[str, dict[int, float]]:
        """Name of the question → term of the question → its weight over its distance from the name, in words."""
        out: dict[str, dict[int, float]] = {}
        for entity in entities(self.question):
            before = [term(word) for word in words(self.question[: entity.start])][::-1]
            after = [term(word) for word in words(self.question[entity.end :])]
            own = {term(word) for word in words(entity.surface)}
            near: dict[int, float] = {}
            for side in (before, after):
                for distance, one in enumerate(side, 1):
                    if one in self._weights and one not in own:
                        near[one] = max(near.get(one, 0.0), self._weights[one] / distance)
            out[entity.key] = near
        return out

    def fits(self, point: Point) -> dict[str, float]:
        """Name of a point → share of the question, by weight, that stands close to it in the sentences that the point rests on."""
        out: dict[str, float] = {}
        for span in sorted(point.spans):
            sentence = self.sentences.get(span)
            if sentence is None:
                continue
            for entity in entities(sentence.text):
                near = terms_of(sentence.text[max(entity.start - NEAR, 0) : entity.start] + " " + sentence.text[entity.end : entity.end + NEAR])
                out[entity.key] = max(out.get(entity.key, 0.0), self.share(near))
        return out

    def relevance(self, statements: Sequence[str]) -> list[float]:
        """How well each statement answers the question: the mean of its cosine with it and of its share of the part of it that it holds the most of;
        that share alone without meaning."""
        shares = [self._of_part(terms_of(statement)) for statement in statements]
        vectors = self.vectors([self.question, *statements])
        if vectors is None:
            return shares
        cosines = vectors[1:] @ vectors[0]
        return [(share + float(cosine)) / 2 for share, cosine in zip(shares, cosines, strict=True)]

    def vectors(self, texts: Sequence[str]) -> NDArray[Any] | None:
        """(len(texts), d); each text is embedded once in a session. None where meaning cannot be compared."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if fresh:
            made = self.corpus.embed(fresh)
            if made is None:
                return None
            self._vectors.update(zip(fresh, np.asarray(made), strict=True))
        return np.array([self._vectors[text] for text in texts])

    # -- statements --
    def describe(self, spans: Iterable[Span]) -> str:
        """What sentences say together, in their own words: those that are the most central by the names they share, then by the question, in the
        order of the texts."""
        told = [self.sentences[span] for span in sorted(spans) if span in self.sentences]
        if len(told) > LONGEST_STATEMENT:
            central = [sum(len(self.joining(one.names) & set(other.names)) for other in told if other is not one) for one in told]
            shares = [self.share(self.terms(one)) for one in told]
            best = sorted(range(len(told)), key=lambda at: (-shares[at], -central[at], at))[:LONGEST_STATEMENT]
            told = [told[at] for at in sorted(best)]
        return " ".join(dict.fromkeys(one.text for one in told))

    def name(self, key: str) -> str:
        """A name as it is written."""
        return self.shown.get(key, key)


def _pieces(question: str) -> list[str]:
    """A question cut at commas, semicolons, `and` and `or`, where these stand in no name."""
    inside = [(entity.start, entity.end) for entity in entities(question)]
    cuts = [match for match in _BETWEEN.finditer(question) if not any(start < match.end() and match.start() < end for start, end in inside)]
    starts = [0, *(match.end() for match in cuts)]
    ends = [*(match.start() for match in cuts), len(question)]
    return [piece for start, end in zip(starts, ends, strict=True) if (piece := question[start:end].strip(" ?!."))]


def _share(weights: Mapping[int, float], held: frozenset[int]) -> float:
    total = sum(weights.values())
    return sum(weight for one, weight in weights.items() if one in held) / total if total > 0 else 0.0


def terms_of(text: str) -> frozenset[int]:
    """The terms of a text (`index.terms`)."""
    return frozenset(term(word) for word in words(text))


def names_in(text: str) -> frozenset[str]:
    """The keys of the names in a text."""
    return frozenset(keys(entities(text)))


def same_question(one: str, other: str) -> bool:
    """Whether two sub-queries ask for the same words."""
    return sorted(words(fold(one))) == sorted(words(fold(other)))
