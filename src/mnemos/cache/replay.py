"""Replaying traces: misses of policies at several capacities, beside the fewest possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mnemos.base.errors import Invalid
from mnemos.cache.base import EvictionPolicy, Key
from mnemos.cache.belady import Belady
from mnemos.cache.policy import Policy
from mnemos.cache.registry import policy as named_policy
from mnemos.cache.traces import Trace, meta_of

BELADY = "belady"
Factory = Callable[[int], EvictionPolicy]


@dataclass(frozen=True)
class Outcome:
    """What a policy did on a trace. `cost` is that of its misses; `ratio`, of its misses to the fewest possible, is known for pages of one size."""

    trace: str
    policy: str
    capacity: int
    requests: int
    misses: int
    cost: float
    ratio: float | None

    @property
    def miss_ratio(self) -> float:
        return self.misses / self.requests if self.requests else 0.0


def replay(
    trace: Trace | Sequence[Key], policies: Sequence[str] | Mapping[str, Factory], capacities: Sequence[int]
) -> list[Outcome]:
    """Every policy on the trace at every capacity; `belady` may be among the names. Policies are names of the registry, or what makes them.

    The ratio is to Belady's rule, for caches that load every page that is asked for. Raises `NotFound` for an unknown name.
    """
    trace = trace if isinstance(trace, Trace) else Trace("trace", trace)
    if trace.metas and len(trace.metas) != len(trace.keys):
        raise Invalid(f"trace {trace.name}: {len(trace.metas)} metas for {len(trace.keys)} requests; give one for each, or none")
    factories = policies if isinstance(policies, Mapping) else {name: factory(name, trace) for name in policies}
    equal = all(meta.size == 1 for meta in trace.metas)
    outcomes = []
    for capacity in capacities:
        fewest = count_misses(Belady(capacity, trace.keys), trace)[0] if equal else None
        for name, make in factories.items():
            misses, cost = count_misses(make(capacity), trace)
            outcomes.append(Outcome(trace.name, name, capacity, len(trace), misses, cost, misses / fewest if fewest else None))
    return outcomes


def factory(name: str, trace: Trace) -> Factory:
    """What makes the policy of that name for the trace."""
    if name == BELADY:
        return lambda capacity: Belady(capacity, trace.keys)
    return lambda capacity: named_policy(name, capacity)


def count_misses(policy: EvictionPolicy, trace: Trace) -> tuple[int, float]:
    """Misses on the trace, and their cost."""
    misses, cost = 0, 0.0
    if isinstance(policy, Policy) and not trace.metas:
        misses = sum(policy.request(key) is not None for key in trace.keys)
        return misses, float(misses)
    for number, key in enumerate(trace.keys):
        meta = meta_of(trace, number)
        if key in policy:
            policy.on_hit(key, meta)
        else:
            policy.on_miss(key, meta)
            misses += 1
            cost += meta.cost
    return misses, cost


def table(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """`{"trace at capacity": {"policy": ratio, …}}`, ratios to the fewest misses, miss ratios where these are not known."""
    rows: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        row = rows.setdefault(f"{outcome.trace} at {outcome.capacity}", {})
        row[outcome.policy] = outcome.miss_ratio if outcome.ratio is None else outcome.ratio
    return rows
