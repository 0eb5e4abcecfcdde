"""MemGAS (arXiv 2505.19549): several grains, weighed by how sure each is, against single grains and plain averages; associations; the cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.corpus import Corpus
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.granularity_speed import speed
from mnemos.bench.granularity_world import Asked, World, adaptive_world, linked_world
from mnemos.bench.parts import in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.strategies.sets import load as load_sets
from mnemos.bench.strategies.sets import sessions_of
from mnemos.kernel.space import Space
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM
from mnemos.text.granularity.mixture import split
from mnemos.text.granularity.router import standard
from mnemos.text.granularity.strategy import GRAINS, Granularity, Parameters, Sessions
from mnemos.text.question import Question
from mnemos.text.strategy import Recall, View

Numbers = NDArray[np.float64]
NOTES = (
    "Sessions are ranked by themselves here (recall_all@k: all sessions with evidence among the first k). A search of the strategy ranks memories: "
    "`mnemos bench strategies` compares that.",
    "Synthetic sets: hashed n-grams embed. LoCoMo: MiniLM. `turn` is the best turn of a session; the paper's is the mean, which `session` is here. "
    "Uniform weights average the grains, each in its own standard deviations.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The sheet's checks, each with its threshold."""
    return in_parts(benchmark, options, (_adaptive, _associated, _cut, _locomo, speed), NOTES)


# ---- ranking sessions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranked:
    """How each way of scoring ranks the sessions (thread words, best first) for one question, and what the router gave each grain."""

    orders: dict[str, list[str]]
    weights: Numbers


ROUTED, UNLINKED, UNIFORM = "routed + associations", "routed", "uniform weights"


def _ranked(space: Space, question: str) -> Ranked:
    """Rank the sessions of a consolidated space by each grain, by the routed sum, and by the walk from it."""
    seen: list[View] = []

    class Looking(Granularity):
        def recall(self, question: Question, view: View, k: int) -> Recall:
            seen.append(view)
            orders.append(_orders(question, view))
            return super().recall(question, view, k)

    orders: list[Ranked] = []
    known = space.system._strategies
    known[Granularity.name] = Looking()
    space.search(question, k=1)
    del known[Granularity.name]
    return orders[-1]


def _orders(question: Question, view: View) -> Ranked:
    sessions = Sessions(view)
    words = view.index.threads.words
    grains = sessions.grains()
    alone = sessions.one_turn(question)
    sure = sessions.weights(grains, Parameters(), alone)
    scores: dict[str, Numbers] = dict(zip(GRAINS, grains, strict=True))
    scores[UNIFORM] = np.mean([standard(grain) for grain in grains], axis=0)
    scores[UNLINKED] = sessions.scores(Parameters(follow=0.0), alone)
    scores[ROUTED] = sessions.scores(Parameters(), alone)
    order = {name: np.argsort(-values, kind="stable") for name, values in scores.items()}
    return Ranked({name: [words[sessions.present[at]] for at in found] for name, found in order.items()}, sure)


def _recall_all(order: Sequence[str], evidence: frozenset[str], k: int) -> float:
    return float(evidence <= set(order[:k]))


@contextmanager
def _written(world: World) -> Iterator[Space]:
    with mnemos.open(":memory:", embedder=HashedEmbedder()) as memory:
        space = memory.space("world", strategy=Granularity.name)
        space.add_many(world.records)
        space.consolidate()
        yield space


def _by_system(space: Space, asked: Sequence[Asked], k: int) -> tuple[dict[str, Numbers], list[Numbers]]:
    """Recall_all@k of each way, a value for each question, and the router's weights."""
    found = [_ranked(space, question.text) for question in asked]
    systems = found[0].orders
    values = {
        name: np.array([_recall_all(one.orders[name], question.sessions, k) for one, question in zip(found, asked, strict=True)]) for name in systems
    }
    return values, [one.weights for one in found]


# ---- 1: the grain that fits -----------------------------------------------------------------------------------------


def _adaptive(options: Options) -> tuple[list[Check], dict[str, Any]]:
    world = adaptive_world(options.rng(), sessions=100 if options.quick else 300, each=30 if options.quick else 100)
    with _written(world) as space:
        values, sure = _by_system(space, world.asked, 3)
    kinds = [question.kind for question in world.asked]
    single = {name: float(values[name].mean()) for name in GRAINS}
    routed = float(values[UNLINKED].mean())
    best = max(single.values())
    fitting = []
    for kind in dict.fromkeys(kinds):
        chosen = [at for at, one in enumerate(kinds) if one == kind]
        winner = max(range(len(GRAINS)), key=lambda grain: values[GRAINS[grain]][chosen].mean())
        means = np.mean([sure[at] for at in chosen], axis=0)
        fitting.append(float(values[GRAINS[int(np.argmax(means))]][chosen].mean() >= values[GRAINS[winner]][chosen].mean()))
    table = {
        name: {"all": float(row.mean()), **{kind: float(row[[k == kind for k in kinds]].mean()) for kind in dict.fromkeys(kinds)}}
        for name, row in values.items()
    }
    n = len(kinds)
    return [
        Check("recall_all@3, routed − best single grain", routed - best, 0.0, baseline=best, n=n),
        Check("recall_all@3, routed − uniform weights", routed - float(values[UNIFORM].mean()), 0.03, baseline=float(values[UNIFORM].mean()), n=n),
        Check("recall_all@3, routed − mean of single grains", routed - float(np.mean(list(single.values()))), 0.05, n=n),
        Check("kinds of question whose best grain has the largest weight (share)", float(np.mean(fitting)), 1.0, n=len(fitting)),
    ], {"Three kinds of question, recall_all@3": table}


# ---- 2: associations ------------------------------------------------------------------------------------------------


def _associated(options: Options) -> tuple[list[Check], dict[str, Any]]:
    world = linked_world(options.rng(), pairs=40 if options.quick else 120)
    with _written(world) as space:
        values, _ = _by_system(space, world.asked, 5)
    pair = np.array([len(question.sessions) > 1 for question in world.asked])
    with_, without = values[ROUTED], values[UNLINKED]
    table = {name: {"two sessions": float(row[pair].mean()), "one session": float(row[~pair].mean())} for name, row in values.items()}
    return [
        Check("recall_all@5, two sessions, with associations − without", float(with_[pair].mean() - without[pair].mean()), 0.05,
              baseline=float(without[pair].mean()), n=int(pair.sum())),
        Check("recall_all@5, one session, with associations − without", float(with_[~pair].mean() - without[~pair].mean()), -0.01,
              baseline=float(without[~pair].mean()), n=int((~pair).sum())),
    ], {"Linked sessions, recall_all@5": table}  # fmt: skip


# ---- 3: accept or reject --------------------------------------------------------------------------------------------


def _f1(accepted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    hit = int((accepted & truth).sum())
    return 2 * hit / max(int(accepted.sum()) + int(truth.sum()), 1)


def _planted(rng: np.random.Generator, size: int, apart: float = 4.0) -> tuple[Numbers, NDArray[np.bool_]]:
    """Thirty likenesses, `size` of them of a cluster whose mean lies `apart` standard deviations above the others'."""
    truth = np.arange(30) < size
    return 0.3 + 0.06 * (rng.standard_normal(30) + apart * truth), truth


def _cut(options: Options) -> tuple[list[Check], dict[str, Any]]:
    rng = options.rng()
    drawn = [_planted(rng, int(rng.integers(1, 21))) for _ in range(200 if options.quick else 4000)]
    ours = float(np.mean([_f1(split(scores).accepted, truth) for scores, truth in drawn]))

    def top(k: int) -> float:
        return float(np.mean([_f1(np.argsort(np.argsort(-scores)) < k, truth) for scores, truth in drawn]))

    fixed = {k: top(k) for k in range(1, 21)}
    best = max(fixed, key=lambda k: fixed[k])
    apart = np.arange(2.5, 5.01, 0.5)
    wrong = []
    for distance in apart:
        pairs = [_planted(rng, int(rng.integers(3, 16)), distance) for _ in range(150 if options.quick else 3000)]
        wrong.append(float(np.mean([np.mean(split(scores).accepted != truth) for scores, truth in pairs])))
    line = _straightness(apart, np.log(np.maximum(wrong, 1e-6)))
    return [
        Check(f"F1 of accepted neighbours − best fixed number (top {best})", ours - fixed[best], 0.0, baseline=fixed[best], n=len(drawn)),
        Check("F1 of accepted neighbours − top 5", ours - fixed[5], 0.10, baseline=fixed[5], n=len(drawn)),
        Check("log of the error against separation, R² of a line", line, 0.95, n=len(apart)),
    ], {"The cut": {"mixture": {"F1": ours}, **{f"top {k}": {"F1": value} for k, value in fixed.items() if k in (1, 3, 5, 10, best)}},
        "Error by separation": {f"{d:.1f} σ": {"error": w} for d, w in zip(apart, wrong, strict=True)}}  # fmt: skip


def _straightness(x: Numbers, y: Numbers) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


# ---- 4 and 6: LoCoMo ------------------------------------------------------------------------------------------------


def _locomo(options: Options) -> tuple[list[Check], dict[str, Any]]:
    corpora: list[Corpus] = load_sets(data_folder(options.data), options, only=("locomo",))["locomo"]
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    values: dict[str, list[float]] = {}
    clusters: list[str] = []
    kept, whole, held_kept, held_whole = 0, 0, [], []
    for corpus in corpora:
        sessions = sessions_of(corpus)
        texts = {str(record["source"]): str(record["text"]) for record in corpus.records}
        with mnemos.open(":memory:", embedder=embedder) as memory:
            space = memory.space(corpus.name, strategy=Granularity.name)
            space.add_many(list(corpus.records))
            space.consolidate()
            for question in corpus.questions:
                wanted = frozenset(sessions[source] for source in question.evidence if source in sessions)
                found = _ranked(space, question.text)
                clusters.append(question.cluster)
                for name, order in found.orders.items():
                    values.setdefault(name, []).append(_recall_all(order, wanted, 3))
                best = set(found.orders[ROUTED][:3])
                members = {source for source, session in sessions.items() if session in best}
                budget = sum(len(texts[source]) for source in members) // 2
                chosen = _filtered(space, question.text, members, texts, budget)
                whole += sum(len(texts[source]) for source in members)
                kept += sum(len(texts[source]) for source in chosen)
                held_whole.append(float(question.evidence <= members))
                held_kept.append(float(question.evidence <= chosen))
    arrays = {name: np.array(row) for name, row in values.items()}
    checks = []
    for name in GRAINS:
        gain = bootstrap_difference(arrays[ROUTED], arrays[name], clusters, options.rng())
        # The quick run asks too few conversations for an end of an interval to say anything.
        value, what = (gain.value, "") if options.quick else (gain.low, ", lower end")
        checks.append(Check(f"LoCoMo, recall_all@3, routed + associations − {name}{what}", value, -0.01, baseline=float(arrays[name].mean()),
                            interval=(gain.low, gain.high), n=gain.n))  # fmt: skip
    checks += [
        Check("LoCoMo, text of the relevant turns of three sessions ÷ of the whole sessions", kept / max(whole, 1), 0.5, at_least=False),
        Check("LoCoMo, evidence held by the relevant turns − by the whole sessions", float(np.mean(held_kept) - np.mean(held_whole)), -0.01,
              baseline=float(np.mean(held_whole)), n=len(held_whole)),
    ]  # fmt: skip
    table = {name: {"recall_all@3": float(row.mean()), "n": len(row)} for name, row in arrays.items()}
    return checks, {"LoCoMo, sessions": table}


def _filtered(space: Space, question: str, members: set[str], texts: dict[str, str], budget: int) -> set[str]:
    """The turns of some sessions that bear on a question most, verbatim, up to a number of characters."""
    out: set[str] = set()
    for hit in space.search(question, k=len(texts)):
        source = hit.cube.source
        if source in members and source not in out:
            size = len(texts[source])
            if size > budget:
                break
            out.add(source)
            budget -= size
    return out
