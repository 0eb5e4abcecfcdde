"""One flipped bit in a file of a store: found and named, or provably without effect; never a crash, never a wrong answer in silence."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torture_act import act, differences, wrong_answers
from torture_model import Model, Op, files_of, some_id

import mnemos
from mnemos import errors

OPEN: dict[str, Any] = {"embedder": "hashed"}


@dataclass
class Outcome:
    """`named`: found, with the name of the file. `discarded`: the bit lay in bytes that nobody reads any more (the shared index of a killed
    process; its log, where that had reached the main file; a page of the main file of which the log holds a newer one), and every answer is
    what it was."""

    flips: int = 0
    named: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "flips": self.flips,
            "found_and_named": dict(self.named),
            "without_effect": dict(self.discarded),
            "how": dict(self.how),
            "problems": self.problems[:50],
        }


def prepared(folder: str) -> dict[str, Model]:
    """A store that was closed and one whose process was killed; each with a free page, versions, lineage and a blob."""
    rng = random.Random(3)
    ids = [some_id(rng) for _ in range(200)]
    ops: list[Op] = [
        ["many", "a", [[ids[i], i + 1] for i in range(150)]],
        ["add", "b", ids[160], 400, []],
        ["add", "a", ids[161], 401, [ids[1]]],
        ["update", "a", ids[3], 402],
        ["forget", "a", ids[60:130]],
    ]
    models = {}
    for name in ("closed", "killed"):
        path = os.path.join(folder, name, "memory.db")
        os.mkdir(os.path.dirname(path))
        model = models[name] = Model()
        for op in ops:
            model.apply(op)
        last: Op = ["add", "b", ids[162], 403, []]
        model.apply(last)
        if (pid := os.fork()) == 0:
            mem = mnemos.open(path, **OPEN)
            for op in ops:
                act(mem, op)
            _blob(mem)
            act(mem, last)
            if name == "closed":
                mem.close()
            os._exit(0)
        os.waitpid(pid, 0)
        if name == "closed":
            with mnemos.open(path, **OPEN) as mem:
                assert mem.store._db.pragma("freelist_count") > 0
    return models


def _blob(mem: Any) -> None:
    """A cube with a large payload of its own, written through the store."""
    from mnemos.base.cube import Content
    from mnemos.store.base import NewVersion

    name = mem.store.blobs.put(bytes(range(256)) * 20)
    space = mem.space("c")
    with mem.writing() as transaction:
        transaction.add(space.num, [NewVersion(Content(id=mem.new_id(), version=1, created_at=1, kind="kv", blob=name, text=None))])


def places(file: Path, rng: random.Random, sample: int) -> list[int]:
    """Bits of the file to flip: all of a small file, else every byte of its header (one bit of each) and a sample of the rest."""
    size = file.stat().st_size
    if size <= 64:
        return list(range(8 * size))
    head = [8 * byte + rng.randrange(8) for byte in range(min(size, 128))]
    return [*head, *(rng.randrange(8 * size) for _ in range(sample))]


def main(folder: str, *, sample: int = 25, heads: bool = True, seed: int = 1) -> Outcome:
    outcome = Outcome()
    rng = random.Random(seed)
    for name, model in prepared(folder).items():
        source = os.path.join(folder, name)
        for file in files_of(os.path.join(source, "memory.db")):
            bits = places(file, rng, sample)
            for bit in bits if heads else rng.sample(bits, min(len(bits), sample)):
                place = tempfile.mkdtemp(dir=folder)
                shutil.copytree(source, place, dirs_exist_ok=True)
                target = Path(place) / file.relative_to(source)
                _flip(target, bit)
                problem = _look(os.path.join(place, "memory.db"), target, model, name == "killed", outcome, random.Random(bit))
                if problem:
                    outcome.problems.append(f"{name}, bit {bit % 8} of byte {bit // 8} of {target}: {problem}")
                else:
                    shutil.rmtree(place)
    return outcome


def _flip(file: Path, bit: int) -> None:
    with open(file, "r+b") as handle:
        handle.seek(bit // 8)
        byte = handle.read(1)[0]
        handle.seek(bit // 8)
        handle.write(bytes([byte ^ 1 << bit % 8]))


def _look(path: str, flipped: Path, model: Model, rewritten: bool, outcome: Outcome, rng: random.Random) -> str | None:
    """Open, read everything, search, verify: what is wrong with the answers, or None. `rewritten`: opening puts newer pages over the file's."""
    outcome.flips += 1
    kind = flipped.name.replace("memory.db", "main") if "blobs" not in str(flipped) else "blob"
    try:
        mem = mnemos.open(path, **OPEN)
    except errors.MnemosError as error:
        if not isinstance(error, errors.Corrupt | errors.FingerprintMismatch):
            return f"opening raises {error!r}"
        return _named(str(error), path, kind, f"open raises {type(error).__name__}", outcome)
    except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
        return "opening crashes: " + traceback.format_exc()[-1200:]
    with mem:
        refused = None
        try:
            wrong = differences(mem, model) + wrong_answers(mem, model, rng)
        except errors.Corrupt as error:
            refused, wrong = error, []
        except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
            return "reading crashes: " + traceback.format_exc()[-1200:]
        if wrong:
            return f"wrong answers in silence: {wrong[:3]}"
        try:
            report = mem.verify()
        except Exception:  # noqa: BLE001  (whatever it is, it is a finding)
            return "verify crashes: " + traceback.format_exc()[-1200:]
    if report.findings:
        return _named(" ".join(f.file for f in report.findings), str(flipped), kind, "verify names it", outcome)
    if refused is not None:
        return f"reading raises {refused!r}, but verify finds nothing"
    if kind in ("main-wal", "main-shm") or (kind == "main" and rewritten):
        outcome.discarded[kind] += 1
        return None
    return "nobody found it"


def _named(said: str, name: str, kind: str, how: str, outcome: Outcome) -> str | None:
    if name not in said:
        return f"found, but the file is not named: {said}"
    outcome.named[kind] += 1
    outcome.how[f"{kind}: {how}"] += 1
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sample", type=int, nargs="?", default=400, help="bits of each file beside its header")
    parser.add_argument("--quick", action="store_true", help="no more than the sample, headers included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sealed", action="store_true", help="in sealed stores")
    given = parser.parse_args()
    if given.sealed:
        OPEN["key"] = bytes(range(32))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as temporary:
        result = main(temporary, sample=given.sample, heads=not given.quick, seed=given.seed)
    print(json.dumps(result.as_json(), indent=1))
    sys.exit(bool(result.problems))
