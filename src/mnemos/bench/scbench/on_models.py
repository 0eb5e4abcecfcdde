"""What caches show on a model, whether or not it can read: exactness of re-use, time to the first token, the whole suite, text memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import ModelUnavailable
from mnemos.base.meter import Seconds
from mnemos.bench.result import Check
from mnemos.bench.scbench import checks
from mnemos.bench.scbench.clients import TokenClient
from mnemos.bench.scbench.harness import MODES, MULTI_REQUEST, MULTI_TURN, SessionResult, run, run_session
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.memory_client import MemoryClient
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec
from mnemos.bench.scbench.records import COMPACT, Record
from mnemos.bench.scbench.tasks import TASKS, generate
from mnemos.models import reference
from mnemos.models.reference.model import config

LENGTH, TURNS, LONG = 512, 4, 4000
"""Words of a context; questions; words of the context on which re-use is timed: 4K with its questions."""
EIGHTH = 1 / 8
SUITE_SECONDS = 600.0

Results = list[SessionResult]


def model() -> tuple[Any, bool]:
    """The reference model, and True; where its weights are not here, one of its shape with random weights, and False: it costs as much and cannot
    read."""
    try:
        return reference.load()[0], True
    except ModelUnavailable:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return LlamaForCausalLM(config()).eval(), False


def client(model: Any, name: str, label: str = "", aware: bool = False, verify: bool = True, **options: Any) -> TokenClient:
    """A client over a policy of `mnemos.activation`, "full" being transformers' own cache."""
    make = None if name == "full" else lambda: KVMemory.of(model, policy(name, **options))
    method = CacheMethod(model, make, label or ("full cache" if name == "full" else name), query_aware=aware)
    return TokenClient(method, CompactCodec(), COMPACT_TEMPLATE, verify=verify)


def sessions(task: str, n: int, seed: int, length: int = LENGTH, turns: int = TURNS) -> list[Record]:
    return [generate(task, length, turns, seed + number, COMPACT) for number in range(n)]


def exactness(model: Any, seed: int) -> list[Check]:
    """Of the full cache: logits after a reused prefix against those of recomputing; answers by the order of requests; what stays behind."""
    (record,) = sessions("kv", 1, seed)
    full = client(model, "full")
    method, codec = full.method, full.codec
    assert isinstance(method, CacheMethod)
    handle = method.prefill(codec.encode(record.context))
    said, worst = record.context, 0.0
    for turn in record.turns:
        method.append(handle, codec.encode(turn.input))
        said += f" {turn.input}"
        worst = max(worst, float((method.next_logits(handle) - method.next_logits(method.prefill(codec.encode(said)))).abs().max()))
        method.append(handle, codec.encode(f"{turn.reference} <end>"))
        said += f" {turn.reference} <end>"
    turned = Record(record.id, record.task, record.context, record.turns[::-1], COMPACT)
    one, other = (run_session(full, each, MULTI_REQUEST) for each in (record, turned))
    same = [a.answer == b.answer and bool(a.rolled_back) and bool(b.rolled_back) for a, b in zip(one.rows, other.rows[::-1], strict=True)]
    return [
        Check("full cache: reused prefix − recompute, largest difference of logits", worst, 1e-4, at_least=False, n=len(record.turns)),
        Check("requests that answer the same in another order, and leave nothing behind", float(np.mean(same)), 1.0, n=len(same)),
    ]


def reuse(model: Any, seed: int, say: Callable[[str], None]) -> tuple[Check, Results]:
    """Time to the first token of later turns against reading all anew, at 4K tokens."""
    say("re-use at 4K tokens")
    results = run(client(model, "full", verify=False), sessions("kv", 2, seed, LONG), MULTI_TURN)
    return checks.reuse_pays(results)[0], results


def suite(model: Any, n: int, seed: int, say: Callable[[str], None]) -> tuple[Check, Results]:
    """All twelve tasks in both modes by three methods, and how long it took."""
    clients = (client(model, "full"), client(model, "window", "window 1/8", share=EIGHTH), client(model, "snapkv", "SnapKV 1/8", share=EIGHTH))
    results: Results = []
    with Seconds() as took:
        for task in TASKS:
            records = sessions(task, n, seed)
            for mode in MODES:
                for each in clients:
                    results += run(each, records, mode, say=say)
    return Check("seconds for 12 tasks × 2 modes × 3 methods", took.seconds, SUITE_SECONDS, at_least=False, n=len(results)), results


def memory(n: int, seed: int, say: Callable[[str], None]) -> Results:
    """Text memory over text records of all tasks, its reader without a model."""
    records = [generate(task, 2000, TURNS, seed + number) for task in TASKS for number in range(n)]
    return run(MemoryClient(), records, MULTI_TURN, say=say)
