"""Many threads and processes on one store at once: no error but those that the operations themselves mean, nothing lost, time goes forward.

Each thread of each process writes spaces of its own, of which it keeps a model, and shares one space with all, where everybody adds,
changes what anybody added, and forgets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from typing import Any

from torture_act import act, check, differences
from torture_model import Model, next_op, text_of, word

import mnemos
from mnemos import errors

OPEN: dict[str, Any] = {"embedder": "hashed"}
SHARED = "shared"
EXPECTED = (errors.Conflict, errors.NotFound)
"""What may happen in the shared space, where two change the same cube at once, or one forgets what the other reads."""


READ = ("read", "Conflict", "NotFound")
"""What is counted and has written nothing."""
LEAST = 2
"""Writes of each thread, however long they take where the machine has other work."""


class Worker:
    """One thread: writes, reads back at once, watches that what it reads never goes back: positions, versions, and what is gone."""

    def __init__(self, mem: Any, name: str, until: float, seed: int) -> None:
        self.mem, self.name, self.until = mem, name, until
        self.rng = random.Random(seed)
        self.model = Model()
        self.added: dict[str, int] = {}
        self.updated: dict[tuple[str, int], int] = {}
        self.forgotten: list[str] = []
        self.versions: dict[str, int] = {}
        self.gone: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.problems: list[str] = []

    def work(self) -> None:
        try:
            seen = 0
            while time.time() < self.until or self.writes() < LEAST:
                started = time.monotonic()
                self.rng.choice([self._own, self._own, self._share, self._share, self._read])()
                self.slowest = max(self.slowest, time.monotonic() - started)
                position = self.mem.position()
                if position < seen:
                    self.problems.append(f"{self.name}: the position fell from {seen} to {position}")
                seen = position
        except BaseException:  # noqa: BLE001  (whatever it is, it is a finding)
            self.problems.append(f"{self.name}: {traceback.format_exc()[-500:]}")

    def writes(self) -> int:
        return sum(count for what, count in self.counts.items() if what not in READ)

    def _own(self) -> None:
        op = next_op(self.rng, self.model, [f"{self.name} a", f"{self.name} b"])
        if op[0] == "reopen":
            return
        position = act(self.mem, op)
        self.model.apply(op)
        self.counts[op[0]] += 1
        if position > self.mem.position():
            self.problems.append(f"{self.name}: position {position} was acknowledged, and is not yet there")
        if op[0] == "add":
            own = word(op[3], 0)
            found = [hit.cube.text for hit in self.mem.space(op[1]).search(own, 10) if hit.signals.get("words", 0) > 0]
            if not found or not all(own in text for text in found):
                self.problems.append(f"{self.name}: what was just added is not found")

    def _share(self) -> None:
        space = self.mem.space(SHARED)
        number = self.rng.getrandbits(40)
        try:
            if self.rng.random() < 0.6:
                cube = space.add(text_of(number), author=self.name)
                self.added[cube.id] = number
                self.counts["shared add"] += 1
                if space.get(cube.id, 1).text != text_of(number):
                    self.problems.append(f"{self.name}: what was just added to the shared space reads otherwise")
                return
            listed = space.list(limit=20)
            self._seen(listed)
            if not listed:
                return
            chosen = self.rng.choice(listed)
            if self.rng.random() < 0.7:
                cube = space.update(chosen.id, text_of(number), if_version=chosen.version)
                self.updated[cube.id, cube.version] = number
                self._seen([cube])
                self.counts["shared update"] += 1
            else:
                space.forget([chosen.id])
                self.forgotten.append(chosen.id)
                self.gone.add(chosen.id)
                self.counts["shared forget"] += 1
        except EXPECTED as error:
            self.counts[type(error).__name__] += 1

    def _seen(self, cubes: list[Any]) -> None:
        """What this thread has read: never again an older version of it, and never again what was gone."""
        for cube in cubes:
            if cube.version < self.versions.get(cube.id, 0):
                self.problems.append(f"{self.name}: cube {cube.id} fell from version {self.versions[cube.id]} to {cube.version}")
            if cube.id in self.gone:
                self.problems.append(f"{self.name}: cube {cube.id} was gone, and is back")
            self.versions[cube.id] = cube.version

    def _again(self, space: Any) -> None:
        """Read again what was read before, by its id."""
        for id in self.rng.sample(sorted(self.versions), min(5, len(self.versions))):
            try:
                self._seen([space.get(id)])
            except errors.NotFound:
                self.gone.add(id)

    def _read(self) -> None:
        before = self.mem.position()
        space = self.mem.space(SHARED)
        hits = [hit.cube for hit in space.search(word(self.rng.getrandbits(40), 0), 5)]
        if not all(cube.text for cube in hits):
            self.problems.append(f"{self.name}: a hit without a text")
        self._seen([cube for cube in hits if cube.id in self.versions])
        self._again(space)
        page = space.list(limit=50)
        self._seen(page)
        if any(a.position >= b.position for a, b in itertools.pairwise(page)):
            self.problems.append(f"{self.name}: a list out of order")
        if self.mem.position() < before:
            self.problems.append(f"{self.name}: the position fell")
        self.counts["read"] += 1


def process(path: str, number: int, threads: int, seconds: float, into: str) -> None:
    """One process of the crowd: its threads, and what they saw, pickled into a file."""
    problems: list[str] = []
    mem = mnemos.open(path, **OPEN)
    until = time.time() + seconds
    workers = [Worker(mem, f"p{number}t{thread}", until, 1000 * number + thread) for thread in range(threads)]
    running = [threading.Thread(target=worker.work) for worker in workers]
    for thread in running:
        thread.start()
    try:
        while "key" in OPEN and number == 0 and time.time() < until:  # one of them renews the keys, over and over
            mem.rotate_keys()
    except errors.MnemosError:
        problems.append(f"renewing keys: {traceback.format_exc()[-500:]}")
    for thread in running:
        thread.join()
    for worker in workers:
        problems += worker.problems + [f"{worker.name}: {difference}" for difference in differences(mem, worker.model)]
    mem.close()
    seen = [(w.model, w.added, w.updated, w.forgotten, w.counts, w.slowest) for w in workers]
    with open(into, "wb") as file:
        pickle.dump((seen, problems), file)


def main(folder: str, *, seconds: float, processes: int = 4, threads: int = 8) -> dict[str, Any]:
    """Let the crowd work for `seconds` on a new store, which all of them open at once; then check what is there."""
    path = os.path.join(folder, "memory.db")
    running = []
    for number in range(processes):
        command = [sys.executable, os.path.abspath(__file__), "--path", path, "--process", str(number), "--threads", str(threads)]
        command += ["--sealed"] if "key" in OPEN else []
        running.append(subprocess.Popen([*command, "--seconds", str(seconds), "--into", os.path.join(folder, f"seen-{number}")]))
    problems = [f"process {p.args[-1]} ended with {p.returncode}" for p in running if p.wait(seconds * 3 + 240)]
    model, counts, slowest = Model(), Counter[str](), 0.0
    added: dict[str, int] = {}
    updated: Counter[tuple[str, int, int]] = Counter()
    gone: list[str] = []
    for number in range(processes):
        file = os.path.join(folder, f"seen-{number}")
        if not os.path.exists(file):
            continue
        with open(file, "rb") as handle:
            seen, wrong = pickle.load(handle)
        problems += wrong
        for part, mine, changed, forgotten, counted, slow in seen:
            model.merge(part)
            added |= mine
            updated.update((id, version, number) for (id, version), number in changed.items())
            gone += forgotten
            counts += counted
            slowest = max(slowest, slow)
    if not problems:
        shared_texts = frozenset({*added.values(), *(number for _, _, number in updated)})
        _, problems, _ = check(path, [model], random.Random(1), shared_texts, key=OPEN.get("key"))
        with mnemos.open(path, **OPEN) as mem:
            shared = mem.space(SHARED)
            living = {cube.id for cube in shared.list(limit=10**6)}
            wanted = {(id, 1): text_of(number) for id, number in added.items() if id in living}
            wanted |= {(id, version): text_of(number) for id, version, number in updated if id in living}
            stored = {(cube.id, cube.version): cube.text for id in living for cube in shared.history(id)}
        if len(updated) != len({(id, version) for id, version, _ in updated}):
            problems.append("two writers were told that they wrote the same version of a cube")
        if stored != wanted:
            lost = [f"cube {id} version {version}" for (id, version) in stored.keys() ^ wanted.keys()]
            problems.append(f"the shared space does not hold the versions that were acknowledged: {lost[:3] or 'other texts'}")
        if len(gone) != len(set(gone)):
            problems.append("a cube was forgotten twice")
        if living != added.keys() - set(gone):
            problems.append(f"the shared space holds {len(living)} cubes; {len(added)} were added and {len(gone)} forgotten")
    writes = sum(count for what, count in counts.items() if what not in READ)
    return {
        "processes": processes,
        "threads_each": threads,
        "seconds": seconds,
        "writes": writes,
        "counts": dict(counts),
        "slowest_operation_s": round(slowest, 2),
        "problems": problems[:12],
    }


def shared_commits(path: str, *, adds: int = 200, threads: int = 8) -> dict[str, float]:
    """Adds in a second, and commits of an add, of one thread and of `threads`, on the same store: threads share commits."""
    out = {}
    with mnemos.open(path, **OPEN) as mem:
        space = mem.space("a")
        space.add("warm")
        commits, write = 0, mem.store.witness.write

        def counted(head: Any) -> None:  # the witness learns of each commit
            nonlocal commits
            commits += 1
            write(head)

        mem.store.witness.write = counted

        def work(thread: int, count: int) -> None:
            for number in range(adds // count):
                space.add(f"note {number} of thread {thread} of {count}")

        for count in (1, threads):
            running = [threading.Thread(target=work, args=(thread, count)) for thread in range(count)]
            commits, started = 0, time.perf_counter()
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
            out[f"{count} threads"] = round(adds / (time.perf_counter() - started), 1)
            out[f"{count} threads, commits of an add"] = round(commits / adds, 2)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--path")
    parser.add_argument("--process", type=int)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--into")
    parser.add_argument("--sealed", action="store_true", help="on a sealed store, whose keys one of the processes renews over and over")
    given = parser.parse_args()
    if given.sealed:
        OPEN["key"] = bytes(range(32))
    if given.process is not None:
        process(given.path, given.process, given.threads, given.seconds, given.into)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            result = main(temporary, seconds=given.seconds, processes=given.processes, threads=given.threads)
            result["adds"] = shared_commits(os.path.join(temporary, "adds.db"))
        print(json.dumps(result, indent=1))
        sys.exit(bool(result["problems"]))
