"""A fault at every call that changes a file, of every operation: a typed error, what was acknowledged intact, the next write works.

With --sealed on sealed stores: then the calls are also those that write the key file, and keys are renewed and changed, too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import apsw
from torture_act import act, check, differences
from torture_model import Model, Op, some_id, text_of
from torture_vfs import KINDS, Disk, count_key_file, failing_disk

import mnemos
from mnemos import errors
from mnemos.store import schema
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_open import checksum_vfs

OPEN: dict[str, Any] = {"embedder": "hashed"}
KEY = bytes(range(32))


@dataclass
class Script:
    """An operation under test: in which of the prepared stores, which of the model's operations it is, and how it is done."""

    name: str
    store: str
    op: Op | None
    do: Callable[[Any, Op | None], Any]
    while_opening: bool = False
    unsealed: bool = False


MOST_MISSED = 0.02
"""Share of the faults that may have no place."""


@dataclass
class Outcome:
    runs: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    raised: Counter[str] = field(default_factory=Counter)
    absorbed: int = 0
    kept: int = 0
    missed: int = 0
    """Runs that made fewer calls than the undisturbed one, so that the fault had no place: salts are random, and with them where pages fall."""
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        if self.missed > MOST_MISSED * self.runs:
            self.problems.append(f"{self.missed} of {self.runs} faults had no place: the runs do not repeat the undisturbed ones")
        return {
            "runs": self.runs,
            "faults_without_a_place": self.missed,
            "calls_that_change_files": self.calls,
            "raised": dict(self.raised),
            "absorbed_without_an_error": self.absorbed,
            "raised_though_whole": self.kept,
            "problems": self.problems[:50],
        }


def _ids(count: int) -> list[str]:
    rng = random.Random(7)
    return [some_id(rng) for _ in range(count)]


ID = _ids(400)


def prepared(folder: str) -> dict[str, Model]:
    """Stores to start from, each in a folder of its own under `folder`, and their models."""
    models = {name: Model() for name in ("none", "small", "large", "killed", "unerased", "unsealed")}
    for name in models:
        os.mkdir(os.path.join(folder, name))
    small: list[Op] = [
        ["many", "a", [[ID[i], i + 1] for i in range(12)]],
        ["add", "b", ID[20], 21, []],
        ["add", "a", ID[21], 22, [ID[0]]],
        ["update", "a", ID[1], 31],
        ["freeze", "a", ID[2]],
        ["forget", "a", [ID[3]]],
    ]
    large: list[Op] = [*small, ["many", "a", [[ID[i], 1000 + i] for i in range(40, 240)]], ["forget", "a", ID[60:120]]]
    for name, ops in (("small", small), ("large", large), ("unerased", [*small, ["forget", "a", [ID[4], ID[5]]]]), ("unsealed", small)):
        with mnemos.open(os.path.join(folder, name, "memory.db"), **_options(name == "unsealed")) as mem:
            for op in ops:
                last = name == "unerased" and op is ops[-1]
                with _unfinished() if last else _nothing():
                    act(mem, op)
                models[name].apply(op)
    path = os.path.join(folder, "killed", "memory.db")
    if (pid := os.fork()) == 0:
        mem = mnemos.open(path, **OPEN)
        for op in small:
            act(mem, op)
        act(mem, ["add", "a", ID[22], 23, []])
        os._exit(0)  # nothing is closed
    os.waitpid(pid, 0)
    for op in [*small, ["add", "a", ID[22], 23, []]]:
        models["killed"].apply(op)
    return models


def _options(unsealed: bool) -> dict[str, Any]:
    return {name: value for name, value in OPEN.items() if name != "key" or not unsealed}


def _key_of(path: str) -> bytes | None:
    """The key that opens the store as it lies there."""
    connection = apsw.Connection(path, vfs=checksum_vfs())
    try:
        return KEY if schema.is_sealed(connection) else None
    finally:
        connection.close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _unfinished() -> Iterator[None]:
    """As if killed after the commit of a forget: its traces are not erased, its keys not destroyed."""
    with mock.patch.object(SqliteStore, "erase"), mock.patch.object(SqliteStore, "_shred"):
        yield


def _do(mem: Any, op: Op | None) -> None:
    assert op is not None
    act(mem, op)


def _checkpointed(mem: Any, op: Op | None) -> None:
    """With SQLite's own checkpoint in every commit."""
    mem.store._db.execute("PRAGMA wal_autocheckpoint=1")
    _do(mem, op)


def _rebuilt(mem: Any, op: Op | None) -> None:
    """With a rebuild of the file, as after a predecessor that was killed."""
    mem.store._erasing.left.add(10**9)
    _do(mem, op)


def _pipeline(mem: Any, op: Op | None) -> None:
    """The same as a transaction, declared."""
    assert op is not None
    steps: list[dict[str, Any]] = []
    for kind, space, *rest in op[1]:
        if kind == "add":
            steps.append({"step": "add", "space": space, "id": rest[0], "text": text_of(rest[1])})
        elif kind == "update":
            steps.append({"step": "update", "space": space, "cube": rest[0], "text": text_of(rest[1])})
        else:
            steps.append({"step": kind, "space": space, "cubes": rest[0]})
    mem.pipeline(steps).run()


def _inner(mem: Any, op: Op | None) -> None:
    """With the caller swallowing an error in the middle of a transaction and going on: then nothing of it may be kept."""
    assert op is not None
    with mem.transaction():
        for inner in op[1]:
            try:
                act(mem, inner)
            except errors.MnemosError:
                for later in op[1]:
                    try:
                        act(mem, later)
                    except errors.MnemosError:
                        pass
                raise


def scripts() -> list[Script]:
    transaction: Op = ["all", [["add", "a", ID[30], 50, []], ["add", "c", ID[31], 51, []], ["update", "a", ID[6], 52], ["freeze", "a", ID[7]]], None]
    forget: Op = ["forget", "a", [ID[0], ID[1]]]
    nothing = lambda mem, op: None  # noqa: E731
    return [
        Script("open new", "none", None, nothing, while_opening=True),
        Script("open", "small", None, nothing, while_opening=True),
        Script("open after a kill", "killed", None, nothing, while_opening=True),
        Script("open after a killed forget", "unerased", None, nothing, while_opening=True),
        Script("add", "small", ["add", "a", ID[30], 50, []], _do),
        Script("add a document", "small", ["add", "a", ID[30], 55, []], _do),
        Script("add with checkpoint", "small", ["add", "a", ID[30], 50, []], _checkpointed),
        Script("first add to a space", "small", ["add", "new", ID[30], 50, []], _do),
        Script("add many", "small", ["many", "a", [[ID[i], i] for i in range(300, 360)]], _do),
        Script("update", "small", ["update", "a", ID[6], 52], _do),
        Script("rollback", "small", ["rollback", "a", ID[1], 1], _do),
        Script("freeze", "small", ["freeze", "a", ID[6]], _do),
        Script("transaction", "small", transaction, _do),
        Script("transaction, errors swallowed", "small", transaction, _inner),
        Script("pipeline", "small", transaction, _pipeline),
        Script("forget", "small", forget, _do),
        Script("forget with rebuild", "small", forget, _rebuilt),
        Script("forget many", "large", ["forget", "a", ID[120:200]], _do),
        Script("compact", "large", ["compact"], _do),
        Script("close", "small", ["add", "a", ID[30], 50, []], lambda mem, op: (_do(mem, op), mem.close())),
        *([Script("renew keys", "small", None, lambda mem, op: mem.rotate_keys())] if "key" in OPEN else []),
        *([Script("seal", "unsealed", None, lambda mem, op: mem.seal(KEY), unsealed=True)] if "key" in OPEN else []),
        *([Script("change the key to itself", "small", None, lambda mem, op: mem.change_key(KEY))] if "key" in OPEN else []),
    ]


def main(folder: str, *, seed: int = 1, sample: int | None = None, only: Sequence[str] = ()) -> Outcome:
    """Every fault at every call of every script, or at `sample` calls that the seed chooses."""
    outcome = Outcome()
    name, disk, keep = failing_disk()
    if "key" in OPEN:
        count_key_file(disk)
    models = prepared(folder)
    rng = random.Random(seed)
    for script in scripts():
        if only and script.name not in only:
            continue
        calls = _calls(folder, script, name, disk)
        outcome.calls[script.name] = len(calls)
        for kind in KINDS:
            # The power may also go right after the operation was acknowledged: then all of it must be there.
            numbers = range(1, len(calls) + 1 + (kind == "power"))
            for number in numbers if sample is None else sorted(rng.sample(numbers, min(sample, len(numbers)))):
                problems = _run(folder, script, models[script.store], name, disk, kind, number, outcome)
                where = f"{script.name}, {kind} at call {number} ({[*calls, 'the end'][number - 1]})"
                outcome.problems += [f"{where}: {problem}" for problem in problems]
    del keep
    return outcome


def _fresh(folder: str, script: Script) -> str:
    place = tempfile.mkdtemp(dir=folder)
    source = os.path.join(folder, script.store)
    for file in os.listdir(source):
        if not file.endswith("-shm"):
            shutil.copyfile(os.path.join(source, file), os.path.join(place, file))
    return os.path.join(place, "memory.db")


def _calls(folder: str, script: Script, vfs: str, disk: Disk) -> list[str]:
    """The calls that change files in an undisturbed run."""
    path = _fresh(folder, script)
    disk.count()
    mem = mnemos.open(path, vfs=vfs, **_options(script.unsealed))
    if not script.while_opening:
        disk.count()
    script.do(mem, script.op)
    calls = list(disk.calls)
    mem.close()
    return calls


def _run(folder: str, script: Script, model: Model, vfs: str, disk: Disk, kind: str, number: int, outcome: Outcome) -> list[str]:
    outcome.runs += 1
    path = _fresh(folder, script)
    whole = model.part(list(model.spaces))
    if script.op is not None:
        whole.apply(script.op)
    problems: list[str] = []
    error: BaseException | None = None
    if "kill" in kind or "power" in kind:
        out, into = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                _, error = _attempt(path, script, vfs, disk, kind, number)
                if "power" in kind and error is None:
                    os.write(into, b"acknowledged")
                    disk.lose_power()
            finally:
                os._exit(0)
        os.close(into)
        acknowledged = os.read(out, 100)
        os.close(out)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            outcome.missed += 1
            return []
        outcome.raised["killed" if "kill" in kind else "powerless"] += 1
        possible = [whole] if acknowledged else [model, whole]
    else:
        mem, error = _attempt(path, script, vfs, disk, kind, number)
        happened = disk.happened
        disk.count()
        if not happened:
            outcome.missed += 1
        if error is None:
            outcome.absorbed += 1
        else:
            outcome.raised[type(error).__name__] += 1
            if not isinstance(error, errors.MnemosError):
                problems.append("not a typed error: " + "".join(traceback.format_exception(error))[-1500:])
        possible = [whole] if error is None else [model, whole]
        after: Op = ["add", "after", ID[399], 999, []]
        if mem is not None:
            try:
                if not mem.store._closed:
                    found = [differences(mem, candidate) for candidate in possible]
                    if all(found):
                        problems += [f"in the same store: {difference}" for difference in min(found, key=len)]
                    act(mem, after)
                    possible = [candidate.part(list(candidate.spaces)) for candidate in possible]
                    for candidate in possible:
                        candidate.apply(after)
                    report = mem.verify()
                    problems += [f"verify in the same store: {f.file}: {f.place}: {f.problem}" for f in report.findings]
                mem.close()
            except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
                problems.append("the store did not go on: " + traceback.format_exc()[-1500:])
    try:
        found_model, found, _ = check(path, possible, random.Random(number), key=_key_of(path))
        problems += found
        outcome.kept += error is not None and len(possible) > 1 and script.op is not None and found_model is possible[1]
        with mnemos.open(path, **OPEN | {"key": _key_of(path)}) as mem:
            mem.space("last").add("the next write works")
    except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
        problems.append("the next open failed: " + traceback.format_exc()[-1500:])
    if not problems:
        shutil.rmtree(os.path.dirname(path))
    return problems


def _attempt(path: str, script: Script, vfs: str, disk: Disk, kind: str, number: int) -> tuple[Any, BaseException | None]:
    """Do the script with the fault: (the store where it opened, what was raised)."""
    mem = None
    disk.unsynced.clear()
    try:
        if script.while_opening:
            disk.fail(kind, number)
            mem = mnemos.open(path, vfs=vfs, **OPEN)
        else:
            disk.count()
            mem = mnemos.open(path, vfs=vfs, **_options(script.unsealed))
            disk.fail(kind, number)
            script.do(mem, script.op)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
        return mem, error
    return mem, None


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sample", type=int, nargs="?", help="calls of each script and kind of fault; without it, all")
    parser.add_argument("--only", action="append", default=[], help="one script, by its name; repeat for more")
    parser.add_argument("--sealed", action="store_true", help="on sealed stores")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.sealed:
        OPEN["key"] = KEY
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as temporary:
        result = main(temporary, sample=given.sample, only=given.only, seed=given.seed)
    print(json.dumps(result.as_json(), indent=1))
    sys.exit(bool(result.problems))
