"""kill -9 at random moments. A process that has everything imported, and no thread, forks one life after another.

A life writes what it is about to do, does it, and writes that it was done. The parent ends it with SIGKILL at a random moment, forks a
checker that opens the store, and compares: what was acknowledged is there; what was not is there wholly or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NoReturn

from torture_act import act, check
from torture_model import Model, Op, Traces, next_op

import mnemos

CYCLES_PER_STORE = 20
OPEN: dict[str, Any] = {"embedder": "hashed"}
MEAN_LIFE = 0.03
"""Seconds between the opening and the kill, on average (exponential)."""
ON_DISK = 0.25
"""Share of the stores that lie in the given folder; the others lie in memory."""
LONGEST_OPEN = 2.0
SAY = 500
"""Cycles after which a line of progress is printed."""
HANG = 120.0


@dataclass
class Life:
    """One forked process, what it reads from it, and the spaces that its threads write."""

    pid: int
    pipe: int
    spaces: list[list[str]]
    data: bytes = b""


@dataclass
class Outcome:
    """What the cycles showed."""

    cycles: int = 0
    killed: int = 0
    pending: int = 0
    acknowledged: int = 0
    during: dict[str, int] = field(default_factory=dict)
    open_seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count in what another process saw."""
        for name in ("cycles", "killed", "pending", "acknowledged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.during = dict(Counter(self.during) + Counter(other.during))
        self.open_seconds += other.open_seconds
        self.problems += other.problems

    def as_json(self) -> dict[str, Any]:
        seconds = self.open_seconds or [0.0]
        return {
            "cycles": self.cycles,
            "killed": self.killed,
            "acknowledged": self.acknowledged,
            "killed_in_an_operation": self.pending,
            "killed_during": dict(sorted(self.during.items())),
            "open_ms_median": round(1000 * statistics.median(seconds), 1),
            "open_ms_max": round(1000 * max(seconds), 1),
            "problems": self.problems[:50],
        }


def main(cycles: int, seed: int, folder: str) -> Outcome:
    """Run `cycles` cycles, or until there are problems enough."""
    outcome, said = Outcome(), 0
    _warm(folder)
    rng = random.Random(seed)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else folder
    while outcome.cycles < cycles and len(outcome.problems) < 5:
        # What a killed process wrote is in the page cache, disk or not; in memory more of a life is work, on a disk more of it is waiting.
        place = tempfile.mkdtemp(dir=folder if rng.random() < ON_DISK else memory, prefix="mnemos-torture-")
        model = Model()
        for _ in range(min(CYCLES_PER_STORE, cycles - outcome.cycles)):
            cycle_seed = rng.getrandbits(48)
            before = len(outcome.problems)
            model = _cycle(os.path.join(place, "memory.db"), model, cycle_seed, outcome)
            if len(outcome.problems) > before:
                outcome.problems[before:] = [f"[cycle seed {cycle_seed}, {place}] {problem}" for problem in outcome.problems[before:]]
                print(*outcome.problems[before:], sep="\n", file=sys.stderr, flush=True)
                break
        else:
            shutil.rmtree(place)
        if outcome.cycles // SAY > said:
            said = outcome.cycles // SAY
            worst = 1000 * max(outcome.open_seconds, default=0)
            print(f"seed {seed}: {outcome.cycles} cycles, {len(outcome.problems)} problems, longest open {worst:.0f} ms", file=sys.stderr, flush=True)
    return outcome


def side_by_side(jobs: int, cycles: int, seed: int, folder: str) -> Outcome:
    """`cycles` cycles shared among `jobs` processes, whose seeds follow each other; what all of them saw together."""
    whole = Outcome()
    command = [sys.executable, os.path.abspath(__file__), "--jobs", "1", "--folder", folder, "--pickled", *(["--sealed"] if "key" in OPEN else [])]
    running = []
    for job in range(jobs):
        share = cycles // jobs + (job < cycles % jobs)
        running.append(subprocess.Popen([*command, "--cycles", str(share), "--seed", str(seed + job)], stdout=subprocess.PIPE))
    for process in running:
        said, _ = process.communicate()
        if process.returncode not in (0, 1) or not said:
            whole.problems.append(f"a job ended with {process.returncode}")
        else:
            whole.add(pickle.loads(said))
    return whole


def _warm(folder: str) -> None:
    """Import and make everything that the lives need; leave nothing open."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        rng = random.Random(0)
        model = Model()
        with mnemos.open(os.path.join(place, "memory.db"), **OPEN) as mem:
            for _ in range(40):
                op = next_op(rng, model, ["a"])
                if op[0] != "reopen":
                    act(mem, op)
                    model.apply(op)
        check(os.path.join(place, "memory.db"), [model], rng, key=OPEN.get("key"))
    if threading.active_count() > 1:
        raise RuntimeError("a thread is alive: forking would not be safe")


def _cycle(path: str, model: Model, seed: int, outcome: Outcome) -> Model:
    """Two processes at most, each of up to three threads with spaces of its own; all killed. Gives what the store holds then."""
    rng = random.Random(seed)
    lives = [_begin(path, model, rng, number) for number in range(2 if rng.random() < 0.15 else 1)]
    if rng.random() < 0.8:
        for life in lives:
            _read_until_open(life)
        time.sleep(min(rng.expovariate(1 / MEAN_LIFE), 0.3))
    else:
        time.sleep(rng.uniform(0, 0.02))
    for life in lives:
        os.kill(life.pid, signal.SIGKILL)
        if life is not lives[-1]:
            time.sleep(rng.uniform(0, 0.02))
    possible: list[list[Model]] = []
    for life in lives:
        while chunk := os.read(life.pipe, 65536):
            life.data += chunk
        os.close(life.pipe)
        _, status = os.waitpid(life.pid, 0)
        outcome.killed += os.WIFSIGNALED(status)
        possible += _outcomes(life, model, outcome)
    outcome.cycles += 1
    forgotten = set[int]().union(*(choices[0].forgotten_numbers() for choices in possible)) | model.forgotten_numbers()
    outcome.problems += [f"before the next open: {trace}" for trace in Traces(forgotten, set()).found(path)]
    result = _checked(path, model, possible, seed, outcome)
    return result if result is not None else model


def _begin(path: str, model: Model, rng: random.Random, number: int) -> Life:
    threads = rng.choice([1, 1, 2, 3])
    spaces = [[f"p{number} t{thread} {letter}" for letter in "ab"] for thread in range(threads)]
    seed = rng.getrandbits(48)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        _live(path, model, spaces, seed, into)
    os.close(into)
    return Life(pid, out, spaces)


def _live(path: str, model: Model, spaces: list[list[str]], seed: int, pipe: int) -> NoReturn:
    """Work until killed. Every line is one write, so that threads never mix."""

    def say(*what: Any) -> None:
        line = json.dumps(what).encode() + b"\n"
        assert len(line) <= select.PIPE_BUF
        os.write(pipe, line)

    held = {"mem": mnemos.open(path, **OPEN)}
    say("open")

    def work(thread: int) -> None:
        try:
            rng = random.Random(seed + thread)
            mine = model.part(spaces[thread])
            for _ in range(300):
                op = next_op(rng, mine, spaces[thread])
                if op[0] in ("reopen",) and len(spaces) > 1:
                    continue
                say("begin", thread, op)
                if op[0] == "reopen":
                    held["mem"].close()
                    held["mem"] = mnemos.open(path, **OPEN)
                    position = 0
                else:
                    if op[0] == "compact" and "key" in OPEN:
                        held["mem"].rotate_keys()
                    position = act(held["mem"], op)
                say("done", thread, position)
                mine.apply(op)
        except BaseException:  # noqa: BLE001  (whatever it is, it is a finding)
            say("failed", thread, traceback.format_exc()[-1500:])

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(len(spaces))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    held["mem"].close()
    os._exit(0)


def _read_until_open(life: Life) -> None:
    while b"\n" not in life.data:
        ready, _, _ = select.select([life.pipe], [], [], HANG)
        chunk = os.read(life.pipe, 65536) if ready else b""
        if not chunk:
            return
        life.data += chunk


def _outcomes(life: Life, model: Model, outcome: Outcome) -> list[list[Model]]:
    """For each thread of a life: the models that its spaces may hold now, that of the acknowledged operations first."""
    begun: dict[int, Op] = {}
    models = [model.part(spaces) for spaces in life.spaces]
    for line in life.data.split(b"\n")[:-1]:
        what, *rest = json.loads(line)
        if what == "begin":
            begun[rest[0]] = rest[1]
        elif what == "done":
            models[rest[0]].apply(begun.pop(rest[0]))
            outcome.acknowledged += 1
        elif what == "failed":
            outcome.problems.append(f"an operation failed: {begun.get(rest[0])}: {rest[1]}")
            begun.pop(rest[0], None)
    out = []
    for thread, acknowledged in enumerate(models):
        choices = [acknowledged]
        if thread in begun:
            outcome.pending += 1
            outcome.during[begun[thread][0]] = outcome.during.get(begun[thread][0], 0) + 1
            whole = acknowledged.part(life.spaces[thread])
            whole.apply(begun[thread])
            choices.append(whole)
        out.append(choices)
    return out


def _checked(path: str, model: Model, possible: list[list[Model]], seed: int, outcome: Outcome) -> Model | None:
    """Check in a process of its own: a crash or a hang of the checker is a finding."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        try:
            candidates = []
            for choice in product(*possible):
                candidate = model.part(list(model.spaces))
                for part in choice:
                    candidate.merge(part)
                candidates.append(candidate)
            result: Any = check(path, candidates, random.Random(seed), key=OPEN.get("key"))
        except BaseException:  # noqa: BLE001  (whatever it is, it is a finding)
            result = (None, [traceback.format_exc()[-1500:]], 0.0)
        with os.fdopen(into, "wb") as file:
            pickle.dump(result, file)
        os._exit(0)
    os.close(into)
    data, deadline = b"", time.monotonic() + HANG
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(out, 1 << 20)
        if not chunk:
            break
        data += chunk
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(out)
    os.waitpid(pid, 0)
    if not data:
        outcome.problems.append("the check crashed, or hung")
        return None
    found, problems, seconds = pickle.loads(data)
    outcome.open_seconds.append(seconds)
    outcome.problems += problems
    if seconds > LONGEST_OPEN:
        outcome.problems.append(f"opening took {seconds:.2f} s")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes among which the cycles are shared")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder")
    parser.add_argument("--sealed", action="store_true", help="on sealed stores, whose keys are also renewed")
    parser.add_argument("--pickled", action="store_true", help="for the process that shares the cycles out: the outcome itself on stdout")
    given = parser.parse_args()
    if given.sealed:
        OPEN["key"] = bytes(range(32))
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or temporary
        alone = given.jobs == 1
        outcome = main(given.cycles, given.seed, folder) if alone else side_by_side(given.jobs, given.cycles, given.seed, folder)
    if given.pickled:
        sys.stdout.buffer.write(pickle.dumps(outcome))
    else:
        print(json.dumps(outcome.as_json(), indent=1))
    sys.exit(bool(outcome.problems))
