"""`mnemos bench kv-peers`: kvpress in an environment of its own, on the same model, sessions and shares as our policies.

kvpress (NVIDIA, arXiv 2510.00636) is what KV methods are compared with. Its pipeline reads a context under a press and asks each question from the
state after it: what was asked and answered before is taken out again. So both sides are asked: the context read without a question, five questions
from there; and the context read with the first question, which query-aware methods know then, and the other four from what was kept for the first.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import Invalid
from mnemos.base.stats import bootstrap_difference
from mnemos.bench import peers
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec
from mnemos.bench.scbench.records import Record
from mnemos.bench.scbench.scoring import score
from mnemos.bench.scbench.tasks import new_tokens
from mnemos.bench.threads import one_thread
from mnemos.models import reference

PEER = "kvpress"
DRIVER = Path(__file__).with_name("_kvpress.py")
SECONDS = 3000
LENGTH, TURNS = 1024, 5
SHARES = (1 / 2, 1 / 4, 1 / 8)
WINDOW = 32
"""Queries that SnapKV and ThinK look at, on both sides (kvpress' default for SnapKV is 64)."""
RECENT = 8
"""Newest tokens that ours keeps in any case: it chooses again when a question was read, and must not drop it. kvpress chooses once."""
CHANNELS = 0.4
"""Share of the channels of keys that ThinK does without."""
ANSWERS, COSTS = "answers", "costs"
BEHIND = 0.02
"""What our answers may lose to kvpress' of the same method and share, on average."""
NOTES = (
    "The reference model, contexts of about 1,024 tokens, keys looked up; one torch thread on both sides. Bytes are those of all tensors behind the "
    "cache after the context was read, in multiples of kvpress' full cache (of ours where it was not measured); `prefill` is processor time of "
    "reading the context.",
    "`kept by both`: of the tokens that either side keeps, by layer and head, those that both do. Ours chooses again after each question that it "
    "reads, and keeps the newest 8 tokens in any case so as not to drop it; kvpress chooses once.",
    "kvpress' pipeline takes question and answer out of its cache before it asks the next: it has no turns. `mnemos bench kv` has them.",
)


def packages() -> list[str]:
    """kvpress, the last transformers that it allows, and the torch that runs here: a build for the CPU stays one."""
    return ["kvpress==0.5.5", "transformers==5.2.0", f"torch=={version('torch')}"]


@dataclass(frozen=True)
class Arm:
    """A method at a setting, as kvpress and as we name it; no press: the full cache."""

    name: str
    press: str
    press_options: Mapping[str, Any]
    policy: str
    options: Mapping[str, Any]


def dropping(share: float) -> list[Arm]:
    """The methods that drop tokens, at a share."""
    methods: tuple[tuple[str, str, dict[str, Any], str, dict[str, Any]], ...] = (
        ("SnapKV", "SnapKVPress", {"window_size": WINDOW}, "snapkv", {"window": WINDOW}),
        ("KNorm", "KnormPress", {}, "knorm", {"recent": RECENT}),
        ("KeyDiff", "KeyDiffPress", {}, "keydiff", {"recent": RECENT}),
        ("Expected Attention", "ExpectedAttentionPress", {}, "expected", {"recent": RECENT}),
        ("TOVA", "TOVAPress", {}, "tova", {"every": 0}),
        ("StreamingLLM", "StreamingLLMPress", {}, "window", {"every": 0}),
    )
    return [Arm(f"{name} 1/{round(1 / share)}", press, {**theirs, "compression_ratio": 1 - share}, ours, {**own, "share": share})
            for name, press, theirs, ours, own in methods]  # fmt: skip


FULL = Arm("full", "", {}, "full", {})
THINK = Arm("ThinK .4", "ThinKPress", {"key_channel_compression_ratio": CHANNELS, "window_size": WINDOW}, "think", {"share": CHANNELS})


@dataclass(frozen=True)
class Reading:
    """What is read, as tokens, and what is asked from there. `known`: the first question was read with the context, but for its last token."""

    context: Sequence[int]
    questions: Sequence[Sequence[int]]
    tokens: int
    known: bool


@dataclass(frozen=True)
class Side:
    """What one side did with a reading: processor seconds, bytes, answers, and for each layer and head the positions it holds."""

    seconds: float
    bytes: int
    answers: Sequence[str]
    held: Sequence[Sequence[Sequence[int]]] = field(repr=False)


def readings(record: Record) -> list[Reading]:
    """Both ways to read a session."""
    codec, around = CompactCodec(), COMPACT_TEMPLATE
    context = codec.encode(around.before_context + record.context)
    first, *others = [codec.encode(around.before_question + turn.input + around.before_answer) for turn in record.turns]
    most = max(new_tokens(record, turn) for turn in record.turns)
    return [Reading(context, [first, *others], most, False), Reading([*context, *first[:-1]], [first[-1:], *others], most, True)]


def of_ours(model: Any, arm: Arm, reading: Reading) -> Side:
    """Our policy, asked as kvpress' pipeline asks."""
    codec = CompactCodec()
    method = CacheMethod(model, lambda: KVMemory.of(model, policy(arm.policy, **arm.options)), arm.name)
    start = time.process_time()
    handle = method.prefill(reading.context)
    seconds = time.process_time() - start
    size, held = handle.cache.nbytes().total, [[sorted(head) for head in layer[0]] for layer in handle.cache.held()]
    answers = []
    for question in reading.questions:
        asked = method.fork(handle)
        method.append(asked, question)
        answers.append(codec.decode(method.generate(asked, reading.tokens, codec.stop).tokens))
    return Side(seconds, size, answers, held)


def of_kvpress(arms: Sequence[Arm], asked: Sequence[Reading], install: bool) -> tuple[str, list[list[Side]]]:
    """Versions, and for each reading what kvpress did with each arm. Raises `PeerError`."""
    python = peers.interpreter(packages(), install)
    guard = Path(peers.__file__).with_name("_driver.py")
    request = {"model": str(reference.folder()), "guard": str(guard), "arms": [asdict(arm) for arm in arms],
               "readings": [asdict(reading) for reading in asked]}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-kv-peers-") as home:
        said = peers.output_of([str(python), "-P", str(DRIVER)], SECONDS, json.dumps(request), Path(home))
    try:
        answer = json.loads(said)
        found = [[Side(**side) for side in sides] for sides in answer["results"]]
        versions = str(answer["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise peers.PeerError(f"{PEER} gave no measurement but {said[:200]!r}") from error
    if [len(sides) for sides in found] != [len(arms)] * len(asked):
        raise peers.PeerError(f"{PEER} measured {[len(sides) for sides in found]} arms, not {len(arms)} of each of {len(asked)} readings")
    return versions, found


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures. Raises `Invalid` for a peer that is none, `ModelUnavailable` where the reference model is not there."""
    if strange := set(options.peers) - {PEER}:
        raise Invalid(f"bench kv-peers: no peer is named {', '.join(sorted(strange))}; there is {PEER}")
    notes = list(NOTES)

    def beside(options: Options) -> Measured:
        return _beside(options, notes)

    with one_thread():
        return in_parts(benchmark, options, (beside,), notes)


def _beside(options: Options, notes: list[str]) -> Measured:
    """Every arm on both sides; where kvpress cannot be had, ours alone, and a note that says why."""
    model, _ = reference.load()
    records = on_models.sessions("kv", 1 if options.quick else 8, options.seed, LENGTH, TURNS)
    arms = [FULL, THINK, *(arm for share in (SHARES[1:2] if options.quick else SHARES) for arm in dropping(share))]
    asked = [(record, reading) for record in records for reading in readings(record)]
    theirs: list[list[Side]] | None = None
    try:
        options.say(PEER)
        versions, theirs = of_kvpress(arms, [reading for _, reading in asked], not options.quick or bool(options.peers))
        notes.append(f"Beside: {versions}.")
    except peers.PeerError as error:
        notes.append(f"{PEER} was not measured: {error}")
    options.say("ours")
    of_ours(model, FULL, asked[0][1])  # warms up
    ours = [[of_ours(model, arm, reading) for arm in arms] for _, reading in asked]
    tables = _tables(arms, asked, ours, theirs)
    return _checks(arms, asked, ours, theirs, tables[COSTS], options), tables


def _scores(asked: Sequence[tuple[Record, Reading]], sides: Sequence[Sequence[Side]], arm: int, known: bool) -> list[list[float]]:
    """By session and question."""
    return [[score(record, turn, answer)["score"] for turn, answer in zip(record.turns, side[arm].answers, strict=True)]
            for (record, reading), side in zip(asked, sides, strict=True) if reading.known is known]  # fmt: skip


def _tables(arms: Sequence[Arm], asked: Sequence[tuple[Record, Reading]], ours: Sequence[Sequence[Side]],
            theirs: Sequence[Sequence[Side]] | None) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
    plain = [number for number, (_, reading) in enumerate(asked) if not reading.known]
    sides = {"ours": ours} if theirs is None else {PEER: theirs, "ours": ours}
    whole = np.mean([next(iter(sides.values()))[number][0].bytes for number in plain])
    answers: dict[str, dict[str, float]] = {arm.name: {} for arm in arms}
    costs: dict[str, dict[str, float]] = {arm.name: {} for arm in arms}
    for place, arm in enumerate(arms):
        for name, side in sides.items():
            known = np.array(_scores(asked, side, place, True))
            answers[arm.name] |= {f"{name}: context alone": float(np.mean(_scores(asked, side, place, False))),
                                  f"{name}: 1st known": float(known[:, 0].mean()), f"{name}: the others": float(known[:, 1:].mean())}  # fmt: skip
            costs[arm.name] |= {f"{name}: bytes": float(np.mean([side[number][place].bytes for number in plain]) / whole),
                                f"{name}: prefill ms": 1e3 * float(np.mean([side[number][place].seconds for number in plain]))}  # fmt: skip
        if theirs is not None:
            costs[arm.name]["kept by both"] = float(np.mean([_agreement(ours[number][place], theirs[number][place]) for number in plain]))
    return {ANSWERS: answers, COSTS: costs}


def _agreement(one: Side, other: Side) -> float:
    """Of the tokens that either holds, the share that both do; mean over layers and heads."""
    pairs = [(set(a), set(b)) for left, right in zip(one.held, other.held, strict=True) for a, b in zip(left, right, strict=True)]
    return float(np.mean([len(a & b) / len(a | b) for a, b in pairs]))


def _checks(arms: Sequence[Arm], asked: Sequence[tuple[Record, Reading]], ours: Sequence[Sequence[Side]], theirs: Sequence[Sequence[Side]] | None,
            costs: Mapping[str, Mapping[str, float]], options: Options) -> list[Check]:  # fmt: skip
    sessions = len(asked) // 2
    if theirs is None:
        return [Check("kvpress was measured", 0.0, 1.0)]
    same = [a == b for one, other in zip(ours, theirs, strict=True) for a, b in zip(one[0].answers, other[0].answers, strict=True)]
    think, drop = costs[THINK.name], [costs[arm.name] for arm in arms[2:]]
    means = [np.mean([np.mean(_scores(asked, side, place, False), 1) for place in range(2, len(arms))], 0).tolist() for side in (theirs, ours)]
    lost = bootstrap_difference(means[0], means[1], range(sessions), options.rng())
    return [
        Check.of("answers lost to kvpress at equal shares, mean of the methods that drop tokens", lost, BEHIND, at_least=False),
        Check("answers of the full cache that both give alike", float(np.mean(same)), 1.0, n=len(same)),
        Check("ThinK: our bytes ÷ those of kvpress, which zeroes", think["ours: bytes"] / think[f"{PEER}: bytes"], 0.95, at_least=False,
              baseline=think[f"{PEER}: bytes"]),
        Check("our bytes ÷ kvpress', mean of the methods that drop tokens",
              float(np.mean([row["ours: bytes"] / row[f"{PEER}: bytes"] for row in drop]))),
        Check("tokens kept by both, of those that either keeps, mean of the same", float(np.mean([row["kept by both"] for row in drop]))),
    ]  # fmt: skip
