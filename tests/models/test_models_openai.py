"""The `/embeddings` client against a server that speaks the protocol, and every way in which that server can fail."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from embedding_server import DIMENSIONS, EmbeddingServer, changed, proper, shuffled, slow

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.openai_embeddings import OpenAIEmbedder
from scripted_server import Step, ok, raw, status

KEY = "sk-very-secret-0123456789"
TEXTS = ["first text", "second one", "and a third"]


class Clock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.seconds = now
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def client_of(server: EmbeddingServer, clock: Clock | None = None, **keywords: Any) -> OpenAIEmbedder:
    clock = clock or Clock()
    return OpenAIEmbedder("test", base_url=server.url, api_key=KEY, now=clock.now, sleep=clock.sleep, **keywords)


def expected(texts: list[str], dimensions: int = DIMENSIONS) -> np.ndarray:
    return HashedEmbedder(dimensions=dimensions).embed(texts)


def test_request_is_what_the_protocol_asks_for() -> None:
    with EmbeddingServer() as server:
        vectors = client_of(server, dimensions=64).embed(TEXTS)
        ((headers, body),) = server.requests
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {"model": "test", "input": TEXTS, "encoding_format": "float", "dimensions": 64}
    np.testing.assert_allclose(vectors, expected(TEXTS, 64), atol=1e-6)


def test_no_key_no_header() -> None:
    with EmbeddingServer() as server:
        OpenAIEmbedder("test", base_url=server.url + "/").embed(TEXTS)
        assert "authorization" not in server.requests[0][0]
        assert "dimensions" not in server.requests[0][1]


def test_batches_and_order() -> None:
    texts = [f"text number {number}" for number in range(23)]
    with EmbeddingServer(proper, shuffled, shuffled) as server:
        vectors = client_of(server, batch_size=7).embed(texts)
        assert [len(body["input"]) for _, body in server.requests] == [7, 7, 7, 2]
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)


def test_base64_answers_are_read_whether_asked_for_or_not() -> None:
    def insists(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return proper({**body, "encoding_format": "base64"})

    with EmbeddingServer(insists) as server:
        np.testing.assert_allclose(client_of(server).embed(TEXTS), expected(TEXTS), atol=1e-6)
        np.testing.assert_allclose(client_of(server, encoding_format="base64").embed(TEXTS), expected(TEXTS), atol=1e-6)
        assert server.requests[1][1]["encoding_format"] == "base64"


def test_blank_texts_and_surrogates_can_be_sent() -> None:
    with EmbeddingServer() as server:
        assert client_of(server).embed(["", " \n", "\ud800"]).shape == (3, DIMENSIONS)
        assert server.requests[0][1]["input"] == [".", ".", "?"]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
def test_passing_faults_are_retried_with_growing_waits(code: int) -> None:
    clock = Clock()
    with EmbeddingServer(status(code), status(code), status(code)) as server:
        np.testing.assert_allclose(client_of(server, clock).embed(TEXTS), expected(TEXTS), atol=1e-6)
        assert len(server.requests) == 4
    assert clock.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("header", "wait"),
    [("7", 7.0), ("0", 0.0), ("0.25", 0.25), ("9999", 60.0), ("soon", 0.5), ("-3", 0.5), ("1e999", 60.0),
     (formatdate(1_700_000_012, usegmt=True), 12.0), (formatdate(1_600_000_000, usegmt=True), 0.0)],
)  # fmt: skip
def test_retry_after_is_obeyed(header: str, wait: float) -> None:
    clock = Clock()
    with EmbeddingServer(status(429, retry_after=header)) as server:
        client_of(server, clock).embed(TEXTS)
    assert clock.slept == [wait]


def test_retries_end() -> None:
    clock = Clock()
    with EmbeddingServer(*[status(503, "overloaded")] * 5) as server:
        with pytest.raises(ModelUnavailable, match=r"503.*overloaded.*tried 3 times"):
            client_of(server, clock, retries=2).embed(TEXTS)
        assert len(server.requests) == 3
    assert len(clock.slept) == 2


@pytest.mark.parametrize("code", [301, 400, 401, 403, 404, 422])
def test_refusals_are_final(code: int) -> None:
    with EmbeddingServer(status(code, "x" * 5000)) as server:
        with pytest.raises(ModelUnavailable, match=str(code)) as caught:
            client_of(server).embed(TEXTS)
        assert len(server.requests) == 1
    assert len(str(caught.value)) < 800


def test_timeout_is_retried_then_told() -> None:
    clock = Clock()
    with EmbeddingServer(slow(0.6)) as server:
        np.testing.assert_allclose(client_of(server, clock, timeout_s=0.15).embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert clock.slept == [0.5]
    with EmbeddingServer(slow(0.6)) as server, pytest.raises(ModelUnavailable, match="Timeout"):
        client_of(server, timeout_s=0.15, retries=0).embed(TEXTS)


def test_nobody_listening() -> None:
    with EmbeddingServer() as server:
        pass
    with pytest.raises(ModelUnavailable, match=r"ConnectError.*tried 2 times"):
        client_of(server, retries=1).embed(TEXTS)


def with_embedding(value: Any) -> Step:
    return changed(lambda answer: answer["data"][1].update(embedding=value))


@pytest.mark.parametrize(
    "step",
    [
        raw(b"{not json"), raw(b""), raw(b"\xff\xfe\x00"), raw(b"[1, 2]"), raw(b"null"), raw(b'{"data": null}'), raw(b'{"data": [1, 2, 3]}'),
        raw(b'{"error": "no"}'),
        changed(lambda answer: answer["data"].pop()),
        changed(lambda answer: answer["data"].append(answer["data"][0])),
        changed(lambda answer: answer["data"][1].update(index=0)),
        changed(lambda answer: answer["data"][1].update(index=5)),
        changed(lambda answer: answer["data"][1].update(index=None)),
        changed(lambda answer: answer["data"][1].pop("embedding")),
        changed(lambda answer: answer["data"][1]["embedding"].pop()),
        changed(lambda answer: [item.update(embedding=[]) for item in answer["data"]]),
        changed(lambda answer: [item.update(embedding=1.5) for item in answer["data"]]),
        changed(lambda answer: [item.update(embedding=[[1.0, 2.0]]) for item in answer["data"]]),
        with_embedding([float("nan")] * DIMENSIONS), with_embedding([float("inf")] * DIMENSIONS), with_embedding([0.0] * DIMENSIONS),
        with_embedding([None] * DIMENSIONS), with_embedding(["x"] * DIMENSIONS), with_embedding(None), with_embedding("%%%"), with_embedding("AAA="),
        with_embedding({"a": 1}),
    ],
)  # fmt: skip
def test_wrong_answers_give_a_typed_error(step: Step) -> None:
    with EmbeddingServer(step) as server:
        with pytest.raises(ModelUnavailable, match="'test' at http"):
            client_of(server).embed(TEXTS)
        assert len(server.requests) == 1
        assert client_of(server).embed(TEXTS).shape == (3, DIMENSIONS)


def test_other_dimensions_than_before_are_refused() -> None:
    def short(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return proper({**body, "dimensions": 16})

    with EmbeddingServer(proper, short) as server, pytest.raises(ModelUnavailable, match=rf"16 dimensions where {DIMENSIONS}"):
        client_of(server, batch_size=2).embed(TEXTS)
    with EmbeddingServer(short) as server, pytest.raises(ModelUnavailable, match="16 dimensions where 64"):
        client_of(server, dimensions=64).embed(TEXTS)


def test_dimensions_are_asked_for_once_where_they_are_not_known() -> None:
    with EmbeddingServer() as server:
        client = client_of(server)
        assert client.dimensions == client.dimensions == DIMENSIONS
        assert len(server.requests) == 1
    assert OpenAIEmbedder("text-embedding-3-small").dimensions == 1536
    assert OpenAIEmbedder("anything", dimensions=99).dimensions == 99


@pytest.mark.parametrize("step", [status(401, f"bad key {KEY}"), status(500, f"{KEY}"), raw(f"<{KEY}>".encode()), lambda body: ok({"key": KEY})])
def test_the_key_is_in_no_message(step: Callable[..., Any]) -> None:
    with EmbeddingServer(step) as server:
        client = client_of(server, retries=0)
        with pytest.raises(ModelUnavailable) as caught:
            client.embed(TEXTS)
    told = "".join(traceback.format_exception(caught.value)) + repr(client) + client.fingerprint
    assert KEY not in told
    assert "[key]" in str(caught.value)


def test_credentials_in_the_address_are_not_told() -> None:
    client = OpenAIEmbedder("m", base_url="https://user:pass@example.org/v1/?token=abc")
    assert client.fingerprint == "openai:m:default:https://example.org/v1"
    assert "pass" not in repr(client)


def test_fingerprints_part_models_dimensions_and_endpoints() -> None:
    made = [OpenAIEmbedder("a"), OpenAIEmbedder("b"), OpenAIEmbedder("a", dimensions=8), OpenAIEmbedder("a", base_url="http://localhost/v1")]
    assert len({client.fingerprint for client in made}) == len(made)


def test_connections_close_and_open_again() -> None:
    with EmbeddingServer() as server:
        client = client_of(server)
        first = client.embed(TEXTS)
        client.close()
        client.close()
        assert np.array_equal(client.embed(TEXTS), first)
        client.close()


def test_missing_httpx_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ModelUnavailable, match=r"mnemos\[remote\]"):
        OpenAIEmbedder("m").embed(["x"])


@pytest.mark.parametrize(
    "keywords",
    [{"base_url": "localhost:8000"}, {"base_url": "file:///etc"}, {"base_url": ""}, {"batch_size": 0}, {"retries": -1}, {"timeout_s": 0},
     {"dimensions": 0}, {"encoding_format": "xml"}, {"api_key": "line\nbreak"}, {"api_key": "schlüssel"}, {"model": ""}],
)  # fmt: skip
def test_wrong_arguments(keywords: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        OpenAIEmbedder(**{"model": "m", **keywords})
    if "api_key" in keywords:
        assert keywords["api_key"] not in str(caught.value)


def test_server_sees_valid_json_for_every_character() -> None:
    with EmbeddingServer() as server:
        text = "".join(map(chr, [*range(32), 0x2028, 0xFFFF, 0x1F600]))
        client_of(server).embed([text])
        assert json.loads(json.dumps(server.requests[0][1]["input"])) == [text]
