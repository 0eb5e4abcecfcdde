"""Where the weights of `text.recipe` come from: `python -m mnemos.bench.fitting` fits them again on the development sets.

Each question is a choice among the rows of its space. First, listwise maximum likelihood (Cao et al., Learning to Rank: From Pairwise
Approach to Listwise Approach, 2007), each evidence row against the rows that are none: convex, by Newton's method. From there, gradient
steps on a smooth recall@10. Last, one scale over all weights, so that differences of scores are log odds again. In copies of a part of the
questions all words are dropped, so that meaning carries where words fail.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.protocols import Embedder
from mnemos.bench import bfcl_memory, locomo, longmemeval, multihop, nq_open, qmsum
from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.registry import Options
from mnemos.index.space_index import SpaceIndex
from mnemos.models.minilm import MiniLM
from mnemos.text.question import analyse
from mnemos.text.ranking import Rows, evidence, links, own_evidence
from mnemos.text.recipe import DEFAULT, WORDS_ONLY, Recipe

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

NAMES = tuple(field.name for field in fields(Recipe) if field.type == "float")
HELD = ("own_words", "said_then")
"""Weights that are not fitted: they rest on few kinds of questions, and are kept below what fits these."""

SETS: dict[str, float] = {"locomo": 1.0, "longmemeval": 1.0, "qmsum": 0.5, "multihop": 0.5, "bfcl-memory": 0.3, "nq-open": 0.5}
"""The sets and what each counts, however many questions it has: conversations most, since a memory holds those."""
SCALE = 200.0
"""Weight of all questions of a set that counts 1, against a penalty of half the squared length of the weights."""
KEPT = 200
"""Rows of a question that are looked at: the best by the weights before, and its evidence."""
WORDLESS = 0.1
"""Weight of a question's copy without words."""
K, STEPS, RATE, WIDTH = 10, 250, 0.03, 0.25
"""Recall at which rank; gradient steps, their rate (Adam's), and the width of the smooth step in units of the score."""


@dataclass(frozen=True)
class Choice:
    """One question: the evidence for each row, and which rows answer it."""

    name: str
    cluster: str
    x: Floats
    """(rows, len(NAMES)), best by the weights before first."""
    gold: Mask
    unit: NDArray[np.int64]
    """(rows,) rows of one unit count once among the first ten: the parts of a long turn."""
    wanted: int
    """Pieces of evidence that there are, among the rows or not."""
    weight: float = 1.0

    def recall(self, w: Floats, k: int = K) -> float:
        order = np.argsort(-(self.x @ w), kind="stable")
        first = np.sort(np.unique(self.unit[order], return_index=True)[1])[:k]
        return float(np.count_nonzero(self.gold[order[first]])) / self.wanted


def weights_of(recipe: Recipe) -> Floats:
    return np.array([getattr(recipe, name) for name in NAMES])


def with_weights(recipe: Recipe, w: Floats) -> Recipe:
    rounded: dict[str, Any] = {name: round(float(value), 2) for name, value in zip(NAMES, w, strict=True)}
    return replace(recipe, **rounded)


# -- the questions --
def choices(name: str, corpora: Iterable[Corpus], embedder: Embedder, recipe: Recipe = DEFAULT) -> Iterator[Choice]:
    """The questions of a set, each corpus in a store in memory."""
    for corpus in corpora:
        with mnemos.open(":memory:", embedder=embedder) as memory:
            space = memory.space(corpus.name)
            space.add_many(list(corpus.records))
            with memory.snapshot() as snapshot:
                index = memory.index(space.num, snapshot)
                index.catch_up(snapshot)
                for question in corpus.questions:
                    yield _choice(name, question, index, embedder, memory.clock(), recipe)


def _choice(name: str, question: Question, index: SpaceIndex, embedder: Embedder, now: int, recipe: Recipe) -> Choice:
    everything = np.ones(len(index), dtype=np.bool_)
    asked = analyse(question.text, tuple(index.authors.words), now, index.span(everything))
    rows = Rows(index.thread.view(), index.author.view(), index.event_at.view(), index.flags.view(), index.moments.view())
    cosines = index.vectors.cosines(dict.fromkeys(index.vectors, embedder.embed([asked.voiced])[0]))
    near = own_evidence(asked, rows, index.lexical, cosines, None, recipe)
    found = {key: value for _, key, value in evidence(asked, rows, index.lexical, near, recipe)}
    total = sum((np.float32(getattr(recipe, key)) * value for key, value in found.items()), np.zeros(len(near.places), dtype=np.float32))
    found |= dict(links(asked, total, index.lexical, None, near, recipe))
    nothing = np.zeros(len(near.places), dtype=np.float32)
    x = np.column_stack([found.get(key, nothing) for key in NAMES]).astype(np.float64)
    sources = [index.sources.words[code] for code in index.source.view()[near.places].tolist()]
    gold = np.array([source in question.evidence for source in sources])
    best = np.argsort(-(x @ weights_of(recipe)), kind="stable")
    kept = best[(np.arange(len(best)) < KEPT) | gold[best]]
    whole = index.whole.view()[near.places].astype(np.int64)
    unit = np.where(whole >= 0, whole, -1 - np.arange(len(whole)))
    return Choice(name, question.cluster, x[kept], gold[kept], unit[kept], len(question.evidence))


def wordless(choice: Choice) -> Choice:
    """The question as it would be if no row shared a word with it."""
    x = choice.x.copy()
    for at, name in enumerate(NAMES):
        if name.endswith("_unworded"):
            x[:, at] = x[:, NAMES.index(name.removesuffix("_unworded"))]
        elif name in ("both", "heading", "linked", "linked_alone", "answers_words") or name.startswith(("words", "coverage", "together")):
            x[:, at] = 0
    return replace(choice, x=x, weight=choice.weight * WORDLESS)


# -- fitting --
def most_likely(questions: Sequence[Choice], start: Floats, free: Mask) -> Floats:
    """The weights that make the evidence most likely, each piece against the rows that are none; those not `free` stay."""
    w, loss = start.copy(), _loss(questions, start, free)
    for _ in range(30):
        gradient, curvature = _slope(questions, w, free)
        step = np.zeros_like(w)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        length = 1.0
        while (new := _loss(questions, w - length * step, free)) > loss and length > 1e-3:
            length /= 2
        w = w - length * step
        if loss - new < 1e-4 * abs(loss):
            break
        loss = new
    return w


def _loss(questions: Sequence[Choice], w: Floats, free: Mask) -> float:
    total = 0.5 * float(w[free] @ w[free])
    for choice in questions:
        scores = choice.x @ w
        peak = scores.max()
        rest = np.exp(scores[~choice.gold] - peak).sum()
        total += choice.weight * float((np.log(np.exp(scores[choice.gold] - peak) + rest) + peak - scores[choice.gold]).mean())
    return total


def _slope(questions: Sequence[Choice], w: Floats, free: Mask) -> tuple[Floats, Floats]:
    """Gradient and Hessian of `_loss`."""
    gradient, curvature = np.where(free, w, 0.0), np.eye(len(w))
    for choice in questions:
        scores = choice.x @ w
        power = np.exp(scores - scores.max())
        rest, evidence_rows = choice.x[~choice.gold], choice.x[choice.gold]
        share = power[~choice.gold] / power[~choice.gold].sum()
        likely = power[choice.gold] / (power[choice.gold] + power[~choice.gold].sum())
        mean = share @ rest
        apart = evidence_rows - mean
        gradient -= choice.weight * ((1 - likely)[:, None] * apart).mean(axis=0)
        spread = (rest * share[:, None]).T @ rest - np.outer(mean, mean)
        curvature += choice.weight * ((1 - likely).mean() * spread + (apart * (likely * (1 - likely))[:, None]).T @ apart / len(likely))
    return gradient, curvature


def for_recall(questions: Sequence[Choice], start: Floats, free: Mask) -> Floats:
    """From `start`, steps that bring evidence past the row that holds rank K against it; near misses pull most. Kept close to `start`."""
    w, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, STEPS + 1):
        gradient = w - start
        for choice in questions:
            scores = choice.x @ w
            others = np.argsort(-scores[~choice.gold])
            place = min(max(K - int(choice.gold.sum()) + 1, 3), len(others))
            rivals = others[max(0, place - 3) : place + 3]
            behind = (scores[~choice.gold][rivals].mean() - scores[choice.gold]) / WIDTH
            chance = 1 / (1 + np.exp(-np.clip(behind, -30, 30)))
            pull = 4 * chance * (1 - chance)
            gradient += choice.weight * (pull[:, None] * (choice.x[~choice.gold][rivals].mean(axis=0) - choice.x[choice.gold])).mean(axis=0)
        gradient[~free] = 0
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        w -= RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
    return w


def scaled(questions: Sequence[Choice], w: Floats) -> Floats:
    """`w` times the scale at which the softmax of the scores gives the evidence the greatest likelihood."""

    def loss(scale: float) -> float:
        total = 0.0
        for choice in questions:
            scores = scale * (choice.x @ w)
            total += choice.weight * float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[choice.gold].mean())
        return total

    best: float = min(np.linspace(0.5, 2.0, 31).tolist(), key=loss)
    return w * best


def fitted(questions: Sequence[Choice], start: Recipe) -> Recipe:
    """The recipe fitted to `questions`; weights that are 0 in `WORDS_ONLY` stay so where `start` is that."""
    usable = [choice for choice in questions if choice.gold.any() and not choice.gold.all()]
    w = weights_of(start)
    free = np.array([name not in HELD for name in NAMES])
    if start is WORDS_ONLY:
        free &= w != 0
    copies = [] if start is WORDS_ONLY else [wordless(choice) for choice in usable]
    w = for_recall([*usable, *copies], most_likely([*usable, *copies], w, free), free)
    return with_weights(start, scaled(usable, w))


# -- the run --
def _loaders(folder: Path, seed: int) -> dict[str, Callable[[], Sequence[Corpus]]]:
    return {
        "locomo": lambda: locomo.load(folder),
        "longmemeval": lambda: longmemeval.load(folder, Options(data=folder, seed=seed)),
        "qmsum": lambda: qmsum.load(folder),
        "multihop": lambda: multihop.load(folder),
        "bfcl-memory": lambda: bfcl_memory.load(folder)[0],
        "nq-open": lambda: [nq_open.load(folder)],
    }


def _report(title: str, recalls: dict[str, list[float]]) -> None:
    print(f"{title:28}", "  ".join(f"{name} {np.mean(values):.4f}" for name, values in recalls.items()), flush=True)


def _recalls(questions: Sequence[Choice], recipe: Recipe) -> dict[str, list[float]]:
    out: dict[str, list[float]] = {}
    for choice in questions:
        out.setdefault(choice.name, []).append(choice.recall(weights_of(recipe)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mnemos.bench.fitting", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=7, help="of the assembled LongMemEval histories; the benchmark uses 0")
    parser.add_argument("--folds", type=int, default=4, help="groups of whole conversations that are left out in turn; 0 leaves none out")
    parser.add_argument("--words-only", action="store_true", help="fit the recipe for stores without an embedder")
    given = parser.parse_args()
    start = WORDS_ONLY if given.words_only else DEFAULT
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    questions: list[Choice] = []
    for name, load in _loaders(data_folder(given.data), given.seed).items():
        found = list(choices(name, load(), embedder, start))
        questions += [replace(choice, weight=SCALE * SETS[name] / len(found)) for choice in found]
        _report(f"{name}, as it is", _recalls(found, start))
    left: dict[str, list[float]] = {}
    for fold in range(given.folds):
        inside = [choice for choice in questions if zlib.crc32(choice.cluster.encode()) % given.folds != fold]
        outside = [choice for choice in questions if zlib.crc32(choice.cluster.encode()) % given.folds == fold]
        for name, values in _recalls(outside, fitted(inside, start)).items():
            left.setdefault(name, []).extend(values)
    if left:
        _report("left out", left)
    final = fitted(questions, start)
    _report("fitted", _recalls(questions, final))
    for name in NAMES:
        print(f"    {name}={getattr(final, name)},")


if __name__ == "__main__":
    main()
