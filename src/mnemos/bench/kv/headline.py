"""`mnemos bench kv`: what is still answered in later turns, for how many measured bytes, by every policy, on the reference model.

One context, five questions (SCBench, arXiv 2412.10319, its multi-turn mode): the reference answer is put into the history, what was generated is
taken back. Only tasks count that the full cache answers. Bytes are those of the tensors near the compute, as a share of the full cache's, of the
model in float32 and of the same model in bfloat16, whose full cache is half as large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch

from mnemos.activation.landmark import dense
from mnemos.activation.landmark import reference as landmark
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policy import Policy
from mnemos.activation.quantised import Quantise
from mnemos.base.errors import MnemosError
from mnemos.base.stats import Interval, bootstrap_difference
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.clients import TokenClient
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult
from mnemos.bench.scbench.harness import run as ask
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec, Stats
from mnemos.bench.threads import one_thread

EIGHTH = 1 / 8
LOST, MORE = 0.05, 0.10
"""At an eighth of the bytes, in turns 2 to 5: what a policy that brings back may lose to the full cache; and what the best one that only evicts loses
more than it."""
MASTERED = 0.8
"""A task counts where the full cache answers so much of it."""
TASKS = ("kv", "summary", "summary_needles", "many_shot", "qa_english")
LENGTH, TURNS, SESSIONS = 1024, 5, 8
"""Words of a context; its questions; sessions of each task in a full run."""
FULL = "full"
NOTES = (
    "The reference model of this project (1.4 million parameters), contexts of about 1,024 tokens in its compact language; answers count as SCBench "
    "counts them. In bfloat16, policies that keep few bits, that bring back, and two that evict.",
    "`near ÷ full`: bytes of all tensors near the compute after the last turn, room to spare, positions and kept queries included, in multiples of "
    "the full cache's keys and values, in the model's type. What lies far (keys, values and positions that are brought back) is in the column beside "
    "it; `step ÷ full` is the most that one layer brought at once, for all tokens of a question together or for one that was generated: held while "
    "that layer attends, and no longer where nothing is kept for the next step.",
    "A policy that brings back is at an eighth where all that is near is; one that only evicts, where its budget is, whatever it holds beside that.",
    "Intervals are bootstrapped by session; settings were chosen on sessions of other seeds.",
)


class Kind(Enum):
    """What a policy does with tokens that it has no room for."""

    KEEPS = "keeps all"
    EVICTS = "only evicts"
    ROUNDS = "rounds"
    BRINGS = "brings back"


@dataclass(frozen=True)
class Arm:
    """One policy at one setting."""

    name: str
    make: Callable[[], Policy]
    kind: Kind
    share: float = 1.0
    """Of the tokens: its budget, where it evicts."""

    def client(self, model: Any) -> TokenClient:
        """Raises where the model that it needs is not there."""
        return _client(Watched(model, lambda: KVMemory.of(model, self.make()), self.name))


@dataclass(frozen=True)
class Trained(Arm):
    """One that works on a model of its own: the reference model that has learnt landmarks, as `taught` loads it."""

    taught: Callable[[], tuple[Any, Any]] = landmark.load

    def client(self, model: Any) -> TokenClient:
        """Of the other model. Raises `MnemosError` where its weights are not there."""
        own = Landmarked(self.taught()[0].to(model.dtype), **vars(self.make()))
        return _client(Watched(own, own.new_cache, self.name))


class Watched(CacheMethod):
    """Notes, in `most`, the largest number of bytes that one layer brought at once."""

    most = 0

    def stats(self, handle: Any) -> Stats:
        brought = [getattr(getattr(part, "statistics", None), "most", 0) for layer in getattr(handle.cache, "managed", ()) for part in layer.parts]
        self.most = max([self.most, *brought])
        return super().stats(handle)


def _client(method: Watched) -> TokenClient:
    return TokenClient(method, CompactCodec(), COMPACT_TEMPLATE, verify=False)


def _arm(name: str, kind: Kind, which: str, **options: Any) -> Arm:
    return Arm(name, lambda: policy(which, **options), kind, options.get("share", 1.0) if kind is Kind.EVICTS else 1.0)


def _evicting(share: float) -> tuple[Arm, ...]:
    said = f"1/{round(1 / share)}"
    return (
        _arm(f"window {said}", Kind.EVICTS, "window", share=share),
        _arm(f"SnapKV {said}", Kind.EVICTS, "snapkv", share=share, window=16),
        _arm(f"H2O {said}", Kind.EVICTS, "h2o", share=share, recent=16),
        _arm(f"TOVA {said}", Kind.EVICTS, "tova", share=share),
        _arm(f"KNorm {said}", Kind.EVICTS, "knorm", share=share),
        _arm(f"KeyDiff {said}", Kind.EVICTS, "keydiff", share=share),
        _arm(f"Expected Attention {said}", Kind.EVICTS, "expected", share=share),
        _arm(f"R-KV {said}", Kind.EVICTS, "rkv", share=share),
    )


def _then(first: Policy, *codecs: Any) -> Policy:
    return first.then(*codecs)  # type: ignore[attr-defined, no-any-return]


FINE = f"Landmark, blocks of {dense.BLOCK}, in {dense.BITS} bits"
_FEW: dict[str, Any] = {
    "chunk": 1, "share": 1 / 32, "local": 4, "bits": 4, "outliers": 0.0, "residual": 0.5, "flush": 16, "reuse": False
}  # fmt: skip
ARMS: Sequence[Arm] = (
    *_evicting(1 / 2),
    *_evicting(1 / 4)[:3],
    *_evicting(1 / 8),
    _arm("KIVI, 4 bits", Kind.ROUNDS, "kivi", bits=4),
    _arm("KIVI, 2 bits", Kind.ROUNDS, "kivi", bits=2),
    _arm("ThinK .4", Kind.ROUNDS, "think", share=0.4),
    Arm("ThinK .4, in 4 bits", lambda: _then(policy("think", share=0.4), Quantise(4)), Kind.ROUNDS),
    Arm("ThinK .5, in 2 bits", lambda: _then(policy("think", share=0.5), Quantise(2)), Kind.ROUNDS),
    Arm("SnapKV 1/2, in 4 bits", lambda: _then(policy("snapkv", share=1 / 2, window=16), Quantise(4)), Kind.ROUNDS),
    _arm("ShadowKV, chunks of 8", Kind.BRINGS, "shadowkv", share=1 / 16, rank=0.125, chunk=8, local=2),
    _arm("ShadowKV, chunks of 2", Kind.BRINGS, "shadowkv", share=1 / 16, rank=0.25, chunk=2, local=2),
    _arm("ShadowKV, few bits, rank .5", Kind.BRINGS, "shadowkv", rank=0.5, most_rank=0.5, landmark_bits=2, **_FEW),
    _arm("ShadowKV, few bits, rank .25", Kind.BRINGS, "shadowkv", rank=0.25, most_rank=0.25, landmark_bits=2, **_FEW),
    _arm("ShadowKV, few bits, rank .25, landmarks in 1", Kind.BRINGS, "shadowkv", rank=0.25, most_rank=0.25, landmark_bits=1, **_FEW),
    _arm("blocks of 1, in 2 bits", Kind.BRINGS, "blocks", block=1, bits=2, share=1 / 32, local=4, flush=16),
    _arm("blocks of 1, in 1 bit", Kind.BRINGS, "blocks", block=1, bits=1, share=1 / 32, local=4, flush=16, reuse=False),
    Trained("Landmark", lambda: policy("landmark", block=landmark.BLOCK, trained=landmark.TRAINED), Kind.BRINGS),
    Trained("Landmark, a block at a time", lambda: policy("landmark", block=landmark.BLOCK), Kind.BRINGS),
    Trained(FINE, lambda: policy("landmark", block=dense.BLOCK, **dense.READING), Kind.BRINGS, taught=dense.load),
)
HALF = (
    "window 1/8", "SnapKV 1/8", "KIVI, 4 bits", "KIVI, 2 bits", "ShadowKV, few bits, rank .5", "ShadowKV, few bits, rank .25",
    "ShadowKV, few bits, rank .25, landmarks in 1", "blocks of 1, in 2 bits", "blocks of 1, in 1 bit", "Landmark", "Landmark, a block at a time",
    FINE,
)  # fmt: skip
"""What is measured in bfloat16, too; in a quick run those of them that are quick."""
HALVED = ", bfloat16"
TYPES = {"": torch.float32, HALVED: torch.bfloat16}
"""What the model is in, by what is said of it."""
FAMILIES = ("blocks", "ShadowKV", "Landmark")
"""Those that bring back, each of which has to be at an eighth of the bytes for itself."""
QUICK = ("window 1/8", "SnapKV 1/8", "KIVI, 2 bits", "ShadowKV, few bits, rank .25", "blocks of 1, in 2 bits")


@dataclass(frozen=True)
class Turns:
    """Answers of an arm: `scores` by session and turn, in one row for each; bytes as shares of the full cache's."""

    scores: Sequence[Sequence[float]]
    near: float
    far: float
    step: float = 0.0
    """The most that one layer brought at once."""

    def later(self) -> list[float]:
        """Means over turns 2 and on, by session."""
        return [float(np.mean(row[1:])) for row in self.scores]


Found = Mapping[str, Mapping[str, Turns]]
"""By task and name of an arm; only `FULL` where the full cache does not answer."""


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures. Without the weights of the reference model there is one that cannot read, and no task counts."""
    with one_thread():
        (whole, absent), (half, _) = (clients_of(options.quick, said) for said in TYPES)

        def turns(options: Options) -> Measured:
            """Every arm on every task that the full cache answers."""
            return measured(asked(whole, options), options)

        def bfloat16(options: Options) -> Measured:
            """The same of the model in bfloat16, of fewer arms."""
            return measured(asked(half, options), options, HALVED)

        return in_parts(benchmark, options, (turns, bfloat16), [*NOTES, *absent])


def measured(found: Found, options: Options, said: str = "") -> Measured:
    """Checks and tables of what was found of the model in a type of `TYPES`."""
    return _checks(found, options, said), _tables(found, options, said)


def clients_of(quick: bool, said: str = "") -> tuple[dict[str, TokenClient], list[str]]:
    """(By name, the full cache first; why others are not there.) Of the model in a type of `TYPES`."""
    model = on_models.model()[0].to(TYPES[said])
    clients, absent = {FULL: on_models.client(model, "full", verify=False)}, []
    for arm in ARMS:
        if (not quick or arm.name in QUICK) and (not said or arm.name in HALF):
            try:
                clients[arm.name] = arm.client(model)
            except MnemosError as error:
                absent.append(f"{arm.name} is not measured: {error}")
    return clients, absent


def asked(clients: Mapping[str, TokenClient], options: Options) -> Found:
    """What all answered."""
    n = 4 if options.quick else SESSIONS
    found: dict[str, dict[str, Turns]] = {}
    for task in TASKS[:1] if options.quick else TASKS:
        records = on_models.sessions(task, n, options.seed, LENGTH, TURNS)
        options.say(task)
        full = ask(clients[FULL], records, MULTI_TURN)
        whole = float(np.mean([_bytes(result)[0] for result in full]))
        found[task] = {FULL: Turns(_scores(full), 1.0, 0.0)}
        if np.mean(found[task][FULL].later()) >= MASTERED:
            for name, client in clients.items():
                if name != FULL:
                    options.say(f"{task}: {name}")
                    assert isinstance(client.method, Watched)
                    client.method.most = 0
                    results = ask(client, records, MULTI_TURN)
                    near, far = np.mean([_bytes(result) for result in results], 0) / whole
                    found[task][name] = Turns(_scores(results), float(near), float(far), client.method.most / whole)
    return found


def _scores(results: Sequence[SessionResult]) -> list[list[float]]:
    return [[row.score for row in result.rows] for result in results]


def _bytes(result: SessionResult) -> tuple[float, float]:
    resident = result.rows[-1].resident
    return float(resident.get("device", 0)), float(resident.get("host", 0))


@dataclass(frozen=True)
class Over:
    """An arm over all tasks that count: means of turns 2 and on by session, what it loses to the full cache, and the bytes near."""

    arm: Arm
    later: Sequence[float]
    lost: Interval
    near: float

    @property
    def at_an_eighth(self) -> bool:
        """Whether it counts there."""
        return self.near <= EIGHTH if self.arm.kind is Kind.BRINGS else self.arm.share <= EIGHTH


def _over(found: Found, options: Options) -> list[Over]:
    used = [rows for rows in found.values() if len(rows) > 1]
    out = []
    for arm in ARMS:
        if used and all(arm.name in rows for rows in used):
            full, later = ([value for rows in used for value in rows[name].later()] for name in (FULL, arm.name))
            lost = bootstrap_difference(full, later, range(len(full)), options.rng())
            out.append(Over(arm, later, lost, float(np.mean([rows[arm.name].near for rows in used]))))
    return out


def _checks(found: Found, options: Options, about: str) -> list[Check]:
    """At an eighth of the bytes: the loss of the best policy that brings back, and how much more the best loses that only evicts."""
    over = _over(found, options)
    checks = [Check(f"tasks that the full cache answers, of those asked{about}", float(sum(len(rows) > 1 for rows in found.values())), n=len(found))]
    best: dict[Kind, Over | None] = {}
    for kind, bound in ((Kind.BRINGS, LOST), (Kind.EVICTS, None)):
        said = f"points lost by the best that {kind.value}"
        fit = [each for each in over if each.arm.kind is kind and each.at_an_eighth]
        least = best[kind] = min(fit, key=lambda each: each.lost.value, default=None)
        if least is None:
            checks.append(Check(f"{said}, at 1/8 of the bytes{about} (none is that small)", float("nan"), bound, at_least=False))
        else:
            checks.append(
                Check.of(f"{said} ({least.arm.name}), turns 2 on, at {least.near:.3f} of the bytes{about}", least.lost, bound, at_least=False)
            )
    for family in FAMILIES:
        its = [each for each in over if each.arm.name.startswith(family)]
        least = min((each for each in its if each.at_an_eighth), key=lambda each: each.lost.value, default=None)
        if least is not None:
            checks.append(Check.of(f"points lost by {family} at 1/8 of the bytes{about}", least.lost, LOST, at_least=False))
        elif its:
            few = min(its, key=lambda each: each.near)
            checks.append(Check(f"points lost by {family} at 1/8 of the bytes{about} (its least is {few.near:.2f}, where it loses "
                                f"{few.lost.value:.2f})", float("nan"), LOST, at_least=False))  # fmt: skip
    brings, evicts = best[Kind.BRINGS], best[Kind.EVICTS]
    more = f"points that the best which only evicts loses more{about}"
    if brings is None or evicts is None:
        return [*checks, Check(more, float("nan"), MORE)]
    return [*checks, Check.of(more, bootstrap_difference(brings.later, evicts.later, range(len(brings.later)), options.rng()), MORE)]


def _tables(found: Found, options: Options, about: str) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for task, rows in found.items():
        tables[f"{task}{about}: score by turn"] = {
            name: {"near ÷ full": each.near, "far ÷ full": each.far, "step ÷ full": each.step,
                   **{f"turn {number + 1}": float(np.mean([row[number] for row in each.scores])) for number in range(len(each.scores[0]))}}
            for name, each in rows.items()
        }  # fmt: skip
    tables[f"Lost in turns 2 on, all tasks that count{about}"] = {
        each.arm.name: {"kind": each.arm.kind.value, "near ÷ full": each.near, "lost": each.lost.value, "from": each.lost.low, "to": each.lost.high}
        for each in _over(found, options)
    }  # fmt: skip
    return tables
