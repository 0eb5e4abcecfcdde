"""`mnemos bench kv`: what is still answered in later turns, for how many measured bytes, by every policy, on the reference model.

One context, five questions (SCBench, arXiv 2412.10319, its multi-turn mode): the reference answer is put into the history, what was generated is
taken back. Only tasks are asked that the full cache answers. Bytes are those of the tensors near the compute, as a share of the full cache's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnemos.base.stats import Interval, bootstrap_difference
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult
from mnemos.bench.scbench.harness import run as ask
from mnemos.bench.threads import one_thread

EIGHTH = 1 / 8
LOST, MORE = 0.05, 0.10
"""At an eighth of the bytes, in turns 2 to 5: what a policy that brings back may lose to the full cache; and what the best one that only evicts loses
more than it."""
MASTERED = 0.8
"""A task counts where the full cache answers so much of it."""
TASKS = ("kv", "summary", "summary_needles", "many_shot", "qa_english")
LENGTH, TURNS = 1024, 5
NOTES = (
    "The reference model of this project (1.4 million parameters), contexts of about 1,024 tokens in its compact language; answers count as SCBench "
    "counts them.",
    "`near ÷ full`: bytes of all tensors near the compute after the last turn, room to spare, positions and kept queries included, in multiples of "
    "the full cache's keys and values. What lies far (ShadowKV's values) is in the column beside it.",
)


@dataclass(frozen=True)
class Arm:
    """One policy at one setting. `brings_back`: what was put aside can be attended to again."""

    name: str
    policy: str
    options: Mapping[str, Any]
    brings_back: bool = False


def _evicting(share: float) -> tuple[Arm, ...]:
    said = f"1/{round(1 / share)}"
    return (
        Arm(f"window {said}", "window", {"share": share}),
        Arm(f"SnapKV {said}", "snapkv", {"share": share, "window": 16}),
        Arm(f"H2O {said}", "h2o", {"share": share, "recent": 16}),
        Arm(f"TOVA {said}", "tova", {"share": share}),
        Arm(f"KNorm {said}", "knorm", {"share": share}),
        Arm(f"KeyDiff {said}", "keydiff", {"share": share}),
        Arm(f"Expected Attention {said}", "expected", {"share": share}),
        Arm(f"R-KV {said}", "rkv", {"share": share}),
    )


ARMS: Sequence[Arm] = (
    Arm("full", "full", {}),
    *_evicting(1 / 2),
    *_evicting(1 / 4),
    *_evicting(1 / 8),
    Arm("KIVI, 4 bits", "kivi", {"bits": 4}),
    Arm("KIVI, 2 bits", "kivi", {"bits": 2}),
    Arm("ThinK .4", "think", {"share": 0.4}),
    Arm("ShadowKV, chunks of 8", "shadowkv", {"share": 1 / 16, "rank": 0.125, "chunk": 8, "local": 2}, True),
    Arm("ShadowKV, chunks of 2", "shadowkv", {"share": 1 / 16, "rank": 0.25, "chunk": 2, "local": 2}, True),
)
QUICK = ("full", "window 1/8", "SnapKV 1/8", "H2O 1/8", "KIVI, 2 bits", "ThinK .4", "ShadowKV, chunks of 8", "ShadowKV, chunks of 2")


@dataclass(frozen=True)
class Turns:
    """An arm's answers: `scores` by session and turn, in one row for each; bytes as shares of the full cache's."""

    arm: Arm
    scores: Sequence[Sequence[float]]
    near: float
    far: float

    def later(self) -> list[float]:
        """Means over turns 2 and on, by session."""
        return [float(np.mean(row[1:])) for row in self.scores]


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures. Raises `ModelUnavailable` where the reference model is not there."""
    with one_thread():
        return in_parts(benchmark, options, (turns,), NOTES)


def turns(options: Options) -> Measured:
    """Every arm on every task that the full cache answers."""
    model, _ = on_models.model()
    n = 4 if options.quick else 20
    arms = [arm for arm in ARMS if not options.quick or arm.name in QUICK]
    records = {task: on_models.sessions(task, n, options.seed, LENGTH, TURNS) for task in (TASKS[:2] if options.quick else TASKS)}
    found: dict[str, dict[str, Turns]] = {}
    for task, asked in records.items():
        options.say(task)
        full = ask(on_models.client(model, "full", verify=False), asked, MULTI_TURN)
        whole = float(np.mean([_bytes(result)[0] for result in full]))
        rows = {ARMS[0].name: Turns(ARMS[0], _scores(full), 1.0, 0.0)}
        if np.mean(rows["full"].later()) >= MASTERED:
            for arm in arms[1:]:
                results = ask(on_models.client(model, arm.policy, arm.name, verify=False, **arm.options), asked, MULTI_TURN)
                near, far = np.mean([_bytes(result) for result in results], 0) / whole
                rows[arm.name] = Turns(arm, _scores(results), float(near), float(far))
        found[task] = rows
    return _checks(found, options), _tables(found)


def _scores(results: Sequence[SessionResult]) -> list[list[float]]:
    return [[row.score for row in result.rows] for result in results]


def _bytes(result: SessionResult) -> tuple[float, float]:
    resident = result.rows[-1].resident
    return float(resident.get("device", 0)), float(resident.get("host", 0))


def _checks(found: Mapping[str, Mapping[str, Turns]], options: Options) -> list[Check]:
    """At an eighth of the bytes: the loss of the best policy that brings back, and how much more the best loses that only evicts."""
    used = {task: rows for task, rows in found.items() if len(rows) > 1}
    checks = [Check("tasks that the full cache answers, of those asked", float(len(used)), n=len(found))]
    kinds = {True: "brings back", False: "only evicts"}
    losses: dict[bool, list[tuple[float, str, Interval]]] = {True: [], False: []}
    names = [arm.name for arm in ARMS if used and all(arm.name in rows for rows in used.values()) and arm.policy not in ("full", "kivi", "think")]
    for name in names:
        ours = [value for rows in used.values() for value in rows[name].later()]
        theirs = [value for rows in used.values() for value in rows["full"].later()]
        near = float(np.mean([rows[name].near for rows in used.values()]))
        arm = next(arm for arm in ARMS if arm.name == name)
        if near <= EIGHTH * 1.05:
            losses[arm.brings_back].append((near, name, bootstrap_difference(theirs, ours, range(len(ours)), options.rng())))
    for brings_back, bound in ((True, LOST), (False, None)):
        least = min(losses[brings_back], key=lambda loss: loss[2].value, default=None)
        if least is None:
            checks.append(Check(f"points lost by the best that {kinds[brings_back]}, at 1/8 of the bytes (none is that small)", float("nan"), bound,
                                at_least=False))  # fmt: skip
        else:
            checks.append(Check.of(f"points lost by the best that {kinds[brings_back]} ({least[1]}), turns 2 on, at {least[0]:.3f} of the bytes",
                                   least[2], bound, at_least=False))  # fmt: skip
    best = [min((loss[2].value for loss in losses[kind]), default=float("nan")) for kind in (False, True)]
    checks.append(Check("points that the best which only evicts loses more", best[0] - best[1], MORE))
    return checks


def _tables(found: Mapping[str, Mapping[str, Turns]]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for task, rows in found.items():
        tables[f"{task}: score by turn"] = {
            name: {"near ÷ full": each.near, "far ÷ full": each.far,
                   **{f"turn {number + 1}": float(np.mean([row[number] for row in each.scores])) for number in range(len(each.scores[0]))}}
            for name, each in rows.items()
        }  # fmt: skip
    return tables
