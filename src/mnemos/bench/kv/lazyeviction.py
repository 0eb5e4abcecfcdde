"""`mnemos bench kv-lazyeviction`: what is due to come back is still there (LazyEviction, arXiv 2506.15969)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.base.recurrence import MARGIN
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.kv.inject import model_of
from mnemos.bench.kv.ledgers import NOTE, ledgers
from mnemos.bench.kv.recurrence import (
    Score,
    Shape,
    Trace,
    demoting,
    falling,
    h2o,
    hit_rate,
    lazy,
    made,
    raas,
    tova,
    without_age,
    without_interval,
    without_patience,
)
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread

WINDOW, THRESHOLD = 80, 5e-4
BUDGETS = (200, 260, 320)
DEMOTED = ((200, 80), (150, 32), (100, 32))
"""Tokens near and steps between evictions with which dropping is compared with putting aside."""
LEAST, OVER_RAAS, OVER_H2O, SHIFT = 0.90, 0.15, 0.40, 0.05
"""At the smallest budget: hits; hits more than RaaS and than H2O, both with the same window; and what halving or doubling a setting may change."""
OVERHEAD, LAGGED = 0.15, 0.6
"""Most of a decoding step that tracking and evicting takes at 1,024 tokens; and of what evicting in each step takes."""
ARMS: Mapping[str, Score] = {
    "LazyEviction": lazy,
    "without the interval": without_interval,
    "without the age": without_age,
    "without patience": without_patience,
    "falling with the interval": falling,
    "RaaS": raas,
    "H2O": h2o,
    "TOVA": tova,
}
NOTES = (
    "Traces are made as the method's sheet describes them; a hit is a return whose token is still held. All arms evict every 80 steps and keep the "
    "80 newest, mean of the seeds. With returns after less than 10 steps there is nothing to gain: the negative control.",
    NOTE,
    "Times are processor time of a Llama with random weights (width 256, 4 layers), one torch thread; arms take turns, step by step. They begin when "
    "the first tokens were dropped: before, what comes out is computed a second time, so that it is the full cache's to the bit.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts."""
    with one_thread():
        return in_parts(benchmark, options, (traces, ledgers, overhead), NOTES)


def traces(options: Options) -> Measured:
    """Returns that are hit, by arm and budget; settings halved and doubled; returns after short gaps."""
    count = 2 if options.quick else 5
    made_ones = [made(Shape(), options.seed + seed) for seed in range(count)]
    table = {name: {f"{budget} tokens": _hits(made_ones, score, budget) for budget in BUDGETS} for name, score in ARMS.items()}
    first = f"{BUDGETS[0]} tokens"
    ours = table["LazyEviction"][first]
    settings = ((WINDOW // 2, THRESHOLD), (2 * WINDOW, THRESHOLD), (WINDOW, THRESHOLD / 2), (WINDOW, 2 * THRESHOLD))
    shifts = {setting: _hits(made_ones, lazy, BUDGETS[0], *setting) - ours for setting in settings}
    found = _hits(made_ones, lazy, BUDGETS[0], None)
    short = [made(Shape(gap=6, spread=0.3, least=3, most=10), options.seed + seed) for seed in range(count)]
    control = {name: _hits(short, score, BUDGETS[0]) for name, score in ARMS.items()}
    n = sum(len(tokens) for trace in made_ones for tokens in trace.returns)
    far = {
        f"{tokens} tokens, every {window}{', eager' if eager else ''}": _demoted(made_ones, tokens, window, eager)
        for tokens, window in DEMOTED
        for eager in (False, True)
    }
    most, least = far[f"{BUDGETS[0]} tokens, every {WINDOW}"], far[f"{DEMOTED[-1][0]} tokens, every {DEMOTED[-1][1]}"]
    checks = [
        Check(f"returns hit at {first}", ours, LEAST, baseline=table["RaaS"][first], n=n),
        Check(f"… more than RaaS with the same window, at {first}", ours - table["RaaS"][first], OVER_RAAS, n=n),
        Check(f"… more than H2O with the same window, at {first}", ours - table["H2O"][first], OVER_H2O, n=n),
        Check("… more than with a term that falls with the interval", ours - table["falling with the interval"][first], 0.0, n=n),
        Check("largest change of hits where the threshold is halved or doubled", max(abs(shifts[setting]) for setting in settings[2:]), SHIFT,
              at_least=False, n=n),
        Check("hits lost with a window that is found out from the gaps, not given", ours - found, SHIFT, at_least=False, n=n),
        Check("hits lost where a given window is doubled (of 200 tokens it keeps the 160 newest)", -shifts[settings[1]], n=n),
        Check("hits lost where it is halved", -shifts[settings[0]], n=n),
        Check("hits more than RaaS where returns come within 10 steps (no gain to be had)", control["LazyEviction"] - control["RaaS"], n=n),
        Check(f"hits more than by dropping, where what goes lies far and comes back, at {first}", most["far"] - most["dropped"], 0.0, n=n),
        Check(f"… with {DEMOTED[-1][0]} tokens, every {DEMOTED[-1][1]}", least["far"] - least["dropped"], 0.0, n=n),
    ]  # fmt: skip
    shown = {"returns that are hit": table, "returns within 10 steps": {name: {"hits": hits} for name, hits in control.items()}}
    return checks, {**shown, "what goes lies far": far}


def _demoted(traces: Sequence[Trace], budget: int, window: int, eager: bool) -> dict[str, float]:
    """Of dropping and of demoting with the same tokens near; copies are of 1,000 steps."""
    found = [demoting(trace, budget, window, MARGIN, eager) for trace in traces]
    copies, steps = [each.copies for each in found], sum(len(trace.rows) for trace in traces) / 1000
    brought = sum(each.brought for each in copies)
    return {
        "dropped": _hits(traces, lazy, budget, window),
        "far": float(np.mean([each.hits for each in found])),
        "of tokens that came back": float(np.mean([each.came_back for each in found])),
        "brought": brought / steps,
        "used, of those that went again": sum(each.used for each in copies) / max(1, sum(each.used + each.wasted for each in copies)),
        "expected while far": sum(each.missed for each in copies) / steps,
    }


def _hits(traces: Sequence[Trace], score: Score, budget: int, window: int | None = WINDOW, threshold: float = THRESHOLD) -> float:
    return float(np.mean([hit_rate(trace, score, budget, window, threshold) for trace in traces]))


def overhead(options: Options) -> Measured:
    """What tracking and evicting take of a decoding step at 1,024 tokens held, every window and every step."""
    steps, tokens, rng = (64 if options.quick else 256), 1024, options.rng()
    model = model_of(options.seed)
    prompt = torch.from_numpy(rng.integers(1, 2000, size=(1, tokens)))
    arms: dict[str, Policy] = {
        "full": policy("full"),
        "lagged": policy("lazyeviction", tokens=tokens, window=32),
        "every step": policy("lazyeviction", tokens=tokens, window=1),
    }
    memories, seconds = {}, {name: np.zeros(steps) for name in arms}
    with torch.no_grad():
        for name, each in arms.items():
            memories[name] = KVMemory.of(model, each)
            model(prompt, cache=memories[name], logits_to_keep=1)
            memories[name].settle()
        for step in range(-32, steps):
            token = prompt[:, step % tokens][None]
            for name in arms:
                start = time.process_time()
                model(token, cache=memories[name])
                if step >= 0:
                    seconds[name][step] = time.process_time() - start
    clusters = [step // 32 for step in range(steps)]
    extra = {name: seconds[name] - seconds["full"] for name in ("lagged", "every step")}
    share = bootstrap_ratio(extra["lagged"], seconds["full"], clusters, rng)
    lagged = bootstrap_ratio(extra["lagged"], extra["every step"], clusters, rng)
    row: dict[str, Any] = {name: {"ms a step": 1e3 * float(took.mean())} for name, took in seconds.items()}
    return [
        Check.of("tracking and evicting ÷ a decoding step of the full cache", share, OVERHEAD, at_least=False),
        Check.of("what lagged eviction adds ÷ what evicting in each step adds", lagged, LAGGED, at_least=False),
    ], {"a decoding step at 1,024 tokens": row}
