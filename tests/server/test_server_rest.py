"""Every REST route does what the contract says, and says in a problem document what it cannot do."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
from server_support import is_problem

import mnemos

MEMORIES = "/v1/spaces/alice/memories"


def add(client: Any, text: str = "I moved to Lisbon.", space: str = "alice", **fields: Any) -> dict[str, Any]:
    response = client.post(f"/v1/spaces/{space}/memories", json={"text": text, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


def test_a_memory_is_remembered_and_read(client: Any, memory: mnemos.Mnemos) -> None:
    sent = {"text": "I moved to Lisbon.", "type": "turn", "author": "Alice", "tags": ["home"], "metadata": {"session": 3}}
    response = client.post(MEMORIES, json={**sent, "event_at": "2023-05-08T13:56:00"})
    assert response.status_code == 201
    cube = response.json()
    assert client.get(response.headers["location"]).json() == cube
    stored = memory.space("alice").get(cube["id"])
    assert {name: getattr(stored, name) for name in sent} == {**sent, "tags": ("home",)}
    assert cube["event_at"] == "2023-05-08T13:56:00+00:00"


@pytest.mark.parametrize("wrap", [lambda records: records, lambda records: {"memories": records}])
def test_several_are_remembered_together_or_not_at_all(client: Any, memory: mnemos.Mnemos, wrap: Any) -> None:
    response = client.post(MEMORIES, json=wrap([{"text": "one"}, {"text": "two"}]))
    assert response.status_code == 201
    assert [cube["text"] for cube in response.json()["memories"]] == ["one", "two"]
    taken = response.json()["memories"][0]["id"]
    is_problem(client.post(MEMORIES, json=wrap([{"text": "three"}, {"text": "four", "id": taken}])), 409)
    assert [cube.text for cube in memory.space("alice").list()] == ["one", "two"]


def test_lists_are_filtered_and_paged(client: Any) -> None:
    for number in range(7):
        add(client, f"Fact {number}", tags=["even"] if number % 2 == 0 else ["odd"], metadata={"n": number}, author="Bob" if number > 3 else "Alice")
    seen, cursor = [], None
    while True:
        page = client.get(MEMORIES, params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [cube["text"] for cube in page["memories"]]
        assert len(page["memories"]) <= 3
        if (cursor := page["cursor"]) is None:
            break
    assert seen == [f"Fact {number}" for number in range(7)]

    def texts(**params: Any) -> list[str]:
        return [cube["text"] for cube in client.get(MEMORIES, params=params).json()["memories"]]

    assert texts(tags="even", author="Bob") == ["Fact 4", "Fact 6"]
    assert texts(filter=json.dumps({"n": {"gte": 5}})) == ["Fact 5", "Fact 6"]
    assert texts(types=["turn", "episode"]) == []
    assert texts(until="2001-01-01T00:00:00Z") == []
    assert len(texts(states="generated")) == 7


def test_versions_are_updated_read_and_rolled_back(client: Any) -> None:
    cube = add(client, tags=["home"], author="Alice")
    path = f"{MEMORIES}/{cube['id']}"
    second = client.patch(path, json={"text": "I moved to Porto.", "author": None, "if_version": 1}).json()
    assert (second["version"], second["text"], second["tags"], "author" in second) == (2, "I moved to Porto.", ["home"], False)
    is_problem(client.patch(path, json={"text": "x", "if_version": 1}), 409)
    assert client.get(path, params={"version": 1}).json()["text"] == "I moved to Lisbon."
    third = client.post(f"{path}/rollback", json={"version": 1}).json()
    assert (third["version"], third["text"], third["author"]) == (3, "I moved to Lisbon.", "Alice")
    assert [c["version"] for c in client.get(f"{path}/history").json()["memories"]] == [1, 2, 3]
    is_problem(client.get(path, params={"version": 9}), 404)
    is_problem(client.post(f"{path}/rollback", json={"version": 9}), 404)


def test_frozen_memories_do_not_change(client: Any) -> None:
    path = f"{MEMORIES}/{add(client)['id']}"
    assert client.post(f"{path}/freeze").json()["frozen"] is True
    assert is_problem(client.patch(path, json={"text": "x"}), 409)["type"] == "urn:mnemos:problem:frozen"
    is_problem(client.delete(path), 409)
    assert client.post(f"{path}/unfreeze").json()["frozen"] is False
    assert client.patch(path, json={"text": "I moved on."}).status_code == 200


def test_forgetting_is_certified_and_checked(client: Any, memory: mnemos.Mnemos) -> None:
    kept, gone = add(client, "The cat is called Tom."), add(client, "The code of the safe is 4711.")
    certificate = client.delete(f"{MEMORIES}/{gone['id']}", params={"reason": "asked for"}).json()
    assert [cube["id"] for cube in certificate["cubes"]] == [gone["id"]]
    assert mnemos.verify_certificate(certificate, memory)
    assert client.post("/v1/verify-certificate", json=certificate).json() == {"ok": True, "reasons": []}
    lie = {**certificate, "cubes": [{**certificate["cubes"][0], "id": kept["id"]}]}
    answer = client.post("/v1/verify-certificate", json=lie).json()
    assert answer["ok"] is False
    assert answer["reasons"]
    is_problem(client.get(f"{MEMORIES}/{gone['id']}"), 404)
    is_problem(client.delete(f"{MEMORIES}/{gone['id']}"), 404)
    is_problem(client.post(MEMORIES, json={"text": "again", "id": gone["id"]}), 409)


def test_many_are_forgotten_by_condition(client: Any, memory: mnemos.Mnemos) -> None:
    for number in range(4):
        add(client, f"Fact {number}", metadata={"session": number % 2})
    certificate = client.post("/v1/spaces/alice/forget", json={"filter": {"session": 1}}).json()
    assert len(certificate["cubes"]) == 2
    assert [cube.text for cube in memory.space("alice").list()] == ["Fact 0", "Fact 2"]
    is_problem(client.post("/v1/spaces/alice/forget", json={}), 422)
    is_problem(client.post("/v1/spaces/alice/forget", json={"reason": "just so"}), 422)
    is_problem(client.post("/v1/spaces/alice/forget", json={"ids": [certificate["cubes"][0]["id"]], "tags": ["a"]}), 422)


def test_search_and_context_find_it(client: Any) -> None:
    add(client, "Alice moved to Lisbon in May.", author="Alice", tags=["home"])
    position = add(client, "The recipe needs two eggs.", author="Bob")["position"]
    add(client, "Alice moved to Porto in June.", author="Alice")
    hits = client.post("/v1/spaces/alice/search", json={"query": "Where did Alice move?", "k": 2}).json()["hits"]
    assert len(hits) == 2
    assert all("Alice moved" in hit["cube"]["text"] for hit in hits)
    assert all(hit["signals"] for hit in hits)

    def found(**more: Any) -> list[str]:
        return [hit["cube"]["text"] for hit in client.post("/v1/spaces/alice/search", json={"query": "Alice moved", **more}).json()["hits"]]

    assert found(author="Bob") == ["The recipe needs two eggs."]
    assert found(tags=["home"]) == ["Alice moved to Lisbon in May."]
    assert "Alice moved to Porto in June." not in found(as_of=position)
    context = client.post("/v1/spaces/alice/context", json={"query": "Where does Alice live?", "budget_tokens": 40}).json()
    assert context["tokens"] <= 40
    assert "Lisbon" in context["text"]
    assert len(context["hits"]) == context["text"].count("[")


def test_the_log_tells_every_change_and_no_text(client: Any) -> None:
    cube = add(client, "A most secret sentence.")
    client.patch(f"{MEMORIES}/{cube['id']}", json={"text": "Another secret sentence."})
    client.delete(f"{MEMORIES}/{cube['id']}")
    response = client.get("/v1/log")
    assert [entry["kind"] for entry in response.json()["entries"]] == ["space", "add", "update", "forget"]
    assert "secret" not in response.text
    first = client.get("/v1/log", params={"limit": 3}).json()
    assert first["next_since"] == 3
    rest = client.get("/v1/log", params={"since": first["next_since"]}).json()
    assert [entry["kind"] for entry in rest["entries"]] == ["forget"]
    assert rest["next_since"] == rest["position"] == 4


def test_space_names_may_be_any_text(client: Any, memory: mnemos.Mnemos) -> None:
    from urllib.parse import quote

    for name in ("team/alice", "Zoë & co?", "a b", "..x", "100%", "日本"):
        cube = add(client, "Hello there.", quote(name, safe=""))
        assert cube["space"] == name
        assert memory.existing_space(name).get(cube["id"]).text == "Hello there."
    assert set(client.get("/v1/spaces").json()["spaces"]) == {"team/alice", "Zoë & co?", "a b", "..x", "100%", "日本"}


@pytest.mark.parametrize("path", ["/v1/spaces/nobody/memories", f"/v1/spaces/nobody/memories/{uuid.UUID(int=7)}", "/v1/nothing", f"{MEMORIES}/"])
def test_what_is_not_there_is_not_made(client: Any, path: str) -> None:
    is_problem(client.get(path), 404)
    assert client.get("/v1/spaces").json() == {"spaces": []}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("PUT", MEMORIES, "GET, POST"), ("POST", f"{MEMORIES}/{uuid.UUID(int=7)}", "DELETE, GET, PATCH"), ("GET", "/mcp", "POST"), ("POST", "/", "GET")],
)
def test_other_methods_are_refused(client: Any, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)
    is_problem(response, 405)
    assert response.headers["allow"] == allow


DEEP = b'{"text": "x", "metadata": ' + b'{"a": ' * 60 + b"1" + b"}" * 60 + b"}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"text": "\\ud800"}', 400),
        (b'{"text": "x", "priority": NaN}', 400),
        (b'{"text": "x", "priority": 1e999}', 422),
        (b'{"text": "x", "metadata": {"n": ' + b"9" * 5000 + b"}}", 400),
        (b'{"text": "x", "metadata": {"n": 18446744073709551616}}', 422),
        (DEEP, 422),
        (b'{"text": ""}', 422),
        (b'{"text": " \\n"}', 422),
        (b'{"text": 5}', 422),
        (b'{"txt": "x"}', 422),
        (b"[]", 422),
        (b"null", 422),
        (b'{"memories": []}', 422),
        (b'{"text": "x", "event_at": "yesterday"}', 422),
        (b'{"text": "x", "event_at": "0001-01-01T00:00:00+14:00"}', 422),
        (b'{"text": "x", "valid_from": "2023-01-02T00:00:00Z", "valid_to": "2023-01-01T00:00:00Z"}', 422),
        (b'{"text": "x", "origin": "dream"}', 422),
        (b'{"text": "x", "id": "7"}', 422),
    ],
)
def test_bad_memories_are_refused(client: Any, memory: mnemos.Mnemos, body: bytes, status: int) -> None:
    is_problem(client.post(MEMORIES, content=body, headers={"Content-Type": "application/json"}), status)
    assert not any(memory.space(name).list() for name in memory.spaces())


@pytest.mark.parametrize(
    "question",
    [{"query": ""}, {"query": "x", "k": 0}, {"query": "x", "k": -1}, {"query": "x", "k": 10**30}, {"query": "x", "k": "1"}, {"query": "x", "k": True},
     {"query": "x", "filter": {"a": {"like": 1}}}, {"query": "x", "limit": 1}, {}, {"query": "x", "as_of": 10**9}],
)  # fmt: skip
def test_bad_questions_are_refused(client: Any, question: dict[str, Any]) -> None:
    add(client)
    is_problem(client.post("/v1/spaces/alice/search", json=question), 422)


def test_a_bad_position_is_told_plainly(client: Any) -> None:
    add(client)
    for as_of in (-1, "yesterday", True, 2**60, 1.5, [1]):
        found = is_problem(client.post("/v1/spaces/alice/search", json={"query": "x", "as_of": as_of}), 422)["errors"]
        assert [fault["where"] for fault in found] == ["body/as_of"]
    assert client.post("/v1/spaces/alice/search", json={"query": "x", "as_of": "2099-01-01", "k": 3.0}).status_code == 200


def test_a_list_can_be_asked_for_as_it_was(client: Any) -> None:
    first = add(client, "Fact 1")
    position = client.get("/v1/log").json()["position"]
    client.patch(f"{MEMORIES}/{first['id']}", json={"text": "Fact 1, corrected"})
    add(client, "Fact 2")

    def texts(as_of: Any) -> list[str]:
        return [cube["text"] for cube in client.get(MEMORIES, params={"as_of": as_of}).json()["memories"]]

    assert texts(position) == ["Fact 1"]
    assert texts("2099-01-01") == ["Fact 1, corrected", "Fact 2"]
    for wrong in ("-1", "yesterday", str(10**12)):
        is_problem(client.get(MEMORIES, params={"as_of": wrong}), 422)


def test_faults_are_told_in_plain_words(client: Any) -> None:
    add(client)
    assert "expected a UUID" in is_problem(client.get(f"{MEMORIES}/nope"), 422)["detail"]
    assert is_problem(client.get("/v1/log?since=abc"), 422)["detail"] == "query/since: expected a whole number in digits"
    assert is_problem(client.post(MEMORIES, json={"text": "x", "txt": "y"}), 422)["detail"].startswith("txt: there is no such field")


def test_an_unknown_strategy_is_named(client: Any) -> None:
    add(client)
    assert "auto" in is_problem(client.post("/v1/spaces/alice/search", json={"query": "x", "strategy": "magic"}), 404)["detail"]


@pytest.mark.parametrize("text", ["NUL \x00 inside", "' OR 1=1; --", '"unbalanced AND NEAR(', "🦀" * 1000, "\u202e reversed", "a" * 200_000])
def test_odd_texts_come_back_as_they_were(client: Any, text: str) -> None:
    cube = add(client, text)
    assert client.get(f"{MEMORIES}/{cube['id']}").json()["text"] == text
    assert client.post("/v1/spaces/alice/search", json={"query": text[:500]}).status_code == 200


def test_other_media_types_are_refused(client: Any) -> None:
    for path in (MEMORIES, "/v1/spaces/alice/search"):
        is_problem(client.post(path, content=b'{"text": "x"}', headers={"Content-Type": "text/plain"}), 415)
        is_problem(client.post(path, content=b'{"text": "x"}'), 415)


def test_large_bodies_are_refused_with_and_without_a_length(memory: mnemos.Mnemos) -> None:
    from starlette.testclient import TestClient

    from mnemos.server.app import create_app

    with TestClient(create_app(memory, max_body_bytes=1000), base_url="http://localhost") as client:
        body = json.dumps({"text": "x" * 2000}).encode()
        headers = {"Content-Type": "application/json"}
        is_problem(client.post(MEMORIES, content=body, headers=headers), 413)
        is_problem(client.post(MEMORIES, content=iter([body[:900], body[900:]]), headers=headers), 413)
        assert client.post(MEMORIES, json={"text": "x" * 500}).status_code == 201


def test_unexpected_errors_tell_nothing(client: Any, memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    add(client)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("/secret/path leaked")

    monkeypatch.setattr("mnemos.kernel.space.Space.search", broken)
    response = client.post("/v1/spaces/alice/search", json={"query": "x"})
    is_problem(response, 500)
    assert "secret" not in response.text
    assert "/secret/path leaked" in caplog.text


@pytest.mark.parametrize(("error", "status"), [("StoreFull", 507), ("StoreUnavailable", 503), ("ModelUnavailable", 503), ("Corrupt", 500)])
def test_failures_of_the_store_are_told_without_its_paths(client: Any, monkeypatch: pytest.MonkeyPatch, error: str, status: int) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise getattr(mnemos.errors, error)("/home/me/memory.db: no room")

    monkeypatch.setattr("mnemos.kernel.space.Space.add", broken)
    response = client.post(MEMORIES, json={"text": "x"})
    is_problem(response, status)
    assert "/home/me" not in response.text


def test_ready_means_that_the_store_answers(client: Any, memory: mnemos.Mnemos) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    memory.close()
    assert client.get("/healthz").status_code == 200
    is_problem(client.get("/readyz"), 503)


def test_metrics_count_what_was_done(client: Any) -> None:
    add(client)
    client.post(MEMORIES, json=[{"text": "a"}, {"text": "b"}])
    client.post("/v1/spaces/alice/search", json={"query": "x"})
    client.get("/v1/spaces/nobody/memories")
    text = client.get("/metrics").text
    assert "mnemos_memories_written_total 3.0" in text
    assert "mnemos_searches_total 1.0" in text
    assert 'mnemos_http_requests_total{method="GET",route="/v1/spaces/{space}/memories",status="404"} 1.0' in text
    assert "nobody" not in text
    assert 'mnemos_http_request_seconds_count{method="POST",route="/v1/spaces/{space}/search"} 1.0' in text


def test_metrics_show_what_is_searched_on_disk(client: Any, memory: mnemos.Mnemos) -> None:
    assert "mnemos_vectors_on_disk 0.0" in client.get("/metrics").text
    memory.vector_files.memory = 1000
    memory.space("alice").add_many([{"text": f"the harbour of number {n}"} for n in range(60)])
    memory.vector_files.work()
    text = client.get("/metrics").text
    assert "mnemos_vectors_on_disk 60.0" in text
    assert "mnemos_vectors_disk_backlog 0.0" in text
    assert float(text.split("\nmnemos_vectors_disk_bytes ")[1].split()[0]) > 0


def test_the_pages_stand_alone(client: Any) -> None:
    home, docs = client.get("/"), client.get("/docs")
    for page in (home, docs):
        assert page.status_code == 200
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "<script" not in page.text
    assert 'href="/docs"' in home.text
    assert 'href="/metrics"' in home.text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in docs.text


def test_the_description_is_whole(client: Any) -> None:
    api = client.get("/openapi.json").json()

    def refs(value: Any) -> Any:
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            for item in value.values():
                yield from refs(item)
        elif isinstance(value, list):
            for item in value:
                yield from refs(item)

    version = api["components"]["schemas"]["Rollback"]["properties"]["version"]
    assert (version["type"], version["minimum"]) == ("integer", 1)
    limit = next(p for p in api["paths"]["/v1/log"]["get"]["parameters"] if p["name"] == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 10_000)
    for ref in refs(api):
        assert ref.rpartition("/")[2] in api["components"]["schemas"], ref
    operations = [operation for methods in api["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        for status, answer in operation["responses"].items():
            if status.isdigit() and int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]


def test_many_at_once_lose_nothing(client: Any, memory: mnemos.Mnemos) -> None:
    failures: list[Any] = []

    def work(worker: int) -> None:
        for number in range(10):
            response = client.post(MEMORIES, json={"text": f"Worker {worker} said {number}."})
            if response.status_code != 201:
                failures.append(response.text)
            if client.post("/v1/spaces/alice/search", json={"query": f"Worker {worker}"}).status_code != 200:
                failures.append("search")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(memory.space("alice").list(limit=1000)) == 80


def test_the_owner_sees_the_jobs(client: Any, guarded: Any, memory: mnemos.Mnemos) -> None:
    first, second = memory.jobs.enqueue("expire", every=60), memory.jobs.enqueue("compact", payload={"n": 1})
    found = client.get("/v1/jobs").json()
    assert [job["id"] for job in found["jobs"]] == [first.id, second.id]
    assert found["jobs"][1]["payload"] == {"n": 1}
    assert found["counts"]["waiting"] == 2
    assert found["paused"] == []
    assert [job["kind"] for job in client.get("/v1/jobs", params={"kind": "compact", "state": "waiting"}).json()["jobs"]] == ["compact"]
    assert client.get("/v1/jobs", params={"after": first.id, "limit": 1}).json()["jobs"][0]["id"] == second.id
    is_problem(client.get("/v1/jobs", params={"state": "asleep"}), 422)
    is_problem(guarded.get("/v1/jobs", headers={"Authorization": "Bearer alice-token"}), 403)
    assert guarded.get("/v1/jobs", headers={"Authorization": "Bearer owner-token"}).status_code == 200
