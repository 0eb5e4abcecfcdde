"""Perturbed retrieval: the query without its rare words shows which records hang on a trigger, and brings witnesses that do not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import Stemmer

from mnemos.index.terms import STOP_WORDS, term, words
from mnemos.kernel.guard.actions import Action, name_words, similarity
from mnemos.kernel.guard.paths import Path
from mnemos.kernel.guard.records import Candidate
from mnemos.kernel.guard.settings import Settings
from mnemos.kernel.guard.vocabulary import Vocabulary

Retrieve = Callable[[str, int], Sequence[Candidate]]
"""A retriever: (query, k) to the k best records, best first."""

_TOKEN = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Probe:
    """A query with words left out. `left_out` are their terms; `found` the ids that the retriever gave for it, best first."""

    name: str
    query: str
    left_out: frozenset[int] = frozenset()
    found: tuple[str, ...] = ()


class Tokens:
    """A query as its tokens between blanks, each with the terms of its content words."""

    def __init__(self, query: str) -> None:
        self._tokens = _TOKEN.findall(query)
        self.terms = [frozenset(term(word) for word in words(token) if word not in STOP_WORDS) for token in self._tokens]

    def without(self, name: str, dropped: frozenset[int]) -> Probe:
        """The query without the tokens that hold one of the terms."""
        kept = [token for token, terms in zip(self._tokens, self.terms, strict=True) if not terms & dropped]
        return Probe(name, " ".join(kept), dropped)

    def stretches(self, parts: int) -> list[frozenset[int]]:
        """The terms of each of `parts` stretches of the query, of equal numbers of tokens."""
        bounds = [len(self.terms) * i // parts for i in range(parts + 1)]
        return [frozenset().union(*self.terms[a:b]) for a, b in itertools.pairwise(bounds)]

    def bare(self) -> Probe:
        """The stems of its content words alone."""
        stemmer = Stemmer.Stemmer("porter", 0)
        return Probe("stems", " ".join(stemmer.stemWord(word) for token in self._tokens for word in words(token) if word not in STOP_WORDS))


def probes(query: str, paths: Sequence[Path], vocabulary: Vocabulary, settings: Settings) -> list[Probe]:
    """The queries to ask: without what binds each group of like actions, without each of the rarest words and without all of them, without
    each third, and its stems alone. None of them empty, or the query itself."""
    tokens = Tokens(query)
    asked = list(dict.fromkeys(itertools.chain.from_iterable(tokens.terms)))
    rarest = sorted(asked, key=lambda found: (vocabulary.counts.get(found, 0), asked.index(found)))[: settings.probes]
    found = [tokens.without("binding", bound) for _, bound in bindings(query, paths, vocabulary, settings) if bound]
    found += [tokens.without("rare word", frozenset({rare})) for rare in rarest]
    found.append(tokens.without("rare words", frozenset(rarest)))
    found += [tokens.without("third", part) for part in tokens.stretches(3) if part]
    found.append(tokens.bare())
    seen = {" ".join(query.split())}
    out = []
    for probe in found:
        if probe.query and probe.query not in seen:
            seen.add(probe.query)
            out.append(probe)
    return out


def bindings(query: str, paths: Sequence[Path], vocabulary: Vocabulary, settings: Settings) -> list[tuple[list[int], frozenset[int]]]:
    """For each group of paths with like actions: its members, and the words of the query that may be a trigger of theirs.

    These are words that the memory does not use otherwise (no more often than the group has members), or that it does not put beside each
    other, which stand in at least half of the group and in nothing outside it. Words that name the action explain it and are no trigger.
    """
    tokens = Tokens(query)
    asked = list(itertools.chain.from_iterable(sorted(terms) for terms in tokens.terms))
    beside = {a << 32 | b: (a, b) for a, b in itertools.pairwise(asked)}
    out = []
    for members in alike_actions([path.action for path in paths], settings):
        group = [paths[i] for i in members]
        outside = frozenset().union(*(path.terms for i, path in enumerate(paths) if i not in members))
        pairs_outside = frozenset().union(*(path.pairs for i, path in enumerate(paths) if i not in members))
        explained = {term(word) for path in group if path.action for word in name_words(path.action.tool)}
        bound: set[int] = set()
        for found in asked:
            held = sum(found in path.terms for path in group)
            if found not in outside and vocabulary.counts.get(found, 0) <= len(members) <= 2 * held:
                bound.add(found)
        for pair, both in beside.items():
            held = sum(pair in path.pairs for path in group)
            if pair not in pairs_outside and vocabulary.counts.get(pair, 0) <= len(members) <= 2 * held:
                bound |= set(both)
        out.append((members, frozenset(bound - explained)))
    return out


def alike_actions(actions: Sequence[Action | None], settings: Settings) -> list[list[int]]:
    """Indices of the actions, grouped by like signatures in order of the first; those without an action are left out."""
    groups: list[list[int]] = []
    for index, action in enumerate(actions):
        if action is None:
            continue
        home = next((group for group in groups if similarity(actions[group[0]], action) >= settings.same_action), None)  # type: ignore[arg-type]
        if home is None:
            groups.append([index])
        else:
            home.append(index)
    return groups


def collapsed(members: Sequence[str], bound: frozenset[int], asked: Sequence[Probe]) -> Probe | None:
    """The first probe without words of `bound` from whose answer all `members` are gone; None where there is none."""
    return next((probe for probe in asked if bound & probe.left_out and probe.found and not set(members) & set(probe.found)), None)


def ask(asked: Sequence[Probe], retrieve: Retrieve, k: int, known: Mapping[str, Candidate]) -> tuple[list[Probe], dict[str, Candidate]]:
    """The probes with what the retriever gave for them, and the records among it that are not `known`."""
    out: list[Probe] = []
    fresh: dict[str, Candidate] = {}
    for probe in asked:
        found = [Candidate.of(record) for record in retrieve(probe.query, k)][:k]
        fresh |= {record.id: record for record in found if record.id not in known and record.id not in fresh}
        out.append(Probe(probe.name, probe.query, probe.left_out, tuple(record.id for record in found)))
    return out, fresh
