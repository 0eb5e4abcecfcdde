"""Acceptance of forgetting: what was forgotten is not found, not told by anything derived, in no file, export or log, and comes back only when it
is told again; what stays is answered as well as before (arXiv 2509.18868, forgetting, four dimensions)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from mnemos.base.cube import MemCube
from mnemos.base.errors import Conflict
from mnemos.bench.evaluation.items import History, Item
from mnemos.bench.evaluation.systems import MnemosSystem
from mnemos.bench.evaluation.timeline import asked_about, statement
from mnemos.kernel.exchange.transfer import export_jsonl
from mnemos.kernel.forgetting import Certificate, verify_certificate
from mnemos.kernel.system import Mnemos

K = 20


@dataclass
class Acceptance:
    """What was counted. `asked` probes of each kind were made; the other numbers are how many of them still found something."""

    asked: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, hit: bool) -> None:
        self.asked[kind] = self.asked.get(kind, 0) + 1
        self.found[kind] = self.found.get(kind, 0) + hit


@dataclass(frozen=True)
class Target:
    """One fact to be forgotten: the item that asks for it, and everything that the store holds of it."""

    item: Item
    cubes: tuple[MemCube, ...]

    @property
    def texts(self) -> list[str]:
        return [cube.text for cube in self.cubes]


def targets(memory: Mnemos, history: History, count: int) -> list[Target]:
    """The first `count` facts of a history, each with every memory that states it; every fifth gets a summary in another space, derived from it."""
    space = memory.space(history.name)
    cubes = space.list(limit=10_000)
    by_fact: dict[tuple[str, str], list[MemCube]] = {}
    for cube in cubes:
        if found := statement(cube.text):
            by_fact.setdefault((found.person, found.relation), []).append(cube)
    out = []
    for number, item in enumerate([item for item in history.items if item.answer is not None][:count]):
        about = asked_about(item.question)
        assert about is not None
        held = by_fact[about]
        if number % 5 == 0:
            said = f"In short, of {about[0]} it is known: {held[0].text}"
            memory.space(f"{history.name} summaries").add(said, type="summary", derived_from=[cube.id for cube in held])
        out.append(Target(item, tuple(held)))
    return out


def forget(memory: Mnemos, history: History, chosen: Sequence[Target]) -> list[Certificate]:
    """Forget each fact, all that states it, and with it what was derived."""
    space = memory.space(history.name)
    return [space.forget([cube.id for cube in target.cubes]) for target in chosen]


def probe(memory: Mnemos, history: History, chosen: Sequence[Target], counted: Acceptance) -> None:
    """Look for every forgotten fact: word for word, by its questions in every wording, by its beginning, and by what surrounds it."""
    spaces = [memory.space(history.name), memory.space(f"{history.name} summaries")]
    for target in chosen:
        about = asked_about(target.item.question)
        assert about is not None
        probes = {
            "verbatim": target.texts,
            "paraphrase": [target.item.question, *target.item.paraphrases],
            "beginning": [" ".join(text.split()[:3]) for text in target.texts],
            "what is derived": [f"What is known of {about[0]}, in short?"],
        }
        for kind, questions in probes.items():
            for question in questions:
                hits = [hit.cube for space in spaces for hit in space.search(question, k=K)]
                counted.count(kind, any(_tells(hit.text, target) for hit in hits))


def _tells(text: str, target: Target) -> bool:
    return any(told in text for told in target.texts)


def traces(memory: Mnemos, chosen: Sequence[Target], certificates: Sequence[Certificate], counted: Acceptance) -> None:
    """Look for the forgotten texts in the store's files, an export, and the log; check every certificate."""
    stream = io.BytesIO()
    export_jsonl(memory, stream)
    places = {"export": stream.getvalue(), "log": orjson.dumps([[entry.body, entry.actor] for entry in memory.log()])}
    if memory.path != ":memory:":
        base = Path(memory.path)
        files = [path for path in base.parent.iterdir() if path.name.startswith(base.name) and path.is_file()]
        places["files"] = b"\0".join(path.read_bytes() for path in files)
    for target in chosen:
        for name, data in places.items():
            counted.count(name, any(text.encode() in data for text in target.texts))
    for certificate in certificates:
        counted.count("certificates that do not hold", not verify_certificate(certificate, memory))


def tell_again(memory: Mnemos, history: History, chosen: Sequence[Target], counted: Acceptance) -> None:
    """The same ids must be refused; the same texts, told anew, must be found again."""
    space = memory.space(history.name)
    for target in chosen:
        cube = target.cubes[-1]
        try:
            space.add(cube.text, id=cube.id)
            refused = False
        except Conflict:
            refused = True
        counted.count("forgotten ids taken again", not refused)
        told = space.add(cube.text, author=cube.author, event_at=cube.event_at, source=cube.source)
        counted.count("not found when told again", told.id not in {hit.cube.id for hit in space.search(cube.text, k=K)})


def utility(system: MnemosSystem, items: Sequence[Item]) -> float:
    """Accuracy on items with live retrieval."""
    return sum(system.answer(item, "OR").text == item.answer for item in items) / len(items)
