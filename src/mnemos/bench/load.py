"""A store under load: requests arrive at a fixed rate, whether or not the ones before are done, and what was written is found at once."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mnemos.base.errors import MnemosError
from mnemos.base.meter import Latency, Seconds, machine
from mnemos.bench.datasets import data_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.store_texts import questions, recombined, sentences
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder

RATE = 100
THREADS = 4


class Load:
    """Requests of a seeded mix, their latencies (from the moment that they were due), and what went wrong."""

    def __init__(self, space: Space, texts: Sequence[str], asked: Sequence[str], seed: int) -> None:
        self.space = space
        self.texts, self.asked = texts, asked
        self.rng = np.random.default_rng(seed)
        self.latencies: list[tuple[str, float]] = []
        self.problems: list[str] = []
        self.written = 0
        self.found = 0
        self._lock = threading.Lock()
        self._ids: list[str] = []

    def make(self, number: int) -> tuple[str, Callable[[], None]]:
        """The request of that number: 60 % searches, 25 % writes, every fifth of which is searched for at once, 10 % reads, 5 % corrections."""
        kind = str(self.rng.choice(["search", "write", "read", "update"], p=[0.6, 0.25, 0.1, 0.05]))
        query, text = self.asked[number % len(self.asked)], self.texts[number % len(self.texts)]

        def write() -> None:
            word = f"zq{number:08d}"
            cube = self.space.add(f"{word} {text}", type="turn", author="Ann")
            with self._lock:
                self._ids.append(cube.id)
            if number % 5:
                return
            hits = self.space.search(word, k=10)
            with self._lock:
                self.written += 1
                self.found += any(hit.cube.id == cube.id for hit in hits)

        def update() -> None:
            with self._lock:
                id = self._ids[number % len(self._ids)] if self._ids else None
            if id is not None:
                self.space.update(id, text)

        def read() -> None:
            with self._lock:
                id = self._ids[number % len(self._ids)] if self._ids else None
            if id is not None:
                self.space.get(id)

        return kind, {"search": lambda: self._ask(query), "write": write, "read": read, "update": update}[kind]

    def _ask(self, query: str) -> None:
        if len(self.space.search(query, k=10)) != 10:
            raise AssertionError("a search did not give ten memories")

    def run(self, seconds: float) -> None:
        """`RATE` requests a second for `seconds`."""
        due: queue.Queue[tuple[float, str, Callable[[], None]] | None] = queue.Queue()

        def work() -> None:
            while (job := due.get()) is not None:
                at, kind, request = job
                try:
                    request()
                except (MnemosError, AssertionError) as error:
                    self.problems.append(f"{kind}: {error}")
                self.latencies.append((kind, time.perf_counter() - at))

        workers = [threading.Thread(target=work) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        start = time.perf_counter()
        for number in range(int(seconds * RATE)):
            kind, request = self.make(number)
            at = start + number / RATE
            if (wait := at - time.perf_counter()) > 0:
                time.sleep(wait)
            due.put((at, kind, request))
        for _ in workers:
            due.put(None)
        for worker in workers:
            worker.join()


def run(benchmark: Benchmark, options: Options) -> Result:
    """Fills a store, then lets requests arrive."""
    cubes, seconds = (20_000, 15.0) if options.quick else (100_000, 60.0)
    rng = options.rng()
    pool = sentences(data_folder(options.data))
    with (
        Seconds() as took,
        tempfile.TemporaryDirectory(prefix="mnemos-load-") as folder,
        Mnemos(Path(folder) / "memory.db", embedder=HashedEmbedder()) as mem,
    ):
        space = mem.space("load")
        texts = recombined(pool, cubes, rng)
        space.add_many({"text": text, "type": "turn", "author": "Ann"} for text in texts)
        options.say(f"{cubes:,} memories")
        load = Load(space, texts, questions(pool, 500, rng), options.seed + 1)
        space.search(load.asked[0])
        load.run(seconds)
        sound = bool(mem.verify())
    latency = Latency.of([seconds for _, seconds in load.latencies])
    kinds = Counter(kind for kind, _ in load.latencies)
    table = {kind: Latency.of([s for k, s in load.latencies if k == kind]).milliseconds() for kind in kinds}
    n = len(load.latencies)
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        [
            Check("requests that succeeded (share)", 1 - len(load.problems) / n, 1.0, n=n),
            Check("p99 latency, ms", latency.p99 * 1e3, 463.0, at_least=False, n=n),
            Check("writes found by the search right after (share)", load.found / max(1, load.written), 1.0, n=load.written),
            Check("p50 latency, ms", latency.p50 * 1e3, None, n=n),
            Check("the store verifies afterwards", float(sound), 1.0, n=1),
        ],
        seconds=took.seconds,
        machine=machine().as_dict(),
        details={
            "tables": {"latency by kind": table},
            "memories": cubes,
            "requests_per_second": RATE,
            "problems": load.problems[:10],
            "notes": ["baseline of the paper: P99 463 ms at 100 requests/s, there over a network, with a language model's memory in the cloud"],
        },
    )
