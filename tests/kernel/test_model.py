"""Random histories against a model in plain Python: what the store shows now, and at every moment of its past, is what the model recorded."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule

import mnemos
from mnemos.base.errors import Frozen, NotFound
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from support import EMBEDDER, HandClock

_WORDS = ["lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge"]
_texts = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4).map(" ".join)
_long = st.integers(55, 60).map(lambda n: ". ".join(f"{_WORDS[i % 8].title()} number {i} stands here" for i in range(n)) + ".")
_fields = st.fixed_dictionaries(
    {},
    optional={
        "author": st.sampled_from(["Ann", "Bob"]),
        "tags": st.lists(st.sampled_from("ab"), unique=True),
        "metadata": st.sampled_from([{}, {"n": 1}, {"n": {"m": [1, "x"]}}]),
        "priority": st.none() | st.floats(0, 1),
    },
)
_PLAIN = {"author": None, "tags": (), "metadata": {}, "priority": None}


@dataclass(frozen=True)
class Version:
    text: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Cube:
    space: str
    versions: tuple[Version, ...]
    frozen: bool = False


State = dict[str, Cube]


@dataclass
class Model:
    """What should be there: the cubes by id, and how they stood when the log ended at each position."""

    now: State = field(default_factory=dict)
    past: dict[int, State] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)


class Histories(RuleBasedStateMachine):
    cubes = Bundle("cubes")
    location = ":memory:"

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.mem = Mnemos(self.place(), embedder=EMBEDDER, clock=self.clock)
        self.model = Model()
        self.settled: Model | None = None
        self.transaction: Any = None
        for name in ("one", "two"):
            self.mem.space(name)
        self.note()

    def place(self) -> str:
        return ":memory:" if self.location == ":memory:" else str(Path(self.folder.name) / "m.db")

    def space(self, name: str) -> Space:
        return self.mem.space(name)

    def note(self) -> None:
        self.model.past[self.mem.position()] = dict(self.model.now)

    # -- rules --
    @rule(target=cubes, space=st.sampled_from(["one", "two"]), text=_texts | _long, fields=_fields)
    def add(self, space: str, text: str, fields: dict[str, Any]) -> str:
        cube = self.space(space).add(text, **fields)
        self.model.now[cube.id] = Cube(space, (Version(text, _PLAIN | fields),))
        self.note()
        return cube.id

    @rule(target=cubes, space=st.sampled_from(["one", "two"]), texts=st.lists(_texts, min_size=2, max_size=4))
    def add_many(self, space: str, texts: list[str]) -> Any:
        made = self.space(space).add_many([{"text": text, "tags": ["many"]} for text in texts])
        for cube, text in zip(made, texts, strict=True):
            self.model.now[cube.id] = Cube(space, (Version(text, _PLAIN | {"tags": ["many"]}),))
        self.note()
        return multiple(*(cube.id for cube in made))

    def change(self, id: str, act: Any, version: Version) -> None:
        cube = self.model.now.get(id)
        if cube is None:
            with pytest.raises(NotFound):
                act()
        elif cube.frozen:
            with pytest.raises(Frozen):
                act()
        else:
            made = act()
            assert (made.text, made.version) == (version.text, len(cube.versions) + 1)
            self.model.now[id] = replace(cube, versions=(*cube.versions, version))
            self.note()

    def home(self, id: str) -> Space:
        cube = self.model.now.get(id)
        return self.space(cube.space if cube else "one")

    @rule(id=cubes, text=st.none() | _texts | _long, fields=_fields)
    def update(self, id: str, text: str | None, fields: dict[str, Any]) -> None:
        newest = self.model.now[id].versions[-1] if id in self.model.now else Version("", {})
        version = Version(newest.text if text is None else text, newest.fields | fields)
        self.change(id, lambda: self.home(id).update(id, text, **fields), version)

    @rule(id=cubes, data=st.data())
    def rollback(self, id: str, data: st.DataObject) -> None:
        cube = self.model.now.get(id)
        number = data.draw(st.integers(1, len(cube.versions))) if cube else 1
        self.change(id, lambda: self.home(id).rollback(id, number), cube.versions[number - 1] if cube else Version("", {}))

    @rule(id=cubes, frozen=st.booleans())
    def freeze(self, id: str, frozen: bool) -> None:
        if id not in self.model.now:
            return
        made = self.home(id).freeze(id) if frozen else self.home(id).unfreeze(id)
        assert made.frozen is frozen
        self.model.now[id] = replace(self.model.now[id], frozen=frozen)
        self.note()

    @rule(id=consumes(cubes))
    def forget(self, id: str) -> None:
        cube = self.model.now.get(id)
        if cube is None:
            with pytest.raises(NotFound):
                self.home(id).forget(id)
        elif cube.frozen:
            with pytest.raises(Frozen):
                self.home(id).forget([id])
        else:
            certificate = self.home(id).forget([id], reason="asked")
            del self.model.now[id]
            self.model.forgotten.add(id)
            self.note()
            if self.transaction is None:
                assert mnemos.verify_certificate(certificate, self.mem)

    @rule(who=st.lists(st.sampled_from(["ann", "bob"]), unique=True))
    def set_space(self, who: list[str]) -> None:
        self.mem.space("one", acl={"read": who})
        assert self.mem.settings("one")["acl"] == {"read": sorted(who)}
        self.note()

    @rule(id=cubes, wrong=st.sampled_from(["text", "author", "event_at", "metadata"]))
    def fail(self, id: str, wrong: str) -> None:
        before = self.mem.position()
        with pytest.raises((mnemos.errors.Invalid, NotFound)):
            self.home(id).update(id, **{wrong: object()})
        assert self.mem.position() == before

    @precondition(lambda self: self.transaction is None)
    @rule()
    def begin(self) -> None:
        self.settled = Model(dict(self.model.now), dict(self.model.past), set(self.model.forgotten))
        self.transaction = self.mem.transaction()
        self.transaction.__enter__()

    @precondition(lambda self: self.transaction is not None)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        transaction, self.transaction = self.transaction, None
        if keep:
            transaction.__exit__(None, None, None)
            return
        assert not transaction.__exit__(KeyError, KeyError("undo"), None)  # not swallowed
        assert self.settled is not None
        self.model = self.settled

    @precondition(lambda self: self.transaction is None and self.location != ":memory:")
    @rule()
    def reopen(self) -> None:
        self.mem.close()
        self.mem = Mnemos(self.place(), embedder=EMBEDDER, clock=self.clock)

    # -- what must hold --
    def compare(self, space: Space, state: State, name: str) -> None:
        """The view `space` shows exactly the cubes of `state` that live in `name`."""
        wanted = {id: cube for id, cube in state.items() if cube.space == name and id in self.model.now}
        listed = {cube.id: cube for cube in space.list(limit=1000)}
        assert listed.keys() == wanted.keys()
        for id, cube in wanted.items():
            newest = cube.versions[-1]
            shown = space.get(id)
            assert shown == listed[id]
            assert (shown.text, shown.version, shown.frozen, shown.state) == (newest.text, len(cube.versions), cube.frozen, "generated")
            assert {field: getattr(shown, field) for field in _PLAIN} == newest.fields | {"tags": tuple(newest.fields["tags"])}
            assert [version.text for version in space.history(id)] == [version.text for version in cube.versions]

    def found(self, space: Space, **conditions: Any) -> list[tuple[str, str]]:
        hits = space.search("lisbon guitar number snow", k=5000, **conditions)
        return sorted((hit.cube.id, hit.cube.text) for hit in hits)

    def searchable(self, state: State, name: str) -> list[tuple[str, str]]:
        """The short texts that a search shows; documents are found by their parts, whose ids the model does not know."""
        live = {id: cube.versions[-1].text for id, cube in state.items() if cube.space == name and id in self.model.now}
        return sorted((id, text) for id, text in live.items() if len(text) <= 1400)

    def check_search(self, found: list[tuple[str, str]], state: State, name: str) -> None:
        wanted = self.searchable(state, name)
        ids = {id for id, _ in wanted}
        assert [pair for pair in found if pair[0] in ids] == wanted
        rest = [text for id, text in found if id not in ids]
        long = [cube.versions[-1].text for id, cube in state.items() if cube.space == name and id in self.model.now]
        long = [text for text in long if len(text) > 1400]
        assert sum(map(len, rest)) == sum(map(len, long))  # parts partition their documents
        assert all(any(text in whole for whole in long) for text in rest)

    @invariant()
    def the_present_is_right(self) -> None:
        if not hasattr(self, "mem"):
            return
        for name in ("one", "two"):
            self.compare(self.space(name), self.model.now, name)
            self.check_search(self.found(self.space(name)), self.model.now, name)
        for id in self.model.forgotten:
            for name in ("one", "two"):
                with pytest.raises(NotFound):
                    self.space(name).get(id)

    def every_past_is_right(self) -> None:
        for position, state in itertools.islice(reversed(self.model.past.items()), 12):
            for name in ("one", "two"):
                view = self.space(name).at(position)
                self.compare(view, state, name)
                found = self.found(view)
                self.check_search(found, state, name)
                assert found == self.found(self.space(name), as_of=position)

    def teardown(self) -> None:
        if not hasattr(self, "mem"):
            return
        if self.transaction is not None:
            self.end(keep=True)
        self.every_past_is_right()
        report = self.mem.verify()
        assert report.ok, report.findings
        self.mem.close()
        self.folder.cleanup()


class FileHistories(Histories):
    location = "file"


TestHistoriesInMemory = Histories.TestCase
TestHistoriesInMemory.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
TestHistoriesInAFile = FileHistories.TestCase
TestHistoriesInAFile.settings = settings(max_examples=settings().max_examples // 4, stateful_step_count=20)
