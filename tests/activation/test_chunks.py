"""The chunk store: what is put is scored and fetched, what may not be seen changes nothing, what is deleted is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnemos.activation import chunks
from mnemos.activation.chunks import ChunkStore, Disk, Host
from mnemos.activation.coding import Codes
from mnemos.activation.shadow.selection import ABSENT, best, places
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


def filled(
    place: object = None, puts: tuple[int, ...] = (5, 3, 1, 8), rows: int = 2, bits: int | None = None
) -> tuple[ChunkStore, torch.Tensor, torch.Tensor]:
    """A store, and all summaries and payloads that were put there."""
    generator = torch.Generator().manual_seed(0)
    store = ChunkStore(place, bits)  # type: ignore[arg-type]
    summaries, payloads = torch.randn(rows, 3, sum(puts), 4, generator=generator), torch.randn(rows, 3, sum(puts), 6, generator=generator)
    start = 0
    for number in puts:
        spans = torch.stack([torch.arange(start, start + number) * 2, torch.arange(start, start + number) * 2 + 1], -1).expand(rows, -1, -1)
        store.put(summaries[:, :, start : start + number], payloads[:, :, start : start + number], spans)
        start += number
    return store, summaries, payloads


def test_what_was_put_comes_back_whatever_pieces_it_lies_in(tmp_path: Path) -> None:
    for place in (Host(), Disk(tmp_path)):
        store, summaries, payloads = filled(place)
        assert store.count == 17
        assert len(store.payloads) < 4
        rows, heads, which = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 0, 1, 1]), torch.tensor([0, 16, 7, 5])
        assert torch.equal(store.fetch(rows, heads, which), payloads[rows, heads, which])
        assert store.copied == 4 * 6 * 4
        assert torch.equal(store.whole(), payloads)
        queries = torch.randn(2, 3, 2, 5, 4)
        assert torch.allclose(store.score(queries), torch.einsum("bhgtd,bhnd->bhgtn", queries, summaries), atol=1e-5)
        assert store.nbytes().far == payloads.numel() * 4 + 2 * 17 * 2 * 4
    assert not list(tmp_path.iterdir())  # its files have no names


def test_many_small_puts_make_few_pieces() -> None:
    store, _, payloads = filled(puts=(1,) * 100)
    assert len(store.payloads) <= 7
    assert torch.equal(store.whole(), payloads)


def test_a_chunk_that_is_not_allowed_changes_nothing() -> None:
    store, _, _ = filled()
    queries, allowed = torch.randn(2, 3, 2, 1, 4), torch.ones(2, 1, 17, dtype=torch.bool)
    allowed[0, 0, 3] = False
    before = store.score(queries, allowed)
    store.summaries[0, :, 3] += 100
    after = store.score(queries, allowed)
    assert torch.equal(before, after)
    assert bool((after[0, ..., 3] == -torch.inf).all())
    assert bool((after[1] > -torch.inf).all())


def test_what_is_overwritten_is_gone_here_and_stays_in_forks() -> None:
    store, summaries, payloads = filled()
    fork = store.fork()
    spans = torch.tensor([[-1, -1], [14, 14]])
    store.overwrite(1, [6, 7], torch.ones(3, 2, 4), torch.full((3, 2, 6), 2.0), spans)
    whole = store.whole()
    assert bool((whole[1, :, 6] == 0).all() and (store.summaries[1, :, 6] == 0).all())
    assert bool((whole[1, :, 7] == 2).all() and (store.summaries[1, :, 7] == 1).all())
    assert store.readable[1, 0].tolist() == [True] * 6 + [False] + [True] * 10
    others = torch.ones(2, 17, dtype=torch.bool)
    others[1, 6:8] = False
    assert torch.equal(whole.transpose(1, 2)[others], payloads.transpose(1, 2)[others])
    assert torch.equal(fork.whole(), payloads)
    assert torch.equal(fork.summaries, summaries)
    assert store.within(1, 0, 14) == [0, 1, 2, 3, 4, 5]
    assert store.within(1, 14, 15) == [7]
    assert fork.within(1, 12, 15) == [6, 7]


def test_rows_and_state_are_the_same_store() -> None:
    store, summaries, payloads = filled()
    swapped = store.rows(torch.tensor([1, 0, 1]))
    assert torch.equal(swapped.whole(), payloads[[1, 0, 1]])
    assert torch.equal(swapped.summaries, summaries[[1, 0, 1]])
    again = ChunkStore.from_state(store.state())
    assert torch.equal(again.whole(), payloads)
    assert again.within(0, 0, 100) == list(range(17))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_summaries_in_few_bits_are_near_enough_and_go_on_as_they_are(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "AT_ONCE", 128)
    store, summaries, payloads = filled(puts=(300,), bits=bits)
    off = (store.summaries - summaries).norm() / summaries.norm()
    assert float(off) < {1: 0.62, 2: 0.36, 4: 0.12, 8: 0.02}[bits]
    queries = torch.randn(2, 3, 2, 5, 4)
    assert torch.allclose(store.score(queries), torch.einsum("bhgtd,bhnd->bhgtn", queries, store.summaries), atol=1e-4)
    codes, frame, readable = 2 * 3 * 300 * -(-4 * bits // 8), 2 * 2 * 3 * 4 * 4 + 2 * 2 * 4, 2 * 3 * -(-300 // 8)
    assert store.nbytes().near == codes + frame + readable
    fork, before = store.fork(), store.summaries
    store.overwrite(1, [6, 7], torch.ones(3, 2, 4), torch.full((3, 2, 6), 2.0), torch.tensor([[-1, -1], [14, 14]]))
    others = torch.ones(2, 300, dtype=torch.bool)
    others[1, 6:8] = False
    assert torch.equal(store.summaries.transpose(1, 2)[others], before.transpose(1, 2)[others])
    assert not torch.equal(store.summaries[1, :, 6:8], before[1, :, 6:8])
    assert torch.equal(fork.summaries, before)
    again = ChunkStore.from_state(store.state()).rows(torch.tensor([1, 0]))
    assert torch.equal(again.summaries, store.summaries[[1, 0]])
    assert torch.equal(again.readable, store.readable[[1, 0]])
    again.put(summaries[[1, 0]], payloads[[1, 0]], torch.zeros(2, 300, 2))
    assert torch.equal(again.summaries[:, :, 300:], before[[1, 0]])
    assert torch.equal(again.summaries[:, :, :300], store.summaries[[1, 0]])


def test_a_frame_that_few_have_told_of_is_measured_anew_row_by_row() -> None:
    generator = torch.Generator().manual_seed(3)
    summaries, payloads = 9 + torch.randn(2, 3, 400, 4, generator=generator), torch.zeros(2, 3, 400, 1)
    spans = torch.arange(400)[None, :, None].expand(2, -1, 2).clone()
    spans[1, :100] = -1  # this row begins later
    store, alone = ChunkStore(bits=4), ChunkStore(bits=4)
    for start, stop in ((0, 2), (2, 100), (100, 400)):
        store.put(summaries[:, :, start:stop], payloads[:, :, start:stop], spans[:, start:stop])
    alone.put(summaries[1:, :, 100:], payloads[1:, :, 100:], spans[1:, 100:])
    assert torch.equal(store.summaries[1, :, 100:], alone.summaries[0])
    off = (store.summaries - summaries)[0].norm() / (summaries[0] - 9).norm()
    assert float(off) < 0.2
    assert store.nbytes().near == 2 * 3 * 400 * 2 + 2 * 2 * 3 * 4 * 4 + 2 * 2 * 4 + 2 * 3 * 50


@pytest.mark.parametrize("more", [16, 256])
def test_what_wanders_off_as_the_text_grows_is_kept_as_well_as_what_was_there_first(more: int) -> None:
    generator = torch.Generator().manual_seed(5)
    turned, noise = torch.arange(1100)[None, None, :, None] * 2e-3, torch.randn(2, 3, 1100, 4, generator=generator)
    summaries = noise + 12 * torch.cat([turned.cos(), turned.sin(), torch.zeros(1, 1, 1100, 2)], -1)
    payloads, spans = torch.zeros(2, 3, 1100, 1), torch.arange(1100)[None, :, None].expand(2, -1, 2).clone()
    spans[1, :280] = -1  # a row that begins later: its frames begin elsewhere
    store, alone = ChunkStore(bits=4), ChunkStore(bits=4)
    for start, stop in zip((0, *range(300, 1100, more)), (*range(300, 1100, more), 1100), strict=True):
        store.put(summaries[:, :, start:stop], payloads[:, :, start:stop], spans[:, start:stop])
        alone.put(summaries[1:, :, max(280, start) : stop], payloads[1:, :, max(280, start) : stop], spans[1:, max(280, start) : stop])
    off = (store.summaries - summaries)[0].norm(dim=(0, 2)) / noise[0].norm(dim=(0, 2))
    assert float(off[300:].mean()) < 1.2 * float(off[:300].mean())
    assert torch.equal(store.summaries[1, :, 280:], alone.summaries[0])
    queries = torch.randn(2, 3, 2, 1, 4, generator=generator)
    assert torch.allclose(store.score(queries)[0], torch.einsum("hgtd,hnd->hgtn", queries[0], store.summaries[0]), atol=1e-3)
    assert torch.allclose(store.score(queries)[1, ..., 280:], alone.score(queries[1:])[0], atol=1e-3)
    again = ChunkStore.from_state(store.state()).rows(torch.tensor([1, 0]))
    assert torch.equal(again.score(queries[[1, 0]]), store.score(queries)[[1, 0]])


@pytest.mark.parametrize(("bits", "bound"), [(4, 0.14), (2, 0.4)])
def test_a_number_that_weighs_little_takes_nothing_from_the_steps_of_others(bits: int, bound: float) -> None:
    numbers, weights = torch.randn(100, 64, generator=torch.Generator().manual_seed(4)), torch.ones(64)
    numbers[:, 60], weights[60] = 9.0, 1e-4
    codes = Codes.of(numbers, bits, weights)
    off = ((codes.tensor() - numbers).square() * weights).sum() / (numbers.square() * weights).sum()
    assert float(off.sqrt()) < bound
    assert torch.equal(Codes.of(numbers[7:8], bits, weights).tensor(), codes.tensor()[7:8])
    assert torch.equal(Codes.of(torch.zeros(1, 64), bits, weights).tensor(), torch.zeros(1, 64))


def test_half_precision_lies_on_disk_too(tmp_path: Path) -> None:
    payload = torch.randn(1, 2, 3, 4, dtype=torch.bfloat16)
    assert torch.equal(Disk(tmp_path).hold(payload), payload)
    assert Disk(tmp_path).hold(payload[:, :, :0]).shape == (1, 2, 0, 4)
    with pytest.raises(Invalid, match="no folder"):
        Disk(tmp_path / "absent")


def test_an_empty_store_says_so() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    with pytest.raises(Invalid, match="nothing was put"):
        ChunkStore().fetch(nothing, nothing, nothing)


def test_the_best_are_picked_and_of_equal_ones_the_first() -> None:
    scores = torch.tensor([[1.0, 3, 2, 3, 3, 0], [0, 0, 0, 0, 0, 0], [-torch.inf, 5, -torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    mask = best(scores, torch.tensor([2, 3, 2]))
    assert places(mask, 3).tolist() == [[1, 3, ABSENT], [0, 1, 2], [1, ABSENT, ABSENT]]
    assert not bool(best(scores, torch.tensor([0, 0, 0])).any())
    assert places(best(scores, torch.tensor([9, 9, 9])), 6).tolist()[0] == [0, 1, 2, 3, 4, 5]


def test_picking_is_what_sorting_gives() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        scores = torch.randint(0, 9, (3, 40), generator=generator).float()
        counts = torch.randint(0, 41, (3,), generator=generator)
        mask = best(scores, counts)
        for row in range(3):
            order = sorted(range(40), key=lambda place: (-float(scores[row, place]), place))
            assert mask[row].nonzero().squeeze(1).tolist() == sorted(order[: int(counts[row])])
