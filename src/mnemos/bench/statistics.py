"""The statistics behind every number here, against their promise: intervals, corrections and tests over simulated data whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.base.meter import Seconds, machine
from mnemos.base.stats import (
    benjamini_hochberg,
    bootstrap_mean,
    clusters_for_power,
    holm,
    permutation_test,
    power,
    wilson,
)
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result

DATA_SETS = 2000
"""A design; 500 would know a coverage to within two points only, as wide as what is promised."""
DESIGNS = (
    (12, 0.7, 0.1, 10, 40),
    (20, 0.8, 0.1, 5, 60),
    (30, 0.9, 0.2, 20, 20),
    (60, 0.6, 0.3, 5, 100),
    (8, 0.7, 0.1, 10, 40),
    (20, 0.95, 0.2, 5, 60),
)
"""(sessions, share right, share of the variance between sessions, least and most answers of a session); the last two are hard on purpose: few
sessions, and hardly a wrong answer."""
PROMISED = 4
"""Of the designs, those that the promise is made for."""
FAMILIES = 500
NULLS = 20
GAIN = 0.05

Floats = NDArray[np.float64]


def run(benchmark: Benchmark, options: Options) -> Result:
    """Coverage by design, with resampling of items beside; families of tests; power on a true gain of five points."""
    clock = Seconds()
    rng = options.rng()
    table: dict[str, dict[str, float]] = {}
    checks: list[Check] = []
    for number, (sessions, share, correlation, least, most) in enumerate(DESIGNS):
        options.say(f"coverage {number + 1} of {len(DESIGNS)}")
        covered, naive = _coverage(rng, sessions, share, correlation, least, most)
        name = f"{sessions} sessions of {least}–{most}, {share:.0%} right, {correlation:.0%} between"
        table[name] = {"coverage": covered, "items as if independent": naive}
        if number < PROMISED:
            checks += [
                Check(f"coverage, {name}", covered, 0.93, baseline=naive, n=DATA_SETS),
                Check(f"the same, not above, {sessions} sessions", covered, 0.97, at_least=False, n=DATA_SETS),
            ]
    options.say("families of tests")
    family, discoveries, spread = _multiplicity(rng)
    bound = 0.05 + 2 * math.sqrt(0.05 * 0.95 / FAMILIES)
    checks += [
        Check(f"runs with a false rejection among {NULLS} (Holm)", family, bound, at_least=False, n=FAMILIES),
        Check("share of false discoveries (Benjamini–Hochberg)", discoveries, 0.05 + 2 * spread, at_least=False, n=FAMILIES),
    ]
    options.say("power")
    tests = _power(rng, 100 if options.quick else 400)
    details = {
        "tables": {"Coverage of 95 % intervals": table, "A true gain of five points": tests},
        "notes": [f"{DATA_SETS} simulated data sets a design; a session's success rate is its own (beta-binomial)."],
        "quick": options.quick,
        "seed": options.seed,
    }
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def sessions_of(rng: np.random.Generator, sessions: int, share: float, correlation: float, least: int, most: int) -> tuple[Floats, Any]:
    """Right (1) and wrong (0) answers, and the session of each."""
    strength = (1 - correlation) / correlation
    names = np.repeat(np.arange(sessions), rng.integers(least, most + 1, sessions))
    rates = rng.beta(share * strength, (1 - share) * strength, sessions)
    return (rng.random(len(names)) < rates[names]).astype(float), names


def _coverage(rng: np.random.Generator, sessions: int, share: float, correlation: float, least: int, most: int) -> tuple[float, float]:
    covered = naive = 0
    for _ in range(DATA_SETS):
        right, names = sessions_of(rng, sessions, share, correlation, least, most)
        interval = bootstrap_mean(right, names.tolist(), rng, resamples=1000, bounds=(0, 1))
        covered += interval.low <= share <= interval.high
        items = wilson(int(right.sum()), len(right))
        naive += items.low <= share <= items.high
    return covered / DATA_SETS, naive / DATA_SETS


def _multiplicity(rng: np.random.Generator) -> tuple[float, float, float]:
    """Share of runs in which any of 20 true nulls is rejected by Holm's correction, and the mean share of false ones, with its standard error,
    among what Benjamini and Hochberg's rejects of 20 nulls and 10 true effects. The p-values are those of permutation tests of 12 sessions."""
    false, shares = 0, []
    clusters = list(range(12))
    for _ in range(FAMILIES):
        noise = rng.normal(0, 1, (NULLS + 10, 12))
        noise[NULLS:] += 1.5
        p = np.array([permutation_test(row, np.zeros(12), clusters, rng, permutations=999) for row in noise])
        false += bool((holm(p[:NULLS]) <= 0.05).any())
        rejected = benjamini_hochberg(p) <= 0.05
        shares.append(float(rejected[:NULLS].sum() / max(1, rejected.sum())))
    return false / FAMILIES, float(np.mean(shares)), float(np.std(shares) / math.sqrt(FAMILIES))


def _power(rng: np.random.Generator, runs: int) -> dict[str, dict[str, Any]]:
    """How often the permutation test finds a true gain of five points, by the number of sessions of 25, beside the plan's formula."""
    table: dict[str, dict[str, Any]] = {}
    for sessions in (10, 20, 40, 80):
        found = 0
        spreads, correlations = [], []
        names = np.repeat(np.arange(sessions), 25)
        for _ in range(runs):
            level = rng.beta(6, 3, sessions)[names]
            before, after = rng.random(len(names)) < level, rng.random(len(names)) < np.minimum(level + GAIN, 1)
            difference = after.astype(float) - before
            found += permutation_test(after, before, names.tolist(), rng, permutations=499) < 0.05
            spreads.append(difference.std(ddof=1))
            means = difference.reshape(sessions, 25).mean(1)
            correlations.append(max(0.0, (means.var(ddof=1) * 25 / difference.var(ddof=1) - 1) / 24))
        spread, correlation = float(np.mean(spreads)), float(np.mean(correlations))
        planned = power(GAIN, spread, sessions, 25, correlation)
        table[f"{sessions} sessions of 25"] = {"found": found / runs, "planned": planned, "spread": spread, "correlation": correlation}
    needed = clusters_for_power(GAIN, spread, 25, correlation)
    table["sessions for a power of 0.8"] = {"found": None, "planned": needed, "spread": spread, "correlation": correlation}
    return table
