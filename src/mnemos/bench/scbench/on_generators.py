"""What the generators have to show: an oracle is always right, guessing is chance, words alone solve nothing, long records take no time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mnemos.base.meter import Seconds
from mnemos.bench.result import Check
from mnemos.bench.scbench.baselines import bag_of_words, empty, guess
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.oracle import answers
from mnemos.bench.scbench.records import COMPACT, TEXT, Record
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import TASKS, generate

LENGTH, COMPACT_LENGTH, TURNS, LONG = 4096, 512, 5, 131_072
SESSIONS, QUICK_SESSIONS = 30, 6
GUESS_LENGTH = 8192
"""Where the strings to guess from are so many that hitting one is no chance worth mention."""
GUESSED, QUICK_GUESSED = 400, 100
"""Sessions on which guessing is measured where a guess can be right: so many that two points are more than noise."""
GUESSES, DEAR = 10, ("code", "rouge")
"""Guesses at each question, and metrics by which one is taken only: they take long, and no single word comes near an answer."""
BEST_BAG = 0.40
"""What a bag of words may score (generators above are rejected)."""
CHANCE = 0.02

Scores = dict[str, list[float]]


def measure(quick: bool, seed: int, say: Callable[[str], None]) -> tuple[list[Check], dict[str, dict[str, Any]]]:
    """Checks over all tasks, and a table of what each solver scores on each."""
    n = QUICK_SESSIONS if quick else SESSIONS
    found: dict[str, Scores] = {name: {} for name in ("oracle", "empty", "guess", "chance", "bag of words")}
    compact: Scores = {}
    for task in TASKS:
        say(f"generators: {task}")
        for number in range(n):
            record = generate(task, LENGTH, TURNS, seed + number)
            _tell(found["oracle"], record, answers(record))
            _tell(found["empty"], record, [empty(record, turn) for turn in record.turns])
            _tell(found["bag of words"], record, bag_of_words(record))
            small = generate(task, COMPACT_LENGTH, TURNS, seed + number, COMPACT)
            _tell(compact, small, answers(small))
        optioned = task in ("choice", "many_shot")
        for number in range((QUICK_GUESSED if quick else GUESSED) if optioned else n):
            record = generate(task, GUESS_LENGTH, TURNS, seed + number)
            draws = Draws("guess", record.id)
            for _ in range(1 if optioned or TASKS[task].metric in DEAR else GUESSES):
                _tell(found["guess"], record, [guess(record, turn, draws) for turn in record.turns])
            for turn in record.turns:
                found["chance"].setdefault(record.kind(turn), []).append(1 / len(turn.options) if turn.options else 0.0)
    table = {kind: {name: _mean(scores[kind]) for name, scores in found.items() if kind in scores} for kind in found["oracle"]}
    return _checks(found, compact, table, n), table


def _checks(found: Mapping[str, Scores], compact: Scores, table: Mapping[str, Mapping[str, float]], n: int) -> list[Check]:
    turns = sum(map(len, found["oracle"].values()))
    excess = max(table, key=lambda kind: table[kind]["guess"] - table[kind]["chance"])
    bag = max(table, key=lambda kind: table[kind]["bag of words"])
    least = min(_mean(scores) for scores in compact.values())
    return [
        Check("oracle, the worst kind of question, text", min(row["oracle"] for row in table.values()), 1.0, n=turns),
        Check("oracle, the worst kind of question, compact", least, 1.0, n=turns),
        Check("no answer, the best kind of question", max(row["empty"] for row in table.values()), 0.0, at_least=False, n=turns),
        Check(f"guess − chance, the best kind ({excess})", table[excess]["guess"] - table[excess]["chance"], CHANCE, at_least=False,
              n=len(found["guess"][excess])),
        Check(f"bag of words, the best kind of question ({bag})", table[bag]["bag of words"], BEST_BAG, at_least=False,
              n=len(found["bag of words"][bag])),
    ]  # fmt: skip


def speed(say: Callable[[str], None]) -> tuple[Check, dict[str, dict[str, Any]]]:
    """Seconds to generate a record of 128K tokens, the slowest of the tasks."""
    say("generators: 128K tokens")
    table: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        with Seconds() as took:
            record = generate(task, LONG, TURNS, 0, TEXT)
        table[task] = {"seconds": took.seconds, "characters": len(record.context)}
    worst = max(row["seconds"] for row in table.values())
    return Check("seconds for a record of 128K tokens, the slowest task", worst, 1.0, at_least=False, n=len(TASKS)), table


def _tell(scores: Scores, record: Record, said: list[str]) -> None:
    for turn, answer in zip(record.turns, said, strict=True):
        scores.setdefault(record.kind(turn), []).append(score(record, turn, answer)["score"])


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
