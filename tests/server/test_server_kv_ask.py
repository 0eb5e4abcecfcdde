"""Asking the server's language model over REST: of what the caller may read, of which it reads only what is new, as a whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import torch
from server_support import LOCAL, bearer, is_problem

import mnemos
from kernel.kv.byte_llama import model
from mnemos.kernel.kv import asking
from mnemos.server.app import create_app

torch.set_num_threads(1)
OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")
MODEL = model()
HOUSE = "Alice moved to Lisbon in May, and lives in a small house near the river."
CATS = "Alice keeps two grey cats in Lisbon, Tom and Mia, and feeds them fish."
BOAT = "The boat from Lisbon leaves at seven, and Alice takes it on Mondays to work."
TEXTS = [HOUSE, CATS, BOAT]
QUESTION = "Where does Alice live?"
ASK = "/v1/spaces/diary/kv/ask"
REUSE = {"question": QUESTION, "order": "reuse", "form": "\n{question}\n", "max_tokens": 8}


@pytest.fixture
def texts(memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(asking, "_pays", lambda *_: True)  # what a busy machine measures may say otherwise, which has tests of its own
    memory.language_model, memory.kv_ahead = MODEL, None
    space = memory.as_principal("alice").space("diary")
    return [space.add(text).id for text in TEXTS]


def alone(texts: list[str], tokens: int = 8) -> tuple[int, str]:
    """What the model says to texts and the question with nothing kept: tokens of the prompt, and the words."""
    prompt = MODEL.encode("".join(f"{text}\n" for text in texts) + f"\n{QUESTION}\n")
    told = MODEL.generate(prompt, max_tokens=tokens)
    told.run()
    return len(prompt), told.text


def said(text: str) -> list[tuple[str, Any]]:
    """The events of a stream."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_the_answer_says_what_was_asked_about_and_what_was_not_read_again(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    cold = guarded.post(ASK, json=REUSE, headers=ALICE).json()
    tokens, words = alone([TEXTS[texts.index(id)] for id in cold["sources"]])
    assert (cold["text"], cold["ended"], cold["tokens"], cold["taken"], cold["read"], cold["warm"]) == (words, "length", tokens, 0, tokens, [])
    guarded.post("/v1/spaces/diary/kv", json={"ids": texts[1:2]}, headers=ALICE)
    warm = guarded.post(ASK, json=REUSE, headers=ALICE).json()
    assert (warm["sources"][0], warm["warm"], sorted(warm["sources"])) == (texts[1], texts[1:2], sorted(texts))
    taken = len(MODEL.encode(f"{CATS}\n"))
    assert (warm["taken"], warm["read"], warm["tokens"]) == (taken, tokens - taken, tokens)
    assert warm["text"] == alone([TEXTS[texts.index(id)] for id in warm["sources"]])[1]
    together = guarded.post(ASK, json={**REUSE, "mode": "rerotated"}, headers=ALICE).json()
    assert (together["tokens"], together["taken"] >= taken) == (tokens, True)
    plain = guarded.post(ASK, json={"question": QUESTION, "max_tokens": 8}, headers=ALICE).json()
    told = memory.as_principal("alice").space("diary").kv.ask(QUESTION, max_tokens=8)
    assert ("".join(piece.text for piece in told), list(told.reused.sources)) == (plain["text"], plain["sources"])
    said = guarded.get("/metrics", headers=OWNER).text
    assert "mnemos_searches_total 4.0" in said
    assert 'route="/v1/spaces/{space}/kv/ask"' in said


def test_options_bound_the_answer_and_what_stands_before_it(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    for _ in range(3):
        whole = guarded.post(ASK, json={"question": QUESTION, "max_tokens": 4}, headers=ALICE).json()
    assert whole["taken"] == whole["tokens"] // 64 * 64  # a context that has come before, but for what fills no chunk
    few = guarded.post(ASK, json={**REUSE, "budget_tokens": 80, "max_tokens": 1}, headers=ALICE).json()
    assert (len(few["sources"]), len(few["text"])) == (1, 1)
    memory.space("diary").update(texts[2], tags=["travel"])
    one = guarded.post(ASK, json={**REUSE, "tags": ["travel"]}, headers=ALICE).json()
    assert (one["sources"], one["text"]) == (texts[2:], alone([BOAT])[1])
    memory.space("empty", acl={"read": ["alice"]})
    none = guarded.post("/v1/spaces/empty/kv/ask", json=REUSE, headers=ALICE).json()
    assert (none["sources"], none["taken"]) == ([], 0)


def test_a_stream_gives_the_same_words_as_they_come(guarded: Any, texts: list[str]) -> None:
    whole = guarded.post(ASK, json=REUSE, headers=ALICE).json()
    answer = guarded.post(ASK, json={**REUSE, "stream": True}, headers=ALICE)
    assert (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"]) == (
        200, "text/event-stream; charset=utf-8", "no-store",
    )  # fmt: skip
    (first, given), *pieces, (last, end) = said(answer.text)
    assert (first, last, end) == ("given", "end", {"ended": "length"})
    assert {kind for kind, _ in pieces} == {"piece"}
    assert len(pieces) > 4
    assert "".join(data["text"] for _, data in pieces) == whole["text"]
    assert given.keys() == whole.keys() - {"text", "ended"}
    assert (given["sources"], given["tokens"]) == (whole["sources"], whole["tokens"])


def test_nobody_is_answered_from_what_they_may_not_read(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    memory.space("diary", acl={"read": ["bob", "carol"], "write": ["bob"]}, clearance={"carol": "secret"})
    memory.space("diary").update(texts[0], sensitivity="secret")
    for _ in range(3):
        hers = guarded.post(ASK, json=REUSE, headers=ALICE).json()
    assert sorted(hers["sources"]) == sorted(texts)
    assert hers["taken"] > 0
    public = guarded.post(ASK, json=REUSE, headers=BOB).json()
    assert sorted(public["sources"]) == sorted(texts[1:])
    assert public["text"] == alone([TEXTS[texts.index(id)] for id in public["sources"]])[1]
    events = said(guarded.post(ASK, json={**REUSE, "stream": True}, headers=BOB).text)
    assert sorted(events[0][1]["sources"]) == sorted(texts[1:])
    memory.space("diary").set_acl(texts[1], {"read": ["carol"]})
    assert guarded.post(ASK, json=REUSE, headers=BOB).json()["sources"] == texts[2:]
    memory.space("diary", clearance={"bob": "secret"})
    assert sorted(guarded.post(ASK, json=REUSE, headers=BOB).json()["sources"]) == sorted([texts[0], texts[2]])


def test_what_others_have_asked_is_not_taken(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    memory.space("diary", acl={"read": ["bob"], "write": ["bob"]})
    same = {"question": QUESTION, "max_tokens": 4}
    hers = [guarded.post(ASK, json=same, headers=ALICE).json() for _ in range(3)]
    his = [guarded.post(ASK, json=same, headers=BOB).json() for _ in range(3)]
    assert [one["taken"] for one in his] == [one["taken"] for one in hers]
    assert hers[0]["taken"] == hers[1]["taken"] == 0 < hers[2]["taken"]
    assert {one["text"] for one in his} == {one["text"] for one in hers}


@pytest.mark.parametrize("settings", [{"acl": {"read": ["bob"]}}, {"acl": {"read": ["bob"], "write": ["bob"], "derive": ["carol"]}},
                                      {"acl": {"read": ["bob"], "write": ["bob"]}, "rate": {"writes_per_minute": 1}}])  # fmt: skip
def test_who_may_read_is_answered_though_nothing_may_be_kept(
    guarded: Any, memory: mnemos.Mnemos, texts: list[str], settings: dict[str, Any]
) -> None:
    memory.space("diary", **settings)
    for way in ({"order": "context"}, {}, {"mode": "blended"}):
        answers = [guarded.post(ASK, json={**REUSE, **way}, headers=BOB) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len({answer.json()["text"] for answer in answers}) == 1
    kept = guarded.get("/v1/spaces/diary/kv", headers=OWNER).json()["kv"]
    assert len(kept) <= (1 if "rate" in settings else 0)


def test_rates_and_licences_count_an_answer_as_they_count_a_context(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    memory.space("diary", acl={"read": ["bob"]}, licences={"bob": {"reads": 3}})
    ways = ({}, {"mode": "rerotated"}, {"order": "context", "stream": True})
    assert [guarded.post(ASK, json={**REUSE, **way}, headers=BOB).status_code for way in ways] == [200] * 3  # each is one read
    is_problem(guarded.post(ASK, json=REUSE, headers=BOB), 403)
    memory.space("diary", rate={"reads_per_minute": 1})
    assert guarded.post(ASK, json=REUSE, headers=ALICE).status_code == 200
    assert is_problem(guarded.post(ASK, json={**REUSE, "stream": True}, headers=ALICE), 429)["retry_after"] > 0


def test_what_cannot_be_asked_is_said_as_a_problem(guarded: Any, texts: list[str]) -> None:
    for wrong in (
        {"question": None}, {"question": " "}, {"question": "why? " * 200}, {"order": "any"}, {"mode": "loose"},
        {"order": "context", "mode": "blended"}, {"budget_tokens": 0}, {"max_tokens": 0}, {"max_tokens": "8"}, {"form": "Answer:"}, {"stream": 1},
        {"filter": {"n": {"x": 1}}}, {"colour": 1},
    ):  # fmt: skip
        for stream in ({}, {"stream": True}):
            is_problem(guarded.post(ASK, json={**REUSE, **stream, **wrong}, headers=ALICE), 422)


def test_a_server_without_a_model_asks_nobody(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    memory.language_model = None
    for stream in (False, True):
        assert is_problem(guarded.post(ASK, json={**REUSE, "stream": stream}, headers=ALICE), 503)["type"] == "urn:mnemos:problem:model-unavailable"
    is_problem(guarded.post(ASK, json=REUSE), 401)
    is_problem(guarded.post(ASK, json=REUSE, headers=BOB), 404)
    is_problem(guarded.post(ASK, json={**REUSE, "strategy": "none such"}, headers=BOB), 404)


class Watched:
    """The model, of which each generation is known, and which may do something before each token."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.told: list[Any] = []
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(MODEL, name)

    def generate(self, *given: Any, **settings: Any) -> Any:
        def never() -> bool:
            self._before()
            return False

        self.told.append(MODEL.generate(*given, cancelled=never, **settings))
        return self.told[-1]


def test_what_fails_after_the_first_word_is_said_in_the_stream(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    left = iter(range(3))

    def fails() -> None:
        if next(left, None) is None:
            raise RuntimeError("secret path")

    memory.language_model = Watched(fails)  # type: ignore[assignment]
    answer = guarded.post(ASK, json={**REUSE, "stream": True}, headers=ALICE)
    *before, (last, problem) = said(answer.text)
    assert [kind for kind, _ in before] == ["given", "piece", "piece", "piece"]
    assert (last, problem["status"], problem["instance"]) == ("problem", 500, ASK)
    assert "secret" not in answer.text


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_broken_off_when_the_client_leaves(memory: mnemos.Mnemos, texts: list[str], stream: bool) -> None:
    watched = Watched()
    memory.language_model = watched  # type: ignore[assignment]
    body = json.dumps({**REUSE, "max_tokens": 150, "stream": stream}).encode()
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": ASK, "raw_path": ASK.encode(), "query_string": b"", "headers": headers, "server": ("127.0.0.1", 7077)}  # fmt: skip
    sent: list[bytes] = []

    async def talk() -> None:
        asked, leaves = False, asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": body, "more_body": False}
            if not stream and watched.told and len(watched.told[0].written[0].tokens) >= 3:
                return {"type": "http.disconnect"}
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("body", b""))
            if b"event: piece" in sent[-1] and len(sent) > 4:
                leaves.set()

        await create_app(memory)({**scope}, receive, send)  # type: ignore[arg-type]

    asyncio.run(talk())
    chosen = len(watched.told[0].written[0].tokens)
    assert 3 <= chosen < 10
    assert watched.told[0].written[0].ended in (None, "cancelled")
    assert b"event: end" not in b"".join(sent)


def test_two_who_ask_at_once_are_answered_each_for_themselves(memory: mnemos.Mnemos, texts: list[str]) -> None:
    both = threading.Barrier(2)
    memory.language_model = Watched(lambda: both.wait(20) and None)  # type: ignore[assignment,func-returns-value]
    asked = [{**REUSE, "max_tokens": 12, "tags": [tag]} for tag in ("home", "travel")]
    for id, tag in ((texts[0], "home"), (texts[2], "travel")):
        memory.space("diary").update(id, tags=[tag])

    async def at_once() -> list[Any]:
        transport = httpx.ASGITransport(app=create_app(memory))
        async with httpx.AsyncClient(transport=transport, base_url=LOCAL) as client:
            return await asyncio.gather(client.post(ASK, json=asked[0]), client.post(ASK, json={**asked[1], "stream": True}))

    whole, streamed = asyncio.run(at_once())  # each token of one waits for a token of the other
    assert (whole.json()["sources"], whole.json()["text"]) == (texts[:1], alone([HOUSE], 12)[1])
    events = said(streamed.text)
    assert events[0][1]["sources"] == texts[2:]
    assert "".join(data["text"] for kind, data in events if kind == "piece") == alone([BOAT], 12)[1]


def test_the_description_has_both_forms_of_the_answer(client: Any) -> None:
    api = client.get("/openapi.json").json()
    content = api["paths"]["/v1/spaces/{space}/kv/ask"]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Answered"}
    assert content["text/event-stream"] == api["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    schemas = api["components"]["schemas"]
    assert schemas["Answered"]["properties"].keys() == schemas["Reused"]["properties"].keys() | {"text", "ended"}
    assert schemas["Ask"]["properties"]["order"]["enum"] == ["context", "reuse"]
    assert schemas["Ask"]["properties"]["form"]["default"] == "Question: {question}\nAnswer:"
