"""Parts of `mnemos bench kv-landmark`: landmarks found by lists against comparing with all, on random landmarks of three kinds, and on those of the
model that learnt one for every four words."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from mnemos.activation.chunks import ChunkStore
from mnemos.activation.landmark import dense, tokens
from mnemos.activation.landmark.attending import blocks_of
from mnemos.activation.landmark.index import Exact, Lists
from mnemos.activation.landmark.part import Blocks
from mnemos.activation.landmark.picking import EACH, pick
from mnemos.activation.landmark.positions import Layout, Queries
from mnemos.activation.landmark.reference import LANDMARK
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.landmark.store import BlockStore
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.rotary import Rotary
from mnemos.base.stats import bootstrap_mean
from mnemos.bench.parts import Measured
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.models.reference import language, tasks

HEADS, SIZE, TOP = 2, 64, 5
COUNTS = (4096, 16384, 65536, 262144)
LEAST, PROBE = 65536, 8192
"""Landmarks from which on the policy has lists, and how many of them a query is compared with then: its defaults."""
PROBES = (512, 2048, PROBE)
QUERIES, TIMED = 64, 15
FOUND = 0.9
"""The share of the best blocks that lists have to find among landmarks that drift, in no more time than comparing with all takes."""


def drifting(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keys [1, H, n, d] whose hidden state of 16 numbers drifts from block to block as a text does (autoregressive, .95), and white noise of a tenth;
    queries [m, 1, H, d] that look for such a state."""
    mixing = torch.randn(HEADS, 16, SIZE, generator=generator)
    steps = torch.randn(count, HEADS, 16, generator=generator) * (1 - 0.95**2) ** 0.5
    decay = 0.95 ** torch.arange(256).float()  # of a window, beyond which nothing is left
    states = torch.nn.functional.conv1d(steps.permute(1, 2, 0).reshape(-1, 1, count), decay.flip(0)[None, None], padding=255)[..., :count]
    keys = torch.einsum("hrn,hrd->hnd", states.view(HEADS, 16, count), mixing)
    keys += 0.1 * keys.std() * torch.randn(keys.shape, generator=generator)
    asked = torch.einsum("mhr,hrd->mhd", torch.randn(QUERIES, HEADS, 16, generator=generator), mixing)
    return keys[None], asked[:, None]


def aimed(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keys without any structure, and queries that look for one of them each: half of a query is the key, half is noise."""
    keys = torch.randn(1, HEADS, count, SIZE, generator=generator)
    home = torch.randint(count, (QUERIES,), generator=generator)
    return keys, keys[:, :, home].permute(2, 0, 1, 3) + torch.randn(QUERIES, 1, HEADS, SIZE, generator=generator)


def unlike(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Keys and queries that have nothing to do with each other: the worst there is for any index."""
    return torch.randn(1, HEADS, count, SIZE, generator=generator), torch.randn(QUERIES, 1, HEADS, SIZE, generator=generator)


WORLDS: tuple[Callable[[int, torch.Generator], tuple[Tensor, Tensor]], ...] = (drifting, aimed, unlike)


def blocks(keys: Tensor, index: Lists | None = None) -> Blocks:
    """Blocks of one token each, which have these landmarks."""
    store, count = BlockStore(), keys.shape[2]
    places = torch.arange(count, dtype=torch.int32)
    store.put(keys, keys.new_zeros(1, HEADS, count, 1), places.view(1, -1, 1).expand(-1, -1, 2))
    part = Blocks(store, places.view(1, -1, 1), Rotary.identity())
    if index is not None:
        part.index = index.add(store)
    return part


def _asked(query: Tensor) -> Queries:
    return Queries(query[:, :, None, None], torch.full((1, 1), 2 * (TOP + 1)), Rotary.identity(), Layout(1, TOP))


def _found(picked: Tensor, best: Tensor) -> float:
    """The share of the best blocks [1, H, 1, 1, k] that is among those that were picked."""
    return float((picked.unsqueeze(-1) == best.unsqueeze(-2)).any(-2).float().mean())


def finding(options: Options) -> Measured:
    """Recall of the blocks that comparing with all brings back, time of a query in turns with it, and what lists take near. A quick run has the
    defaults alone, at the ends, and landmarks that drift."""
    checks: list[Check] = []
    rows: dict[str, dict[str, float]] = {}
    counts, worlds, probes = (COUNTS[-2:], WORLDS[:1], (PROBE,)) if options.quick else (COUNTS, WORLDS, PROBES)
    for count, world in product(counts, worlds):
        options.say(f"{count} landmarks, {world.__name__}")
        keys, asked = world(count, torch.Generator().manual_seed(options.seed))
        whole, begun = blocks(keys), time.thread_time()
        part = blocks(keys, Lists(1, PROBE, 2 * TOP, options.seed))
        made, index = time.thread_time() - begun, part.index
        assert isinstance(index, Lists)
        queries = [_asked(query) for query in asked]
        expected = [pick(whole, query, EACH, 1.0) for query in queries]
        row = {"built, s": made / HEADS, "near, share of landmarks": index.nbytes() / keys.nbytes}
        for probe in probes:
            part.index = replace(index, probe=probe)
            each = [_found(pick(part, query, EACH, 1.0), best) for query, best in zip(queries, expected, strict=True)]
            ratios = [_spent(part, query) / _spent(whole, query) for query in queries[:TIMED]]
            row[f"found, {probe:,}"], row[f"time ÷ all, {probe:,}"] = statistics.mean(each), statistics.median(ratios)
            if probe == PROBE and count >= LEAST and world is drifting:
                interval = bootstrap_mean(each, range(len(each)), options.rng())
                checks += [
                    Check.of(f"of the best {TOP} of {count:,} landmarks that drift, found by lists", interval, FOUND),
                    Check(f"time of a query then, lists ÷ all ({count:,})", statistics.median(ratios), 1.0, at_least=False, n=len(ratios)),
                ]
        rows[f"{count:,}, {world.__name__}"] = row
    return checks, {f"Landmarks found by lists, {SIZE} numbers, the best {TOP}; by how many landmarks a query is compared with": rows}


def _spent(part: Blocks, query: Queries) -> float:
    begun = time.thread_time()
    pick(part, query, EACH, 1.0)
    return time.thread_time() - begun


class Heard(Exact):
    """Compares with all landmarks, and keeps the queries that asked."""

    def __init__(self) -> None:
        self.queries: list[Tensor] = []

    def search(self, queries: Tensor, count: int) -> None:
        self.queries.append(queries)


def learnt(options: Options) -> Measured:
    """The same of landmarks and queries that were learnt: the landmarks of several contexts as if they were of one, and the queries of all their
    questions and answers; the best as many as the model brings back."""
    model, _ = dense.load()
    heard: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(model.config.num_hidden_layers)]
    for number in range(3 if options.quick else 12):
        options.say(f"context {number}")
        session = tasks.make("kv", 1024, 5, f"kv-landmark lists {options.seed} {number}")
        given = torch.tensor([tokens.insert(language.encode(session.words()), dense.BLOCK, LANDMARK)])
        read = policy("landmark", block=dense.BLOCK, top=dense.TOP, trained=dense.READING["trained"])
        first, memory = tokens.place_of(len(session.context), dense.BLOCK), KVMemory.of(model, read)
        segmentwise(model, given[:, :first], top=dense.TOP, memory=memory, keep=1)
        listeners = []
        for layer in memory.managed:
            part = blocks_of(layer)
            assert part is not None
            part.index = listener = Heard()
            listeners.append((part.store.summaries, listener))
        segmentwise(model, given[:, first:], top=dense.TOP, memory=memory, keep=1)
        for its, (landmarks, listener) in zip(heard, listeners, strict=True):
            its.append((landmarks, torch.cat(listener.queries, 3)))
    rows: dict[str, dict[str, float]] = {}
    for number, its in enumerate(heard[1:], 1):  # in the first all landmarks are the same
        keys, queries = torch.cat([landmarks for landmarks, _ in its], 2), torch.cat([asked for _, asked in its], 3)
        count, store = keys.shape[2], ChunkStore()
        store.put(keys, keys[..., :1], torch.zeros(1, count, 2, dtype=torch.int32))
        best = torch.matmul(queries, keys.mT.unsqueeze(2)).topk(dense.TOP, -1).indices
        row = {"landmarks": float(count), "queries of a head": float(queries.shape[3])}
        for share in (16, 8):
            found = Lists(1, count // share, 2 * dense.TOP, options.seed).add(store).search(queries, count)
            assert found is not None
            row[f"found, 1/{share}"] = float((best.unsqueeze(-1) == found.unsqueeze(-2)).any(-1).float().mean())
        rows[f"layer {number}"] = row
    least = min(row["found, 1/8"] for row in rows.values())
    return [
        Check(f"of the best {dense.TOP} landmarks that were learnt, found by an eighth of them, least of the layers", least, FOUND),
    ], {f"Landmarks that were learnt, found by lists, the best {dense.TOP}, by the share that a query is compared with": rows}
