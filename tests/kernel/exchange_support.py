"""What the tests of archives and of sync share: stores with some of everything, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mnemos
from mnemos.base.cube import State
from mnemos.base.signing import SigningKey
from mnemos.kernel.system import Mnemos

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
STATES = [state.word for state in State]
QUESTIONS = ("Where is Lisbon?", "When is the flight?", "paragraph 3", "section 5", "what Bob wrote", "the tram and the violin")
LONG = "\n\n".join(f"# Section {n}\n\n" + f"Paragraph {n} of section {n} speaks of subject {n}. " * 20 for n in range(6))
OWN = ("position", "updated_at", "digest")
"""What is a store's own."""


def fill(mem: Mnemos) -> dict[str, str]:
    """Some of everything that a store can hold; gives ids by what they stand for."""
    alice = mem.space("alice", acl={"read": ["bob", "carol"], "write": ["bob"]}, clearance={"*": "personal"})
    library = mem.space("library", strategy="auto")
    home = alice.add(
        "I moved to Lisbon.", type="turn", author="Alice", source="D1:1", event_at="2025-01-01", valid_from="2024-01-01", tags=["home", "move"],
        entities=["Lisbon"], place="Lisbon", sensitivity="personal", priority=0.5, metadata={"session": 1, "deep": {"a": [1, None, 2.5]}},
    )  # fmt: skip
    flight = alice.add("The flight is on Monday.")
    alice.update(flight.id, "The flight is on Tuesday.", tags=["travel"])
    alice.rollback(flight.id, 1)
    frozen = alice.add("This stays as it is.")
    alice.freeze(frozen.id)
    derived = alice.add("Derived from the move.", derived_from=[home.id])
    across = library.add("Derived across spaces: the tram and the violin.", derived_from=[home.id, derived.id], origin="inference")
    document = library.add(LONG, type="document", source="book.md")
    library.update(document.id, LONG[: len(LONG) // 2])
    archived = library.add("Not needed any more.")
    library.archive(archived.id, "is old")
    hidden = alice.add("For Bob alone.")
    alice.set_acl(hidden.id, {"read": ["bob"]})
    alice.forget([alice.add("A secret zebra.").id])
    merged = alice.merge([alice.add("The tram is yellow.").id, alice.add("The tram is yellow and old.").id])
    mem.as_principal("bob").space("alice").add("Bob wrote this.", author="Bob")
    mem.as_principal("bob").space("bobs").add("Bob's own.")
    named = {"home": home, "flight": flight, "frozen": frozen, "derived": derived, "across": across, "document": document, "archived": archived,
             "hidden": hidden, "merged": merged}  # fmt: skip
    return {name: cube.id for name, cube in named.items()}


def says(mem: Mnemos, spaces: list[str] | None = None, *, searched: bool = True) -> dict[str, Any]:
    """What a store says, without what is its own: settings, cubes with every version, lives, rules, and the ten best answers."""
    found: dict[str, Any] = {}
    for name in spaces or sorted(mem.spaces()):
        space = mem.space(name)
        cubes = space.list(limit=10_000, states=STATES, parts=True)
        versions = {cube.id: [plain(version) for version in space.history(cube.id)] for cube in cubes}
        rules = {cube.id: space.acl(cube.id) for cube in cubes}
        hits = {question: [(hit.cube.id, hit.score) for hit in space.search(question, k=10)] for question in QUESTIONS} if searched else {}
        found[name] = (mem.settings(name), sorted((plain(cube) for cube in cubes), key=lambda cube: cube["id"]), versions, rules, hits)
    return found


def plain(cube: mnemos.MemCube) -> dict[str, Any]:
    return {name: value for name, value in cube.as_json().items() if name not in OWN}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
