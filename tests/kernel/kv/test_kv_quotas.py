"""KV memories in use are counted for the space that handed them out, where the store's model has an arena."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.activation.arena.backend import KIB
from mnemos.activation.arena.idle import Idle
from mnemos.activation.arena.quotas import Quotas
from mnemos.activation.arena.tenancy import KVArena
from mnemos.errors import QuotaExceeded

torch.set_num_threads(1)
MODEL, PLAIN = model(), model()
TEXTS = ("Alice moved to Lisbon in May, and lives near the river.", "Bob keeps two grey cats, and a parrot who says nothing.")
PAGES = 4 * KIB * 8
"""Bytes of 128 tokens: a page for keys and for values of two heads in two layers."""


def test_what_is_taken_and_generated_is_counted_for_the_space_and_bounded(tmp_path: Path) -> None:
    idle, quotas = Idle(), Quotas({"notes": 2 * PAGES})
    with KVArena(max_ctx=512, slots=64, page=4 * KIB, quotas=quotas, let_go=idle.let_go) as arena:
        MODEL.caches = arena.caches()
        with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
            space, other = mem.space("notes"), mem.space("other")
            ids = [space.add(text).id for text in TEXTS]
            space.kv.warm(ids)
            assert arena.used_bytes("notes") == 0  # in the store, and not in use
            taken = [space.kv.take(ids[:1]), space.kv.take(ids)]
            assert arena.used_bytes("notes") == arena.resident_bytes() == 2 * PAGES
            with pytest.raises(QuotaExceeded, match="'notes'"):
                space.kv.take(ids[1:])
            with pytest.raises(QuotaExceeded, match="'notes'"):
                space.kv.generate("Alice lives near", max_tokens=4)
            kept = other.kv.generate("Alice lives near", max_tokens=4)
            said = kept.run()[0].tokens
            assert arena.used_bytes("other") == PAGES
            del kept
            for key, memory in enumerate(taken):
                idle.put(key, memory.memory, "notes")
            del taken, memory
            stream = space.kv.generate("Alice lives near", max_tokens=4)  # what waits gives way: it can be taken again
            assert stream.run()[0].tokens == said == PLAIN.generate(PLAIN.encode("Alice lives near"), max_tokens=4).run()[0].tokens
            assert idle.take(0) is None
            assert idle.take(1) is not None
            del stream
            gc.collect()
            assert arena.resident_bytes() == arena.used_bytes("notes") == 0


def test_principals_of_a_space_are_counted_one_by_one_and_together(tmp_path: Path) -> None:
    with KVArena(max_ctx=512, slots=64, page=4 * KIB, quotas=Quotas({"notes/alice": PAGES, "notes": 2 * PAGES})) as arena:
        MODEL.caches = arena.caches()
        with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
            mem.as_principal("alice").space("notes", acl={"read": ["bob"]})
            alice, bob = (mem.as_principal(name).space("notes") for name in ("alice", "bob"))
            kept = [alice.kv.prefix("Hello, you"), bob.kv.prefix("Hello, you")]
            for begun in kept:
                MODEL.prefill(begun.rest, begun.memory)
            assert [arena.used_bytes(name) for name in ("notes/alice", "notes/bob", "notes")] == [PAGES, PAGES, 2 * PAGES]
            more = alice.kv.prefix("Good evening")
            with pytest.raises(QuotaExceeded, match="notes/alice"):
                MODEL.prefill(more.rest, more.memory)
