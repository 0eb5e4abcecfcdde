"""The findings of the paper on a model that can read, and the front of what methods answer against what they hold.

What the full cache does not answer does not count: no method can lose it. Checks and averages leave such questions out, and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import mnemos
from mnemos.bench.result import Check
from mnemos.bench.scbench import changing, checks, pareto
from mnemos.bench.scbench.clients import Client
from mnemos.bench.scbench.curves import MASTERED, answered, mastered
from mnemos.bench.scbench.harness import MULTI_REQUEST, MULTI_TURN, run
from mnemos.bench.scbench.on_models import EIGHTH, Results, client, sessions
from mnemos.bench.scbench.reading_client import ReadingClient
from mnemos.bench.scbench.records import Record

SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
KNOWS: dict[str, Any] = {"share": EIGHTH, "window": 16}
"""SnapKV at 1/8; its query window is shorter than a question of the compact language with what stands before it."""
LOADS: dict[str, Any] = {"share": EIGHTH, "chunk": 2, "rank": 0.25, "local": 2}
"""Selective loading at the same attended budget: all tokens are kept, and 1/8 of them, in chunks of two, is attended to by each query."""
MANY_SHOT = 905
"""Words of 150 examples, as many as the paper's task has; in 512 words there are 85."""
FRONT_TASKS = ("kv", "prefix_suffix", "qa_english", "many_shot", "summary_needles")


@dataclass(frozen=True)
class Found:
    """Checks, results by what was run, the largest share at which SnapKV falls below 0.9 of the full cache (None: at none), and notes."""

    checks: list[Check]
    results: dict[str, Results]
    knee: float | None
    notes: list[str]


def findings(model: Any, n: int, close: int, seed: int, rng: np.random.Generator, say: Callable[[str], None]) -> Found:
    """Findings 1, 2, 5, 6 and 7 over `n` sessions a task; what two bits keep of KV, and a window of many-shot, which are near their bounds, over as
    many as `close`, of which the first n are the same."""
    more, shots = sessions("kv", close, seed), sessions("many_shot", close, seed)
    kv, longer = more[:n], sessions("many_shot", n, seed, MANY_SHOT)

    def turns(name: str, records: Sequence[Record] = kv, mode: str = MULTI_TURN, label: str = "", aware: bool = False, **options: Any) -> Results:
        say(f"findings: {label or name}, {mode}")
        return run(client(model, name, label, aware, verify=False, **options), records, mode)

    made = {
        "full": turns("full", more),
        "window": turns("window", label="window 1/8", share=EIGHTH),
        "snapkv known": turns("snapkv", label="SnapKV 1/8", aware=True, **KNOWS),
        "loading": turns("shadowkv", label="loads 1/8", **LOADS),
        "requests known": turns("snapkv", mode=MULTI_REQUEST, label="SnapKV 1/8", aware=True, **KNOWS),
        "requests": turns("snapkv", mode=MULTI_REQUEST, label="SnapKV 1/8", **KNOWS),
        "two bits": turns("kivi", more, label="KIVI 2 bits", bits=2, group=32, recent=32),
        "two bits, finer": turns("kivi", label="KIVI 2 bits, groups of 16", bits=2, group=16, recent=32),
        "shots": turns("full", shots),
        "window shots": turns("window", shots, label="window 1/8", share=EIGHTH),
        "150 shots": turns("full", longer),
        "window 150 shots": turns("window", longer, label="window 1/8", share=EIGHTH),
    }
    curve = {1.0: made["full"], **{share: turns("snapkv", label=f"SnapKV {_said(share)}", share=share, window=16) for share in SHARES}}
    made |= {f"snapkv {_said(share)}": results for share, results in curve.items() if share < 1}
    budgets, knee = checks.budgets(curve, made["two bits"], rng)
    on_kv = [
        *checks.turns_matter(made["full"], made["window"], made["snapkv known"], rng),
        *checks.loading_holds(made["loading"], rng),
        *checks.knowing_helps(made["requests known"], made["requests"], rng),
        *budgets,
    ]
    on_shots = checks.global_tasks_tolerate(made["window shots"], made["shots"], made["window"], made["window 150 shots"], made["150 shots"], rng)
    notes = [f"The knee of SnapKV's budget curve is at a share of {_said(knee)}." if knee else "SnapKV's budget curve has no knee down to 1/16."]
    for task, full in (answered(made["full"]) | answered(made["shots"])).items():
        if full < MASTERED:
            on_kv = checks.not_counted(on_kv, task, full) if task == "kv" else on_kv
            on_shots = checks.not_counted(on_shots, task, full)
            notes.append(f"The full cache answers {full:.2f} of {task}: findings on it do not count.")
    return Found([*on_kv, *on_shots], made, knee, notes)


def compared(model: Any, n: int, seed: int, say: Callable[[str], None], tasks: Sequence[str] = FRONT_TASKS) -> Results:
    """Methods of every kind on tasks that the model masters, multi-turn, for the front."""
    clients: list[Client] = [
        client(model, "full", verify=False),
        *(client(model, "window", f"window {_said(share)}", verify=False, share=share) for share in SHARES),
        *(client(model, "snapkv", f"SnapKV {_said(share)}", verify=False, share=share, window=16) for share in SHARES),
        *(client(model, "kivi", f"KIVI {bits} bits", verify=False, bits=bits) for bits in (4, 2)),
        *(client(model, "shadowkv", f"loads {_said(share)}", verify=False, **{**LOADS, "share": share}) for share in (EIGHTH, 1 / 16)),
        ReadingClient(client(model, "full", verify=False)),
    ]
    results: Results = []
    for task in tasks:
        records = sessions(task, n, seed)
        for each in clients:
            say(f"front: {task}, {each.name}")
            results += run(each, records)
    return results


def changes(model: Any, n: int, turns: int, seed: int, say: Callable[[str], None]) -> tuple[dict[str, dict[str, Any]], list[Check]]:
    """What correcting and deleting facts costs, and whether tenants stay apart, by methods of every kind, over `n` sessions of as many facts as
    `turns`; text memory keeps all in one store."""
    with mnemos.open(":memory:") as store:
        clients: list[Client] = [
            client(model, "full", verify=False),
            client(model, "snapkv", "SnapKV 1/8", verify=False, **KNOWS),
            client(model, "shadowkv", "loads 1/8", verify=False, **LOADS),
            ReadingClient(client(model, "full", verify=False), store=store),
        ]
        return changing.table(clients, sessions("kv", n, seed, turns=turns), say)


def fronts(results: Results, rng: np.random.Generator) -> tuple[dict[str, dict[str, dict[str, Any]]], list[Check]]:
    """Tables of the front over the questions that the full cache answers, and the areas under it; none where it answers nothing."""
    full = [result for result in results if result.method == "full cache"]
    counted = mastered(full)
    points = pareto.points(results, rng, counted) if counted else []
    whole = next((point for point in points if point.method == "full cache"), None)
    if whole is None:
        return {}, []
    tables = {
        "Front, turns 2 on, questions that the full cache answers": pareto.table(points),
        "Best score within a budget of bytes": pareto.budget_table(points, whole),
    }
    n = len({result.session for result in full})
    return tables, [
        Check("area under the front of near bytes, 1 to 1/16 of the full cache's", pareto.area(points, whole, pareto.near), n=n),
        Check("area under the front of all bytes, 1 to 1/16 of the full cache's", pareto.area(points, whole, pareto.whole), n=n),
    ]


def _said(share: float) -> str:
    return f"1/{round(1 / share)}"
