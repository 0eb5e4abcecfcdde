"""Landmark attention segment by segment: as in training, as written down by hand, bit by bit and byte by byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from activation.landmark.landmark_dense import Segmentwise
from activation.landmark.landmark_llama import BLOCK, LANDMARK, ids, with_landmarks
from mnemos.activation.landmark import attending, tokens
from mnemos.activation.landmark.attention import NAME
from mnemos.activation.landmark.part import Blocks, _load
from mnemos.activation.landmark.picking import best
from mnemos.activation.landmark.positions import Layout, Queries
from mnemos.activation.landmark.segments import segmentwise
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.activation.rotary import Layout as Turned
from mnemos.activation.rotary import Rotary
from mnemos.activation.saving import dump, load
from mnemos.activation.shadow import sources
from mnemos.activation.shadow.selection import ABSENT
from mnemos.base.errors import Corrupt, Invalid

torch.set_num_threads(1)

SLOT = BLOCK + 1


def row(count: int, seed: int = 0) -> torch.Tensor:
    """[1, n] of so many tokens, and their landmarks."""
    return torch.tensor([tokens.insert(ids(count, seed), BLOCK, LANDMARK)])


def one_by_one(model: object, memory: KVMemory, given: torch.Tensor, start: int = 0, step: int = 1) -> torch.Tensor:
    out = []
    with torch.no_grad():
        for at in range(0, given.shape[1], step):
            piece = given[:, at : at + step]
            positions = torch.arange(start + at, start + at + piece.shape[1])[None]
            out.append(model(piece, position_ids=positions, cache=memory, landmarks=piece == LANDMARK).logits)  # type: ignore[operator]
    return torch.cat(out, 1)


def blocks_of(memory: KVMemory, layer: int = 0) -> Blocks:
    (part,) = memory.managed[layer].parts
    assert isinstance(part, Blocks)
    return part


def test_far_positions_are_turned_to_small_ones_with_the_same_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = with_landmarks(), row(30)
    expected, _ = segmentwise(model, given, top=2)
    monkeypatch.setattr(attending, "FAR", 12)
    assert torch.allclose(segmentwise(model, given, top=2)[0], expected, atol=1e-4)


@pytest.mark.parametrize("trained", [None, 100])
def test_with_all_blocks_brought_back_it_is_attention_as_in_training(trained: int | None) -> None:
    model, given = with_landmarks(), torch.cat([row(50, 1), row(50, 2)])
    with torch.no_grad():
        expected = model(given, use_cache=False).logits
    found, _ = segmentwise(model, given, top=12, trained=trained)
    assert torch.allclose(found, expected, atol=1e-4)
    model.set_attn_implementation(NAME)
    with torch.no_grad():
        assert torch.equal(model(given, use_cache=False).logits, expected)


@pytest.mark.parametrize("stingy", [True, False])
@pytest.mark.parametrize("top", [1, 2, 3])
def test_with_few_brought_back_it_is_what_the_paper_says_written_down(top: int, stingy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    order = torch.argsort  # in the first layer all landmarks are equal: the oldest are taken, whatever rounding says
    monkeypatch.setattr(torch, "argsort", lambda scores, **said: order((scores * 1e3).round(), **said))
    model, given = with_landmarks(seed=top), row(56)
    expected = Segmentwise(model, BLOCK, top, SLOT, stingy).logits(given[0].tolist())
    found, memory = segmentwise(model, given[:, :7], top=top, stingy=stingy)
    rest, _ = segmentwise(model, given[:, 7:], top=top, memory=memory)
    assert torch.allclose(torch.cat([found, rest], 1)[0], expected, atol=1e-4)


def test_blocks_take_as_much_at_true_positions() -> None:
    model, given = with_landmarks(), row(56)
    near = [segmentwise(model, given, top=2, bits=4, stingy=stingy)[1].nbytes().near for stingy in (True, False)]
    assert near[1] <= near[0]


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_few_bits_find_blocks_and_do_not_weigh_them(bits: int) -> None:
    model, given = with_landmarks(), row(56)
    exact, _ = segmentwise(model, given, top=14)
    found, memory = segmentwise(model, given, top=14, bits=bits)  # all blocks are brought: nothing depends on who is found
    assert torch.allclose(found, exact, atol=1e-5)
    loaded = load(model, dump(memory, "it"), "it", memory.policy)
    assert torch.equal(segmentwise(model, given, top=14, memory=loaded)[0], segmentwise(model, given, top=14, memory=memory)[0])


def test_a_part_of_a_version_without_exact_keys_is_refused() -> None:
    _, memory = segmentwise(with_landmarks(), row(56), top=3, bits=4)
    part = next(part for part in memory.managed[0].parts if isinstance(part, Blocks))
    plain, tensors = part.state()
    assert _load(plain, tensors).length == part.length
    with pytest.raises(Corrupt, match="read the text anew"):
        _load({name: value for name, value in plain.items() if name != "exact"}, tensors)


@pytest.mark.parametrize("local", [0, 2, 4])
def test_local_blocks_are_seen_beside_those_that_are_brought(local: int) -> None:
    model, given = with_landmarks(), row(56)
    with torch.no_grad():
        expected = model(given, use_cache=False).logits
    found, memory = segmentwise(model, given, top=3, local=local, stingy=False)
    part = next(part for part in memory.managed[0].parts if part.kind == "landmark blocks")
    assert part.cached.tolist() == [56 // BLOCK - local]
    first = (3 + local + 1) * SLOT  # until then all there is is brought, or local
    assert torch.allclose(found[:, :first], expected[:, :first], atol=1e-4)
    assert not torch.allclose(found[:, first:], expected[:, first:], atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"level": "token"}, {"trained": 45}, {"blocks": 3}, {"stingy": False}, {"bits": 8}, {"at_once": 1}])
def test_token_by_token_is_segment_by_segment(options: dict[str, object]) -> None:
    model, given = with_landmarks(), row(30)
    expected, at_once = segmentwise(model, given, top=2, **options)  # type: ignore[arg-type]
    for step in (1, 7) if not options else (1,):
        memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2, **options))
        assert torch.allclose(one_by_one(model, memory, given, step=step), expected, atol=1e-4)
        assert memory.held() == at_once.held()


def test_what_is_saved_goes_on_and_so_do_forks_and_rows(tmp_path: Path) -> None:
    model, more = with_landmarks(), row(40, 7)[:, :9]
    both = torch.cat([row(44, 1), row(44, 2)])
    _, memory = segmentwise(model, both, top=2)
    loaded = load(model, dump(memory, "it"), "it", policy("landmark", block=BLOCK, top=2))
    fork = memory.fork()
    _, alone = segmentwise(model, both[1:], top=2)
    fork.batch_select_indices(torch.tensor([1]))
    start = both.shape[1] - 1  # the last of them is given again, within its block
    expected = one_by_one(model, memory, more.expand(2, -1)[:, :3], start)
    assert torch.equal(one_by_one(model, loaded, more.expand(2, -1)[:, :3], start), expected)
    assert torch.allclose(one_by_one(model, fork, more[:, :3], start), expected[1:], atol=1e-4)
    assert torch.allclose(one_by_one(model, alone, more[:, :3], start), expected[1:], atol=1e-4)


def test_a_fork_that_stores_blocks_leaves_the_other_as_it_was() -> None:
    model, given, more = with_landmarks(), row(28), row(24, 7)
    _, memory = segmentwise(model, given, top=2)
    start = given.shape[1]
    expected = one_by_one(model, memory.fork(), more, start, 3)
    one_by_one(model, memory.fork(), row(24, 8), start, 5)
    assert torch.equal(one_by_one(model, memory, more, start, 3), expected)


def test_a_store_on_disk_is_a_store_in_memory_bit_for_bit(tmp_path: Path) -> None:
    model, given = with_landmarks(), row(42)
    found = []
    for folder in (None, str(tmp_path)):
        memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2, folder=folder))
        found.append(one_by_one(model, memory, given, step=5))
    assert torch.equal(found[0], found[1])
    assert not list(tmp_path.iterdir())


def test_near_are_landmarks_and_the_open_block_and_a_ring_holds_the_newest() -> None:
    model, given = with_landmarks(), row(83)
    _, memory = segmentwise(model, given, top=2)
    _, ring = segmentwise(model, given, top=2, blocks=6)
    part, size, heads = blocks_of(memory), 8, 2
    assert part.places.shape[1] == 20
    assert part.nbytes().far == heads * 20 * BLOCK * 2 * size * 4 + 20 * 2 * 4
    stored = heads * 20 * (size * 4 + 1) + 20 * BLOCK * 4 + size // 2 * 4 + 4
    assert stored <= part.nbytes().near <= 1.5 * stored  # what is reckoned once of all landmarks is kept, and counts
    assert blocks_of(ring).places.flatten().tolist() == [place for place in range(14 * SLOT, 20 * SLOT) if place % SLOT != BLOCK]
    assert blocks_of(ring).nbytes().far == heads * 6 * BLOCK * 2 * size * 4 + 6 * 2 * 4
    assert memory.nbytes().near < 0.35 * (memory.nbytes().near + memory.nbytes().far)


def _shifted(memory: KVMemory, block: int) -> None:
    """Changes all that a block holds."""
    for layer in memory.managed:
        (part,) = layer.parts
        store = part.store.fork()
        store._near = store._near.clone()
        store._near[:, :, block] += 3.0
        first, pieces = 0, []
        for piece in store.payloads:
            piece = piece.clone()
            if first <= block < first + piece.shape[2]:
                piece[:, :, block - first] += 3.0
            first += piece.shape[2]
            pieces.append(piece)
        store.payloads = pieces
        layer.parts = [Blocks(store, part.places, part.rotary)]


@pytest.mark.parametrize("level", ["each", "token", "head"])
def test_a_block_that_may_not_be_read_has_no_influence(level: str) -> None:
    model, given, more = with_landmarks(), row(48), row(40, 9)[:, :11]
    _, memory = segmentwise(model, given, top=3, level=level)
    other = memory.fork()
    _shifted(other, 4)
    start = given.shape[1]
    assert not torch.equal(one_by_one(model, memory.fork(), more, start, 11), one_by_one(model, other.fork(), more, start, 11))
    for each in (memory, other):
        for layer in each.managed:
            layer.parts = [layer.parts[0].without(0, 4 * SLOT + 1, 4 * SLOT + 2, erase=False)]
    assert torch.equal(one_by_one(model, memory, more, start, 11), one_by_one(model, other, more, start, 11))
    assert not {4 * SLOT, 4 * SLOT + 1} & memory.held()[0][0][0]


def test_forgetting_overwrites_the_blocks_of_a_source_and_their_landmarks() -> None:
    model = with_landmarks()
    _, memory = segmentwise(model, row(48), top=3)
    part = blocks_of(memory)
    left = part.without(0, 2 * SLOT + 2, 3 * SLOT + 1, erase=True)
    keys, values = left.dense()
    gone = list(range(2 * BLOCK, 4 * BLOCK))
    assert bool((keys[0, :, gone] == 0).all())
    assert bool((values[0, :, gone] == 0).all())
    assert bool((left.store.summaries[0, :, 2:4] == 0).all())
    assert torch.equal(keys[0, :, : 2 * BLOCK], part.dense()[0][0, :, : 2 * BLOCK])
    assert left.cached.tolist() == [int(part.cached) - 2]


def test_a_source_is_found_hidden_and_forgotten_wherever_its_blocks_lie() -> None:
    model, given, more = with_landmarks(), row(41), row(40, 9)[:, :8]
    _, memory = segmentwise(model, given, top=3)
    start, first, last = given.shape[1], 2 * SLOT + 1, 4 * SLOT
    sources.label(memory, "a letter", first, last)
    sources.label(memory, "its end", start - 1, start)
    assert sources.chunks_of(memory, "a letter") == [[(0, 2), (0, 3)]] * 2
    reader = memory.fork()
    sources.hide(reader, "a letter")
    assert sources.forget(memory, "a letter") == last - first - 2  # but for two landmarks
    assert torch.equal(one_by_one(model, memory.fork(), more, start), one_by_one(model, reader, more, start))
    assert sources.forget(memory, "its end") == 1
    assert not set(range(first, last)) & memory.held()[0][0][0]
    assert start - 1 not in memory.held()[0][0][0]


PARTIAL = Rotary(Turned(8, 16, True), 1.0 / 100.0 ** (torch.arange(0, 16, 2)[None] / 16), torch.tensor([1.2]))


@pytest.mark.parametrize("rotary", [Rotary.default(32), PARTIAL, Rotary.identity()], ids=["whole", "partly", "not at all"])
@pytest.mark.parametrize("stingy", [True, False])
def test_a_block_scores_alike_in_any_slot_that_is_as_far(rotary: Rotary, stingy: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = Layout(15, 3, stingy)
    states, keys = torch.randn(1, 1, 1, 4, 32, generator=generator), torch.randn(16, 32, generator=generator)
    stored = rotary.rotate(keys, torch.arange(16))
    for slot in range(4):
        positions = torch.arange(64, 68)[None]
        found = Queries(states, positions, rotary, layout).seeing(torch.full((1, 1, 1, 1, 1), slot))[0, 0, 0, :, 0] @ stored.T
        placed = rotary.rotate(keys, torch.arange(16) + 16 * slot)
        expected = rotary.rotate(states, positions[:, None, None])[0, 0, 0] @ placed.T
        assert torch.allclose(found, expected, atol=1e-4)


def test_slots_are_those_of_the_paper() -> None:
    layout, cached, ordinals = Layout(50, 2), torch.tensor([6]), torch.arange(6)[None]
    assert layout.first(cached).tolist() == [3 * 51]
    assert layout.scored_at(ordinals, cached).tolist() == [[0, 0, 0, 0, 1, 2]]
    assert layout.attended_at(torch.tensor([[[0, 3], [1, 5], [4, 5]]]), cached).tolist() == [[[0, 1], [0, 2], [1, 2]]]
    assert layout.first(torch.tensor([2])).tolist() == [2 * 51]
    assert layout.attended_at(torch.tensor([[[0, 1]]]), torch.tensor([2])).tolist() == [[[0, 1]]]


def test_of_equal_scores_the_oldest_are_taken_and_rounding_makes_no_difference() -> None:
    scores = torch.tensor([1.0, 3.0, 3.0 + 1e-7, 3.0, 5.0, -torch.inf])
    assert best(scores, 3, torch.tensor([1e-5])).tolist() == [1, 2, 4]
    assert best(scores, 2, torch.tensor([1e-5])).tolist() == [1, 4]
    assert best(torch.full((4,), -torch.inf), 2, torch.tensor([1e-5])).tolist() == [ABSENT, ABSENT]


def test_a_padded_row_is_as_if_alone() -> None:
    model = with_landmarks()
    batch = tokens.batch([ids(33, 1), ids(52, 2)], BLOCK, LANDMARK, 0)
    given = {**batch.inputs()}
    memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2))
    with torch.no_grad():
        found = model(**given, cache=memory).logits[:, -1]
    for number, count in enumerate((33, 52)):
        expected, _ = segmentwise(model, row(count, number + 1), top=2, keep=1)
        assert torch.allclose(found[number], expected[0, -1], atol=1e-4)


def test_without_landmarks_all_is_one_open_block() -> None:
    model, given = with_landmarks(), torch.tensor([ids(30)])
    memory = KVMemory.of(model, policy("landmark", block=BLOCK, top=2))
    with torch.no_grad():
        found = model(given, cache=memory, landmarks=torch.zeros_like(given, dtype=torch.bool)).logits
        assert torch.equal(found, model(given, cache=KVMemory.of(model)).logits)
    with pytest.raises(Invalid, match="more than 4 tokens"):
        one_by_one(model, memory, torch.full((1, 5), LANDMARK), 30)


@pytest.mark.parametrize("options", [{"block": 0}, {"top": 0}, {"level": "layer"}, {"blocks": 0}, {"trained": 20, "block": 4, "top": 2}, {"k": 1}])
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        policy("landmark", **options)
