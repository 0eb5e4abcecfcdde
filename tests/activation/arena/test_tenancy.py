"""KV memories in an arena: the same bits as without, pages that go back, quotas, and what is let go of."""

from __future__ import annotations

import gc

import pytest
import torch

from activation.test_policies import SMALL
from activation.tiny_llama import greedy, llama, run, tokens
from mnemos.activation.arena.backend import KIB
from mnemos.activation.arena.cpu import CpuBackend
from mnemos.activation.arena.idle import Idle
from mnemos.activation.arena.quotas import OverQuota, Quotas
from mnemos.activation.arena.tenancy import KVArena
from mnemos.activation.memory import KVMemory
from mnemos.activation.policy import Policy
from mnemos.activation.saving import dump, load
from mnemos.activation.tail import Tail
from mnemos.base.errors import Invalid, StoreFull
from mnemos.models.local.model import LocalModel

torch.set_num_threads(1)

MODEL = llama()
LENGTH = 96
POLICIES = {"full": Policy, **SMALL}


def arena(**options: object) -> KVArena:
    """With pages of 128 tokens of the small model's heads."""
    return KVArena(max_ctx=512, slots=64, page=4 * KIB, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gives_the_same_bits_in_an_arena(name: str) -> None:
    model, ids, mask = llama(), tokens(2, LENGTH), torch.ones(2, LENGTH, dtype=torch.long)
    mask[0, :21] = 0
    seen: list[list[torch.Tensor]] = []
    saved = []
    with arena() as pages:
        for place in (None, pages):
            small = POLICIES[name]()
            memory = KVMemory.of(model, small, arena=place)
            first = run(model, memory, ids, 17, mask)[:, -1]
            memory.settle()
            twin = memory.fork()
            chosen, one = greedy(model, memory, first, 10, mask)
            _, other = greedy(model, twin, first.flip(-1), 5, mask)  # a way of its own, in pages that both read
            saved.append(dump(memory, "it"))
            loaded = load(model, saved[-1], "it", POLICIES[name]())
            loaded = loaded if place is None else loaded.lodge(place)
            last = torch.tensor(chosen)[:, -1:]
            longer = torch.cat([mask, mask.new_ones(2, 11)], 1)
            _, third = greedy(model, loaded, run(model, loaded, last, mask=longer)[:, -1], 3, longer)
            memory.reorder_cache(torch.tensor([1, 0, 1]))  # a batch of another size, in other slots
            longer, last = longer[[1, 0, 1]], last[[1, 0, 1]]
            _, fourth = greedy(model, memory, run(model, memory, last, mask=longer)[:, -1], 3, longer)
            seen.append([first, one, other, third, fourth])
    assert saved[0] == saved[1]
    for plain, there in zip(*seen, strict=True):
        assert torch.equal(plain, there)


def read(pages: KVArena, namespace: str = "a", length: int = LENGTH, policy: Policy | None = None) -> KVMemory:
    memory = KVMemory.of(MODEL, policy or Policy(), arena=pages, namespace=namespace)
    run(MODEL, memory, tokens(1, length))
    return memory


def pages_of(tokens: int) -> int:
    """Bytes of the whole pages that so many tokens take in two layers of two heads, keys and values: of a page 128 tokens."""
    return -(-tokens // 128) * 4 * KIB * 8


def test_pages_go_back_where_tokens_go() -> None:
    with arena() as pages:
        memory = read(pages, length=400)
        assert pages.resident_bytes() == pages.used_bytes("a") == pages_of(400)
        assert memory.nbytes().near - pages_of(400) < 400 * 4 * 8  # positions, and no more
        memory.crop(-150)
        assert pages.resident_bytes() == pages.used_bytes("a") == pages_of(250)
        evicting = read(pages, "b", 400, SMALL["window"]())
        assert pages.used_bytes("b") == pages_of(400)
        evicting.settle()
        beside = sum(part.nbytes().near for layer in evicting.managed for part in layer.parts)
        assert pages.used_bytes("b") == pages_of(evicting.managed[0].tail.length) + beside < pages_of(400) / 2
        assert pages.resident_bytes() == pages.used_bytes("a") + pages.used_bytes("b") - beside
        twin = memory.fork()
        run(MODEL, twin, tokens(1, 1))
        assert pages.used_bytes("a") == pages_of(250) + pages_of(1)  # the first page is shared, the second each one's own
        twin.close()
        memory.close()
        assert pages.used_bytes("a") == 0
        assert memory.get_seq_length() == 0
        del evicting
        assert pages.resident_bytes() == pages.used_bytes("b") == 0


def test_what_lies_far_is_in_pages_that_go_with_it() -> None:
    with arena() as pages:
        for name in ("shadowkv", "blocks"):
            memory = read(pages, length=200, policy=SMALL[name]())
            memory.settle()
            far = sum(payload.numel() * payload.element_size() for layer in memory.managed for part in layer.parts
                      for payload in getattr(part, "store", ()) and part.store.payloads)  # type: ignore[attr-defined]  # fmt: skip
            tails = sum(layer.tail.room.nbytes() for layer in memory.managed)
            assert far > 0
            assert tails + far <= pages.resident_bytes() < tails + far + 8 * 4 * KIB  # a page of each piece may be begun
            twin = memory.fork()  # reads the same pieces
            memory.close()
            del memory
            assert pages.resident_bytes() >= far
            twin.close()
            del twin
            gc.collect()
            assert pages.resident_bytes() == 0


def test_over_its_quota_a_memory_is_as_it_was_and_goes_on_when_there_is_room() -> None:
    quotas = Quotas({"team": pages_of(128) * 2})
    with arena(quotas=quotas) as pages:
        one, two = read(pages, "team/alice", 120), read(pages, "team/bob", 120)
        assert pages.used_bytes("team") == pages_of(128) * 2
        held = one.held()
        with pytest.raises(OverQuota, match=r"'team/alice'.*over its limit"):
            run(MODEL, one, tokens(1, 40, seed=3))
        assert one.get_seq_length() == 120
        assert one.held() == held
        assert pages.used_bytes("team") == pages_of(128) * 2
        read(pages, "other", 400)
        two.close()
        plain = KVMemory.of(MODEL)
        run(MODEL, plain, tokens(1, 120))
        assert torch.equal(run(MODEL, one, tokens(1, 4, seed=3)), run(MODEL, plain, tokens(1, 4, seed=3)))
        run(MODEL, one, tokens(1, 40, seed=3))
        assert pages.used_bytes("team/alice") == pages_of(164)


def test_a_memory_that_is_half_written_for_want_of_room_says_so() -> None:
    with arena(budget=pages_of(128) * 3 // 4) as pages:  # one layer and a half
        memory = KVMemory.of(MODEL, arena=pages)
        with pytest.raises(StoreFull):
            run(MODEL, memory, tokens(1, 20))
        with pytest.raises(Invalid, match="half written"):
            run(MODEL, memory, tokens(1, 1))
        memory.close()
        assert pages.resident_bytes() == 0


def test_what_waits_gives_way_to_what_is_used() -> None:
    idle = Idle()
    quotas = Quotas({"a": pages_of(128) * 2, "b": pages_of(128)})
    with arena(quotas=quotas, let_go=idle.let_go) as pages:
        for key, owner in (("first", "a"), ("second", "a"), ("third", "b")):
            idle.put(key, read(pages, owner, 100), owner)
        memory = read(pages, "a", 100)  # needs what one of its own has, the first
        assert idle.take("first") is None
        second = idle.take("second")
        assert second is not None
        with pytest.raises(OverQuota):  # both of its own are in use now, and nobody else's helps
            run(MODEL, memory, tokens(1, 100))
        assert idle.take("third") is not None
        idle.put("second", second, "a")
        run(MODEL, memory, tokens(1, 100))
        assert memory.get_seq_length() == 200
        assert idle.take("second") is None
    with arena(budget=pages_of(128), let_go=idle.let_go) as pages:  # where memory itself is short anybody's goes
        idle.put("any", read(pages, "b", 100), "b")
        read(pages, "a", 100)
        assert idle.take("any") is None


def test_keys_and_values_of_other_widths_and_rows_beyond_the_longest() -> None:
    with arena() as pages:
        keys, values = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 10, 4)
        tail = Tail(keys, values, torch.arange(10, dtype=torch.int32).expand(2, 1, 10), landlord=pages.tenancy("a"))
        tail.append(keys, values, torch.arange(10, 20).expand(2, 10))
        assert torch.equal(tail.keys, torch.cat([keys, keys], 2))
        assert torch.equal(tail.values, torch.cat([values, values], 2))
        with pytest.raises(Invalid, match="max_ctx"):
            tail.append(*(torch.zeros(2, 3, 600, size) for size in (8, 4)), torch.arange(600).expand(2, 600))
        assert tail.length == 20


def test_a_local_model_that_is_given_an_arena_reads_and_speaks_in_it() -> None:
    with arena() as pages:
        plain, there = LocalModel(MODEL), LocalModel(MODEL, caches=pages.caches(namespace="chat"))
        prompt = tokens(1, 40)[0].tolist()
        stream = there.generate(prompt, max_tokens=8)
        assert stream.run()[0].tokens == plain.generate(prompt, max_tokens=8).run()[0].tokens
        assert pages.used_bytes("chat") == pages_of(48)
        del stream
        gc.collect()
        assert pages.resident_bytes() == 0


def test_pages_that_keys_do_not_need_any_more_are_for_what_lies_far() -> None:
    with arena(budget=pages_of(500)) as pages:
        memory = read(pages, length=500)  # the whole budget
        memory.close()
        place = pages.tenancy("a").place
        far = place.hold(torch.ones(pages_of(500) - 8 * 4 * KIB, dtype=torch.uint8))
        assert pages.resident_bytes() == far.numel()
        with pytest.raises(StoreFull):
            read(pages, length=200)
        del far
        gc.collect()
        read(pages, length=500)


def test_an_arena_in_a_ring_of_garbage_takes_its_pages_out_before_its_address_space_goes() -> None:
    backend, quotas = CpuBackend(), Quotas()
    pages = arena(backend=backend, quotas=quotas)
    memory = read(pages, length=300)
    ring: list[object] = [pages, memory, *pages._arenas.values()]
    ring.append(ring)
    assert backend.resident_bytes() > 0
    del pages, memory, ring
    gc.collect()
    assert backend.resident_bytes() == quotas.used("a") == 0
    assert not backend._at  # else what is reserved there next could not be mapped
