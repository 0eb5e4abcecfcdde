"""`mnemos bench redundancy`: whether the entropy of embeddings says where memories are said again.

Turns of LoCoMo conversations, embedded offline. Copies are planted: a turn takes the place of another one of its topic, said in other order or with
words left out. Of every arm the copies are the same.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import Interval, bootstrap_mean
from mnemos.bench.datasets import data_folder
from mnemos.bench.locomo import load
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.models.catalog import open_embedder
from mnemos.text.redundancy import Vectors, amount, groups, topics

SHARES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Of all turns, that say again what another one says."""
PLANTED = 0.25
"""Of the topics, in which something is said again."""
TIMES = 2
"""Turns of such a topic that say again what a third one says."""
QUICK, QUICK_TURNS = 3, 160
"""Conversations, and turns of each, of a quick run."""
NOTES = (
    "A copy has the words of a turn with the two halves of it in the other order, and one word in eight left out.",
    "Topics are those of the texts before anything is planted; in a quarter of those with five memories or more two say again what a third one says.",
    "AUC: how often a topic with copies is ranked above one without.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Monotone over planted copies; topics with copies ranked above others, against the mean cosine of their members, and by chance."""
    clock, rng = Seconds(), options.rng()
    corpora, embedder = load(data_folder(options.data)), open_embedder(threads=1)
    assert embedder is not None
    rises, areas, plain, shares = [], [], [], []
    for corpus in corpora[: QUICK if options.quick else None]:
        texts = [record["text"] for record in corpus.records if len(record["text"].split()) >= 5][: QUICK_TURNS if options.quick else None]
        options.say(f"{corpus.name}: {len(texts)} turns")
        copies = [again(text, rng) for text in texts]
        own, other = (np.asarray(embedder.embed(some), dtype=np.float32) for some in (texts, copies))
        found = [amount(with_copies(own, other, share, rng)).redundancy for share in SHARES]
        rises.append(float(np.mean(np.diff(found) > 0)))
        shares.append(found)
        area, by_cosine = ranked(own, other, rng)
        areas.append(area)
        plain.append(by_cosine)
    checks = [
        Check.of("steps of planting more copies after which redundancy is higher", _mean(rises), 1.0),
        Check.of("topics with copies ranked above others, AUC", _mean(areas), 0.8, baseline=float(np.mean(plain))),
        Check.of("… by entropy − by the mean cosine of members", _mean([a - b for a, b in zip(areas, plain, strict=True)], -1)),
    ]
    rows = {f"{share:.0%} of the turns": {"redundancy": float(np.mean([its[at] for its in shares]))} for at, share in enumerate(SHARES)}
    return Result.of(
        benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(),
        details={"tables": {"Redundancy of whole conversations, by turns that say again what others say": rows}, "notes": list(NOTES),
                 "quick": options.quick, "seed": options.seed},
    )  # fmt: skip


def again(text: str, rng: np.random.Generator) -> str:
    """The same in other words, as far as can be without a model."""
    words: list[str] = re.findall(r"\S+", text)
    at = len(words) // 2
    turned = [*words[at:], *words[:at]]
    return " ".join(word for word in turned if rng.random() >= 1 / 8) or text


def with_copies(own: Vectors, other: Vectors, share: float, rng: np.random.Generator) -> Vectors:
    """So many of the vectors [n, d] are of copies of other ones."""
    out, places = own.copy(), rng.permutation(len(own))
    count = round(share * len(own))
    for at in places[:count]:
        out[at] = other[places[count:][int(rng.integers(len(own) - count))]]
    return out


def ranked(own: Vectors, other: Vectors, rng: np.random.Generator) -> tuple[float, float]:
    """AUC of topics with copies against those without: by redundancy, and by the mean cosine of their members."""
    labels = topics(own, np.random.default_rng(0))
    large = [label for label in np.unique(labels).tolist() if (labels == label).sum() >= 5]
    chosen = set(rng.permutation(large)[: max(1, round(PLANTED * len(large)))].tolist())
    vectors = own.copy()
    for label in chosen:
        source, *into = rng.permutation(np.flatnonzero(labels == label))[: TIMES + 1].tolist()
        vectors[into] = other[source]
    found = {group.label: group.amount.redundancy for group in groups(vectors, labels) if group.label in large}
    middle = vectors.mean(0)
    cosines = {label: mean_cosine(vectors[labels == label] - middle) for label in large}
    return area(found, chosen), area(cosines, chosen)


def mean_cosine(rows: Vectors) -> float:
    """Of all pairs."""
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return float(((rows @ rows.T).sum() - len(rows)) / (len(rows) * (len(rows) - 1)))


def area(scores: dict[int, float], chosen: set[int]) -> float:
    """How often one of the chosen stands above one of the others; ties count half."""
    high = np.asarray([score for label, score in scores.items() if label in chosen])
    low: NDArray[Any] = np.asarray([score for label, score in scores.items() if label not in chosen])
    return float((high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean())


def _mean(values: list[float], least: float = 0) -> Interval:
    """Of conversations."""
    return bootstrap_mean(values, range(len(values)), np.random.default_rng(0), bounds=(least, 1))
