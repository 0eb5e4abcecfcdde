"""What the scheduler knows after a transaction that read, kept and let go of texts: what is in the store, whether it became durable or was undone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.kernel.kv.tier import TIER
from mnemos.kernel.space import Space

torch.set_num_threads(1)
MODEL = model()
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.")


class Undo(Exception):
    pass


def opened(tmp_path: Path) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL)


def agrees(space: Space) -> bool:
    """Whether the scheduler counts what is in the store, and no more."""
    there = {entry.source: entry.bytes for entry in space.kv.entries()}
    held = space.system.scheduler.held(TIER)
    assert space.system.scheduler.tiers()[TIER]["bytes"] == sum(held.values())
    return bool(held == there)


@pytest.mark.parametrize("shelf_from_before", [False, True])
def test_what_was_kept_in_a_transaction_that_was_undone_is_not_counted(tmp_path: Path, shelf_from_before: bool) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        kept, wanted = (space.add(text).id for text in TEXTS[:2])
        space.kv.warm(kept)
        shelf = space.kv
        with pytest.raises(Undo), mem.transaction():
            new = space.add(TEXTS[2]).id
            (shelf if shelf_from_before else space.kv).warm([wanted, new])
            space.kv.take([wanted, new])
            raise Undo
        assert agrees(space)
        assert new not in mem.scheduler._tiers[TIER].uses, "of a text that never was nothing is known"
        while not shelf.take([wanted]).taken:  # it is worth keeping, and is kept
            pass
        assert agrees(space)


def test_what_was_let_go_of_in_a_transaction_that_was_undone_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = [space.add(text).id for text in TEXTS]
        space.kv.warm(ids)
        with pytest.raises(Undo), mem.transaction():
            space.kv.drop(ids[0])
            raise Undo
        assert agrees(space)
        with mem.transaction():
            with pytest.raises(Undo), mem.transaction():  # a part of it is undone
                space.kv.drop(ids[1])
                raise Undo
            space.kv.drop(ids[2])
        assert agrees(space)
        assert len(space.kv.entries()) == 2


def test_who_looks_meanwhile_does_not_make_it_forget_what_becomes_durable(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space = mem.space("alice")
        ids = [space.add(text).id for text in TEXTS[:2]]

        def look() -> None:
            other = mem.space("alice")
            assert other.kv.entries() == []
            other.kv._tier.know(mem)

        with mem.transaction():
            space.kv.warm(ids)
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        assert agrees(space)
        assert len(space.kv.entries()) == 2
