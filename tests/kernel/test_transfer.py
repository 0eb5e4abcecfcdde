"""An export imports again to an equal store: contents, versions, standing, lineage, settings, and what searches give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mnemos
from mnemos.base.clock import system_clock
from mnemos.base.cube import State
from mnemos.errors import Conflict, Frozen, Invalid, NotFound, PermissionDenied, QuotaExceeded
from mnemos.kernel.exchange.transfer import export_jsonl, import_jsonl
from mnemos.text.formats import read_export, write_export

QUESTIONS = ("Where is Lisbon?", "When is the flight?", "paragraph 3", "section 5", "what Bob wrote", "derived")
EVERY_STATE = [state.word for state in State]
OWN = ("position", "updated_at", "digest")
"""What is the new store's own."""


def furnished(path: Path) -> mnemos.Mnemos:
    """A store with some of everything that a store can hold."""
    now = [system_clock()]
    mem = mnemos.open(path, embedder="hashed", clock=lambda: now[0])
    alice, library = mem.space("alice", acl={"read": ["bob"], "write": ["bob"]}), mem.space("library", strategy="auto")
    home = alice.add(
        "I moved to Lisbon.", type="turn", author="Alice", source="D1:1", event_at="2025-01-01", valid_from="2024-01-01", valid_to="2026-01-01",
        tags=["home", "move"], entities=["Lisbon"], place="Lisbon", sensitivity="private", priority=0.5,
        metadata={"session": 1, "deep": {"a": [1, None]}},
    )  # fmt: skip
    flight = alice.add("The flight is on Monday.")
    alice.update(flight.id, "The flight is on Tuesday.", tags=["travel"])
    alice.rollback(flight.id, 1)
    alice.freeze(alice.add("This stays as it is.").id)
    thawed = alice.add("This was frozen once.")
    alice.freeze(thawed.id)
    alice.unfreeze(thawed.id)
    alice.update(thawed.id, "This was frozen once, and changed.")
    derived = alice.add("Derived from the move.", derived_from=[home.id])
    library.add("Derived across spaces.", derived_from=[home.id, derived.id], origin="inference")
    long = [f"# Section {n}\n\n" + f"Paragraph {n} of section {n} speaks of subject {n}. " * 20 for n in range(8)]
    document = library.add("\n\n".join(long), type="document", source="book.md")
    library.update(document.id, "\n\n".join(long[2:]))
    alice.add("This is over soon.", expires_at=datetime.now(UTC) + timedelta(hours=1))
    now[0] += 7_200_000_000  # two hours
    assert mem.expire() == 1
    alice.forget([alice.add("A secret zebra.").id])
    mem.as_principal("bob").space("alice").add("Bob wrote this.", author="Bob")
    mem.as_principal("bob").space("bobs").add("Bob's own.")
    return mem


def everything(mem: mnemos.Mnemos) -> dict[str, Any]:
    """What a store says, without what is its own."""
    found: dict[str, Any] = {}
    for name in mem.spaces():
        space = mem.space(name)
        cubes = space.list(limit=1000, states=EVERY_STATE, parts=True)
        versions = {cube.id: [plain(version) for version in space.history(cube.id)] for cube in cubes}
        hits = {question: [(hit.cube.id, hit.score) for hit in space.search(question)] for question in QUESTIONS}
        found[name] = (mem.settings(name), [plain(cube) for cube in cubes], versions, hits)
    return found


def plain(cube: mnemos.MemCube) -> dict[str, Any]:
    return {name: value for name, value in cube.as_json().items() if name not in OWN}


def body(path: Path) -> list[str]:
    """An export's lines without the header, which names the store, and the end, which covers it."""
    return path.read_text().splitlines()[1:-1]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with furnished(tmp_path / "first.db") as mem:
        export_jsonl(mem, tmp_path / "first.jsonl")
    return tmp_path / "first.jsonl"


def test_an_export_imports_to_an_equal_store(tmp_path: Path) -> None:
    with furnished(tmp_path / "first.db") as first, mnemos.open(tmp_path / "second.db", embedder="hashed", clock=first.clock) as second:
        one, again, two = (tmp_path / f"{name}.jsonl" for name in ("one", "again", "two"))
        export_jsonl(first, one)
        export_jsonl(first, again)
        assert one.read_bytes() == again.read_bytes()
        assert b"zebra" not in one.read_bytes()
        assert import_jsonl(second, one) == len(body(one))
        assert everything(second) == everything(first)
        export_jsonl(second, two)
        assert body(two) == body(one)
        assert second.verify()
        moved = next(cube.id for cube in first.space("alice").list(tags=["home"]))
        gone = [{cube.id for cube in mem.space("alice").forget([moved]).cubes} for mem in (first, second)]
        assert gone[0] == gone[1]
        assert len(gone[0]) == 3


def test_importing_again_changes_nothing(exported: Path, tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "second.db", embedder="hashed") as mem:
        import_jsonl(mem, exported)
        position = mem.position()
        assert import_jsonl(mem, exported) == 0
        assert mem.position() == position
        frozen = next(cube for cube in mem.space("alice").list(states=EVERY_STATE) if cube.frozen)
        mem.space("alice").unfreeze(frozen.id)
        assert import_jsonl(mem, exported) == 0
        assert not mem.space("alice").get(frozen.id).frozen, "a change made since the import stays"


def test_what_contradicts_the_store_is_refused(exported: Path, tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "second.db", embedder="hashed") as mem:
        import_jsonl(mem, exported)
        flight = next(cube for cube in mem.space("alice").list() if "flight" in cube.text)
        mem.space("alice").forget([flight.id])
        with pytest.raises(Conflict, match="forgotten"):
            import_jsonl(mem, exported)


@pytest.mark.parametrize(
    "line",
    [
        {"record": {}},
        {"record": {"id": "x", "version": 1, "created_at": 0}},
        {"cube": "x", "frozen": True},
        {"cube": "CUBE", "state": "asleep"},
        {"cube": "CUBE", "link": {"to": "CUBE"}},
        {"cube": "CUBE", "version": 1, "link": {"to": "nobody", "version": 1, "relation": "about"}},
        {"cube": "CUBE", "link": 7},
        {"cube": "CUBE"},
        {"space": "unheard of", "cube": "CUBE", "frozen": True},
        {"space": 7, "settings": {}},
    ],
)
def test_a_line_that_cannot_be_read_is_named(exported: Path, tmp_path: Path, line: dict[str, Any]) -> None:
    entries = list(read_export(exported))
    cube = next(entry["record"]["id"] for entry in entries if "record" in entry and entry["space"] == "alice")
    wrong = json.loads(json.dumps({"space": "alice", **line}).replace("CUBE", cube))
    write_export(tmp_path / "wrong.jsonl", [*entries, wrong])
    with mnemos.open(tmp_path / "second.db", embedder="hashed") as mem, pytest.raises((Invalid, NotFound), match=f"line {len(entries) + 2}"):
        import_jsonl(mem, tmp_path / "wrong.jsonl")


def states(mem: mnemos.Mnemos) -> dict[str, Any]:
    """Contents and lives, without what searches give."""
    return {name: found[:3] for name, found in everything(mem).items()}


def test_rules_and_reasons_of_cubes_go_along(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "first.db", embedder="none") as first, mnemos.open(tmp_path / "second.db", embedder="none") as second:
        space = first.space("alice", acl={"read": ["bob", "carol"]}, read_only=False)
        hidden, shown = space.add("for bob alone"), space.add("for both")
        space.set_acl(hidden.id, {"read": ["bob"]})
        space.archive(shown.id, "not needed now")
        space.quarantine(hidden.id)
        first.space("alice", read_only=True)
        export_jsonl(first, tmp_path / "all.jsonl")
        import_jsonl(second, tmp_path / "all.jsonl")
        assert states(second) == states(first)
        assert second.settings("alice")["read_only"] is True
        second.space("alice", read_only=False)
        assert second.space("alice").acl(hidden.id) == {"read": ["bob"]}
        assert [entry.body_json().get("reason") for entry in second.log() if entry.kind == "state"] == ["not needed now", None]
        assert import_jsonl(second, tmp_path / "all.jsonl") == 0
        assert second.verify()


def test_a_principal_exports_what_it_sees(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "first.db", embedder="none") as mem:
        space = mem.space("alice", acl={"read": ["bob"]}, licences={"carol": {"reads": 3}}, clearance={"*": "internal"})
        seen, hidden = space.add("the tram"), space.add("the violin")
        once = space.add("the harbour", sensitivity="secret")
        space.update(once.id, "the harbour at night", sensitivity="public")
        space.set_acl(hidden.id, {"read": ["carol"]})
        space.forget([space.add("the zebra").id])
        export_jsonl(mem.as_principal("bob"), tmp_path / "bob.jsonl")
        written = (tmp_path / "bob.jsonl").read_text()
        assert seen.id in written
        assert not [word for word in ("violin", "harbour", "carol", "zebra", hidden.id, once.id) if word in written]


def test_a_part_of_a_store_is_imported_without_what_stayed_behind(tmp_path: Path) -> None:
    with furnished(tmp_path / "first.db") as first, mnemos.open(tmp_path / "second.db", embedder="hashed") as second:
        export_jsonl(first, tmp_path / "library.jsonl", spaces=["library"])
        export_jsonl(first, tmp_path / "all.jsonl")
        import_jsonl(second, tmp_path / "library.jsonl")
        assert import_jsonl(second, tmp_path / "library.jsonl") == 0
        (derived,) = second.space("library").list(filter={}, types=["fact"])
        assert derived.derived_from == (), "its sources are not here"
        assert second.verify(), second.verify().findings
        assert import_jsonl(first, tmp_path / "library.jsonl") == 0, "the store that it came from has it already"
        import_jsonl(second, tmp_path / "all.jsonl")
        assert second.verify()


def test_what_was_derived_from_something_forgotten_does_not_come_back(tmp_path: Path) -> None:
    with furnished(tmp_path / "first.db") as first, mnemos.open(tmp_path / "second.db", embedder="hashed") as second:
        export_jsonl(first, tmp_path / "library.jsonl", spaces=["library"])
        export_jsonl(first, tmp_path / "all.jsonl")
        import_jsonl(second, tmp_path / "all.jsonl")
        (home,) = second.space("alice").list(tags=["home"])
        second.space("alice").forget([home.id])
        with pytest.raises(Conflict, match="forgotten"):
            import_jsonl(second, tmp_path / "library.jsonl")
        assert "Derived" not in " ".join(cube.text for cube in second.space("library").list())


@pytest.mark.parametrize("version", [2, 2**31, -1])
def test_links_to_versions_that_are_not_there_are_refused(tmp_path: Path, version: int) -> None:
    home, child = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"
    plain = {"version": 1, "created_at": 5, "type": "fact", "text": "x"}
    lines = [
        {"space": "a", "settings": {}},
        {"space": "a", "record": {"id": home, **plain}},
        {"space": "a", "record": {"id": child, **plain, "derived_from": [[home, version, "derived_from"]]}},
    ]
    write_export(tmp_path / "wrong.jsonl", lines)
    with mnemos.open(":memory:", embedder="none") as mem, pytest.raises(Invalid, match="version"):
        import_jsonl(mem, tmp_path / "wrong.jsonl")


@pytest.mark.parametrize(
    "settings", [7, {"owner": 7}, {"acl": "bob"}, {"clearance": {"*": "high"}}, {"strategy": 5}, {"lifecycle": 5}, {"lifecycle": {"x": 1}}]
)
def test_settings_that_no_space_can_have_are_refused(tmp_path: Path, settings: Any) -> None:
    write_export(tmp_path / "wrong.jsonl", [{"space": "a", "settings": settings}])
    with mnemos.open(":memory:", embedder="none") as mem:
        with pytest.raises(Invalid):
            import_jsonl(mem, tmp_path / "wrong.jsonl")
        assert mem.spaces() == []


def test_quotas_count_what_is_imported(tmp_path: Path) -> None:
    with mnemos.open(":memory:", embedder="none") as first, mnemos.open(":memory:", embedder="none") as second:
        first.space("a").add_many([{"text": f"number {i}"} for i in range(5)])
        export_jsonl(first, tmp_path / "all.jsonl")
        second.space("a", quota={"cubes": 4})
        with pytest.raises(QuotaExceeded):
            import_jsonl(second, tmp_path / "all.jsonl")
        assert second.space("a").list() == []
        second.space("a", quota={"cubes": 5})
        assert import_jsonl(second, tmp_path / "all.jsonl") == 5


# ---- what a principal may bring in ----------------------------------------------------------------------------------


def forged(path: Path, *lines: dict[str, Any]) -> Path:
    """An export as somebody may write one by hand."""
    head = [{"mnemos-export": 1, "store": "ff" * 16, "position": len(lines)}, {"space": "s", "settings": {}}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in [*head, *lines])
    end = {"mnemos-export-end": len(lines) + 1, "sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(body + json.dumps(end).encode() + b"\n")
    return path


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[mnemos.Mnemos, dict[str, str]]]:
    with mnemos.open(tmp_path / "store.db", embedder="none") as mem:
        space = mem.space("s", acl={"read": ["bob"], "write": ["bob"]})
        cubes = {name: space.add(f"The plan of {name}.").id for name in ("open", "kept", "hidden", "frozen")}
        space.set_acl(cubes["kept"], {"write": ["ann"]})
        space.set_acl(cubes["hidden"], {"read": ["ann"]})
        space.freeze(cubes["frozen"])
        yield mem, cubes


def tried(mem: mnemos.Mnemos, path: Path, *lines: dict[str, Any]) -> type[Exception] | None:
    """What becomes of an import by bob; the store is as it was where it fails."""
    before = mem.position()
    try:
        import_jsonl(mem.as_principal("bob"), forged(path, *lines))
    except (PermissionDenied, NotFound, Conflict, Invalid, Frozen) as error:
        assert mem.position() == before
        return type(error)
    return None


def record(cube: str, version: int, text: str, **more: Any) -> dict[str, Any]:
    return {"space": "s", "record": {"id": cube, "version": version, "created_at": 1, "type": "fact", "text": text, **more}}


def test_an_import_is_no_way_around_the_rules_of_a_memory(guarded: tuple[mnemos.Mnemos, dict[str, str]], tmp_path: Path) -> None:
    mem, cubes = guarded
    path = tmp_path / "forged.jsonl"
    assert tried(mem, path, {"space": "s", "cube": cubes["open"], "acl": {"read": ["bob"]}}) is PermissionDenied, "rules take the right to share"
    assert tried(mem, path, {"space": "s", "cube": cubes["kept"], "acl": None}) is PermissionDenied
    assert tried(mem, path, {"space": "s", "cube": cubes["kept"], "state": "archived"}) is PermissionDenied
    assert tried(mem, path, record(cubes["kept"], 2, "Another plan.")) is PermissionDenied
    assert tried(mem, path, {"space": "s", "cube": cubes["hidden"], "state": "archived"}) is NotFound
    assert tried(mem, path, record(cubes["hidden"], 2, "Another plan.")) is NotFound
    assert tried(mem, path, record(cubes["frozen"], 2, "Another plan.")) is not None
    link = {"to": cubes["hidden"], "version": 1, "relation": "derived_from"}
    assert tried(mem, path, {"space": "s", "cube": cubes["open"], "version": 1, "link": link}) is NotFound


def test_an_import_tells_nobody_what_a_hidden_memory_says(guarded: tuple[mnemos.Mnemos, dict[str, str]], tmp_path: Path) -> None:
    mem, cubes = guarded
    kept = mem.space("s").get(cubes["hidden"])
    made = int(kept.created_at.timestamp() * 1e6)
    for text in ("The plan of hidden.", "A wrong guess."):
        assert tried(mem, tmp_path / "guess.jsonl", record(cubes["hidden"], 1, text, created_at=made)) is NotFound


def test_who_may_write_a_memory_may_import_its_next_version(guarded: tuple[mnemos.Mnemos, dict[str, str]], tmp_path: Path) -> None:
    mem, cubes = guarded
    parents = {"parents": [1]}
    assert tried(mem, tmp_path / "next.jsonl", record(cubes["open"], 2, "A better plan.", **parents)) is None
    assert mem.space("s").get(cubes["open"]).text == "A better plan."
    assert tried(mem, tmp_path / "state.jsonl", {"space": "s", "cube": cubes["open"], "state": "archived"}) is None
