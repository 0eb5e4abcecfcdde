"""Doing a model's operations on a real store, and comparing the store with the model."""

from __future__ import annotations

import random
from typing import Any

from torture_model import STEPS, Model, Op, Traces, text_of, word

import mnemos
from mnemos import errors
from mnemos.base.cube import State
from mnemos.store.base import Filter

ALL = [state.word for state in State]


class GivenUp(Exception):
    """Ends a part of a transaction on purpose."""


def act(mem: Any, op: Op) -> int:
    """Do one operation; give the newest position that it reported (0 where it reports none)."""
    kind, *rest = op
    if kind == "all":
        with mem.transaction():
            position = max(act(mem, inner) for inner in rest[0])
            if rest[1]:
                try:
                    with mem.transaction():
                        for inner in rest[1]:
                            act(mem, inner)
                        raise GivenUp
                except GivenUp:
                    pass
        return position
    if kind == "compact":
        mem.store.compact(0)
        return 0
    space = mem.space(rest[0])
    if kind == "add":
        return int(space.add(text_of(rest[2]), id=rest[1], **({"derived_from": rest[3]} if rest[3] else {})).position)
    if kind == "many":
        return int(space.add_many([{"id": id, "text": text_of(number)} for id, number in rest[1]])[-1].position)
    if kind == "update":
        return int(space.update(rest[1], text_of(rest[2])).position)
    if kind == "rollback":
        return int(space.rollback(rest[1], rest[2]).position)
    if kind in ("freeze", "unfreeze", *STEPS):
        getattr(space, kind)(rest[1])
        return 0
    if kind == "rules":
        space.set_acl(rest[1], None if rest[2] is None else {"read": rest[2]})
        return 0
    if kind == "forget":
        return int(space.forget(rest[1]).position)
    raise AssertionError(op)


def differences(mem: Any, model: Model) -> list[str]:
    """What the store says of the model's spaces that the model does not, or the other way round."""
    out: list[str] = []
    names = mem.spaces()
    for name, cubes in model.spaces.items():
        if name not in names:
            if cubes:
                out.append(f"space {name} is missing")
            continue
        space = mem.space(name)
        listed = {str(cube.id): cube for cube in space.list(limit=10_000, states=ALL)}
        shown = {str(cube.id) for cube in space.list(limit=10_000)}
        may = {name: _readable(mem, space, name) for name in ("bob", "carol")}
        for id in cubes.keys() - listed.keys():
            out.append(f"{name}: cube {id} is lost")
        for id in listed.keys() - cubes.keys():
            out.append(f"{name}: cube {id} should not be there")
        for id in cubes.keys() & listed.keys():
            wanted, found = cubes[id], listed[id]
            texts = [cube.text for cube in space.history(id)]
            if texts != [text_of(number) for number in wanted.versions]:
                out.append(f"{name}: cube {id} has {len(texts)} versions, not the {len(wanted.versions)} that were written, or other texts")
            for what, is_, should in (
                ("frozen", found.frozen, wanted.frozen), ("state", found.state, wanted.state), ("stale", found.stale, wanted.stale),
                ("shown", id in shown, wanted.visible),
                *((f"shown to {reader}", id in ids, wanted.visible and (wanted.readers is None or reader in wanted.readers))
                  for reader, ids in may.items()),
            ):  # fmt: skip
                if is_ != should:
                    out.append(f"{name}: cube {id}: {what} is {is_}, not {should}")
        for id in model.forgotten.get(name, {}):
            try:
                space.get(id)
                out.append(f"{name}: cube {id} was forgotten, and is there")
            except errors.NotFound:
                pass
    return out


def _readable(mem: Any, space: Any, principal: str) -> set[str]:
    """The memories of a space that `principal` would be shown, were it given the space: only the rules of memories narrow it."""
    with mem.snapshot() as snapshot:
        where = Filter(readers=(principal, "*"))
        seqs = snapshot.query(space.num, where, after=0, limit=10_000, now=0)
        return {str(row.content.id) for row in snapshot.versions(seqs).values()}


def wrong_answers(mem: Any, model: Model, rng: random.Random, questions: int = 3) -> list[str]:
    """Searches whose answer is not what the model says: each living text is found by its own word, and nothing else is found by it (how high
    it ranks is not asked here: every other memory is nearer or farther by its letters and its place); a forgotten one is found never."""
    out = []
    for name, cubes in model.spaces.items():
        if name not in mem.spaces():
            continue
        space = mem.space(name)
        hidden = sorted(id for id, cube in cubes.items() if not cube.visible)
        for id in rng.sample(hidden, min(questions, len(hidden))):
            if any(str(hit.cube.id) == id for hit in space.search(word(cubes[id].versions[-1], 1), 10)):
                out.append(f"{name}: the search finds cube {id}, which is {cubes[id].state}")
        living = sorted(cubes.keys() - set(hidden))
        for id in rng.sample(living, min(questions, len(living))):
            own = word(cubes[id].versions[-1], 1)
            found = [hit.cube for hit in space.search(own, 10) if hit.signals.get("words", 0) > 0]
            if not found or not all(own in cube.text for cube in found):
                out.append(f"{name}: the search for a word of cube {id} finds {[cube.text[:80] for cube in found]}")
        gone = model.forgotten.get(name, {})
        for id in rng.sample(sorted(gone), min(questions, len(gone))):
            for hit in space.search(word(gone[id][-1], 1), 3):
                if str(hit.cube.id) == id or any(word(number, 0) in hit.cube.text for number in gone[id]):
                    out.append(f"{name}: the search still finds the forgotten cube {id}")
    return out


def check(path: str, models: list[Model], rng: random.Random, others: frozenset[int] = frozenset(), **options: Any) -> tuple[Model, list[str], float]:
    """Open the store and find which of `models` it holds: (that one, what is wrong, seconds to open it). `others`: numbers of texts that it may hold
    beside them."""
    import time

    started = time.perf_counter()
    with mnemos.open(path, embedder="hashed", **options) as mem:
        seconds = time.perf_counter() - started
        found = [differences(mem, model) for model in models]
        best = min(range(len(models)), key=lambda i: len(found[i]))
        model, problems = models[best], found[best]
        problems += wrong_answers(mem, model, rng)
        report = mem.verify()
        problems += [f"verify: {f.file}: {f.place}: {f.problem}" for f in report.findings]
        forgotten, living = model.forgotten_numbers(), model.living_numbers() | others
        traces = Traces(forgotten | living, set()) if options.get("key") else Traces(forgotten, living)  # a sealed store shows none
        problems += [f"while open: {trace}" for trace in traces.found(path)]
    problems += [f"after closing: {trace}" for trace in traces.found(path)]
    return model, problems, seconds
