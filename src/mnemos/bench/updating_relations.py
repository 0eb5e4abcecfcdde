"""How well pairs of memories are told apart: generated pairs of many attributes, and real conversations, where each alarm costs trust."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.protocols import Embedder
from mnemos.base.stats import wilson
from mnemos.bench.datasets import data_folder, read_json, read_lines
from mnemos.bench.fact_families import CONTRASTS, FAMILIES, PARTS, Family, filled
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.updating_fitting import told_together
from mnemos.text.agreement import Agreement, Memory, ReadMemory, Relation, compare, compare_read, read_memory
from mnemos.text.formats.longmemeval import question_records
from mnemos.text.formats.record import Place

SURE = 0.8
"""The confidence from which `tend` supersedes."""
QUICK_CONVERSATIONS, QUICK_FACTS = 3, 1000
_DAY = 86_400_000_000
_START = 1_709_542_800_000_000
Turn = tuple[str, str, int]
"""Speaker, text, and the number of the session."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Checks, and a table of rows."""

    checks: list[Check]
    table: dict[str, dict[str, Any]]


def generated(rng: np.random.Generator, embedder: Embedder) -> Findings:
    """Every way to state each attribute with every way to say that it changed, once; and pairs that may both hold, in both orders."""
    rows: dict[str, dict[str, Any]] = {}
    totals = np.zeros(4, dtype=int)
    for part in PARTS:
        changes = [pair for family in FAMILIES if family.part == part for pair in _statements(family, rng)]
        both = [pair for c in CONTRASTS if c.part == part for pair in ((c.first, c.second), (c.second, c.first))]
        counts = np.array([_updates(changes, embedder), len(changes), _updates(both, embedder), len(both)])
        totals += counts
        rows[part] = _row(*counts.tolist())
    rows["all"] = _row(*totals.tolist())
    hits, n, false, _ = totals.tolist()
    return Findings([Check.of("updates found", wilson(hits, n)), Check.of("precision on generated pairs", wilson(hits, hits + false))], rows)


def _row(hits: int, n: int, false: int, contrasts: int) -> dict[str, Any]:
    precision = hits / (hits + false) if hits + false else float("nan")
    return {"pairs": n, "found": hits / n, "that may both hold": contrasts, "false alarms": false, "precision": precision}


def _statements(family: Family, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    for state, change in itertools.product(family.state, family.change):
        before, value = (family.values[i] for i in rng.choice(len(family.values), 2, replace=False))
        before = value if family.kind == "polarity" else before
        yield filled(state, before, value), filled(change, value, before)


def facts_told_together(options: Options, embedder: Embedder) -> list[Check]:
    """How many pairs of facts that one person told in one dialogue are surely said to update or contradict each other."""
    told = list(itertools.islice(told_together(options.rng(), data_folder(options.data), 1), QUICK_FACTS if options.quick else None))
    found = _updates([(pair.earlier, pair.later) for pair in told], embedder)
    return [Check.of("facts told together, sure alarms", wilson(found, len(told)))]


def _updates(pairs: Sequence[tuple[str, str]], embedder: Embedder) -> int:
    """How many of the pairs, said by one person three days apart, are surely an update or a contradiction."""
    count = 0
    vectors = [embedder.embed([pair[side] for pair in pairs]) for side in (0, 1)]
    for (first, second), one, other in zip(pairs, *vectors, strict=True):
        early = Memory(first, "Ann", event_at=_START, written=1, vector=one)
        told = compare(early, Memory(second, "Ann", event_at=_START + 3 * _DAY, written=2, vector=other))
        count += _alarming(told) and told.confidence >= SURE
    return count


def _alarming(agreement: Agreement) -> bool:
    return agreement.relation in (Relation.UPDATE, Relation.CONTRADICTION)


def conversations(options: Options) -> Findings:
    """How often turns of real conversations are said to update or contradict an earlier turn of the same speaker, all pairs compared.

    Nobody has labelled them: some of these are true (people do change, and crowd workers forget what they said). So the rate is an upper
    bound of false alarms.
    """
    folder = data_folder(options.data)
    rows: dict[str, dict[str, Any]] = {}
    turns = sure = 0
    for name, source in _SOURCES.items():
        histories = list(itertools.islice(source(folder), QUICK_CONVERSATIONS)) if options.quick else list(source(folder))
        count = sum(len(history) for history in histories)
        found = [agreement for history in histories for agreement in _alarms(history)]
        certain = [agreement for agreement in found if agreement.confidence >= SURE]
        whole = sum(agreement.outdated >= SURE for agreement in certain)
        rows[name] = {
            "conversations": len(histories),
            "turns": count,
            "sure, per 1,000": 1000 * len(certain) / max(count, 1),
            "sure, of whole memories, per 1,000": 1000 * whole / max(count, 1),
            "any, per 1,000": 1000 * len(found) / max(count, 1),
        }
        turns, sure = turns + count, sure + len(certain)
    return Findings([Check("sure alarms per 1,000 turns of real conversations", 1000 * sure / max(turns, 1), n=turns)], rows)


def _alarms(history: Sequence[Turn]) -> Iterator[Agreement]:
    earlier: dict[str, list[ReadMemory]] = defaultdict(list)
    for number, (speaker, text, session) in enumerate(history):
        memory = read_memory(Memory(text, speaker, "turn", event_at=_START + session * _DAY, written=number))
        if not memory.statements:
            continue
        for other in earlier[speaker]:
            agreement = compare_read(other, memory)
            if _alarming(agreement):
                yield agreement
        earlier[speaker].append(memory)


def _locomo(folder: Path) -> Iterator[list[Turn]]:
    for sample in read_json(folder, "locomo/locomo_dev.json.gz"):
        sessions = itertools.takewhile(sample["conversation"].__contains__, (f"session_{n}" for n in itertools.count(1)))
        turns = [(7 * number, turn) for number, key in enumerate(sessions, 1) for turn in sample["conversation"][key]]
        yield [(turn["speaker"], turn["text"], day) for day, turn in turns]


def _msc(folder: Path) -> Iterator[list[Turn]]:
    for dialogue in read_lines(folder, "msc/msc_dev.jsonl.gz"):
        yield [(turn["speaker"], turn["text"], 3 * session["session"]) for session in dialogue["sessions"] for turn in session["turns"]]


def _memdaily(folder: Path) -> Iterator[list[Turn]]:
    for trajectory in read_lines(folder, "memdaily/memdaily_dev.jsonl.gz"):
        yield [("user", message["message"], number // 2) for number, message in enumerate(trajectory["message_list"])]


def _longmemeval(folder: Path) -> Iterator[list[Turn]]:
    for question in read_lines(folder, "longmemeval/s_dev.jsonl.gz"):
        records = question_records(question, Place("longmemeval"))
        yield [("user", record["text"], record["metadata"]["session"]) for record in records if record["author"] == "user"]


_SOURCES: dict[str, Callable[[Path], Iterator[list[Turn]]]] = {
    "LoCoMo": _locomo, "MSC": _msc, "MemDaily (Chinese)": _memdaily, "LongMemEval, users": _longmemeval,
}  # fmt: skip
