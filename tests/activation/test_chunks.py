"""The chunk store: what is put is scored and fetched, what may not be seen changes nothing, what is deleted is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnemos.activation.chunks import ChunkStore, Disk, Host
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
        rows, heads, chunks = torch.tensor([0, 1, 1, 0]), torch.tensor([2, 0, 1, 1]), torch.tensor([0, 16, 7, 5])
        assert torch.equal(store.fetch(rows, heads, chunks), payloads[rows, heads, chunks])
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


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_summaries_in_few_bits_are_near_enough_and_each_of_its_own(bits: int) -> None:
    store, summaries, payloads = filled(bits=bits)
    once, _, _ = filled(puts=(17,), bits=bits)
    assert torch.equal(store.summaries, once.summaries)  # whatever stands beside a chunk
    steps = (summaries.amax(-1) - summaries.amin(-1)) / (2**bits - 1)
    assert bool(((store.summaries - summaries).abs() <= 0.51 * steps.unsqueeze(-1) + 0.005).all())
    queries = torch.randn(2, 3, 2, 5, 4)
    assert torch.allclose(store.score(queries), torch.einsum("bhgtd,bhnd->bhgtn", queries, store.summaries), atol=1e-5)
    assert store.nbytes().near == 2 * 3 * 17 * (bits + 2 + 2 + 1)  # 8 codes, their scale and zero, whether it is read
    fork = store.fork()
    store.overwrite(1, [6, 7], torch.ones(3, 2, 4), torch.full((3, 2, 6), 2.0), torch.tensor([[-1, -1], [14, 14]]))
    assert bool((store.summaries[1, :, 6] == 0).all() and (store.summaries[1, :, 7] == 1).all())
    assert torch.equal(fork.summaries, once.summaries)
    again = ChunkStore.from_state(store.state()).rows(torch.tensor([1, 0]))
    assert torch.equal(again.summaries, store.summaries[[1, 0]])
    again.put(summaries[:, :, :2], payloads[:, :, :2], torch.zeros(2, 2, 2))
    assert torch.equal(again.summaries[:, :, 17:], once.summaries[:, :, :2])


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
