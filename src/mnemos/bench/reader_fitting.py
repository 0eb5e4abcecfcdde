"""Fits the weights of the extractive answerer on the half of the questions that it is developed on.

`python -m mnemos.bench.reader_fitting` prints `mnemos.text.answering.weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnemos.bench.datasets import data_folder
from mnemos.bench.reader_data import Case, f1, load, to_develop_on
from mnemos.text.answering.candidates import Source, candidates, lines_of
from mnemos.text.answering.evidence import Evidence, Matching
from mnemos.text.answering.questions import ask

Floats = NDArray[np.float64]

STEPS, RATE = 250, 0.05
DRAWN, DISTRACTORS = 150, 2
RIDGE = 0.001
"""Penalty of squared weights; chosen by leaving fifths of the developing half out."""
RIGHT = 0.55
"""Token F1 from which a candidate counts as partly right; its share of the target is F1⁴."""
RAREST = 8
"""Candidates that a piece of evidence must speak for or against, in as many questions, to be kept."""
SMALLEST = 0.02
RIGHT_ENOUGH = 0.67
"""Token F1 from which an answer counts as right where confidence is calibrated."""


@dataclass(frozen=True)
class Asked:
    """The candidates of one question: their evidence, and how right each is."""

    evidence: list[Evidence]
    target: Floats
    """(candidates,) sums to 1."""
    f1: Floats
    keys: list[str]
    dataset: str


def gather(cases: Sequence[Case], rng: np.random.Generator, all_of_them: bool = False) -> list[Asked]:
    """Each question twice: with its gold evidence, and with that among evidence of others, as a search hands it out. Only where some candidate is
    right, at least in part; `all_of_them`: also the others, and each question a third time with the others' evidence alone, of which nothing is
    right (their targets are 0)."""
    out = []
    for case in cases:
        asked = ask(case.question)
        if asked.kind in ("choice", "yes-no"):
            continue
        others = _others(case, cases, rng)
        mixed = [*case.sources, *others]
        rng.shuffle(mixed)
        for sources in (case.sources, mixed, *([others] if all_of_them else [])):
            lines = lines_of(sources, asked.terms)
            found = candidates(sources, lines)
            if not found:
                continue
            right = np.array([f1(one.shown, case.answers) if sources is not others else 0.0 for one in found])
            if all_of_them or right.max() >= RIGHT:
                target = np.where(right >= max(RIGHT, right.max() - 0.25), right**4, 0.0)
                target = target / (target.sum() or 1.0)
                matching = Matching(asked, sources, lines, found)
                out.append(Asked([matching.evidence(one) for one in found], target, right, [one.key for one in found], case.dataset))
    return out


def _others(case: Case, cases: Sequence[Case], rng: np.random.Generator) -> list[Source]:
    """Evidence of other questions of the same set: what shares most words with the question, of a few drawn at random, and as much that was drawn."""
    drawn = [cases[i] for i in rng.choice(len(cases), min(DRAWN, len(cases)), replace=False)]
    own = {source.text for source in case.sources}
    pool = [source for one in drawn if one.dataset == case.dataset for source in one.sources[:2] if source.text not in own]
    wanted = set(case.question.lower().split())
    alike = sorted(pool, key=lambda source: -len(wanted & set(source.text.lower().split())))[:DISTRACTORS]
    return [*alike, *pool[:DISTRACTORS]][: 2 * DISTRACTORS]


def fit(questions: Sequence[Asked], ridge: float = RIDGE, balance: float = 0.5) -> dict[str, float]:
    """Weights that make the right candidates likely under a softmax over each question's candidates; by Adam (Kingma and Ba, 2015), full batches.

    `balance` (0 to 1): how far small data sets are weighed up to the large ones.
    """
    counts: dict[str, int] = {}
    for question in questions:
        for name in {name for one in question.evidence for name, value in one.items() if value}:
            counts[name] = counts.get(name, 0) + 1
    names = sorted(name for name, count in counts.items() if count >= RAREST)
    place = {name: at for at, name in enumerate(names)}
    rows = [one for question in questions for one in question.evidence]
    matrix = np.zeros((len(rows), len(names)), dtype=np.float32)
    for at, one in enumerate(rows):
        for name, value in one.items():
            if name in place:
                matrix[at, place[name]] = value
    sizes = np.array([len(question.evidence) for question in questions])
    starts = np.cumsum(sizes) - sizes
    target = np.concatenate([question.target for question in questions])
    per_set = {name: sum(question.dataset == name for question in questions) for name in {question.dataset for question in questions}}
    importance = np.array([(len(questions) / per_set[question.dataset]) ** balance for question in questions])
    importance = np.repeat(importance / importance.sum(), sizes)
    weights, mean, square = np.zeros(len(names)), np.zeros(len(names)), np.zeros(len(names))
    for step in range(1, STEPS + 1):
        scores = (matrix @ weights.astype(np.float32)).astype(np.float64)
        scores -= np.repeat(np.maximum.reduceat(scores, starts), sizes)
        likely = np.exp(scores)
        likely /= np.repeat(np.add.reduceat(likely, starts), sizes)
        gradient = matrix.T @ ((likely - target) * importance).astype(np.float32) + ridge * weights
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights -= RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-9)
    return {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True) if abs(weight) >= SMALLEST}


def reached(questions: Sequence[Asked], weights: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of the best candidates, by data set; over questions of which some candidate is right."""
    out: dict[str, list[tuple[float, float]]] = {}
    for question in questions:
        best = int(np.argmax([sum(weights.get(name, 0.0) * value for name, value in one.items()) for one in question.evidence]))
        out.setdefault(question.dataset, []).append((float(question.f1[best] == 1.0), float(question.f1[best])))
    return {name: (float(np.mean([e for e, _ in got])), float(np.mean([f for _, f in got]))) for name, got in out.items()}


def calibrate(questions: Sequence[Asked], folds: int = 2) -> dict[str, float]:
    """The logistic regression from what `reader.calibrated` knows of the best candidate to whether it is right (F1 of at least `RIGHT_ENOUGH`);
    of each fold by the weights fitted on the others."""
    rows, right = [], []
    for fold in range(folds):
        weights = fit([one for at, one in enumerate(questions) if at % folds != fold and one.target.any()])
        for question in questions[fold::folds]:
            scores = np.array([sum(weights.get(name, 0.0) * value for name, value in one.items()) for one in question.evidence])
            likely = np.exp(scores - scores.max())
            likely /= likely.sum()
            shares: dict[str, float] = {}
            for key, part in zip(question.keys, likely.tolist(), strict=True):
                shares[key] = shares.get(key, 0.0) + part
            chosen = max(shares, key=lambda key: shares[key])
            best = max((at for at, key in enumerate(question.keys) if key == chosen), key=lambda at: float(scores[at]))
            bounded = min(max(shares[chosen], 1e-4), 1 - 1e-4)
            rows.append((1.0, np.log(bounded / (1 - bounded)), question.evidence[best]["sentence and title"]))
            right.append(question.f1[best] >= RIGHT_ENOUGH)
    given, wanted, found = np.array(rows), np.array(right, dtype=float), np.zeros(3)
    for _ in range(50):  # Newton's method
        likely = 1 / (1 + np.exp(-given @ found))
        found += np.linalg.solve((given * (likely * (1 - likely))[:, None]).T @ given + 1e-6 * np.eye(3), given.T @ (wanted - likely))
    return {name: round(float(value), 3) for name, value in zip(("bias", "share", "match"), found, strict=True)}


if __name__ == "__main__":
    developing = gather([case for case in load(data_folder()) if to_develop_on(case)], np.random.default_rng(0), all_of_them=True)
    print("WEIGHTS: dict[str, float] = {")
    for name, weight in fit([one for one in developing if one.target.any()]).items():
        print(f'    "{name}": {weight},')
    print("}")
    print("CALIBRATION =", str(calibrate(developing)).replace("'", '"'))
