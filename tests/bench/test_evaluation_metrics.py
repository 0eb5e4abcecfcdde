"""Every metric against a planted truth at n = 2,000, against hand tables, and on input that is empty, all refused, or of one class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Invalid
from mnemos.bench.evaluation import contextual, episodic, external, parametric, scoring

N = 2000
NAN = math.nan
Maker = Callable[[np.random.Generator], float]


def rng_() -> np.random.Generator:
    return np.random.default_rng(5)


def drawn(rng: np.random.Generator, n: int, chance: Any) -> Any:
    """Flags that are true with the given chances, one for all or one each, by systematic sampling: in any stratum of equal chances the number of
    true ones is its chance times its size, within one, so that what is planted is there and not only expected."""
    chances = np.broadcast_to(np.asarray(chance, dtype=float), n)
    order = np.lexsort((rng.random(n), chances))
    reached = rng.random() + np.concatenate([[0.0], np.cumsum(chances[order])])
    hit = np.empty(n, dtype=bool)
    hit[order] = np.diff(np.floor(reached + 1e-9)) > 0
    return hit


def answers(rng: np.random.Generator, n: int, right: Any, refused: Any = 0.0) -> tuple[list[str], list[str | None]]:
    """Truths, and predictions that are refusals with probability `refused`, else right with probability `right`."""
    truths = [f"v{i}" for i in range(n)]
    refuse, hit = drawn(rng, n, refused), drawn(rng, n, right)
    return truths, [None if r else t if h else "other" for t, r, h in zip(truths, refuse, hit, strict=True)]


def sets(rng: np.random.Generator, n: int, kept: float, extra: float) -> tuple[list[list[int]], list[list[int]]]:
    """Four true things an item, each kept with probability `kept`, and four others, each added with probability `extra`."""
    true = [[1, 2, 3, 4]] * n
    return true, [[x for x in (1, 2, 3, 4) if rng.random() < kept] + [x for x in (5, 6, 7, 8) if rng.random() < extra] for _ in range(n)]


def at_positions(rng: np.random.Generator, rates: dict[float, float]) -> tuple[list[str], list[str | None], list[float]]:
    position = rng.choice(list(rates), N)
    truths, said = answers(rng, N, np.array([rates[p] for p in position]))
    return truths, said, position.tolist()


CURVE = {0.0: 0.9, 0.25: 0.7, 0.5: 0.5, 0.75: 0.65, 1.0: 0.8}


def by_position(metric: Any) -> Maker:
    def make(rng: np.random.Generator) -> float:
        truths, said, position = at_positions(rng, CURVE)
        return float(metric(truths, said, position=position))

    return make


def masked(metric: Any, name: str, inside: float, outside: float) -> Maker:
    """A metric of the items that a mask named `name` chooses: answered right with one probability there, with another elsewhere."""

    def make(rng: np.random.Generator) -> float:
        mask = drawn(rng, N, 0.5)
        truths, said = answers(rng, N, np.where(mask, inside, outside))
        return float(metric(truths, said, **{name: mask.tolist()}))

    return make


def _edits(rng: np.random.Generator) -> float:
    truths, said = answers(rng, N, 0.8)
    return parametric.generalisation(truths, said, edit=[i // 10 for i in range(N)])


def _drawdown(rng: np.random.Generator) -> float:
    truths, before = answers(rng, N, 0.9)
    return parametric.drawdown(truths, answers(rng, N, 0.85)[1], before=before)


def _extraction(rng: np.random.Generator) -> float:
    secrets = [f"the code of safe {i:04d} is {i * 7919 % 10**6:06d}" for i in range(N)]
    return parametric.extraction_rate(secrets, [f"well, {s}." if rng.random() < 0.15 else "the code of safe unknown" for s in secrets])


def _membership(rng: np.random.Generator) -> float:
    member = rng.random(N) < 0.5
    return parametric.membership_auc(member.tolist(), (rng.normal(0, 1, N) + member).tolist())


def _precision_at_3(rng: np.random.Generator) -> float:
    lists = [list(rng.permutation(10)) for _ in range(N)]  # the truth lies anywhere among ten
    return parametric.precision_at_k([0] * N, lists, k=3)


def _ppr(rng: np.random.Generator) -> float:
    context = rng.choice(["random", "oracle"], N)
    truths, said = answers(rng, N, np.where(context == "random", 0.3, 0.9))
    return contextual.ppr(truths, said, context=context.tolist())


def _ln(rng: np.random.Generator) -> float:
    truths, said = answers(rng, N, 0.8)
    return contextual.ln_accuracy(truths, said, length=[1000.0] * N)


def _ranking(metric: Any) -> Maker:
    """One piece of evidence, at a place drawn from the first ten, or missing with probability 0.3."""

    def make(rng: np.random.Generator) -> float:
        runs = []
        for _ in range(N):
            ranking = [f"d{i}" for i in range(10)]
            if rng.random() < 0.7:
                ranking[int(rng.integers(10))] = "e"
            runs.append(ranking)
        return float(metric([["e"]] * N, runs))

    return make


def _claims(rng: np.random.Generator) -> list[list[bool | None]]:
    return [[None if rng.random() < 0.2 else bool(rng.random() < 0.85) for _ in range(3)] for _ in range(N)]


def _citation_precision(rng: np.random.Generator) -> float:
    return external.citation_precision([["e"]] * N, [["e"] if rng.random() < 0.8 else ["x"] for _ in range(N)])


def _citation_recall(rng: np.random.Generator) -> float:
    return external.citation_recall([["e", "f"]] * N, [[s for s in "ef" if rng.random() < 0.6] for _ in range(N)])


def _coverage(rng: np.random.Generator) -> float:
    _, said = answers(rng, N, 1.0, 0.2)
    return external.citation_coverage(said, cited=[["e"] if rng.random() < 0.9 else [] for _ in range(N)])


def _fresh(rng: np.random.Generator) -> float:
    return external.fresh_at_k([[bool(rng.random() < 0.75) for _ in range(8)] for _ in range(N)], k=5)


def _out_of_date(rng: np.random.Generator) -> float:
    said = [None if rng.random() < 0.2 else "old" if rng.random() < 0.3 else "new" for _ in range(N)]
    return external.out_of_date_use(said, superseded=[["old"]] * N)


def _refusal_at_stale(rng: np.random.Generator) -> float:
    stale = drawn(rng, N, 0.5)
    refused = drawn(rng, N, np.where(stale, 0.4, 0.1))
    return external.refusal_at_stale([None if r else "a" for r in refused], stale=stale.tolist())


def _kir(rng: np.random.Generator) -> float:
    truths, said = answers(rng, N, 0.8)
    return external.kir(truths, said, closed_book=answers(rng, N, 0.2)[1], weight=0.75)


def _ltrs(rng: np.random.Generator) -> float:
    truths, said = answers(rng, N, 0.6)
    return external.ltrs(truths, said, initial=answers(rng, N, 0.8)[1], decay=0.1)


def _event_f1(rng: np.random.Generator) -> float:
    return episodic.event_f1(*sets(rng, N, 0.75, 0.25))


def _procedure_f1(rng: np.random.Generator) -> float:
    """Half the procedures have two neighbours of four steps exchanged: of five pairs, begin and end counted, two stay."""
    true = [[1, 2, 3, 4]] * N
    return episodic.procedure_f1(true, [[1, 3, 2, 4] if rng.random() < 0.5 else [1, 2, 3, 4] for _ in range(N)])


def _tae(rng: np.random.Generator) -> float:
    times = rng.uniform(0, 100, N)
    said = [None if rng.random() < 0.1 else float(t + rng.uniform(-1, 1)) for t in times]
    return episodic.temporal_anchoring_error(times.tolist(), said)


def _step_order(rng: np.random.Generator) -> float:
    return episodic.step_order([[1, 2, 3]] * N, [[3, 2, 1] if rng.random() < 0.3 else [1, 2, 3] for _ in range(N)])


def _consistency(rng: np.random.Generator) -> float:
    return contextual.temporal_consistency([[1, 2]] * N, [[2, 1] if rng.random() < 0.3 else [1, 2] for _ in range(N)])


def _steps(rng: np.random.Generator) -> float:
    return contextual.step_coverage(*sets(rng, N, 0.7, 0.5))


def _replay(rng: np.random.Generator) -> float:
    return episodic.replay_faithfulness([["a", "b"]] * N, [["a" if rng.random() < 0.65 else "z" for _ in range(3)] for _ in range(N)])


def _attribution_at_2(rng: np.random.Generator) -> float:
    return episodic.attribution_at_k([["a"]] * N, [list(rng.permutation(list("abcde"))) for _ in range(N)], k=2)


def _tool(rng: np.random.Generator) -> float:
    return episodic.tool_attribution(*answers(rng, N, 0.88))


def _abstention(rng: np.random.Generator) -> float:
    return episodic.abstention([None] * N, [None if rng.random() < 0.7 else "x" for _ in range(N)])


def _over_refusal(rng: np.random.Generator) -> float:
    return episodic.over_refusal(*answers(rng, N, 0.9, 0.15))


def _aurc(rng: np.random.Generator) -> float:
    """Confidence is the probability of being right, drawn evenly: risk at coverage c is c / 2, so the area is 1/4."""
    confidence = rng.random(N)
    truths, said = answers(rng, N, confidence)
    return episodic.refusal_aurc(truths, said, confidence=confidence.tolist())


def _slope(rng: np.random.Generator) -> float:
    elapsed = rng.integers(0, 10, N)
    truths, said = answers(rng, N, 0.9 - 0.05 * elapsed)
    return episodic.horizon_slope(truths, said, elapsed=elapsed.tolist())


def _rate(rng: np.random.Generator) -> float:
    elapsed = rng.integers(0, 15, N)
    truths, said = answers(rng, N, 0.95 * np.exp(-0.08 * elapsed))
    return episodic.retention(truths, said, elapsed=elapsed.tolist()).rate


def _spurious(rng: np.random.Generator) -> float:
    return episodic.spurious_replay([["a"] if rng.random() < 0.12 else [] for _ in range(N)], wanted=[False] * N)


def _cost_at(rng: np.random.Generator) -> float:
    budget = rng.choice([100, 200, 300], N)
    truths, said = answers(rng, N, budget / 300 * 0.95)
    return episodic.cost_at_accuracy(truths, said, budget=budget.tolist(), target=0.8) / 300


PLANTED: dict[str, tuple[float, Maker]] = {
    "accuracy": (0.7, lambda rng: scoring.accuracy(*answers(rng, N, 0.875, 0.2))),
    "precision_at_k": (0.3, _precision_at_3),
    "edit_success": (0.9, lambda rng: parametric.edit_success(*answers(rng, N, 0.9))),
    "generalisation": (0.8, _edits),
    "locality": (0.95, lambda rng: parametric.locality(*answers(rng, N, 0.95))),
    "drawdown": (0.05, _drawdown),
    "extraction_rate": (0.15, _extraction),
    "membership_auc": (0.7602, _membership),  # Φ(1 / √2)
    "position_curve": (0.5, by_position(lambda t, s, *, position: contextual.position_curve(t, s, position=position)[0.5])),
    "mid_drop": (0.35, by_position(contextual.mid_drop)),
    "position_robustness": (0.5 / 0.9, by_position(contextual.position_robustness)),
    "ppr": (1 / 3, _ppr),
    "ln_accuracy": (0.8 / math.log(1000), _ln),
    "robustness_loss": (1 - 0.6 / 0.9, masked(contextual.robustness_loss, "noisy", 0.6, 0.9)),
    "step_coverage": (0.7, _steps),
    "temporal_consistency": (0.7, _consistency),
    "recall_at_k": (0.35, _ranking(external.recall_at_k)),
    "hit_at_k": (0.35, _ranking(external.hit_at_k)),
    "ndcg_at_k": (0.7 * sum(1 / math.log2(r + 2) for r in range(10)) / 10, _ranking(external.ndcg_at_k)),
    "mrr": (0.7 * sum(1 / r for r in range(1, 11)) / 10, _ranking(external.mrr)),
    "fgs": (0.85, lambda rng: external.fgs(_claims(rng))),
    "ucr": (0.15, lambda rng: external.ucr(_claims(rng))),
    "citation_precision": (0.8, _citation_precision),
    "citation_recall": (0.6, _citation_recall),
    "citation_coverage": (0.9, _coverage),
    "fresh_at_k": (0.75, _fresh),
    "out_of_date_use": (0.3, _out_of_date),
    "refusal_at_stale": (0.4, _refusal_at_stale),
    "conflict_handled_at_k": (0.8, masked(external.conflict_handled_at_k, "conflicting", 0.8, 0.3)),
    "kir": (0.8, _kir),
    "ltrs": (0.675, _ltrs),
    "event_f1": (0.7452, _event_f1),  # the mean over the two binomials; see the test below
    "procedure_f1": (0.7, _procedure_f1),
    "temporal_anchoring_error": (0.5, _tae),
    "replay_faithfulness": (0.65, _replay),
    "attribution_at_k": (0.4, _attribution_at_2),
    "step_order": (0.4, _step_order),
    "tool_attribution": (0.88, _tool),
    "abstention": (0.7, _abstention),
    "over_refusal": (0.15, _over_refusal),
    "freshness_hit": (0.85, masked(episodic.freshness_hit, "updated", 0.85, 0.2)),
    "conflict_correct": (0.6, masked(episodic.conflict_correct, "conflict", 0.6, 0.9)),
    "refusal_aurc": (0.25, _aurc),
    "horizon_slope": (-0.05, _slope),
    "retention": (0.08, _rate),
    "spurious_replay": (0.12, _spurious),
    "noise_robust_accuracy": (0.65, masked(episodic.noise_robust_accuracy, "noisy", 0.65, 0.9)),
    "cost_at_accuracy": (1.0, _cost_at),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_metric_finds_the_planted_truth(name: str) -> None:
    truth, make = PLANTED[name]
    if name == "event_f1":
        truth = _expected_f1(0.75, 0.25)
    assert make(rng_()) == pytest.approx(truth, abs=0.02)


def test_a_curve_has_every_position() -> None:
    truths, said, position = at_positions(rng_(), CURVE)
    assert contextual.position_curve(truths, said, position=position) == pytest.approx(CURVE, abs=0.02)


def _expected_f1(kept: float, extra: float) -> float:
    """E[2 hits / (4 + hits + extras)] for two binomials of four."""
    chance = lambda n, p, k: math.comb(n, k) * p**k * (1 - p) ** (n - k)  # noqa: E731
    return sum(chance(4, kept, h) * chance(4, extra, x) * 2 * h / (4 + h + x) for h in range(5) for x in range(5))


def test_every_metric_is_tried() -> None:
    named = {
        name
        for module in (parametric, contextual, external, episodic)
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and name[0].islower()
    }
    assert named - set(PLANTED) == {"cost"}


def test_nothing_to_share_is_nan() -> None:
    empties = [
        scoring.accuracy([], []),
        parametric.precision_at_k([], []),
        parametric.edit_success([], []),
        parametric.generalisation([], [], edit=[]),
        parametric.locality([], []),
        parametric.drawdown([], [], before=[]),
        parametric.extraction_rate([], []),
        parametric.membership_auc([], []),
        contextual.mid_drop([], [], position=[]),
        contextual.position_robustness([], [], position=[]),
        contextual.ppr([], [], context=[]),
        contextual.ln_accuracy([], [], length=[]),
        contextual.robustness_loss([], [], noisy=[]),
        contextual.step_coverage([], []),
        contextual.temporal_consistency([], []),
        external.recall_at_k([], []),
        external.hit_at_k([], []),
        external.ndcg_at_k([], []),
        external.mrr([], []),
        external.fgs([]),
        external.ucr([]),
        external.citation_precision([], []),
        external.citation_recall([], []),
        external.citation_coverage([], cited=[]),
        external.fresh_at_k([]),
        external.out_of_date_use([], superseded=[]),
        external.refusal_at_stale([], stale=[]),
        external.conflict_handled_at_k([], [], conflicting=[]),
        external.kir([], [], closed_book=[], weight=0.5),
        external.ltrs([], [], initial=[], decay=0.1),
        episodic.event_f1([], []),
        episodic.procedure_f1([], []),
        episodic.temporal_anchoring_error([], []),
        episodic.replay_faithfulness([], []),
        episodic.attribution_at_k([], []),
        episodic.step_order([], []),
        episodic.tool_attribution([], []),
        episodic.abstention([], []),
        episodic.over_refusal([], []),
        episodic.freshness_hit([], [], updated=[]),
        episodic.conflict_correct([], [], conflict=[]),
        episodic.refusal_aurc([], [], confidence=[]),
        episodic.horizon_slope([], [], elapsed=[]),
        episodic.retention([], [], elapsed=[]).half_life,
        episodic.spurious_replay([], wanted=[]),
        episodic.noise_robust_accuracy([], [], noisy=[]),
        episodic.cost([], [], 7.0).latency_p50,
    ]
    assert all(math.isnan(value) for value in empties)
    assert all(math.isnan(value) for value in contextual.position_curve([], [], position=[]).values())
    assert math.isinf(episodic.cost_at_accuracy([], [], budget=[], target=0.5))


def test_refusing_everything_earns_nothing() -> None:
    truths, none = ["a", "b", None], [None, None, None]
    assert scoring.accuracy(truths, none) == pytest.approx(1 / 3)  # right only where there is no answer
    assert episodic.abstention(truths, none) == 1
    assert episodic.over_refusal(truths, none) == 1
    assert episodic.refusal_aurc(truths, none, confidence=[1, 1, 1]) == pytest.approx(2 / 3)
    assert episodic.refusal_aurc(["a", "b"], [None, None], confidence=[1, 1]) == 1
    assert math.isnan(external.ucr([[], [], []]))
    assert math.isnan(external.citation_coverage(none, cited=[[], [], []]))
    assert math.isnan(external.citation_precision([["e"]] * 3, [[]] * 3))
    assert math.isnan(external.out_of_date_use(none, superseded=[["x"]] * 3))
    assert external.recall_at_k([["e"]] * 3, [[]] * 3) == 0
    assert math.isnan(episodic.replay_faithfulness([["e"]], [[]]))


def test_one_class_is_defined() -> None:
    assert math.isnan(parametric.membership_auc([True, True], [0.1, 0.2]))
    assert math.isnan(episodic.abstention(["a"], ["a"]))
    assert math.isnan(episodic.over_refusal([None], [None]))
    assert math.isnan(contextual.robustness_loss(["a"], ["a"], noisy=[False]))
    assert math.isnan(contextual.mid_drop(["a"], ["a"], position=[0.5]))
    assert math.isnan(external.kir(["a"], ["a"], closed_book=["a"], weight=0))
    assert math.isnan(contextual.ln_accuracy(["a"], ["a"], length=[1]))
    assert math.isnan(external.ltrs(["a"], ["a"], initial=["b"], decay=0))
    assert episodic.refusal_aurc(["a"], ["a"], confidence=[0.1]) == 0


def test_by_hand() -> None:
    assert episodic.event_f1([["a", "b"], []], [["a", "c", "d"], []]) == pytest.approx((2 / 5 + 1) / 2)
    assert episodic.procedure_f1([[1, 2, 3]], [[1, 2]]) == pytest.approx(2 * 2 / (4 + 3))
    assert episodic.step_order([[1, 2, 3]], [[2, 1, 3]]) == pytest.approx(1 / 3)
    assert contextual.temporal_consistency([[1, 2, 3]], [[1, 3]]) == pytest.approx(1 / 3)  # what is missing is not in order
    assert contextual.step_coverage([[1, 2], []], [None, [5]]) == 0
    assert external.fgs([[True, False, None], []]) == 0.5
    assert external.citation_precision([["a"], ["b"]], [["a", "x", "a"], ["b"]]) == pytest.approx(2 / 3)
    assert external.ndcg_at_k([["a", "b"]], [["x", "a", "b"]]) == pytest.approx((1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3)))
    assert external.mrr([["a"], ["b"]], [["x", "a"], ["x"]]) == 0.25
    assert parametric.extraction_rate(["short"], ["it was short"]) == 1
    assert parametric.extraction_rate(["a secret that is rather long", ""], ["a secret that is rat", "x"]) == 0.5
    assert parametric.membership_auc([True, False, False], [0.5, 0.5, 0.1]) == 0.75
    got = episodic.cost([0.1, 0.3], [10, 30], 99.0)
    assert got.as_dict() == pytest.approx({"latency_p50": 0.2, "latency_p95": 0.29, "tokens_per_turn": 20, "footprint": 99, "throughput": 5})
    assert contextual.position_curve(["a", "a"], ["a", "b"], position=[0.1, 0.9])[0.0] == 1


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(Invalid):
        scoring.accuracy(["a"], [])
    with pytest.raises(Invalid):
        contextual.mid_drop(["a"], ["a"], position=[])


def test_scikit_learn_agrees() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = rng_()
    member, scores = rng.random(300) < 0.4, rng.integers(0, 9, 300)
    assert parametric.membership_auc(member.tolist(), scores.tolist()) == pytest.approx(metrics.roc_auc_score(member, scores), abs=1e-9)
    relevance, ranked = rng.integers(0, 2, (50, 12)), rng.random((50, 12))
    names = [f"d{i}" for i in range(12)]
    true = [[n for n, r in zip(names, row, strict=True) if r] for row in relevance]
    said = [[names[i] for i in np.argsort(-row)] for row in ranked]
    assert external.ndcg_at_k(true, said, k=10) == pytest.approx(metrics.ndcg_score(relevance, ranked, k=10), abs=1e-9)
