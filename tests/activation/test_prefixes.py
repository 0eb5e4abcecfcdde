"""Prefixes on disk: what is found is what was read, whatever happened to the folder meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.prefix_places import Chunk, header_of
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import FingerprintMismatch, Invalid, StoreFull, StoreUnavailable
from mnemos.cache.lru import LRU

torch.set_num_threads(1)
MODEL = llama()


def read(ids: torch.Tensor) -> KVMemory:
    memory = KVMemory.of(MODEL)
    run(MODEL, memory, ids)
    return memory


def answer(memory: KVMemory, ids: torch.Tensor, known: int) -> tuple[list[list[int]], torch.Tensor]:
    return greedy(MODEL, memory, run(MODEL, memory, ids[:, known:])[:, -1], 10)


def test_a_restart_between_reading_and_asking_changes_nothing(tmp_path: Path) -> None:
    context, question = tokens(1, 75), tokens(1, 9, seed=1)
    prompt = torch.cat([context, question], 1)
    assert PrefixStore(tmp_path, "it", chunk=16).put(context[0].tolist(), read(context)) == 75
    store = PrefixStore(tmp_path, "it", chunk=16)
    memory, known = store.take(MODEL, prompt[0].tolist())
    assert known == 75
    chosen, seen = answer(memory, prompt, known)
    expected, right = answer(KVMemory.of(MODEL), prompt, 0)
    assert chosen == expected
    assert (seen - right).abs().max() <= 1e-4
    assert (store.hits, store.misses) == (75, 9)


def test_what_is_stored_does_not_change_while_it_is_used(tmp_path: Path) -> None:
    context = tokens(1, 50)
    store = PrefixStore(tmp_path, "it", chunk=16)
    store.put(context[0].tolist(), read(context))
    before = {path: path.read_bytes() for path in store.place.path.iterdir()}
    one, _ = store.take(MODEL, [*context[0].tolist(), 1])
    two, known = store.take(MODEL, [*context[0].tolist(), 2])
    alone, _ = answer(two.fork(), tokens(1, 60, seed=3), known)
    answer(one, tokens(1, 60, seed=2), known)
    assert answer(two, tokens(1, 60, seed=3), known)[0] == alone
    assert {path: path.read_bytes() for path in store.place.path.iterdir()} == before


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_prompts_share_is_found_to_the_token(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    store = PrefixStore(tmp_path_factory.mktemp("prefixes"), "it", chunk=data.draw(st.integers(1, 9)))
    prompts = data.draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=24), min_size=1, max_size=6))
    for prompt in prompts[:-1] or prompts:
        store.put(prompt, read(torch.tensor([prompt])))
    asked = prompts[-1]
    most = max(next((i for i, (a, b) in enumerate(zip(asked, prompt, strict=False)) if a != b), min(len(asked), len(prompt)))
               for prompt in (prompts[:-1] or prompts))  # fmt: skip
    assert store.match(asked).length == most
    memory, known = store.take(MODEL, asked)
    assert known == min(most, len(asked) - 1)
    full = read(torch.tensor([asked]))
    for layer, other in zip(memory.managed, full.managed, strict=True):
        if known:
            assert torch.allclose(layer.tail.keys, other.tail.keys[:, :, :known], atol=1e-5)
    assert store.verify() == []


def test_equal_prefixes_are_stored_once(tmp_path: Path) -> None:
    ids = tokens(1, 64)
    store = PrefixStore(tmp_path, "it", chunk=16)
    store.put(ids[0].tolist(), read(ids))
    before = store.nbytes
    assert store.put(ids[0].tolist(), read(ids)) == 0
    assert store.put(ids[0, :40].tolist(), read(ids)) == 0
    assert store.nbytes == before


def test_spaces_and_models_see_nothing_of_each_other(tmp_path: Path) -> None:
    ids = tokens(1, 32)
    PrefixStore(tmp_path, "it", "mine").put(ids[0].tolist(), read(ids))
    assert PrefixStore(tmp_path, "it", "yours").match(ids[0].tolist()).length == 0
    assert PrefixStore(tmp_path, "another model", "mine").match(ids[0].tolist()).length == 0
    assert PrefixStore(tmp_path, "it", "mine").match(ids[0].tolist()).length == 32


def test_a_flipped_bit_is_found_and_the_text_read_again(tmp_path: Path) -> None:
    ids = tokens(1, 64)
    store = PrefixStore(tmp_path, "it", chunk=16)
    store.put(ids[0].tolist(), read(ids))
    middle = store.place.file(store.chunks()[2].key)
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        whole = bytearray(middle.read_bytes())
        place = int(torch.randint(len(whole), (1,), generator=rng))
        whole[place] ^= 1 << int(torch.randint(8, (1,), generator=rng))
        middle.write_bytes(bytes(whole))
        again = PrefixStore(tmp_path, "it", chunk=16)
        memory, known = again.take(MODEL, ids[0].tolist())
        assert known == 32
        assert torch.allclose(memory.managed[0].tail.keys, read(ids).managed[0].tail.keys[:, :, :32], atol=1e-5)
        again.put(ids[0].tolist(), read(ids))
        assert again.match(ids[0].tolist()).length == 64
        assert again.verify() == []


def test_a_folder_stays_within_its_bytes_and_nothing_hangs_in_the_air(tmp_path: Path) -> None:
    one = PrefixStore(tmp_path / "one", "it", chunk=16)
    one.put(tokens(1, 16)[0].tolist(), read(tokens(1, 16)))
    room = 6 * one.nbytes
    store = PrefixStore(tmp_path, "it", chunk=16, evict=LRU(room))
    for seed in range(5):
        ids = tokens(1, 50, seed=seed)
        store.put(ids[0].tolist(), read(ids))
        assert store.nbytes <= room
    assert store.match(ids[0].tolist()).length > 0
    known = {chunk.key for chunk in store.chunks()}
    assert all(chunk.parent in known or chunk.parent == "" for chunk in store.chunks())
    assert {path.name.removesuffix(".safetensors") for path in store.place.path.iterdir()} == known


def test_what_a_policy_shaped_is_not_stored_as_a_prefix(tmp_path: Path) -> None:
    memory = KVMemory.of(MODEL, policy("window", tokens=20))
    run(MODEL, memory, tokens(1, 40))
    prompt, full = tokens(1, 40)[0].tolist(), KVMemory.of(MODEL)
    run(MODEL, full, tokens(1, 40))
    one, other = PrefixStore(tmp_path / "full", "it"), PrefixStore(tmp_path / "policy", "it")
    assert one.put(prompt, full) == other.put(prompt, memory) == 40  # the policy has not chosen yet: it is as it was read
    assert [one.place.read(its.key) for its in one.chunks()] == [other.place.read(its.key) for its in other.chunks()]
    memory.settle()
    with pytest.raises(Invalid, match="window"):
        other.put(prompt, memory)


@pytest.mark.parametrize("harm", ["header", "nothing left", "half", "gone"])
def test_nothing_of_a_text_stays_behind_a_chunk_that_is_damaged_or_gone(tmp_path: Path, harm: str) -> None:
    ids = tokens(1, 64)
    for drop in ("verify", "clear"):
        store = PrefixStore(tmp_path, "it", chunk=16)
        store.put(ids[0].tolist(), read(ids))
        second = store.place.file(store.chunks()[1].key)
        whole = second.read_bytes()
        if harm == "gone":
            second.unlink()
        else:
            second.write_bytes({"header": whole[:12] + b"\xff" + whole[13:], "nothing left": b"", "half": whole[: len(whole) // 2]}[harm])
        again = PrefixStore(tmp_path, "it", chunk=16)
        if drop == "verify":
            problems = again.verify()
            assert any("is no chunk" in each or "is damaged" in each or "not there any more" in each for each in problems)
            assert {path.name for path in again.place.path.iterdir()} == {f"{chunk.key}.safetensors" for chunk in again.chunks()}
            assert again.match(ids[0].tolist()).length == 16
            assert again.verify() == []
        again.clear()
        assert list(again.place.path.iterdir()) == []


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    store = PrefixStore(tmp_path, "it")
    folder = store.place.path
    dead, alive, other = folder / f"{'a' * 64}.12ab.new", folder / f"{'b' * 64}.12ab.new", folder / "notes.new"
    for path in (dead, alive, other):
        path.write_bytes(b"keys and values of a text")
    with alive.open("rb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        store.refresh()
        assert sorted(path.name for path in folder.iterdir()) == sorted([alive.name, other.name])
    store.clear()
    assert [path.name for path in folder.iterdir()] == ["notes.new"]


class Held:
    """A place in memory."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def keys(self) -> list[str]:
        return list(self.data)

    def describe(self, key: str) -> tuple[dict[str, object], int]:
        return header_of(self.data[key], key), len(self.data[key])

    def read(self, key: str) -> bytes:
        return self.data[key]

    def write(self, chunk: Chunk, data: bytes) -> None:
        self.data[chunk.key] = data

    def remove(self, keys: list[str]) -> None:
        for key in keys:
            self.data.pop(key, None)

    def name(self, key: str) -> str:
        return key


def test_a_prompt_may_be_longer_than_calls_are_deep() -> None:
    ids, place = torch.ones(1, 1100, dtype=torch.long), Held()
    memory = KVMemory.of(MODEL)
    run(MODEL, memory, ids[:, :1024])
    run(MODEL, memory, ids[:, 1024:])
    store, prompt = PrefixStore(place, "it", chunk=1), ids[0].tolist()
    store.put(prompt, memory)
    again = PrefixStore(place, "it", chunk=1)
    assert again.match(prompt).length == 1100
    assert again.drop(again.chunks()[1].key) > 0
    assert (again.match(prompt).length, len(place.data)) == (1, 1)
    again.clear()
    assert place.data == {}


def test_what_the_system_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tokens(1, 32)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreUnavailable, match="no folder can be made there"):
        PrefixStore(tmp_path / "file", "it")
    store = PrefixStore(tmp_path, "it", chunk=16)

    def refuses(number: int) -> Callable[[int], None]:
        def refuse(_: int) -> None:
            raise OSError(number, os.strerror(number))

        return refuse

    memory = read(ids)
    for number, kind, said in ((errno.ENOSPC, StoreFull, "found no room"), (errno.EIO, StoreUnavailable, "cannot be written")):
        monkeypatch.setattr(os, "fsync", refuses(number))
        with pytest.raises(kind, match=said):
            store.put(ids[0].tolist(), memory)
        assert list(store.place.path.iterdir()) == []
    monkeypatch.undo()
    store.place.path.rmdir()
    assert store.put(ids[0].tolist(), read(ids)) == 32
    for chunk in ("16", 1.5, 0):
        with pytest.raises(Invalid, match="whole number"):
            PrefixStore(tmp_path, "it", chunk=chunk)
    with pytest.raises(FingerprintMismatch, match="layers"):
        store.take(llama(layers=3), ids[0].tolist())
