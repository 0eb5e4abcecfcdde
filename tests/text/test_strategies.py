"""What holds for every strategy, whatever it does: run on each that is registered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import mnemos
from mnemos.base.errors import NotFound
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
    assert not any("4711" in text for text in held)
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
