"""`mnemos bench kv-shadowkv`: ShadowKV (arXiv 2410.21465) against the full cache: how few directions keys need, bytes that stay near, chunks that
need not be brought again, the time of a step, and, with the reference model, what is found again in long contexts, over turns, and after growth.
"""

from __future__ import annotations

import statistics
import time
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mnemos.activation.layer import MemoryLayer
from mnemos.activation.policies import policy
from mnemos.activation.rotary import Rotary, Source
from mnemos.activation.shadow import lowrank
from mnemos.activation.shadow.folding import shadow_of
from mnemos.base.errors import ModelUnavailable
from mnemos.bench.kv import shadowkv_quality as quality
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread

LOW, HIGH = 0.05, 0.5
"""What 40 directions may leave out of keys before rotation, and leave out at least of keys after it (norms, shares)."""
NEAR_8K, NEAR_122K = 1 / 5, 1 / 6
EIGHTH = 1 / 8
"""What is asked for by its share."""
HITS, COPIED = 0.5, 0.6
FASTER = 2.0
NOTES = (
    "Bytes are those of the tensors of a layer of 8 heads of 128 numbers in bfloat16 after a decoding step, with the paper's settings: chunks of 8, "
    "160 of 1,024 directions, 1/64 picked, .3 % outliers, 4 local chunks. On a machine without an accelerator, near and far are the same memory: "
    "what is saved there is compute, and bytes where values lie on disk.",
    "Times are CPU seconds of one thread, medians, dense and sparse steps in turns.",
    "The lines for an H200 (batch, throughput, overlap, cost of factoring at 122K) need one, and are not measured here.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; those of quality only where the reference model is there."""
    parts, notes = [low_rank, near_bytes, hits, speed], [*NOTES]
    try:
        quality.model()
        parts += [quality.keys, quality.retrieval, quality.turns, quality.growth]
    except ModelUnavailable as error:
        notes.append(f"Quality is not measured: {error}")
    with one_thread():
        return in_parts(benchmark, options, parts, notes)


def latent(n: int, rank: int, width: int, noise: float, generator: torch.Generator) -> Tensor:
    """[1, n, width]: keys whose hidden state of `rank` numbers drifts from token to token (autoregressive, .95), and white noise."""
    steps = torch.randn(n, rank, generator=generator) * (1 - 0.95**2) ** 0.5
    states = [torch.randn(rank, generator=generator)]
    for step in steps:
        states.append(0.95 * states[-1] + step)
    keys = torch.stack(states[1:]) @ torch.randn(rank, width, generator=generator) / rank**0.5
    return (keys + noise * torch.randn(n, width, generator=generator))[None]


def lost(keys: Tensor, rank: int) -> float:
    """The norm that the best `rank` directions leave out of [1, n, D], as a share."""
    vectors = lowrank.leading(lowrank.gram(keys.split(4096, 1)), rank)[1].to(keys.dtype)
    return float((keys - keys @ vectors @ vectors.mT).norm() / keys.norm())


def low_rank(options: Options) -> Measured:
    """Synthetic keys: 40 hidden numbers, 256 components in 4 heads, 4,096 tokens, noise .02."""
    keys = latent(4096, 40, 256, 0.02, torch.Generator().manual_seed(options.seed))
    heads = keys.view(1, 4096, 4, 64).transpose(1, 2)
    turned = Rotary.default(64).rotate(heads, torch.arange(4096)).transpose(1, 2).reshape(1, 4096, 256)
    found = {rank: (lost(keys, rank), lost(turned, rank)) for rank in (16, 40, 80)}
    rows = {f"{rank} of 256 directions": {"before rotation": before, "after": after} for rank, (before, after) in found.items()}
    return [
        Check("left out by 40 of 256 directions, synthetic keys before rotation", found[40][0], LOW, at_least=False, n=4096),
        Check("the same, after rotation", found[40][1], HIGH, n=4096),
    ], {"Norm of synthetic keys that is left out": rows}


@dataclass
class _Frequencies:
    """What a layer asks of a model's rotary module."""

    inv_freq: Tensor
    attention_scaling: float = 1.0
    __hash__ = object.__hash__


class Layer:
    """A layer of its own that has read these rotated keys and values [1, G, n, d], and settled."""

    def __init__(self, keys: Tensor, values: Tensor, name: str = "shadowkv", **options: Any) -> None:
        rotary = Rotary.default(keys.shape[-1])
        self._module = _Frequencies(rotary.frequencies[0])
        self.layer = MemoryLayer(policy(name, **options), 0, Source(weakref.ref(self._module), "", rotary.layout))
        self.layer.lazy_initialization(keys, values)
        self.layer.tail.append(keys, values, torch.arange(keys.shape[2])[None])
        self.layer.seen, self.layer.settled = keys.shape[2], False
        self.layer.settle()

    def step(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of one new token."""
        return self.layer.attend(queries, keys, values, None, keys.shape[-1] ** -0.5, None, None)


def _near(tokens: int, options: Options, name: str = "shadowkv", **kept: Any) -> tuple[float, float]:
    """(Near, far) bytes of a layer after one step, each a share of the full cache's."""
    generator = torch.Generator().manual_seed(options.seed)
    plain = torch.randn(1, tokens, 160, generator=generator) @ torch.randn(160, 1024, generator=generator) / 160**0.5
    keys = Rotary.default(128).rotate(plain.view(1, tokens, 8, 128).transpose(1, 2), torch.arange(tokens)).to(torch.bfloat16)
    values = torch.randn(1, 8, tokens, 128, generator=generator, dtype=torch.bfloat16)
    own = Layer(keys, values, name, **kept)
    own.step(*(torch.randn(1, 8, 1, 128, generator=generator, dtype=torch.bfloat16) for _ in range(3)))
    full, held = 2 * 2 * 1024 * tokens, own.layer.nbytes()
    return held.near / full, held.far / full


def near_bytes(options: Options) -> Measured:
    """Contexts of 8K tokens and more; in a quick run the longest is reckoned from two shorter ones, for near bytes grow in proportion."""
    lengths = (8192, 16384) if options.quick else (8192, 32768, 124928)
    shares = {length: _near(length, options) for length in lengths}
    rows = {f"{length:,} tokens": {"near": near, "far": far} for length, (near, far) in shares.items()}
    if options.quick:
        first, second = (shares[length][0] * length for length in lengths)
        long = (first + (second - first) * (124928 - 8192) / 8192) / 124928
        rows["124,928 tokens, reckoned"] = {"near": long}
    else:
        long = shares[124928][0]
    rationed = {}
    for name in ("shadowkv", "blocks"):
        near, far = _near(8192, options, name, near=EIGHTH)
        rationed[name] = near
        rows[f"8,192 tokens, {name} with near=1/8"] = {"near": near, "far": far}
    return [
        Check("near bytes at 8K tokens with near=1/8, ShadowKV", rationed["shadowkv"], EIGHTH, at_least=False),
        Check("near bytes at 8K tokens with near=1/8, blocks", rationed["blocks"], EIGHTH, at_least=False),
        Check("near bytes at 8K tokens, share of the full cache", shares[8192][0], NEAR_8K, at_least=False),
        Check("near bytes at 122K tokens, share of the full cache", long, NEAR_122K, at_least=False),
    ], {"Bytes, share of the full cache": rows}


def hits(options: Options) -> Measured:
    """Queries that move as a random walk does (correlation .95 from step to step) over 8K tokens, with the buffer and without."""
    steps = 30 if options.quick else 200
    generator = torch.Generator().manual_seed(options.seed)
    plain = latent(8192, 80, 512, 0.02, generator)
    keys = Rotary.default(64).rotate(plain.view(1, 8192, 8, 64).transpose(1, 2), torch.arange(8192))
    values = torch.randn(1, 8, 8192, 64, generator=generator)
    walk = [torch.randn(1, 8, 1, 64, generator=generator)]
    for _ in range(steps):
        walk.append(0.95 * walk[-1] + (1 - 0.95**2) ** 0.5 * torch.randn(1, 8, 1, 64, generator=generator))
    found = {}
    for reuse in (True, False):
        own = Layer(keys, values, reuse=reuse)
        for query in walk:
            own.step(2 * query, torch.zeros(1, 8, 1, 64), torch.zeros(1, 8, 1, 64))
        shadow = shadow_of(own.layer)
        assert shadow is not None
        found[reuse] = shadow.statistics
    return [
        Check("chunks of a step that were near already", found[True].hit_rate, HITS, n=steps),
        Check("bytes copied, share of copying all of them", found[True].copied / found[False].copied, COPIED, at_least=False, n=steps),
    ], {}


def speed(options: Options) -> Measured:
    """A decoding step at 32K tokens, 8 heads of 64: torch's dense attention, and all that ShadowKV does."""
    steps, tokens = (15 if options.quick else 60), 32768
    generator = torch.Generator().manual_seed(options.seed)
    plain = torch.randn(1, tokens, 80, generator=generator) @ torch.randn(80, 512, generator=generator) / 80**0.5
    keys = Rotary.default(64).rotate(plain.view(1, tokens, 8, 64).transpose(1, 2), torch.arange(tokens))
    values = torch.randn(1, 8, tokens, 64, generator=generator)
    begun = time.thread_time()
    own = Layer(keys, values)
    folded = time.thread_time() - begun
    query, dense, sparse = torch.randn(1, 8, 1, 64, generator=generator), [], []
    for _ in range(steps):
        query = 0.95 * query + (1 - 0.95**2) ** 0.5 * torch.randn(1, 8, 1, 64, generator=generator)
        new = torch.randn(2, 1, 8, 1, 64, generator=generator)
        begun = time.thread_time()
        scaled_dot_product_attention(query, keys, values)
        dense.append(time.thread_time() - begun)
        begun = time.thread_time()
        own.step(query, new[0], new[1])
        sparse.append(time.thread_time() - begun)
    one, other = statistics.median(dense), statistics.median(sparse)
    rows = {"dense": {"ms": 1e3 * one}, "shadowkv": {"ms": 1e3 * other}, "folding 32K tokens": {"ms": 1e3 * folded}}
    return [Check("dense time of a step at 32K tokens ÷ ShadowKV's", one / other, FASTER, n=steps)], {"CPU time": rows}
