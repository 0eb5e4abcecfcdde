"""What a search costs in a space of 20,000 memories, by every strategy, without embedding the question.

Consolidating 20,000 memories by every strategy takes half an hour. So some are consolidated, and then written again and again with their views, each
time with other names: ids are replaced, and what the views say of each other stays true of the copies.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import orjson

import mnemos
from mnemos.base.cube import Link, MemCube
from mnemos.base.meter import Latency, Seconds, machine
from mnemos.bench import longmemeval, multihop
from mnemos.bench.corpus import Question, Record
from mnemos.bench.datasets import data_folder
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.index.terms import STOP_WORDS
from mnemos.kernel.space import Space
from mnemos.models.hashed import HashedEmbedder
from mnemos.text.encoding import LONGEST_WHOLE, SESSION_KEYS
from mnemos.text.registry import STRATEGIES, make

READ_MS = 50.0
MEMORIES, QUICK_MEMORIES = 20_000, 2_000
COPIES = 20
DIMENSIONS = 384
_ASKED = 100
_TURNS = 0.4
"""Share of the memories that are turns of conversations; the others are passages, so that bridges are crossed."""
_NAME = re.compile(r"\b[A-Z][a-z]{2,}\b")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDINGS = ("", *(a + b for a in ("ba", "do", "ki", "lu", "me") for b in ("n", "r", "s", "x")))
NOTES = (
    "A twentieth of the memories (LongMemEval's turns, MuSiQue's passages) is consolidated, and copied with its views under other names. Views come "
    "on top of the memories. Hashed n-grams of 384 dimensions embed; the question's vector is given. CPU: this process's own time.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Each strategy in a space of its own with the same memories and its views."""
    clock = Seconds()
    count = QUICK_MEMORIES if options.quick else MEMORIES
    records, questions = _world(options, count // COPIES)
    rows: dict[str, dict[str, float]] = {}
    checks: list[Check] = []
    for name in STRATEGIES:
        options.say(name)
        rows[name], cpu, wall = _measured(name, records, questions, options)
        bound = None if options.quick else READ_MS
        checks.append(Check(f"{name}: search among {count:,} memories, CPU ms, p95", cpu.p95 * 1e3, bound, at_least=False, n=cpu.n))
        checks.append(Check(f"{name}: the same by the clock, ms, p95", wall.p95 * 1e3, bound, at_least=False, n=wall.n))
    details = {"tables": {f"Searches among {count:,} memories": rows}, "quick": options.quick, "seed": options.seed, "notes": NOTES}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _world(options: Options, count: int) -> tuple[list[Record], list[str]]:
    """Memories to be consolidated, and questions about them and about others like them."""
    folder, rng = data_folder(options.data), options.rng()
    histories = longmemeval.load(folder, replace(options, quick=False))
    turns = [record for corpus in histories[:8] for record in corpus.records if len(str(record["text"])) <= LONGEST_WHOLE][: int(_TURNS * count)]
    passages = next(corpus for corpus in multihop.load(folder, distractors=False) if corpus.name == "musique")
    short = [record for record in passages.records if len(str(record["text"])) <= LONGEST_WHOLE]
    records = [*turns, *short[: count - len(turns)]]
    asked: list[Question] = [question for corpus in (*histories, passages) for question in corpus.questions]
    picked = rng.choice(len(asked), min(_ASKED, len(asked)), replace=False).tolist()
    held = {str(record["source"]) for record in records}
    about = [question for question in passages.questions if question.evidence & held]
    return records, [question.text for question in [*about[:_ASKED], *(asked[at] for at in picked)]]


def _measured(name: str, records: Sequence[Record], questions: Sequence[str], options: Options) -> tuple[dict[str, float], Latency, Latency]:
    with mnemos.open(":memory:", embedder=HashedEmbedder(dimensions=DIMENSIONS)) as memory:
        space = memory.space("many", strategy=name)
        memories, views = _consolidated(memory, name, records)
        for copy in range(COPIES):
            _write(space, memories, views, copy)
        space.search("what is held is loaded, and made ready", k=1)
        memory.preload()
        walls, cpus = [], []
        rng = options.rng()
        for question in questions:
            asked = _named(question, int(rng.integers(COPIES)))
            vectors = memory.embedding.matrix([asked])
            assert vectors is not None
            wall, cpu = time.perf_counter(), time.process_time()
            space.search(asked, k=10, vector=vectors[0])
            cpus.append(time.process_time() - cpu)
            walls.append(time.perf_counter() - wall)
    cpu_time, wall_time = Latency.of(cpus), Latency.of(walls)
    row = {
        "views a memory": len(views) / len(memories), "CPU ms p50": cpu_time.p50 * 1e3, "CPU ms p95": cpu_time.p95 * 1e3,
        "ms p50": wall_time.p50 * 1e3, "ms p95": wall_time.p95 * 1e3,
    }  # fmt: skip
    return row, cpu_time, wall_time


def _consolidated(memory: mnemos.Mnemos, name: str, records: Sequence[Record]) -> tuple[list[MemCube], list[MemCube]]:
    """Memories and the views that a strategy makes of them, oldest first."""
    space = memory.space("few", strategy=name)
    memories = space.add_many(list(records))
    written = {cube.id for cube in memories}
    if make(name).consolidates:
        space.consolidate()
    everything: list[MemCube] = []
    cursor: str | None = None
    while cursor is not None or not everything:
        page = space.list(limit=1000, cursor=cursor)
        everything += page
        cursor = page.cursor
    return memories, [cube for cube in everything if cube.id not in written]


def _write(space: Space, memories: Sequence[MemCube], views: Sequence[MemCube], copy: int) -> None:
    """One copy of some memories and views, under other names."""
    ids = {cube.id: str(uuid4()) for cube in (*memories, *views)}
    for cubes in (memories, views):
        space.add_many([_record(cube, ids, copy) for cube in cubes])


def _record(cube: MemCube, ids: Mapping[str, str], copy: int) -> dict[str, Any]:
    told = _ID.sub(lambda found: ids.get(found[0], found[0]), orjson.dumps(dict(cube.metadata), default=dict).decode())
    metadata = orjson.loads(_named(told, copy))
    for key in SESSION_KEYS:
        if key in metadata:
            metadata[key] = f"{metadata[key]} of {copy}"
    return {
        "id": ids[cube.id], "text": _named(cube.text, copy), "type": cube.type, "author": cube.author, "origin": cube.origin,
        "source": cube.source and f"{cube.source}/{copy}", "event_at": cube.event_at, "valid_from": cube.valid_from, "valid_to": cube.valid_to,
        "tags": cube.tags, "entities": [_named(name, copy) for name in cube.entities], "metadata": metadata,
        "derived_from": [Link(UUID(ids[str(link.id)]), 1, link.relation) for link in cube.derived_from if str(link.id) in ids],
    }  # fmt: skip


def _named(text: str, copy: int) -> str:
    """A text with other names in each copy: its words in capitals, but for those that are no names, end in another way."""
    return _NAME.sub(lambda found: found[0] if found[0].lower() in STOP_WORDS else found[0] + _ENDINGS[copy], text)
