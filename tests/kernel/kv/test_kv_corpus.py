"""What a model remembers of a space: made by consolidation, asked by the strategy "clues", forgotten with its memories, seen by who sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import mnemos
from mnemos.activation.beacon.asking import Prompts
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.recaller import BeaconRecaller
from mnemos.activation.beacon.windows import Windows
from mnemos.base.protocols import Memorised, Recaller
from mnemos.errors import Invalid, ModelUnavailable
from mnemos.kernel.exchange import export_archive
from mnemos.kernel.kv.corpus import memorise
from mnemos.kernel.space import Space
from mnemos.models import reference
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)


@dataclass
class Quoting:
    """A recaller that recalls the lines which hold a word of the question, of the texts themselves."""

    fingerprint: str = "recaller:quoting"
    section: int = 12
    room: int | None = None
    asked: list[str] = field(default_factory=list)
    """All that was shown to it with each question."""
    joins: int = 0

    def count(self, text: str) -> int:
        return len(text.split())

    def memorise(self, name: str, text: str) -> Memorised:
        if not text.split():
            raise Invalid("there is nothing to read")
        return Memorised(f"{name}\n{text}".encode(), self.count(text), self.count(text))

    def joined(self, payloads: Sequence[bytes]) -> Any:
        self.joins += 1
        return "\n".join(payload.decode().split("\n", 1)[1] for payload in payloads)

    def recall(self, memory: Any, question: str) -> list[tuple[str, str]]:
        self.asked.append(memory)
        words = set(question.lower().strip("?").split())
        return [("recall", line) for line in memory.split("\n") if words & set(line.lower().rstrip(".").split())]


LINES = [
    "The wheelwright is called Tomas Brandl.", "Brandl keeps the blue key in a clay jar.", "The jar stands behind the stove of the mill.",
    "Rain fell for three days.", "The miller bakes on Fridays.", "A heron was seen at the weir.",
]  # fmt: skip


def opened(tmp_path: Path, recaller: Recaller | None, **options: Any) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "recaller": recaller, **options})


def filled(mem: mnemos.Mnemos) -> tuple[Space, list[str]]:
    space = mem.space("mill", strategy="clues")
    return space, [space.add(line).id for line in LINES]


def payloads(tmp_path: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file())


def shown(space: Space, recaller: Quoting, question: str = "wheelwright?", **where: Any) -> str:
    """What the recaller is shown at a search; nothing where it is not asked."""
    recaller.asked.clear()
    space.search(question, **where)
    return "".join(recaller.asked)


def test_it_is_made_by_consolidation_and_kept_over_a_restart(tmp_path: Path) -> None:
    recaller = Quoting()
    with opened(tmp_path, recaller) as mem:
        space, _ = filled(mem)
        assert shown(space, recaller) == ""
        assert space.consolidate().report["memorised"] == len(LINES)
        assert shown(space, recaller) == "\n".join(LINES)
        assert (space.consolidate().report["memorised"], len(space.kv.entries())) == (0, 3)
        shown(space, recaller)
        assert recaller.joins == 1  # it is put together once
    with opened(tmp_path, Quoting()) as mem:
        space = mem.space("mill")
        hits = space.search("wheelwright?", k=3)
        assert any("clue recall: The wheelwright" in name for hit in hits for name in hit.signals)
        entries = space.kv.entries()
        assert {entry.state for entry in entries} == {"ready"}
        assert sum(entry.bytes for entry in entries) == mem.scheduler.tiers()["kv"]["bytes"] == len(payloads(tmp_path))
        assert mem.verify().ok
        assert export_archive(mem, tmp_path / "all.mip").models == {}
    with opened(tmp_path, Quoting("recaller:other")) as mem:  # what another has read is of no use, and stays
        space = mem.space("mill")
        assert {entry.state for entry in space.kv.entries()} == {"other model"}
        assert space.consolidate().report["memorised"] == len(LINES)
    with opened(tmp_path, None) as mem:
        assert mem.space("mill").search("wheelwright?")[0].cube.text == LINES[0]
        with pytest.raises(ModelUnavailable):
            memorise(mem.space("mill"))


def test_what_it_recalls_leads_to_evidence_that_the_question_does_not_name(tmp_path: Path) -> None:
    with opened(tmp_path, None) as mem:
        space, _ = filled(mem)
        for number in range(40):
            space.add(f"The wheelwright number {number} has a shop of his own.")
        space.consolidate()
        before = [hit.cube.text for hit in space.search("wheelwright?", k=9)]
        assert LINES[1] not in before

        class Knowing(Quoting):
            def recall(self, memory: Any, question: str) -> list[tuple[str, str]]:
                return [("recall", "Brandl keeps the blue key"), ("answer", "in a jar"), ("recall", "no such words anywhere")]

        mem.recaller = Knowing(section=200)
        space.consolidate()
        hits = space.search("wheelwright?", k=9)
        found = next(hit for hit in hits if hit.cube.text == LINES[1])
        assert any(name.startswith("clue recall: Brandl") for name in found.signals)
        assert [hit.cube.text for hit in hits][:5] == before[:5]  # the best by the question keep their places
        assert not any("no such words" in name for hit in hits for name in hit.signals)


def test_a_memory_that_is_forgotten_or_changed_takes_its_section_and_the_next_one_lacks_it(tmp_path: Path) -> None:
    recaller = Quoting()
    with opened(tmp_path, recaller) as mem:
        space, ids = filled(mem)
        space.consolidate()
        shown(space, recaller)
        certificate = space.forget([ids[1]])
        assert b"blue key" not in payloads(tmp_path)
        assert len(certificate.cubes) == 2
        assert mem.joined == {}
        assert "blue key" not in shown(space, recaller)
        assert space.consolidate().report["memorised"] == 1  # what stood beside it
        assert shown(space, recaller).split("\n") == [LINES[2], LINES[3], LINES[4], LINES[5], LINES[0]]
        space.update(ids[4], "The miller bakes on Mondays.")
        assert "bakes" not in shown(space, recaller)
        space.archive(ids[2])
        space.consolidate()
        said = shown(space, recaller)
        assert ("Mondays" in said, "Fridays" in said, "stove" in said) == (True, False, False)
        assert b"Fridays" not in payloads(tmp_path)
        assert mem.verify().ok


def test_who_may_not_see_a_memory_is_told_nothing_of_it(tmp_path: Path) -> None:
    recaller = Quoting()
    with opened(tmp_path, recaller) as mem:
        mem.as_principal("owner").space("mill", strategy="clues", acl={"read": ["bob"]}, clearance={"bob": "internal"})
        owner, bob = (mem.as_principal(name).space("mill") for name in ("owner", "bob"))
        ids = [owner.add(line, sensitivity="secret" if number == 0 else None).id for number, line in enumerate(LINES)]
        private = owner.add("The private note is about a duel.").id
        owner.set_acl(private, {"read": ["owner"]})
        mem.space("mill").consolidate()
        assert "duel" not in shown(owner, recaller)  # what only some may read is in none
        assert "Brandl" in shown(owner, recaller)
        assert "wheelwright" not in shown(bob, recaller)
        assert "heron" in shown(bob, recaller)
        owner.set_acl(ids[5], {"read": ["owner"]})
        assert "heron" not in shown(bob, recaller)
        assert "heron" not in shown(owner, recaller)


def test_conditions_and_times_hold_for_what_is_recalled(tmp_path: Path) -> None:
    recaller = Quoting(section=1)
    with opened(tmp_path, recaller) as mem:
        space = mem.space("mill", strategy="clues")
        space.add(LINES[0], tags=["people"])
        before = mem.position()
        space.add(LINES[1])
        space.consolidate()
        assert shown(space, recaller, tags=["people"]) == LINES[0]
        assert shown(space, recaller, as_of=before) == LINES[0]
        assert shown(space.at(before), recaller) == LINES[0]
        assert shown(space, recaller, strategy="plain") == ""
        assert shown(space, recaller, types=["document"]) == ""


def test_what_has_no_room_stays_out_the_oldest_first(tmp_path: Path) -> None:
    recaller = Quoting(section=1, room=12)
    with opened(tmp_path, recaller, kv_memory=10_000) as mem:
        space, _ = filled(mem)
        space.consolidate()
        assert shown(space, recaller) == "\n".join(LINES[4:])
    (tmp_path / "b").mkdir()
    with opened(tmp_path / "b", Quoting(section=1), kv_memory=150) as mem:
        space, _ = filled(mem)
        assert "stopped: no room for more KV memory" in space.consolidate().report
        assert 0 < mem.scheduler.tiers()["kv"]["bytes"] <= 150


# ---- the driver -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver() -> Any:
    module, tokenizer = reference.load()
    beacons = Beacons(module)
    model = LocalModel(module, tokenizer)
    prompts = Prompts(recall="<q> key {question} <a>", rewrite="", answer="<q> key {question} <a>", summarise="")
    yield BeaconRecaller(model, beacons, Windows(64, None), prompts, first=model.encode("<s>", special=False), tokens=8, draft=True)
    beacons.remove()


REGISTER = ["boze bupa : febe fiti ;", "febe fiti : bupa boze ;", "fiti boze : bupa bupa ;"]


def test_the_driver_recalls_of_all_that_it_was_given(tmp_path: Path, driver: BeaconRecaller) -> None:
    made: Recaller = driver
    parts = [made.memorise(str(number), line) for number, line in enumerate(REGISTER)]
    together = made.joined([part.payload for part in parts])
    assert [part.positions for part in parts] == [part.tokens for part in parts]  # nothing is compressed here
    assert ("recall", "febe fiti") in made.recall(together, "boze bupa")
    assert made.recall(together, "febe fiti")[0] == ("recall", "bupa boze")
    assert made.recall(together, "boze bupa")[-1] == ("answer", "febe fiti")
    alone = made.joined([parts[1].payload])
    assert ("recall", "febe fiti") not in made.recall(alone, "boze bupa")
    assert made.memorise("other name", REGISTER[0]).payload != parts[0].payload
    with opened(tmp_path, made) as mem:
        space = mem.space("register", strategy="clues")
        space.add_many({"text": line} for line in REGISTER)
        space.consolidate()
        assert any(name == "clue recall: febe fiti" for hit in space.search("boze bupa", k=3) for name in hit.signals)


def test_joined_libraries_are_what_one_library_would_be(driver: BeaconRecaller) -> None:
    def library(names: str) -> Library:
        out = Library(driver.beacons, Windows(4, 2), driver.first, apart=True)
        for name in names:
            out.memorise(name, driver.model.encode(REGISTER[int(name)] * 2, special=False))
        return out

    whole, joined = library("012"), library("0")
    joined.join(library("12"))
    assert (joined.parts, joined.documents) == (whole.parts, ("0", "1", "2"))
    assert joined.memory.get_seq_length() == whole.memory.get_seq_length()
    for one, other in zip(joined.memory.layers, whole.memory.layers, strict=True):
        assert all(torch.equal(had, its) for had, its in zip(one.remembered, other.remembered, strict=True))
    joined.forget("1")
    assert joined.documents == ("0", "2")
    with pytest.raises(Invalid, match="both"):
        joined.join(library("2"))
    with pytest.raises(Invalid, match="apart"):
        joined.join(Library(driver.beacons, Windows(4, 2), driver.first))
