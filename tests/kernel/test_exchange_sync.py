"""Two stores are compared and brought up to date: what is new comes, what was forgotten goes, what contradicts is reported and stays."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exchange_support import KEY, OTHER, fill, plain, says
from hypothesis import given
from hypothesis import strategies as st
from test_exchange import Counting, with_blob

from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, MnemosError, PermissionDenied
from mnemos.kernel.exchange import Synced, diff, export_archive, sync
from mnemos.kernel.system import Mnemos
from support import EMBEDDER, HandClock


@pytest.fixture
def pair(open_memory: Callable[..., Mnemos]) -> tuple[Mnemos, Mnemos]:
    """A store with some of everything, and an empty one."""
    a, b = open_memory(), open_memory(":memory:")
    fill(a)
    return a, b


def twins(pair: tuple[Mnemos, Mnemos]) -> dict[str, str]:
    """Bring the second up to the first; gives ids of the second's cubes by their texts."""
    a, b = pair
    assert sync(a, b)
    return {cube.text: cube.id for name in b.spaces() for cube in b.space(name).list(limit=1000, states=["archived", "generated", "merged"])}


def nothing(synced: Synced) -> bool:
    return synced.changes == 0 and not synced.conflicts


# -- one way --
def test_an_empty_store_becomes_an_equal_one(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    synced = sync(a, b)
    assert synced
    assert synced.spaces == 3
    assert says(b) == says(a)
    assert b.verify(), b.verify().findings
    assert not diff(a, b)
    position = b.position()
    assert nothing(sync(a, b)), "a second call changes nothing"
    assert b.position() == position


def test_what_is_new_is_taken_over_and_no_more(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    space = a.space("alice")
    added = space.add("something new", derived_from=[known["I moved to Lisbon."]])
    space.update(known["I moved to Lisbon."], "I moved to Porto.")
    space.unfreeze(known["This stays as it is."])
    space.archive(known["Bob wrote this."])
    a.space("other").add("a new space")
    before = b.position()
    synced = sync(a, b)
    assert synced
    assert (synced.versions, synced.spaces) == (3, 1)
    assert says(b) == says(a)
    assert b.space("alice").get(added.id).stale, "staleness follows from the lineage, here as there"
    assert b.position() - before < 12
    assert nothing(sync(a, b))


def test_vectors_come_along_where_the_embedder_agrees(pair: tuple[Mnemos, Mnemos], open_memory: Callable[..., Mnemos]) -> None:
    a, _ = pair
    embedder = Counting(dimensions=32)
    b = open_memory(":memory:", embedder=embedder)
    sync(a, b)
    assert embedder.embedded == 0
    a.space("alice").add("one more")
    sync(a, b)
    assert embedder.embedded == 0
    other = Counting(dimensions=48)
    sync(a, open_memory(":memory:", embedder=other))
    assert other.embedded > 10
    assert b.verify()


def test_what_was_forgotten_there_is_forgotten_here(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    own = b.space("alice").add("made here from it", derived_from=[known["I moved to Lisbon."]])
    gone = a.space("alice").forget([known["I moved to Lisbon."]], reason="asked")
    document = next(cube for cube in a.space("library").list(types=["document"]))
    gone_document = a.space("library").forget([document.id])
    synced = sync(a, b)
    assert synced
    assert synced.forgotten == len(gone.cubes) + len(gone_document.cubes) + 1
    listed = {cube.id for name in b.spaces() for cube in b.space(name).list(limit=1000, parts=True)}
    assert not listed & {cube.id for cube in (*gone.cubes, *gone_document.cubes)}
    assert own.id not in listed, "what was made here from it goes, too"
    assert nothing(sync(a, b))
    assert b.verify()


def test_what_was_forgotten_here_does_not_come_back(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    b.space("alice").forget([known["I moved to Lisbon."]])
    late = a.space("alice").add("a late derivative", derived_from=[known["I moved to Lisbon."]])
    synced = sync(a, b)
    assert not synced
    assert {conflict.what for conflict in synced.conflicts} == {"forgotten"}
    assert late.id in {conflict.cube for conflict in synced.conflicts}
    assert "Lisbon" not in str([cube.text for cube in b.space("alice").list(limit=100)])
    assert sync(a, b).conflicts == synced.conflicts
    assert sync(b, a), "the other way round it is forgotten there"
    assert nothing(sync(a, b))
    assert says(a, searched=False) == says(b, searched=False)


# -- what contradicts --
def test_versions_that_part_are_reported_and_stay(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    flight = known["The flight is on Monday."]
    a.space("alice").update(flight, "The flight is on Wednesday.")
    b.space("alice").update(flight, "The flight is on Thursday.")
    derived = a.space("alice").add("made from Wednesday", derived_from=[flight])
    a.space("alice").add("and something else")
    synced = sync(a, b)
    assert [(conflict.what, conflict.cube) for conflict in synced.conflicts] == [("version", flight), ("version", derived.id)]
    assert b.space("alice").get(flight).text == "The flight is on Thursday."
    assert synced.versions == 1, "the rest is taken over"
    found = diff(a, b)
    assert found.versions == {flight: (3, 4, 4)}
    assert found.only_a == (derived.id,)


def test_a_longer_history_here_is_ahead_and_stays(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    b.space("alice").update(known["Bob wrote this."], "Bob wrote this, and more.")
    b.space("library").archive(known["Derived across spaces: the tram and the violin."])
    b.space("alice").add("only here")
    synced = sync(a, b)
    assert synced
    assert (synced.changes, synced.ahead) == (0, 2)
    assert b.space("alice").get(known["Bob wrote this."]).text == "Bob wrote this, and more."
    assert sync(b, a)
    assert says(a) == says(b)


def test_lives_that_part_are_reported_and_new_versions_still_come(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    bob, tram = known["Bob wrote this."], known["Derived from the move."]
    a.space("alice").archive(bob)
    b.space("alice").freeze(bob)
    a.space("alice").archive(tram)
    a.space("alice").update(tram, "Derived from the move, again.")
    b.space("alice").quarantine(tram)
    synced = sync(a, b)
    assert {(conflict.what, conflict.cube) for conflict in synced.conflicts} == {("standing", bob), ("standing", tram)}
    assert b.space("alice").get(bob).frozen
    assert b.space("alice").get(bob).state == "generated"
    assert b.space("alice").get(tram).state == "quarantined"
    assert b.space("alice").get(tram).text == "Derived from the move, again."
    found = diff(a, b)
    assert found.frozen == {bob: (False, True)}
    assert found.states == {bob: ("archived", "generated"), tram: ("activated", "quarantined")}


def test_what_is_frozen_here_is_not_forgotten(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    known = twins(pair)
    bob, tram = known["Bob wrote this."], known["Not needed any more."]
    b.space("alice").freeze(bob)
    a.space("alice").forget([bob, known["Derived from the move."]])
    a.space("library").forget([tram])
    synced = sync(a, b)
    assert [(conflict.what, conflict.cube) for conflict in synced.conflicts] == [("forgotten", bob)]
    assert b.space("alice").get(bob)
    assert synced.forgotten == 3
    b.space("alice").unfreeze(bob)
    assert sync(a, b).forgotten == 1


def test_rules_of_spaces_follow_where_nobody_changed_them_here(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    twins(pair)
    a.space("alice", acl={"read": ["dave"]})
    a.space("library", read_only=True)
    b.space("bobs", acl={"read": ["erin"]})
    synced = sync(a, b)
    assert synced
    assert synced.settings == 2
    assert b.settings("alice") == a.settings("alice")
    assert b.settings("library")["read_only"]
    assert b.settings("bobs")["acl"] == {"read": ["erin"]}, "changed here, and not there: it stays"
    a.space("bobs", acl={"read": ["frank"]})
    synced = sync(a, b)
    assert [(conflict.what, conflict.space) for conflict in synced.conflicts] == [("settings", "bobs")]
    assert diff(a, b).settings == {"bobs": {"acl": ({"read": ["frank"]}, {"read": ["erin"]})}}


def test_a_space_that_is_read_only(pair: tuple[Mnemos, Mnemos]) -> None:
    a, b = pair
    twins(pair)
    a.space("library").add("before it was closed")
    a.space("library", read_only=True)
    assert sync(a, b), "closed there, it is filled here all the same"
    assert says(b, ["library"]) == says(a, ["library"])
    b.space("alice", read_only=True)
    late = a.space("alice").add("too late")
    synced = sync(a, b)
    assert [(conflict.what, conflict.cube) for conflict in synced.conflicts] == [("settings", late.id)]
    assert len(b.space("alice").list(limit=100)) < len(a.space("alice").list(limit=100))


def test_the_same_cube_in_another_space(open_memory: Callable[..., Mnemos]) -> None:
    a, b = open_memory(":memory:"), open_memory(":memory:")
    cube = a.space("one").add("a text")
    b.space("two").add("a text", id=cube.id)
    synced = sync(a, b)
    assert [(conflict.what, conflict.cube) for conflict in synced.conflicts] == [("space", cube.id)]
    assert diff(a, b).moved == {cube.id: ("one", "two")}


# -- from an archive --
def test_an_archive_brings_a_store_up_to_date(pair: tuple[Mnemos, Mnemos], tmp_path: Path) -> None:
    a, b = pair
    known = twins(pair)
    a.space("alice").update(known["Bob wrote this."], "Bob wrote this anew.")
    a.space("alice").forget([known["I moved to Lisbon."]])
    export_archive(a, tmp_path / "a.zip", sign_with=KEY)
    assert diff(a, tmp_path / "a.zip").as_json() == diff(b, b).as_json()
    assert diff(b, tmp_path / "a.zip", public_key=KEY.public)
    with pytest.raises(Corrupt):
        sync(tmp_path / "a.zip", b, public_key=OTHER.public)
    synced = sync(tmp_path / "a.zip", b, public_key=KEY.public)
    assert synced
    assert synced.forgotten == 3
    assert says(b) == says(a)
    assert nothing(sync(tmp_path / "a.zip", b))
    assert not diff(tmp_path / "a.zip", b)


def test_models_are_asked_for(open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    a, b = open_memory(), open_memory(":memory:")
    cube = with_blob(a, b"keys and values")
    export_archive(a, tmp_path / "a.zip")
    with pytest.raises(FingerprintMismatch):
        sync(tmp_path / "a.zip", b)
    assert sync(tmp_path / "a.zip", b, models=["llama:1"])
    assert sync(a, open_memory(tmp_path / "c.db")).versions == 1
    assert b.store.blobs.get(str(b.space("model").get(cube).blob)) == b"keys and values"
    assert nothing(sync(a, b))


# -- which spaces, whose --
def test_only_some_spaces(pair: tuple[Mnemos, Mnemos], tmp_path: Path) -> None:
    a, b = pair
    assert sync(a, b, spaces=["library"])
    assert b.spaces() == ["library"]
    assert b.verify()
    assert not diff(a, b, spaces=["library"])
    assert diff(a, b).spaces_only_a == ("alice", "bobs")
    assert sync(a, b)
    assert says(b, ["alice", "bobs"]) == says(a, ["alice", "bobs"])
    assert nothing(sync(a, b)), "links whose other end came later are no contradiction"


def test_a_principal_brings_what_it_may(pair: tuple[Mnemos, Mnemos], open_memory: Callable[..., Mnemos]) -> None:
    a, b = pair
    assert sync(a.as_principal("carol"), b)
    assert b.spaces() == ["alice"]
    assert "For Bob alone." not in [cube.text for cube in b.space("alice").list(limit=100)]
    target = open_memory(":memory:")
    target.space("alice")
    with pytest.raises(PermissionDenied):
        sync(a, target.as_principal("mallory"), spaces=["alice"])
    assert target.space("alice").list() == []


def test_one_store_is_not_both_sides(pair: tuple[Mnemos, Mnemos]) -> None:
    a, _ = pair
    for other in (a, a.as_principal("bob")):
        with pytest.raises(Invalid, match="both sides"):
            sync(a, other)


def test_a_sync_that_was_stopped_is_repeated(open_memory: Callable[..., Mnemos]) -> None:
    a, b = open_memory(":memory:", embedder="none"), open_memory(embedder="none")
    a.space("a").add_many([{"text": f"number {n}"} for n in range(1300)])
    for cube in a.space("a").list(limit=50):
        a.space("a").update(cube.id, cube.text + " again")
        a.space("a").archive(cube.id)
    stops = 0

    def stop(done: int, total: int) -> None:
        nonlocal stops
        stops += 1
        if stops < 3:
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sync(a, b, progress=stop)
    assert 0 < len(b.space("a").list(limit=2000)) < 1300
    assert sync(a, b)
    assert says(b, searched=False) == says(a, searched=False)
    assert nothing(sync(a, b))


# -- whatever happened before --
ACTS = ["add", "update", "archive", "restore", "freeze", "unfreeze", "forget", "derive", "rules", "sync"]
STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(ACTS), st.integers(0, 30)), max_size=30)


@given(STEPS)
def test_after_any_history_a_sync_is_idempotent_and_loses_nothing(steps: list[tuple[str, str, int]]) -> None:
    clock = HandClock()
    with Mnemos(":memory:", embedder=EMBEDDER, clock=clock) as a, Mnemos(":memory:", embedder=EMBEDDER, clock=clock) as b:
        stores = {"a": a, "b": b}
        for number, (which, what, at) in enumerate(steps):
            if what == "sync":
                sync(stores[which], stores["b" if which == "a" else "a"])
            else:
                _act(stores[which], what, at, number)
        ahead = {str(cube) for cube in diff(a, b).only_b}
        synced = sync(a, b)
        conflicting = {conflict.cube for conflict in synced.conflicts}
        again = sync(a, b)
        assert again.changes == 0
        assert again.conflicts == synced.conflicts
        assert a.verify()
        assert b.verify(), b.verify().findings
        left = diff(a, b)
        assert set(left.only_a) <= conflicting
        assert set(left.forgotten_only_a) <= conflicting, "what was forgotten there is forgotten here"
        assert set(left.only_b) <= ahead, "nothing of b's own was lost, nothing was made up"
        for cube, (common, there, here) in left.versions.items():
            assert cube in conflicting or (common == there < here)


def _act(mem: Mnemos, what: str, at: int, number: int) -> None:
    space = mem.space("s")
    cubes = space.list(limit=1000, states=["generated", "activated", "archived"])
    if what == "add" or not cubes:
        space.add(f"memory {number}")
        return
    cube = cubes[at % len(cubes)].id
    acts: dict[str, Callable[[], Any]] = {
        "update": lambda: space.update(cube, f"memory {number} anew"),
        "archive": lambda: space.archive(cube),
        "restore": lambda: space.restore(cube),
        "freeze": lambda: space.freeze(cube),
        "unfreeze": lambda: space.unfreeze(cube),
        "forget": lambda: space.forget([cube]),
        "derive": lambda: space.add(f"derived {number}", derived_from=[cube]),
        "rules": lambda: space.set_acl(cube, {"read": [f"bob {at}"]}),
    }
    try:
        acts[what]()
    except MnemosError:
        pass  # what a memory's state forbids


def test_pictures_do_not_depend_on_what_is_a_stores_own(pair: tuple[Mnemos, Mnemos], open_memory: Callable[..., Mnemos], tmp_path: Path) -> None:
    a, _ = pair
    b = open_memory(tmp_path / "sealed.db", key=bytes(32))
    sync(a, b)
    found = diff(a, b)
    assert not found
    assert found.as_json()["only_a"] == []
    assert [plain(cube) for cube in a.space("bobs").list()] == [plain(cube) for cube in b.space("bobs").list()]


KILLED = """
import sys
from mnemos.kernel.exchange import import_archive, sync
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
a, b, what = sys.argv[1:]
with Mnemos(b, embedder=HashedEmbedder(dimensions=32)) as target:
    print("begun", flush=True)
    if what == "sync":
        with Mnemos(a, embedder=HashedEmbedder(dimensions=32)) as source:
            sync(source, target, progress=lambda done, total: print(done, flush=True))
    else:
        import_archive(target, a, progress=lambda done, total: print(done, flush=True))
print("done", flush=True)
"""


@pytest.mark.torture
@pytest.mark.parametrize("what", ["sync", "import"])
def test_a_sync_that_is_killed_is_repeated(open_memory: Callable[..., Mnemos], tmp_path: Path, what: str) -> None:
    a = open_memory(tmp_path / "a.db")
    fill(a)
    a.space("many").add_many([{"text": f"number {n}"} for n in range(4000)])
    source = tmp_path / "a.db"
    if what == "import":
        source = tmp_path / "a.zip"
        export_archive(a, source)
    a.close()
    rng = random.Random(7)
    kills = 0
    for attempt in range(200):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(source), str(tmp_path / "b.db"), what], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        try:
            child.wait(rng.uniform(0, 0.05 * (attempt + 1)))
            break
        except subprocess.TimeoutExpired:
            kills += 1
            child.send_signal(signal.SIGKILL)
            child.wait()
        finally:
            child.stdout.close()
    assert kills > 3
    assert child.returncode == 0
    again, b = open_memory(tmp_path / "a.db"), open_memory(tmp_path / "b.db")
    assert says(b, searched=False) == says(again, searched=False)
    assert b.verify(), b.verify().findings
    assert nothing(sync(again, b))
