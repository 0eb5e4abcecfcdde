"""Paging with succinct predictions: the literature's table, the default policy on real traces, bad bits, costs, and what it saves in use."""

from __future__ import annotations

from typing import Any

from mnemos.base.meter import Seconds, machine
from mnemos.bench import paging_costs, paging_default, paging_literature, paging_uses
from mnemos.bench.datasets import data_folder
from mnemos.bench.paging_traces import LEAST, SHARES, Set, agent_memory, brightkite, citibike, prompts, real_sets
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result

QUICK_SHARES = (0.05,)
QUICK_PEOPLE, QUICK_RIDES, QUICK_PROMPTS, QUICK_REQUESTS, QUICK_MIX = 4, 3000, 2000, 10_000, 20_000
REQUESTS = 100_000

NOTES = (
    f"Capacities are {', '.join(f'{share:.0%}' for share in SHARES)} of a trace's different pages, at least {LEAST}; the rule was fixed before any "
    "policy was run. Thirteen files of traces are thirteen traces: of CitiBike and BrightKite the misses of all months and users are summed; the two "
    "Azure files hold no blocks, and their pages are lengths of prompts.",
    "Published ratios are of all 100 BrightKite and 12 CitiBike traces; here are 20 and 6 of them, so the numbers agree in kind only.",
    "One setting of the default for all traces and capacities. It was chosen on these traces, at the three capacities; other capacities, with a "
    "line of their own, were looked at afterwards only.",
    "Times are of this thread's processor, in pure Python; learning is done in batches and stands apart.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Every part in turn. Raises `NotFound` where the data is absent."""
    clock, folder, quick = Seconds(), data_folder(options.data), options.quick
    checks: list[Check] = []
    tables: dict[str, Any] = {}

    sets = real_sets(folder, quick)
    mix = Set(agent_memory(options.rng(), 10).name, [agent_memory(options.rng(), QUICK_MIX if quick else 200_000)])
    found, more = paging_default.measure([*sets, mix], options.say, QUICK_SHARES if quick else SHARES)
    checks += found
    tables |= more
    if not quick:
        checks.append(paging_default.other_capacities(sets, options.say))

    for name, traces in (("BrightKite", brightkite(folder)), ("CitiBike", citibike(folder))):
        options.say(name)
        some = traces if not quick else [trace.cut(QUICK_RIDES) for trace in traces[:QUICK_PEOPLE if name == "BrightKite" else 1]]
        found, table = paging_literature.reproduce(name, some, quick)
        checks += [*found, *paging_literature.adversarial(name, some)]
        tables[f"{name}: misses ÷ Belady's"] = table
    options.say("a change of regime")
    checks.append(paging_literature.drift(options.rng()))

    options.say("a chat service's blocks")
    found, tables["KV prefix cache"] = paging_uses.prefix_cache(prompts(folder)[: QUICK_PROMPTS if quick else None])
    checks += found
    options.say("posting lists")
    found, tables["Hot posting lists"] = paging_uses.posting_lists(folder, options.rng())
    checks += found
    options.say("costs")
    found, tables["Costs"] = paging_costs.measure(options.rng(), QUICK_REQUESTS if quick else REQUESTS)
    checks += found
    details = {"tables": tables, "quick": quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)
