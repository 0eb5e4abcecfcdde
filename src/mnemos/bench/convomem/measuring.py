"""Runs: every item of some personas, in histories of several sizes, asked of every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from time import perf_counter

import numpy as np

from mnemos.bench.convomem.answerers import Answerer, Blocks, Extracted, LongContext, Policy, Retrieval, gated, said_in
from mnemos.bench.convomem.capacity import HELPER_ERRORS, INVENTIONS, READER_ERRORS, CapacityReader, Curve
from mnemos.bench.convomem.cases import items_of, standard_case
from mnemos.bench.convomem.judges import abstained, right
from mnemos.bench.convomem.personas import Persona, Settings
from mnemos.bench.convomem.ranking import Ranking
from mnemos.bench.convomem.rows import Trial
from mnemos.bench.convomem.schema import EvidenceItem, TestCase
from mnemos.text.reading_policy import DROP
from mnemos.text.refusal import RefusalGate

WHOLE, BY_BLOCKS, AT_ONCE, TOP_5, BY_DROP, BY_MASS, POLICY = "long context", "blocks", "extracted", "top 5", "cut, odds", "cut, 95 %", "policy"
FIXED = (WHOLE, BY_BLOCKS, AT_ONCE, TOP_5, BY_DROP, BY_MASS)
GATE = RefusalGate()
Methods = Mapping[str, Answerer]


def conversation_tokens(persona: Persona) -> float:
    """Mean tokens of the persona's filler conversations."""
    return float(np.mean([conversation.tokens for conversation in persona.fillers]))


def readers(persona: Persona) -> tuple[CapacityReader, CapacityReader]:
    """The limited reader and its lite helper, calibrated to the length of the persona's conversations."""
    tokens = conversation_tokens(persona)
    inventions = Curve.of(INVENTIONS, tokens)
    reader, helper = (CapacityReader(Curve.of(errors, tokens), inventions, persona.id) for errors in (READER_ERRORS, HELPER_ERRORS))
    return reader, helper


def methods_for(persona: Persona, ranking: Ranking) -> dict[str, Answerer]:
    """Every answerer, with the limited readers and one ranking."""
    reader, helper = readers(persona)
    return {
        WHOLE: LongContext(reader),
        BY_BLOCKS: Blocks(reader, helper=helper),
        AT_ONCE: Extracted(reader, helper=helper),
        TOP_5: Retrieval(reader, ranking=ranking),
        BY_DROP: Retrieval(reader, ranking=ranking, k=None, drop=DROP),
        BY_MASS: Retrieval(reader, ranking=ranking, k=None),
        POLICY: Policy(reader, helper=helper, ranking=ranking),
    }


def trials(settings: Settings, personas: Sequence[int], sizes: Sequence[int], say: Callable[[str], None]) -> Iterator[Trial]:
    """Every item of the personas in a history of each size that holds its evidence, answered by every method, before and after the gate."""
    for number in personas:
        say(f"persona {number + 1} of {len(personas)}")
        persona = Persona(number, settings)
        items = items_of(persona)
        with Ranking() as ranking:
            ranking.take_in([*persona.fillers, *(conversation for item in items for conversation in item.conversations)])
            methods = methods_for(persona, ranking)
            for item in items:
                for size in sizes:
                    if size >= item.evidence_count:
                        case = standard_case(item, persona, size)
                        said = said_in(case.conversations)
                        for name, method in methods.items():
                            yield ask(item, case, said, name, method)


def ask(item: EvidenceItem, case: TestCase, said: Set[str], name: str, method: Answerer) -> Trial:
    """One question to one method; `said` are the messages of the case."""
    method.history = list(case.conversations)
    start = perf_counter()
    reading, usage, plan = method.read(item.question, list(enumerate(method.history)))
    seconds = perf_counter() - start
    after = gated(GATE, item.question, reading, said)
    return Trial(
        item.scenario_description or item.question, item.person_id or "", item.category, item.evidence_count, case.context_size, name,
        right(item, reading.text), right(item, after.text), not abstained(reading.text), not abstained(after.text),
        usage, seconds, case.tokens, plan,
    )  # fmt: skip
