"""All metrics of the survey's layers over the runs of one system, each with its interval clustered by history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.stats import Interval, bootstrap_statistic
from mnemos.bench.evaluation import contextual, episodic, external, parametric, scoring
from mnemos.bench.evaluation.items import History, Item, Message
from mnemos.bench.evaluation.settings import Run
from mnemos.bench.evaluation.systems import AT_ONCE, CLOSED_BOOK, LONG_CONTEXT, ONLINE_REPLAY, ORACLE, RANDOM, RETRIEVAL
from mnemos.bench.evaluation.timeline import asked_about, statement

Layers = dict[str, dict[str, Interval]]
Rows = NDArray[np.int64]
NEEDED = (CLOSED_BOOK, LONG_CONTEXT, RETRIEVAL, ONLINE_REPLAY, ORACLE, RANDOM, AT_ONCE)
"""The settings that all layers together are measured in."""


class Table:
    """The columns of one run, to measure on any of its rows."""

    def __init__(self, run: Run) -> None:
        self.items, self.answers = run.items, run.answers
        self.truth = run.truths
        self.said = run.texts
        self.histories = run.histories

    def of(self, column: Sequence[Any], rows: Rows) -> list[Any]:
        return [column[i] for i in rows]

    def measure(self, metric: Callable[..., float], rng: np.random.Generator, resamples: int, **groups: Sequence[Any]) -> Interval:
        """`metric(y_true, y_pred, **groups)` of truths and answers, with its interval."""
        return self.columns(metric, rng, resamples, self.truth, self.said, **groups)

    def columns(
        self, metric: Callable[..., float], rng: np.random.Generator, resamples: int, *columns: Sequence[Any], **groups: Sequence[Any]
    ) -> Interval:
        """`metric` of any columns, a value per item each."""

        def on(rows: Rows) -> float:
            named = {name: self.of(column, rows) for name, column in groups.items()}
            return float(metric(*(self.of(column, rows) for column in columns), **named))

        return bootstrap_statistic(on, self.histories, rng, resamples=resamples)


def layers(
    runs: Mapping[str, Run],
    histories: Sequence[History],
    held: Mapping[str, Sequence[Message]],
    rng: np.random.Generator,
    *,
    noisy: frozenset[str],
    resamples: int = 200,
) -> Layers:
    """The metrics of every layer that the runs allow. `held` are the messages of each history as the memory gives them back, `noisy` names the
    histories with much chatter.

    Without a model that has weights of its own the parametric layer is the closed-book score alone. What needs tools is not measured.
    """
    table = {setting: Table(run) for setting, run in runs.items()}
    live, items = table[RETRIEVAL], runs[RETRIEVAL].items
    more: dict[str, Any] = {"rng": rng, "resamples": resamples}
    return {
        "parametric": {"P@1 closed book": _closed_book(table[CLOSED_BOOK], more)},
        "contextual": _contextual(table, items, noisy, more),
        "external": _external(table, histories, more),
        "episodic: writing": _writing(histories, held, rng, resamples),
        "episodic: replay": _replay(table[ONLINE_REPLAY], more),
        "episodic: inhibition": _inhibition(live, items, more),
        "episodic: horizon": _horizon(live, table[ONLINE_REPLAY], items, noisy, more),
    }


def _closed_book(table: Table, more: Mapping[str, Any]) -> Interval:
    answerable = [i for i, item in enumerate(table.items) if item.answer is not None]
    kept = Table(Run("", "", "", tuple(table.items[i] for i in answerable), tuple(table.answers[i] for i in answerable)))
    candidates = [[text] if text is not None else [] for text in kept.said]
    return kept.columns(parametric.precision_at_k, more["rng"], more["resamples"], kept.truth, candidates)


def _contextual(table: Mapping[str, Table], items: Sequence[Item], noisy: frozenset[str], more: Mapping[str, Any]) -> dict[str, Interval]:
    long, live = table[LONG_CONTEXT], table[RETRIEVAL]
    both = Table(_joined(table[RANDOM], table[ORACLE]))
    placed = Table(_only(live, [not math.isnan(item.position) for item in items]))
    position = [item.position for item in placed.items]
    evolving = Table(_only(live, [bool(item.stale) for item in items]))
    order = [[*item.stale, *item.evidence] for item in evolving.items]
    at = {(i.history, s): n for i in items for n, s in enumerate((*i.stale, *i.evidence))}
    read = [sorted((s for s in a.retrieved if (i.history, s) in at), key=_place) for i, a in zip(evolving.items, evolving.answers, strict=True)]
    out = {
        "accuracy in a long context": long.measure(scoring.accuracy, **more),
        "LN-Acc": long.measure(contextual.ln_accuracy, length=[answer.tokens for answer in long.answers], **more),
        "prior ÷ oracle (PPR)": both.measure(contextual.ppr, context=["random"] * len(items) + ["oracle"] * len(items), **more),
        "mid drop": placed.measure(contextual.mid_drop, position=position, **more),
        "position robustness": placed.measure(contextual.position_robustness, position=position, **more),
        "robustness loss": live.measure(contextual.robustness_loss, noisy=[item.history in noisy for item in items], **more),
    }
    if evolving.items:
        out["step coverage"] = evolving.columns(contextual.step_coverage, more["rng"], more["resamples"], order, read)
        out["temporal consistency"] = evolving.columns(contextual.temporal_consistency, more["rng"], more["resamples"], order, read)
    return out


def _external(table: Mapping[str, Table], histories: Sequence[History], more: Mapping[str, Any]) -> dict[str, Interval]:
    live, rng, resamples = table[RETRIEVAL], more["rng"], more["resamples"]
    evidence, retrieved = [item.evidence for item in live.items], [answer.retrieved for answer in live.answers]
    cited, claims = [answer.citations for answer in live.answers], [answer.claims for answer in live.answers]
    stale = {(item.history, source) for item in live.items for source in item.stale}
    valid = [[(item.history, s) not in stale for s in answer.retrieved] for item, answer in zip(live.items, live.answers, strict=True)]
    superseded = [item.superseded for item in live.items]
    contradicting = conflicting_at(live, histories, 5)
    delayed = Table(_only(live, [item.elapsed >= 1 for item in live.items]))
    at_once = {item.id: answer.text for item, answer in zip(table[AT_ONCE].items, table[AT_ONCE].answers, strict=True)}
    initial = [at_once[item.id] for item in delayed.items]
    lost = 1 - math.exp(-max(0.0, _rate(live)))
    weight = _weight(live)
    return {
        "recall@5": live.columns(external.recall_at_k, rng, resamples, evidence, retrieved),
        "hit@5": live.columns(external.hit_at_k, rng, resamples, evidence, retrieved),
        "nDCG@10": live.columns(external.ndcg_at_k, rng, resamples, evidence, retrieved),
        "MRR": live.columns(external.mrr, rng, resamples, evidence, retrieved),
        "grounded sentences (FGS)": live.columns(external.fgs, rng, resamples, claims),
        "unsupported claims (UCR)": live.columns(external.ucr, rng, resamples, claims),
        "citation precision": live.columns(external.citation_precision, rng, resamples, evidence, cited),
        "citation recall": live.columns(external.citation_recall, rng, resamples, evidence, cited),
        "citation coverage": live.columns(external.citation_coverage, rng, resamples, live.said, cited=cited),
        "fresh@5": live.columns(external.fresh_at_k, rng, resamples, valid),
        "out-of-date use": live.columns(external.out_of_date_use, rng, resamples, live.said, superseded=superseded),
        "refusal at stale": live.columns(external.refusal_at_stale, rng, resamples, live.said, stale=_only_stale(live)),
        "conflict handled@5": live.measure(external.conflict_handled_at_k, conflicting=contradicting, **more),
        "KIR": live.columns(
            lambda t, p, closed: external.kir(t, p, closed_book=closed, weight=weight), rng, resamples, live.truth, live.said, table[CLOSED_BOOK].said
        ),
        "LTRS": delayed.columns(lambda t, p, i: external.ltrs(t, p, initial=i, decay=lost), rng, resamples, delayed.truth, delayed.said, initial),
    }


def _writing(
    histories: Sequence[History], held: Mapping[str, Sequence[Message]], rng: np.random.Generator, resamples: int
) -> dict[str, Interval]:
    """P1 over sessions: the events that the memory holds of a session against those that were planted, their order, and their times (days)."""
    names, true, said, order, times, kept = [], [], [], [], [], []
    for history in histories:
        at = {message.source: _days(message.at) for message in history.messages}
        for number in sorted({message.session for message in history.messages}):
            pieces = [message for message in held[history.name] if message.session == number]
            stated = [(message, s) for message in pieces if (s := statement(message.text))]
            names.append(history.name)
            true.append(list(history.events.get(number, ())))
            said.append([f"{s.person}|{s.relation}|{s.value}" for _, s in stated])
            order.append([f"{s.person}|{s.relation}|{s.value}" for m in history.messages if m.session == number and (s := statement(m.text))])
            times.append([at[message.source] for message, _ in stated])
            kept.append([_days(message.at) if message.at else None for message, _ in stated])

    def over(metric: Callable[..., float], one: Sequence[Any], other: Sequence[Any]) -> Interval:
        return bootstrap_statistic(lambda rows: metric([one[i] for i in rows], [other[i] for i in rows]), names, rng, resamples=resamples)

    def anchoring(one: Sequence[Sequence[float]], other: Sequence[Sequence[float | None]]) -> float:
        return episodic.temporal_anchoring_error([t for part in one for t in part], [t for part in other for t in part])

    return {
        "Event-F1": over(episodic.event_f1, true, said),
        "Procedure-F1": over(episodic.procedure_f1, order, said),
        "anchoring error (days)": over(anchoring, times, kept),
    }


def _days(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() / 86400


def _replay(live: Table, more: Mapping[str, Any]) -> dict[str, Interval]:
    rng, resamples = more["rng"], more["resamples"]
    about = [[s for a in item.evidence for s in _session_of(a, answer.replayed)] for item, answer in zip(live.items, live.answers, strict=True)]
    replayed = [answer.replayed for answer in live.answers]
    order = [sorted(sources, key=_place) for sources in replayed]
    return {
        "replay faithfulness (RSF)": live.columns(episodic.replay_faithfulness, rng, resamples, about, replayed),
        "attribution ASR@5": live.columns(
            episodic.attribution_at_k, rng, resamples, [item.evidence for item in live.items], [answer.citations for answer in live.answers]
        ),
        "unsupported claims (UCR)": live.columns(external.ucr, rng, resamples, [answer.claims for answer in live.answers]),
        "step order (τ)": live.columns(episodic.step_order, rng, resamples, order, replayed),
    }


def _inhibition(live: Table, items: Sequence[Item], more: Mapping[str, Any]) -> dict[str, Interval]:
    return {
        "abstention": live.measure(episodic.abstention, **more),
        "over-refusal": live.measure(episodic.over_refusal, **more),
        "freshness hit": live.measure(episodic.freshness_hit, updated=[item.kind == "updated" for item in items], **more),
        "conflict correct (CCR)": live.measure(episodic.conflict_correct, conflict=[item.kind == "contradicted" for item in items], **more),
        "AURC": live.measure(episodic.refusal_aurc, confidence=[answer.confidence for answer in live.answers], **more),
    }


def _horizon(live: Table, replay: Table, items: Sequence[Item], noisy: frozenset[str], more: Mapping[str, Any]) -> dict[str, Interval]:
    rng, resamples = more["rng"], more["resamples"]
    dated = Table(_only(live, [not math.isnan(item.elapsed) for item in items]))
    elapsed = [item.elapsed for item in dated.items]
    return {
        "slope per session": dated.measure(episodic.horizon_slope, elapsed=elapsed, **more),
        "decay rate λ": dated.measure(lambda t, p, *, elapsed: episodic.retention(t, p, elapsed=elapsed).rate, elapsed=elapsed, **more),
        "spurious replay": replay.columns(
            episodic.spurious_replay, rng, resamples, [answer.replayed for answer in replay.answers], wanted=[i.answer is not None for i in items]
        ),
        "accuracy amid noise": live.measure(episodic.noise_robust_accuracy, noisy=[item.history in noisy for item in items], **more),
    }


def conflicting_at(live: Table, histories: Sequence[History], k: int) -> list[bool]:
    """Whether the first `k` pieces retrieved for an item state two values of what it asks."""
    texts = {(history.name, message.source): message.text for history in histories for message in history.messages}
    out = []
    for item, answer in zip(live.items, live.answers, strict=True):
        stated = [statement(texts[item.history, source]) for source in answer.retrieved[:k]]
        out.append(len({s.value for s in stated if s and (s.person, s.relation) == asked_about(item.question)}) > 1)
    return out


def _only_stale(live: Table) -> list[bool]:
    """Whether, of what an item's answer rests on, only the superseded part was retrieved."""
    pairs = zip(live.items, live.answers, strict=True)
    return [bool(i.stale) and set(i.stale) <= set(a.retrieved) and not set(i.evidence) & set(a.retrieved) for i, a in pairs]


def _rate(live: Table) -> float:
    dated = [i for i, item in enumerate(live.items) if not math.isnan(item.elapsed)]
    rate = episodic.retention([live.truth[i] for i in dated], [live.said[i] for i in dated], elapsed=[live.items[i].elapsed for i in dated]).rate
    return 0.0 if math.isnan(rate) else rate


def _weight(live: Table) -> float:
    """Share of the prompt that retrieved text takes: its tokens by those and the question's words."""
    context = sum(answer.tokens for answer in live.answers)
    return context / max(1, context + sum(len(item.question.split()) for item in live.items))


def _only(table: Table, mask: Sequence[bool]) -> Run:
    kept = [i for i, flag in enumerate(mask) if flag]
    return Run("", "", "", tuple(table.items[i] for i in kept), tuple(table.answers[i] for i in kept))


def _joined(one: Table, other: Table) -> Run:
    return Run("", "", "", (*one.items, *other.items), (*one.answers, *other.answers))


def _place(source: str) -> int:
    """Where in its history a source stands: sources are `sSESSION:PLACE`."""
    return int(source.split(":")[1])


def _session_of(source: str, sources: Sequence[str]) -> list[str]:
    """Those of `sources` that belong to the session of `source`."""
    session = source.split(":")[0]
    return [other for other in sources if other.split(":")[0] == session]
