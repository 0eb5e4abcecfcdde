"""Texts read ahead: those that a line of conversation is likely to need next, for nobody else, and never instead of what is hotter."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.errors import Invalid
from mnemos.kernel.kv.ahead import KIND
from mnemos.kernel.kv.tier import tier_of
from mnemos.kernel.scheduling import Foresight
from mnemos.kernel.space import Space

torch.set_num_threads(1)
MODEL = model()
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.")
ROUND = Foresight(scenes=1, share=1.0, idle=0.01)


def opened(path: Path, within: float = 0.1, **options: Any) -> mnemos.Mnemos:
    """A store whose scheduler has measured so many seconds for 10,000 bytes, and measures nothing more."""
    mem = mnemos.open(path / "memory.db", **{"embedder": "none", "language_model": MODEL, "kv_ahead": ROUND, **options})
    tier_of(mem)
    for size in (10_000, 20_000, 40_000):
        for part, seconds in (("build", 1.1), ("without", 1.0), ("within", within)):
            mem.scheduler.observe("kv", part, size, seconds * size / 1e4)
    mem.scheduler.observe = lambda *measured: None  # type: ignore[method-assign]
    return mem


def texts(space: Space) -> list[str]:
    return [space.add(text).id for text in TEXTS]


def go_round(space: Space, ids: list[str], times: int = 3) -> None:
    """By all texts, one after the other, so often; then what was kept of them gives way, and the last one is taken once more: the first is next."""
    for _ in range(times):
        for id in ids:
            space.kv.take([id])
    mem = space.system
    for key in mem.scheduler.held("kv"):
        mem.scheduler._ledger("kv").let_go(key)
    tier_of(mem).let_go(mem)
    assert kept(space) == set()
    space.kv.take(ids[-1:])


def kept(space: Space) -> set[str | None]:
    return {entry.source for entry in space.kv.entries()}


def waiting(mem: mnemos.Mnemos) -> list[Any]:
    return list(mem.jobs.list("waiting", kind=KIND))


def test_what_came_next_before_is_read_ahead(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = texts(space)
        go_round(space, ids)
        [job] = waiting(mem)
        assert job.priority < 0
        assert TEXTS[0] not in str(job.as_json())
        mem.jobs.drain(timeout=30)
        assert kept(space) == {ids[0], ids[2]}
        decision = next(each for each in mem.scheduler.decisions() if each.reason == "it is likely to be used next")
        assert decision.key == ids[0]
        assert space.kv.take(ids[:1]).read == 0
        before = mem.scheduler.tiers()["kv"]["bytes"]
        assert before == sum(entry.bytes for entry in space.kv.entries())


def test_nothing_is_read_ahead_without_a_model_or_a_wish_or_a_right(tmp_path: Path) -> None:
    with opened(tmp_path, kv_ahead=None) as mem:
        space = mem.space("alice", acl={"read": ["bob"]})
        ids = texts(space)
        go_round(space, ids)
        assert waiting(mem) == []
        mem.kv_ahead = Foresight(share=0.0)
        go_round(space, ids)
        assert waiting(mem) == []
        mem.kv_ahead = ROUND
        reader = mem.as_principal("bob").space("alice")
        for _ in range(4):
            for id in ids:
                reader.kv.take([id])
        assert waiting(mem) == []  # who may not write keeps nothing
    with pytest.raises(Invalid, match="kv_ahead"):
        opened(tmp_path, kv_ahead=0.5)
    for wrong in ({"scenes": 0}, {"share": 1.5}, {"idle": -1.0}, {"pause": -1.0}):
        with pytest.raises(Invalid):
            Foresight(**wrong)  # type: ignore[arg-type]


def test_what_does_not_pay_is_not_read_ahead(tmp_path: Path) -> None:
    with opened(tmp_path, within=1.0) as mem:
        space = mem.space("alice")
        go_round(space, texts(space))
        assert waiting(mem) == []


def test_what_is_hotter_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = texts(space)
        hot = space.add("The tram to the harbour is yellow.").id
        space.kv.warm(hot)
        size = space.kv.inspect(hot).bytes
    with opened(tmp_path, kv_memory=int(1.5 * size)) as mem:  # room for one
        space, other = mem.space("alice"), mem.as_principal("carol")
        mem.space("alice", acl={"read": ["carol"], "write": ["carol"], "forget": ["carol"]})
        go_round(space, ids)
        space.kv.warm(hot)
        for _ in range(40):
            other.space("alice").kv.take([hot])
        mem.jobs.drain(timeout=30)
        assert kept(space) == {hot}


def test_lines_warm_nothing_for_one_another(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        mine = mem.space("alice", acl={"read": ["carol"], "write": ["carol"]})
        yours = mem.space("bob")
        ids, theirs = texts(mine), texts(yours)
        go_round(mine, ids)
        yours.kv.take(theirs[2:])  # where the other line would be before its first text
        mem.as_principal("carol").space("alice").kv.take(ids[2:])
        [job] = waiting(mem)
        assert [(line["space"], line["principal"]) for line in job.payload["lines"]] == [("alice", None)]
        mem.jobs.drain(timeout=30)
        assert kept(yours) == set()
        assert kept(mine) == {ids[0], ids[2]}


def test_what_was_forgotten_or_set_aside_meanwhile_is_not_read(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = texts(space)
        go_round(space, ids, 6)
        space.archive(ids[0])
        mem.jobs.drain(timeout=30)
        assert kept(space) == {ids[2]}
        space.restore(ids[0])
        space.kv.take(ids[2:])
        assert len(waiting(mem)) == 1
        space.forget([ids[0]])
        mem.jobs.drain(timeout=30)
        assert kept(space) == {ids[2]}
        space.kv.take(ids[2:])
        assert waiting(mem) == []  # and it is not remembered where it was used
        assert mem.verify().ok


def test_a_line_that_has_moved_on_is_not_followed(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = texts(space)
        go_round(space, ids)
        [before] = waiting(mem)
        space.kv.take(ids[:1])
        [after] = waiting(mem)
        assert before.id == after.id  # what is foreseen now takes its place
        assert {text["id"] for line in after.payload["lines"] for text in line["texts"]} == {ids[1]}


def test_scenes_are_clusters_of_vectors_where_there_are_any(tmp_path: Path) -> None:
    with opened(tmp_path, embedder="hashed") as mem:
        space = mem.space("alice")
        one, two = (space.add(f"The yellow tram number {n} goes to the harbour.").id for n in (1, 2))
        cat = space.add("Bob keeps two grey cats.").id
        for tram in (one, one, two, one):
            space.kv.take([tram])
            space.kv.take([cat])
        ledger = mem.scheduler._ledger("kv")
        assert set(ledger.lines[f"{space.num}/"].path.as_json()) == {0, 1}
        topics = tier_of(mem).topics(f"{space.num}/")
        assert topics._scenes._centres[0].any()
        space.forget([two])
        assert not topics._scenes._centres[0].any()
        assert topics._scenes._centres[1].any()


def test_a_job_that_was_killed_is_done_by_another_process(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = texts(space)
        go_round(space, ids)
        assert len(waiting(mem)) == 1
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException), mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL, kv_ahead=ROUND) as mem:
            mem.store.blobs.put = lambda data: os._exit(9)  # type: ignore[method-assign]
            mem.jobs.run_once()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL, kv_ahead=ROUND) as mem:  # which has measured nothing itself
        mem.jobs.drain(timeout=90)
        assert kept(mem.space("alice")) == {ids[0], ids[2]}
        assert mem.verify().ok
