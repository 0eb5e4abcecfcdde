"""A cache of lists: how many bytes searches read from disk with it, by policy and size, beside the fewest that were possible.

The sheet of paging asks for a tenth less than LRU reads (`paging-succinct-predictions`, check 7). What is asked here is made of real or generated
vectors: topics that come and go, some asked about more than others, a share of questions about anything, and scans, as imports and consolidation do
them. Its numbers were fixed before any policy was run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.bench.ann import worlds
from mnemos.bench.ann.truth import Floats, exact
from mnemos.bench.ann.worlds import World
from mnemos.bench.datasets import data_folder
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.parts import Measured as Part
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.cache.base import Meta
from mnemos.cache.belady import Belady
from mnemos.cache.mapping import EvictingCache
from mnemos.index.spann.codes import Entries
from mnemos.index.spann.disk import FolderDisk
from mnemos.index.spann.index import SpannIndex
from mnemos.index.spann.opening import LISTS
from mnemos.models.minilm import MiniLM

SHARES = (0.02, 0.05, 0.10, 0.20)
"""Of the lists' bytes, that the cache may take."""
DEFAULT, BASELINE = "auto", "lru"
POLICIES = (BASELINE, "s3-fifo", "sieve", DEFAULT, "greedy-dual-1bit", "switching")
"""The last two follow a bit that they learn: by itself, and beside S3-FIFO."""
FEWER = 0.90
WHOLE = 0.10
"""The share at which searches run through whole caches, and are timed."""

ACTIVE, NEAR = 40, 32
"""Topics that are asked about at a time; what a topic is about: so many neighbours of one vector."""
TURNOVER = 25
"""After so many questions another topic takes the place of one."""
EXPONENT = 0.9
"""Of Zipf's law, by which topics are asked about."""
ANYTHING = 0.2
"""The share of questions that are about no topic."""
SCANS, SCAN = 0.001, (50, 500)
"""With that probability a scan begins at a question, over so many vectors that lie together in the file."""


def stream(base: Floats, questions: Floats, count: int, rng: np.random.Generator) -> Iterator[Floats]:
    """`count` queries (d,). A topic's are the questions and vectors nearest to one vector of `base` (n, d), each as likely as the others."""
    weights = 1 / np.arange(1, ACTIVE + 1) ** EXPONENT
    weights /= weights.sum()
    topics = count // TURNOVER + ACTIVE + 1
    anchors = np.asarray(base[np.sort(rng.choice(len(base), topics, replace=topics > len(base)))])[rng.permutation(topics)]
    stored = exact(base, anchors, NEAR)[0]
    asked = exact(questions, anchors, min(NEAR, len(questions)))[0]
    active, following, given = list(range(ACTIVE)), ACTIVE, 0
    while given < count:
        if rng.random() < SCANS:
            length = min(int(rng.integers(*SCAN)), count - given, len(base))
            start = int(rng.integers(len(base) - length + 1))
            yield from np.asarray(base[start : start + length])
            given += length
            continue
        if rng.random() < ANYTHING:
            yield questions[rng.integers(len(questions))]
        else:
            topic = active[rng.choice(ACTIVE, p=weights)]
            rows, of = (asked, questions) if rng.random() < 0.5 else (stored, base)
            yield np.asarray(of[rows[topic, rng.integers(rows.shape[1])]])
        given += 1
        if given % TURNOVER == 0 and following < topics:
            active[int(rng.integers(ACTIVE))] = following
            following += 1


class _Notebook(MutableMapping[int, bytes]):
    """A cache that holds nothing, and notes what it is asked for, and how many bytes that was."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.sizes: dict[int, int] = {}

    def __getitem__(self, number: int) -> bytes:
        self.asked.append(number)
        raise KeyError(number)

    def __setitem__(self, number: int, piece: bytes) -> None:
        self.sizes[number] = len(piece)

    def __delitem__(self, number: int) -> None:
        raise KeyError(number)

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _CountingDisk(FolderDisk):
    """Counts the bytes of lists that are read."""

    nbytes = 0

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        if name == LISTS:
            self.nbytes += sum(size for _, size in spans)
        return super().read_many(name, spans)


@dataclass
class Read:
    """Lists that were read from disk, and their bytes."""

    count: int = 0
    nbytes: int = 0

    def add(self, nbytes: int) -> None:
        self.count += 1
        self.nbytes += nbytes


@dataclass(frozen=True)
class Load:
    """Queries (m, d) to the index in `folder`; of each the lists that it reads, the nearest first; the bytes of each list, and of all there are."""

    folder: Path
    queries: Floats
    asked: list[list[int]]
    sizes: dict[int, int]
    held: int

    @property
    def read(self) -> Read:
        """What is read without a cache."""
        read = Read()
        for lists in self.asked:
            for number in lists:
                read.add(self.sizes[number])
        return read

    def room(self, share: float) -> int:
        """Bytes of a cache for that share of all lists."""
        return max(1, round(share * self.held))


def load_of(folder: Path, base: Floats, questions: Floats, count: int, rng: np.random.Generator) -> Load:
    """Notes what `count` queries read of the index in `folder`, which is one of `base` (n, d)."""
    queries = np.array(list(stream(base, questions, count, rng)), dtype=np.float32)
    book = _Notebook()
    asked: list[list[int]] = []
    with SpannIndex.open(folder, cache=book) as index:
        for query in queries:
            index.search(query)
            asked.append(book.asked)
            book.asked = []
        held = int(index.statistics()["entries"]) * Entries(index.options.code, index.dimensions).size
    sizes = {number: book.sizes.get(number, 0) for lists in asked for number in lists}
    return Load(folder, queries, asked, sizes, held)


def read_with(policy: str, load: Load, room: int) -> Read:
    """What is read with a cache of `room` bytes."""
    cache: EvictingCache[int, int] = EvictingCache(room, policy, size=int, cost=_bytes)
    read = Read()
    for lists in load.asked:
        for number in [number for number in lists if cache.get(number) is None]:
            read.add(size := load.sizes[number])
            if 0 < size <= room:
                cache[number] = size
    return read


def read_at_least(load: Load, room: int) -> Read:
    """What Belady's rule reads, which knows what will be asked. Lists differ in size: it is near the fewest bytes that are possible."""
    future = [number for lists in load.asked for number in lists]
    cache, read = Belady(room, future), Read()
    for number in future:
        if cache.request(number, Meta(size=max(1, load.sizes[number]))) is not None:
            read.add(load.sizes[number])
    return read


def read_whole(policy: str | None, load: Load, room: int) -> tuple[int, float]:
    """Bytes of lists that searches read with a real cache, or without, and the milliseconds of processor time that one of them takes. The operating
    system has the files in memory: what reading from a device would take comes on top."""
    disk = _CountingDisk(load.folder)
    cache: EvictingCache[int, bytes] | None = None
    if policy is not None:
        cache = EvictingCache(room, policy, size=len, cost=lambda number, piece: _bytes(number, len(piece)))
    with SpannIndex.open(disk, cache=cache) as index:
        disk.nbytes, start = 0, time.process_time()
        for query in load.queries:
            index.search(query)
        seconds = time.process_time() - start
    return disk.nbytes, 1000 * seconds / len(load.queries)


def measure(name: str, load: Load, shares: Sequence[float]) -> Part:
    """Checks of the default policy against LRU at each share, and what every policy reads."""
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    requests = sum(map(len, load.asked))
    for share in shares:
        room = load.room(share)
        read = {policy: read_with(policy, load, room) for policy in POLICIES} | {"belady": read_at_least(load, room), "none": load.read}
        few = read[BASELINE]
        tables[f"{name}, a cache of {share:.0%} of the lists"] = {
            policy: {
                "bytes ÷ LRU": one.nbytes / few.nbytes, "reads ÷ LRU": one.count / few.count,
                "hit rate": 1 - one.count / requests, "MB": one.nbytes / 1e6,
            }
            for policy, one in read.items()
        }  # fmt: skip
        metric = f"{name}: bytes of lists read ÷ LRU, a cache of {share:.0%}"
        checks.append(Check(metric, read[DEFAULT].nbytes / few.nbytes, FEWER, at_least=False, baseline=1.0, n=requests))
    room = load.room(WHOLE)
    whole = {policy: read_whole(policy, load, room) for policy in (None, BASELINE, "s3-fifo", DEFAULT)}
    apart = max(abs(nbytes - (read_with(policy, load, room) if policy else load.read).nbytes) for policy, (nbytes, _) in whole.items())
    checks.append(Check(f"{name}: bytes counted at the disk, off what was replayed", apart, 0.0, at_least=False, n=len(load.queries)))
    tables[f"{name}, searches with a cache of {WHOLE:.0%}"] = {
        policy or "none": {"MB": nbytes / 1e6, "cpu ms of a search": spent} for policy, (nbytes, spent) in whole.items()
    }
    return checks, tables


def on(world: World, count: int, shares: Sequence[float], rng: np.random.Generator) -> Part:
    """The same of an index of the world, which is built beside it."""
    base, folder = world.base(), world.folder / "index"
    with SpannIndex.create(folder, world.dimensions) as index:
        index.build(np.arange(world.n), lambda rows: np.asarray(base[rows]), workers=2)
    return measure(world.name, load_of(folder, base, world.asked(), count, rng), shares)


def list_cache(options: Options) -> Part:
    """A part of `mnemos bench ann`: a small mixture; in full texts and a larger one. Raises `NotFound` where the texts are absent."""
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-caching-") as home:
        n, count, shares = (5000, 500, SHARES[2:]) if options.quick else (100_000, 6000, SHARES)
        sets = [worlds.generated(Path(home, "mixture"), n, 1000, options.rng())]
        if not options.quick:
            embedder = CountingEmbedder(MiniLM(), vector_folder())
            sets.append(worlds.texts(data_folder(options.data), Path(home, "texts"), 6000, embedder, options, options.rng()))
        for each in sets:
            found, shown = on(each, count, shares, options.rng())
            checks += found
            tables |= shown
    return checks, tables


def _bytes(_: int, size: int) -> float:
    """What it costs to read a list: bytes are what is counted here."""
    return float(size)
