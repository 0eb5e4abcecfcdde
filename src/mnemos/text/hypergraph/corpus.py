"""What a session reads: passages that can be searched, with their graph. One protocol, and a corpus of listed passages over any retriever."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mnemos.base.protocols import Vectors
from mnemos.index.terms import query_terms, term, words
from mnemos.text.entities import entities
from mnemos.text.hypergraph.graph import Graph
from mnemos.text.hypergraph.memory import Span
from mnemos.text.hypergraph.retrieval import Gathered, Limits, Wanted, neighbours, retrieve

Search = Callable[[str, int, Collection[str] | None], Sequence[tuple[str, float]]]
"""A retriever: (query, k, ids to stay within or None) → the best (id, score), best first."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can be cited."""

    id: str
    text: str
    document: str = ""
    """What it is a piece of: a document, a conversation. Two passages are independent where these differ."""
    position: int = 0
    """Its place among all passages: contexts are in this order."""
    author: str | None = None
    said_at: int | None = None
    """Microseconds since 1970."""


class Sentence(NamedTuple):
    """A sentence of a passage, and the keys of the names that it holds."""

    span: Span
    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubQuery:
    """What a turn asks. `near`: names about which it is to look (local investigation); `away`: names that are known well enough (global)."""

    text: str
    near: frozenset[str] = frozenset()
    away: frozenset[str] = frozenset()
    point: int | None = None
    """The point that it looks into."""
    deep: int = 0
    """So many passages are listed as it finds them by itself, to fill a context with."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a sub-query found."""

    passages: tuple[Passage, ...]
    """Best first: those of the chosen names, and those found plainly."""
    scores: Mapping[str, float]
    """By passage id; comparable within the sub-query."""
    names: tuple[str, ...]
    """Keys of the chosen names."""
    relations: tuple[Sentence, ...]
    """Sentences that join a chosen name with others, the most telling first."""
    related: tuple[Passage, ...]
    """The passages of these."""
    sentences: tuple[Sentence, ...]
    """All sentences of the passages that hold a name."""
    common: frozenset[str]
    """Names among these that stand in so many passages that they join nothing."""
    weights: Mapping[int, float]
    """Term of the query (`index.terms`) → how telling it is in this corpus, 0 or more; 0 where no passage holds it."""
    widened: bool = False
    """Whether nothing was near, or too little away, so that the whole corpus was searched."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Key → a name as these sentences write it."""
    ranked: tuple[Passage, ...] = ()
    """The passages that were found plainly, as many as the sub-query is `deep`, best first."""


class Corpus(Protocol):
    """Passages with their graph, as far as the caller may read them."""

    def retrieve(self, query: SubQuery, limits: Limits) -> Retrieved: ...

    def neighbours(self, names: Iterable[str], most: int) -> tuple[str, ...]:
        """Names that share a sentence with some of `names`, the rarer first: their keys."""
        ...

    def readable(self, passages: Iterable[str]) -> frozenset[str]:
        """Those of some passages that may still be read, as they were when they were retrieved."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """(len(texts), d) unit vectors; None where meaning cannot be compared."""
        ...


def retrieved_from(
    graph: Graph, found: Gathered, passages: Mapping[int, Passage], scores: NDArray[np.float64], weights: Mapping[int, float]
) -> Retrieved:
    """What was found by numbers, as a session sees it. `passages`: those of all rows and sentences that were found."""

    def sentence(number: int) -> Sentence:
        unit = graph.unit(number)
        passage = passages[unit.passage]
        end = unit.end or len(passage.text)
        return Sentence(Span(passage.id, unit.start, end), passage.text[unit.start : end], tuple(map(graph.key, unit.names)))

    relations = tuple(map(sentence, found.units))
    sentences = tuple(map(sentence, graph.units_in(np.array(found.rows, dtype=np.int64)).tolist()))
    shown: dict[str, str] = {}
    for one in (*relations, *sentences):
        for entity in entities(one.text):
            shown.setdefault(entity.key, entity.surface)
    return Retrieved(
        passages=tuple(passages[row] for row in found.rows),
        scores={passages[row].id: float(scores[row]) for row in found.rows},
        names=tuple(map(graph.key, found.names)),
        relations=relations,
        related=tuple(dict.fromkeys(passages[graph.unit(number).passage] for number in found.units)),
        sentences=sentences,
        common=frozenset(map(graph.key, found.common)),
        weights=weights,
        widened=found.widened,
        shown=shown,
        ranked=tuple(passages[row] for row in found.ranked),
    )


class ListedCorpus:
    """Passages that are given, over any retriever. `embed`: texts → unit vectors."""

    def __init__(self, passages: Iterable[Passage], search: Search, embed: Callable[[Sequence[str]], Vectors | None] = lambda texts: None) -> None:
        self.passages = list(passages)
        self.graph = Graph()
        self._search, self._embed = search, embed
        self._row = {passage.id: row for row, passage in enumerate(self.passages)}
        self._frequency: dict[int, int] = {}
        for row, passage in enumerate(self.passages):
            self.graph.add(row, passage.text, [passage.author] if passage.author else [])
            for one in {term(word) for word in words(passage.text)}:
                self._frequency[one] = self._frequency.get(one, 0) + 1

    def retrieve(self, query: SubQuery, limits: Limits) -> Retrieved:
        allowed = np.ones(len(self.passages), dtype=bool)
        scores = np.full(len(self.passages), -np.inf)
        for id_, score in self._search(query.text, limits.searched, None):
            scores[self._row[id_]] = score
        near = self.graph.numbers(query.near)
        if len(near):
            around = self.graph.within(near, limits.hops, allowed)
            ids = {self.passages[row].id for name in np.flatnonzero(around).tolist() for row in self.graph.passages_of(name, allowed).tolist()}
            for id_, score in self._search(query.text, limits.searched, ids):
                scores[self._row[id_]] = max(scores[self._row[id_]], score)
        found = retrieve(self.graph, allowed, scores, Wanted(query.text, near, self.graph.numbers(query.away), query.deep), limits)
        total = len(self.passages)
        counts = {one: self._frequency.get(one, 0) for one in query_terms(query.text).hashes.tolist()}
        weights = {one: math.log((total + 1) / (count + 0.5)) if count else 0.0 for one, count in counts.items()}
        return retrieved_from(self.graph, found, dict(enumerate(self.passages)), scores, weights)

    def neighbours(self, names: Iterable[str], most: int) -> tuple[str, ...]:
        return neighbours(self.graph, self.graph.numbers(names), np.ones(len(self.passages), dtype=bool), most)

    def readable(self, passages: Iterable[str]) -> frozenset[str]:
        return frozenset(id_ for id_ in passages if id_ in self._row)

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        return self._embed(texts)
