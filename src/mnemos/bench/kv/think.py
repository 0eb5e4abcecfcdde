"""`mnemos bench kv-think`: keys without the channels that queries hardly use (ThinK, arXiv 2407.21018)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnemos.activation.channels import channel_scores
from mnemos.activation.memory import KVMemory
from mnemos.activation.narrow import Thin
from mnemos.activation.parts import Dense
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy, Pruning
from mnemos.activation.quantised import Packed, Quantise
from mnemos.activation.view import View
from mnemos.base.errors import ModelUnavailable
from mnemos.base.stats import bootstrap_difference, bootstrap_ratio
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.clients import TokenClient
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult
from mnemos.bench.scbench.harness import run as ask
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec
from mnemos.bench.threads import one_thread
from mnemos.models import reference

OVER_NORM, OVER_RANDOM = 0.8, 0.45
"""Most of the error of channels chosen by keys alone, and by chance, that those chosen by queries may make, in every seed."""
LOST, LOST_HALF, RANDOM_LOSES = 0.01, 0.03, 0.10
SAVED, EVICTED, ERROR, FASTER = 0.97, 0.01, 1.25, 1.3
TASKS = ("kv", "summary", "many_shot")
NOTES = (
    "Synthetic heads: 128 channels, 2,048 keys, 32 queries, scales of channels lognormal; the error is that of the products, over their norm.",
    "Quality: the reference model, contexts of about 1,024 tokens, five questions each (SCBench, multi-turn); tasks that the full cache answers.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; those of quality only where the reference model is there."""
    parts, notes = [channels, few_bits, speed], [*NOTES]
    try:
        reference.load()
        parts += [quality, after_eviction]
    except ModelUnavailable as error:
        notes.append(f"Quality is not measured: {error}")
    with one_thread():
        return in_parts(benchmark, options, parts, notes)


def _head(spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """Queries [32, 128] and keys [2048, 128] of a head whose channels differ in scale, in both alike and each by itself."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.exp(spread * torch.randn(128, generator=generator))
    queries = torch.randn(32, 128, generator=generator) * shared * torch.exp(spread * torch.randn(128, generator=generator))
    return queries, torch.randn(2048, 128, generator=generator) * torch.exp(spread * torch.randn(128, generator=generator))


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    there = torch.ones(1, 1, len(keys), dtype=torch.bool)
    return channel_scores(queries[None, None], keys[None, None], torch.ones(1, len(queries), dtype=torch.bool), there)[0, 0]


def channels(options: Options) -> Measured:
    """The error of the products at 40 % fewer channels, by how these are chosen."""
    rows: dict[str, Any] = {}
    norm_ratios, random_ratios = [], []
    for spread in (0.5, 1.0):
        errors: dict[str, list[float]] = {"queries": [], "keys": [], "chance": []}
        for seed in range(3 if options.quick else 10):
            queries, keys = _head(spread, options.seed + seed)
            whole, kept = queries @ keys.T, 128 - int(0.4 * 128)
            chosen = {
                "queries": _scores(queries, keys).topk(kept).indices,
                "keys": keys.norm(dim=0).topk(kept).indices,
                "chance": torch.randperm(128, generator=torch.Generator().manual_seed(seed))[:kept],
            }
            for name, index in chosen.items():
                errors[name].append(float((whole - queries[:, index] @ keys[:, index].T).norm() / whole.norm()))
        norm_ratios += [ours / theirs for ours, theirs in zip(errors["queries"], errors["keys"], strict=True)]
        random_ratios += [ours / theirs for ours, theirs in zip(errors["queries"], errors["chance"], strict=True)]
        rows[f"spread {spread:g}"] = {name: float(np.mean(each)) for name, each in errors.items()}
    n = len(norm_ratios)
    return [
        Check("error by queries ÷ by keys alone, worst seed", max(norm_ratios), OVER_NORM, at_least=False, n=n),
        Check("error by queries ÷ by chance, worst seed", max(random_ratios), OVER_RANDOM, at_least=False, n=n),
    ], {"error of the products without 40 % of the channels": rows}


def few_bits(options: Options) -> Measured:
    """Narrow keys in two bits against whole keys in two bits."""
    ratios = []
    for seed in range(3 if options.quick else 10):
        queries, keys = _head(1.0, options.seed + seed)
        whole = queries @ keys.T
        index = _scores(queries, keys).topk(128 - int(0.4 * 128)).indices.sort().values
        bits = Packed.of(keys.T, 2, 32).tensor().T
        both = Packed.of(keys[:, index].T, 2, 32).tensor().T
        ratios.append(float((whole - queries[:, index] @ both.T).norm() / (whole - queries @ bits.T).norm()))
    return [Check("error of narrow keys in 2 bits ÷ whole keys in 2 bits, worst seed", max(ratios), ERROR, at_least=False, n=len(ratios))], {}


def speed(options: Options) -> Measured:
    """Products of a decoding step with 32,768 keys of half the channels, against whole ones."""
    generator = torch.Generator().manual_seed(options.seed)
    keys = torch.randn(8, 32_768, 128, generator=generator)
    narrow = keys[..., :64].contiguous()
    queries = torch.randn(8, 4, 128, generator=generator)
    kept = torch.arange(64).expand(8, 4, -1)
    rounds = 20 if options.quick else 100
    took = np.zeros((2, rounds))
    for turn in range(rounds):
        start = time.perf_counter()
        queries @ keys.transpose(1, 2)
        between = time.perf_counter()
        queries.gather(-1, kept) @ narrow.transpose(1, 2)
        took[:, turn] = between - start, time.perf_counter() - between
    ratio = bootstrap_ratio(took[0], took[1], [turn // 5 for turn in range(rounds)], options.rng())
    return [Check.of("time of products with whole keys ÷ with half the channels, 32,768 keys", ratio, FASTER)], {}


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
    """Answers with 40 and 50 % fewer channels, and with 40 % fewer by chance."""
    model, _ = on_models.model()
    arms = {
        "full": Policy(),
        "ThinK .4": policy("think", share=0.4),
        "ThinK .5": policy("think", share=0.5),
        "chance .4": Pruning(codecs=(ByChance(0.4),)),
    }
    scores: dict[str, list[float]] = {name: [] for name in arms}
    rows: dict[str, Any] = {}
    for task in TASKS[:2] if options.quick else TASKS:
        records = on_models.sessions(task, 4 if options.quick else 20, options.seed, 1024, 5)
        each = {name: _means(ask(_client(model, name, made), records, MULTI_TURN)) for name, made in arms.items()}
        rows[task] = {name: float(np.mean(values)) for name, values in each.items()}
        if rows[task]["full"] >= 0.8:
            for name, values in each.items():
                scores[name] += values

    def lost(name: str) -> Any:
        return bootstrap_difference(scores["full"], scores[name], range(len(scores[name])), options.rng())

    return [
        Check.of("points lost without 40 % of the channels", lost("ThinK .4"), LOST, at_least=False),
        Check.of("points lost without 50 %", lost("ThinK .5"), LOST_HALF, at_least=False),
        Check.of("points lost without 40 % by chance", lost("chance .4"), RANDOM_LOSES),
    ], {"answers": rows}


def after_eviction(options: Options) -> Measured:
    """Where tokens were dropped first: fewer bytes at the same answers, and the answers at the same bytes. The question is known (first turns)."""
    model, _ = on_models.model()
    records = on_models.sessions("kv", 8 if options.quick else 60, options.seed, 1024, 1)
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
        Check.of("points more than dropping more tokens instead", bootstrap_difference(means[thin], means[fewer], clusters, options.rng()), 0.0),
    ], {"one question, known": {name: {"score": float(np.mean(means[name])), "bytes near": near[name]} for name in made}}


def _stored_bytes(model: Any, made: Policy, context: str) -> int:
    """Keys and values that were compressed, without the newest tokens, which stay whole, and without kept queries."""
    memory = KVMemory.of(model, made)
    with torch.no_grad():
        model(torch.tensor([CompactCodec().encode(context)]), cache=memory)
    memory.settle()
    return sum(part.nbytes().near for layer in memory.managed for part in layer.parts)
