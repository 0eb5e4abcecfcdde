"""Where keys and values lie."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.activation.arena.backend import KIB, MIB
from mnemos.activation.arena.layout import ITEM_BYTES, Layout, page_for
from mnemos.base.errors import Invalid


@pytest.mark.parametrize(
    ("kv_heads", "page", "tokens"), [(8, 2 * MIB, 1024), (8, 64 * KIB, 32), (4, 2 * MIB, 2048), (4, 64 * KIB, 64)]
)
def test_tokens_of_a_page_are_the_papers(kv_heads: int, page: int, tokens: int) -> None:
    assert Layout(32, kv_heads, 128, "float16", 4, 8192, page).tokens_per_page == tokens


def test_a_mega_cache_has_one_tensor_a_plane_and_pages_of_fewer_tokens() -> None:
    layers, mega = Layout(32, 8, 128, "float16", 4, 8192, 2 * MIB), Layout(32, 8, 128, "float16", 4, 8192, 2 * MIB, megacache=True)
    assert (layers.tensors, mega.tensors) == (64, 2)
    assert mega.tokens_per_page * 32 == layers.tokens_per_page
    assert layers.block_bytes == 128 * MIB  # of a short prompt: the paper's example of waste
    assert mega.block_bytes == 4 * MIB
    assert layers.token_bytes == mega.token_bytes


def test_a_page_that_splits_a_token_is_refused_and_the_next_size_named() -> None:
    with pytest.raises(Invalid, match=r"65,536 bytes is not a whole number of tokens of 480 bytes; .* 65,760"):
        Layout(2, 3, 80, "float16")
    assert page_for(480, 4096) == 122_880
    assert Layout(2, 3, 80, "float16", page=page_for(480, 4096)).tokens_per_page == 256


@pytest.mark.parametrize("field", ["layers", "kv_heads", "head_dim", "max_batch", "max_ctx", "page", "planes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_sizes_are_whole_numbers(field: str, value: object) -> None:
    with pytest.raises(Invalid, match=field):
        Layout(**{"layers": 1, "kv_heads": 1, "head_dim": 8} | {field: value})  # type: ignore[arg-type]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(Invalid, match="dtype is one of float64, float32"):
        Layout(1, 1, 8, "complex64")


LAYOUTS = st.builds(
    lambda layers, heads, dim, dtype, batch, ctx, at_least, mega, planes: Layout(
        layers, heads, dim, dtype, batch, ctx, page_for(heads * dim * ITEM_BYTES[dtype] * (layers if mega else 1), 4096, at_least), mega, planes
    ),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 33), st.sampled_from(sorted(ITEM_BYTES)), st.integers(1, 5), st.integers(1, 3000),
    st.sampled_from([4096, 64 * KIB]), st.booleans(), st.integers(1, 3),
)


@given(LAYOUTS)
def test_no_page_straddles_two_sequences_and_no_row_two_pages(layout: Layout) -> None:
    assert layout.page % 4096 == 0
    assert layout.slot_stride == math.ceil(layout.max_ctx * layout.row_bytes / layout.page) * layout.page
    assert layout.blocks_per_slot * layout.tokens_per_page >= layout.max_ctx
    seen = set()
    for layer in range(layout.layers):
        for plane in range(layout.planes):
            offset, shape, strides = layout.view(layer, plane)
            assert shape == (layout.max_batch, layout.max_ctx, layout.kv_heads, layout.head_dim)
            for slot in (0, layout.max_batch - 1):
                for token in (0, layout.max_ctx // 2, layout.max_ctx - 1):
                    start = offset + (slot * strides[0] + token * strides[1]) * layout.item_bytes
                    tensor = plane if layout.megacache else layer * layout.planes + plane
                    page = layout.page_offset(tensor, slot, token // layout.tokens_per_page)
                    assert page <= start
                    assert start + shape[2] * shape[3] * layout.item_bytes <= page + layout.page
                    seen.add((layer, plane, slot, token, start))
    assert len({start for *_, start in seen}) == len(seen)
    assert max(start for *_, start in seen) < layout.nbytes


def test_fewer_slots_fit_less_address_space() -> None:
    layout = Layout(2, 2, 16, max_batch=8, max_ctx=1000)
    assert layout.within(layout.nbytes) == layout
    assert layout.within(layout.nbytes - 1).max_batch == 7
    with pytest.raises(Invalid, match="lower max_ctx"):
        layout.within(10)


def test_there_is_no_layer_beyond_the_last() -> None:
    with pytest.raises(Invalid, match="2 layers of 2 planes"):
        Layout(2, 2, 16).view(2, 0)
