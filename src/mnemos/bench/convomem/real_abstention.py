"""Abstention on real conversations: LongMemEval's unanswerable questions beside answerable ones, asked of `space.answer` without a model.

Of the unanswerable ones 16 are at hand. So each answerable question is also asked with another noun, from another question of the set, in place
of one of its own; that some of those can be answered all the same counts against the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.stats import Interval, wilson
from mnemos.bench import longmemeval
from mnemos.bench.datasets import file_of, read_lines
from mnemos.bench.reader_data import f1
from mnemos.bench.refusal_fitting import SAME, Swaps
from mnemos.bench.result import Check
from mnemos.kernel.space import Space
from mnemos.text.advice import asks_advice
from mnemos.text.formats.longmemeval import question_records
from mnemos.text.formats.record import Place
from mnemos.text.refusal import RefusalGate

ANSWERABLE: int | None = None
"""Answerable questions beside the 16 unanswerable ones, drawn at random; None for all 235."""
OPEN = RefusalGate(subject=0.0, answer=0.0, likely=0.0)
"""A gate that asks for a true quote only, as the reader gives one always."""
DEFAULT = RefusalGate()
LIKELY = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
MOST_WRONG, MOST_LOST = 0.10, 0.05


def measure(folder: Path, rng: np.random.Generator, say: Callable[[str], None]) -> tuple[list[Check], dict[str, dict[str, Any]]]:
    """Unanswerable questions answered all the same, and right answers lost, by gate. Histories of 48 sessions, searched by words alone."""
    oracle, published = list(read_lines(folder, longmemeval.ORACLE)), list(read_lines(folder, longmemeval.FULL))
    fillers = list(longmemeval.filler_sessions([*published, *oracle]))
    vain = [question for question in oracle if question["question_id"].endswith("_abs")]
    rest = [question for question in oracle if not question["question_id"].endswith("_abs")]
    rest = [rest[int(i)] for i in rng.permutation(len(rest))[:ANSWERABLE]]
    swaps = Swaps(question["question"] for question in rest)
    place = Place(str(file_of(folder, longmemeval.ORACLE)))
    unanswerable, answerable, swapped, right = [], [], [], []
    for at, question in enumerate([*vain, *rest]):
        if at % 10 == 0:
            say(f"LongMemEval: question {at + 1} of {len(vain) + len(rest)}")
        history = longmemeval.assembled_history(question, fillers, longmemeval.SESSIONS, rng)
        records = [{key: value for key, value in record.items() if key != "space"} for record in question_records(history, place)]
        with mnemos.open(":memory:", embedder="none") as memory:
            space = memory.space("history")
            space.add_many(records)
            text, likely = unrefused(space, question["question"])
            if at < len(vain):
                unanswerable.append(likely)
                continue
            answerable.append(likely)
            right.append(f1(text, [str(question["answer"])]) >= SAME)
            other = swaps.swapped(question["question"], rng)
            if other is not None:
                swapped.append(unrefused(space, other)[1])
    table = {}
    for name, least in (("open", OPEN.likely), ("default", DEFAULT.likely), *((f"{one}", one) for one in LIKELY)):
        still = np.array(right) & (np.array(answerable) >= least)
        table[name] = {
            "unanswerable answered": _share(unanswerable, least).value,
            "with another noun answered": _share(swapped, least).value,
            "answerable answered": _share(answerable, least).value,
            "answered rightly": float(np.mean(still)),
            "right answers lost": float(np.mean(right) - np.mean(still)),
        }
    lost = wilson(sum(was and likely < DEFAULT.likely for was, likely in zip(right, answerable, strict=True)), len(right))
    return [
        Check.of("LongMemEval: unanswerable questions answered, default gate", _share(unanswerable, DEFAULT.likely), MOST_WRONG, at_least=False,
                 baseline=table["open"]["unanswerable answered"]),
        Check.of("LongMemEval: questions with another noun answered, default gate", _share(swapped, DEFAULT.likely),
                 baseline=table["open"]["with another noun answered"]),
        Check.of("LongMemEval: right answers lost to the gate", lost, MOST_LOST, at_least=False, baseline=table["open"]["answered rightly"]),
    ], table  # fmt: skip


def unrefused(space: Space, question: str) -> tuple[str, float]:
    """What is answered where nothing is refused, and the highest `likely` of a gate that lets it through; −1 where there is no answer."""
    found = space.answer(question, gate=OPEN)
    if not found:
        return "", -1.0
    return found.text, 1.0 if asks_advice(question) else found.confidence


def _share(likely: Sequence[float], least: float) -> Interval:
    return wilson(sum(one >= least for one in likely), len(likely))
