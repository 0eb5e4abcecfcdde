"""What a store must hold after the operations that it acknowledged: a plain model, made without anything of Mnemos.

Texts are made of words that occur nowhere else (36 letters, so that eight of them never meet by chance), which lets a test look for any
piece of a forgotten text in the raw bytes of the files.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

WINDOW = 8
STEPS = {
    "archive": ("generated", "activated"), "restore": ("archived",), "quarantine": ("generated", "activated", "archived"),
    "release": ("quarantined",),
}  # fmt: skip
"""Steps in a life, and the states that they lead from."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_RUNS = re.compile(rb"[a-z0-9]{8,}")
_BEYOND_HEX = re.compile(rb"[g-z]")

Op = list[Any]


def word(number: int, place: int) -> str:
    """The word at a place of the text `number`: 24 letters that stand nowhere else."""
    digest = hashlib.blake2b(f"{number} {place}".encode(), digest_size=24).digest()
    return "".join(_LETTERS[byte % 36] for byte in digest)


@functools.lru_cache(4096)
def text_of(number: int) -> str:
    """The text with this number; each eleventh is so long that it becomes a document in parts."""
    words = 120 if number % 11 == 0 else 3 + number % 5
    return ". ".join(word(number, place) for place in range(words))


@dataclass
class Cube:
    """A cube: the numbers of its versions' texts, oldest first, and where it stands."""

    versions: list[int]
    frozen: bool = False
    sources: list[str] = field(default_factory=list)
    state: str = "generated"
    before: str = ""
    """The state that release leads back to."""
    stale: bool = False
    readers: list[str] | None = None

    @property
    def visible(self) -> bool:
        return self.state in ("generated", "activated")


@dataclass
class Model:
    """Spaces of cubes by id, and what was forgotten: ids with the numbers of their texts."""

    spaces: dict[str, dict[str, Cube]] = field(default_factory=dict)
    forgotten: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def part(self, spaces: list[str]) -> Model:
        """A copy of the model of some spaces."""
        return copy.deepcopy(
            Model({s: self.spaces.get(s, {}) for s in spaces}, {s: self.forgotten.get(s, {}) for s in spaces}),
        )

    def merge(self, other: Model) -> None:
        self.spaces.update(other.spaces)
        self.forgotten.update(other.forgotten)

    def apply(self, op: Op) -> None:
        """Do what the operation does, wholly."""
        kind, *rest = op
        if kind == "all":
            for inner in rest[0]:
                self.apply(inner)
            return
        if kind in ("reopen", "compact"):
            return
        space, *given = rest
        cubes = self.spaces.setdefault(space, {})
        if kind == "add":
            cubes[given[0]] = Cube([given[1]], sources=list(given[2]), stale=any(cubes[source].stale for source in given[2]))
        elif kind == "many":
            cubes.update({id: Cube([number]) for id, number in given[0]})
        elif kind in ("update", "rollback"):
            cube = cubes[given[0]]
            cube.versions.append(given[1] if kind == "update" else cube.versions[given[1] - 1])
            for id in self.family(space, [given[0]]):
                cubes[id].stale = id != given[0]
            if cube.state == "archived":
                cube.state = "activated"
        elif kind in STEPS:
            cube = cubes[given[0]]
            if kind == "quarantine":
                cube.before = cube.state
            cube.state = {"archive": "archived", "restore": "activated", "quarantine": "quarantined", "release": cube.before}[kind]
        elif kind == "rules":
            cubes[given[0]].readers = given[1]
        elif kind in ("freeze", "unfreeze"):
            cubes[given[0]].frozen = kind == "freeze"
        elif kind == "forget":
            for id in self.family(space, given[0]):
                self.forgotten.setdefault(space, {})[id] = cubes.pop(id).versions
        else:
            raise AssertionError(op)

    def family(self, space: str, ids: list[str]) -> list[str]:
        """`ids` and what was derived from them (the model derives inside a space only)."""
        out = dict.fromkeys(ids)
        while True:
            more = [id for id, cube in self.spaces[space].items() if id not in out and any(s in out for s in cube.sources)]
            if not more:
                return list(out)
            out.update(dict.fromkeys(more))

    def living_numbers(self) -> set[int]:
        return {number for cubes in self.spaces.values() for cube in cubes.values() for number in cube.versions}

    def forgotten_numbers(self) -> set[int]:
        return {number for cubes in self.forgotten.values() for numbers in cubes.values() for number in numbers}


def some_id(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def next_op(rng: random.Random, model: Model, spaces: list[str], depth: int = 0) -> Op:
    """An operation that is possible in `model`."""
    space = rng.choice(spaces)
    cubes = model.spaces.get(space, {})
    free = [id for id, cube in cubes.items() if not cube.frozen]
    kind = rng.choices(
        ["add", "many", "update", "rollback", "freeze", "unfreeze", "forget", "all", "reopen", "compact", "step", "rules"],
        [30, 10, 14, 6, 5, 5, 12, 10 if depth < 2 else 0, 3 if not depth else 0, 2 if not depth else 0, 12, 4],
    )[0]
    if kind == "all":
        return _transaction(rng, model, spaces, depth)
    if kind in ("reopen", "compact"):
        return [kind]
    if kind == "many":
        return ["many", space, [[some_id(rng), rng.getrandbits(40)] for _ in range(rng.randint(2, 9))]]
    if kind in ("update", "rollback") and free:
        id = rng.choice(free)
        if kind == "update":
            return ["update", space, id, rng.getrandbits(40)]
        return ["rollback", space, id, rng.randint(1, len(cubes[id].versions))]
    if kind == "step" and free:
        id = rng.choice(free)
        return [rng.choice([step for step, states in STEPS.items() if cubes[id].state in states]), space, id]
    if kind == "rules" and cubes:
        return [kind, space, rng.choice(list(cubes)), rng.choice([None, [], ["bob"], ["bob", "carol"]])]
    if kind in ("freeze", "unfreeze") and cubes:
        return [kind, space, rng.choice(list(cubes))]
    if kind == "forget" and free:
        ids = rng.sample(free, min(len(free), rng.randint(1, 3)))
        if not any(cubes[id].frozen for id in model.family(space, ids)):
            return ["forget", space, ids]
    sources = [rng.choice(list(cubes))] if cubes and rng.random() < 0.2 else []
    return ["add", space, some_id(rng), rng.getrandbits(40), sources]


def _transaction(rng: random.Random, model: Model, spaces: list[str], depth: int) -> Op:
    """Operations that go together; some of them a part of its own, which may be given up ("undone")."""
    then, ops, undone = copy.deepcopy(model), [], None
    for _ in range(rng.randint(1, 4)):
        op = next_op(rng, then, spaces, depth + 1)
        then.apply(op)
        ops.append(op)
    if rng.random() < 0.4:
        op = next_op(rng, then, spaces, depth + 1)
        undone = [op]
    return ["all", ops, undone]


def _pieces(numbers: Iterable[int]) -> set[bytes]:
    """Every run of eight letters in the words of these texts, but those that ids and digests, which are hexadecimal, may spell by chance."""
    runs = (run for number in numbers for run in _RUNS.findall(text_of(number).encode()))
    return {piece for run in runs for at in range(len(run) - WINDOW + 1) if _BEYOND_HEX.search(piece := run[at : at + WINDOW])}


class Traces:
    """Finds pieces, eight bytes or longer, of forgotten texts in raw bytes; not those that a living text has, too."""

    def __init__(self, forgotten: set[int], living: set[int]) -> None:
        self._of = _pieces(forgotten) - _pieces(living)

    def found(self, path: str) -> list[str]:
        """Where, in any file of the store at `path`, a piece of a forgotten text lies."""
        out = []
        if not self._of:
            return out
        for file in files_of(path):
            for match in _RUNS.finditer(file.read_bytes()):
                run = match[0]
                for at in range(len(run) - WINDOW + 1):
                    if run[at : at + WINDOW] in self._of:
                        out.append(f"{file.name}: byte {match.start() + at} holds {run[at : at + WINDOW].decode()} of a forgotten text")
                        break
        return out


def files_of(path: str) -> list[Path]:
    """Every file of the store at `path`."""
    base = Path(path)
    return sorted(file for file in base.parent.rglob("*") if file.is_file() and str(file).startswith(str(base)))
