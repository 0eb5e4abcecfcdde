"""What the paper's method has to show by itself: closure against nearest lists, the RNG rule, pruning, and memory (SPANN, arXiv 2111.08566)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnemos.base.stats import spearman
from mnemos.bench.ann.arms import Arm, named
from mnemos.bench.ann.comparing import memory
from mnemos.bench.ann.curves import cost_at
from mnemos.bench.ann.measuring import Effort, Measured, Say, measure
from mnemos.bench.ann.worlds import World
from mnemos.bench.result import Check

RATIO = 0.12
READS, MOST_READS = 8, 32
NO_PRUNING = 1e9
WIDE = 1024
"""Vectors that are looked at exactly, so that the lists alone decide what is found."""
FIXED = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
SPREADS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0, 4.0)
_FIXED = tuple({"lists": count, "rescore": WIDE, "spread": NO_PRUNING} for count in FIXED)
_PRUNED = tuple({"lists": FIXED[-1], "rescore": WIDE, "spread": spread} for spread in SPREADS)
CLOSURE, NEAREST, NO_RNG, GRAPH = "closure and RNG", "nearest list only", "closure without RNG", "HNSW"


def arms() -> dict[str, Arm]:
    """The method, and what it is measured against: one list a vector, closure without the RNG rule, and a graph in memory."""
    ours = replace(named("SPANN"), settings=(*_FIXED, *_PRUNED), options={"head_ratio": RATIO}, typical=FIXED.index(MOST_READS))
    few = replace(ours, settings=_FIXED)
    return {
        CLOSURE: ours,
        NEAREST: replace(few, name=NEAREST, options={"head_ratio": RATIO, "replicas": 1}),
        NO_RNG: replace(few, name=NO_RNG, options={"head_ratio": RATIO, "rng_factor": 1e9}),
        GRAPH: named("faiss HNSW16"),
    }


def run(worlds: Sequence[World], effort: Effort, install: bool, say: Say) -> dict[str, dict[str, Measured]]:
    """By world and arm."""
    short = replace(effort, filters=False, clients=False, changes=0)
    return {each.name: {name: measure(arm, each, short, install, say) for name, arm in arms().items()} for each in worlds}


def checks(found: Mapping[str, Mapping[str, Measured]]) -> list[Check]:
    """The sheet's numbers, each the worst of the sets."""
    sets = list(found.values())
    queries = sum(len(each[CLOSURE].world.asked()) for each in sets)

    def worst(values: Sequence[float], least: bool) -> float:
        return math.nan if any(map(math.isnan, values)) else (min if least else max)(values)

    gains = [at(each[CLOSURE], READS) - at(each[NEAREST], READS) for each in sets]
    reached = [at(each[CLOSURE], MOST_READS) for each in sets]
    copies = [space(each[CLOSURE], "copies") / space(each[NO_RNG], "copies") for each in sets]
    lost = [at(each[NO_RNG], READS) - at(each[CLOSURE], READS) for each in sets]
    uneven = [space(each[CLOSURE], "unevenness") for each in sets]
    reads = [pruned_reads(each[CLOSURE]) for each in sets]
    hard = [hardness(each[CLOSURE]) for each in sets]
    held = [memory(each[CLOSURE]) / each[CLOSURE].world.raw_bytes if each[CLOSURE].points else math.nan for each in sets]
    graph = [memory(each[GRAPH]) / each[GRAPH].world.raw_bytes for each in sets if each[GRAPH].points]
    return [
        Check(f"recall@10 at {READS} lists, closure and RNG − nearest only", worst(gains, True), 0.15, n=queries),
        Check(f"recall@10 at {MOST_READS} lists", worst(reached, True), 0.95, n=queries),
        Check("copies with the RNG rule ÷ without", worst(copies, False), 0.8, at_least=False, n=len(sets)),
        Check(f"recall@10 at {READS} lists that the RNG rule costs", worst(lost, False), 0.08, at_least=False, n=queries),
        Check("lists that hold a vector, mean", worst([space(each[CLOSURE], "copies") for each in sets], False), 8.0, at_least=False, n=len(sets)),
        Check("std ÷ mean of list lengths", worst(uneven, False), 0.65, at_least=False, n=len(sets)),
        Check("lists read with pruning ÷ fixed, at the same recall", worst(reads, False), 0.8, at_least=False, n=queries),
        Check("hard queries read more lists (Spearman)", worst(hard, True), 0.3, n=queries),
        Check(f"resident ÷ raw vectors at ratio {RATIO}", worst(held, False), 0.2, at_least=False, baseline=min(graph, default=None), n=len(sets)),
        *([Check("resident ÷ raw vectors of HNSW", min(graph), 1.0, n=len(graph))] if graph else []),
    ]


def at(found: Measured, lists: int) -> float:
    """Recall at that many lists without pruning; NaN where it was not measured."""
    return next((point.recall for point in found.points if point.setting == FIXED.index(lists)), math.nan)


def space(found: Measured, name: str) -> float:
    return float(found.space.get(name, math.nan))


def pruned_reads(found: Measured) -> float:
    """Mean lists read by pruned searches over those of fixed ones at the same recall: 0.95, or the nearest to it that both were measured at."""
    fixed = [(point.recall, float(point.noted["lists"].mean())) for point in found.points if point.setting < len(FIXED)]
    pruned = [(point.recall, float(point.noted["lists"].mean())) for point in found.points if point.setting >= len(FIXED)]
    if not fixed or not pruned:
        return math.nan
    least = max(min(value for value, _ in curve) for curve in (fixed, pruned))
    most = min(max(value for value, _ in curve) for curve in (fixed, pruned))
    recall = min(max(0.95, least), most)
    return cost_at(pruned, recall) / cost_at(fixed, recall)


def hardness(found: Measured) -> float:
    """Rank correlation of the lists that a pruned search reads (the spread whose mean is nearest to a third of the most) with how hard the query is:
    the distance of its tenth neighbour over its mean distance to all vectors."""
    pruned = [point for point in found.points if point.setting >= len(FIXED)]
    if not pruned:
        return math.nan
    point = min(pruned, key=lambda each: abs(float(each.noted["lists"].mean()) - FIXED[-1] / 3))
    reads = point.noted["lists"]
    queries, base = found.world.asked()[: len(reads)].astype(np.float64), found.world.base()
    mean = np.asarray(base.mean(axis=0), dtype=np.float64)
    spread = float(np.mean([np.einsum("ij,ij->", block, block) / len(block) for block in np.array_split(base, max(1, len(base) // 10_000))]))
    typical = np.einsum("ij,ij->i", queries, queries) - 2 * queries @ mean + spread
    return spearman(reads, found.world.truth()[: len(reads), -1] / typical)


def table(found: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """One world: recall by lists, and the shape of the lists."""
    out = {}
    for name, each in found.items():
        if name == GRAPH or not each.points:
            continue
        out[name] = {f"recall, {lists} lists": at(each, lists) for lists in (4, 8, 16, 32, 64)}
        out[name] |= {"copies": space(each, "copies"), "std ÷ mean": space(each, "unevenness"), "resident ÷ raw": memory(each) / each.world.raw_bytes}
    return out
