"""Abstention on real conversations: LongMemEval's unanswerable questions beside answerable ones, asked of `space.answer` without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.stats import wilson
from mnemos.bench import longmemeval
from mnemos.bench.datasets import file_of, read_lines
from mnemos.bench.reader_data import f1
from mnemos.bench.result import Check
from mnemos.text.formats.longmemeval import question_records
from mnemos.text.formats.record import Place
from mnemos.text.refusal import RefusalGate

ANSWERABLE = 100
"""Answerable questions beside the 16 unanswerable ones, drawn at random."""
SAME = 0.5
"""F1 of words from which an answer counts as the gold one."""
OPEN = RefusalGate(subject=0.0, answer=0.0)
"""A gate that asks for a true quote only, as the reader gives one always."""
GATES = (0.6, 0.7, 0.8, 0.9)
MOST_WRONG, MOST_LOST = 0.10, 0.05


def measure(folder: Path, rng: np.random.Generator, say: Callable[[str], None]) -> tuple[list[Check], dict[str, dict[str, Any]]]:
    """Unanswerable questions answered all the same, and right answers lost, by gate. Histories of 48 sessions, searched by words alone."""
    oracle, published = read_lines(folder, longmemeval.ORACLE), read_lines(folder, longmemeval.FULL)
    fillers = list(longmemeval.filler_sessions([*published, *oracle]))
    vain = [question for question in oracle if question["question_id"].endswith("_abs")]
    rest = [question for question in oracle if not question["question_id"].endswith("_abs")]
    asked = vain + [rest[int(i)] for i in rng.permutation(len(rest))[:ANSWERABLE]]
    place = Place(str(file_of(folder, longmemeval.ORACLE)))
    gates = {"open": OPEN, "default": RefusalGate(), **{f"{share}": RefusalGate(subject=share) for share in GATES}}
    claims = {name: np.zeros(len(asked), dtype=bool) for name in gates}
    right = {name: np.zeros(len(asked), dtype=bool) for name in gates}
    for at, question in enumerate(asked):
        if at % 10 == 0:
            say(f"LongMemEval: question {at + 1} of {len(asked)}")
        history = longmemeval.assembled_history(question, fillers, longmemeval.SESSIONS, rng)
        records = [{key: value for key, value in record.items() if key != "space"} for record in question_records(history, place)]
        with mnemos.open(":memory:", embedder="none") as memory:
            space = memory.space("history")
            space.add_many(records)
            for name, gate in gates.items():
                found = space.answer(question["question"], gate=gate)
                claims[name][at] = bool(found)
                right[name][at] = bool(found) and f1(found.text, [str(question["answer"])]) >= SAME
    unanswerable = np.arange(len(asked)) < len(vain)
    table = {
        name: {
            "unanswerable answered": float(claims[name][unanswerable].mean()),
            "answerable answered": float(claims[name][~unanswerable].mean()),
            "answered rightly": float(right[name][~unanswerable].mean()),
        }
        for name in gates
    }
    wrong = wilson(int(claims["default"][unanswerable].sum()), len(vain))
    lost = table["open"]["answered rightly"] - table["default"]["answered rightly"]
    n = len(asked) - len(vain)
    return [
        Check.of("LongMemEval: unanswerable questions answered, default gate", wrong, MOST_WRONG, at_least=False,
                 baseline=table["open"]["unanswerable answered"]),
        Check("LongMemEval: right answers lost to the gate", lost, MOST_LOST, at_least=False, baseline=table["open"]["answered rightly"], n=n),
    ], table  # fmt: skip
