"""kill -9 on workers, again and again, while they pass on chains of jobs: no link is lost or written twice, and no two hold a job at a time.

Each job adds the next memory of its chain and, in the same transaction, asks for the job after it. Half of the chains go on under their own
key, so that a job is asked for again while it runs. Workers write down when they begin and end each job; so does whoever kills them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import uuid
from typing import Any

import mnemos
from mnemos import errors
from mnemos.kernel.work.running import Running

LEASE = 0.5
CHAINS = 12
THREADS = 2
FAILURES = 0.1
"""Share of the jobs that fail on their first attempts."""


def _id(chain: int, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{chain}/{number}"))


def _note(file: int, **what: Any) -> None:
    os.write(file, json.dumps({"pid": os.getpid(), "at": time.time(), **what}).encode() + b"\n")


def register(mem: Any, folder: str) -> None:
    """The kind of job that is under test."""
    file = os.open(os.path.join(folder, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    rng = random.Random(os.getpid() ^ time.time_ns())

    def link(system: Any, job: Running) -> None:
        chain, number = job.payload["chain"], job.payload["number"]
        _note(file, job=job.id, does="begins", worker=job.worker, attempt=job.attempt)
        time.sleep(rng.random() * 0.02)
        if job.attempt < 3 and rng.random() < FAILURES:
            _note(file, job=job.id, does="ends", worker=job.worker)
            raise errors.StoreUnavailable("fails now and then")
        with system.transaction():
            try:
                system.space("chains").add(f"link {number} of chain {chain}", id=_id(chain, number))
            except errors.Conflict:
                pass  # a worker that was killed had come so far
            if not os.path.exists(os.path.join(folder, "stop")):
                ask(system, chain, number + 1)
        time.sleep(rng.random() * 0.005)
        _note(file, job=job.id, does="ends", worker=job.worker)

    mem.jobs.register("link", link, lease_seconds=LEASE, attempts=10**6, backoff_seconds=0.01, backoff_most_seconds=0.05)


def ask(mem: Any, chain: int, number: int) -> None:
    key = f"{chain}" if chain % 2 else f"{chain}.{number}"
    mem.jobs.enqueue("link", key=key, payload={"chain": chain, "number": number})


def _worker(folder: str) -> None:
    """Work until killed."""
    mem = mnemos.open(os.path.join(folder, "memory.db"), embedder="none")
    register(mem, folder)
    with mem.jobs.work(threads=THREADS):
        while True:
            time.sleep(60)


def _fork(folder: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _worker(folder)
    except BaseException:  # noqa: BLE001  (the parent reads what it was)
        with open(os.path.join(folder, "crashes"), "a") as file:
            file.write(traceback.format_exc() + "\n")
    os._exit(1)


def _wait(folder: str, jobs: int) -> None:
    """Until workers have begun or ended so many more: a kill of one that has not come to work yet, on a busy machine, tries nothing."""
    notes, end = os.path.join(folder, "notes"), time.monotonic() + 30
    wanted = os.path.getsize(notes) + 100 * jobs
    while os.path.getsize(notes) < wanted and time.monotonic() < end:
        time.sleep(0.005)


def main(kills: int, seed: int, folder: str, processes: int = 3) -> dict[str, Any]:
    """Kill workers `kills` times, one or all at a time; then let the chains end and look at everything."""
    rng = random.Random(seed)
    with mnemos.open(os.path.join(folder, "memory.db"), embedder="none") as mem:
        register(mem, folder)
        for chain in range(CHAINS):
            ask(mem, chain, 0)
    died: dict[int, float] = {}
    workers = [_fork(folder) for _ in range(processes)]
    while len(died) < kills:
        _wait(folder, 12)
        time.sleep(rng.random() * 0.2)
        chosen = list(workers) if rng.random() < 0.1 else [rng.choice(workers)]  # now and then nobody is left
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        for pid in chosen:
            os.waitpid(pid, 0)
            died[pid] = time.time()
            workers.remove(pid)
        workers += [_fork(folder) for _ in chosen]
    time.sleep(0.5)
    with open(os.path.join(folder, "stop"), "w"):
        pass
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        died[pid] = time.time()
    problems = []
    if os.path.exists(crashes := os.path.join(folder, "crashes")):
        with open(crashes) as file:
            problems.append(f"a worker ended by itself: {file.read()[-1500:]}")
    with mnemos.open(os.path.join(folder, "memory.db"), embedder="none") as mem:
        register(mem, folder)
        with mem.jobs.work(threads=THREADS):
            end = time.monotonic() + 60
            while mem.jobs.counts()["waiting"] + mem.jobs.counts()["running"] and time.monotonic() < end:
                time.sleep(0.05)
        counts = mem.jobs.counts()
        if counts["waiting"] or counts["running"] or counts["dead"] or counts["cancelled"]:
            problems.append(f"jobs that should be done are not: {counts}")
        links: dict[int, set[int]] = {chain: set() for chain in range(CHAINS)}
        cursor = None
        while True:
            page = mem.space("chains").list(limit=1000, cursor=cursor)
            for cube in page:
                _, number, _, _, chain = cube.text.split()
                links[int(chain)].add(int(number))
            if (cursor := page.cursor) is None:
                break
        for chain, numbers in links.items():
            if numbers != set(range(len(numbers))):
                problems.append(f"chain {chain}: of {max(numbers, default=0) + 1} links {len(numbers)} are there")
            if not numbers:
                problems.append(f"chain {chain} was never begun")
        problems += [f"verify: {f.file}: {f.place}: {f.problem}" for f in mem.verify().findings]
    overlapping, begun, taken_over = _overlaps(folder, died)
    return {
        "kills": len(died), "links": sum(map(len, links.values())), "begun": begun, "taken_over": taken_over, "problems": [*problems, *overlapping]
    }  # fmt: skip


def _overlaps(folder: str, died: dict[int, float]) -> tuple[list[str], int, int]:
    """(where two workers had the same job while the lease of the first one lasted, how many jobs were begun, how many after another's death)."""
    held: dict[int, dict[str, Any]] = {}
    out, begun, taken_over = [], 0, 0
    with open(os.path.join(folder, "notes"), "rb") as file:
        notes = [json.loads(line) for line in file if line.endswith(b"\n")]
    for note in sorted(notes, key=lambda note: note["at"]):
        before = held.get(note["job"])
        if note["does"] == "ends":
            if before is not None and before["worker"] == note["worker"]:
                del held[note["job"]]
            continue
        begun += 1
        if before is not None:
            dead = died.get(before["pid"], float("inf")) <= note["at"] + 0.005
            if not dead and note["at"] < before["at"] + LEASE:
                out.append(f"job {note['job']}: {note['worker']} began while {before['worker']} had it for {note['at'] - before['at']:.3f} s")
            taken_over += dead
        held[note["job"]] = note
    return out, begun, taken_over


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = main(given.kills, given.seed, given.folder or temporary)
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["problems"]))
