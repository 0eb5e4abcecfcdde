"""Sensitive strings are found and redacted, what only looks like them is left, and no text makes it slow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.datasets import data_folder
from mnemos.bench.sensitive_texts import NAMES, samples
from mnemos.bench.sensitivity import ALARMS_PER_TURN, HARD, conversations, score
from mnemos.text.detectors.folding import Folded
from mnemos.text.sensitivity import DETECTORS, KINDS, Label, Redactor, Span, detect, label_of, redact
from support import growth

EVERYTHING = Redactor(names=NAMES)


def test_generated_texts_are_read_with_hard_negatives() -> None:
    measured = score(samples(np.random.default_rng(20_000), 60), EVERYTHING)
    assert sum(measured.found.values()) >= 0.97 * sum(measured.there.values())
    assert measured.right >= 0.97 * (measured.right + measured.wrong)
    for kind, count in measured.there.items():
        assert measured.found[kind] >= 0.9 * count, kind


def test_real_conversations_raise_hardly_an_alarm() -> None:
    try:
        turns = conversations(data_folder())
    except NotFound as missing:
        pytest.skip(str(missing))
    redactor = Redactor()
    alarms = [turn for turn in turns if redactor.spans(turn)]
    assert len(turns) > 14_000
    assert len(alarms) <= ALARMS_PER_TURN * len(turns), alarms


@pytest.mark.parametrize("piece", HARD)
def test_time_is_linear_in_texts_made_to_be_slow(piece: str) -> None:
    def work(size: int) -> None:
        EVERYTHING.spans((piece * (size // len(piece) + 1))[:size])

    assert growth(work, 1500, factor=16, rounds=3) < 60, "16 times the text must not take 256 times the time"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Write to bob@example.com, please.", "Write to [email], please."),
        ("bob [at] example [dot] com", "[email]"),
        ("用户＠例子.公司", "[email]"),
        ("Call +44 (0)20 7946 0958 or (415) 555-2671 x12.", "Call [phone] or [phone]."),
        ("电话13812345678", "电话[phone]"),
        ("card 4111 1111 1111 1111, exp 12/27", "card [card], exp 12/27"),
        ("card ４１１１１１１１１１１１１１１１", "card [card]"),
        ("4111\u200b1111\u200b1111\u200b1111", "[card]"),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay [iban] now"),
        ("my SSN is 123-45-6789.", "my SSN is [national_id]."),
        ("password: hunter2", "password: [password]"),
        ("My password is Tr0ub4dor&3!", "My password is [password]"),
        ("DB_PASSWORD=sunshine\nNEXT=1", "DB_PASSWORD=[password]\nNEXT=1"),
        ("https://bob:s3cret@example.com/x", "https://[password]/x"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key [key] here"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- tail", "[key] tail"),
        ("-----BEGIN PRIVATE KEY-----\ncut short", "[key]"),
        ("I was born on May 8, 1985 in Lisbon", "I was born on [birth_date] in Lisbon"),
        ("I live at 12 Main St, Apt 4, Springfield, IL 62704.", "I live at [address]."),
        ("Hauptstraße 12, 10115 Berlin", "[address]"),
        ("ssh 8.8.4.4 and 2001:db8::1", "ssh [ip] and [ip]"),
    ],
)
def test_a_mark_stands_for_each_string(text: str, marked: str) -> None:
    assert redact(text) == marked


@pytest.mark.parametrize(
    "text",
    [
        "Order no. 415-555-2671 has shipped.",
        "Order 4111 1111 1111 1112, version 1.2.3.4, 2023-05-08, ISBN 978-3-16-148410-0",
        "My password is wrong, and the token is expired.",
        "token = tokenizer.encode(text)",
        "password = get_password()",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "image@2x.png, react@18.2.0, git@github.com:org/repo",
        "I live 5 miles down the road; std::vector at 12:30:45",
        "The company was born on 3 March 1990.",
        "GT350R model can really take it",
        "127.0.0.1 and ::1 and 255.255.255.0",
    ],
)
def test_what_only_looks_sensitive_stays(text: str) -> None:
    assert detect(text) == []


def test_names_are_whole_words_however_they_are_written() -> None:
    text = "Melanie's friend JOSÉ, jose\u0301 and O’Brien met anne-marie, 王小明们, Melanies and Obrienne."
    marked = "[name]'s friend [name], [name] and [name] met [name], [name]们, Melanies and Obrienne."
    assert redact(text, names=["Melanie", "José", "O'Brien", "Anne Marie", "王小明"]) == marked
    assert redact(text) == text


def test_of_names_the_longest_counts() -> None:
    text = "Ann Lee and Ann"
    assert [text[s.start : s.end] for s in detect(text, names=["Ann", "Ann Lee"])] == ["Ann Lee", "Ann"]


def test_labels_order_what_is_found() -> None:
    assert Label.PUBLIC < Label.INTERNAL < Label.PERSONAL < Label.SECRET
    assert [label_of(text) for text in ("hello", "host 10.0.0.5", "bob@example.com", "password: hunter2")] == list(Label)
    text = "bob@example.com, password: hunter2, host 10.0.0.5"
    assert redact(text, label="secret") == "bob@example.com, password: [password], host 10.0.0.5"
    assert redact(text, label=Label.PERSONAL) == "[email], password: [password], host 10.0.0.5"
    assert redact(text, kinds=["email"]) == "[email], password: hunter2, host 10.0.0.5"


def test_a_detector_can_be_added() -> None:
    @dataclass(frozen=True)
    class Badge:
        kind: str = "badge"

        def find(self, text: Folded) -> Iterator[Span]:
            for at in text.hits("badge-"):
                yield Span(at, at + 10, self.kind, 0.9, Label.INTERNAL)

    redactor = Redactor(detectors={**DETECTORS, "badge": Badge()})
    assert redactor.redact("BADGE-1234 of bob@example.com") == "[badge] of [email]"
    assert Redactor(kinds=["badge"], detectors={**DETECTORS, "badge": Badge()}).redact("x badge-9999") == "x [badge]"


def test_redacted_strings_are_handed_out() -> None:
    text, gone = EVERYTHING.redacted("Priya Raman, priya@example.com")
    assert text == "[name], [email]"
    assert gone == [("name", "Priya Raman"), ("email", "priya@example.com")]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: detect("x", kinds=["colour"]),
        lambda: detect("x", kinds="email"),
        lambda: detect(7),  # type: ignore[arg-type]
        lambda: detect("x", names="Ann"),
        lambda: detect("x", names=[" - "]),
        lambda: detect("x", names=[5]),  # type: ignore[list-item]
        lambda: detect("x", least=2),
        lambda: redact("x", label="top"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(wrong: object) -> None:
    with pytest.raises(Invalid):
        wrong()  # type: ignore[operator]


PIECES = st.sampled_from(
    ["bob@example.com", "password: ", "hunter2", "4111 1111 1111 1111", "\u200b", "[email]", "[", "]", "@", "+44 20 7946 0958", "born ", "1985-03-12",
     "\n", " ", "é", "https://a:b1c2d3@x.org", "SSN 123-45-6789", "eyJ", "Priya Raman", "[password]", "is ", "token ", "12 Main St", "名", "名字"]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=12).map("".join))
@example("password: [password]")
@example("[email]@example.com [card]4111111111111111")
@example("İ bob@example.com İ")
def test_redacting_again_changes_nothing_and_leaves_nothing(text: str) -> None:
    once, gone = EVERYTHING.redacted(text)
    assert EVERYTHING.redacted(once) == (once, [])
    assert EVERYTHING.spans(once) == []
    spans = EVERYTHING.spans(text)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(0 <= span.start < span.end <= len(text) and span.kind in KINDS for span in spans)
    assert bool(spans) == bool(gone)


def test_invisible_characters_inside_a_span_go_with_it() -> None:
    text = "a\u200b bob\u200d@exa\u00admple.com\u200b z"
    (span,) = detect(text)
    assert text[span.start : span.end] == "bob\u200d@exa\u00admple.com"


@pytest.mark.torture
def test_ten_megabytes_are_read() -> None:
    text = "We talked for a while, and then he gave me his card. " * 40_000 + "bob@example.com" + " It rained." * 500_000
    assert [span.kind for span in detect(text)] == ["email"]
