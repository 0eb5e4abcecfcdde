"""KV memories of a space at its edges: readers, views, threads, what is dropped and kept again, many of them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from kernel.kv.held_tier import Held
from mnemos.errors import Invalid, PermissionDenied
from mnemos.kernel import lineage
from mnemos.kernel.scheduling import Scheduler

torch.set_num_threads(1)
MODEL = model()
LONG = "All of it was said before. " * 18


def opened(tmp_path: Path) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL)


def test_what_is_kept_again_after_it_was_dropped_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        id = space.add("Alice moved to Lisbon.").id
        space.kv.warm(id)
        space.kv.take([id])
        space.kv.drop(id)
        space.kv.warm(id)
        assert space.kv.take([id]).read == 0
        assert [entry.source for entry in space.kv.entries()] == [id]


def test_threads_keep_a_text_once(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        id = space.add("Alice moved to Lisbon.").id
        threads = [threading.Thread(target=space.kv.warm, args=(id,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(space.kv.entries()) == 1


def test_who_may_only_read_takes_and_keeps_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        alice = mem.as_principal("alice")
        id = alice.space("shared", acl={"read": ["bob"]}).add(LONG).id
        theirs = mem.as_principal("bob").space("shared").kv
        for _ in range(6):
            assert theirs.take([id]).taken == 0
        assert theirs.entries() == []
        alice.space("shared").kv.warm(id)
        assert theirs.take([id]).read == 0
        with pytest.raises(PermissionDenied):
            theirs.drop(id)
        assert mem.scheduler.holds("kv", id)
        mem.scheduler.drop("kv", id)  # it gives way, in a call of one who may not forget it
        other = alice.space("shared").add("Another text.").id
        theirs.take([other])
        assert len(theirs.entries()) == 1
        alice.space("shared").kv.take([other])
        assert theirs.entries() == []


def test_a_view_of_the_past_takes_and_keeps_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        id = space.add(LONG).id
        past = space.at(mem.position())
        for _ in range(6):
            assert past.kv.take([id]).taken == 0
        assert space.kv.entries() == []


def test_a_mode_that_is_none_is_refused_for_a_single_text_too(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        id = mem.space("alice").add("Alice moved to Lisbon.").id
        with pytest.raises(Invalid, match="blended"):
            mem.space("alice").kv.take([id], "nonsense")


def test_all_are_listed_however_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "_CHUNK", 2)
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = [space.add(f"Text number {number}.").id for number in range(5)]
        space.kv.warm(ids)
        assert [entry.source for entry in space.kv.entries()] == ids


@pytest.mark.parametrize("policy", ["value", "lru"])
def test_what_is_adopted_stays_within_the_budget(policy: str) -> None:
    tier, scheduler = Held(), Scheduler(lambda: 0)
    scheduler.register(tier, 100, policy=policy)
    for key in "abc":
        scheduler.adopt("held", key, 60)
    assert scheduler.tiers()["held"]["bytes"] == 60
    assert len(tier.dropped) == 2
