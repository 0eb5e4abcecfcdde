"""What the channels that ThinK leaves out cost in answers and save in bytes, on the reference model: of keys, of values, after tokens were dropped,
folded into weights, and where the topic changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from mnemos.activation.folding import cut, kept_pairs, use_of_pairs
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import CHANNELS, RETAINED, VALUES, Thin
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.quantised import Quantise
from mnemos.activation.view import View
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.parts import Measured
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.clients import TokenClient
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult
from mnemos.bench.scbench.harness import run as ask
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec
from mnemos.bench.scbench.records import Record

LOST, LOST_HALF, RANDOM_LOSES = 0.01, 0.03, 0.10
BOTH = "ThinK .4, values .3"
SAVED, EVICTED = 0.97, 0.01
FOLDED = (0.01, 0.1)
"""Shares of a head's products that the pairs folded away may have given: the default, and what the reference model can do without."""
LENGTH, SESSIONS, QUICK = 1024, 20, 3
"""Words of a context; sessions of a task, and those of a quick run."""
TASKS = ("kv", "summary", "many_shot")
DRIFTS = (("kv", "many_shot"), ("summary", "kv"))


class ByChance(Thin):
    """Channels by chance, for comparison."""

    name = "chance"

    @staticmethod
    def _of_keys(part: Dense, view: View) -> Tensor:
        return torch.rand(part.keys[:, :, 0].shape, generator=torch.Generator().manual_seed(0))


def _client(model: Any, name: str, made: Policy, aware: bool = False) -> TokenClient:
    return TokenClient(CacheMethod(model, lambda: KVMemory.of(model, made), name, query_aware=aware), CompactCodec(), COMPACT_TEMPLATE, verify=False)


def _means(results: Sequence[SessionResult]) -> list[float]:
    return [float(np.mean([row.score for row in result.rows])) for result in results]


def quality(options: Options) -> Measured:
    """Answers with 40 and 50 % fewer channels, and with 40 % fewer by chance; with 30 % fewer of values, alone and beside."""
    model, _ = on_models.model()
    arms = {
        "full": Policy(),
        "ThinK .4": policy("think", share=0.4),
        "ThinK .5": policy("think", share=0.5),
        "chance .4": Pruning(codecs=(ByChance(0.4),)),
        "values .3": policy("think", share=0, values=0.3),
        BOTH: policy("think", share=0.4, values=0.3),
    }
    scores, rows = _scores_of([(name, model, made) for name, made in arms.items()], options)
    context = on_models.sessions(TASKS[0], 1, options.seed, LENGTH, 5)[0].context
    memories = {name: _read(model, made, context) for name, made in arms.items()}
    whole = memories["full"].nbytes().near
    stored = {name: {"near ÷ full": memory.nbytes().near / whole} for name, memory in memories.items()}

    def lost(name: str) -> Any:
        return bootstrap_difference(scores["full"], scores[name], range(len(scores[name])), options.rng())

    return [
        Check.of("points lost without 40 % of the channels", lost("ThinK .4"), LOST, at_least=False),
        Check.of("points lost without 50 %", lost("ThinK .5"), LOST_HALF, at_least=False),
        Check.of("points lost without 40 % by chance", lost("chance .4"), RANDOM_LOSES),
        Check.of("points lost without 30 % of the channels of values", lost("values .3")),
        Check.of("points lost without 40 % of those of keys and 30 % of those of values", lost(BOTH)),
        Check("bytes near ÷ full, without 40 % of keys' channels", stored["ThinK .4"]["near ÷ full"]),
        Check("… without 30 % of values'", stored["values .3"]["near ÷ full"]),
        Check("… without both", stored[BOTH]["near ÷ full"]),
    ], {"answers": rows, "bytes": stored, "scores that heads retain": _retained(memories[BOTH])}


def _retained(memory: KVMemory) -> dict[str, Any]:
    """Of each layer, the share of its scores that each head keeps with the channels that are left."""
    return {
        f"layer {layer.number}, {what}": {f"head {head}": share for head, share in enumerate(layer.notes[kind + RETAINED][0].tolist())}
        for layer in memory.managed
        for what, kind in (("keys", CHANNELS), ("values", VALUES))
    }


def _scores_of(arms: Sequence[tuple[str, Any, Policy]], options: Options) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Of each arm (name, model, policy; the first is the full cache), the score of each session of tasks that the full cache answers; the means
    of each task."""
    scores: dict[str, list[float]] = {name: [] for name, *_ in arms}
    rows: dict[str, Any] = {}
    for task in TASKS[:2] if options.quick else TASKS:
        records = on_models.sessions(task, QUICK if options.quick else SESSIONS, options.seed, LENGTH, 5)
        each = {name: _means(ask(_client(model, name, made), records, MULTI_TURN)) for name, model, made in arms}
        rows[task] = {name: float(np.mean(values)) for name, values in each.items()}
        if rows[task][arms[0][0]] >= 0.8:
            for name, values in each.items():
                scores[name] += values
    return scores, rows


def folding(options: Options) -> Measured:
    """The model without the channels that a calibration set of other seeds shows useless: bytes of its keys, and its answers."""
    model, _ = on_models.model()
    use = use_of_pairs(model, _calibration(options))
    kept = {lost: kept_pairs(use, lost) for lost in FOLDED}
    models = {lost: cut(model, its, {}) for lost, its in kept.items() if its != kept_pairs(use, 0)}
    arms = [("full", model, Policy()), *((f"folded, {lost:g}", its, Policy()) for lost, its in models.items())]
    scores, rows = _scores_of(arms, options)
    ids = torch.tensor([CompactCodec().encode(on_models.sessions(TASKS[0], 1, options.seed, LENGTH, 5)[0].context)])
    whole, checks = _key_bytes(model, ids), []
    for lost, its in models.items():
        apart = bootstrap_difference(scores["full"], scores[f"folded, {lost:g}"], range(len(scores["full"])), options.rng())
        checks.append(Check(f"bytes of keys that folding saves, {lost:.0%} of the products given up", 1 - _key_bytes(its, ids) / whole))
        checks.append(Check.of(f"points lost by it, {lost:.0%}", apart))
    pairs = {f"{lost:.0%}": {f"layer {number}": len(its[0]) for number, its in enumerate(layers)} for lost, layers in kept.items()}
    return checks, {"answers of folded models": rows, f"pairs that a head keeps, of {model.config.head_dim // 2}": pairs}


def _calibration(options: Options) -> list[list[int]]:
    """Token ids of sessions of other seeds, with their questions and answers."""
    records = [record for task in TASKS for record in on_models.sessions(task, 4, options.seed + 7000, 512, 5)]
    texts = (" ".join([its.context, *(f"{turn.input} {turn.reference} <end>" for turn in its.turns)]) for its in records)
    return [CompactCodec().encode(text) for text in texts]


def _key_bytes(model: Any, ids: Tensor) -> int:
    """Of transformers' own cache."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids, cache=cache, logits_to_keep=1)
    return sum(layer.keys.untyped_storage().nbytes() for layer in cache.layers)


def after_eviction(options: Options) -> Measured:
    """Where tokens were dropped first: fewer bytes at the same answers, and the answers at the same bytes. The question is known (first turns)."""
    model, _ = on_models.model()
    records = on_models.sessions("kv", 8 if options.quick else 60, options.seed, LENGTH, 1)
    share = 1 / 4
    made: dict[str, Callable[[], Policy]] = {
        "SnapKV 1/4": lambda: policy("snapkv", share=share, window=16),
        "SnapKV 1/4, ThinK .4": lambda: policy("snapkv", share=share, window=16).then(Thin(0.4, 16)),  # type: ignore[attr-defined]
        "SnapKV 1/5": lambda: policy("snapkv", share=0.8 * share, window=16),
        "SnapKV 1/4, ThinK .4, 2 bits": lambda: policy("snapkv", share=share, window=16).then(Thin(0.4, 16), Quantise(2)),  # type: ignore[attr-defined]
    }
    results = {name: ask(_client(model, name, make(), aware=True), records, MULTI_TURN) for name, make in made.items()}
    means = {name: _means(each) for name, each in results.items()}
    near = {name: float(np.mean([result.rows[-1].resident["device"] for result in each])) for name, each in results.items()}
    plain, thin, fewer, _ = made
    clusters = range(len(records))
    width = model.config.head_dim
    formula = int(0.4 * width) / width / 2
    stored = _stored_bytes(model, made[plain](), records[0].context), _stored_bytes(model, made[thin](), records[0].context)
    saved = 1 - stored[1] / stored[0]
    return [
        Check("bytes of stored keys and values that thinning saves after dropping tokens", saved),
        Check("… of what 40 % of the channels of keys are, rounded down to whole ones", saved / formula, SAVED),
        Check.of("points lost by it", bootstrap_difference(means[plain], means[thin], clusters, options.rng()), EVICTED, at_least=False),
        Check("bytes near of dropping more tokens instead ÷ of thinning", near[fewer] / near[thin]),
        Check.of("points more than dropping more tokens instead", bootstrap_difference(means[thin], means[fewer], clusters, options.rng()), 0.0),
    ], {"one question, known": {name: {"score": float(np.mean(means[name])), "bytes near": near[name]} for name in made}}


def _stored_bytes(model: Any, made: Policy, context: str) -> int:
    """Keys and values that were compressed, without the newest tokens, which stay whole, and without kept queries."""
    return sum(part.nbytes().near for layer in _read(model, made, context).managed for part in layer.parts)


def _read(model: Any, made: Policy, *contexts: str) -> KVMemory:
    """A memory of contexts, each a turn of its own."""
    memory = KVMemory.of(model, made)
    for context in contexts:
        with torch.no_grad():
            model(torch.tensor([CompactCodec().encode(context)]), cache=memory, logits_to_keep=1)
        memory.settle()
    return memory


def drift(options: Options) -> Measured:
    """Two contexts of other topics, one after the other: channels by the queries of the first alone, or chosen anew, old keys narrowed further."""
    model, _ = on_models.model()
    arms = {
        "full": Policy(),
        "ThinK .6": policy("think", share=0.6),
        "… chosen anew": policy("think", share=0.6, refresh=64),
        "ThinK .4, chosen anew, old keys down to .4": policy("think", share=0.4, refresh=64, floor=0.4),
    }
    n = 2 if options.quick else 10
    rows: dict[str, dict[str, Any]] = {}
    newer: dict[str, list[float]] = {name: [] for name in arms}
    for first, second in DRIFTS[-1:] if options.quick else DRIFTS:
        older, other = (on_models.sessions(task, n, options.seed, 400, 4) for task in (first, second))
        for name, made in arms.items():
            memories = [_read(model, made, one.context, two.context) for one, two in zip(older, other, strict=True)]
            old, new = ([_answered(model, memory, its) for memory, its in zip(memories, records, strict=True)] for records in (older, other))
            newer[name] += new
            near = float(np.mean([memory.nbytes().near for memory in memories]))
            rows.setdefault(f"{first}, then {second}", {})[name] = {"older": float(np.mean(old)), "newer": float(np.mean(new)), "bytes near": near}
    _, plain, anew, _ = arms
    gained = bootstrap_difference(newer[anew], newer[plain], range(len(newer[plain])), options.rng())
    return [Check.of("points more about a newer topic with channels chosen anew, 60 % gone", gained)], rows


def _answered(model: Any, memory: KVMemory, record: Record) -> float:
    """The share of questions answered to the token, each asked from the same memory."""
    codec, right = CompactCodec(), 0
    for turn in record.turns:
        fork, ids, wanted = memory.fork(), codec.encode(turn.input), codec.encode(turn.reference)
        said: list[int] = []
        while len(said) < len(wanted) and said == wanted[: len(said)]:
            with torch.no_grad():
                said.append(int(model(torch.tensor([ids]), cache=fork, logits_to_keep=1).logits[0, -1].argmax()))
            ids = said[-1:]
        right += said == wanted
    return right / len(record.turns)
