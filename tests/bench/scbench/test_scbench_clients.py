"""Conversations of a chat model and of a text memory, in both modes."""

from __future__ import annotations

import itertools
import json

import pytest

from chat_server import ChatServer, completion, says
from mnemos.base.errors import ModelUnavailable
from mnemos.bench.scbench.clients import ChatClient
from mnemos.bench.scbench.harness import MULTI_REQUEST, OWN, run_session
from mnemos.bench.scbench.memory_client import MemoryClient, pieces
from mnemos.bench.scbench.methods import PLAIN, Template
from mnemos.bench.scbench.oracle import solve
from mnemos.bench.scbench.records import Record, Turn
from mnemos.bench.scbench.tasks import TASKS, generate
from mnemos.models.openai_chat import OpenAIChat


def reads(kind: str, record: Record) -> ChatServer:
    """A served model that reads the context out of the first message, and answers as the oracle does."""
    options = {turn.input: turn.options for turn in record.turns}

    def reply(messages: list[dict[str, str]]) -> str:
        question = messages[-1]["content"].split("Question: ")[-1]
        context = messages[0]["content"].split("\n\nQuestion: ")[0]
        return solve(kind, context, question, options[question])

    return ChatServer(reply=reply)


@pytest.mark.parametrize("task", ["kv", "qa_english", "choice", "summary"])
def test_a_model_that_reads_is_right_in_every_turn(task: str) -> None:
    record = generate(task, 1500, 3, 1)
    with reads(task, record) as server:
        chat = OpenAIChat("test", base_url=server.url, retries=0)
        for mode in ("multi-turn", MULTI_REQUEST):
            result = run_session(ChatClient(chat), record, mode)
            assert [row.score for row in result.rows] == [1, 1, 1]
            assert all(row.rolled_back and row.tokens == 1 for row in result.rows)
        chat.close()
        sent = [body["messages"] for _, body in server.requests]
    assert [len(messages) for messages in sent] == [1, 3, 5, 1, 1, 1]
    assert sent[1][0]["content"].count(record.turns[1].input) == 0
    assert sent[2][1] == {"role": "assistant", "content": record.turns[0].reference}
    assert sum(record.context in message["content"] for message in sent[2]) == 1
    assert next(body["max_tokens"] for _, body in server.requests) == TASKS[task].new_tokens


def test_own_answers_are_kept_where_they_are_wanted() -> None:
    record = generate("kv", 1200, 2)
    with ChatServer(reply=lambda messages: "no idea") as server:
        chat = OpenAIChat("test", base_url=server.url, retries=0)
        result = run_session(ChatClient(chat, system="Be brief."), record, answers=OWN)
        chat.close()
        sent = server.requests[1][1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[2]["content"] == "no idea"
    assert (result.answers, result.rows[0].score) == ("own", 0)


def test_an_answer_that_is_cut_off_counts_and_a_failure_is_raised() -> None:
    record = generate("kv", 1200, 1)
    with ChatServer(says(record.turns[0].reference, "length"), lambda body: (500, {}, b"{}")) as server:
        chat = OpenAIChat("test", base_url=server.url, retries=0)
        assert run_session(ChatClient(chat), record).rows[0].score == 1
        with pytest.raises(ModelUnavailable):
            run_session(ChatClient(chat), record)
        chat.close()


class Plain:
    """A chat model that only completes."""

    fingerprint = "plain"

    def complete(self, conversations, *, schema=None, max_tokens=None):  # type: ignore[no-untyped-def]
        return [json.loads(completion(messages[-1]["role"])[2])["choices"][0]["message"]["content"] for messages in conversations]


def test_a_model_that_only_completes_is_enough() -> None:
    record = Record("x", "kv", "nothing", (Turn("?", "user"),))
    result = run_session(ChatClient(Plain()), record)
    assert (result.rows[0].score, result.rows[0].tokens) == (1, None)


def test_templates_are_told_apart_by_their_digest() -> None:
    other = Template("plain", before_answer="\nA: ")
    clients = (ChatClient(Plain()), ChatClient(Plain(), other), ChatClient(Plain(), system="s"))
    assert len({PLAIN.digest, other.digest, *(client.template for client in clients)}) == 5
    assert run_session(ChatClient(Plain()), Record("x", "kv", "c", (Turn("?", "a"),))).template == ChatClient(Plain()).template


def test_pieces_cover_the_text_once() -> None:
    for task in TASKS:
        record = generate(task, 1500, 3)
        spans = pieces(record.context)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        left = "".join(record.context[end:start] for (_, end), (start, _) in itertools.pairwise(spans))
        assert not left.strip()
        assert len(spans) > 3 or task == "math_find"


def test_a_text_memory_answers_what_a_sentence_tells_and_stays_as_it_is() -> None:
    gates = {"north": "crimson", "river": "silver", "mill": "turquoise", "salt": "olive"}
    context = " ".join(f"The {name} gate was painted {colour} by the guild." for name, colour in gates.items())
    turns = tuple(
        Turn(f"Which colour was the {name} gate painted?", gates[name], evidence=((context.index(gates[name]), context.index(gates[name]) + 6),))
        for name in ("river", "mill")
    )
    record = Record("gates", "qa_english", context, turns)
    for mode in ("multi-turn", MULTI_REQUEST):
        result = run_session(MemoryClient(), record, mode)
        assert [row.read for row in result.rows] == [1, 1]
        assert all(row.rolled_back for row in result.rows)
        assert result.rows[0].resident == {"text": len(context), "vectors": 4 * 384 * len(pieces(context))}


def test_a_chat_model_may_read_what_memory_finds() -> None:
    record = generate("qa_english", 1200, 1, 2)
    client = MemoryClient(chat=Plain())
    assert "plain" in client.name
    assert client.template != MemoryClient().template
    assert run_session(client, record).rows[0].read is not None
