"""Event streams: what happens as it happens, resumed where a connection broke, for whoever may read it, and ended when the server stops."""

from __future__ import annotations

import json
import threading
import time
import typing
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from server_support import LOCAL, bearer, is_problem

import mnemos
from mnemos.kernel.stream.events import KINDS
from mnemos.server import events, models
from mnemos.server.app import create_app

testclient = pytest.importorskip("starlette.testclient", reason="the test client's packages are not installed")


def parsed(text: str) -> list[dict[str, Any]]:
    """The events of a stream, as a browser reads them: id, event and data."""
    out, last = [], ""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        last = fields.get("id", last)
        if "data" in fields:
            out.append({"id": last, "event": fields.get("event", "message"), "data": json.loads(fields["data"])})
    return out


@pytest.fixture
def brief(memory: mnemos.Mnemos) -> Iterator[Any]:
    """A client of a server whose streams end at once when there is nothing more to say."""
    with testclient.TestClient(create_app(memory, stream_seconds=0.2), base_url=LOCAL, raise_server_exceptions=False) as client:
        yield client


def test_a_stream_tells_the_log_from_a_position(brief: Any, memory: mnemos.Mnemos) -> None:
    space = memory.space("alice")
    cube = space.add("I moved to Lisbon.", type="turn", tags=["home"])
    space.update(cube.id, "I moved to Porto.")
    response = brief.get("/v1/events", params={"since": 0})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("retry: 1000\n\n")
    told = parsed(response.text)
    assert [(event["id"], event["event"]) for event in told] == [("1", "space"), ("2", "add"), ("3", "update")]
    data = told[1]["data"]
    assert (data["position"], data["kind"], data["space"], data["id"], data["version"]) == (2, "add", "alice", cube.id, 1)
    assert "cube" not in data
    assert "Lisbon" not in response.text
    whole = parsed(brief.get("/v1/events", params={"since": 0, "content": "true", "kind": ["add", "update"], "space": "alice"}).text)
    assert [event["data"]["cube"]["text"] for event in whole] == ["I moved to Lisbon.", "I moved to Porto."]
    assert parsed(brief.get("/v1/events", params={"since": 0, "tag": "home", "type": "turn", "kind": "add"}).text)[0]["id"] == "2"
    assert parsed(brief.get("/v1/events", params={"since": 0, "filter": '{"n": 1}'}).text) == []
    assert parsed(brief.get("/v1/events").text) == []


def test_a_broken_stream_goes_on_where_it_was(brief: Any, memory: mnemos.Mnemos) -> None:
    for number in range(4):
        memory.space("a").add(f"number {number}")
    got = parsed(brief.get("/v1/events", params={"since": 0}, headers={"Last-Event-ID": "2"}).text)
    assert [event["id"] for event in got] == ["3", "4", "5"]
    for bad in ("-1", "x", "9" * 15):
        is_problem(brief.get("/v1/events", headers={"Last-Event-ID": bad}), 422)


@pytest.mark.parametrize(
    "params", [{"since": "soon"}, {"kind": "addition"}, {"filter": '{"n": {"like": 1}}'}, {"similarity": "2"}, {"nonsense": "1"}, {"about": " "}]
)
def test_what_is_no_stream(client: Any, params: dict[str, str]) -> None:
    is_problem(client.get("/v1/events", params=params), 422)


def test_each_principal_gets_its_own(memory: mnemos.Mnemos) -> None:
    memory.space("hers", acl={"read": ["alice"]}).add("for alice")
    memory.space("his", acl={"read": ["bob"]}, licences={"bob": {"reads": 1}}).add("one for bob")
    memory.space("his").add("one too many")
    with testclient.TestClient(
        create_app(memory, tokens={"owner-token": None, "alice-token": "alice", "bob-token": "bob"}, stream_seconds=0.2), base_url="http://m.example"
    ) as client:
        is_problem(client.get("/v1/events"), 401)
        told = parsed(client.get("/v1/events?since=0&kind=add&content=true", headers=bearer("alice")).text)
        assert [event["data"]["cube"]["text"] for event in told] == ["for alice"]
        told = parsed(client.get("/v1/events?since=0&kind=add&content=true", headers=bearer("bob")).text)
        assert [event["event"] for event in told] == ["add", "problem"]
        assert told[0]["data"]["cube"]["text"] == "one for bob"
        assert told[1]["data"]["status"] == 403
        assert len(parsed(client.get("/v1/events?since=0&kind=add", headers=bearer("owner")).text)) == 3


def test_too_many_streams_are_refused(brief: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 0)
    assert "event streams are open already" in is_problem(brief.get("/v1/events"), 503)["detail"]


def test_the_description_names_every_kind_of_entry(client: Any) -> None:
    assert set(typing.get_args(models.EventKind)) == set(KINDS)
    api = client.get("/openapi.json").json()
    assert "text/event-stream" in api["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]
    assert {parameter["name"] for parameter in api["paths"]["/v1/events"]["get"]["parameters"]} >= {"since", "space", "kind", "last-event-id"}
    assert "cube" in api["components"]["schemas"]["Event"]["properties"]


def test_the_log_tells_of_the_store_itself_too(client: Any, memory: mnemos.Mnemos) -> None:
    memory.set_setting("x", 1)
    assert client.get("/v1/log").json()["entries"][-1]["space"] is None


class Listening:
    """A stream that is read in a thread of its own."""

    def __init__(self, url: str, **params: Any) -> None:
        self.text = ""
        self.ended = False
        self._url, self._params = url, params
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.until(lambda: "retry" in self.text)

    def _read(self) -> None:
        with httpx.stream("GET", f"{self._url}/v1/events", params=self._params, timeout=60) as response:
            for piece in response.iter_text():
                self.text += piece
        self.ended = True

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, self.text
            time.sleep(0.005)


def test_streams_tell_at_once_what_anybody_writes_and_end_with_the_server(serving: Any, tmp_path: Any) -> None:
    served = serving()
    streams = [Listening(served.url, kind="add", content="true") for _ in range(3)]
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as other:  # as another process would
        other.space("a").add("written beside the server")
        httpx.post(f"{served.url}/v1/spaces/a/memories", json={"text": "written through the server"}).raise_for_status()
        for stream in streams:
            stream.until(lambda stream=stream: len(parsed(stream.text)) == 2)  # type: ignore[misc]
            assert [event["data"]["cube"]["text"] for event in parsed(stream.text)] == ["written beside the server", "written through the server"]
    started = time.monotonic()
    code, _, err = served.stop()
    assert (code, err) == (0, "")
    assert time.monotonic() - started < 10  # it did not wait until the streams would have ended
    for stream in streams:
        stream.until(lambda stream=stream: stream.ended)  # type: ignore[misc]


def test_a_quiet_stream_says_that_it_lives(memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    memory.space("a").add("something")
    with testclient.TestClient(create_app(memory, stream_seconds=0.3), base_url=LOCAL) as client:
        text = client.get("/v1/events", params={"kind": "forget"}).text
    assert text.count(": nothing new\nid: 2\n\n") >= 2
