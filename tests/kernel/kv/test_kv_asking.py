"""Asking about a context: what was read before is taken, the words are the same, and what it saved is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mnemos
from kernel.kv.byte_llama import model
from mnemos.errors import Invalid, PermissionDenied
from mnemos.kernel.kv.asking import Asking, Told
from mnemos.kernel.space import Space

torch.set_num_threads(1)
MODEL = model()
TEXTS = (
    "Alice moved to Lisbon in May, and lives in a small house near the river.",
    "Alice keeps two grey cats in Lisbon, Tom and Mia, and feeds them fish.",
    "The boat from Lisbon leaves at seven, and Alice takes it on Mondays to work.",
)
QUESTION = "Where does Alice live?"
REUSE = Asking(order="reuse", form="\n{question}\n")


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Space]:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL, kv_ahead=None) as mem:
        made = mem.space("alice")
        for text in TEXTS:
            made.add(text)
        yield made


def words(told: Told) -> list[tuple[int, ...]]:
    return [row.tokens for row in told.run()]


def alone(space: Space, told: Told, form: str = "\n{question}\n") -> list[tuple[int, ...]]:
    """What the model says to the same sources, in that order, with nothing kept."""
    texts = "".join(f"{space.get(id).text}\n" for id in told.reused.sources)
    prompt = MODEL.encode(texts + form.replace("{question}", QUESTION))
    assert len(prompt) == told.reused.tokens
    return [row.tokens for row in MODEL.generate(prompt, max_tokens=8).run()]


def test_a_context_in_its_own_order_is_taken_where_a_prompt_began_so(space: Space) -> None:
    context = space.context(QUESTION, 300, tokenizer=MODEL)
    prompt = MODEL.encode(f"{context}\nQuestion: {QUESTION}\nAnswer:")
    expected = [row.tokens for row in MODEL.generate(prompt, max_tokens=8).run()]
    how = Asking(budget_tokens=300)
    told = [space.kv.ask(QUESTION, how, max_tokens=8) for _ in range(3)]
    assert [words(each) for each in told] == [expected] * 3
    assert [each.reused.taken for each in told[:2]] == [0, 0]  # what came once is not kept
    assert told[2].reused.taken >= len(prompt) // 64 * 64
    assert told[2].reused.tokens == len(prompt)
    assert set(told[2].reused.sources) == {hit.cube.id for hit in context.hits}
    other = space.kv.ask("Who feeds the cats?", how, max_tokens=8)
    assert other.reused.taken > 0  # as far as both begin alike


def test_the_warm_text_stands_first_and_is_taken(space: Space) -> None:
    cats = next(cube.id for cube in space.list() if "cats" in cube.text)
    cold = space.kv.ask(QUESTION, REUSE, max_tokens=8)
    assert (cold.reused.taken, cold.reused.warm) == (0, ())
    assert words(cold) == alone(space, cold)
    space.kv.warm(cats)
    told = space.kv.ask(QUESTION, REUSE, max_tokens=8)
    assert told.reused.sources[0] == cats
    assert told.reused.warm == (cats,)
    assert told.reused.taken == len(MODEL.encode(f"{TEXTS[1]}\n"))
    assert words(told) == alone(space, told)
    for _ in range(2):
        told = space.kv.ask(QUESTION, REUSE, max_tokens=8)
    assert told.reused.taken > len(MODEL.encode(f"{TEXTS[1]}\n"))  # the whole prompt has come again
    assert words(told) == alone(space, told)


def test_all_warm_texts_are_put_together_where_that_is_asked_for(space: Space) -> None:
    ids = [cube.id for cube in space.list()]
    space.kv.warm(ids)
    told = space.kv.ask(QUESTION, Asking(order="reuse", mode="blended", share=1.0, form="\n{question}\n"), max_tokens=8)
    assert set(told.reused.warm) == set(ids)
    assert words(told) == alone(space, told)  # all of it read again is exact
    loose = space.kv.ask(QUESTION, Asking(order="reuse", mode="rerotated"), max_tokens=8)
    assert loose.reused.taken > 0.5 * loose.reused.tokens
    prompts = [entry for entry in space.kv.entries() if entry.source is None]
    assert prompts == []  # what is put together is no prefix


def test_what_it_saved_is_said_by_what_was_measured(space: Space) -> None:
    ids = [cube.id for cube in space.list()]
    space.kv.warm(ids[0])
    told = space.kv.ask(QUESTION, REUSE, max_tokens=4)
    assert told.reused.saved is None
    for size in (1000, 100_000):
        for part, seconds in (("build", 3.0), ("without", 3.0), ("within", 0.1)):
            space.system.scheduler.observe("kv", part, size, seconds)
    told = space.kv.ask(QUESTION, REUSE, max_tokens=4)
    assert 0 < told.reused.saved < 3.0  # type: ignore[operator]
    assert told.reused.as_json()["taken"] == told.reused.taken > 0


def test_what_does_not_pay_is_read(space: Space) -> None:
    ids = [cube.id for cube in space.list()]
    space.kv.warm(ids)
    for size in (1000, 100_000):
        for part, seconds in (("build", 3.0), ("without", 0.1), ("within", 3.0)):
            for _ in range(20):
                space.system.scheduler.observe("kv", part, size, seconds)
    for _ in range(3):
        told = space.kv.ask(QUESTION, REUSE, max_tokens=8)
        assert told.reused.taken == 0
    assert words(told) == alone(space, told)


def test_what_is_forgotten_is_taken_by_nobody(space: Space) -> None:
    for _ in range(3):
        told = space.kv.ask(QUESTION, REUSE, max_tokens=4)
    assert told.reused.taken > 0
    space.forget([told.reused.sources[0]])
    assert not [entry for entry in space.kv.entries() if told.reused.sources[0] in entry.sources]
    again = space.kv.ask(QUESTION, REUSE, max_tokens=8)
    assert told.reused.sources[0] not in again.reused.sources
    assert words(again) == alone(space, again)


def test_who_may_not_keep_is_answered_and_each_answer_is_one_read(space: Space) -> None:
    whole, texts = space.system.space("alice", acl={"read": ["bob"], "write": ["bob"], "derive": ["carol"]}), [cube.id for cube in space.list()]
    whole.system.space("alice", licences={"bob": {"reads": 9}})
    bob = space.system.as_principal("bob").space("alice").kv
    for how in (Asking(), REUSE, Asking(order="reuse", mode="rerotated")):
        told = [bob.ask(QUESTION, how, max_tokens=4) for _ in range(3)]
        assert [words(each) for each in told] == [words(told[0])] * 3
        assert sorted(told[0].reused.sources) == sorted(texts)
    assert whole.kv.entries() == []
    with pytest.raises(PermissionDenied, match="9 reads"):
        bob.ask(QUESTION, max_tokens=4)


def test_a_question_about_nothing_is_asked_all_the_same(tmp_path: Path) -> None:
    with mnemos.open(tmp_path / "memory.db", embedder="none", language_model=MODEL) as mem:
        told = mem.space("empty").kv.ask(QUESTION, REUSE, max_tokens=4)
        assert told.reused.sources == ()
        assert told.reused.saved == 0.0
        assert len(words(told)[0]) == 4


def test_ways_of_asking_that_are_none_are_refused() -> None:
    for wrong in ({"order": "any"}, {"mode": "loose", "order": "reuse"}, {"mode": "blended"}, {"form": "Answer:"}):
        with pytest.raises(Invalid, match="ask"):
            Asking(**wrong)  # type: ignore[arg-type]
