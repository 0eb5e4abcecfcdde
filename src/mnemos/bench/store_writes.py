"""What writing costs: one durable `add` against one fsync, groups of writers, bulk import, churn, and opening after kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.errors import MnemosError
from mnemos.base.meter import Latency, Seconds, disk_bytes, fsync_seconds
from mnemos.base.protocols import Embedder
from mnemos.bench.result import Check

Table = dict[str, dict[str, Any]]
THREADS = 8
PARTS = 10
"""Turns in which the model embeds alone and imports, so that both see the same machine."""

BLOCK = 4096
ROUND = 20
WARM = 40
CHURN_LIVE_FACTOR, CHURN_SLACK = 1.5, 32 * 2**20
"""After churn the store may take this many times what lives, and this many bytes more."""

CRASH_WRITER = """
import sys, mnemos
from mnemos.models.hashed import HashedEmbedder
memory = mnemos.open(sys.argv[1], embedder=HashedEmbedder())
space = memory.space("crash")
for i in range(10**9):
    cube = space.add(f"message {i}: " + "the quick brown fox jumps over the lazy dog " * 3)
    print(cube.id, flush=True)
"""


def durable(folder: Path, texts: Sequence[str], embedder: Embedder, rounds: int) -> tuple[list[Check], Table]:
    """Rounds of single adds, embeddings alone and fsyncs, interleaved so that a busy disk is busy for all three.

    The bound holds against an fsync of one block. Beside it stands one of as many bytes as an add makes the store's files grow by.
    """
    adds: list[float] = []
    embeds: list[float] = []
    syncs: list[float] = []
    large: list[float] = []
    supply = iter(texts)
    with mnemos.open(str(folder / "store.db"), embedder=embedder) as memory:
        space = memory.space("durable")
        for _ in range(WARM):
            space.add(next(supply))
        size = _log_growth(folder, space, [next(supply) for _ in range(ROUND)])
        for _ in range(rounds):
            for _ in range(ROUND):
                for call, list_of in ((lambda text: embedder.embed([text]), embeds), (space.add, adds)):
                    text = next(supply)  # never seen before, so that its vector is at hand nowhere
                    with Seconds() as took:
                        call(text)
                    list_of.append(took.seconds)
            syncs += fsync_seconds(folder, BLOCK, ROUND + 1)[1:].tolist()  # the first one also makes the file
            large += fsync_seconds(folder, size, ROUND + 1)[1:].tolist()
        with Seconds() as alone:
            for text in (next(supply) for _ in range(THREADS * ROUND)):
                space.add(text)
        with Seconds() as together:
            _in_threads(space, [[next(supply) for _ in range(ROUND)] for _ in range(THREADS)])
    add, embed, sync = Latency.of(adds), Latency.of(embeds), Latency.of(syncs)
    grouped = THREADS * ROUND / together.seconds
    checks = [
        Check("add beyond its embedding ÷ fsync, p50", (add.p50 - embed.p50) / sync.p50, 1.5, at_least=False, baseline=1.0, n=add.n),
        Check("add beyond its embedding ÷ fsync, p95", (add.p95 - embed.p50) / sync.p95, None, n=add.n),
        Check("add beyond its embedding and its sync, ms, p50", (add.p50 - embed.p50 - Latency.of(large).p50) * 1e3, None, n=add.n),
        Check(f"adds/s of {THREADS} threads ÷ of one", alone.seconds / together.seconds, None, n=THREADS * ROUND),
    ]
    table = {name: {"p50 ms": one.p50 * 1e3, "p95 ms": one.p95 * 1e3, "p99 ms": one.p99 * 1e3, "a second": 1 / one.p50, "n": one.n}
             for name, one in (("one durable add", add), ("its embedding", embed), (f"fsync of {BLOCK:,} bytes", sync),
                             (f"fsync of {size:,} bytes, as an add writes", Latency.of(large)))}
    table[f"add in {THREADS} threads"] = {"a second": grouped, "n": THREADS * ROUND}
    return checks, table


def _log_growth(folder: Path, space: Any, texts: Sequence[str]) -> int:
    """Mean bytes by which the store's files grow with one add, at least one block."""
    before = disk_bytes(folder)
    for text in texts:
        space.add(text)
    return max(BLOCK, (disk_bytes(folder) - before) // len(texts))


def _in_threads(space: Any, shares: Sequence[Sequence[str]]) -> None:
    failures: list[BaseException] = []

    def write(share: Sequence[str]) -> None:
        try:
            for text in share:
                space.add(text)
        except BaseException as error:  # noqa: BLE001  a thread's failure is raised below, by the one who waits
            failures.append(error)

    threads = [threading.Thread(target=write, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def bulk(folder: Path, texts: Sequence[str], hashed: Embedder, model: Embedder, model_texts: Sequence[str]) -> tuple[list[Check], Table]:
    """Cubes a second of `add_many` with the hashed embedder, and the share of the model's own rate that is left with the model."""
    with mnemos.open(str(folder / "hashed.db"), embedder=hashed) as memory, Seconds() as importing:
        memory.space("bulk").add_many([{"text": text} for text in texts])
    with Seconds() as hashing:
        hashed.embed(list(texts))
    size = len(model_texts) // PARTS
    own, through = 0.0, 0.0
    model.embed(model_texts[:8])
    with mnemos.open(str(folder / "model.db"), embedder=model) as memory:
        space = memory.space("bulk")
        for start in range(0, PARTS * size, size):
            part = model_texts[start : start + size]
            with Seconds() as took:
                space.add_many([{"text": text} for text in part])
            through += took.seconds
            with Seconds() as took:
                model.embed(part)
            own += took.seconds
    rate = len(texts) / importing.seconds
    checks = [
        Check("bulk import, hashed embedder, cubes/s", rate, 5000, n=len(texts)),
        Check("bulk import ÷ default embedder's own rate", own / through, 0.9, n=PARTS * size),
    ]
    table = {
        "hashed": {"import cubes/s": rate, "embedder texts/s": len(texts) / hashing.seconds, "n": len(texts)},
        "default": {"import cubes/s": PARTS * size / through, "embedder texts/s": PARTS * size / own, "n": PARTS * size},
    }
    return checks, table


def churn(folder: Path, texts: Sequence[str], embedder: Embedder, live: int, batch: int) -> tuple[list[Check], Table]:
    """Adds all texts and forgets the oldest again, so that `live` cubes are left; what is the store's size then?"""
    with mnemos.open(str(folder / "store.db"), embedder=embedder) as memory:
        space = memory.space("churn")
        ids: list[Any] = []
        with Seconds() as took:
            for start in range(0, len(texts), batch):
                ids += [cube.id for cube in space.add_many([{"text": text} for text in texts[start : start + batch]])]
                if len(ids) > live:
                    space.forget(ids=ids[:-live], reason="churn")
                    ids = ids[-live:]
    kept = sum(len(text.encode()) for text in texts[-live:]) + live * 4 * embedder.dimensions
    size = disk_bytes(folder)
    bound = CHURN_LIVE_FACTOR * kept + CHURN_SLACK
    checks = [Check(f"MB on disk after {len(texts):,} adds, {live:,} live", size / 1e6, bound / 1e6, at_least=False, n=len(texts))]
    changes = 2 * len(texts) - live
    return checks, {"churn": {"live MB": kept / 1e6, "on disk MB": size / 1e6, "changes/s": changes / took.seconds, "changes": changes}}


def recovery(folder: Path, kills: int, writes: int, embedder: Embedder) -> tuple[list[Check], Table]:
    """Kills a writer with signal 9 after `writes` acknowledged adds, `kills` times; opens the store and looks for every one of them."""
    path = folder / "store.db"
    opens: list[float] = []
    acknowledged: list[str] = []
    for _ in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", CRASH_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said = [writer.stdout.readline().strip() for _ in range(writes)]
        writer.send_signal(signal.SIGKILL)
        if not said[-1]:
            raise MnemosError(f"recovery benchmark: the writer ended with {writer.wait()} after {len([x for x in said if x])} adds")
        acknowledged += said
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        with Seconds() as took:
            memory = mnemos.open(str(path), embedder=embedder)
        opens.append(took.seconds)
        space = memory.space("crash")
        present = {str(cube.id) for cube in space.list(limit=len(acknowledged) + 1)}
        lost = sum(name not in present for name in acknowledged)
        memory.close()
    checks = [
        Check("open after kill -9, s, worst", max(opens), 2.0, at_least=False, n=kills),
        Check("acknowledged adds lost to kill -9", float(lost), 0.0, at_least=False, n=len(acknowledged)),
    ]
    return checks, {"kill -9": {"open s, mean": float(np.mean(opens)), "open s, worst": max(opens), "acknowledged": len(acknowledged)}}
