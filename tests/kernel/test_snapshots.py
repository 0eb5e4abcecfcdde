"""The time machine: back to any version, and to any snapshot, with the same payload, the same vectors, and the same ranking, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mnemos.base.clock import from_micros
from mnemos.base.cube import MemCube
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound, PermissionDenied, StoreFull
from mnemos.base.protocols import Progress
from mnemos.kernel.system import Mnemos
from mnemos.kernel.writing.drafts import CHANGEABLE
from mnemos.models.hashed import HashedEmbedder
from store_contents import rankings, rows
from support import HandClock

WORDS = [
    "lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge", "alice", "bob", "moved", "likes", "plays", "train", "ticket", "dog"
]  # fmt: skip
QUESTIONS = ["Where did Alice move?", "tram in the harbour", "coffee with Bob", "Who plays the violin?"]
VERSIONS = 100


class Moody:
    """An embedder that gives the same text a slightly different vector each time, as one that computes in batches may."""

    def __init__(self) -> None:
        self._inner = HashedEmbedder(dimensions=32)
        self._rng = np.random.default_rng(3)
        self.fingerprint, self.dimensions = "moody:32", 32

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        vectors = self._inner.embed(texts) + self._rng.normal(0, 1e-3, (len(texts), 32)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def still(self) -> Any:
        """The same embedder for questions: one vector for each."""
        return self._inner


def payload(cube: MemCube) -> dict[str, Any]:
    return {name: getattr(cube, name) for name in (*CHANGEABLE, "derived_from", "created_at", "kind", "entities")}


def vector(mem: Mnemos, cube: MemCube) -> bytes:
    """The stored vector of a version."""
    with mem.snapshot() as snapshot:
        num = snapshot.space(cube.space).num  # type: ignore[union-attr]
        found = next(iter(snapshot.vectors(num, cube.position - 1)))
    assert found[0] == cube.position
    return found[2]


def filled(mem: Mnemos, kind: str, rng: random.Random, count: int = 40) -> Any:
    space = mem.space(kind)
    for number in range(count):
        fields: dict[str, Any] = {"type": "turn", "author": rng.choice(["Alice", "Bob"])}
        fields |= {"metadata": {"session": number // 5}} if kind == "turns of sessions" else {"created_at": f"2024-0{1 + number % 9}-01"}
        space.add(" ".join(rng.choices(WORDS, k=8)), **fields)
    return space


@pytest.mark.parametrize("kind", ["turns of sessions", "facts alone"])
def test_back_to_any_of_a_hundred_versions(open_memory: Callable[..., Mnemos], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """MemOS sheet, item 9: payload, embedding and search ranking bit-equal to the snapshot."""
    moody = Moody()
    mem = open_memory(embedder=moody)
    monkeypatch.setattr(mem.embedding, "question", lambda text: moody.still().embed([text])[0])  # so that the question is the same question
    rng = random.Random(kind)
    space = filled(mem, kind, rng)
    target = space.list()[12]
    then: list[tuple[MemCube, bytes, int, Any]] = []
    for number in range(VERSIONS):
        cube = space.get(target.id)
        position = space.snapshot(f"v{cube.version}").position
        then.append((cube, vector(mem, cube), position, rankings(mem, [kind], QUESTIONS[:1])))
        if number < VERSIONS - 1:
            text = " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))
            author, tags, metadata = rng.choice(["Alice", "Bob", None]), [rng.choice(WORDS)], {**cube.metadata, "n": number}
            space.update(target.id, text, tags=tags, author=author, metadata=metadata)
    mem.embedding.drop([was[0].text for was in then])  # what is copied need not be known
    for version in rng.sample(range(1, VERSIONS + 1), VERSIONS):
        was, stored, position, found = then[version - 1]
        back = space.rollback(target.id, version) if version % 2 else space.get(space.rewind(f"v{version}", ids=[target.id]) and target.id)
        assert payload(back) == payload(was)
        assert vector(mem, back) == stored
        assert _numbered(rankings(mem, [kind], QUESTIONS[:1])) == _numbered(found)
        if version % 10 == 0:  # and the view of the past itself
            past = [(hit.cube.id, hit.cube.version, hit.score) for hit in space.at(position).search(QUESTIONS[0], 50)]
            assert past == found[kind, QUESTIONS[0]]
    assert mem.verify().ok


def _numbered(found: Any) -> Any:
    """Rankings without the numbers of versions, which go on."""
    return {key: [(id, score) for id, _, score in hits] for key, hits in found.items()}


def test_a_rollback_says_what_it_went_back_to(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("one", tags=["x"])
    source = space.add("source")
    space.update(cube.id, "two", tags=[], derived_from=[source.id])
    back = space.rollback(cube.id, 1)
    assert (back.version, back.text, back.tags, back.parents, back.derived_from) == (3, "one", ("x",), (2, 1), ())
    assert mem.log()[-1].body_json() == {"reverted_to": 1}
    assert space.rollback(cube.id, 2).derived_from[0].id.hex == source.id.replace("-", "")
    for bad in (None, True, "1", 1.0):
        with pytest.raises(Invalid, match="version: expected"):
            space.rollback(cube.id, bad)
    for missing in (0, 9, 2**40):
        with pytest.raises(NotFound, match="no version"):
            space.rollback(cube.id, missing)
    space.freeze(cube.id)
    with pytest.raises(Frozen):
        space.rollback(cube.id, 1)


def test_a_document_comes_back_with_its_own_parts(filed: Mnemos, tmp_path: Any) -> None:
    space = filed.space("a")
    long = "\n\n".join(f"Sentence {i} about the tram in the harbour of Lisbon." for i in range(80))
    document = space.add(long, type="document")
    space.add("something about a tram elsewhere")
    first = rankings(filed, ["a"], QUESTIONS)
    parts = [cube.id for cube in space.list(parts=True, limit=100)]
    space.update(document.id, "short by now")
    short = rankings(filed, ["a"], QUESTIONS)
    back = space.rollback(document.id, 1)
    assert back.text == long
    assert sorted(cube.id for cube in space.list(parts=True, limit=100)) == sorted(parts)
    assert rankings(filed, ["a"], QUESTIONS) == first
    assert space.rollback(document.id, 2).text == "short by now"
    assert _numbered(rankings(filed, ["a"], QUESTIONS)) == _numbered(short)
    again = space.rollback(document.id, 3)
    assert (again.version, again.text) == (5, long)
    assert space.get(document.id, 3).text == long
    assert filed.verify().ok
    space.archive(document.id)
    assert not any(hits for hits in [space.search("Sentence 7 about the harbour", 5)] if "harbour" in hits[0].cube.text)
    space.forget([document.id])
    assert [cube.text for cube in space.list(parts=True)] == ["something about a tram elsewhere"]
    assert filed.verify().ok


# -- snapshots --
def test_snapshots_are_named_and_listed(open_memory: Callable[..., Mnemos], clock: HandClock) -> None:
    mem = open_memory()
    space = mem.space("a")
    space.add("one")
    first = space.snapshot("before")
    space.add("two")
    second = space.snapshot("early", at=1)
    assert (first.name, first.space, first.position, first.by) == ("before", "a", 2, None)
    mem.close()
    mem = open_memory()
    space = mem.space("a")
    assert space.snapshots() == [second, first]
    assert mem.space("b").snapshots() == []
    with pytest.raises(Conflict, match="has one called 'before' already"):
        space.snapshot("before")
    space.drop_snapshot("early")
    assert space.snapshots() == [first]
    with pytest.raises(NotFound, match="none called 'early'"):
        space.drop_snapshot("early")
    for bad in ("", " ", "x" * 201, 5):
        with pytest.raises(Invalid, match="snapshot"):
            space.snapshot(bad)
    with pytest.raises(Invalid, match="at: position"):
        space.snapshot("future", at=10**6)
    assert first.as_json()["position"] == 2
    bob = mem.as_principal("bob")
    with pytest.raises(PermissionDenied):
        bob.space("a").snapshot("his")


def test_a_space_is_brought_back_as_it_was(mem: Mnemos) -> None:
    space = filled(mem, "facts alone", random.Random(7))
    cubes = space.list()
    space.archive(cubes[3].id)
    space.quarantine(cubes[4].id)
    snapshot = space.snapshot("then")
    state = {cube.id: (payload(cube), cube.state) for cube in space.list(states=["generated", "activated", "archived", "quarantined"], limit=100)}
    found = rankings(mem, ["facts alone"], QUESTIONS)
    space.update(cubes[0].id, "something else entirely", author="Carol")
    space.update(cubes[1].id, "changed")
    space.archive(cubes[2].id)
    space.restore(cubes[3].id)
    space.release(cubes[4].id)
    space.quarantine(cubes[5].id)
    merged = space.merge([cubes[6].id, cubes[7].id])
    new = space.add("did not exist then")
    space.forget([cubes[8].id])
    untouched = mem.space("other").add("of another space")
    result = space.rewind(snapshot)
    assert result.position == snapshot.position
    assert set(result.reverted) == {cubes[0].id, cubes[1].id}
    assert set(result.moved) == {cubes[i].id for i in (2, 3, 4, 6, 7)}
    assert set(result.archived) == {merged.id, new.id}
    assert result.gone == (cubes[8].id,)
    assert result.kept == (cubes[5].id,)
    now = {cube.id: (payload(cube), cube.state) for cube in space.list(states=["generated", "activated", "archived", "quarantined"], limit=100)}
    for id, (was, stood) in state.items():
        if id not in (cubes[8].id, cubes[5].id):
            assert now[id][0] == was
            assert now[id][1] == stood or {now[id][1], stood} == {"generated", "activated"}
    space.release(cubes[5].id)
    assert found.keys() == (again := rankings(mem, ["facts alone"], QUESTIONS)).keys()
    for key, hits in found.items():  # what was forgotten does not come back, and does not count any more
        assert {id for id, _, _ in again[key]} == {id for id, _, _ in hits} - {cubes[8].id}
    assert mem.space("other").get(untouched.id).version == 1
    assert space.rewind("then").as_json() == {
        "position": snapshot.position, "reverted": [], "moved": [], "archived": [], "gone": [cubes[8].id], "kept": []
    }  # fmt: skip
    assert mem.verify().ok


def test_a_whole_space_ranks_as_it_did(mem: Mnemos) -> None:
    """Nothing forgotten, everything else changed: the same ids and scores, bit for bit."""
    space = filled(mem, "turns of sessions", random.Random(11))
    found, position = rankings(mem, ["turns of sessions"], QUESTIONS), mem.position()
    rng = random.Random(5)
    for cube in rng.sample(space.list(), 25):
        space.update(cube.id, " ".join(rng.choices(WORDS, k=6)))
    for cube in rng.sample(space.list(), 6):
        space.archive(cube.id)
    for number in range(10):
        space.add(f"new {rng.choice(WORDS)} number {number}", type="turn", metadata={"session": number % 8})
    space.rewind(position)
    assert _numbered(rankings(mem, ["turns of sessions"], QUESTIONS)) == _numbered(found)


def test_going_back_is_all_or_nothing(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    first, second = space.add("one"), space.add("two")
    position, when = mem.position(), clock.now
    space.update(first.id, "changed")
    space.freeze(space.update(second.id, "changed and frozen").id)
    before = rows(mem)
    with pytest.raises(Frozen, match=second.id):
        space.rewind(position)
    assert rows(mem) == before
    assert space.rewind(position, ids=[first.id]).reverted == (first.id,)
    space.unfreeze(second.id)
    assert space.rewind(from_micros(when)).reverted == (second.id,)
    with pytest.raises(NotFound, match="was not yet in space"):
        space.rewind(1, ids=[first.id])
    for bad, error in (("nowhere", NotFound), (10**9, Invalid), (True, Invalid), (-1, Invalid)):
        with pytest.raises(error):
            space.rewind(bad)
    with pytest.raises(Invalid, match="shows the past"):
        space.at(position).rewind(position)
    mem.space("a", acl={"read": ["bob"]})
    with pytest.raises(PermissionDenied):
        mem.as_principal("bob").existing_space("a").rewind(position)


def test_what_is_over_stays_over(mem: Mnemos, clock: HandClock) -> None:
    space = mem.space("a")
    cube = space.add("short-lived", expires_at=from_micros(clock.now + 60_000_000))
    position = mem.position()
    clock.now += 120_000_000
    mem.expire()
    assert space.rewind(position).moved == ()
    assert space.get(cube.id).state == "expired"


def test_going_back_counts_against_the_quota(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("x" * 500)
    position = mem.position()
    space.update(cube.id, "short")
    mem.space("a", quota={"bytes": 600})
    with pytest.raises(StoreFull):
        space.rewind(position)
    with pytest.raises(StoreFull):
        space.rollback(cube.id, 1)
