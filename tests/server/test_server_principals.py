"""Tokens name principals; a principal sees its own; without tokens only this machine is answered."""

from __future__ import annotations

from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos
from mnemos.server.guard import Tokens, is_loopback


def test_without_a_known_token_nothing_is_told(guarded: Any) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic alice-token"}, {"Authorization": "Bearer"}):
        for method, path in (("GET", "/v1/spaces"), ("POST", "/mcp"), ("POST", "/v1/chat/completions"), ("GET", "/metrics"), ("GET", "/v1/nothing")):
            response = guarded.request(method, path, headers=headers)
            is_problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/docs", "/healthz", "/readyz", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    api = guarded.get("/openapi.json").json()
    assert api["paths"]["/v1/spaces"]["get"]["security"] == [{"token": []}]
    assert api["paths"]["/healthz"]["get"]["security"] == []


def test_a_space_of_another_looks_like_none(guarded: Any) -> None:
    path = "/v1/spaces/diary/memories"
    cube = guarded.post(path, json={"text": "Dear diary, a secret."}, headers=bearer("alice")).json()
    for method, url, body in (
        ("GET", path, None),
        ("GET", f"{path}/{cube['id']}", None),
        ("GET", f"{path}/{cube['id']}/history", None),
        ("PATCH", f"{path}/{cube['id']}", {"text": "x"}),
        ("DELETE", f"{path}/{cube['id']}", None),
        ("POST", f"{path}/{cube['id']}/freeze", None),
        ("POST", f"{path}/{cube['id']}/rollback", {"version": 1}),
        ("POST", "/v1/spaces/diary/search", {"query": "secret"}),
        ("POST", "/v1/spaces/diary/context", {"query": "secret"}),
        ("POST", "/v1/spaces/diary/forget", {"ids": [cube["id"]]}),
    ):
        there = is_problem(guarded.request(method, url, json=body, headers=bearer("bob")), 404)
        nowhere = is_problem(guarded.request(method, url.replace("diary", "nosuch"), json=body, headers=bearer("bob")), 404)
        assert there["detail"].replace("diary", "nosuch") == nowhere["detail"]
    assert guarded.get("/v1/spaces", headers=bearer("bob")).json() == {"spaces": []}
    assert guarded.get("/v1/log", headers=bearer("bob")).json()["entries"] == []
    assert guarded.get(f"{path}/{cube['id']}", headers=bearer("alice")).json()["text"] == "Dear diary, a secret."
    assert guarded.get("/v1/spaces", headers=bearer("owner")).json() == {"spaces": ["diary"]}


def test_the_same_id_asked_for_in_another_space_tells_nothing(guarded: Any) -> None:
    cube = guarded.post("/v1/spaces/diary/memories", json={"text": "secret"}, headers=bearer("alice")).json()
    guarded.post("/v1/spaces/bobs/memories", json={"text": "mine"}, headers=bearer("bob"))
    told = is_problem(guarded.get(f"/v1/spaces/bobs/memories/{cube['id']}", headers=bearer("bob")), 404)
    assert "diary" not in told["detail"]
    made = guarded.post("/v1/spaces/bobs/memories", json={"text": "from it", "derived_from": [cube["id"]]}, headers=bearer("bob"))
    assert "diary" not in is_problem(made, 404)["detail"]


def test_what_an_access_list_allows_is_allowed_and_no_more(guarded: Any, memory: mnemos.Mnemos) -> None:
    memory.as_principal("alice").space("shared", acl={"read": ["bob"]})
    path = "/v1/spaces/shared/memories"
    cube = guarded.post(path, json={"text": "For all of us."}, headers=bearer("alice")).json()
    assert guarded.get(f"{path}/{cube['id']}", headers=bearer("bob")).json()["text"] == "For all of us."
    for method, url, body in (
        ("POST", path, {"text": "x"}),
        ("PATCH", f"{path}/{cube['id']}", {"text": "x"}),
        ("DELETE", f"{path}/{cube['id']}", None),
    ):
        is_problem(guarded.request(method, url, json=body, headers=bearer("bob")), 403)
    assert guarded.get(path, headers=bearer("bob")).json()["memories"][0]["version"] == 1


def test_the_log_names_who_did_it(guarded: Any) -> None:
    guarded.post("/v1/spaces/diary/memories", json={"text": "secret"}, headers=bearer("alice"))
    assert {entry["actor"] for entry in guarded.get("/v1/log", headers=bearer("alice")).json()["entries"]} == {"alice"}


def test_a_token_opens_the_server_by_any_name(guarded: Any) -> None:
    headers = {**bearer("alice"), "Host": "other.example", "Origin": "https://app.example"}
    assert guarded.get("/v1/spaces", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7077", "", "10.0.0.1", "[::2]:7077", "0.0.0.0"])
def test_without_tokens_other_hosts_are_refused(client: Any, host: str) -> None:
    for path in ("/", "/v1/spaces", "/healthz", "/mcp"):
        is_problem(client.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7077", "127.0.0.1:1", "127.1.2.3", "[::1]:7077", "localhost."])
def test_without_tokens_this_machine_is_answered(client: Any, host: str) -> None:
    assert client.get("/v1/spaces", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_without_tokens_pages_from_elsewhere_are_refused(client: Any, origin: str) -> None:
    is_problem(client.get("/v1/spaces", headers={"Origin": origin}), 403)
    assert client.get("/v1/spaces", headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_the_server_does_not_listen_to_others_without_tokens(tmp_path: Any) -> None:
    from mnemos.server.run import serve

    for host in ("0.0.0.0", "::", "192.168.1.5", "memory.example", ""):
        with pytest.raises(mnemos.errors.Invalid, match="token"):
            serve(tmp_path / "memory.db", host=host)
    assert not (tmp_path / "memory.db").exists()


def test_tokens_come_from_the_environment(tmp_path: Any) -> None:
    from mnemos.server.run import tokens_from_environment

    path = tmp_path / "tokens"
    path.write_text("# who may\nalice smith  t1\n\nbob t2\n")
    assert tokens_from_environment({"MNEMOS_TOKEN": "own", "MNEMOS_TOKENS_FILE": str(path)}) == {"own": None, "t1": "alice smith", "t2": "bob"}
    assert tokens_from_environment({}) == {}
    for wrong in ("bob", "bob t\nalice t"):
        path.write_text(wrong)
        with pytest.raises(mnemos.errors.Invalid, match="line"):
            tokens_from_environment({"MNEMOS_TOKENS_FILE": str(path)})
    with pytest.raises(mnemos.errors.Invalid, match="cannot be read"):
        tokens_from_environment({"MNEMOS_TOKENS_FILE": str(tmp_path / "none")})


def test_tokens_that_cannot_be_sent_are_refused() -> None:
    for token in ("", "a b", "é", "a\n"):
        with pytest.raises(mnemos.errors.Invalid):
            Tokens({token: "alice"})


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "::1", "[::1]")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "example.com", "10.0.0.1", "localhost.example")))


def test_a_view_shares_the_store_and_does_not_close_it(memory: mnemos.Mnemos) -> None:
    alice = memory.as_principal("alice")
    cube = alice.space("diary").add("secret")
    alice.close()
    assert memory.space("diary").get(cube.id).text == "secret"
    assert alice.store is memory.store
    with pytest.raises(mnemos.errors.PermissionDenied):
        memory.as_principal("bob").space("diary").get(cube.id)
    with pytest.raises(mnemos.errors.PermissionDenied):
        alice.as_principal(None)
    with pytest.raises(mnemos.errors.PermissionDenied):
        alice.as_principal("bob")
    assert alice.as_principal("alice").principal == "alice"


