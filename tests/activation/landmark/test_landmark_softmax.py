"""The grouped softmax: its invariants, and that all its forms give what the paper's words give."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from landmark_dense import attention as dense
from landmark_dense import weights_of

from mnemos.activation.landmark.softmax import OWN, blockwise, grouped_softmax, groups_of, regular_groups
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


@dataclass(frozen=True)
class Layout:
    """A sequence with landmarks anywhere, what its queries may see besides what is before them, and logits [n, n]."""

    landmarks: list[bool]
    hidden: list[bool]
    logits: torch.Tensor

    def groups(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        groups, landmarks, causal = groups_of(torch.tensor(self.landmarks), len(self.landmarks))
        return groups, landmarks, causal & ~torch.tensor(self.hidden)

    def weights(self) -> torch.Tensor:
        return grouped_softmax(self.logits, *self.groups())


@st.composite
def layouts(draw: st.DrawFn, hiding: bool = True) -> Layout:
    length = draw(st.integers(1, 24))
    landmarks = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    landmarks = [mark and number > 0 and not landmarks[number - 1] for number, mark in enumerate(landmarks)]  # a block has a token
    hidden = draw(st.lists(st.integers(0, 5).map(lambda n: hiding and n == 0), min_size=length, max_size=length))
    logits = torch.randn(length, length, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) * draw(st.sampled_from([0.1, 3.0, 60.0]))
    return Layout(landmarks, hidden, logits)


@given(layouts())
def test_weights_are_those_of_the_paper_sum_to_one_and_landmarks_have_none(layout: Layout) -> None:
    got = layout.weights()
    blocks = [sum(layout.landmarks[:number]) for number in range(len(layout.landmarks))]
    for query, row in enumerate(got):
        seen = [j <= query and not layout.hidden[j] for j in range(len(row))]
        torch.testing.assert_close(row, weights_of(layout.logits[query], blocks, layout.landmarks, blocks[query], seen), atol=1e-5, rtol=0)
        assert abs(float(row.sum()) - 1) <= 1e-6 or not row.any()
        assert not row[torch.tensor(layout.landmarks)].any()
        assert not row[query + 1 :].any()


@given(layouts(hiding=False))
def test_every_query_has_weights(layout: Layout) -> None:
    torch.testing.assert_close(layout.weights().sum(-1), torch.ones(len(layout.landmarks)), atol=1e-6, rtol=0)


@given(layouts(), st.data())
def test_a_masked_block_has_exactly_no_influence(layout: Layout, data: st.DataObject) -> None:
    groups, landmarks, mask = layout.groups()
    blocks = torch.tensor(layout.landmarks).int().cumsum(0) - torch.tensor(layout.landmarks).int()
    gone = blocks == data.draw(st.integers(0, int(blocks.max())))
    other = torch.where(gone, torch.randn_like(layout.logits) * 1000, layout.logits)
    assert torch.equal(grouped_softmax(layout.logits, groups, landmarks, mask & ~gone), grouped_softmax(other, groups, landmarks, mask & ~gone))
    unseen = torch.where(gone, -torch.inf, layout.logits)
    assert torch.equal(grouped_softmax(unseen, groups, landmarks, mask), grouped_softmax(layout.logits, groups, landmarks, mask & ~gone))


@given(layouts(), st.data())
def test_a_block_without_its_landmark_has_no_weight_and_one_without_tokens_takes_none(layout: Layout, data: st.DataObject) -> None:
    groups, landmarks, mask = layout.groups()
    blocks = torch.tensor(layout.landmarks).int().cumsum(0) - torch.tensor(layout.landmarks).int()
    chosen = blocks == data.draw(st.integers(0, int(blocks.max())))
    marked = torch.tensor(layout.landmarks)
    elsewhere = groups != OWN
    whole = grouped_softmax(layout.logits, groups, landmarks, mask & ~(chosen & elsewhere))
    for part in (chosen & marked, chosen & ~marked):
        assert torch.equal(grouped_softmax(layout.logits, groups, landmarks, mask & ~(part & elsewhere)), whole)


@given(st.integers(1, 9), st.integers(0, 99))
def test_with_no_block_before_it_is_the_plain_softmax(length: int, seed: int) -> None:
    logits = torch.randn(3, length, length, generator=torch.Generator().manual_seed(seed))
    groups, landmarks, mask = regular_groups(length, length, 9)
    plain = logits.masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(grouped_softmax(logits, groups, landmarks, mask), plain, atol=1e-7, rtol=1e-6)


@given(layouts())
def test_the_own_landmark_does_not_leak(layout: Layout) -> None:
    groups, landmarks, mask = layout.groups()
    own = torch.tensor(layout.landmarks) & (groups == OWN)
    assert torch.equal(grouped_softmax(torch.where(own, 1e4, layout.logits), groups, landmarks, mask), layout.weights())


def test_the_query_that_is_a_landmark_sees_its_own_block() -> None:
    groups, landmarks, mask = regular_groups(8, 8, 3)
    weights = grouped_softmax(torch.zeros(8, 8), groups, landmarks, mask)
    assert weights[3].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0, 0])
    assert weights[7].tolist() == pytest.approx([1 / 12, 1 / 12, 1 / 12, 0, 1 / 4, 1 / 4, 1 / 4, 0])


def test_gradients_are_those_of_the_paper() -> None:
    length = 18
    marks = [number in (3, 9, 10 + 4) for number in range(length)]
    logits = torch.randn(length, length, dtype=torch.float64, requires_grad=True)
    values = torch.randn(length, length, dtype=torch.float64)
    groups, landmarks, mask = groups_of(torch.tensor(marks), length)
    mask = mask & (torch.arange(length) != 1)
    (got,) = torch.autograd.grad((grouped_softmax(logits, groups, landmarks, mask) * values).sum(), logits)
    blocks = [sum(marks[:number]) for number in range(length)]
    rows = [weights_of(logits[i], blocks, marks, blocks[i], [j <= i and j != 1 for j in range(length)]) for i in range(length)]
    (wanted,) = torch.autograd.grad((torch.stack(rows) * values).sum(), logits)
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=1e-8)
    assert float(got[16, 3].abs()) > 1e-4  # a landmark's logit learns from the tokens behind it


def test_gradients_are_numbers_where_a_query_sees_nothing_and_logits_are_extreme() -> None:
    logits = (torch.randn(12, 12) * 1e4).requires_grad_()
    groups, landmarks, mask = regular_groups(12, 12, 2)
    mask = mask.clone()
    mask[7] = False
    weights = grouped_softmax(logits, groups, landmarks, mask)
    weights.square().sum().backward()
    assert not weights[7].any()
    assert bool(torch.isfinite(logits.grad).all())  # type: ignore[arg-type]


@given(st.integers(1, 150), st.integers(1, 9), st.sampled_from([(1, 1), (4, 2), (2, 2)]), st.integers(0, 99), st.booleans(), st.integers(0, 5))
def test_blockwise_is_the_scattered_form_with_its_gradients(
    length: int, block: int, heads: tuple[int, int], seed: int, dropping: bool, top: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, heads[0], length, 4, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, heads[1], length, 4, generator=generator, requires_grad=True) for _ in range(2))
    up = torch.randn(2, heads[0], length, 4, generator=generator)
    blocks = -(-length // (block + 1))
    kept = torch.rand(2, blocks, generator=generator) > 0.3 if dropping else None
    groups, landmarks, mask = regular_groups(length, length, block)
    if kept is not None:
        there = kept.repeat_interleave(block + 1, 1)[:, None, None, :length]
        mask = mask & (there | (groups == OWN))
    keys, values = (each.repeat_interleave(heads[0] // heads[1], 1) for each in (key, value))
    logits = query @ keys.transpose(-1, -2) * 1.7
    if top:  # all blocks, where it is 0
        mask = mask.expand(logits.shape).clone()
        gates = logits.detach().masked_fill(~(mask & landmarks & (groups != OWN)), -torch.inf)
        for place in gates.sort(-1, descending=True).indices[..., top:].unbind(-1):
            mask.scatter_(-1, place.unsqueeze(-1), mask.gather(-1, place.unsqueeze(-1)) & (gates.gather(-1, place.unsqueeze(-1)) == -torch.inf))
    wanted = grouped_softmax(logits, groups, landmarks, mask) @ values
    got = blockwise(query, key, value, block, 1.7, kept, top or None)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    for ours, theirs in zip(*(torch.autograd.grad((each * up).sum(), (query, key, value)) for each in (got, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_blockwise_is_what_the_paper_says_with_its_gradients() -> None:
    length, block = 45, 6
    query, key, value = (torch.randn(length, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    up = torch.randn(length, 8, dtype=torch.float64)
    wanted = dense(query, key, value, [place % (block + 1) == block for place in range(length)], 0.5)
    got = blockwise(query[None, None], key[None, None], value[None, None], block, 0.5)[0, 0]
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)  # the running sums are float32
    for ours, theirs in zip(*(torch.autograd.grad((each * up).sum(), (query, key, value)) for each in (got, wanted)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 2), st.integers(0, 99), st.integers(0, 5))
def test_rivals_are_landmarks_of_other_rows_as_far_back_with_nothing_behind_them(length: int, block: int, rivals: int, seed: int, top: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key, value, up = (torch.randn(3, 2, length, 4, generator=generator, requires_grad=number < 3) for number in range(4))
    got = blockwise(query, key, value, block, 0.9, None, top or None, rivals)
    full = length // (block + 1)
    groups, landmarks, mask = regular_groups(length, length, block)
    ends = torch.arange(full) * (block + 1) + block
    before = (torch.arange(length) // (block + 1))[:, None] > torch.arange(full)
    outputs = []
    for row in range(3):
        others = [(row - shift) % 3 for shift in range(1, rivals + 1)]
        theirs = torch.cat([key[other][:, ends] for other in others], 1)
        count = theirs.shape[1]
        logits = torch.cat([query[row] @ each.transpose(-1, -2) * 0.9 for each in (key[row], theirs, theirs)], -1)  # each has one token
        every = torch.arange(count) + 1000
        seen = torch.cat([mask, before.repeat(1, 2 * rivals)], -1).expand(logits.shape).clone()
        marked = torch.cat([landmarks[0], torch.arange(2 * count) < count])
        its = torch.cat([groups, every.expand(length, -1), every.expand(length, -1)], -1)
        if top:
            gates = logits.detach().masked_fill(~(seen & marked & (its != OWN)), -torch.inf)
            seen &= (gates == -torch.inf) | (gates >= gates.topk(min(top, gates.shape[-1]), -1).values[..., -1:])
        outputs.append(grouped_softmax(logits, its, marked, seen) @ torch.nn.functional.pad(value[row], (0, 0, 0, 2 * count)))
    wanted = torch.stack(outputs)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    for ours, right in zip(*(torch.autograd.grad((each * up).sum(), (query, key, value)) for each in (got, wanted)), strict=True):
        torch.testing.assert_close(ours, right, atol=1e-4, rtol=0)


def test_bad_layouts_are_refused() -> None:
    with pytest.raises(Invalid, match="counted from 0"):
        grouped_softmax(torch.zeros(1, 2), torch.tensor([[0, -1]]), torch.tensor([[False, False]]))
    with pytest.raises(Invalid, match="at least one token"):
        blockwise(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 0, 1.0)
    with pytest.raises(Invalid, match="one is seen at least"):
        blockwise(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 1, 1.0, top=0)
    with pytest.raises(Invalid, match="2 rows as rivals, of 2"):
        blockwise(torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), 1, 1.0, rivals=2)
