"""Tokenising, folding, stemming, packing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt
from mnemos.index.terms import IN_HEADING, MAX_COUNT, STOP_WORDS, pack_terms, query_terms, stop_terms, term, unpack_terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Caroline's e-mail", ["caroline", "e", "mail", "email"]),
        ("don’t can't", ["dont", "cant"]),
        ("a.b@example.org v3.5 snake_case", ["a", "b", "example", "org", "a.b@example.org", "v3", "5", "v3.5", "snake", "case", "snakecase"]),
        ("Ünïcödé ﬁne CAFÉ", ["unicode", "fine", "cafe"]),
        ("你好世界 hello 語", ["你好", "好世", "世界", "hello", "語"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("…!? --- '", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert list(words(text)) == expected


@pytest.mark.parametrize(("left", "right"), [("running", "runs"), ("Cafés", "cafe"), ("e-mails", "email"), ("ＦＵＬＬ", "full")])
def test_forms_of_a_word_share_a_term(left: str, right: str) -> None:
    assert set(query_terms(left).hashes.tolist()) & set(query_terms(right).hashes.tolist())


def test_a_query_loses_stop_words_only_where_something_is_left() -> None:
    assert query_terms("What is the name of the dog?").words == ("name", "dog")
    assert query_terms("to be or not to be").words == ("to", "be", "or", "not")
    assert set(stop_terms().tolist()) >= {term("the"), term("dont")}
    assert "the" in STOP_WORDS


def test_hashes_are_stable_across_processes_and_versions() -> None:
    assert term("running") == term("run") == 0x5A899DC8  # changes only together with TERMS_VERSION


def test_a_block_holds_counts_and_length_but_no_word() -> None:
    block = pack_terms("secret " * 300 + "plan")
    unpacked = unpack_terms([block, b"", pack_terms("")])
    assert b"secret" not in block
    assert unpacked.lengths.tolist() == [301, 0, 0]
    counts = dict(zip(unpacked.hashes.tolist(), unpacked.counts.tolist(), strict=True))
    assert counts == {term("secret"): MAX_COUNT, term("plan"): 1}
    assert unpacked.rows.tolist() == [0, 0]


def test_the_first_line_is_a_heading_where_it_is_short_and_text_follows() -> None:
    texts = ["Alan Turing\nHe was born in London. Turing ran.", "Alan Turing\n", "x" * 101 + "\ny"]
    unpacked = unpack_terms([pack_terms(text) for text in texts])
    flagged = unpacked.rows[(unpacked.counts & IN_HEADING) > 0].tolist()
    assert flagged == [0, 0]


@pytest.mark.parametrize("block", [b"\x00", b"12345", b"\x00" * 4 + b"\x01" * 4])
def test_a_block_of_an_impossible_size_is_corrupt(block: bytes) -> None:
    with pytest.raises(Corrupt, match="block 1 of 2"):
        unpack_terms([pack_terms("fine"), block])


@given(st.lists(st.text(st.characters(codec=None), max_size=200), max_size=8))
def test_packing_and_unpacking_agree_for_any_text(texts: list[str]) -> None:
    unpacked = unpack_terms([pack_terms(text) for text in texts])
    for row, text in enumerate(texts):
        expected = [term(word) for word in words(text)]
        mine = unpacked.rows == row
        assert unpacked.lengths[row] == len(expected)
        assert unpacked.hashes[mine].tolist() == sorted(set(expected))
        counts = [min(expected.count(h), MAX_COUNT) for h in unpacked.hashes[mine].tolist()]
        assert np.array_equal(unpacked.counts[mine] & MAX_COUNT, counts)


@given(st.text(max_size=300))
def test_a_text_is_found_by_its_own_words(text: str) -> None:
    if list(words(text)):
        assert set(query_terms(text).hashes.tolist()) <= set(unpack_terms([pack_terms(text)]).hashes.tolist())
