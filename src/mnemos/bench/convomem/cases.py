"""Histories of a given size around evidence: one item each (standard), or many items of one persona (batched)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.bench.convomem.personas import MOST_EVIDENCE, Persona, Settings
from mnemos.bench.convomem.schema import CATEGORIES, Conversation, EvidenceItem, TestCase

MOST_BATCHED = 100
BATCHED_FROM = 50
"""Conversations from which items share a history: smaller ones would be nothing but evidence."""
EVIDENCE_SHARE = 0.5
"""Of a batched history, at most. In the paper's, completeness overrides size: a history of 150 may hold 100 conversations with evidence."""


def items_of(persona: Persona, rounds: int = 1) -> list[EvidenceItem]:
    """`rounds` items of each category and number of evidence messages (changing facts have 2 or more).

    Raises `Invalid` for more rounds than the smallest vocabulary allows, which is one.
    """
    counts = {category: [count for count in range(1, MOST_EVIDENCE + 1) if count > (category == "changing_facts")] for category in CATEGORIES}
    return [
        persona.item(category, count, number * len(counts[category]) + i)
        for category in CATEGORIES
        for number in range(rounds)
        for i, count in enumerate(counts[category])
    ]


def standard_case(item: EvidenceItem, persona: Persona, size: int) -> TestCase:
    """A history of `size` conversations: the item's evidence, its order kept, at random places among the persona's first fillers.

    Raises `Invalid` where the evidence does not fit, or the persona has too few fillers, or is not the item's.
    """
    return _case([item], persona, size)


def batched_cases(items: Sequence[EvidenceItem], persona: Persona, size: int) -> Iterator[TestCase]:
    """Histories of `size` conversations that several items of the persona share: evidence fills at most half of each."""
    if size < BATCHED_FROM:
        raise Invalid(f"ConvoMem: histories are shared from {BATCHED_FROM} conversations on, not {size}")
    batch: list[EvidenceItem] = []
    held = 0
    for item in items:
        if batch and (held + len(item.conversations) > EVIDENCE_SHARE * size or len(batch) == MOST_BATCHED):
            yield _case(batch, persona, size)
            batch, held = [], 0
        batch.append(item)
        held += len(item.conversations)
    if batch:
        yield _case(batch, persona, size)


def _case(items: Sequence[EvidenceItem], persona: Persona, size: int) -> TestCase:
    strangers = [item.person_id for item in items if item.person_id != persona.id]
    if strangers:
        raise Invalid(f"ConvoMem: items of {strangers[0]} do not belong in the history of {persona.id}; personas are never mixed")
    evidence = [conversation for item in items for conversation in item.conversations]
    fillers = size - len(evidence)
    if not 0 <= fillers <= len(persona.fillers):
        raise Invalid(
            f"ConvoMem: {len(evidence)} conversations with evidence and {len(persona.fillers)} fillers make no history of {size} conversations"
        )
    rng = np.random.default_rng([persona.settings.seed, persona.number, 3, crc32(f"{items[0].scenario_description}/{size}".encode())])
    owner = np.repeat(np.arange(len(items)), [len(item.conversations) for item in items])
    waiting = [iter(item.conversations) for item in items]
    order = [next(waiting[int(which)]) for which in rng.permutation(owner)]  # items interleave, each in its own order
    places = set(rng.choice(size, len(order), replace=False).tolist())
    rest, told = iter(persona.fillers[:fillers]), iter(order)
    conversations: list[Conversation] = [next(told) if i in places else next(rest) for i in range(size)]
    return TestCase(tuple(items), tuple(conversations), size)


def standard_cases(settings: Settings, sizes: Iterable[int], personas: Iterable[int], rounds: int = 1) -> Iterator[TestCase]:
    """Every item of the personas in a history of each size that holds its evidence, one persona after the other."""
    sizes = tuple(sizes)
    for number in personas:
        persona = Persona(number, settings)
        for item in items_of(persona, rounds):
            for size in sizes:
                if size >= item.evidence_count:
                    yield standard_case(item, persona, size)
