"""`mnemos bench kv-think`: keys without the channels that queries hardly use (ThinK, arXiv 2407.21018)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnemos.activation.channels import channel_scores
from mnemos.activation.quantised import Packed
from mnemos.base.errors import ModelUnavailable
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.kv.think_quality import after_eviction, drift, folding, quality
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread
from mnemos.models import reference

OVER_NORM, OVER_RANDOM = 0.8, 0.45
"""Most of the error of channels chosen by keys alone, and by chance, that those chosen by queries may make, in every seed."""
ERROR, FASTER = 1.25, 1.3
NOTES = (
    "Synthetic heads: 128 channels, 2,048 keys, 32 queries, scales of channels lognormal; the error is that of the products, over their norm.",
    "Quality: the reference model, contexts of about 1,024 tokens, five questions each (SCBench, multi-turn); tasks that the full cache answers.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; those of quality only where the reference model is there."""
    parts, notes = [channels, few_bits, speed], [*NOTES]
    try:
        reference.load()
        parts += [quality, after_eviction, folding, drift]
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
