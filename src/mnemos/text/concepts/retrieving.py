"""Which concepts of a large memory a problem is shown: features, words and meaning of cues give at most forty, and their types bring in what fits
their parameters.

ArcMemo (arXiv 2509.04439) puts the whole memory before a reasoning model, which is the first thing to break as it grows; these two stages are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms
from mnemos.text.concepts.concept import Concept
from mnemos.text.concepts.memory import Embed
from mnemos.text.concepts.selecting import Selector
from mnemos.text.concepts.types import Type, fits
from mnemos.text.trajectories.credit import Counts

MOST = 40
"""Concepts of the first stage."""
PER_PARAMETER = 2
"""Concepts that are brought in for one parameter."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How concepts are ranked: log odds of the features + `words` · share of the query's words (by inverse document frequency) + `cosine` · cosine of
    text and query; `credit` · (share of successes among problems it was selected for − ½) breaks ties. Ours."""

    words: float = 2.0
    cosine: float = 2.0
    credit: float = 0.2


class Retriever:
    """Concepts as they are searched. `credit` gives the counts of a concept's use, by name."""

    def __init__(
        self, concepts: Sequence[Concept], selector: Selector, embed: Embed | None = None, credit: Callable[[str], Counts] | None = None,
        weights: Weights = Weights(),
    ) -> None:  # fmt: skip
        self.concepts = {one.name: one for one in concepts}
        self._selector, self._embed, self._credit, self._weights = selector, embed, credit, weights
        self._lexical = LexicalIndex()
        self._lexical.append([pack_terms(_searched(one)) for one in concepts])
        self._vectors: NDArray[np.float32] | None = None

    def scores(self, features: Sequence[str] = (), description: str = "") -> dict[str, float]:
        """How well each concept fits a problem, by what its pairs have in common and by its description in words."""
        names = list(self.concepts)
        told = self._selector.scores(features, names)
        total = np.array([told[name] for name in names])
        query = "; ".join([*features, *([description] if description else [])])
        if query and names:
            total += self._weights.words * self._lexical.search(query).coverage
            vectors = self._embedded()
            asked = self._embed([query]) if vectors is not None and self._embed is not None else None
            if vectors is not None and asked is not None:
                total += self._weights.cosine * (vectors @ asked[0])
        if self._credit is not None:
            rates = [self._credit(name).rate for name in names]
            total += self._weights.credit * np.array([0.0 if rate is None else rate - 0.5 for rate in rates])
        return dict(zip(names, total.tolist(), strict=True))

    def shortlist(
        self, features: Sequence[str] = (), description: str = "", *, most: int = MOST, given: Sequence[Type] = (),
        scores: Mapping[str, float] | None = None,
    ) -> list[str]:  # fmt: skip
        """At most `most` names, best first, and behind them what fits the parameters of those, one step. `given`: types that a problem provides
        itself (its input, its constants), for which nothing is brought in."""
        told = self.scores(features, description) if scores is None else scores
        ranked = sorted(self.concepts, key=lambda name: -told[name])
        chosen = ranked[:most]
        held = set(chosen)
        closure = []
        for name in chosen:
            for wanted in self.concepts[name].parameter_types():
                if wanted is None or wanted in given:
                    continue
                fitting = [other for other in ranked if fills(self.concepts[other], wanted)][:PER_PARAMETER]
                closure += [other for other in fitting if other not in held]
                held.update(fitting)
        return [*chosen, *closure]

    def _embedded(self) -> NDArray[np.float32] | None:
        if self._vectors is None and self._embed is not None:
            self._vectors = self._embed([_searched(one) for one in self.concepts.values()])
        return self._vectors


def _searched(concept: Concept) -> str:
    return "\n".join([concept.name.replace("_", " "), concept.description or "", *concept.cues, *concept.aliases])


def fills(concept: Concept, wanted: Type) -> bool:
    """Whether a concept gives what a parameter takes: by its output or, of a callable, by its own signature."""
    output = concept.output
    if output is None:
        return False
    if not wanted.callable:
        return fits(output, wanted)
    types = concept.parameter_types()
    return bool(types) and types[0] is not None and fits(output, wanted.result) and all(fits(one, types[0]) for one in wanted.parameters[:1])
