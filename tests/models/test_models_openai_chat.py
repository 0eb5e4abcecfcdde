"""The `/chat/completions` client against a server that speaks the protocol, and the ways in which that server can fail."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from chat_server import ChatServer, completion, says
from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import ChatModel, Message, ReplyModel, Tool
from mnemos.models.openai_chat import OpenAIChat
from scripted_server import Answer, Step, ok, raw, slowly, status

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def client_of(server: ChatServer, **keywords: Any) -> OpenAIChat:
    return OpenAIChat("test", base_url=server.url, api_key=KEY, sleep=lambda seconds: None, **keywords)


def ask(text: str) -> list[Message]:
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]


def test_request_is_what_the_protocol_asks_for() -> None:
    with ChatServer() as server:
        assert client_of(server).complete([ask("hello")], max_tokens=7) == ["HELLO"]
        ((headers, body),) = server.requests
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {"model": "test", "messages": ask("hello"), "temperature": 0.0, "max_tokens": 7}


@pytest.mark.parametrize(
    ("json_format", "expected"),
    [
        ("schema", {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}),
        ("object", {"type": "json_object"}),
        ("text", None),
    ],
)
def test_a_schema_is_asked_for_as_the_server_understands_it(json_format: str, expected: Any) -> None:
    with ChatServer() as server:
        client_of(server, json_format=json_format).complete([ask("x")], schema=SCHEMA)
        assert server.requests[0][1].get("response_format") == expected


def test_many_conversations_are_asked_at_once_and_answered_in_order() -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def busy(body: dict[str, Any]) -> Answer:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return completion(body["messages"][-1]["content"].upper())

    texts = [f"text {number}" for number in range(12)]
    with ChatServer(*[busy] * 12) as server:
        assert client_of(server, parallel=4).complete([ask(text) for text in texts]) == [text.upper() for text in texts]
    assert 1 < most <= 4


def test_nothing_asked_nothing_sent() -> None:
    with ChatServer() as server:
        assert client_of(server).complete([]) == []
        assert not server.requests


def test_half_characters_can_be_sent() -> None:
    with ChatServer() as server:
        assert client_of(server).complete([ask("\ud800é")]) == ["?É"]


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (status(401), "401"), (raw(b"{not json"), "not JSON"), (raw(b"[]"), "form of a chat"), (raw(b"null"), "form of a chat"),
        (lambda body: ok({"choices": []}), "form of a chat"), (lambda body: ok({"choices": [{"message": None}]}), "form of a chat"),
        (says(None), "form of a chat"), (says([1]), "form of a chat"), (says("{", "length"), "ended early"),
        (says("", "content_filter"), "ended early"),
        (says(None, refusal="no"), "refused"),
    ],
)  # fmt: skip
def test_wrong_answers_give_a_typed_error(step: Step, match: str) -> None:
    with ChatServer(step) as server, pytest.raises(ModelUnavailable, match=match):
        client_of(server).complete([ask("x")])


def test_passing_faults_are_retried_and_lasting_ones_told() -> None:
    with ChatServer(status(503), status(429)) as server:
        assert client_of(server).complete([ask("x")]) == ["X"]
    with ChatServer(*[slowly(0.4, says("late"))] * 2) as server, pytest.raises(ModelUnavailable, match="Timeout"):
        client_of(server, timeout_s=0.1, retries=1).complete([ask("x")])


def test_one_failure_fails_the_batch_and_tells_no_key() -> None:
    with ChatServer(status(400, KEY)) as server, pytest.raises(ModelUnavailable) as caught:
        client_of(server).complete([ask("x"), ask("y")])
    assert KEY not in str(caught.value)
    assert "[key]" in str(caught.value)


def test_it_is_a_chat_model_with_a_name_that_tells_endpoints_apart() -> None:
    made = [OpenAIChat("a"), OpenAIChat("b"), OpenAIChat("a", temperature=1), OpenAIChat("a", base_url="http://localhost/v1")]
    assert all(isinstance(model, ChatModel) and isinstance(model, ReplyModel) for model in made)
    assert len({model.fingerprint for model in made}) == len(made)
    assert "pass" not in repr(OpenAIChat("m", base_url="https://user:pass@example.org/v1"))


LOOK: Tool = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def test_tools_are_offered_called_and_their_results_told() -> None:
    with ChatServer(says(None, "tool_calls", tool_calls=[CALL]), says("seen")) as server:
        chat = client_of(server)
        (reply,) = chat.respond([ask("look")], tools=[LOOK], tool_choice="look")
        assert (reply.text, reply.finish, reply.calls) == ("", "tools", ({"id": "c1", "name": "look", "arguments": "{}"},))
        told: list[Message] = [
            *ask("look"), {"role": "assistant", "content": "", "tool_calls": reply.calls}, {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
        ]  # fmt: skip
        (last,) = chat.respond([told], tools=[LOOK])
        assert (last.text, last.finish, last.tokens_in, last.tokens_out) == ("seen", "stop", 1, 1)
        first, second = (body for _, body in server.requests)
    assert first["tools"] == [{"type": "function", "function": LOOK}]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert second["tool_choice"] == "auto"
    assert second["messages"][2:] == [
        {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "finish", "reason"),
    [
        (says("ab", "length"), "length", None), (says(None, "length"), "length", None), (says(None, "content_filter"), "refusal", None),
        (says(None, refusal="no"), "refusal", None), (says("x", "odd"), "length", None), (says("", tool_calls=[CALL]), "tools", None),
        (says(None, tool_calls=[{"id": "c"}]), "failed", "malformed"), (says(None), "failed", "malformed"), (raw(b"{"), "failed", "malformed"),
        (status(429), "failed", "rate limit"), (status(504), "failed", "timeout"), (status(400), "failed", "unavailable"),
        (slowly(0.5, says("x")), "failed", "timeout"),
    ],
)  # fmt: skip
def test_how_a_turn_ended_is_told_in_its_reply(step: Step, finish: str, reason: str | None) -> None:
    with ChatServer(step) as server:
        bad, good = client_of(server, timeout_s=0.2, retries=0, parallel=1).respond([ask("x"), ask("y")])
    assert (bad.finish, bad.problem and bad.problem.reason) == (finish, reason)
    assert (good.text, good.finish) == ("Y", "stop")


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "7"}, {"prompt_tokens": True}, {"prompt_tokens": -1}, [1]])
def test_tokens_that_a_server_does_not_tell_are_none(usage: Any) -> None:
    with ChatServer(lambda body: ok({"choices": [{"message": {"content": "x"}}], "usage": usage})) as server:
        (reply,) = client_of(server).respond([ask("x")])
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("x", None, None)


def test_tokens_are_counted_rather_too_high_or_by_the_models_own_tokenizer() -> None:
    assert OpenAIChat("m").count_tokens("Four words of English.") == 8
    assert OpenAIChat("m").count_tokens("\ud800") == 1
    assert OpenAIChat("m", count=len).count_tokens("four") == 4
    assert OpenAIChat("m").context_window is None
    assert OpenAIChat("m", context_window=10).context_window == 10


def test_tools_that_nobody_takes_are_refused() -> None:
    with pytest.raises(Invalid, match="with_tools"):
        OpenAIChat("m", takes_tools=False).respond([ask("x")], tools=[LOOK])
    with pytest.raises(Invalid, match="no tool has that name"):
        OpenAIChat("m").respond([ask("x")], tools=[LOOK], tool_choice="see")


@pytest.mark.parametrize(
    "keywords",
    [{"model": ""}, {"parallel": 0}, {"temperature": 3}, {"json_format": "xml"}, {"base_url": "x"}, {"retries": -1}, {"context_window": 0}],
)
def test_wrong_arguments(keywords: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        OpenAIChat(**{"model": "m", **keywords})


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(Invalid, match="no turn"):
        OpenAIChat("m").complete([[]])
