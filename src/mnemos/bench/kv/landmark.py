"""`mnemos bench kv-landmark`: what landmarks bring back and what it costs (arXiv 2305.16300), and block retrieval without training beside them.

Blocks: answers in later turns at an eighth of the full cache's bytes, on the reference model, by what stands for a block. Landmarks: the time of a
decoding step at 16K tokens against dense attention, and what it is worth to keep the blocks of the step before; and, with the model that learnt
them, what each level of selection answers and costs; and what an index of landmarks finds and costs. How often a landmark finds what the mean of its
block's keys does not, `mnemos bench landmark` measures.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mnemos.activation.chunks import place_of
from mnemos.activation.landmark import reference as taught
from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.attending import LANDMARKS, blocks_of
from mnemos.activation.landmark.part import Blocks, Statistics
from mnemos.activation.landmark.picking import EACH, HEAD, TOKEN
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.rotary import Layout, Rotary, Source
from mnemos.base.errors import ModelUnavailable, NotFound
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.kv.landmark_index import finding, learnt
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import on_models
from mnemos.bench.scbench.harness import MULTI_TURN, SessionResult
from mnemos.bench.scbench.harness import run as ask
from mnemos.bench.threads import one_thread
from mnemos.models.reference import language, tasks

EIGHTH, LOST = 1 / 8, 0.05
"""Near bytes, as a share of the full cache's, at which later turns may lose so much."""
FASTER = 3.0
HITS, COPIED = 0.5, 0.6
"""Of the blocks of a step, where queries move little from one to the next: what is near already, and what may be copied."""
CONTEXT = 16384
HEADS, SIZE, BLOCK, TOP, MANY = 8, 64, 50, 2, 5
"""Of the timed layer: heads, numbers of each; the paper's blocks, and how many are brought in its comparisons and by LLaMA."""
LENGTH, TURNS = 1024, 5
CURVE: Mapping[str, Mapping[str, Any]] = {
    "as it comes": {},
    **{
        f"blocks of {block}, {bits or 32} bits, 1/{part}": {"block": block, "bits": bits, "share": 1 / part}
        for block in (2, 4, 8) for bits in (None, 8, 4) for part in (16, 32)
    },
    **{
        f"bounds of {block}, {bits} bits, 1/32": {"block": block, "bits": bits, "share": 1 / 32, "by": "bounds"}
        for block in (2, 4, 8) for bits in (4, 2)
    },
    **{f"each token, {bits} bits, 1/{part}": {"block": 1, "bits": bits, "share": 1 / part} for bits in (4, 2) for part in (32, 64)},
}  # fmt: skip
"""Settings of `policy("blocks")`, the default first, which is the one that is checked."""
QUICK = ("as it comes", "blocks of 8, 4 bits, 1/32")
NOTES = (
    "`near ÷ full`: bytes of all tensors near the compute after the last turn, blocks kept from the last step, room to spare and positions included, "
    "in multiples of the full cache's keys and values, which are float32 here: of a model in bfloat16 what is kept in few bits is twice that share.",
    "Times are CPU seconds of one thread in this process, dense and landmark steps in turns; the dense step is torch's own, of a contiguous cache.",
    "Blocks kept from the step before: files lie in the system's page cache, and no accelerator was there: what is spared here is copies within one "
    "memory. Decoding: each token of questions and answers by itself, after contexts of 1,024 words.",
    "Lists: random landmarks of 2 heads, one query at a time, processor time in turns; the index is built once, and its seconds are of one head.",
    "Levels: notes in twice the words that landmarks were learnt on, read in segments of as many tokens as were trained on with room for the blocks.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; levels only where the model that learnt landmarks is there. Raises `ModelUnavailable` without a reference model."""
    parts: list[Callable[[Options], Measured]] = [curve, speed, reuse, finding]
    notes = [*NOTES]
    try:
        taught.load()
        parts += [decoding, levels, learnt]
    except (ModelUnavailable, NotFound) as error:
        notes.append(f"What needs a model that learnt landmarks is not measured: {error}")
    with one_thread():
        return in_parts(benchmark, options, parts, notes)


def curve(options: Options) -> Measured:
    """Later turns of one context by what stands for a block; every setting on the same sessions."""
    model, _ = on_models.model()
    records = on_models.sessions("kv", 3 if options.quick else 10, options.seed, LENGTH, TURNS)
    full = ask(on_models.client(model, "full", verify=False), records, MULTI_TURN)
    whole = float(np.mean([_bytes(result)[0] for result in full]))
    rows, later = {}, {"full": _later(full)}
    for name, settings in CURVE.items():
        if options.quick and name not in QUICK:
            continue
        options.say(name)
        results = ask(on_models.client(model, "blocks", name, verify=False, **settings), records, MULTI_TURN)
        near, far = np.mean([_bytes(result) for result in results], 0) / whole
        later[name] = _later(results)
        rows[name] = {"near ÷ full": float(near), "far ÷ full": float(far), "turns 2 on": float(np.mean(later[name]))}
    default = next(iter(CURVE))
    lost = bootstrap_difference(later["full"], later[default], range(len(records)), options.rng())
    return [
        Check("near bytes of blocks with their defaults, share of the full cache", rows[default]["near ÷ full"], EIGHTH, at_least=False),
        Check.of("points that they lose in turns 2 on", lost, LOST, at_least=False),
    ], {"kv, one context, five questions": {"full": {"near ÷ full": 1.0, "turns 2 on": float(np.mean(later["full"]))}, **rows}}


def _later(results: Sequence[SessionResult]) -> list[float]:
    """Means over turns 2 and on, by session."""
    return [float(np.mean([row.score for row in result.rows[1:]])) for result in results]


def _bytes(result: SessionResult) -> tuple[float, float]:
    """Near and far, after the last turn."""
    resident = result.rows[-1].resident
    return float(resident.get("device", 0)), float(resident.get("host", 0))


class Step:
    """A layer of landmarks that holds random keys and values, as if it had read them."""

    def __init__(self, keys: Tensor, values: Tensor, top: int, folder: str | None = None, reuse: bool = False) -> None:
        """Keys, not rotated, and values [1, H, n, d], of whole blocks, landmarks included; `top` blocks are brought, from a folder or from memory."""
        rotary = Rotary.default(SIZE)
        self._module = torch.nn.Module()
        self._module.register_buffer("inv_freq", rotary.frequencies[0])
        self.layer = MemoryLayer(policy("landmark", block=BLOCK, top=top, folder=folder, reuse=reuse), 0,
                                 Source(weakref.ref(self._module), "", Layout(0, SIZE, False)))  # fmt: skip
        self.layer.lazy_initialization(keys, values)
        count, slot = keys.shape[2] // (BLOCK + 1), BLOCK + 1
        places = torch.arange(count * slot, dtype=torch.int32).view(1, count, slot)
        placed = rotary.rotate(keys, torch.arange(slot).repeat(count)).view(1, HEADS, count, slot, SIZE)
        part = Blocks.empty(keys, SIZE, BLOCK, rotary, place_of(folder), reuse=reuse)
        held = values.reshape(1, HEADS, count, slot, SIZE)[:, :, :, :BLOCK]
        self.layer.parts = [part.extended(placed[:, :, :, :BLOCK], placed[:, :, :, BLOCK], held, places[:, :, :BLOCK].contiguous(), None)]
        self.layer.seen, self.layer.settled = count * slot, True

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor) -> None:
        """One new token, as a model gives it; a landmark where its block is full."""
        ends = torch.tensor([[(self.layer.seen + 1) % (BLOCK + 1) == 0]])
        self.layer.update(keys, values, kwargs={LANDMARKS: ends})
        self.layer.attend(queries, keys, values, None, SIZE**-0.5, None, None)


def speed(options: Options) -> Measured:
    """Decoding steps at 16K tokens, 8 heads of 64: torch's dense attention, and all that landmarks take, the storing of blocks included; each for a
    block of tokens at a time, in turns."""
    generator = torch.Generator().manual_seed(options.seed)
    count = CONTEXT // (BLOCK + 1) * (BLOCK + 1)
    keys, values = torch.randn(2, 1, HEADS, count, SIZE, generator=generator)
    steps = {top: Step(keys, values, top) for top in (TOP, MANY)}
    spent: dict[str, list[float]] = {"dense": [], **{f"landmarks, {top} blocks": [] for top in steps}}
    rounds = 3 if options.quick else 10

    def dense(query: Tensor, *_: Tensor) -> None:
        scaled_dot_product_attention(query, keys, values)

    ways: list[Callable[..., None]] = [dense, *steps.values()]
    for _ in range(rounds):
        for name, step in zip(spent, ways, strict=True):
            begun = time.thread_time()
            for new in torch.randn(BLOCK + 1, 3, 1, HEADS, 1, SIZE, generator=generator):
                step(*new)
            spent[name].append((time.thread_time() - begun) / (BLOCK + 1))
    cost = {name: statistics.median(its) for name, its in spent.items()}
    rows: dict[str, dict[str, float]] = {"dense": {"ms": 1e3 * cost["dense"], "tokens attended to": float(count)}}
    for top, step in steps.items():
        name, part = f"landmarks, {top} blocks", blocks_of(step.layer)
        assert part is not None
        rows[name] = {"ms": 1e3 * cost[name], "dense ÷ it": cost["dense"] / cost[name], "tokens attended to": float((top + 1) * (BLOCK + 1)),
                      "KB brought": part.statistics.copied / rounds / (BLOCK + 1) / 1024}  # fmt: skip
    name = f"landmarks, {TOP} blocks"
    return [
        Check("dense time of a step at 16K tokens ÷ landmarks'", rows[name]["dense ÷ it"], FASTER, n=rounds * (BLOCK + 1)),
        Check("tokens that a query attends to at most, share of 16K", rows[name]["tokens attended to"] / count, 0.05, at_least=False),
    ], {"CPU time of a step": rows}


def reuse(options: Options) -> Measured:
    """The same layer, `MANY` blocks brought, for queries that move as a random walk does (correlation .95 from step to step): with the blocks of the
    step before, and without; from memory, and from files."""
    generator = torch.Generator().manual_seed(options.seed)
    count = CONTEXT // (BLOCK + 1) * (BLOCK + 1)
    keys, values = torch.randn(2, 1, HEADS, count, SIZE, generator=generator)
    rounds, query = 3 if options.quick else 10, torch.randn(1, HEADS, 1, SIZE, generator=generator)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            (place, kept): Step(keys, values, MANY, at, kept) for place, at in (("memory", None), ("files", folder)) for kept in (False, True)
        }
        spent: dict[tuple[str, bool], list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            walk = []
            for new in torch.randn(BLOCK + 1, 3, 1, HEADS, 1, SIZE, generator=generator):
                query = 0.95 * query + (1 - 0.95**2) ** 0.5 * new[0]
                walk.append((2 * query, new[1], new[2]))
            for way, step in ways.items():
                begun = time.thread_time()
                for each in walk:
                    step(*each)
                spent[way].append((time.thread_time() - begun) / len(walk))
        for (place, kept), step in ways.items():
            part = blocks_of(step.layer)
            assert part is not None
            rows[f"{place}, {'kept' if kept else 'anew'}"] = {
                "ms": 1e3 * statistics.median(spent[place, kept]),
                "÷ anew": statistics.median([its / other for its, other in zip(spent[place, kept], spent[place, False], strict=True)]),
                "near already": part.statistics.hit_rate,
                "KB copied": part.statistics.copied / part.statistics.steps / 1024,
                "KB near": part.nbytes().near / 1024,
            }
    n, again, anew = rounds * (BLOCK + 1), rows["memory, kept"], rows["memory, anew"]
    return [
        Check("blocks of a step that were near already, random walk", again["near already"], HITS, n=n),
        Check("bytes copied, share of copying all", again["KB copied"] / anew["KB copied"], COPIED, at_least=False, n=n),
    ], {f"Blocks kept from the step before, {MANY} brought at 16K tokens": rows}


def decoding(options: Options) -> Measured:
    """What the blocks of the step before are worth while the model that learnt landmarks decodes: each token with them and without, in turns."""
    model, _ = taught.load()
    asked, rows = _sessions(options, 2 if options.quick else 10), {}
    for top in (TOP, MANY):
        options.say(f"{top} blocks")
        total, near = {kept: Statistics() for kept in (False, True)}, {False: 0, True: 0}
        ratios = []
        for ids, session in asked:
            given, first = torch.tensor([tokens.insert(ids, taught.BLOCK, taught.LANDMARK)]), tokens.place_of(len(session.context), taught.BLOCK)
            both = {}
            for kept in (False, True):
                memory = KVMemory.of(model, policy("landmark", block=taught.BLOCK, top=top, trained=taught.TRAINED, reuse=kept))
                _, both[kept] = segmentwise(model, given[:, :first], top=top, memory=memory, keep=1)
            parts = {kept: [part for layer in memory.managed if (part := blocks_of(layer)) is not None] for kept, memory in both.items()}
            for part in (*parts[False], *parts[True]):
                part.statistics = Statistics()
            for at in range(first, given.shape[1]):
                spent = {}
                for kept, memory in both.items():
                    begun = time.thread_time()
                    segmentwise(model, given[:, at : at + 1], top=top, memory=memory)
                    spent[kept] = time.thread_time() - begun
                ratios.append(spent[True] / spent[False])
            for kept, its in parts.items():
                near[kept] += both[kept].nbytes().near
                for part in its:
                    total[kept].asked += part.statistics.asked
                    total[kept].kept += part.statistics.kept
                    total[kept].copied += part.statistics.copied
        rows[f"{top} blocks"] = {
            "near already": total[True].hit_rate, "bytes copied, kept ÷ anew": total[True].copied / total[False].copied,
            "near bytes, kept ÷ anew": near[True] / near[False], "CPU time, kept ÷ anew": statistics.median(ratios), "tokens": float(len(ratios)),
        }  # fmt: skip
    row = rows[f"{MANY} blocks"]
    return [
        Check("blocks of a step that were near already, the model that learnt landmarks", row["near already"], HITS, n=int(row["tokens"])),
    ], {"Blocks kept from the step before, the model that learnt landmarks": rows}


def _sessions(options: Options, count: int) -> list[tuple[list[int], Any]]:
    """Contexts of twice the words that landmarks were learnt on, with eight questions each; not those of training."""
    made = [tasks.make("needle", 1024, 8, f"kv-landmark {options.seed} {number}") for number in range(count)]
    return [(language.encode(session.words()), session) for session in made]


def levels(options: Options) -> Measured:
    """What each level of selection answers, and what it brings, all on the same sessions."""
    model, _ = taught.load()
    asked = _sessions(options, 2 if options.quick else 10)
    right: dict[str, list[float]] = {}
    rows = {}
    for level in (EACH, TOKEN, HEAD):
        options.say(level)
        right[level], brought, copied, begun, count = [], 0, 0, time.process_time(), 0
        for ids, session in asked:
            given = torch.tensor([tokens.insert(ids, taught.BLOCK, taught.LANDMARK)])
            logits, memory = segmentwise(model, given, top=TOP, level=level, trained=taught.TRAINED)
            right[level].append(float(np.mean(_answered(logits[0], ids, session))))
            for layer in memory.managed:
                part = blocks_of(layer)
                assert part is not None
                brought, copied = brought + part.statistics.fetched, copied + part.statistics.copied
            count += given.shape[1]
        each, spent = count * len(memory.managed), time.process_time() - begun
        rows[level] = {"answered": float(np.mean(right[level])), "blocks brought, a token and layer": brought / each,
                       "KB brought, a token and layer": copied / each / 1024, "CPU ms a token": 1e3 * spent / count}  # fmt: skip
    checks = []
    for level in (TOKEN, HEAD):
        gained = bootstrap_difference(right[EACH], right[level], range(len(asked)), options.rng())
        checks.append(Check(f"answers by {EACH} − by {level}, upper end of the interval (not less, within noise)", gained.high, 0.0, n=len(asked)))
    return checks, {f"Levels of selection, 1,024 words, {TOP} blocks brought": rows}


def _answered(logits: Tensor, ids: Sequence[int], session: Any) -> list[bool]:
    """For each turn, whether its answer's words are all the likeliest ones."""
    out, at = [], len(session.context)
    for turn in session.turns:
        start = at + len(turn.question)
        at = start + len(turn.answer)
        places = [tokens.place_of(place, taught.BLOCK) for place in range(start, at)]
        out.append(all(int(logits[place - 1, : taught.LANDMARK].argmax()) == ids[start + number] for number, place in enumerate(places)))
    return out
