"""What sealing costs: a sealed store beside one that is not, in the same run, turn by turn; and what renewing keys and forgetting take."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import mnemos
from mnemos.base.errors import MnemosError, NotFound
from mnemos.base.meter import Latency, Seconds, disk_bytes, machine
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import SeededEmbedder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.store_texts import questions, recombined, sentences
from mnemos.models.hashed import HashedEmbedder

T = TypeVar("T")
KEY = bytes(range(32))
SEALED, PLAIN = "sealed", "plain"
KINDS = (PLAIN, SEALED)
NOTES = (
    "Ratios are of processor time of this process, sealed by plain, unless they say otherwise; both stores take turns, so that the machine is the "
    "same for both. The key is 32 bytes: a passphrase would add about 0.3 s to an open.",
    "Adds and bulk import include their embedding, by the quickest embedder there is (hashed n-grams, and random vectors seeded by the text): with "
    "a model the ratios are nearer to 1.",
)
OPENER = """
import sys, time, mnemos
from mnemos.bench.embedding import SeededEmbedder
embedder = SeededEmbedder()
key = bytes.fromhex(sys.argv[2]) or None
start = time.perf_counter()
memory = mnemos.open(sys.argv[1], embedder=embedder, key=key)
space = memory.space("large")
opened = time.perf_counter()
space.search("the first search after opening", k=10)
print(opened - start, time.perf_counter() - opened)
"""


@dataclass(frozen=True)
class Sizes:
    """Cubes of the large stores, rounds of single adds, adds in a round, questions, openings of each store, single forgets of each store."""

    cubes: int = 100_000
    rounds: int = 30
    adds: int = 50
    questions: int = 200
    openings: int = 5
    forgets: int = 30


QUICK = Sizes(cubes=10_000, rounds=10, adds=30, questions=60, openings=3, forgets=15)
PART = 1000
"""Cubes of one bulk import; the stores take turns."""


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measure. Raises `NotFound` where the texts, or the package that seals, are absent."""
    try:
        import cryptography  # noqa: F401  (only whether it is there)
    except ImportError:
        raise NotFound("benchmark sealing: the package cryptography is not installed; type: pip install 'mnemos[security]'") from None
    clock, rng, sizes = Seconds(), options.rng(), QUICK if options.quick else Sizes()
    pool = sentences(data_folder(options.data))
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
        options.say("single adds")
        found, tables["Single adds"] = _adds(Path(home), recombined(pool, (sizes.rounds + 1) * sizes.adds * 2, rng), sizes, rng)
        checks += found
        options.say(f"{sizes.cubes:,} cubes")
        found, more = _large(Path(home), recombined(pool, sizes.cubes, rng), questions(pool, sizes.questions, rng), sizes, rng, options.say)
        checks += found
        tables |= more
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks,
                     seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _open(home: Path, name: str, kind: str, embedder: Any) -> mnemos.Mnemos:
    folder = home / f"{name} {kind}"
    folder.mkdir(exist_ok=True)
    return mnemos.open(folder / "store.db", embedder=embedder, key=KEY if kind == SEALED else None)


class Turns:
    """Processor and wall seconds of the same work on both stores, turn by turn."""

    def __init__(self) -> None:
        self.processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.wall: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def take(self, kind: str, work: Callable[[], T]) -> T:
        processor, wall = time.process_time(), time.perf_counter()
        done = work()
        self.processor[kind].append(time.process_time() - processor)
        self.wall[kind].append(time.perf_counter() - wall)
        return done

    def check(self, metric: str, bound: float | None, rng: np.random.Generator, *, wall: bool = False) -> Check:
        """Sealed ÷ plain, with the interval over the turns."""
        took = self.wall if wall else self.processor
        ratio = bootstrap_ratio(took[SEALED], took[PLAIN], range(len(took[PLAIN])), rng)
        return Check.of(metric, ratio, bound, at_least=False, baseline=1.0)


def _adds(home: Path, texts: Sequence[str], sizes: Sizes, rng: np.random.Generator) -> tuple[list[Check], dict[str, Any]]:
    turns, supply = Turns(), iter(texts)
    stores = {kind: _open(home, "adds", kind, HashedEmbedder()) for kind in KINDS}
    spaces = {kind: store.space("adds") for kind, store in stores.items()}
    for number in range(sizes.rounds + 1):
        for kind in KINDS[:: 1 if number % 2 else -1]:
            work = partial(_add_each, spaces[kind], [next(supply) for _ in range(sizes.adds)])
            if number:
                turns.take(kind, work)
            else:
                work()  # the first round warms what there is to warm
    for store in stores.values():
        store.close()
    per_add = {kind: {"processor ms": 1e3 * float(np.median(turns.processor[kind])) / sizes.adds,
                      "wall ms": 1e3 * float(np.median(turns.wall[kind])) / sizes.adds, "n": sizes.rounds * sizes.adds} for kind in KINDS}
    return [turns.check("add, sealed ÷ plain", 1.5, rng), turns.check("add, sealed ÷ plain, wall", None, rng, wall=True)], per_add


def _add_each(space: Any, texts: Sequence[str]) -> None:
    for text in texts:
        space.add(text)


def _large(
    home: Path, texts: Sequence[str], asked: Sequence[str], sizes: Sizes, rng: np.random.Generator, say: Callable[[str], None]
) -> tuple[list[Check], dict[str, Any]]:
    embedder, importing = SeededEmbedder(), Turns()
    stores = {kind: _open(home, "large", kind, embedder) for kind in KINDS}
    spaces = {kind: store.space("large") for kind, store in stores.items()}
    ids: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for start in range(0, len(texts), PART):
        records = [{"text": text, "tags": ["tag"], "author": "Author"} for text in texts[start : start + PART]]
        for kind in KINDS:
            ids[kind] += [str(cube.id) for cube in importing.take(kind, partial(spaces[kind].add_many, records))]
    vectors = embedder.embed(list(asked))
    latencies: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for round_number in range(2):  # the first warms the caches
        for question, vector in zip(asked, vectors, strict=True):
            for kind in KINDS:
                with Seconds() as one:
                    hits = spaces[kind].search(question, k=10, vector=vector)
                if len(hits) != 10:
                    raise MnemosError(f"sealing benchmark: {len(hits)} hits instead of 10 for {question!r}")
                if round_number:
                    latencies[kind].append(one.seconds)
    for store in stores.values():
        store.close()
    sizes_of = {kind: disk_bytes(home / f"large {kind}") for kind in KINDS}
    say("opening")
    opens, firsts, opening = _openings(home, sizes.openings, rng)
    say("forgetting")
    forgetting, after = _forgets(home, ids, sizes, rng)
    say("renewing keys")
    renewing, rates = _renewal(home, len(texts))
    table = {kind: {**Latency.of(latencies[kind]).milliseconds(), "open s": float(np.median(opens[kind])), "first search s":
                    float(np.median(firsts[kind])), "import cubes/s": len(texts) / sum(importing.wall[kind]), "on disk MB": sizes_of[kind] / 1e6}
             for kind in KINDS}
    n = len(texts)
    p50 = {kind: Latency.of(latencies[kind]).p50 for kind in KINDS}
    return [
        importing.check("bulk import, sealed ÷ plain", 1.5, rng),
        Check(f"search over {n:,} cubes, p50, sealed ÷ plain, wall", p50[SEALED] / p50[PLAIN], 1.15, at_least=False, baseline=1.0, n=len(asked)),
        Check(f"open {n:,} sealed cubes, s", float(np.median(opens[SEALED])), 1.0, at_least=False, n=sizes.openings),
        *opening,
        Check("bytes on disk, sealed ÷ plain", sizes_of[SEALED] / sizes_of[PLAIN], 1.25, at_least=False, baseline=1.0, n=n),
        *forgetting,
        *renewing,
    ], {f"Stores of {n:,} cubes": table, "Forgetting": after, "Renewing keys": rates}


def _openings(home: Path, count: int, rng: np.random.Generator) -> tuple[dict[str, list[float]], dict[str, list[float]], list[Check]]:
    """(seconds to open, seconds of the first search, checks), each opening in a process of its own."""
    opens, both = Turns(), Turns()
    firsts: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(count):
        for kind in KINDS:
            command = [sys.executable, "-c", OPENER, str(home / f"large {kind}" / "store.db"), KEY.hex() if kind == SEALED else ""]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise MnemosError(f"sealing benchmark: opening ended with {done.returncode}: {done.stderr.strip()[-500:]}")
            opened, first = (float(word) for word in done.stdout.split())
            opens.wall[kind].append(opened)
            firsts[kind].append(first)
            both.wall[kind].append(opened + first)
    return opens.wall, firsts, [
        opens.check("open, sealed ÷ plain, wall", 2.0, rng, wall=True),
        both.check("open and answer a first search, sealed ÷ plain, wall", 2.0, rng, wall=True),
    ]


def _forgets(home: Path, ids: dict[str, list[str]], sizes: Sizes, rng: np.random.Generator) -> tuple[list[Check], dict[str, Any]]:
    """Forgets one by one, then a tenth of everything, chosen at random, at once; then one by one again, with the keys that are left."""
    turns, later, once = Turns(), Turns(), Turns()
    order = rng.permutation(len(ids[PLAIN]))
    tenth = len(order) // 10
    stores = {kind: _open(home, "large", kind, "none") for kind in KINDS}
    spaces = {kind: store.space("large") for kind, store in stores.items()}
    keys = home / f"large {SEALED}" / "store.db-keys"
    bytes_of = {"before": keys.stat().st_size}
    for which, chosen in ((turns, order[: sizes.forgets]), (later, order[-sizes.forgets :])):
        for number in chosen.tolist():
            for kind in KINDS:
                which.take(kind, partial(spaces[kind].forget, [ids[kind][number]]))
        if which is turns:
            for kind in KINDS:
                gone = [ids[kind][number] for number in order[sizes.forgets : sizes.forgets + tenth].tolist()]
                once.take(kind, partial(spaces[kind].forget, gone))
            bytes_of["after a tenth"] = keys.stat().st_size
    for store in stores.values():
        store.close()
    table = {
        f"one, {when}": {f"{kind} ms, p50": 1e3 * float(np.median(one.wall[kind])) for kind in KINDS}
        for when, one in (("at first", turns), ("after a tenth is gone", later))
    }
    table["a tenth at once"] = {f"{kind} ms, p50": 1e3 * once.wall[kind][0] for kind in KINDS}
    return [
        turns.check("forget one, sealed ÷ plain, wall", 3.0, rng, wall=True),
        later.check("forget one after a tenth is gone, sealed ÷ plain, wall", 3.0, rng, wall=True),
        Check("forget a tenth at once, sealed ÷ plain", once.processor[SEALED][0] / once.processor[PLAIN][0], 2.0, at_least=False, n=tenth),
        Check("bytes of the key file for each cube forgotten at random", (bytes_of["after a tenth"] - bytes_of["before"]) / tenth, None, n=tenth),
    ], table


def _renewal(home: Path, cubes: int) -> tuple[list[Check], dict[str, Any]]:
    with _open(home, "large", SEALED, "none") as memory:
        with Seconds() as renewing:
            done = memory.rotate_keys()
        with Seconds() as changing:
            memory.change_key(KEY)
        size = Path(f"{memory.path}-keys").stat().st_size
    rate = done / renewing.seconds
    return [
        Check("keys renewed, versions/s", rate, 5000, n=done),
        Check("master key changed, s", changing.seconds, 1.0, at_least=False, n=1),
        Check("bytes of the key file after keys were renewed", size, 4096, at_least=False, n=1),
    ], {SEALED: {"versions": done, "seconds": renewing.seconds, "versions/s": rate, "change the master key ms": 1e3 * changing.seconds}}
