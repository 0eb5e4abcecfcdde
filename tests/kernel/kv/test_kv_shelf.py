"""KV memories of a space: exact, found again after a restart, gone and stale with their text, seen by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.activation.memory import KVMemory
from mnemos.errors import FingerprintMismatch, ModelUnavailable, NotFound, PermissionDenied
from mnemos.kernel.kv import KVShelf
from mnemos.kernel.kv.reading import tokens_of

torch.set_num_threads(1)
TEXTS = ("Alice moved to Lisbon in May.", "Bob keeps two grey cats.", "The boat leaves at seven.")
QUESTION = "Where does Alice live?"


MODEL = model()


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[mnemos.Mnemos]:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as opened:
        yield opened


def add(mem: mnemos.Mnemos, space: str = "alice") -> list[str]:
    return [mem.space(space).add(text).id for text in TEXTS]


def logits(memory: KVMemory, text: str = QUESTION) -> torch.Tensor:
    return MODEL.prefill(MODEL.encode(text, special=False), memory).logits


def whole(*texts: str) -> torch.Tensor:
    return logits(MODEL.prefill(MODEL.encode("".join(f"{text}\n" for text in texts)), KVMemory.of(MODEL.module)).cache)


def test_a_warm_text_is_taken_and_says_what_reading_it_says(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    assert [outcome.accepted for outcome in shelf.warm(ids)] == [True] * 3
    for id, text in zip(ids, TEXTS, strict=True):
        given = shelf.take([id])
        assert (given.taken, given.read) == (len(given.tokens), 0)
        assert torch.allclose(logits(given.memory), whole(text), atol=1e-4)
    assert shelf.warm(ids) == []
    assert len(shelf.entries()) == 3


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
        ids = add(mem)
        mem.space("alice").kv.warm(ids)
        before = logits(mem.space("alice").kv.take(ids[:1]).memory)
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
        given = mem.space("alice").kv.take(ids[:1])
        assert given.read == 0
        assert torch.equal(logits(given.memory), before)
        assert mem.verify().ok


def test_several_texts_stand_together_with_one_beginning(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    shelf.warm(ids[:2])
    given = shelf.take(ids, "rebuilt")
    assert torch.allclose(logits(given.memory), whole(*TEXTS), atol=1e-4)
    assert given.tokens == MODEL.encode("".join(f"{text}\n" for text in TEXTS))
    lengths = [len(tokens_of(MODEL, text)[0]) for text in TEXTS]
    assert (given.taken, given.read) == (sum(lengths[:2]), lengths[2])
    assert torch.allclose(logits(shelf.take(ids, "blended", 1.0).memory), whole(*TEXTS), atol=1e-4)


def test_two_users_of_a_text_do_not_meet(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    shelf.warm(ids)
    one, two = shelf.take(ids[:1]), shelf.take(ids[:1])
    logits(one.memory, "Something quite different, and long.")
    assert torch.allclose(logits(two.memory), whole(TEXTS[0]), atol=1e-4)


def test_a_text_that_changes_makes_it_stale_and_is_read_again(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    space = mem.space("alice")
    space.kv.warm(ids)
    space.update(ids[0], text="Alice moved to Porto in June.")
    assert [entry.stale for entry in space.kv.entries() if entry.source == ids[0]] == [True]
    given = space.kv.take(ids[:1])
    assert given.read == len(given.tokens)
    assert torch.allclose(logits(given.memory), whole("Alice moved to Porto in June."), atol=1e-4)
    space.kv.warm(ids[:1])
    assert [entry.stale for entry in space.kv.entries() if entry.source == ids[0]] == [False]


def test_what_is_forgotten_leaves_no_keys_behind(mem: mnemos.Mnemos, tmp_path: Path) -> None:
    ids = add(mem)
    space = mem.space("alice")
    space.kv.warm(ids)
    files = {path for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file()}
    assert len(files) == 3
    space.forget([ids[0]])
    assert len([path for path in files if path.exists()]) == 2
    assert ids[0] not in {entry.source for entry in space.kv.entries()}
    with pytest.raises(NotFound):
        space.kv.take(ids[:1])
    assert mem.verify().ok


def test_dropping_lets_go_of_the_keys_and_keeps_the_text(mem: mnemos.Mnemos, tmp_path: Path) -> None:
    ids = add(mem)
    space = mem.space("alice")
    space.kv.warm(ids)
    space.kv.drop(ids[1])
    assert [entry.source for entry in space.kv.entries()] == [ids[0], ids[2]]
    assert space.get(ids[1]).text == TEXTS[1]
    assert len([path for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file()]) == 2
    with pytest.raises(NotFound, match="kv list"):
        space.kv.drop(ids[1])


def test_another_model_does_not_take_what_this_one_kept(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
        ids = add(mem)
        mem.space("alice").kv.warm(ids)
        payload = mem.store.blobs.get(next(iter(mem.store.blobs.names())))
    other = model(1)
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=other) as mem:
        shelf = mem.space("alice").kv
        assert [entry.fits for entry in shelf.entries()] == [False] * 3
        assert shelf.take(ids[:1]).taken == 0
        shelf.warm(ids[:1])
        assert sorted(entry.fits for entry in shelf.entries()) == [False, False, False, True]
    from mnemos.activation.saving import load

    with pytest.raises(FingerprintMismatch):
        load(other.module, payload, other.fingerprint)


def test_it_is_kept_from_the_second_use_on_where_that_pays(mem: mnemos.Mnemos) -> None:
    long = mem.space("alice").add("All of it was said before. " * 18).id
    shelf = mem.space("alice").kv
    taken = [shelf.take([long]).taken for _ in range(8)]
    assert taken[0] == taken[1] == 0  # read, then read and kept: never taken at once
    assert taken[-1] > 0
    decisions = [decision.action.value for decision in mem.scheduler.decisions() if decision.tier == "kv"]
    assert decisions[0] == "decline"
    assert "build" in decisions


def test_a_reading_that_does_not_pay_is_declined(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    outcome = mem.space("alice").kv.warm(ids[:1], uses=0)[0]
    assert not outcome.accepted
    assert any("pays" in reason for reason in outcome.reasons)
    assert mem.space("alice").kv.entries() == []


def test_what_gives_way_is_forgotten_and_its_text_stays(mem: mnemos.Mnemos) -> None:
    from mnemos.kernel.kv import shelf as module

    ids = add(mem)
    shelf = mem.space("alice").kv
    shelf.warm(ids)
    for id in ids:
        shelf.take([id])
    mem.scheduler.drop(module.TIER, ids[0])
    shelf.take(ids[1:2])
    assert ids[0] not in {entry.source for entry in shelf.entries()}
    assert mem.space("alice").get(ids[0]).text == TEXTS[0]


def test_spaces_see_nothing_of_each_other(mem: mnemos.Mnemos) -> None:
    mine, yours = add(mem, "alice"), add(mem, "bob")
    mem.space("alice").kv.warm(mine)
    assert mem.space("bob").kv.entries() == []
    assert mem.space("bob").kv.take(yours[:1]).taken == 0  # the same words, kept by somebody else
    with pytest.raises(NotFound):
        mem.space("bob").kv.take(mine[:1])


def test_it_is_sealed_with_the_store(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL, key=bytes(range(32))) as mem:
        ids = add(mem)
        mem.space("alice").kv.warm(ids)
        for path in (tmp_path / "memory.db-blobs").rglob("*"):
            assert not path.is_file() or b"mnemos.kv" not in path.read_bytes()
        assert mem.space("alice").kv.take(ids[:1]).read == 0


def test_what_is_damaged_is_read_around_let_go_of_and_made_anew(mem: mnemos.Mnemos, tmp_path: Path) -> None:
    ids = add(mem)
    mem.space("alice").kv.warm(ids[:1])
    path = next(path for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file())
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    assert not mem.verify().ok
    given = mem.space("alice").kv.take(ids[:1])
    assert given.taken == 0
    assert torch.allclose(logits(given.memory), whole(TEXTS[0]), atol=1e-4)
    assert mem.space("alice").kv.entries() == []
    assert mem.verify().ok
    mem.space("alice").kv.warm(ids[:1])
    assert mem.space("alice").kv.take(ids[:1]).read == 0


def test_plain_searches_and_lists_of_texts_do_not_show_it(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    mem.space("alice").kv.warm(ids)
    assert {hit.cube.id for hit in mem.space("alice").search("Alice Lisbon cats boat", k=10)} <= set(ids)


def test_without_a_model_or_a_right_it_says_what_is_missing(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none") as mem:
        ids = add(mem)
        with pytest.raises(ModelUnavailable, match="language_model"):
            mem.space("alice").kv.warm(ids)
        assert KVShelf(mem.space("alice")).entries() == []
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL, principal="eve") as mem:  # noqa: SIM117
        with pytest.raises((NotFound, PermissionDenied)):
            mem.space("alice").kv.take(ids[:1])
