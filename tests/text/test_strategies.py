"""What holds for every strategy, whatever it does: run on each that is registered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnemos
from mnemos.base.cube import Link
from mnemos.base.errors import NotFound, PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.base.lineage import VIEW_OF
from mnemos.index.space_index import Omitted
from mnemos.kernel.exchange.transfer import export_jsonl
from mnemos.kernel.space import Space
from mnemos.text.registry import STRATEGIES, make

PEOPLE = ("Ann", "Bob", "Carla", "Deniz", "Emil", "Fatou")
PLACES = ("Lyon", "Oslo", "Quito", "Hanoi", "Perth", "Turin")
JOBS = ("baker", "surgeon", "pilot", "printer", "diver", "weaver")


def history(n: int, seed: int = 7) -> list[dict[str, object]]:
    """Turns of `n` short conversations: who lives where, who does what, who knows whom, and small talk."""
    source, out = random.Random(seed), []
    for session in range(n):
        day = f"2024-{1 + session % 12:02d}-{1 + session % 28:02d}T10:00:00+00:00"
        person, place, job, friend = (source.choice(words) for words in (PEOPLE, PLACES, JOBS, PEOPLE))
        for author, text in (
            (person, f"Hello! I have moved to {place}, and I like the market there."),
            (friend, f"How nice. And do you still work as a {job}, {person}?"),
            (person, f"Yes, as a {job}. My neighbour {friend} in {place} keeps {source.randint(2, 9)} hens."),
            (friend, "That made me laugh. See you soon!"),
        ):
            out.append({"text": text, "author": author, "type": "turn", "event_at": day, "metadata": {"session": session}})
    return out


QUESTIONS = ("Where does Ann live?", "Who works as a pilot?", "What does Bob's neighbour keep?", "hens", "When did somebody move to Oslo?", "")


@pytest.fixture(params=sorted(STRATEGIES))
def space(request: pytest.FixtureRequest) -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        yield mem.space("talks", strategy=request.param)


def found(space: Space, question: str, k: int = 5, **conditions: object) -> list[tuple[str, float]]:
    return [(hit.cube.text, round(hit.score, 4)) for hit in space.search(question, k=k, **conditions)]  # type: ignore[arg-type]


def asked() -> list[str]:
    return [question for question in QUESTIONS if question]


def test_it_says_what_it_is_for() -> None:
    for name in STRATEGIES:
        strategy = make(name)
        assert strategy.name == name
        assert 20 < len(strategy.about) < 160


def test_k_come_back_wherever_k_exist_none_twice(space: Space) -> None:
    cubes = space.add_many(history(12))
    for _ in range(2):
        for question in asked():
            for k in (1, 7, len(cubes), 100):
                hits = space.search(question, k=k)
                assert len({hit.cube.id for hit in hits}) == len(hits) <= k
                sources = {hit.cube.id for hit in hits} & {cube.id for cube in cubes}
                assert len(hits) == k or len(sources) == len(cubes)
                assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        space.consolidate()


def test_an_empty_space_gives_nothing(space: Space) -> None:
    assert space.search("anything at all") == []
    assert space.consolidate().seen == 0


def test_what_was_just_written_is_found_before_any_consolidation(space: Space) -> None:
    space.add_many(history(10))
    space.consolidate()
    cube = space.add("The quetzal nests in the bell tower of Arezzo.", type="turn", author="Ann")
    assert space.search("Where does the quetzal nest?", k=3)[0].cube.id == cube.id


def test_consolidating_again_changes_nothing(space: Space) -> None:
    space.add_many(history(10))
    first = space.consolidate()
    position, before = space.system.position(), [found(space, question) for question in asked()]
    again = space.consolidate()
    assert (again.seen, again.added, again.revised, again.retired) == (0, 0, 0, 0), first
    assert space.system.position() == position
    assert [found(space, question) for question in asked()] == before


def test_filters_hold(space: Space) -> None:
    space.add_many(history(15))
    space.consolidate()
    for question in asked():
        sources = [hit.cube for hit in space.search(question, k=10, author="Ann", types=["turn"])]
        assert all(cube.author == "Ann" and cube.type == "turn" for cube in sources)


def test_what_may_not_be_seen_is_as_if_it_were_not_there(space: Space) -> None:
    """Two spaces: in one, some memories were quarantined; in the other they were never written. Strategies that follow what they see find the
    same once both are consolidated, and the hidden words in neither."""
    cubes = space.add_many(history(12))
    secret = space.add("The vault's code is 4711, says Ann.", type="turn", author="Ann")
    space.consolidate()
    space.quarantine(secret.id)
    for question in ("What is the vault's code?", *asked()):
        assert not any("4711" in text for text, _ in found(space, question, k=20))
    assert len(cubes) == 48


def test_views_of_what_somebody_may_not_read_do_not_speak_for_it(space: Space) -> None:
    space.add_many(history(8))
    secret = space.add("The vault's code is 4711, says Ann.", type="turn", author="Ann")
    space.consolidate()
    space.set_acl(secret.id, {"read": ["carol"]})
    space.system.space("talks", acl={"read": ["bob"]})
    theirs = space.system.as_principal("bob").space("talks")
    for question in ("What is the vault's code?", *asked()):
        assert not any("4711" in hit.cube.text for hit in theirs.search(question, k=20))
    assert not any("4711" in cube.text for cube in theirs.list(limit=1000))
    assert not any("4711" in cube.text for cube in theirs.list(limit=1000, types=["note", "thought", "summary", "relation", "keywords"]))


def test_what_is_forgotten_is_in_no_view(space: Space) -> None:
    cubes = space.add_many(history(10))
    secret = space.add("The vault's code is 4711, says Ann.", type="turn", author="Ann")
    space.consolidate()
    space.forget([secret.id])
    held = [cube.text + str(cube.metadata) + str(cube.tags) for cube in space.list(limit=1000)]
    assert not any("4711," in text or "vault" in text.lower() for text in held)  # digits alone may stand in an id
    space.consolidate()
    assert {cube.id for cube in cubes} <= {cube.id for cube in space.list(limit=1000, types=["turn"])}
    assert space.system.verify().ok


def test_what_is_corrected_is_found_as_it_is_now(space: Space) -> None:
    space.add_many(history(10))
    cube = space.add("The quetzal nests in the bell tower of Arezzo.", type="turn", author="Ann")
    space.consolidate()
    space.update(cube.id, "The quetzal nests in the old mill of Arezzo.")
    for _ in range(2):
        hits = space.search("Where does the quetzal nest?", k=20)
        assert any("mill" in hit.cube.text for hit in hits[:3])
        assert not any("bell tower" in hit.cube.text for hit in hits)
        space.consolidate()


def test_the_past_is_as_it_was(space: Space) -> None:
    space.add_many(history(10))
    space.consolidate()
    before = [found(space, question) for question in asked()]
    position = space.system.position()
    space.add_many(history(4, seed=9))
    space.consolidate()
    assert [found(space, question, as_of=position) for question in asked()] == before


def test_a_canary_that_looks_past_what_came_sees_what_was(space: Space) -> None:
    """How the other arm of a canary reads a space: what was written, consolidated and retired since is as if it were not there."""
    space.add_many(history(10))
    space.consolidate()
    before = [found(space, question) for question in asked()]
    begin = space.system.position()
    space.add_many(history(4, seed=9))
    space.consolidate()
    end = space.system.position()
    with space.system.snapshot() as snapshot:
        arm = Space(space.system, space.system.space_row(snapshot, space.num))
        arm.omitted = Omitted(begin, end, snapshot.states_at(space.num, begin))
    assert [found(arm, question) for question in asked()] == before


@pytest.mark.parametrize("rule", ["acl", "clearance"])
def test_by_no_way_is_anything_told_of_what_may_not_be_read(space: Space, rule: str, tmp_path: Path) -> None:
    """The views of a memory, their versions, lineage, exports and log entries, asked for by somebody who may read all but that memory."""
    space.add_many(history(3))
    label = {"sensitivity": "secret"} if rule == "clearance" else {}
    secret = space.add("My vault's code is 4711, and it is in Zanzibar.", type="turn", author="Ann", metadata={"session": 2}, **label)
    space.consolidate()
    told = told_to("bob", space, tmp_path / "before")
    assert told == ["nothing"], "he may not read the space at all"
    if rule == "acl":
        space.set_acl(secret.id, {"read": ["ann"]})
    space.system.space("talks", acl={"read": ["bob"]}, clearance={"bob": "internal"})
    told = told_to("bob", space, tmp_path / "after")
    assert len(told) > 20
    assert not [text for text in told if "zanzibar" in text.lower()]
    control = told_to("carol", space, tmp_path / "control", acl={"read": ["carol"]}, of=secret.id)
    assert any("zanzibar" in text.lower() for text in control), "or it is blind"


def told_to(principal: str, space: Space, folder: Path, acl: dict[str, list[str]] | None = None, of: str | None = None) -> list[str]:
    """All that a principal gets to see of a space, in every way there is."""
    system = space.system
    if acl is not None and of is not None:
        system.space(space.name, acl=acl, clearance={principal: "secret"})
        space.set_acl(of, None)
    everything = [cube.id for cube in space.list(limit=1000, states=["generated", "activated", "archived", "merged"])]
    theirs = system.as_principal(principal)
    try:
        there = theirs.space(space.name)
        out = [str(there.list(limit=1000, states=["generated", "activated", "archived", "merged"]))]
    except PermissionDenied:
        return ["nothing"]
    for name in STRATEGIES:
        for types in (None, [cube.type for cube in space.list(limit=1000)]):
            hits = there.search("What is the code of Ann's vault in Zanzibar?", k=100, strategy=name, types=types)
            out += [f"{hit.cube}" for hit in hits]
    out += [there.context("the vault", 10_000).text, there.answer("What is the vault's code?").text]
    out.append(str([entry.body_json() for entry in theirs.log()]))
    for id in everything:
        for look in (there.get, there.history, there.explain):
            try:
                out.append(str(look(id)))
            except NotFound as error:
                out.append(str(error))
    folder.mkdir()
    export_jsonl(theirs, folder / "lines.jsonl", spaces=[space.name])
    out.append((folder / "lines.jsonl").read_text())
    return out


def test_it_is_the_same_after_opening_again(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for name in STRATEGIES:
        with mnemos.open(tmp_path / f"{name}.db", embedder="hashed") as mem:
            space = mem.space("talks", strategy=name)
            space.add_many(history(8))
            space.consolidate()
            before = [found(space, question) for question in asked()]
        with mnemos.open(tmp_path / f"{name}.db", embedder="hashed") as mem:
            assert [found(mem.space("talks"), question) for question in asked()] == before
            assert mem.verify().ok


def test_every_view_names_its_sources(space: Space) -> None:
    space.add_many(history(10))
    space.consolidate()
    for cube in space.list(limit=1000):
        if cube.type == "turn":
            continue
        assert cube.metadata["strategy"] == space.strategy_name
        assert cube.derived_from, cube.text
        for link in cube.derived_from:
            assert space.get(link.id)


def test_an_unknown_one_is_named(space: Space) -> None:
    with pytest.raises(NotFound, match="plain"):
        space.system.space("talks", strategy="no such")


JUNK = ({}, {"own": 5, "edges": {"a": 1}}, {"edges": [{"to": "no id"}, 7, {"kind": 5, "weight": "x"}], "evolutions": 5, "thought": []})


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_views_that_somebody_wrote_by_hand_break_nothing(space: Space, how: str) -> None:
    """Who may write may change a view's metadata, or write what looks like a view: others read and consolidate on."""
    name = space.strategy_name
    cubes = space.add_many(history(6))
    space.consolidate()
    views = [cube for cube in space.list(limit=1000) if cube.type != "turn"]
    if how == "damaged":
        for at, view in enumerate(views):
            space.update(view.id, metadata={"strategy": name, **JUNK[at % len(JUNK)]})
    else:
        for type_ in {"fact", *(view.type for view in views)}:
            for junk in JUNK:
                made_of = [Link(parse_id(cubes[3].id), 1, VIEW_OF)]
                space.add(f"A forged {type_}.", type=type_, derived_from=made_of, metadata={"strategy": name, **junk})
    for _ in range(2):
        assert all(len(space.search(question, k=5)) == 5 for question in asked())
        space.update(cubes[3].id, "Something else altogether.")
        space.add_many(history(2, seed=3))
        space.consolidate()
    assert {cube.id for cube in cubes} <= {cube.id for cube in space.list(limit=1000)}
    assert space.system.verify().ok
