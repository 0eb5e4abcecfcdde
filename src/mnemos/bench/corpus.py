"""The common shape of a retrieval set: histories of records, and questions with the sources that answer them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Record = Mapping[str, Any]
"""Keywords of `space.add`: `text` and `source` always, `author`, `event_at`, `type`, `metadata` where the set has them."""


@dataclass(frozen=True)
class Question:
    """`evidence` names sources of the question's corpus and is seen by the scorer only; `cluster` groups what is not independent."""

    id: str
    text: str
    evidence: frozenset[str]
    category: str
    cluster: str
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """One history or pool of passages: what one space holds."""

    name: str
    records: Sequence[Record]
    questions: Sequence[Question]


def baseline_text(record: Record) -> str:
    """What every baseline and peer sees of a record: its speaker, whom the product sees in a field of its own, and its text."""
    author = record.get("author")
    return f"{author}: {record['text']}" if author else str(record["text"])


def sample_questions(corpora: Sequence[Corpus], per_category: int, rng: np.random.Generator) -> list[Corpus]:
    """The corpora with at most `per_category` questions of each category over all of them, drawn at random, in their order."""
    by_category: dict[str, list[str]] = defaultdict(list)
    for corpus in corpora:
        for question in corpus.questions:
            by_category[question.category].append(question.id)
    kept = {id for ids in by_category.values() for id in _choose(ids, per_category, rng)}
    return [replace(corpus, questions=[q for q in corpus.questions if q.id in kept]) for corpus in corpora]


def sample_corpora(corpora: Sequence[Corpus], count: int, rng: np.random.Generator, stratum: Callable[[Corpus], str]) -> list[Corpus]:
    """`count` corpora, drawn in turn from each stratum, in their order."""
    strata: dict[str, list[str]] = defaultdict(list)
    for corpus in corpora:
        strata[stratum(corpus)].append(corpus.name)
    queues = [list(rng.permutation(names)) for names in strata.values()]
    kept: list[str] = []
    while len(kept) < count and any(queues):
        kept += [queue.pop() for queue in queues if queue][: count - len(kept)]
    return [corpus for corpus in corpora if corpus.name in kept]


def _choose(items: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return list(items) if len(items) <= count else [items[i] for i in rng.choice(len(items), count, replace=False)]
