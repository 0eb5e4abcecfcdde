"""The room that KV memories may take: what counts in it, what gives way, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from kernel.kv.held_tier import Held
from mnemos.errors import Frozen, Invalid, PermissionDenied, QuotaExceeded
from mnemos.kernel.kv.tier import tier_of
from mnemos.kernel.scheduling import Scheduler, replay
from mnemos.kernel.space import Space

torch.set_num_threads(1)
MODEL = model()
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.", "Carol sells old maps.")


def opened(tmp_path: Path, **options: object) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "language_model": MODEL, **options})  # type: ignore[arg-type]


def warmed(mem: mnemos.Mnemos, count: int = 3) -> tuple[Space, list[str]]:
    space = mem.space("alice")
    ids = [space.add(text).id for text in TEXTS[:count]]
    space.kv.warm(ids)
    return space, ids


def held(space: Space) -> list[str]:
    return [entry.source for entry in space.kv.entries()]


def test_what_was_warmed_and_not_used_since_counts(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())
        assert mem.scheduler.tiers()["kv"]["bytes"] == size == sum(path.stat().st_size for path in tmp_path.rglob("memory.db-blobs/*/*"))
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        assert held(space) == ids
        assert mem.scheduler.tiers()["kv"]["bytes"] == size
        fourth = space.add(TEXTS[3]).id
        space.kv.warm(fourth)  # nothing was used: those that are oldest give way
        assert held(space)[-1] == fourth
        assert ids[0] not in held(space)
        assert sum(entry.bytes for entry in space.kv.entries()) <= size
        assert space.get(ids[0]).text == TEXTS[0]


def test_what_is_used_stays_before_what_is_not(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())
        for _ in range(3):
            space.get(ids[0])  # uses are remembered by text, over a restart, too
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        space.kv.take([ids[1]])
        space.kv.warm(space.add(TEXTS[3]).id)
        assert set(ids[:2]) <= set(held(space))
        assert ids[2] not in held(space)


def test_what_matters_more_stays_before_what_is_used_as_often(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())
        space.update(ids[0], priority=8.0)
        space.kv.warm(ids[0])  # what was read of it before is out of date
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        for id in (*ids, *ids[1:]):
            space.kv.take([id])
        space.kv.warm(space.add(TEXTS[3]).id)
        assert ids[0] in held(space)
        assert len(held(space)) == 3


def test_what_is_frozen_never_gives_way(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())
        space.freeze(space.kv.inspect(ids[0]).id)
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        space.kv.warm(space.add(TEXTS[3]).id)
        assert ids[0] in held(space)
        assert ids[1] not in held(space)
        with pytest.raises(Frozen):
            space.kv.drop(ids[0])
    with opened(tmp_path, kv_memory=size // 2) as mem:
        space = mem.space("alice")
        with pytest.raises(QuotaExceeded, match="kv_memory"):
            space.kv.warm(space.add("All of it was said before, and again. " * 3).id)
        assert ids[0] in held(space)


def test_what_is_in_use_is_not_forgotten_meanwhile(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem, 2)
        tier = tier_of(mem)
        with tier.using(ids[0]):
            mem.scheduler.drop("kv", ids[0])
            tier.let_go(mem)
            assert ids[0] in held(space)
        tier.let_go(mem)
        assert ids[0] not in held(space)


def test_what_was_forgotten_or_made_elsewhere_is_known_when_room_is_short(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem, 2)
        size = sum(entry.bytes for entry in space.kv.entries())
    with opened(tmp_path, kv_memory=size) as mem:
        space = mem.space("alice")
        space.kv.take([ids[1]])
        space.forget([ids[0]])
        third = space.add(TEXTS[2]).id
        with opened(tmp_path) as other:
            other.space("alice").kv.warm(third)
        fourth = space.add(TEXTS[3]).id
        space.kv.warm(fourth)
        assert held(space) == [ids[1], fourth]
        assert mem.scheduler.tiers()["kv"]["bytes"] == sum(entry.bytes for entry in space.kv.entries())


def test_what_other_models_have_read_counts_and_gives_way(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem, 2)
        size = sum(entry.bytes for entry in space.kv.entries())
    with opened(tmp_path, language_model=model(1), kv_memory=size) as mem:
        space = mem.space("alice")
        space.kv.warm(ids[1])
        assert [(entry.source, entry.state) for entry in space.kv.entries()] == [(ids[1], "other model"), (ids[1], "ready")]


def test_a_text_that_has_changed_is_kept_again_by_itself(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        id = space.add("All of it was said before. " * 18).id
        while not space.kv.take([id]).taken:
            pass
        space.update(id, text="Nothing of it was said before. " * 14)
        for _ in range(6):
            space.kv.take([id])
        assert [entry.state for entry in space.kv.entries()] == ["ready"]


def test_a_budget_is_a_number_of_bytes(tmp_path: Path) -> None:
    for wrong in (0, -1, 1.5, True, "2G"):
        with pytest.raises(Invalid, match="kv_memory"):
            opened(tmp_path, kv_memory=wrong)


def test_room_may_be_set_at_any_time_and_what_is_worth_least_gives_way_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        alice = mem.as_principal("alice")  # a view from before
        space, ids = warmed(mem)
        space.kv.take([ids[0]])
        space.freeze(space.kv.inspect(ids[2]).id)
        size = sum(entry.bytes for entry in space.kv.entries())
        fourth = space.add(TEXTS[3]).id
        with opened(tmp_path) as other:
            other.space("alice").kv.warm(fourth)
        assert len(held(space)) == 4
        mem.kv_memory = size
        assert mem.kv_memory == alice.kv_memory == mem.scheduler.tiers()["kv"]["budget"] == size
        assert set(held(space)) == {ids[0], ids[2], held(space)[-1]}
        assert mem.scheduler.tiers()["kv"]["bytes"] == sum(entry.bytes for entry in space.kv.entries()) <= size
        mem.kv_memory = 1
        assert held(space) == [ids[2]], "what is frozen stays"
        with pytest.raises(QuotaExceeded, match="of the 1 that all may take"):
            space.kv.warm(ids[0])
        mem.kv_memory = 2 * size
        space.kv.warm(ids)
        assert set(held(space)) == set(ids)
        decided = mem.scheduler.decisions()
        assert [decision.key for decision in replay(mem.scheduler.log())] == [decision.key for decision in decided]


def test_room_set_in_a_transaction_gives_way_after_it_and_a_principal_sets_none(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        mem.space("alice", acl={"read": ["alice"]})
        with pytest.raises(PermissionDenied, match="all of the store"):
            mem.as_principal("alice").kv_memory = 1
        for wrong in (0, True, "2G"):
            with pytest.raises(Invalid, match="kv_memory"):
                mem.kv_memory = wrong  # type: ignore[assignment]
        space, _ = warmed(mem)
        with mem.transaction():
            mem.kv_memory = 1
            assert len(held(space)) == 3
        space.kv.drop(held(space)[0])
        space.kv.warm([])
        assert held(space) == []


def test_room_that_threads_set_while_others_read_is_what_was_set_last(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = warmed(mem)
        size = sum(entry.bytes for entry in space.kv.entries())

        def doing(act: Callable[[int], object]) -> None:
            for step in range(6):
                act(step)

        acts = [lambda step: setattr(mem, "kv_memory", size // (1 + step % 2)), lambda step: space.kv.take(ids[: 1 + step % 3])]
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(doing, act) for act in acts * 2]:
                done.result()
        assert mem.scheduler.tiers()["kv"]["budget"] == mem.kv_memory
        mem.kv_memory = size
        space.kv.warm(ids)
        assert mem.scheduler.tiers()["kv"]["bytes"] == sum(entry.bytes for entry in space.kv.entries()) <= size


@pytest.mark.parametrize("policy", ["value", "lru"])
def test_a_tier_of_any_policy_takes_another_budget(policy: str) -> None:
    tier, scheduler = Held(), Scheduler(lambda: 0)
    scheduler.register(tier, 200, policy=policy)
    for key in "abcd":
        scheduler.adopt("held", key, 50)
    scheduler.pin("held", ["a"])
    dropped = scheduler.rebudget("held", 100)
    assert sorted(dropped) == sorted(tier.dropped) == (["b", "c"] if policy == "value" else ["b"])
    assert scheduler.rebudget("held", 400) == []
    scheduler.adopt("held", "e", 50)
    assert {"a", "d", "e"} <= scheduler.held("held").keys()
    with pytest.raises(Invalid, match="a budget is a number of bytes"):
        scheduler.rebudget("held", 0)
    assert replay(scheduler.log()) == scheduler.decisions()


@pytest.mark.parametrize("policy", ["value", "lru"])
def test_what_is_pinned_is_no_victim(policy: str) -> None:
    tier, scheduler = Held(), Scheduler(lambda: 0)
    scheduler.register(tier, 100, policy=policy)
    for key in "ab":
        scheduler.adopt("held", key, 50)
    scheduler.pin("held", ["a"])
    scheduler.use("held", "c", 50)
    scheduler.adopt("held", "d", 50)
    assert "a" not in tier.dropped
    scheduler.pin("held", "abcd")
    scheduler.use("held", "e", 60)
    if policy == "value":
        assert "e" not in scheduler.held("held")
        scheduler.cool("held", "a")
        assert [decision.key for decision in replay(scheduler.log())] == [decision.key for decision in scheduler.decisions()]
