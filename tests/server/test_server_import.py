"""Bulk import by lines: what is written, what is refused, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos

PATH = "/v1/spaces/a/memories"
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def texts(memory: mnemos.Mnemos) -> list[str]:
    return [cube.text for cube in memory.space("a").list(limit=10_000)]


def reports(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_lines_are_written_however_they_are_cut(client: Any, memory: mnemos.Mnemos, size: int) -> None:
    body = lines({"text": "Zoë says: 日本"}, {"text": "two", "tags": ["b"]}) + b'\r\n  \n{"text": "three"}'
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    assert reports(client.post(PATH, content=pieces, headers=NDJSON))[-1] == {"written": 3, "done": True}
    assert texts(memory) == ["Zoë says: 日本", "two", "three"]


def test_ids_are_told_where_asked(client: Any, memory: mnemos.Mnemos) -> None:
    told = reports(client.post(PATH, params={"ids": "true"}, content=lines(*({"text": f"Fact {n}"} for n in range(1200))), headers=NDJSON))
    ids = [id for report in told for id in report["ids"]]
    assert ids == [cube.id for cube in memory.space("a").list(limit=2000)]
    assert [report["written"] for report in told] == [512, 1024, 1200]


def test_an_empty_body_writes_nothing(client: Any, memory: mnemos.Mnemos) -> None:
    assert reports(client.post(PATH, content=b"", headers=NDJSON)) == [{"written": 0, "done": True}]
    assert memory.spaces() == []


@pytest.mark.parametrize("bad", [b"{", b"5", b'{"txt": 1}', b'{"text": " "}', b'{"text": "x", "event_at": "x"}', b'{"text": "\\ud800"}', b"\xff"])
def test_what_stands_before_a_bad_line_stays(client: Any, memory: mnemos.Mnemos, bad: bytes) -> None:
    body = lines({"text": "one"}, {"text": "two"}) + bad + b"\n" + lines({"text": "never"})
    last = reports(client.post(PATH, content=body, headers=NDJSON))[-1]
    assert (last["done"], last["written"], last["line"]) == (False, 2, 3)
    assert last["problem"]["detail"].startswith("Line 3:")
    assert texts(memory) == ["one", "two"]


def test_what_only_the_store_can_refuse_is_found_to_the_line(client: Any, memory: mnemos.Mnemos) -> None:
    taken = memory.space("a").add("zero").id
    body = lines(*({"text": f"Fact {n}"} for n in range(700)), {"text": "twice", "id": taken}, {"text": "never"})
    last = reports(client.post(PATH, content=body, headers=NDJSON))[-1]
    assert (last["written"], last["line"], last["problem"]["status"]) == (700, 701, 409)
    assert len(texts(memory)) == 701
    interval = {"text": "x", "valid_from": "2023-01-02T00:00:00Z", "valid_to": "2023-01-01T00:00:00Z"}
    last = reports(client.post(PATH, content=lines({"text": "good"}, interval), headers=NDJSON))[-1]
    assert (last["written"], last["line"], last["problem"]["status"]) == (1, 2, 422)


def test_where_nothing_can_be_written_the_answer_is_a_problem(client: Any, memory: mnemos.Mnemos) -> None:
    problem = is_problem(client.post(PATH, content=b"{}\n" + lines({"text": "x"}), headers=NDJSON), 422)
    assert (problem["line"], problem["written"]) == (1, 0)
    assert memory.spaces() == []


def test_a_line_without_end_is_refused(memory: mnemos.Mnemos) -> None:
    from starlette.testclient import TestClient

    from mnemos.server.app import create_app

    with TestClient(create_app(memory, max_body_bytes=1000), base_url="http://localhost") as client:
        many = lines(*({"text": f"Fact {n}"} for n in range(200)))
        assert len(many) > 3000
        assert reports(client.post(PATH, content=many, headers=NDJSON))[-1]["written"] == 200
        last = reports(client.post(PATH, content=lines({"text": "x"}) + b"y" * 5000, headers=NDJSON))[-1]
        assert (last["written"], last["line"], last["problem"]["status"]) == (1, 2, 413)


def test_a_full_store_stops_the_import(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise mnemos.errors.StoreFull("/home/me/memory.db: no room")

    monkeypatch.setattr("mnemos.kernel.space.Space.add_many", full)
    response = client.post(PATH, content=lines({"text": "one"}, {"text": "two"}), headers=NDJSON)
    assert is_problem(response, 507)["line"] == 1
    assert "/home/me" not in response.text


def test_who_may_not_write_may_not_import(guarded: Any, memory: mnemos.Mnemos) -> None:
    memory.as_principal("alice").space("a")
    is_problem(guarded.post(PATH, content=lines({"text": "one"}), headers={**NDJSON, **bearer("bob")}), 403)
    assert texts(memory) == []
