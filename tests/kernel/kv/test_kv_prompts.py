"""Whole prompts of a space: found again to the token, with the same answers, kept apart, and gone with the memories that they contain."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.activation.memory import KVMemory
from mnemos.activation.published import read_on
from mnemos.base.clock import from_micros
from mnemos.errors import Conflict, Invalid, MnemosError, NotFound, PermissionDenied
from mnemos.kernel.exchange import export_archive
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.kv import prompts
from mnemos.kernel.kv.asked import asked
from mnemos.kernel.space import Space
from support import HandClock

torch.set_num_threads(1)
MODEL = model()
SYSTEM = "You answer from what is remembered, in a few words, and say so where nothing is known. "
ALICE, BOB = "Alice moved to Lisbon in May, and works in the harbour. ", "Bob keeps two grey cats, whose names are Ada and Grace. "
QUESTION = "Question: where does Alice live? Answer: "
PROMPT = SYSTEM + ALICE + BOB + QUESTION
CHUNK = 16


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CHUNK", CHUNK)


def opened(tmp_path: Path, **options: Any) -> mnemos.Mnemos:
    return mnemos.open(tmp_path / "memory.db", **{"embedder": "none", "language_model": MODEL, **options})


def said(pieces: Any) -> list[int]:
    return [token for written in pieces.run() for token in written.tokens]


def alone(prompt: Any, count: int = 12) -> list[int]:
    return said(MODEL.generate(asked(MODEL, prompt).tokens, max_tokens=count))


def remembered(mem: mnemos.Mnemos) -> tuple[Space, list[str]]:
    space = mem.space("alice")
    return space, [space.add(text.strip()).id for text in (ALICE, BOB)]


def tokens(text: str) -> int:
    return len(MODEL.encode(text))


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "memory.db-blobs").rglob("*") if path.is_file()]


def test_a_prompt_is_read_once_and_answered_alike_over_a_restart(tmp_path: Path) -> None:
    whole = tokens(PROMPT) // CHUNK * CHUNK
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        assert space.kv.prefix(PROMPT).taken == 0
        assert said(space.kv.generate(PROMPT, sources=ids, max_tokens=12)) == alone(PROMPT)
        assert space.kv.prefix(PROMPT).taken == whole
        assert said(space.kv.generate(PROMPT, sources=ids, max_tokens=12)) == alone(PROMPT)
        assert len(space.kv.entries()) == whole // CHUNK  # nothing is kept twice
    with opened(tmp_path) as mem:
        begun = mem.space("alice").kv.prefix(PROMPT)
        assert (begun.taken, len(begun.rest)) == (whole, tokens(PROMPT) - whole)
        assert said(mem.space("alice").kv.generate(PROMPT, sources=ids, max_tokens=12)) == alone(PROMPT)
        assert mem.verify().ok


def test_what_prompts_share_is_found_to_the_token_and_belongs_to_who_took_it(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, _ = remembered(mem)
        said(space.kv.generate(PROMPT, max_tokens=1))
        other = SYSTEM + ALICE + "Question: who moved? Answer: "
        begun = space.kv.prefix(other)
        assert begun.taken == tokens(SYSTEM + ALICE)
        MODEL.prefill(begun.rest, begun.memory)
        assert said(space.kv.generate(other, max_tokens=12)) == alone(other)
        assert said(space.kv.generate(PROMPT, max_tokens=12)) == alone(PROMPT)
        assert space.kv.prefix(MODEL.encode(PROMPT)[:40]).taken == 39  # one token is always left to read


def test_messages_are_prompts_too_and_nonsense_is_not(tmp_path: Path) -> None:
    chatting = model()
    chatting.tokenizer.chat_template = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] }}\n{% endfor %}assistant: "
    with opened(tmp_path, language_model=chatting) as mem:
        kv = mem.space("alice").kv
        first = [{"role": "system", "content": SYSTEM.strip()}, {"role": "user", "content": QUESTION.strip()}]
        answer = kv.generate(first, max_tokens=8).text
        second = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "And Bob?"}]
        assert kv.prefix(second).taken >= len(chatting.encode_chat(first)) // CHUNK * CHUNK
        assert said(kv.generate(second, max_tokens=8)) == said(chatting.chat(second, max_tokens=8))
        for nonsense in ([], [1, "a"], [{"role": "user", "content": "a"}, 3]):
            with pytest.raises(Invalid):
                kv.prefix(nonsense)


# ---- where it belongs -----------------------------------------------------------------------------------------------


def test_what_another_model_has_read_of_a_prompt_is_not_kept_as_this_ones(tmp_path: Path) -> None:
    other, tokens = model(1), MODEL.encode(PROMPT)
    memory = KVMemory.of(other.module)
    with opened(tmp_path) as mem:
        space, _ = remembered(mem)
        with pytest.raises(Invalid, match="of another model"):
            space.kv.keep(tokens, read_on(other, tokens, memory).cache)
        with pytest.raises(Invalid, match="of another model"):
            other.prefill(tokens[:3], space.kv.prefix(tokens).memory)
        assert space.kv.prefix(PROMPT).taken == 0
        assert not files(tmp_path)


def test_forgetting_a_memory_takes_all_that_was_read_from_its_text_on(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT, sources=ids, max_tokens=1))
        before = len(files(tmp_path))
        certificate = space.forget([ids[1]])
        left = tokens(SYSTEM + ALICE)
        assert left - 2 * CHUNK < space.kv.prefix(PROMPT).taken <= left
        gone = before - len(files(tmp_path))
        assert gone >= (tokens(PROMPT) - left) // CHUNK
        assert len(certificate.cubes) == gone + 1
        assert verify_certificate(certificate, mem).ok
        space.forget([ids[0]])
        assert space.kv.prefix(PROMPT).taken <= tokens(SYSTEM)
        assert mem.verify().ok


def test_a_text_that_is_not_found_in_the_prompt_stands_for_all_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT.replace("Lisbon", "the capital"), sources=ids[:1], max_tokens=1))
        space.forget([ids[0]])
        assert space.kv.entries() == []
        with pytest.raises(NotFound):
            space.kv.generate(PROMPT, sources=ids[:1])


def test_a_memory_that_changes_or_is_set_aside_takes_it_out_of_use(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT, sources=ids, max_tokens=1))
        count = len(space.kv.entries())
        space.quarantine(ids[1])
        assert space.kv.prefix(PROMPT).taken <= tokens(SYSTEM + ALICE)
        space.release(ids[1])
        assert space.kv.prefix(PROMPT).taken > tokens(SYSTEM + ALICE + BOB)
        space.update(ids[0], text="Alice moved to Porto.")
        assert space.kv.prefix(PROMPT).taken <= tokens(SYSTEM)
        assert {entry.state for entry in space.kv.entries()} == {"ready", "stale"}
        said(space.kv.generate(PROMPT, max_tokens=1))  # the stale ones give their places
        assert [entry.state for entry in space.kv.entries()] == ["ready"] * count


def test_it_is_listed_and_dropped_with_what_follows(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT, sources=ids, max_tokens=1))
        entries = space.kv.entries()
        assert [entry.start for entry in entries] == list(range(0, tokens(PROMPT) // CHUNK * CHUNK, CHUNK))
        assert {source for entry in entries for source in entry.sources} == set(ids)
        assert mem.scheduler.tiers()["kv"]["bytes"] == sum(entry.bytes for entry in entries) == sum(path.stat().st_size for path in files(tmp_path))
        space.kv.drop(entries[3].id)
        assert len(space.kv.entries()) == 3
        assert mem.scheduler.tiers()["kv"]["bytes"] == sum(entry.bytes for entry in space.kv.entries())
        assert export_archive(mem, tmp_path / "all.mip").models == {}
        assert {hit.cube.id for hit in space.search("Alice Lisbon cats", k=10)} == set(ids)


# ---- apart ----------------------------------------------------------------------------------------------------------


def test_spaces_share_nothing_and_take_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as mem:
        mine, yours = mem.space("alice").kv, mem.space("bob").kv
        asked: list[str] = []
        for owner, name in ((mem.store.blobs, "get"), (mem.store.blobs, "check")):
            real = getattr(owner, name)
            monkeypatch.setattr(owner, name, lambda *given, real=real, name=name: (asked.append(name), real(*given))[1])

        def way() -> tuple[int, list[str]]:
            asked.clear()
            return yours.prefix(PROMPT).taken, list(asked)

        before = way()
        said(mine.generate(PROMPT, max_tokens=1))
        assert way() == before == (0, [])
        count = len(files(tmp_path))
        said(yours.generate(PROMPT, max_tokens=1))  # nor can it be told by what is written: the bytes are others
        assert len(files(tmp_path)) == 2 * count


def test_principals_of_a_space_do_not_see_what_others_asked(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        shared = mem.as_principal("alice").space("shared", acl={"read": ["bob", "eve"], "write": ["bob"]})
        bob, eve = (mem.as_principal(name).space("shared").kv for name in ("bob", "eve"))
        said(bob.generate(PROMPT, max_tokens=1))
        assert bob.prefix(PROMPT).taken > 0
        assert (eve.prefix(PROMPT).taken, shared.kv.prefix(PROMPT).taken) == (0, 0)
        assert (eve.entries(), len(shared.kv.entries()) > 0) == ([], True)
        assert said(eve.generate(PROMPT, max_tokens=12)) == alone(PROMPT)  # who may only read keeps nothing
        assert eve.prefix(PROMPT).taken == 0
        with pytest.raises(PermissionDenied):
            eve.keep(MODEL.encode(PROMPT), bob.prefix(PROMPT).memory)


def test_who_may_not_see_a_memory_any_more_sees_nothing_of_what_was_read_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        shared = mem.as_principal("alice").space("shared", acl={"read": ["bob"], "write": ["bob"]})
        bob = mem.as_principal("bob").space("shared").kv
        ids = [shared.add(text.strip()).id for text in (ALICE, BOB)]
        shared.kv.warm(ids)
        said(bob.generate(PROMPT, sources=ids, max_tokens=1))
        assert {entry.source for entry in bob.entries()} >= set(ids)
        shared.set_acl(ids[0], {"read": ["alice"]})
        assert {entry.source for entry in bob.entries()} == {None, ids[1]}
        assert bob.prefix(PROMPT).taken <= tokens(SYSTEM)
        before = [entry.id for entry in shared.kv.entries()]
        shared.set_acl(ids[0], None)  # nor does it come back to who did not ask
        assert mem.as_principal("alice").space("shared").kv.prefix(PROMPT).taken == 0
        assert [entry.id for entry in shared.kv.entries()] == before
        said(mem.space("shared").kv.generate(PROMPT, max_tokens=1))  # what the program itself asks is for nobody else
        assert len(bob.entries()) < len(before)


def test_labels_and_ends_of_memories_hold_for_prompts_with_them(tmp_path: Path) -> None:
    clock = HandClock()
    with opened(tmp_path, clock=clock) as mem:
        space = mem.space("alice")
        secret = space.add(ALICE.strip(), sensitivity="secret", expires_at=from_micros(clock.now + 3_600_000_000)).id
        space.kv.warm(secret)
        said(space.kv.generate(PROMPT, sources=[secret], max_tokens=1))
        labels = [space.get(entry.id).sensitivity for entry in space.kv.entries() if entry.start is not None]
        assert labels == sorted(labels, key=lambda label: label is not None)
        assert (labels[0], labels[-1]) == (None, "secret")
        clock.now += 2 * 3_600_000_000
        assert space.kv.prefix(PROMPT).taken <= tokens(SYSTEM)
        with pytest.raises(Conflict, match="expired"):
            space.kv.take([secret])


def test_it_is_sealed_with_the_store(tmp_path: Path) -> None:
    with opened(tmp_path, key=bytes(range(32))) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT, sources=ids, max_tokens=1))
        assert all(b"mnemos.chunk" not in path.read_bytes() for path in files(tmp_path))
    with opened(tmp_path, key=bytes(range(32))) as mem:
        space = mem.space("alice")
        assert space.kv.prefix(PROMPT).taken > tokens(SYSTEM)
        certificate = space.forget(ids)
        assert all(cube.keys for cube in certificate.cubes)
        assert space.kv.prefix(PROMPT).taken <= tokens(SYSTEM)


# ---- room -----------------------------------------------------------------------------------------------------------


def test_it_stays_within_the_budget_and_an_answer_does_not_wait_for_room(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        said(mem.space("alice").kv.generate(PROMPT, max_tokens=1))
        size = sum(entry.bytes for entry in mem.space("alice").kv.entries())
    with opened(tmp_path, kv_memory=size) as mem:
        kv = mem.space("alice").kv
        other = "Something else altogether is asked now, which nobody has asked before. " + PROMPT
        assert said(kv.generate(other, max_tokens=12)) == alone(other)
        assert sum(entry.bytes for entry in kv.entries()) <= size
        full = mem.space("bob", quota={"cubes": 1})
        assert said(full.kv.generate(PROMPT, max_tokens=12)) == alone(PROMPT)
        assert mem.verify().ok


def test_what_is_damaged_is_read_again(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        said(space.kv.generate(PROMPT, sources=ids, max_tokens=1))
        entry = space.kv.entries()[2]
        path = next(path for path in files(tmp_path) if path.name == space.get(entry.id).blob)
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
        assert space.kv.prefix(PROMPT).taken == 2 * CHUNK
        assert said(space.kv.generate(PROMPT, sources=ids, max_tokens=12)) == alone(PROMPT)
        assert space.kv.prefix(PROMPT).taken == tokens(PROMPT) // CHUNK * CHUNK
        assert mem.verify().ok


def test_threads_in_and_out_of_transactions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        space, ids = remembered(mem)
        wrong: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(3):
                    prompt = f"{SYSTEM}{number} {turn} {QUESTION}"
                    with mem.transaction() if (number + turn) % 2 else contextlib.nullcontext():
                        assert said(space.kv.generate(prompt, sources=ids[:1], max_tokens=3)) == alone(prompt, 3)
                        space.kv.warm(space.add(f"Text number {number} of turn {turn}.").id)
            except (MnemosError, AssertionError) as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert (wrong, [thread.is_alive() for thread in threads]) == ([], [False] * 3)
        with mem.transaction(), pytest.raises(Invalid, match="transaction"):
            space.kv.keep(MODEL.encode(PROMPT), space.kv.prefix(PROMPT).memory)
        assert len({entry.source for entry in space.kv.entries() if entry.source}) == 9
        assert mem.verify().ok
