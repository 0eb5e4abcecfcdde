"""Where landmarks stand: put in, left out, never sampled, and the same in however many pieces a sequence comes."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnemos.activation.landmark import tokens
from mnemos.activation.landmark.tokens import Grid, LandmarkProcessor
from mnemos.base.errors import Invalid

MARK = 99
sequences = st.lists(st.integers(0, 50), max_size=60)


@given(sequences, st.integers(1, 9))
def test_every_full_block_ends_with_a_landmark_and_stripping_undoes_it(ids: list[int], block: int) -> None:
    out = tokens.insert(ids, block, MARK)
    assert [place for place, one in enumerate(out) if one == MARK] == list(range(block, len(out), block + 1))
    assert tokens.strip(out, MARK) == ids
    assert len(out) == tokens.length_with(len(ids), block)
    assert all(out[tokens.place_of(number, block)] == one for number, one in enumerate(ids))


@given(st.lists(sequences, max_size=6), st.integers(1, 9))
def test_turns_of_a_conversation_go_on_with_its_grid(turns: list[list[int]], block: int) -> None:
    grid, out = Grid(block, MARK), []
    for turn in turns:
        room = tokens.length_with(len(turn), block, grid.filled)
        out.append(grid.insert(turn))
        assert len(out[-1]) == room
    assert list(chain(*out)) == tokens.insert(chain(*turns), block, MARK)
    heard = Grid(block, MARK)
    for piece in out:
        heard.follow(piece)
    assert heard == grid


def test_a_grid_that_is_broken_is_noticed() -> None:
    with pytest.raises(Invalid, match="another grid"):
        Grid(3, MARK).follow([1, 2, 3, 4])
    with pytest.raises(Invalid, match="another grid"):
        Grid(3, MARK).follow([1, MARK])
    with pytest.raises(Invalid, match="no text has"):
        Grid(3, MARK).insert([1, MARK])
    with pytest.raises(Invalid, match="has at least one"):
        Grid(0, MARK)
    follower = Grid(3, MARK)
    follower.follow([1, 2, 3])
    other = follower.fork()
    assert follower.due
    assert other.insert([4]) == [MARK, 4]
    assert follower.due


def test_rows_have_grids_of_their_own_behind_their_padding() -> None:
    rows = tokens.batch([[1, 2, 3, 4, 5], [6, 7]], block=2, token=MARK, pad=0)
    assert rows.ids.tolist() == [[1, 2, MARK, 3, 4, MARK, 5], [0, 0, 0, 0, 6, 7, MARK]]
    assert rows.landmarks.tolist() == [[one == MARK for one in row] for row in rows.ids.tolist()]
    assert rows.inputs()["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 1, 2]]
    with pytest.raises(Invalid, match="at least one"):
        tokens.batch([[1], []], 2, MARK, 0)


def test_rows_for_training_carry_their_weights_and_jumping_positions() -> None:
    ids, weights, positions = tokens.in_training(torch.tensor([[1, 2, 3, 4, 5]]), 2, MARK, torch.tensor([[0.0, 1, 2, 3, 4]]),
                                                 torch.tensor([[0, 1, 10, 11, 12]]))  # fmt: skip
    assert ids.tolist() == [[1, 2, MARK, 3, 4, MARK, 5]]
    assert weights.tolist() == [[0, 1, 0, 2, 3, 0, 4]]
    assert positions.tolist() == [[0, 1, 2, 11, 12, 13, 14]]


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 3))
def test_a_landmark_is_forced_where_a_block_is_full_and_forbidden_elsewhere(count: int, block: int, padding: int) -> None:
    row = [50] * padding + tokens.insert([1] * count, block, MARK)
    scores = torch.arange(100.0)[None]
    got = LandmarkProcessor(block, MARK, pad=50)(torch.tensor([row], dtype=torch.long), scores)[0]
    # insert puts a landmark as soon as a block is full, so that one is due only where it was left out
    assert float(got[MARK]) == -torch.inf
    if count % block == 0:
        cut = LandmarkProcessor(block, MARK, pad=50)(torch.tensor([row[:-1]]), scores)[0]
        assert cut.isfinite().nonzero().flatten().tolist() == [MARK]
    assert torch.equal(got[:MARK], scores[0, :MARK])
