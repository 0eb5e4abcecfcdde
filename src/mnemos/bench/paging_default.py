"""The default policy on real traces: never much worse than the best classical policy, and better on average."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mnemos.bench.paging_traces import MIX, SHARES, Set, capacity
from mnemos.bench.result import Check
from mnemos.cache.auto import Auto
from mnemos.cache.belady import Belady
from mnemos.cache.policy import Policy
from mnemos.cache.registry import policy
from mnemos.cache.replay import count_misses
from mnemos.cache.traces import Trace

Table = dict[str, dict[str, Any]]
OF_THREE = ("lru", "lfu", "s3-fifo")
CLASSICAL = (*OF_THREE, "arc", "sieve", "marker")
OURS = "auto"
NEVER_WORSE, BETTER_THAN_LRU, BETTER_ON_AVERAGE = 1.02, 8 / 13, 0.97
WORST_TRACE = 1.05
OTHER_SHARES = (0.02, 0.20)


def measure(sets: Sequence[Set], say: Callable[[str], None], shares: Sequence[float] = SHARES) -> tuple[list[Check], dict[str, Table]]:
    """Every policy on every set at every share of its pages.

    The bound of 2 % and the count of traces are over the real ones; the average ratio to Belady's misses is over all, as is the worst trace.
    """
    misses: dict[tuple[str, float], dict[str, int]] = {}
    for one in sets:
        for share in shares:
            say(f"{one.name} at {share:.0%}")
            misses[one.name, share] = _misses(one, share)
    return _checks(sets, misses), {"Misses ÷ the fewest of LRU, LFU and S3-FIFO": _table(sets, misses)}


def other_capacities(sets: Sequence[Set], say: Callable[[str], None]) -> Check:
    """The bound of 2 % at capacities that nobody looked at while the policy was made."""
    worst = 0.0
    for one in sets:
        for share in OTHER_SHARES:
            say(f"{one.name} at {share:.0%}")
            row = _misses(one, share, (*OF_THREE, OURS))
            worst = max(worst, row[OURS] / min(row[name] for name in OF_THREE))
    shares = " and ".join(f"{share:.0%}" for share in OTHER_SHARES)
    return Check(f"default ÷ best of LRU, LFU, S3-FIFO at {shares} of the pages, worst", worst, NEVER_WORSE, at_least=False,
                 n=len(sets) * len(OTHER_SHARES))


def _misses(one: Set, share: float, names: Sequence[str] = (*CLASSICAL, OURS)) -> dict[str, int]:
    totals = dict.fromkeys((*names, "belady"), 0)
    for number, trace in enumerate(one.traces):
        k = capacity(trace, share)
        for name in names:
            totals[name] += _count(Auto(k, seed=number) if name == OURS else policy(name, k), trace)
        totals["belady"] += _count(Belady(k, trace.keys), trace)
    return totals


def _count(cache: Policy, trace: Trace) -> int:
    return count_misses(cache, trace)[0]


def _checks(sets: Sequence[Set], misses: dict[tuple[str, float], dict[str, int]]) -> list[Check]:
    real = {place: row for place, row in misses.items() if place[0] != MIX}
    worst = max(row[OURS] / min(row[name] for name in OF_THREE) for row in real.values())
    totals = {one.name: {name: sum(row[name] for place, row in real.items() if place[0] == one.name) for name in (OURS, "lru")}
              for one in sets if one.name != MIX}
    better = [total[OURS] < total["lru"] for total in totals.values()]
    average = {name: sum(row[name] / row["belady"] for row in misses.values()) / len(misses) for name in (*CLASSICAL, OURS)}
    best = min(CLASSICAL, key=average.__getitem__)
    excess = max((row[OURS] - _pages(sets, *place)) / min(row["lru"], row["s3-fifo"]) for place, row in misses.items())
    return [
        Check("default ÷ best of LRU, LFU, S3-FIFO, worst of all traces and capacities", worst, NEVER_WORSE, at_least=False, n=len(real)),
        Check("share of real traces on which the default misses less than LRU", sum(better) / len(better), BETTER_THAN_LRU, n=len(better)),
        Check(f"default's average of misses ÷ Belady's, over that of {best}, the best classical policy", average[OURS] / average[best],
              BETTER_ON_AVERAGE, at_least=False, n=len(misses)),
        Check("misses less one cache ÷ best of LRU and S3-FIFO, worst trace", excess, WORST_TRACE, at_least=False, n=len(misses)),
        *(Check(f"average of misses ÷ Belady's: {name}", average[name], n=len(misses)) for name in (OURS, *CLASSICAL)),
    ]


def _pages(sets: Sequence[Set], name: str, share: float) -> int:
    return sum(capacity(trace, share) for one in sets if one.name == name for trace in one.traces)


def _table(sets: Sequence[Set], misses: dict[tuple[str, float], dict[str, int]]) -> Table:
    table: Table = {}
    for one in sets:
        for (name, share), row in misses.items():
            if name == one.name:
                best = min(row[policy_name] for policy_name in OF_THREE)
                ratios = {policy_name: row[policy_name] / best for policy_name in (OURS, *CLASSICAL, "belady")}
                table[f"{name} at {share:.0%}"] = {"miss ratio of the best": best / one.requests, **ratios}
    return table
