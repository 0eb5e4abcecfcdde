"""The scheduler against what it replaces: its break-even against the clock, its latency against LRU, LFU and none, its foresight against recency.

Costs are measured in this run, on keys and values that a small transformer computes and holds: prefill of the context (build), a query with the
context before it (without), a query on the held cache (within).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.scheduling import Action, Cost, CostModel, SceneModel, Scheduler, replay
from mnemos.kernel.scheduling.costs import PARTS

FITTED = (96, 192, 384, 768, 1536)
HELD_OUT = (128, 256, 512, 1024, 2048)
QUERY = 64


class Kept:
    """A tier that remembers what it holds."""

    name = "kv"

    def __init__(self) -> None:
        self.held: set[Any] = set()

    def drop(self, key: Any) -> None:
        self.held.discard(key)


def measured(tokens: Sequence[int], rounds: int, seed: int) -> dict[int, list[Cost]]:
    """Processor seconds and bytes of contexts of so many tokens, `rounds` times each, on one thread of a process of its own: what other programs
    of a busy machine do does not lengthen them."""
    one = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL", "VECLIB", "NUMEXPR")}
    command = [sys.executable, "-m", "mnemos.bench.tiny_transformer", str(seed), str(rounds), str(QUERY), *map(str, tokens)]
    answer = subprocess.run(command, env={**os.environ, **one}, capture_output=True, check=True, text=True).stdout
    return {int(size): [Cost(*cost) for cost in costs] for size, costs in json.loads(answer).items()}


def typical(costs: Sequence[Cost]) -> Cost:
    """The median of each part."""
    build, without, within = (float(np.median([getattr(cost, part) for cost in costs])) for part in ("build", "without", "within"))
    return Cost(build, without, within, costs[0].bytes)


def crossing(costs: Sequence[Cost]) -> int:
    """Uses after which the time that was really spent with the cache, its building included, is no more than without it."""
    cost = typical(costs)
    with_it, without = cost.build, 0.0
    for uses in range(1, 1000):
        with_it, without = with_it + cost.within, without + cost.without
        if with_it <= without:
            return uses
    return 1000


def _interpolated(sizes: Any, known: Mapping[int, Cost], per_token: int) -> list[Cost]:
    """The cost of contexts of any size, between those that were measured."""
    tokens = sorted(known)
    parts = {part: np.exp(np.interp(np.log(sizes), np.log(tokens), np.log([getattr(known[t], part) for t in tokens]))) for part in PARTS}
    rows = zip(*(parts[part].tolist() for part in PARTS), sizes.tolist(), strict=True)
    return [Cost(build, without, within, int(size) * per_token) for build, without, within, size in rows]


# ---- latency --------------------------------------------------------------------------------------------------------


def zipf_trace(rng: np.random.Generator, requests: int, objects: int, drift: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Zipf(1.0) over `objects`; every `drift` requests a third of them change places."""
    weights = 1 / np.arange(1, objects + 1)
    order, out = rng.permutation(objects), []
    for start in range(0, requests, drift):
        if start:
            moved = rng.choice(objects, objects // 3, replace=False)
            order[moved] = order[rng.permutation(moved)]
        out.append(order[rng.choice(objects, size=min(drift, requests - start), p=weights / weights.sum())])
    return np.concatenate(out)


def serve_classically(trace: Any, costs: Sequence[Cost], budget: int, evict: Callable[[OrderedDict[int, int]], int]) -> np.ndarray[Any, Any]:
    """Seconds of each request where every miss is built and held, and `evict` names what gives way."""
    held: OrderedDict[int, int] = OrderedDict()
    used, out = 0, np.empty(len(trace))
    for number, key in enumerate(trace.tolist()):
        cost = costs[key]
        if key in held:
            held[key] += 1
            held.move_to_end(key)
            out[number] = cost.within
            continue
        if cost.bytes > budget:
            out[number] = cost.without
            continue
        while used + cost.bytes > budget:
            victim = evict(held)
            del held[victim]
            used -= costs[victim].bytes
        held[key] = 1
        used += cost.bytes
        out[number] = cost.build + cost.within
    return out


def serve_scheduled(trace: Any, costs: Sequence[Cost], budget: int, model: CostModel) -> tuple[np.ndarray[Any, Any], Scheduler, float]:
    """(seconds of each request as the scheduler decides, the scheduler, seconds that deciding took)."""
    times = [0]
    scheduler = Scheduler(lambda: times[0], kept=4 * len(trace))
    tier = Kept()
    scheduler.register(tier, budget)
    for part, points in model.as_json().items():
        for size, seconds in points:
            scheduler.observe("kv", part, int(size), seconds)
    out, deciding = np.empty(len(trace)), 0.0
    for number, key in enumerate(trace.tolist()):
        times[0] += 1_000_000
        cost = costs[key]
        start = time.perf_counter()
        action = scheduler.use("kv", key, cost.bytes).action
        deciding += time.perf_counter() - start
        if action is Action.BUILD:
            tier.held.add(key)
        assert (key in tier.held) is (action is not Action.DECLINE)
        out[number] = {Action.HELD: cost.within, Action.BUILD: cost.build + cost.within, Action.DECLINE: cost.without}[action]
    return out, scheduler, deciding


# ---- foresight ------------------------------------------------------------------------------------------------------


def foresight(rng: np.random.Generator, steps: int, topics: int, room: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(hits of the scene model, hits of recency), one for each step of a random walk over topics, `room` of them preloaded before each step.

    Each topic is followed by three others with 0.55, 0.25 and 0.1, else by any; all topics are of one size, so the room is the same in bytes.
    """
    follows = np.full((topics, topics), 0.1 / topics)
    for row in follows:
        row[rng.choice(topics, 3, replace=False)] += (0.55, 0.25, 0.1)
    follows /= follows.sum(axis=1, keepdims=True)
    model, recent = SceneModel(), OrderedDict[int, None]()
    hits, base = [], []
    now = 0
    for _ in range(steps):
        following = int(rng.choice(topics, p=follows[now]))
        hits.append(following in {scene for scene, _ in model.predict(room)})
        base.append(following in list(recent)[-room:])
        model.observe(following)
        recent.pop(following, None)
        recent[following] = None
        now = following
    return np.array(hits, dtype=float), np.array(base, dtype=float)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures costs, serves traces by them, and walks over topics."""
    rng = options.rng()
    with Seconds() as took:
        rounds = 5 if options.quick else 15
        real = measured([*FITTED, *HELD_OUT], rounds, options.seed)
        model, table = CostModel(), {}
        for tokens in FITTED:
            for cost in real[tokens]:
                for part in PARTS:
                    model.observe(part, cost.bytes, getattr(cost, part))
        gaps = []
        for tokens in HELD_OUT:
            predicted, one = model.cost(real[tokens][0].bytes), typical(real[tokens])
            assert predicted is not None
            n_predicted, n_real = predicted.break_even or 1000, crossing(real[tokens])
            gaps.append(abs(n_predicted - n_real))
            table[f"{tokens} tokens"] = {
                "build ms": one.build * 1e3, "without ms": one.without * 1e3, "within ms": one.within * 1e3, "saved %": 100 * one.saved / one.without,
                "break-even predicted": n_predicted, "measured": n_real,
            }  # fmt: skip
            options.say(f"{tokens} tokens: break-even {n_predicted} predicted, {n_real} measured")
        objects = 400
        sizes = np.clip(np.exp(rng.normal(6.0, 0.9, objects)), min(FITTED), max(HELD_OUT)).astype(int)
        per_token = real[FITTED[0]][0].bytes // FITTED[0]
        costs = _interpolated(sizes, {tokens: typical(found) for tokens, found in real.items()}, per_token)
        budget = sum(cost.bytes for cost in costs) // 10
        ours: list[Any] = []
        theirs: dict[str, list[Any]] = {"none": [], "LRU": [], "LFU": []}
        blocks: list[tuple[int, int]] = []
        deciding = decisions = 0.0
        for seed in range(2 if options.quick else 10):
            trace = zipf_trace(np.random.default_rng(options.seed * 100 + seed), 10_000 if options.quick else 20_000, objects, 2000)
            mine, scheduler, spent = serve_scheduled(trace, costs, budget, model)
            deciding, decisions = deciding + spent, decisions + len(trace)
            others = {
                "none": np.array([costs[key].without for key in trace.tolist()]),
                "LRU": serve_classically(trace, costs, budget, lambda held: next(iter(held))),
                "LFU": serve_classically(trace, costs, budget, lambda held: min(held, key=held.__getitem__)),
            }
            ours.append(mine)
            blocks += [(seed, start) for start in range(0, len(trace), 2000) for _ in range(min(2000, len(trace) - start))]
            for name, seconds in others.items():
                theirs[name].append(seconds)
        faithful = replay(scheduler.log()) == scheduler.decisions()
        mine = np.concatenate(ours)
        latency = {name: bootstrap_ratio(mine, np.concatenate(parts), blocks, options.rng()) for name, parts in theirs.items()}
        walks = 4 if options.quick else 20
        pairs = [foresight(np.random.default_rng(options.seed * 1000 + walk), 3000, 40, 4) for walk in range(walks)]
        ahead = bootstrap_ratio(
            np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs]),
            [walk for walk in range(walks) for _ in range(3000)], options.rng(),
        )  # fmt: skip
    table_latency = {name: {"seconds a request": float(np.concatenate(parts).mean())} for name, parts in theirs.items()}
    table_latency["mnemos"] = {"seconds a request": float(mine.mean())}
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        [
            Check.of("latency ÷ LRU's (Zipf 1.0, drift, 10 % of the bytes)", latency["LRU"], 0.85, at_least=False),
            Check.of("latency ÷ LFU's", latency["LFU"], 0.90, at_least=False),
            Check.of("latency ÷ that of holding nothing", latency["none"], 1.02, at_least=False),
            Check("largest difference of predicted and measured break-even (reuses)", float(max(gaps)), 1.0, at_least=False, n=len(gaps)),
            Check.of("hits of what is built ahead ÷ hits of recency, same bytes", ahead, 1.5),
            Check("decisions that a replay repeats (share)", float(faithful), 1.0, n=int(decisions)),
            Check("microseconds a decision", deciding / decisions * 1e6, None, n=int(decisions)),
        ],
        seconds=took.seconds,
        machine=machine().as_dict(),
        details={"tables": {"costs, measured": table, "latency": table_latency}, "budget_bytes": budget, "objects": objects},
    )

