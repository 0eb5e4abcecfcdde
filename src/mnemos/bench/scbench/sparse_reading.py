"""Finding 3: reading by patterns that follow the content against fixed ones, at equal shares of attention.

Two ways to look at it. Questions over a context (KV, prefix-suffix), where what is read at the end has to find something far back; and ledgers that
are read at once (`mnemos.models.reference.ledger`), where that has to happen all along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import Any

import numpy as np
import torch

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.policies.ashape import AShape
from mnemos.activation.policies.topblocks import TopBlocks
from mnemos.activation.policies.trishape import TriShape
from mnemos.activation.policy import Policy
from mnemos.activation.sparse import DENSE, ESTIMATED, PAIRS, Pattern, read
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.result import Check
from mnemos.bench.scbench.curves import MASTERED, mean, rows_of
from mnemos.bench.scbench.harness import MULTI_TURN, run
from mnemos.bench.scbench.on_models import Results, client, sessions
from mnemos.models.reference import language, ledger
from mnemos.models.reference.ledger.task import Ledger, make

TASKS = ("kv", "prefix_suffix")
DYNAMIC, DENSE_END = "by content", "by content, the last 16 see all"
PAIRED = ((DYNAMIC, "A-shape"), (DYNAMIC, "Tri-shape"), (DENSE_END, "Tri-shape"))
"""What is compared: in Tri-shape, and in one of the others, the last 16 queries of what is read see all, the question among them."""
WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "A-shape": ("ashape", {"sinks": 4, "local": 54}),
    "Tri-shape": ("trishape", {"sinks": 4, "local": 38, "last": 16}),
    DYNAMIC: ("topblocks", {"sinks": 4, "local": 16, "top": 32, "block": 4, "rows": 4, "by": "bounds"}),
    DENSE_END: ("topblocks", {"sinks": 4, "local": 8, "top": 24, "block": 4, "rows": 4, "by": "bounds", "last": 16}),
}
"""Of contexts of 512 words each computes about a fifth of the pairs; the fixed ones no fewer than the others."""
FAR = 60
"""Words after which a look-up in a ledger is a far one: further than any window of `WAYS` sees."""
TIMED: Mapping[str, Pattern] = {
    "A-shape": AShape(128, 896), "Tri-shape": TriShape(128, 896, 100), DYNAMIC: TopBlocks(top=640, block=64, rows=64, sinks=64, local=256)
}  # fmt: skip
"""About 1,024 tokens a query."""
SHAPE = (8, 2, 64)
"""Query heads, key-value heads and their size, of the attention that is timed."""

Tables = dict[str, dict[str, dict[str, Any]]]


def measure(model: Any, n: int, count: int, tokens: int, seed: int, rng: np.random.Generator,
            say: Callable[[str], None], tasks: Sequence[str] = TASKS) -> tuple[list[Check], Tables]:  # fmt: skip
    """Checks and tables of `n` sessions of each of `tasks`, of `count` ledgers, and of the time that `tokens` take."""
    checks: list[Check] = []
    tables: Tables = {}
    for task in tasks:
        records, found = sessions(task, n, seed), dict[str, Results]()
        table = tables[f"Finding 3: {task}, read sparsely"] = {}
        full = run(client(model, "full", verify=False), records, MULTI_TURN)
        for name, (which, options) in WAYS.items():
            say(f"sparse reading: {task}, {name}")
            its = client(model, which, name, verify=False, **options)
            handle = its.method.prefill(its.codec.encode(records[0].context))
            found[name] = run(its, records, MULTI_TURN)
            table[name] = {"score": mean(rows_of(found[name]), rng).value, "full cache": mean(rows_of(full), rng).value, **shares(handle.cache)}
        counts = mean(rows_of(full), rng).value >= MASTERED
        for ours, fixed in PAIRED:
            one, other = ([row.score for row in rows_of(found[name])] for name in (ours, fixed))
            gain = bootstrap_difference(one, other, [row.session for row in rows_of(found[fixed])], rng)
            checks.append(Check.of(f"finding 3: {ours} − {fixed}, {task}", gain, 0.0 if counts else None))
    some, table = ledgers(count, seed), tables.setdefault("Finding 3: ledgers, read at once", {})
    far = {}
    for name, (which, options) in {"full": ("full", {}), **WAYS}.items():
        say(f"sparse reading: ledgers, {name}")
        far[name], every, its_shares = looked_up(some, policy(which, **options))
        table[name] = {"far look-ups": float(np.mean(far[name])), "all numbers": every, **its_shares}
    for ours, fixed in PAIRED:
        gain = bootstrap_difference(far[ours], far[fixed], range(len(some)), rng)
        checks.append(Check.of(f"finding 3: {ours} − {fixed}, far look-ups in ledgers", gain, 0.0))
    say("sparse reading: times")
    tables[f"Finding 3: attention of one layer over {tokens} tokens"] = times = timed(tokens)
    checks.append(Check("finding 3: seconds of attention by content ÷ dense", times[DYNAMIC]["seconds"] / times["dense"]["seconds"], at_least=False))
    return checks, tables


def shares(cache: KVMemory) -> dict[str, float]:
    """Of the pairs of dense attention, those that were computed, and products that chose them."""
    notes = [layer.notes for layer in cache.managed if layer.notes.get(DENSE)]
    dense = sum(its[DENSE] for its in notes)
    return {"pairs": sum(its[PAIRS] for its in notes) / dense, "choosing": sum(its[ESTIMATED] for its in notes) / dense} if dense else {}


def ledgers(count: int, seed: int) -> list[Ledger]:
    return [make(ledger.LENGTH, f"scbench {seed} {number}") for number in range(count)]


def looked_up(rows: Sequence[Ledger], made: Policy) -> tuple[list[float], float, dict[str, float]]:
    """Of each ledger the share of far look-ups that are right; of all numbers, those that are; and shares of pairs. A number is right where it is the
    likeliest after the true words before it."""
    model, _ = ledger.load()
    words, given = torch.tensor([language.encode(row.words) for row in rows]), torch.tensor(rows[0].given)
    memory = KVMemory.of(model, made)
    with torch.no_grad():
        said = model(words, cache=memory).logits.argmax(-1)
    right = (said[:, :-1] == words[:, 1:])[:, ~given[1:]].unflatten(1, (-1, 2)).numpy()
    far = np.array([row.gaps for row in rows]) >= FAR
    return [float(its[:, 0][which].mean()) for its, which in zip(right, far, strict=True)], float(right.mean()), shares(memory)


def timed(tokens: int) -> dict[str, dict[str, float]]:
    """Seconds of the processor for one layer's attention over so many random tokens, the better of two, and the shares of pairs."""
    heads, groups, size = SHAPE
    draws = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(count, tokens, size, generator=draws) for count in (heads, groups, groups))
    dense = tokens * (tokens + 1) // 2

    def best(compute: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(2):
            start = process_time()
            compute()
            seconds.append(process_time() - start)
        return min(seconds)

    def whole() -> Any:
        return torch.nn.functional.scaled_dot_product_attention(queries[None], keys[None], values[None], is_causal=True, enable_gqa=True)

    table = {"dense": {"seconds": best(whole), "pairs": 1.0, "choosing": 0.0}}
    for name, pattern in TIMED.items():
        _, pairs, estimated = read(queries, keys, values, pattern, size**-0.5)
        seconds = best(lambda pattern=pattern: read(queries, keys, values, pattern, size**-0.5))  # type: ignore[misc]
        table[name] = {"seconds": seconds, "pairs": pairs / dense, "choosing": estimated / dense}
    return table
