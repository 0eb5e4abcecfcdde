"""Text for a prompt: never over the budget, by whichever tokenizer; in order of time; nothing twice; each source numbered and a hit."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from mnemos.base.errors import Invalid
from mnemos.kernel.reading.results import Context
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.text.tokens import count_tokens
from support import EMBEDDER, HandClock

WORDS = ["lisbon", "tram", "guitar", "coffee", "harbour", "violin", "snow", "bridge", "café", "東京", "👩‍💻", "antidisestablishmentarianism"]


def letters() -> Tokenizer:
    """A tokenizer of the kind that models bring: every letter that it knows is a token, and so is each of the others."""
    vocabulary = {letter: number for number, letter in enumerate(["?", *"abcdefghijklmnopqrstuvwxyz[]:.,0123456789"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary | {f"##{letter}": len(vocabulary) + n for letter, n in vocabulary.items()}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


class Encoder:
    """A tokenizer with `encode`, two more tokens at the ends, as many have."""

    def encode(self, text: str) -> list[int]:
        return [0, *range(len(text) // 3), 1]


TOKENIZERS: dict[str, tuple[object, Callable[[str], int]]] = {
    "none": (None, count_tokens),
    "quarters": (lambda text: len(text) // 4, lambda text: len(text) // 4),
    "words": (lambda text: len(text.split()), lambda text: len(text.split())),
    "characters": (len, len),
    "bytes": (lambda text: len(text.encode()), lambda text: len(text.encode())),
    "lines": (lambda text: 5 * text.count("\n") + len(text.split()), lambda text: 5 * text.count("\n") + len(text.split())),
    "model": (letters(), lambda text: len(letters().encode(text).ids)),
    "encoder": (Encoder(), lambda text: len(text) // 3 + 2),
}


def sources(context: Context) -> list[str]:
    """The numbered pieces of a context."""
    return re.split(r"(?m)^(?=\[\d+\] )", context.text)[1:] if context.text else []


def numbers(context: Context) -> list[int]:
    return [int(n) for n in re.findall(r"(?m)^\[(\d+)\] ", context.text)]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def check(context: Context, budget: int, count: Callable[[str], int]) -> None:
    """What holds for every context."""
    if context.text:
        assert count(context.text) == context.tokens <= budget
    else:
        assert (context.tokens, context.hits) == (0, ())
    assert numbers(context) == list(range(1, len(context.hits) + 1))
    said = sources(context)
    for hit, source in zip(context.hits, said, strict=True):
        pieces = [squeezed(piece) for piece in re.split(r"…|\.\.\.|\[…\]", re.sub(r"^\[\d+\] ", "", source))]
        body = squeezed(hit.cube.text)
        assert any(piece and (piece in body or body in piece or piece.split(": ", 1)[-1] in body) for piece in pieces), (source, hit.cube.text)
    times = [hit.cube.event_at or hit.cube.created_at for hit in context.hits]
    assert times == sorted(times)
    keys = [(hit.cube.author, squeezed(hit.cube.text).casefold()) for hit in context.hits]
    assert len(set(keys)) == len(keys)


@pytest.fixture(scope="module")
def large() -> Any:
    rng = random.Random(1)
    with Mnemos(":memory:", embedder=EMBEDDER, clock=HandClock()) as mem:
        space = mem.space("a")
        space.add_many(
            {
                "text": " ".join(rng.choices(WORDS, k=rng.choice([3, 10, 40, 150]))) + f" number {i}.",
                "type": "turn", "author": ("Ann", "Bob")[i % 2],
                "event_at": f"2024-{1 + rng.randrange(12):02}-{1 + rng.randrange(28):02}" if i % 3 else None, "metadata": {"session": i // 20},
            } for i in range(200)
        )  # fmt: skip
        space.add("\n\n".join(f"Paragraph {i} speaks of the harbour and the {i}th tram." for i in range(80)), type="document", source="trams.md")
        yield space


@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_tokenizer_and_no_budget_is_exceeded(large: Space, name: str) -> None:
    tokenizer, count = TOKENIZERS[name]
    seen = []
    for budget in (1, 2, 7, 15, 40, 41, 79, 80, 81, 120, 300, 1500, 4000):
        context = large.context("What did Ann say about the tram in the harbour?", budget, tokenizer=tokenizer)
        check(context, budget, count)
        seen.append(context.tokens)
    assert seen[-1] > 200  # a budget is there to be used
    assert seen[-1] >= max(seen[:-3])


_texts = st.lists(st.text(min_size=1, max_size=300).filter(str.strip), min_size=1, max_size=8)


@given(_texts, st.integers(1, 200), st.sampled_from(sorted(TOKENIZERS)))
def test_whatever_the_texts_say_the_budget_holds(texts: list[str], budget: int, name: str) -> None:
    tokenizer, count = TOKENIZERS[name]
    with Mnemos(":memory:", embedder="none", clock=HandClock()) as mem:
        space = mem.space("a")
        space.add_many({"text": text, "author": text[:9].strip() or None} for text in texts)
        context = space.context(texts[0][:100], budget, tokenizer=tokenizer)
        assert count(context.text) <= budget if context.text else context.tokens == 0
        assert context.tokens == (count(context.text) if context.text else 0)
        times = [hit.cube.created_at for hit in context.hits]
        assert times == sorted(times)


def test_a_small_history_is_given_whole(mem: Mnemos) -> None:
    space = mem.space("a")
    texts = [f"{word} number {i}" for i, word in enumerate(WORDS)]
    space.add_many({"text": text, "author": "Ann"} for text in reversed(texts))
    context = space.context("something else entirely", 1500)
    check(context, 1500, count_tokens)
    assert [hit.cube.text for hit in context.hits] == texts[::-1]
    assert str(context) == context.text
    assert all(text in context.text for text in texts)


@pytest.mark.parametrize("days", [2, 40])
def test_what_fits_a_small_budget_is_given_whole(mem: Mnemos, days: int) -> None:
    """However small the budget, and however many conversations there are: what fits is given."""
    space = mem.space("a")
    space.add_many({"text": f"Tram {i}", "metadata": {"session": i}} for i in range(days))
    whole = space.context("tram", 4000)
    assert whole.policy == "exhaustive"
    exact = space.context("tram", whole.tokens)
    assert (exact.policy, exact.text) == ("exhaustive", whole.text)
    assert space.context("tram", whole.tokens - 1).policy == "hybrid"


def test_what_answers_is_in_where_not_all_fits(large: Space) -> None:
    cube = large.search("Paragraph 17 the 17th tram", k=1)[0].cube
    context = large.context("Paragraph 17 the 17th tram", 400)
    assert cube.id in {hit.cube.id for hit in context.hits}
    assert "17th tram" in context.text


def test_repetitions_are_given_once(mem: Mnemos) -> None:
    space = mem.space("a")
    for text in ("The tram is late", "the  tram is\nlate", "The tram is late"):
        space.add(text, author="Ann")
    space.add("The tram is late", author="Bob")
    context = space.context("tram", 1000)
    check(context, 1000, count_tokens)
    assert [hit.cube.author for hit in context.hits] in (["Ann", "Bob"], ["Bob", "Ann"])


def test_conditions_and_views_hold_for_contexts(mem: Mnemos) -> None:
    space = mem.space("a")
    cube = space.add("the tram in Porto", tags=["x"], event_at="2023-01-01")
    space.add("the tram in Lisbon", tags=["y"], event_at="2024-01-01", metadata={"n": 1})
    before = mem.position()
    space.update(cube.id, "the tram in Faro")
    for conditions, wanted in (
        ({}, ["the tram in Faro", "the tram in Lisbon"]), ({"tags": ["x"]}, ["the tram in Faro"]), ({"since": "2023-06-01"}, ["the tram in Lisbon"]),
        ({"filter": {"n": 1}}, ["the tram in Lisbon"]), ({"as_of": before}, ["the tram in Porto", "the tram in Lisbon"]), ({"author": "Zoe"}, []),
    ):  # fmt: skip
        assert [hit.cube.text for hit in space.context("tram", 500, **conditions).hits] == wanted
    assert [hit.cube.text for hit in space.at(before).context("tram").hits] == ["the tram in Porto", "the tram in Lisbon"]
    assert mem.space("empty").context("tram").text == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget_tokens": 0}, {"budget_tokens": -5}, {"budget_tokens": 1.5}, {"budget_tokens": "10"}, {"budget_tokens": None}, {"k": 5},
        {"tokenizer": "gpt"}, {"tokenizer": 5}, {"tokenizer": lambda text: 1.5}, {"tokenizer": lambda text: -1}, {"query": ""}, {"query": 5},
    ],
)  # fmt: skip
def test_what_is_no_budget_tokenizer_or_question_is_refused(mem: Mnemos, wrong: dict[str, Any]) -> None:
    mem.space("a").add("the tram")
    with pytest.raises(Invalid):
        mem.space("a").context(**({"query": "tram"} | wrong))


def test_a_tokenizer_that_truncates_is_refused(mem: Mnemos) -> None:
    tokenizer = letters()
    tokenizer.enable_truncation(5)
    with pytest.raises(Invalid, match="truncat"):
        mem.space("a").context("tram", tokenizer=tokenizer)
