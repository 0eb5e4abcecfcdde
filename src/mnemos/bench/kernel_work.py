"""What the kernel's work costs: durable jobs, delivery of events, pipelines against the same calls by hand, branches, and going back."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mnemos
from mnemos.base.errors import MnemosError
from mnemos.base.meter import Latency, Seconds, fsync_seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.work.running import Running
from mnemos.models.hashed import HashedEmbedder

Table = dict[str, dict[str, Any]]
NOTES = (
    "A job that does nothing costs one commit: it is settled, and the next one leased, in the same transaction. Goals of jobs, events, pipelines "
    "and branches are our own: the paper gives none.",
    "Events: from the return of a durable write, one every 3 to 12 ms, to its receipt by a subscriber that waits. What is received before the "
    "write has returned counts as 0. Both processes read the same monotonic clock.",
    "Pipeline: retrieve, add, update, archive; the same calls in a transaction by hand, in turns that swap, each on a space of its own.",
)
_BLOCK = 4096
_SYNCS = 60
_LEASE = 0.5
_MOST_SECONDS = 120.0

WRITER = """
import random, sys, time, mnemos
rng = random.Random(1)
with mnemos.open(sys.argv[1], embedder="none") as memory:
    space = memory.space("events")
    print("ready", flush=True)
    sys.stdin.readline()
    told = []
    for number in range(int(sys.argv[2])):
        time.sleep(rng.uniform(0.003, 0.012))
        position = space.add(f"event {number} of another process").position
        told.append((position, time.monotonic()))
    for position, at in told:
        print(position, at)
"""
"""Writes memories, and says when each write had returned."""

WORKER = """
import sys, time, mnemos
def work(memory, job):
    print(job.key, flush=True)
    time.sleep(0.005)
    memory.space("done").add(job.key)
with mnemos.open(sys.argv[1], embedder="none") as memory:
    memory.jobs.register("work", work, lease_seconds=float(sys.argv[2]), attempts=1000)
    with memory.jobs.work(threads=2):
        time.sleep(3600)
"""


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    jobs: int = 2000
    events: int = 500
    rounds: int = 150
    cubes: int = 10_000
    changes: int = 200
    kills: int = 8


QUICK = Sizes(jobs=400, events=150, rounds=30, cubes=2000, changes=50, kills=3)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Each part in a store of its own, one after the other."""
    clock, rng = Seconds(), options.rng()
    sizes = QUICK if options.quick else Sizes()
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:

        def part(title: str, measure: Callable[[Path], tuple[list[Check], Table]]) -> None:
            options.say(title)
            folder = Path(home, title.replace(" ", "-"))
            folder.mkdir()
            found, table = measure(folder)
            checks.extend(found)
            tables[title] = table

        part("Jobs", lambda folder: jobs(folder, sizes.jobs))
        part("Jobs under kill -9", lambda folder: killed(folder, sizes.kills))
        part("Events", lambda folder: events(folder, sizes.events, rng))
        part("Pipelines", lambda folder: pipelines(folder, sizes.rounds, rng))
        part("Branches", lambda folder: branches(folder, sizes.cubes, sizes.changes, rng))
        part("Going back", lambda folder: going_back(folder, rng))
    details = {"tables": tables, "quick": options.quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks,
                     seconds=clock.seconds, machine=machine().as_dict(), details=details)  # fmt: skip


def _nothing(memory: mnemos.Mnemos, job: Running) -> None:
    """The job under test."""


def jobs(folder: Path, count: int) -> tuple[list[Check], Table]:
    """Durable jobs a second: asked for one by one, done by one worker and by four."""
    sync = Latency.of(fsync_seconds(folder, _BLOCK, _SYNCS)[1:]).p50
    table: Table = {}
    rates: dict[str, float] = {}
    with mnemos.open(str(folder / "store.db"), embedder="none") as memory:
        memory.jobs.register("nothing", _nothing)
        for threads in (1, 4):
            with Seconds() as asking:
                for number in range(count):
                    memory.jobs.enqueue("nothing", key=f"{threads}/{number}")
            with Seconds() as working, memory.jobs.work(threads=threads):
                while memory.jobs.counts()["waiting"] + memory.jobs.counts()["running"]:
                    time.sleep(0.002)
                    if working.seconds > _MOST_SECONDS:
                        raise MnemosError(f"jobs benchmark: {count} jobs were not done within {_MOST_SECONDS:.0f} s")
            rates[f"{threads} workers"] = count / working.seconds
            table[f"{threads} workers"] = {"asked for a second": count / asking.seconds, "done a second": count / working.seconds, "n": count}
        done = memory.jobs.counts()
    table["fsync"] = {"done a second": 1 / sync, "n": _SYNCS - 1}
    if done["dead"] or done["waiting"]:
        raise MnemosError(f"jobs benchmark: not all were done ({done})")
    return [
        Check("durable jobs/s, one worker", rates["1 workers"], 500.0, baseline=1 / sync, n=count),
        Check("durable jobs/s, four workers", rates["4 workers"], 500.0, baseline=1 / sync, n=count),
    ], table


def killed(folder: Path, kills: int) -> tuple[list[Check], Table]:
    """Workers killed with signal 9 while they work: which jobs are lost, and how long until the next worker has what the dead one held."""
    path = folder / "store.db"
    with mnemos.open(str(path), embedder="none") as memory:
        memory.jobs.register("work", _nothing)
        for number in range(40 * kills):
            memory.jobs.enqueue("work", key=f"{number}")
    begun: list[str] = []
    waits: list[float] = []
    for _ in range(kills):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(_LEASE)], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        different = len(set(begun)) + 10
        while len(set(begun)) < different and (line := worker.stdout.readline()):  # on a busy machine a lease ends, and a job begins twice
            begun.append(line.strip())
        worker.send_signal(signal.SIGKILL)
        begun += [line.strip() for line in worker.stdout]
        worker.wait()
    with mnemos.open(str(path), embedder="none") as memory:
        held = {job.key for job in memory.jobs.list("running", limit=1000)}
        taken: dict[str, float] = {}

        def finish(system: mnemos.Mnemos, job: Running) -> None:
            taken[job.key] = time.monotonic()
            system.space("done").add(job.key)

        memory.jobs.register("work", finish, lease_seconds=_LEASE, attempts=1000)
        started = time.monotonic()
        if not memory.jobs.drain(_MOST_SECONDS):
            raise MnemosError("jobs benchmark: what was left by killed workers was not done")
        waits += [taken[key] - started for key in held if key in taken]
        written = {cube.text for cube in memory.space("done").list(limit=100_000)}
    lost = sum(f"{number}" not in written for number in range(40 * kills))
    worst = max(waits, default=0.0)
    return [Check("jobs lost to kill -9", float(lost), 0.0, at_least=False, n=40 * kills)], {
        "kill -9": {"kills": kills, "jobs": 40 * kills, "begun before": len(set(begun)), "held at the end": len(held), "taken over within s": worst}
    }


def events(folder: Path, count: int, rng: np.random.Generator) -> tuple[list[Check], Table]:
    """How long after a durable write a waiting subscriber has it: written by this process, and by another."""
    path = str(folder / "store.db")
    found: dict[str, Latency] = {}
    with mnemos.open(path, embedder="none") as memory:
        space = memory.space("events")
        for name in ("same process", "another process"):
            received: dict[int, float] = {}
            subscription = memory.subscribe(kinds="add")

            def receive(given: Any = subscription, into: dict[int, float] = received) -> None:
                for event in given:
                    into[event.position] = time.monotonic()

            reader = threading.Thread(target=receive)
            reader.start()
            written = _written_here(space, count, rng) if name == "same process" else _written_there(path, count)
            deadline = time.monotonic() + _MOST_SECONDS
            while len(received) < count and time.monotonic() < deadline:
                time.sleep(0.01)
            subscription.close()
            reader.join()
            if received.keys() != written.keys():
                raise MnemosError(f"events benchmark: {count} written, {len(received)} received")
            found[name] = Latency.of([max(0.0, received[position] - at) for position, at in written.items()])
    checks = []
    for name, bound in (("same process", 10.0), ("another process", 50.0)):
        checks.append(Check(f"event delivery, {name}, p50, ms", found[name].p50 * 1e3, bound / 2, at_least=False, n=count))
        checks.append(Check(f"event delivery, {name}, p99, ms", found[name].p99 * 1e3, bound, at_least=False, n=count))
    return checks, {name: latency.milliseconds() for name, latency in found.items()}


def _written_here(space: Any, count: int, rng: np.random.Generator) -> dict[int, float]:
    """Position → when the write had returned."""
    out = {}
    for number in range(count):
        time.sleep(rng.uniform(0.003, 0.012))
        position = space.add(f"event {number}").position
        out[position] = time.monotonic()
    return out


def _written_there(path: str, count: int) -> dict[int, float]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdin is not None
    writer.stdout.readline()
    writer.stdin.write("go\n")
    writer.stdin.flush()
    told = [line.split() for line in writer.stdout]
    if writer.wait():
        raise MnemosError("events benchmark: the other process failed")
    return {int(position): float(at) for position, at in told}


def pipelines(folder: Path, rounds: int, rng: np.random.Generator) -> tuple[list[Check], Table]:
    """The same work declared and by hand, in turns: what declaring it costs."""
    took: dict[str, list[float]] = {"pipeline": [], "by hand": []}
    with mnemos.open(str(folder / "store.db"), embedder=HashedEmbedder()) as memory:
        for name in took:
            memory.space(name).add_many([{"text": text} for text in _texts(500, rng)])
        pipeline = memory.pipeline(
            [
                {"step": "retrieve", "query": "{question}", "k": 3, "as": "hits"},
                {"step": "add", "text": "Noted: {question}", "derived_from": "$hits", "as": "note"},
                {"step": "update", "cube": "$note", "tags": ["noted"]},
                {"step": "archive", "cubes": "$note"},
            ],
            space="pipeline",
        )
        space = memory.space("by hand")

        def called(question: str) -> None:
            with memory.transaction():
                hits = space.search(question, 3)
                note = space.add(f"Noted: {question}", derived_from=[hit.cube for hit in hits])
                space.archive(space.update(note.id, tags=["noted"]).id)

        ways: list[tuple[str, Callable[[str], object]]] = [("pipeline", lambda question: pipeline.run(question=question)), ("by hand", called)]
        asked = iter(_texts(2 * rounds, rng))  # none of them twice: the embedder remembers texts
        for _ in range(rounds):
            for name, way in ways:
                question = next(asked)
                with Seconds() as one:
                    way(question)
                took[name].append(one.seconds)
            ways.reverse()
    declared, by_hand = Latency.of(took["pipeline"]), Latency.of(took["by hand"])
    check = Check("pipeline ÷ the same calls by hand, p50", declared.p50 / by_hand.p50, 1.1, at_least=False, baseline=1.0, n=rounds)
    return [check], {"pipeline": declared.milliseconds(), "by hand": by_hand.milliseconds()}


def branches(folder: Path, cubes: int, changes: int, rng: np.random.Generator) -> tuple[list[Check], Table]:
    """A branch of a whole space: made, ranked, changed, compared, merged, dropped."""
    texts = _texts(cubes, rng)
    questions = [" ".join(texts[i].split()[:4]) for i in rng.integers(0, cubes, 10)]
    took: dict[str, float] = {}
    with mnemos.open(str(folder / "store.db"), embedder=HashedEmbedder()) as memory:
        base = memory.space("base")
        with Seconds() as one:
            base.add_many([{"text": text} for text in texts])
        took["add as many"] = one.seconds
        position = memory.position()
        with Seconds() as one:
            branch = base.branch("what if")
        took["branch"] = one.seconds
        alike = sum(_ranked(base, question) == _ranked(branch.space, question) for question in questions)
        untouched = memory.log(position)[0].kind == "space" and all(entry.space != base.num for entry in memory.log(position))
        for cube in branch.space.list(limit=changes):
            branch.space.update(cube.id, f"{cube.text} changed")
        with Seconds() as one:
            told = branch.diff()
        took["diff"] = one.seconds
        with Seconds() as one:
            merged = branch.merge()
        took["merge"] = one.seconds
        with Seconds() as one:
            base.rewind(position)
        took["rewind"] = one.seconds
        with Seconds() as one:
            branch.drop()
        took["drop"] = one.seconds
        if len(told.changes) != changes or len(merged.changed) != changes:
            raise MnemosError(f"branches benchmark: {changes} changes, {len(told.changes)} told, {len(merged.changed)} merged")
    checks = [
        Check(f"branch of {cubes:,} cubes, s", took["branch"], 5.0 * cubes / 10_000, at_least=False, baseline=took["add as many"], n=1),
        Check("questions that the branch answers alike, bit for bit, share", alike / len(questions), 1.0, n=len(questions)),
        Check("the original is untouched", float(untouched), 1.0, n=1),
    ]
    return checks, {name: {"s": seconds, "cubes": cubes, "changes": changes} for name, seconds in took.items()}


def _ranked(space: Any, question: str) -> list[tuple[str, float]]:
    return [(hit.cube.text, hit.score) for hit in space.search(question, 50)]


def going_back(folder: Path, rng: np.random.Generator, versions: int = 100) -> tuple[list[Check], Table]:
    """A memory of 100 versions is brought back to each: payload, vector and ranking as they were, bit for bit (MemOS sheet, item 9)."""
    texts = _texts(200 + versions, rng)
    same = 0
    with mnemos.open(str(folder / "store.db"), embedder=HashedEmbedder()) as memory:
        space = memory.space("turns")
        added = space.add_many([{"text": text, "type": "turn", "metadata": {"session": i // 10}} for i, text in enumerate(texts[:200])])
        target = added[77]
        question = " ".join(target.text.split()[:4])
        then = []
        for text in texts[200:]:
            cube = space.update(target.id, text)
            then.append((cube, _vector(memory, cube), _found(space, question)))
        with Seconds() as one:
            backs = [space.rollback(target.id, was.version) for was, _, _ in then]
        for (was, vector, found), version in zip(then, backs, strict=True):
            space.rollback(target.id, version.version)
            back = space.get(target.id)
            alike = (back.text, back.tags, back.metadata, back.type, back.author) == (was.text, was.tags, was.metadata, was.type, was.author)
            same += alike and _vector(memory, back) == vector and _found(space, question) == found
    return [Check("versions gone back to, bit-equal, share", same / versions, 1.0, n=versions)], {
        "rollback": {"ms": one.seconds / versions * 1e3, "n": versions}
    }


def _found(space: Any, question: str) -> list[tuple[str, float]]:
    return [(hit.cube.id, hit.score) for hit in space.search(question, 100)]


def _vector(memory: mnemos.Mnemos, cube: Any) -> bytes:
    with memory.snapshot() as snapshot:
        row = snapshot.space(cube.space)
        assert row is not None
        return next(iter(snapshot.vectors(row.num, cube.position - 1)))[2]


def _texts(count: int, rng: np.random.Generator) -> list[str]:
    """Sentences of made-up words, no two alike."""
    syllables = [a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u", "ai")]
    words = ["".join(rng.choice(syllables, rng.integers(2, 4))) for _ in range(2000)]
    return [f"{' '.join(rng.choice(words, rng.integers(6, 14)))} {number}." for number in range(count)]
