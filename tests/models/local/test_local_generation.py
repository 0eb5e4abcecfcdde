"""Streams: sampling, stop sequences, whole characters, ends, cancelling and going on; and what a caller can get wrong."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from families import FAMILIES, SWITCH, VOCABULARY, WINDOW, model, tokenizer, tokens
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, StaticCache

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Sampling
from mnemos.models.local.model import LocalModel
from mnemos.models.local.pieces import Detokenizer, StopText
from mnemos.models.local.sampling import choose, distribution, penalised

LLAMA = model("llama")
TOKENIZER = tokenizer()


def decode(ids: Sequence[int]) -> str:
    text: str = TOKENIZER.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


class Scripted:
    """Lets a model say the given texts, row by row, whatever it reads: its output layer is led."""

    def __init__(self, *texts: str, end: bool = True) -> None:
        self.model = LocalModel.random(FAMILIES["llama"](), tokenizer=TOKENIZER)
        self._said = [iter([*self.model.encode(text), *([256] if end else [])]) for text in texts]
        self.model.module.lm_head.register_forward_hook(self._lead)

    def _lead(self, _: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        for row, said in enumerate(self._said):
            out[row, -1, next(said, 256)] += 1e4
        return out


# Text


@given(st.binary(max_size=24), st.lists(st.integers(0, 3), max_size=4))
def test_pieces_joined_are_the_whole_text(content: bytes, marks: list[int]) -> None:
    """Any bytes, sense or not, with control tokens in between."""
    letters = {number: token for token, number in TOKENIZER.get_vocab().items()}
    ids = [token for token in range(256) if token in letters]
    sequence = [ids[byte] for byte in content]
    for place in marks:
        sequence.insert(min(place * 5, len(sequence)), 256 + place)
    detokenizer = Detokenizer(decode)
    pieces = [*map(detokenizer.add, sequence), detokenizer.finish()]
    assert "".join(pieces) == decode(sequence)


@given(st.text(max_size=12))
def test_pieces_of_a_text_hold_whole_characters(text: str) -> None:
    text = text.encode("utf-8", "replace").decode().replace("\N{REPLACEMENT CHARACTER}", "?")
    detokenizer = Detokenizer(decode)
    pieces = [detokenizer.add(token) for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]]
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(pieces)
    assert "".join(pieces) == text
    assert detokenizer.finish() == ""


def test_a_decoder_that_drops_a_leading_blank_keeps_those_within() -> None:
    words = ["Ada", " drinks", " ", " tea", "<end>", " daily"]

    def stripping(ids: Sequence[int]) -> str:
        return "".join(words[one] for one in ids if words[one] != "<end>").removeprefix(" ")

    detokenizer = Detokenizer(stripping)
    assert "".join([*map(detokenizer.add, range(6)), detokenizer.finish()]) == stripping(range(6)) == "Ada drinks  tea daily"


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3), st.randoms(use_true_random=False))
def test_stop_sequences_end_at_the_first_and_hold_back_no_more_than_needed(text: str, stops: list[str], random: Any) -> None:
    shown, stopper, at = "", StopText(stops), 0
    while at < len(text):
        step = random.randint(1, 4)
        shown += stopper.add(text[at : at + step])
        at += step
        assert stopper.stopped == any(stop in text[:at] for stop in stops)
        if stopper.stopped:
            break
    first = min((place for stop in stops if (place := text[:at].find(stop)) >= 0), default=None)
    assert shown + stopper.finish() == (text if first is None else text[:first])


def test_a_stream_shows_whole_characters_and_stops_at_a_text() -> None:
    scripted = Scripted("Grüße, 世界! Ende. Nie gesagt.")
    stream = scripted.model.generate(tokens(5), max_tokens=60, stop=["XX", "! Ende"])
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == "Grüße, 世界" == stream.text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece.text for piece in pieces)
    assert [piece.ended for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert stream.written[0].tokens == LLAMA.encode("Grüße, 世界! Ende")
    whole = Scripted("almost! End").model.generate(tokens(5), stop=["! Ende"])
    assert whole.run()[0].text == "almost! End", "what was held back is given where it does not come to that"
    assert whole.written[0].ended == "end"
    cut = Scripted("Grü").model.generate(tokens(5), max_tokens=3)
    assert cut.run()[0].text == "Gr\N{REPLACEMENT CHARACTER}", "half a character at the end is not hidden"
    assert cut.written[0].ended == "length"


def test_rows_stop_each_at_its_own_place() -> None:
    scripted = Scripted("one. two", "un, deux, trois. quatre", "x")
    stream = scripted.model.generate([tokens(4, 1), tokens(9, 2), tokens(2, 3)], max_tokens=15, stop=["."])
    pieces = list(stream)
    assert [row.text for row in stream.written] == ["one", "un, deux, trois", "x"]
    assert [row.ended for row in stream.written] == ["stop", "length", "end"]
    for number in range(3):
        assert "".join(piece.text for piece in pieces if piece.row == number) == stream.written[number].text
        assert sum(piece.ended is not None for piece in pieces if piece.row == number) == 1
    with pytest.raises(Invalid, match="batch"):
        _ = stream.text


def test_it_ends_where_the_window_is_full() -> None:
    (written,) = LLAMA.generate(tokens(WINDOW - 5), max_tokens=100, ends=()).run()
    assert len(written.tokens) == 5
    assert written.ended == "length"
    with pytest.raises(Invalid, match="shorten the prompt by at least 1"):
        LLAMA.generate(tokens(WINDOW))


# Going on


def test_a_stream_goes_on_where_another_was_left() -> None:
    """After its end, in its middle, and right after a prefill."""
    whole = LLAMA.generate(tokens(9), max_tokens=12, ends=()).run()[0].tokens
    first = LLAMA.generate(tokens(9), max_tokens=5, ends=())
    first.run()
    second = LLAMA.generate((), first.context, max_tokens=7, ends=())
    assert first.written[0].tokens + second.run()[0].tokens == whole
    assert second.context.tokens == ((*tokens(9), *whole[:-1]),)
    assert second.context.pending == ((whole[-1],),)

    left = LLAMA.generate(tokens(9), max_tokens=12, ends=())
    for _ in range(4):
        next(left)
    assert left.written[0].tokens + LLAMA.generate((), left.context, max_tokens=8, ends=()).run()[0].tokens == whole

    read = LLAMA.prefill([tokens(9), tokens(4)])
    batch = LLAMA.generate((), read, max_tokens=12, ends=()).run()
    assert batch[0].tokens == whole
    with pytest.raises(Invalid, match="has gone from 9 places to 20"):
        LLAMA.prefill(tokens(2), replace(read, lengths=(9,), mask=None, pending=((),)))
    with pytest.raises(Invalid, match="no tokens"):
        LLAMA.prefill((), LLAMA.prefill(tokens(3)))


def test_rows_that_ended_at_different_places_go_on_together() -> None:
    """After the stream has ended, and after it was cancelled while some rows still went on."""
    rows, more = [tokens(9, 1), tokens(5, 2)], [tokens(4, 3), tokens(7, 4)]
    whole = [row.tokens for row in LLAMA.generate(rows, max_tokens=8, ends=()).run()]
    end = next(token for token in whole[0][:3] if token not in whole[1])
    for cancelled_at in (None, 6):
        come: list[int] = []
        stream = LLAMA.generate(rows, max_tokens=8, ends=[end], cancelled=partial(lambda come, at: len(come) == at, come, cancelled_at))
        for piece in stream:
            come.append(piece.row)
        assert [row.ended for row in stream.written] == ["end", "cancelled" if cancelled_at else "length"]
        assert len(stream.written[0].tokens) < len(stream.written[1].tokens)
        after = LLAMA.prefill(more, stream.context)
        assert after.logits is not None
        for number, new in enumerate(more):
            alone = [*rows[number], *stream.written[number].tokens, *new]
            assert after.tokens is not None
            assert list(after.tokens[number]) == alone
            assert float((after.logits[number] - LLAMA.logits(alone)[0][-1]).abs().max()) <= 1e-5


def test_cancelling_ends_all_rows_and_loses_nothing() -> None:
    rows = [tokens(9, 1), tokens(5, 2)]
    whole = [row.tokens for row in LLAMA.generate(rows, max_tokens=10, ends=()).run()]
    for how in ("method", "question"):
        come: list[int] = []
        question = partial(lambda come: len(come) == 6, come) if how == "question" else None
        stream = LLAMA.generate(rows, max_tokens=10, ends=(), cancelled=question)
        for piece in stream:
            come.append(piece.row)
            if how == "method" and len(come) == 6:
                stream.cancel()
        assert [row.ended for row in stream.written] == ["cancelled", "cancelled"]
        assert [len(row.tokens) for row in stream.written] == [3, 3]
        rest = LLAMA.generate((), stream.context, max_tokens=7, ends=()).run()
        assert [row.tokens + more.tokens for row, more in zip(stream.written, rest, strict=True)] == whole


def test_a_stream_that_is_left_alone_holds_its_keys_and_values_no_longer() -> None:
    gc.disable()
    try:
        stream = LLAMA.generate(tokens(20), max_tokens=10, ends=())
        next(stream)
        held = weakref.ref(stream.context.cache)
        del stream
        assert held() is None
    finally:
        gc.enable()


def test_a_cache_of_another_model_is_refused_where_that_shows() -> None:
    config = FAMILIES["llama"]()
    config.num_hidden_layers += 1
    with pytest.raises(Invalid, match="of another model"):
        LocalModel.random(config).prefill(tokens(3), LLAMA.prefill(tokens(20)).cache)
    with pytest.raises(Invalid, match="stop is a sequence of texts"):
        LLAMA.generate(tokens(3), stop=[1])  # type: ignore[list-item]


def test_a_stream_that_broke_is_over() -> None:
    stream = LLAMA.generate(tokens(20), max_tokens=10, ends=(), cancelled=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == []


def test_reading_can_be_cancelled_between_chunks_and_taken_up_again() -> None:
    rows = [tokens(20, 1), tokens(11, 2)]
    asked: list[None] = []

    def third() -> bool:
        asked.append(None)
        return len(asked) == 4

    part = LLAMA.prefill(rows, chunk=5, cancelled=third)
    assert part.logits is None
    assert part.lengths == (15, 6)
    assert part.tokens == (tuple(rows[0][:15]), tuple(rows[1][:6]))
    assert part.pending == (tuple(rows[0][15:]), tuple(rows[1][6:]))
    done = LLAMA.prefill((), part)
    expected = LLAMA.prefill(rows)
    assert done.logits is not None
    assert expected.logits is not None
    assert float((done.logits - expected.logits).abs().max()) <= 1e-5
    stream = LLAMA.generate(rows, chunk=5, cancelled=lambda: True)
    pieces = list(stream)
    assert [(piece.row, piece.token, piece.ended) for piece in pieces] == [(0, None, "cancelled"), (1, None, "cancelled")]
    assert stream.context.pending == tuple(map(tuple, rows))


class Watching(DynamicCache):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.last_chunk = False
        self.noted: list[Any] = []

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        if layer_idx == 0:
            self.noted.append((key_states.shape[2], self.last_chunk, kwargs["kwargs"]["position_ids"].tolist()))
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def settle(self) -> None:
        self.noted.append("settle")


def test_a_cache_is_told_which_chunk_is_the_last_and_when_the_prompt_is_read() -> None:
    cache = Watching()
    stream = LLAMA.generate([[5, 6, 7, 8, 9], [5, 6]], cache, chunk=2, max_tokens=2, ends=())
    stream.run()
    assert cache.noted == [
        (2, False, [[0, 1], [-1, -1]]), (3, True, [[2, 3, 4], [-1, 0, 1]]), "settle", (1, True, [[5], [2]]),
    ]  # fmt: skip
    LLAMA.prefill([[3], [4]], stream.context)
    assert cache.noted[-2:] == [(2, True, [[6, 7], [3, 4]]), "settle"]
    LLAMA.prefill(tokens(3), ones := Watching(), chunk=1)
    assert [note[:2] for note in ones.noted if note != "settle"] == [(1, False), (1, False), (1, True)]


def test_a_cache_of_fixed_size_works_and_says_when_it_is_full() -> None:
    cache = StaticCache(config=LLAMA.module.config, max_cache_len=24)
    stream = LLAMA.generate(tokens(12), cache, max_tokens=8, ends=(), chunk=5)
    assert stream.run() == LLAMA.generate(tokens(12), max_tokens=8, ends=()).run()
    with pytest.raises(Invalid, match="room for 24 tokens, and 25 are needed"):
        LLAMA.prefill(tokens(5), stream.context)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_other_attention_functions_say_the_same(family: str) -> None:
    """Whole chunks of padding too, which some functions would turn into no number at all."""
    eager = LocalModel.random(FAMILIES[family](), tokenizer=TOKENIZER, attention="eager")
    assert eager.module.config._attn_implementation == "eager"
    rows = [tokens(25, 1), tokens(3, 2)]
    for chunk in (None, 6):
        for got, expected in zip(eager.logits(rows, chunk=chunk), model(family).logits(rows), strict=True):
            assert float((got - expected).abs().max()) <= 1e-5


def test_beyond_its_switch_a_model_with_two_sets_of_frequencies_reads_anew_or_says_so() -> None:
    long = model("phi3-long")
    whole = long.generate(tokens(30), max_tokens=30, ends=()).run()[0].tokens
    first = long.generate(tokens(30), max_tokens=5, ends=())
    first.run()
    assert long.generate((), first.context, max_tokens=25, ends=()).run()[0].tokens == whole[5:]
    raw = long.new_cache()
    long.prefill(tokens(30), raw)
    with pytest.raises(Invalid, match=f"beyond {SWITCH} tokens"):
        long.prefill(tokens(20), raw)
    stream = long.generate(tokens(5), raw, max_tokens=30, ends=())
    with pytest.raises(Invalid, match="tokens in the given cache are not known"):
        stream.run()
    with pytest.raises(Invalid, match="one by one"):
        long.generate([tokens(30), tokens(5)], max_tokens=20)
    with pytest.raises(Invalid, match="one side"):
        long.prefill([tokens(50), tokens(5)])
    far = long.logits([tokens(50, 1), tokens(45, 2)], chunk=8)
    assert float((far[1] - long.logits(tokens(45, 2))[0]).abs().max()) <= 1e-5


# Sampling


def test_the_default_takes_the_likeliest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0], [1.0, 0.0, 2.0, 1.5]])
    for sampling in (Sampling(), Sampling(temperature=1, top_k=1)):
        assert choose(logits, sampling, [torch.Generator(), torch.Generator()], ((), ())) == [1, 2]


def test_logits_that_are_no_numbers_are_told() -> None:
    for broken in (float("nan"), float("inf")):
        for sampling in (Sampling(), Sampling(temperature=1)):
            with pytest.raises(ModelUnavailable, match="no numbers"):
                choose(torch.tensor([[0.0, 1.0], [0.0, broken]]), sampling, [torch.Generator(), torch.Generator()], ((), ()))
    assert choose(torch.tensor([[0.0, float("-inf"), 1.0]]), Sampling(temperature=1, top_k=1), [torch.Generator()], ((),)) == [2]


def test_cuts_leave_the_likeliest_tokens() -> None:
    logits = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    for settings, expected in (
        (Sampling(temperature=1), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(temperature=1, top_k=2), [4 / 7, 3 / 7]),
        (Sampling(temperature=1, top_p=0.4), [1.0]),
        (Sampling(temperature=1, top_p=0.41), [4 / 7, 3 / 7]),
        (Sampling(temperature=1, top_k=3, top_p=0.8), [4 / 9, 3 / 9, 2 / 9]),
        (Sampling(temperature=0.5, top_k=2), [16 / 25, 9 / 25]),
        (Sampling(temperature=1, top_p=1.0), [0.4, 0.3, 0.2, 0.1]),
    ):
        probabilities, kept = distribution(logits, settings)
        assert probabilities.tolist() == pytest.approx(expected, abs=1e-6), settings
        assert kept.tolist() == [1, 3, 2, 0][: len(expected)]
    assert distribution(torch.zeros(4), Sampling(temperature=1, top_p=0.5))[1].tolist() == [0, 1], "just enough, and no more"


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log().expand(4000, 4)
    drawn = choose(logits, Sampling(temperature=1), [torch.Generator().manual_seed(1)] * 4000, [()] * 4000)
    shares = [drawn.count(token) / 4000 for token in range(4)]
    assert shares == pytest.approx([0.1, 0.4, 0.2, 0.3], abs=0.03)


def test_repetition_is_made_less_likely() -> None:
    logits = torch.tensor([2.0, -1.0, 1.5, -3.0])
    assert penalised(logits, {0, 1}, 2.0).tolist() == [1.0, -2.0, 1.5, -3.0]
    assert logits.tolist() == [2.0, -1.0, 1.5, -3.0]
    free = LLAMA.generate(tokens(9), max_tokens=40, ends=()).run()[0].tokens
    penalty = LLAMA.generate(tokens(9), max_tokens=40, ends=(), sampling=Sampling(repetition_penalty=1e6)).run()[0].tokens
    assert len(set(penalty)) == 40 > len(set(free))
    assert not set(penalty) & set(tokens(9))


def test_samples_follow_from_the_seed_and_each_row_draws_as_it_would_alone() -> None:
    rows, settings = [tokens(9, 1), tokens(4, 2)], Sampling(temperature=1.5, top_p=0.95, seed=11)

    def drawn(sampling: Sampling, given: Any) -> list[list[int]]:
        return [row.tokens for row in LLAMA.generate(given, max_tokens=12, ends=(), sampling=sampling).run()]

    together = drawn(settings, rows)
    assert together == drawn(settings, rows)
    assert together[0] == drawn(settings, rows[0])[0]
    assert together[1] == drawn(replace(settings, seed=12), rows[1])[0]
    assert together != drawn(replace(settings, seed=30), rows)
    assert together[0] != drawn(Sampling(), rows[0])[0]


# What a caller can get wrong


def wrong_calls() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "no tokens", {"tokens": []}
    yield "row 1 has no tokens", {"tokens": [[1], []]}
    yield "`encode` for a text", {"tokens": "tea"}
    yield "no token id", {"tokens": [1.5]}
    yield "no token id", {"tokens": [True]}
    yield "no token id", {"tokens": torch.tensor([0.5])}
    yield "row 1 of the batch is a int", {"tokens": [[1], 2]}
    yield f"token {VOCABULARY} at place 1, and this model knows 0 to {VOCABULARY - 1}", {"tokens": [1, VOCABULARY]}
    yield "row 1 has token -1 at place 0", {"tokens": [[1], [-1]]}
    yield f"{WINDOW + 8} tokens, 8 more than the {WINDOW}", {"tokens": tokens(WINDOW + 8)}
    yield "chunk is 0", {"tokens": [1], "chunk": 0}


@pytest.mark.parametrize(("said", "call"), list(wrong_calls()))
def test_wrong_tokens_are_told(said: str, call: dict[str, Any]) -> None:
    for use in (LLAMA.prefill, LLAMA.generate, LLAMA.logits):
        with pytest.raises(Invalid, match=said):
            use(**call)


@pytest.mark.parametrize(
    ("said", "call"),
    [
        ("max_tokens", {"max_tokens": 0}),
        ("stop", {"stop": "."}),
        ("stop", {"stop": [""]}),
        ("temperature", {"sampling": Sampling(temperature=-1)}),
        ("temperature", {"sampling": Sampling(temperature=float("nan"))}),
        ("top_k", {"sampling": Sampling(top_k=0)}),
        ("top_p", {"sampling": Sampling(top_p=0.0)}),
        ("top_p", {"sampling": Sampling(top_p=1.5)}),
        ("repetition_penalty", {"sampling": Sampling(repetition_penalty=0)}),
    ],
)
def test_wrong_settings_are_told(said: str, call: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=said):
        LLAMA.generate([1, 2], **call)


def test_a_cache_of_other_rows_is_refused() -> None:
    read = LLAMA.prefill([tokens(5), tokens(3)])
    for cache in (read, read.cache):
        with pytest.raises(Invalid, match="holds 2 sequences, and 3 are given"):
            LLAMA.prefill([[1], [2], [3]], cache)
    with pytest.raises(Invalid, match=r"193 tokens, 190 of them in the cache, 1 more than the 192"):
        LLAMA.prefill(tokens(3), LLAMA.prefill(tokens(190)))


def test_tokens_come_in_any_form() -> None:
    ids = tokens(6)
    expected = LLAMA.prefill(ids).logits
    assert expected is not None
    for form in (tuple(ids), torch.tensor(ids), torch.tensor([ids]), torch.tensor(ids).numpy(), [torch.tensor(ids)], [ids], range(6)):
        got = LLAMA.prefill(form).logits  # type: ignore[arg-type]
        assert got is not None
        assert got.shape == (1, VOCABULARY)
        assert isinstance(form, range) or torch.equal(got, expected)


def test_time_to_the_first_token_is_the_median_without_making_the_cache() -> None:
    ticks, made = iter([0.0, 5.0, 10.0, 11.0, 20.0, 22.0]), []

    def cache() -> Any:
        made.append(LLAMA.new_cache())
        return made[-1]

    assert LLAMA.time_to_first_token(tokens(20), cache=cache, chunk=6, clock=lambda: next(ticks)) == 2.0
    assert [one.get_seq_length() for one in made] == [20, 20, 20]
    assert LLAMA.time_to_first_token(tokens(20), repeats=1) > 0
    with pytest.raises(Invalid, match="repeats"):
        LLAMA.time_to_first_token([1], repeats=0)
