"""The score of an answer to a turn, by the metric of its kind."""

from __future__ import annotations

import re
from functools import lru_cache

from mnemos.base.errors import NotFound
from mnemos.bench.scbench import metrics
from mnemos.bench.scbench.functions import functions_in
from mnemos.bench.scbench.records import COMPACT, Record, Turn
from mnemos.bench.scbench.tasks import KINDS


def score(record: Record, turn: Turn, answer: str) -> dict[str, float]:
    """`{"score": …}`, from 0 to 1, by the metric of the turn's kind, and beside it what else is measured: `facts`, the recall of key facts, of a
    summary. Raises `NotFound` for a kind that is not known."""
    kind = record.kind(turn)
    if kind not in KINDS:
        raise NotFound(f"record {record.id}: kind {kind!r} of a turn is not known; there are {', '.join(KINDS)}")
    value = _value(KINDS[kind].metric, record, turn, answer)
    out = {"score": value}
    if turn.facts:
        out["facts"] = metrics.fact_recall(answer, turn.facts)
    return out


def _value(metric: str, record: Record, turn: Turn, answer: str) -> float:
    expected = [turn.answer] if isinstance(turn.answer, str) else list(turn.answer)
    if record.rendering == COMPACT:
        if metric == "letter":  # the place, then its letter
            return float(answer.split()[-1:] == expected[0].split()[-1:])
        metric = {"characters": "substring"}.get(metric, metric)
    if metric == "names":
        return metrics.names_fraction(answer, expected[0].split() if record.rendering == COMPACT else expected)
    if metric == "code":
        return metrics.code_match(answer, expected[0], _functions(record.context, record.rendering))
    if metric == "letter":
        return max((metrics.choice(answer, each, turn.options) for each in expected), default=0.0)
    measure = {
        "substring": metrics.substring, "characters": metrics.character_f1, "number": metrics.number, "rouge": metrics.rouge_l,
    }[metric]  # fmt: skip
    return max((measure(answer, each) for each in expected), default=0.0)


@lru_cache(maxsize=8)
def _functions(context: str, rendering: str) -> tuple[str, ...]:
    """The functions of a context: one lookup for all turns of a session."""
    if rendering == COMPACT:
        return tuple(re.findall(r"\bfn (\w+ \( .*? return \w+ \w+ ; \})", context))
    return tuple(functions_in(context))
