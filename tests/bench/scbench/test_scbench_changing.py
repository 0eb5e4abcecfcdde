"""Contexts that change and tenants that stay apart: a corrected fact is answered as it is now, a deleted one no more, and nothing crosses over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import mnemos
from chat_server import ChatServer
from mnemos.base.errors import Invalid
from mnemos.bench.scbench import changing, on_models
from mnemos.bench.scbench.clients import ChatClient, TokenConversation
from mnemos.bench.scbench.findings import LOADS
from mnemos.bench.scbench.harness import MULTI_REQUEST, run_session
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.memory_client import MemoryClient
from mnemos.bench.scbench.oracle import answers
from mnemos.bench.scbench.reading_client import ReadingClient
from mnemos.bench.scbench.records import COMPACT, Record, Turn
from mnemos.bench.scbench.tasks import generate
from mnemos.models import reference
from mnemos.models.openai_chat import OpenAIChat
from mnemos.models.reference import language

NEW = "moza zuda"
assert set(NEW.split()) <= set(language.SYMBOLS)


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield reference.load()[0]
    torch.set_num_threads(threads)


def records(n: int = 2, length: int = 200) -> list[Record]:
    return [generate("kv", length, 2, 50 + seed, COMPACT) for seed in range(n)]


def test_a_context_is_corrected_and_loses_a_fact() -> None:
    (record,) = records(1)
    other = changing.corrected(record, 1, NEW)
    assert answers(other) == [NEW]
    assert len(other.context.split()) == len(record.context.split())
    less = changing.deleted(record, 0)
    assert record.turns[0].reference not in less.context
    assert "  " not in less.context
    with pytest.raises(Invalid, match="in one place"):
        changing.deleted(generate("multi_hop", 300, 2, 1, COMPACT), 0)
    with pytest.raises(Invalid, match="does not hold its answer once"):
        changing.corrected(Record("x", "kv", "a b", (Turn("?", "c", evidence=((0, 3),)),)), 0, "d")


def test_every_way_answers_what_is_true_now(model: Any) -> None:
    with mnemos.open(":memory:", embedder="none") as store:
        clients = [
            on_models.client(model, "full"), on_models.client(model, "window", share=0.5), ReadingClient(on_models.client(model, "full"), store=store)
        ]  # fmt: skip
        rows, checks = changing.table(clients, records(), lambda _: None)
    assert [check.holds for check in checks] == [True, True]
    for name in ("full cache", "text memory, reads 64 tokens"):
        assert (rows[name]["corrected, right"], rows[name]["deleted, still said"], rows[name]["n"]) == (1.0, 0.0, 4)
    assert all(row["leaked"] == row["changed by others"] == 0 for row in rows.values())


def test_the_full_cache_reads_only_what_comes_after_a_change(model: Any) -> None:
    (record,) = records(1)
    late = max(range(2), key=lambda number: record.turns[number].evidence)
    read: list[int] = []

    class Counting(CacheMethod):
        def _read(self, handle: Any, tokens: Any) -> None:
            read.append(len(tokens))
            super()._read(handle, tokens)

    for make in (None, lambda: on_models.KVMemory.of(model)):
        client = on_models.client(model, "full")
        client.method = Counting(model, make)
        conversation = client.open(record)
        assert isinstance(conversation, TokenConversation)
        read.clear()
        after = changing.corrected(record, late, NEW)
        conversation.change(after)
        assert read == [len(after.context.split()) - len(after.context[: record.turns[late].evidence[0][0]].split()) - 3]  # from the value on
        handle = client.method.prefill(client.codec.encode(after.context))
        again = client.method.next_logits(conversation._handle)
        assert torch.allclose(again, client.method.next_logits(handle), atol=1e-4, rtol=0)
        same = client.open(record)
        same.change(record)
        assert same.digest() == client.open(record).digest()


def test_a_fork_that_loads_leaves_its_parent_as_it_was(model: Any) -> None:
    """What a fork folds in is put into pieces of its own: the parent still has all that it had."""
    client = on_models.client(model, "shadowkv", **LOADS)
    (record,) = records(1, 160)
    parent = client.open(record)
    before = parent.digest()
    fork = parent.fork()
    fork.settle(record.turns[1].reference)
    fork.ask(record.turns[0], 6)
    assert parent.digest() == before
    assert [row.score for row in run_session(client, record, MULTI_REQUEST).rows] == [1, 1]


def test_what_crosses_over_is_noticed(model: Any) -> None:
    """A method whose handles are one is no method for two tenants."""

    class OneForAll(CacheMethod):
        shared: Any = None

        def prefill(self, tokens: Any, query: Any = ()) -> Any:
            if self.shared is None:
                self.shared = super().prefill(tokens, query)
            else:
                self.append(self.shared, tokens)
            return self.shared

        def release(self, handle: Any) -> None:
            pass

    client = on_models.client(model, "full", verify=False)
    client.method = OneForAll(model)
    found = changing.apart(client, records())
    assert found.leaked > 0
    with pytest.raises(Invalid, match="two sessions or more"):
        changing.apart(client, records(1))


def test_text_memory_and_chat_take_a_changed_context() -> None:
    record = Record("gates", "qa_english", "The north gate is crimson.\nThe mill gate is olive.", (Turn("Which colour is the mill gate?", "olive"),))
    after = Record("gates", "qa_english", "The north gate is crimson.\nThe mill gate is silver.", record.turns)
    client = MemoryClient(embedder="none")
    client.split = lambda record: changing_pieces(record.context)  # type: ignore[method-assign]
    conversation = client.open(record)
    conversation.change(after)
    texts = {cube.text.strip() for cube in conversation._space.list()}
    assert texts == {"The north gate is crimson.", "The mill gate is silver."}
    conversation.close()
    with ChatServer(reply=lambda messages: messages[0]["content"]) as server:
        chat = OpenAIChat("test", base_url=server.url, retries=0)
        told = ChatClient(chat).open(record)
        told.ask(record.turns[0], 5)
        told.change(after)
        said = told.ask(record.turns[0], 5).text
        chat.close()
    assert "silver" in said
    assert "olive" not in said


def changing_pieces(text: str) -> list[tuple[int, int]]:
    """A line a piece."""
    at = text.index("\n") + 1
    return [(0, at), (at, len(text))]
