"""Prefixes on disk: what is found is what was read, whatever happened to the folder meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import Invalid
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
