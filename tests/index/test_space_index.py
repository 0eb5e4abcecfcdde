"""A space's index: followed step by step it is the one made afresh; it filters before it ranks; it shows the past as the past was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.cube import State
from mnemos.index.space_index import SpaceIndex
from mnemos.index.terms import query_terms
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder
from support import EMBEDDER, START, HandClock

OTHER = HashedEmbedder(dimensions=16)
WORDS = ["lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge"]
_texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
_fields = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["turn", "fact", "note"]),
        "author": st.sampled_from(["Ann", "Bob"]),
        "source": st.sampled_from(["s1", "s2"]),
        "tags": st.lists(st.sampled_from("ab"), unique=True),
        "metadata": st.sampled_from([{"n": 1}, {"n": 2, "session": 3}]),
        "event_at": st.sampled_from(["2023-01-01", "2023-06-01"]),
        "valid_from": st.just("2023-01-01"),
        "valid_to": st.just("2023-03-01"),
        "expires_at": st.sampled_from(["2001-01-01", "2999-01-01"]),
    },
)
_acts = st.sampled_from(["add", "add", "add", "update", "update", "state", "forget", "freeze", "embed", "other space", "search"])
_ops = st.lists(st.tuples(_acts, st.integers(0, 99), _texts, _fields), min_size=6, max_size=25)
KINDS = [State.ACTIVATED, State.ARCHIVED, State.GENERATED, State.QUARANTINED]


class Still(HandClock):
    """A clock that stands, so that two searches ask at the same time."""

    def __call__(self) -> int:
        return self.now


class Story:
    """Applies operations to a store; the n-th cube has the n-th id, so that the same story told twice gives the same cubes."""

    def __init__(self) -> None:
        self.mem = Mnemos(":memory:", embedder=EMBEDDER, clock=Still())
        self.space, self.other = self.mem.space("one"), self.mem.space("two")
        self.ids: list[str] = []
        self.dead: set[str] = set()
        self.frozen: set[str] = set()
        self.made = 0

    def act(self, what: str, which: int, text: str, fields: dict[str, Any]) -> None:
        self.made += 1
        new = str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 + self.made))
        living = [id for id in self.ids if id not in self.dead]
        id = living[which % len(living)] if living else None
        if what == "add":
            self.ids.append(self.space.add(text, id=new, **fields).id)
        elif what == "other space":
            self.other.add(text, id=new, **fields)
        elif id is None:
            return
        elif what == "freeze":
            (self.space.unfreeze if id in self.frozen else self.space.freeze)(id)
            self.frozen ^= {id}
        elif id in self.frozen:
            return
        elif what == "update":
            self.space.update(id, text, **fields)
        elif what == "state":
            with self.mem.writing() as transaction:
                if transaction.standing(UUID(id)).state.may_become(state := KINDS[which % len(KINDS)]):
                    transaction.set_state(UUID(id), state)
        elif what == "forget":
            self.space.forget([id])
            self.dead.add(id)
        elif what == "embed":
            with self.mem.writing() as transaction:
                seq = transaction.standing(UUID(id)).seq
                vector = OTHER.embed([transaction.versions([seq])[seq].content.text])[0]
                transaction.put_vectors(transaction.embedder(OTHER.fingerprint, 16), [(seq, vector.tobytes())], replace=True)


def columns(index: SpaceIndex, query: str) -> dict[int, Any]:
    """What an index says of each living row, by log position, in words rather than codes."""
    alive = index.died.view() != 0
    words = index.lexical.search(query_terms(query), alive)
    cosines = index.vectors.cosines({1: EMBEDDER.embed([query])[0], 2: OTHER.embed([query])[0]})
    tags = {tag: index.with_tags([tag]) for tag in "ab"}
    out = {}
    for row in np.flatnonzero(alive).tolist():
        named = (index.types, index.type), (index.authors, index.author), (index.sources, index.source), (index.threads, index.thread)
        plain = index.died, index.state, index.flags, index.created_at, index.event_at, index.valid_from, index.valid_to, index.expires_at
        numbers = [float(words.bm25[row]), float(words.coverage[row]), -2.0 if cosines is None else float(cosines[row])]
        out[int(index.seq.view()[row])] = (
            [codes.words[code] if (code := column.view()[row]) >= 0 else None for codes, column in named],
            [int(column.view()[row]) for column in plain],
            [tag for tag, mask in tags.items() if mask[row]],
            pytest.approx(numbers, abs=1e-5, nan_ok=True),
        )
    return out


def plain(found: dict[int, Any]) -> dict[int, Any]:
    return {seq: (*row[:3], row[3].expected) for seq, row in found.items()}


@given(_ops)
def test_an_index_that_followed_the_log_is_the_one_made_afresh(ops: list[tuple[str, int, str, dict[str, Any]]]) -> None:
    story, followed = Story(), SpaceIndex(1)
    for op in [*ops, ("search", 0, "tram", {})]:
        story.act(*op)
        if op[1] % 2 == 0:
            with story.mem.snapshot() as snapshot:
                followed.catch_up(snapshot)
                fresh = SpaceIndex(1)
                fresh.catch_up(snapshot)
                for where in ({"n": 1}, {"session": {"exists": True}}):
                    seen = [set(i.seq.view()[i.with_metadata(where, snapshot) & (i.died.view() != 0)].tolist()) for i in (followed, fresh)]
                    assert seen[0] == seen[1]
            assert plain(columns(followed, op[2])) == columns(fresh, op[2])
            assert followed.position == story.mem.position()
    story.mem.close()


def scores(space: Space, query: str, **conditions: Any) -> dict[tuple[str, int], float]:
    return {(hit.cube.id, hit.cube.version): hit.score for hit in space.search(query, k=1000, **conditions)}


@given(_ops, st.data())
def test_a_search_of_the_past_is_a_search_of_a_store_that_stopped_there(ops: list[tuple[str, int, str, dict[str, Any]]], data: st.DataObject) -> None:
    ops = [op for op in ops if op[0] != "embed"]  # vectors are no entries of the log: the past is searched with those of today
    stop = data.draw(st.integers(0, len(ops)))
    query = data.draw(_texts) + data.draw(st.sampled_from(["", " Ann", " says Bob?", " 2023"]))
    whole, stopped = Story(), Story()
    for op in ops[:stop]:
        whole.act(*op)
        stopped.act(*op)
    position = whole.mem.position()
    for op in ops[stop:]:
        whole.act(*op)
    for id in whole.dead - stopped.dead:
        if id in stopped.ids:  # what was forgotten since is gone from the past too
            if id in stopped.frozen:
                stopped.space.unfreeze(id)
            stopped.space.forget([id])
    wanted = scores(stopped.space, query)
    assert scores(whole.space, query, as_of=position) == pytest.approx(wanted, abs=1e-4)
    assert scores(whole.space.at(position), query) == pytest.approx(wanted, abs=1e-4)
    story, stopped_list = whole.space.at(position).list(limit=1000), stopped.space.list(limit=1000)
    assert [(cube.id, cube.version, cube.text, cube.state) for cube in story] == [(c.id, c.version, c.text, c.state) for c in stopped_list]
    whole.mem.close()
    stopped.mem.close()


def test_cosines_are_those_of_the_vectors_that_were_stored(mem: Mnemos) -> None:
    texts = [f"{WORDS[i % 8]} {WORDS[i * 3 % 7]} number {i}" for i in range(200)]
    mem.space("a").add_many([{"text": text} for text in texts])
    query = EMBEDDER.embed(["tram to the harbour"])[0]
    with mem.snapshot() as snapshot:
        index = SpaceIndex(1)
        index.catch_up(snapshot)
        cosines = index.vectors.cosines({1: query})
    assert cosines == pytest.approx(EMBEDDER.embed(texts).astype(np.float64) @ query, abs=1e-6)


CONDITIONS: dict[str, tuple[dict[str, Any], Callable[[int], bool]]] = {
    "types": ({"types": ["note", "turn"]}, lambda i: i % 3 in (0, 1)),
    "tags": ({"tags": ["even", "rare"]}, lambda i: i % 2 == 0 and i % 10 == 0),
    "author": ({"author": "Ann"}, lambda i: i % 5 == 0),
    "source": ({"source": "s7"}, lambda i: i == 7),
    "since": ({"since": "2024-01-11"}, lambda i: i >= 10),
    "until": ({"until": "2024-01-11"}, lambda i: i < 10),
    "valid_at": ({"valid_at": "2024-01-20"}, lambda i: i <= 19 and i + 5 > 19),
    "filter": ({"filter": {"n": {"gte": 30, "lt": 33}}}, lambda i: 30 <= i < 33),
    "nobody": ({"author": "Zoe"}, lambda i: False),
    "several": ({"types": ["fact"], "tags": ["even"], "until": "2024-02-01", "filter": {"n": {"gt": 3}}}, lambda i: i % 6 == 2 and 3 < i < 31),
    "none": ({}, lambda i: True),
}


@pytest.fixture(scope="module")
def forty() -> Any:
    with Mnemos(":memory:", embedder=EMBEDDER, clock=HandClock()) as mem:
        day = [f"2024-{1 + i // 31:02}-{1 + i % 31:02}" for i in range(60)]
        mem.space("a").add_many(
            {
                "text": f"{WORDS[i % 8]} {WORDS[i * 5 % 7]} {i}", "type": ("turn", "note", "fact")[i % 3],
                "tags": [*(["even"] if i % 2 == 0 else []), *(["rare"] if i % 10 == 0 else [])], "author": "Ann" if i % 5 == 0 else "Bob",
                "source": f"s{i}", "event_at": day[i], "valid_from": day[i], "valid_to": day[i + 5], "metadata": {"n": i},
            } for i in range(40)
        )  # fmt: skip
        yield mem.space("a")


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_come_before_ranking(forty: Space, name: str) -> None:
    conditions, holds = CONDITIONS[name]
    wanted = {i for i in range(40) if holds(i)}
    everything = forty.search("tram snow bridge 7", k=40, **conditions)
    assert {hit.cube.metadata["n"] for hit in everything} == wanted
    assert {cube.metadata["n"] for cube in forty.list(limit=100, **conditions)} == wanted
    order = [hit.cube.id for hit in everything]
    assert [hit.score for hit in everything] == sorted((hit.score for hit in everything), reverse=True)
    for k in (1, 2, 3, 7):
        assert [hit.cube.id for hit in forty.search("tram snow bridge 7", k=k, **conditions)] == order[:k]


def test_rows_that_are_filtered_out_do_not_bear_on_the_scores(forty: Space) -> None:
    with Mnemos(":memory:", embedder=EMBEDDER, clock=HandClock()) as small:
        kept = forty.list(limit=100, author="Ann")
        names = ("text", "type", "author", "source", "event_at", "tags", "metadata")
        small.space("a").add_many({name: getattr(cube, name) for name in names} for cube in kept)
        for query in ("tram 5", "what did Bob say about snow?", "Ann and the bridge"):
            alone = {hit.cube.source: hit.score for hit in small.space("a").search(query, k=40)}
            among = {hit.cube.source: hit.score for hit in forty.search(query, k=40, author="Ann")}
            assert among == pytest.approx(alone, abs=1e-4)


def test_what_alice_writes_does_not_move_bobs_scores_by_a_bit() -> None:
    def told(alice: bool) -> list[tuple[str, float, dict[str, float]]]:
        with Mnemos(":memory:", embedder=EMBEDDER, clock=Still(START)) as mem:
            for i in range(60):
                if alice:
                    hers = mem.space("alice")
                    cube = hers.add(f"tram {WORDS[i % 8]} snow {'lisbon ' * (i % 9)}", author=["Ann", "Guitar Man"][i % 2], tags=[f"t{i}"])
                    if i % 3 == 0:
                        hers.update(cube.id, "tram tram tram")
                    if i % 7 == 0:
                        hers.forget([cube.id])
                    hers.search("tram")
                mem.space("bob").add(f"{WORDS[i * 3 % 8]} {WORDS[i % 5]} {i}", author="Bob", source=str(i), metadata={"session": i % 4})
            queries = ("tram in snow", "what does Ann do?", "the guitar of Guitar Man", "Bob lisbon 12")
            found = [hit for query in queries for hit in mem.space("bob").search(query, k=60, explain=True)]
            return [(hit.cube.source or "", hit.score, dict(hit.signals)) for hit in found]

    assert told(alice=True) == told(alice=False)


def test_a_transaction_that_is_undone_leaves_nothing_in_the_index(mem: Mnemos) -> None:
    space = mem.space("a")
    kept = space.add("the tram to lisbon")
    before = scores(space, "tram lisbon")
    transaction = mem.transaction()
    transaction.__enter__()
    space.add("a second tram")
    space.update(kept.id, "no more trams")
    assert {version for _, version in scores(space, "tram")} == {1, 2}
    assert not transaction.__exit__(KeyError, KeyError(), None)
    assert scores(space, "tram lisbon") == before
    for i in range(4):  # these take the log positions that the undone writes had
        later = space.add(f"violin {i}")
        before |= {(later.id, 1): 0.0}
        assert scores(space, "violin").keys() == before.keys()
    with Mnemos(":memory:", embedder=EMBEDDER, clock=HandClock()) as other:
        other.space("a").add_many({"text": cube.text} for cube in space.list())
        assert sorted(scores(space, "tram violin 2").values()) == pytest.approx(sorted(scores(other.space("a"), "tram violin 2").values()), abs=1e-4)


def test_states_of_later_do_not_hide_or_show_what_the_past_showed(mem: Mnemos) -> None:
    space = mem.space("a")
    ids = [space.add(f"tram {state.word}").id for state in State]

    def set_states(*states: State | None) -> int:
        with mem.writing() as transaction:
            for id, state in zip(ids, states, strict=True):
                if state is not None:
                    transaction.set_state(UUID(id), state)
        return mem.position()

    generated, activated, merged, archived, expired, quarantined = State
    moments = [
        mem.position(),
        set_states(None, activated, merged, archived, expired, quarantined),
        set_states(quarantined, expired, archived, merged, generated, activated),
        set_states(generated, generated, activated, activated, None, None),
    ]
    visible = [set(ids), set(ids[:2]), set(ids[-2:]), set(ids)]
    for _ in range(2):
        for moment, wanted in zip(moments, visible, strict=True):
            assert {id for id, _ in scores(space, "tram", as_of=moment)} == wanted
            assert {cube.id for cube in space.list(as_of=moment)} == wanted
            assert {hit.cube.state for hit in space.search("tram", as_of=moment)} <= {"generated", "activated"}


def test_an_author_of_later_does_not_change_what_the_past_answers() -> None:
    early, late = Story(), Story()
    for story in (early, late):
        for i in range(12):
            story.act("add", 0, f"{WORDS[i % 8]} at the harbour {i}", {"author": "Ann"})
    position = late.mem.position()
    late.act("add", 0, "a word", {"author": "Lisbon Tram"})
    for query in ("the Lisbon Tram at the Harbour", "What did Lisbon Tram say?"):
        assert scores(late.space, query, as_of=position) == scores(early.space, query)
    late.act("forget", 12, "", {})
    assert scores(late.space, "What did Lisbon Tram say?") == scores(early.space, "What did Lisbon Tram say?")


def test_what_may_be_read_follows_every_change_of_rules_and_labels(mem: Mnemos) -> None:
    space, index = mem.space("s"), SpaceIndex(1)
    readers, levels = (("bob", "*"), ("carol", "*")), (("public", "internal"), ("public",))

    def same() -> None:
        fresh = SpaceIndex(space.num)
        with mem.store.snapshot() as snapshot:
            index.catch_up(snapshot)
            fresh.catch_up(snapshot)
            followed, made = (one.died.view() > 0 for one in (index, fresh))  # rows of what was forgotten stay in an index that followed
        for names in readers:
            assert index.readable(names)[followed].tolist() == fresh.readable(names)[made].tolist()
        for labels in levels:
            assert index.with_label(labels)[followed].tolist() == fresh.with_label(labels)[made].tolist()

    assert index.space == space.num
    first = space.add("one")
    same()
    assert index.readable(readers[0]).tolist() == [True]
    space.set_acl(first.id, {"read": ["carol"]})
    same()
    assert (index.readable(readers[0]).tolist(), index.readable(readers[1]).tolist()) == ([False], [True])
    second = space.add("two", sensitivity="internal")
    space.update(first.id, "one again", sensitivity="secret")
    same()
    assert index.with_label(levels[1]).tolist() == [True, False, False]
    space.set_acl(first.id, None)
    space.set_acl(second.id, {"read": ["*"]})
    same()
    assert index.readable(readers[0]).all()
    space.set_acl(second.id, {"write": []})
    space.forget(first.id)
    same()
