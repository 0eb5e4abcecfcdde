"""Ways to gather evidence for a question from one space, at the same number of passages: one search, several with a flat list, and investigations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mnemos.index.terms import query_terms
from mnemos.kernel.space import Space
from mnemos.text.hypergraph.answering import STEADY, Room
from mnemos.text.hypergraph.evidence import terms_of
from mnemos.text.hypergraph.planning import Mode
from mnemos.text.hypergraph.session import Settings
from mnemos.text.sentence_spans import sentence_spans

PASSAGES = 20
"""Of each context."""
TURNS = 3
PER_SEARCH = 10
"""Passages of a search of the flat way: as many as a sub-query of an investigation."""
CONCERNS = 3

Arm = Callable[[Space, str], list[str]]
"""(space, question) → the sources of at most `PASSAGES` passages."""


def arms(settings: Settings | None = None) -> Mapping[str, Arm]:
    """By name. `settings` of the investigations; how much their contexts hold is set here."""
    full = replace(settings or Settings(), turns=TURNS, concerns=CONCERNS, room=Room(passages=PASSAGES, tokens=100_000))
    return {
        "one search": one_search,
        "flat list": flat_list,
        "no merge": lambda space, question: investigated(space, question, replace(full, merge_every=0)),
        "local": lambda space, question: investigated(space, question, replace(full, mode=Mode.LOCAL)),
        "global": lambda space, question: investigated(space, question, replace(full, mode=Mode.GLOBAL)),
        "hypergraph": lambda space, question: investigated(space, question, full),
    }


def investigated(space: Space, question: str, settings: Settings) -> list[str]:
    """The passages of an investigation's context."""
    return [space.get(passage.id).source or "" for passage in space.investigate(question, settings).context().passages]


def one_search(space: Space, question: str) -> list[str]:
    return [hit.cube.source or "" for hit in space.search(question, k=PASSAGES)]


def flat_list(space: Space, question: str) -> list[str]:
    """As many searches as an investigation has: the memory is a list of sentences, and each of the best new ones is the next search, with the words
    of the question that no sentence of the list holds (IRCoT, arXiv 2212.10509, section 3, without a language model)."""
    wanted = dict(zip(query_terms(question).hashes.tolist(), query_terms(question).words, strict=True))
    told: set[str] = set()
    direct: dict[str, int] = {}
    best: dict[str, float] = {}
    queries = [question]
    held: set[int] = set()
    for turn in range(TURNS + 1):
        fresh: dict[str, float] = {}
        for query in queries:
            for rank, hit in enumerate(space.search(query, k=PER_SEARCH), 1):
                source = hit.cube.source or ""
                if turn == 0:
                    direct[source] = rank
                best[source] = max(best.get(source, 0.0), 1 / (STEADY + rank))
                for sentence in sentence_spans(hit.cube.text or ""):
                    if sentence.text not in told:
                        own = terms_of(sentence.text)
                        fits = len(own & wanted.keys()) + len(own & terms_of(query)) / len(own | {0})
                        fresh[sentence.text] = max(fresh.get(sentence.text, 0.0), fits)
        chosen = sorted(fresh, key=lambda text: (-fresh[text], text))[:CONCERNS]
        told |= fresh.keys()
        held |= {one for text in chosen for one in terms_of(text)}
        lacking = " ".join(word for one, word in wanted.items() if one not in held)
        queries = [f"{text} {lacking}".strip() for text in chosen]
    value = {source: found + (1 / (STEADY + direct[source]) if source in direct else 0.0) for source, found in best.items()}
    return sorted(value, key=lambda source: (-value[source], source))[:PASSAGES]
