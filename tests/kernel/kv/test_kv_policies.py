"""KV memories in the form of a policy: smaller, as exact as the policy is, beside those of other forms, and never what only one request needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config

import mnemos
from activation.landmark.landmark_llama import llama
from kernel.kv.byte_llama import model, tokenizer
from mnemos.activation.chunks import Host
from mnemos.activation.landmark.attention import install
from mnemos.activation.landmark.module import Landmarked
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.published import reason_against
from mnemos.activation.shadow import sources
from mnemos.errors import Invalid, NotFound, QuotaExceeded
from mnemos.kernel.exchange import export_archive, import_archive
from mnemos.kernel.kv import prompts
from mnemos.kernel.kv.shapes import Shape
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)
MODEL = model()
TEXTS = (
    "Alice moved to Lisbon in May, and took the two grey cats along. " * 3,
    "The boat to the island leaves at seven, on Sundays at nine, and never in a storm. " * 2,
)
CHUNK = 48
QUESTION = "Where does Alice live?"
SHADOW = "shadowkv:chunk=2,local=1,outliers=0,share=0.2"
KEPT = ("kivi:bits=4,group=8,recent=8", SHADOW, "blocks:local=4,share=0.1")
OF_A_REQUEST = ("snapkv:share=0.3,window=8", "think:share=0.5,window=8,recent=8", "h2o:share=0.3,recent=4", "expected:share=0.5,recent=4")


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[mnemos.Mnemos]:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as opened:
        yield opened


def add(mem: mnemos.Mnemos) -> list[str]:
    return [mem.space("alice").add(text).id for text in TEXTS]


def logits(memory: KVMemory, text: str = QUESTION) -> torch.Tensor:
    return MODEL.prefill(MODEL.encode(text, special=False), memory).logits


def read(said: str, *texts: str) -> KVMemory:
    return MODEL.prefill(MODEL.encode("".join(f"{text.strip()}\n" for text in texts)), KVMemory.of(MODEL.module, Shape.of(said).policy)).cache


@pytest.mark.parametrize("said", KEPT)
def test_a_text_is_kept_as_the_policy_keeps_it(tmp_path: Path, said: str) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
        ids = add(mem)
        shelf = mem.space("alice").kv
        assert [outcome.accepted for outcome in shelf.warm(ids, policy=said)] == [True, True]
        assert shelf.warm(ids, policy=said) == []
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:  # a restart changes nothing
        shelf = mem.space("alice").kv
        given = shelf.take(ids[:1], policy=said)
        assert (given.taken, given.read) == (len(given.tokens), 0)
        fresh = read(said, TEXTS[0])
        assert given.memory.nbytes().near < read("full", TEXTS[0]).nbytes().total
        assert torch.equal(logits(given.memory), logits(fresh))
        assert mem.verify().ok


def test_another_policy_is_another_memory_beside_it(mem: mnemos.Mnemos, tmp_path: Path) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    few, many = "kivi:bits=2,group=8,recent=8", "kivi:bits=8,group=8,recent=8"
    for said in (None, few, many, "kivi:recent=8, bits=2 ,group=8", 'kivi:{"group": 8, "bits": 2, "recent": 8}'):  # the last two are as the second
        shelf.warm(ids[0], policy=said)
    entries = shelf.entries()
    assert [entry.policy for entry in entries] == ["full", "kivi:bits=2,group=8,recent=8", "kivi:bits=8,group=8,recent=8"]
    assert len({entry.digest for entry in entries}) == 3
    full, two, eight = (entry.bytes for entry in entries)
    assert two < eight < full
    files = sorted(path.stat().st_size for path in tmp_path.rglob("memory.db-blobs/*/*"))
    assert files == sorted(entry.bytes for entry in entries)
    assert mem.scheduler.tiers()["kv"]["bytes"] == sum(files) == sum(mem.scheduler.held("kv").values())
    shelf.drop(entries[1].id)
    assert mem.scheduler.tiers()["kv"]["bytes"] == full + eight
    assert shelf.take(ids[:1], policy=few).taken == 0
    assert shelf.take(ids[:1], policy=many).read == shelf.take(ids[:1]).read == 0
    left = {entry.id for entry in shelf.entries()}
    assert {cube.id for cube in shelf.drop(ids[0]).cubes} == left
    assert (shelf.entries(), mem.scheduler.tiers()["kv"]["bytes"]) == ([], 0)


def test_room_is_what_the_form_takes(tmp_path: Path) -> None:
    said, text = "kivi:bits=2,group=8,recent=8", TEXTS[0] * 2
    with mnemos.open(tmp_path / "first.db", embedder="none", language_model=MODEL) as mem:
        space = mem.space("alice")
        id = space.add(text).id
        space.kv.warm(id, policy=said)
        (entry,) = space.kv.entries()
    room = entry.bytes + 100  # ids in it are as long
    assert MODEL.kv_bytes(entry.tokens) > room
    with mnemos.open(tmp_path / "second.db", embedder="none", language_model=MODEL, kv_memory=room, kv_policy=said) as mem:
        space = mem.space("alice")
        first, second = (space.add(text).id for _ in range(2))
        with pytest.raises(QuotaExceeded, match="kv_memory"):
            space.kv.warm(first, policy="full")
        space.kv.warm(first)  # the store's own policy
        space.kv.warm(second)
        assert [(entry.source, entry.policy) for entry in space.kv.entries()] == [(second, said)]  # the other gave way, its text did not
        assert space.get(first).text == text
    with mnemos.open(tmp_path / "third.db", embedder="none", language_model=MODEL, kv_memory=room // 2, kv_policy=said) as mem:
        with pytest.raises(QuotaExceeded, match="kv_memory"):
            mem.space("alice").kv.warm(mem.space("alice").add(text).id)
        assert not list(tmp_path.rglob("third.db-blobs/*/*"))


def test_what_is_used_again_is_kept_in_the_form_it_is_used_in(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    mem.kv_policy = SHADOW
    shelf = mem.space("alice").kv
    for _ in range(6):
        shelf.take(ids[:1])
    assert {entry.policy for entry in shelf.entries()} <= {str(Shape.of(SHADOW))}
    shelf.warm(ids[0])
    assert shelf.take(ids[:1]).read == 0
    changed = mem.space("alice").update(ids[0], "Alice lives in Porto now, and has three cats.").id
    assert shelf.inspect(ids[0]).stale
    assert shelf.take([changed]).taken == 0
    shelf.warm(ids[0])
    assert [(entry.stale, entry.policy) for entry in shelf.entries()] == [(False, str(Shape.of(SHADOW)))]
    mem.space("alice").forget([ids[0]])
    assert shelf.entries() == []


@pytest.mark.parametrize("said", [SHADOW, "blocks:local=4,share=0.1"])
def test_several_texts_are_read_together_and_each_can_be_hidden_or_forgotten(mem: mnemos.Mnemos, said: str) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    shelf.warm(ids, policy=said)
    given = shelf.take(ids, policy=said)
    assert given.tokens == MODEL.encode("".join(f"{text.strip()}\n" for text in TEXTS))
    for mode in ("blended", "rerotated"):
        with pytest.raises(Invalid, match="rebuilt"):
            shelf.take(ids, mode, policy=said)
    hidden, first = given.memory.fork(), len(MODEL.encode(f"{TEXTS[0].strip()}\n"))
    assert torch.equal(logits(given.memory.fork()), logits(read(said, *TEXTS)))
    chunks = sources.chunks_of(given.memory, ids[0])
    assert all(chunks)
    sources.hide(hidden, ids[0])
    sources.forget(given.memory, ids[0])
    for memory in (hidden, given.memory):
        for heads in memory.held():
            assert all(place == 0 or place >= first for head in heads[0] for place in head)  # what begins any text is of none
        assert any(place >= first for place in memory.held()[0][0][0])
    with pytest.raises(NotFound):
        sources.chunks_of(given.memory, ids[0])
    assert torch.isfinite(logits(given.memory)).all()
    assert all(sources.chunks_of(shelf.take(ids[1:], policy=said).memory, ids[1]))  # what is kept of one text says whose it is, too


@pytest.mark.parametrize("said", OF_A_REQUEST)
def test_what_one_request_needs_is_never_what_is_kept(mem: mnemos.Mnemos, said: str) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    for refused in (lambda: shelf.warm(ids, policy=said), lambda: shelf.warm_later(ids, policy=said),
                    lambda: mem.space("alice").transform("read", ids[:1], policy=said),
                    lambda: mnemos.open(":memory:", kv_policy=said)):  # fmt: skip
        with pytest.raises(Invalid, match="of one request"):
            refused()
    assert shelf.entries() == []
    shelf.warm(ids[0])
    given = shelf.take(ids[:1], policy=said)
    assert (given.taken, given.read) == (len(given.tokens), 0)
    tokens = MODEL.encode(f"{TEXTS[0].strip()}\n{QUESTION}")
    whole = MODEL.prefill(tokens, KVMemory.of(MODEL.module, Shape.of(said).policy))
    assert torch.allclose(logits(given.memory), whole.logits, atol=1e-4)
    assert given.memory.nbytes() == whole.cache.nbytes()  # the question was counted, and has shaped it
    assert [entry.policy for entry in shelf.entries()] == ["full"]
    both = shelf.take(ids, "rebuilt", policy=Shape.of(said).policy)
    logits(both.memory)
    assert both.memory.nbytes().total < logits_full(*TEXTS).nbytes().total


def test_layers_of_limited_sight_read_again(tmp_path: Path) -> None:
    config = Qwen2Config(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                           max_position_embeddings=512, initializer_range=0.3, sliding_window=24, use_sliding_window=True,
                         layer_types=["full_attention", "sliding_attention"])  # fmt: skip
    sliding = LocalModel.random(config, tokenizer=tokenizer())
    question = sliding.encode(QUESTION, special=False)
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=sliding) as mem:
        (id, _) = add(mem)
        shelf = mem.space("alice").kv
        for said in (OF_A_REQUEST[0], KEPT[0]):
            given = shelf.take([id], policy=said)
            whole = sliding.prefill(given.tokens, KVMemory.of(sliding.module, Shape.of(said).policy))
            if said in OF_A_REQUEST:
                whole = sliding.prefill([*given.tokens, *question], KVMemory.of(sliding.module, Shape.of(said).policy))
            else:
                whole = sliding.prefill(question, whole.cache)
            assert torch.allclose(sliding.prefill(question, given.memory).logits, whole.logits, atol=1e-4)


def test_a_model_with_landmarks_keeps_its_blocks(tmp_path: Path) -> None:
    plain = llama(words=98, max_position_embeddings=512)
    install(plain, 7, 97)
    landmarked = LocalModel(Landmarked(plain, top=2), tokenizer=tokenizer())
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=landmarked, kv_policy="landmark:block=7,top=2") as mem:
        ids = add(mem)
        shelf = mem.space("alice").kv
        shelf.warm(ids)
        given, question = shelf.take(ids[:1]), landmarked.encode(QUESTION, special=False)
        assert (given.read, given.memory.nbytes().far > 0) == (0, True)
        whole = landmarked.prefill(question, landmarked.prefill(given.tokens).cache).logits
        assert torch.equal(landmarked.prefill(question, given.memory).logits, whole)
        both = shelf.take(ids).memory
        sources.hide(both, ids[0])
        first = len(landmarked.encode(f"{TEXTS[0].strip()}\n"))
        held = sorted(both.held()[0][0][0])
        assert first + first // 7 - 7 < held[0] <= first + first // 7 + 8  # landmarks stand between tokens; a block that holds some goes whole
        assert len(held) > len(TEXTS[1]) - 8
        for wrong in ("landmark:block=6,top=2", "full"):
            with pytest.raises(Invalid, match="landmarks"):
                shelf.warm(ids, policy=wrong)


def logits_full(*texts: str) -> KVMemory:
    memory = read("full", *texts)
    logits(memory)
    return memory


def test_archives_carry_a_form_and_memories_from_before_there_were_forms_are_full(mem: mnemos.Mnemos, tmp_path: Path) -> None:
    ids = add(mem)
    mem.space("alice").kv.warm(ids, policy=KEPT[0])
    mem.space("alice").kv.warm(ids[0])
    (plain,) = (cube for cube in mem.space("alice").list(types=["kv"]) if "policy" not in cube.metadata)
    assert mem.space("alice").kv.inspect(plain.id).policy == "full"
    export_archive(mem, tmp_path / "all.mip", kv=True)
    with mnemos.open(tmp_path / "other.db", embedder="none", language_model=MODEL) as other:
        import_archive(other, tmp_path / "all.mip", models=[MODEL.fingerprint])
        shelf = other.space("alice").kv
        assert [shelf.take([id], policy=KEPT[0]).read for id in ids] == [0, 0]
        assert (shelf.take(ids[:1]).read, shelf.take(ids[1:]).taken) == (0, 0)


def test_every_policy_is_either_kept_or_says_why_not() -> None:
    budgets = {"window", "snapkv", "h2o", "tova", "knorm", "keydiff", "expected", "raas", "rkv", "uncomp"}
    kept = {"full", "kivi", "shadowkv", "blocks", "landmark"}
    made = {name: policy(name, share=0.5) for name in budgets} | {name: policy(name) for name in (*kept, "think")}
    made["lazyeviction"] = policy("lazyeviction", tokens=64)
    assert {name for name, its in made.items() if reason_against(its) is None} == kept
    assert "drops tokens" in str(reason_against(made["lazyeviction"]))
    assert "queries" in str(reason_against(made["think"]))
    assert "folder" in str(reason_against(policy("blocks", folder=Host.__name__)))
    assert "drops" in str(reason_against(policy("landmark", blocks=3)))


def test_policies_that_are_none_are_refused(mem: mnemos.Mnemos) -> None:
    ids = add(mem)
    shelf = mem.space("alice").kv
    options = ("", "bits", "bits=2,bits=4", "bits=5", "bits=2.5", "recent=true", "recent=NaN", "colour=1", "{bits")
    for wrong in ("", "colour", *(f"kivi:{each}" for each in options), "shadowkv:folder=here", "shadowkv:chunk=2.5", "shadowkv:share=x", "landmark"):
        with pytest.raises(Invalid):
            shelf.warm(ids, policy=wrong)
    with pytest.raises(Invalid, match="write it"):
        shelf.warm(ids, policy=policy("kivi"))  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        shelf.take([])
    assert shelf.take(ids[:1], policy=policy("kivi")).read > 0
    assert shelf.entries() == []


@pytest.mark.parametrize("said", [SHADOW, *OF_A_REQUEST[:3], "uncomp:share=0.5,window=8"])
def test_a_prompt_is_kept_in_full_and_held_under_the_policy_of_a_request(mem: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(prompts, "CHUNK", CHUNK)
    space = mem.space("alice")
    id = space.add(TEXTS[0]).id
    prompt = f"Answer in one word. {TEXTS[0]}\n{QUESTION}"
    tokens = MODEL.encode(prompt)
    alone = MODEL.prefill(tokens, KVMemory.of(MODEL.module, Shape.of(said).policy))
    expected = [piece.tokens for piece in MODEL.generate((), alone, max_tokens=6).run()]
    first = space.kv.generate(prompt, sources=[id], policy=said, max_tokens=6)
    assert (first.taken, [piece.tokens for piece in first.run()]) == (0, expected)
    kept = len(tokens) // CHUNK * CHUNK
    assert sum(entry.tokens for entry in space.kv.entries()) == kept
    assert {entry.policy for entry in space.kv.entries()} == {"full"}
    again = space.kv.generate(prompt, sources=[id], policy=said, max_tokens=6)
    assert [piece.tokens for piece in again.run()] == expected
    asks_all = said.partition(":")[0] in ("h2o", "uncomp")
    assert (again.taken == 0) is asks_all
    assert space.kv.generate(prompt, sources=[id], max_tokens=1).taken == min(kept, len(tokens) - 1)  # in full, from what was read for a policy
    begun = space.kv.prefix(prompt, policy=said)
    MODEL.prefill(begun.rest, begun.memory)
    assert begun.memory.nbytes() == alone_bytes(said, tokens)
    with pytest.raises(Invalid, match="shaped"):
        space.kv.keep(begun)
    space.forget([id])
    assert sum(entry.tokens for entry in space.kv.entries()) <= CHUNK  # what came before the text


def alone_bytes(said: str, tokens: list[int]) -> object:
    return MODEL.prefill(tokens, KVMemory.of(MODEL.module, Shape.of(said).policy)).cache.nbytes()
