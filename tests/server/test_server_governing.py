"""Rules over REST: settings of spaces, rules of memories, roles, limits, and forgetting again; each for those whose business it is."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos

DIARY = "/v1/spaces/diary"
OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")


@pytest.fixture
def diary(memory: mnemos.Mnemos) -> Any:
    """A space of Alice's in which Bob may do nothing yet."""
    return memory.as_principal("alice").space("diary")


# ---- settings of a space ---------------------------------------------------------------------------------------------


def test_settings_are_shown_and_changed_one_by_one(guarded: Any, diary: Any) -> None:
    diary.add("The tram is yellow.")
    first = guarded.get(DIARY, headers=ALICE).json()
    assert (first["name"], first["owner"], first["acl"], first["read_only"], first["clearance"]) == ("diary", "alice", {}, False, None)
    assert first["holds"] == {"cubes": 1, "bytes": 19}
    assert first["lifecycle"]["archive_after_days"] is None
    given = {
        "acl": {"read": ["bob", "role:editors"], "write": ["*"]}, "deny": {"forget": ["bob"]}, "read_only": True,
        "clearance": {"bob": "internal"}, "licences": {"bob": {"reads": 7, "until": "2030-01-01T00:00:00+00:00"}}, "quota": {"cubes": 10},
        "rate": {"reads_per_minute": 60}, "lifecycle": {**first["lifecycle"], "archive_after_days": 30.0}, "strategy": "auto",
    }  # fmt: skip
    assert guarded.patch(DIARY, json=given, headers=ALICE).json() == {**first, **given}
    assert guarded.patch(DIARY, json={}, headers=ALICE).json() == {**first, **given}
    none = {name: None for name in given if name != "strategy"}
    back = guarded.patch(DIARY, json=none, headers=ALICE).json()
    assert back == {**first, "clearance": {"*": "secret"}}
    assert guarded.get(DIARY, headers=ALICE).json() == back


def test_settings_are_for_those_who_may_share(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    for method, body in (("GET", None), ("PATCH", {"read_only": False}), ("PATCH", {})):
        there = is_problem(guarded.request(method, DIARY, json=body, headers=BOB), 404)
        nowhere = is_problem(guarded.request(method, "/v1/spaces/nosuch", json=body, headers=BOB), 404)
        assert there["detail"].replace("diary", "nosuch") == nowhere["detail"]
    memory.space("diary", acl={"read": ["bob"], "write": ["bob"], "derive": ["bob"], "forget": ["bob"]})
    position = memory.position()
    for method, body in (("GET", None), ("PATCH", {"acl": {"share": ["bob"]}}), ("PATCH", {"read_only": False}), ("PATCH", {})):
        is_problem(guarded.request(method, DIARY, json=body, headers=BOB), 403)
    assert memory.position() == position
    memory.space("diary", acl={"share": ["bob"]})
    assert guarded.patch(DIARY, json={"quota": {"cubes": 3}}, headers=BOB).json()["quota"] == {"cubes": 3}
    assert guarded.get("/v1/spaces/nosuch", headers=OWNER).status_code == 404
    assert memory.spaces() == ["diary"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"acl": {"fly": ["bob"]}}, {"acl": ["bob"]}, {"deny": {"read": "bob"}}, {"read_only": "yes"}, {"clearance": {"bob": "cosmic"}},
        {"licences": {"bob": {"until": "soon"}}}, {"licences": {"bob": {"reads": -1}}}, {"quota": {"cubes": 1.5}}, {"quota": {"cats": 1}},
        {"rate": {"reads_per_minute": "many"}}, {"lifecycle": {"archive_after_days": -1}}, {"strategy": None}, {"owner": "bob"}, {"name": "x"},
    ],
)  # fmt: skip
def test_settings_that_are_none_are_refused(guarded: Any, memory: mnemos.Mnemos, diary: Any, wrong: Any) -> None:
    position = memory.position()
    is_problem(guarded.patch(DIARY, json=wrong, headers=ALICE), 422)
    assert memory.position() == position


def test_the_log_tells_rules_to_those_who_may_share_only(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    cube = diary.add("The tram is yellow.")
    diary.set_acl(cube.id, {"read": ["bob", "alice"]})
    memory.space("diary", acl={"read": ["bob"]}, licences={"carol": {"reads": 1}})
    for who, told in ((ALICE, True), (OWNER, True), (BOB, False)):
        entries = guarded.get("/v1/log", headers=who).json()["entries"]
        assert [entry["kind"] for entry in entries] == ["space", "add", "permission", "permission"]
        assert ("carol" in str(entries)) is told
        assert ("'read'" in str(entries)) is told


# ---- rules of a memory -----------------------------------------------------------------------------------------------


def test_rules_of_a_memory_hide_it_from_all_others(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", acl={"read": ["bob"]})
    cube = diary.add("The secret tram is black.")
    path = f"{DIARY}/memories/{cube.id}"
    assert guarded.get(f"{path}/acl", headers=ALICE).json() == {}
    assert guarded.get(path, headers=BOB).status_code == 200
    assert guarded.put(f"{path}/acl", json={"read": ["carol"], "write": None}, headers=ALICE).json()["id"] == cube.id
    assert guarded.get(f"{path}/acl", headers=ALICE).json() == {"read": ["carol"]}
    is_problem(guarded.get(path, headers=BOB), 404)
    assert guarded.get(f"{DIARY}/memories", headers=BOB).json()["memories"] == []
    assert guarded.post(f"{DIARY}/search", json={"query": "tram"}, headers=BOB).json() == {"hits": []}
    assert guarded.put(f"{path}/acl", json={}, headers=ALICE).status_code == 200
    assert guarded.get(path, headers=BOB).status_code == 200
    is_problem(guarded.put(f"{path}/acl", json={"fly": []}, headers=ALICE), 422)


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_roles_are_given_and_taken_by_the_owner_of_the_store(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", acl={"read": ["role:night shift/2"]})
    assert guarded.get("/v1/roles", headers=OWNER).json() == {"roles": []}
    path = "/v1/roles/night%20shift%2F2"
    is_problem(guarded.get(path, headers=OWNER), 404)
    is_problem(guarded.get(DIARY, headers=BOB), 404)
    given = guarded.put(path, json={"members": ["carol", "bob", "bob"]}, headers=OWNER)
    assert given.json() == {"role": "night shift/2", "members": ["bob", "carol"]}
    assert guarded.get(path, headers=OWNER).json()["members"] == ["bob", "carol"]
    assert guarded.get("/v1/roles", headers=OWNER).json()["roles"][0]["role"] == "night shift/2"
    assert guarded.get(f"{DIARY}/memories", headers=BOB).status_code == 200
    assert guarded.delete(path, headers=OWNER).status_code == 204
    is_problem(guarded.delete(path, headers=OWNER), 404)
    is_problem(guarded.get(f"{DIARY}/memories", headers=BOB), 404)
    for wrong in ({"members": ["*"]}, {"members": ["role:x"]}, {"members": "bob"}, {}, {"members": [""]}):
        is_problem(guarded.put(path, json=wrong, headers=OWNER), 422)
    log = guarded.get("/v1/log", headers=OWNER).json()["entries"]
    assert [entry["space"] for entry in log if entry["kind"] == "setting"] == [None, None]


def test_roles_are_not_for_principals(guarded: Any, memory: mnemos.Mnemos) -> None:
    memory.set_role("editors", ["alice"])
    for method, path, body in (
        ("GET", "/v1/roles", None), ("GET", "/v1/roles/editors", None), ("GET", "/v1/roles/nosuch", None), ("DELETE", "/v1/roles/editors", None),
        ("PUT", "/v1/roles/editors", {"members": ["bob"]}), ("PUT", "/v1/roles/mine", {"members": ["bob"]}),
    ):  # fmt: skip
        refused = is_problem(guarded.request(method, path, json=body, headers=BOB), 403)
        assert "editors" not in refused["detail"]
    assert memory.roles() == {"editors": ["alice"]}


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_a_full_quota_says_so_and_how_much(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", quota={"cubes": 2})
    path = f"{DIARY}/memories"
    for text in ("one", "two"):
        assert guarded.post(path, json={"text": text}, headers=ALICE).status_code == 201
    refused = is_problem(guarded.post(path, json={"text": "three"}, headers=ALICE), 507)
    assert (refused["type"], refused["title"]) == ("urn:mnemos:problem:quota-exceeded", "Store is full")
    assert "may hold 2 cubes, and holds 2" in refused["detail"]
    assert memory.path not in refused["detail"]


def test_a_full_disk_names_no_file(guarded: Any, diary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise mnemos.errors.StoreFull("/srv/memory.db: the disk is full")

    monkeypatch.setattr("mnemos.kernel.writing.writes.add", full)
    refused = is_problem(guarded.post(f"{DIARY}/memories", json={"text": "one"}, headers=ALICE), 507)
    assert refused["type"] == "urn:mnemos:problem:store-full"
    assert "srv" not in refused["detail"]


def test_an_import_writes_what_the_quota_lets_in(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", quota={"cubes": 3})
    lines = "".join(f'{{"text": "number {number}"}}\n' for number in range(5))
    answer = guarded.post(f"{DIARY}/memories", content=lines, headers={**ALICE, "Content-Type": "application/x-ndjson"})
    last = [line for line in answer.text.splitlines() if line][-1]
    assert '"written":3' in last
    assert '"line":4' in last
    assert "quota-exceeded" in last
    assert [cube.text for cube in diary.list()] == ["number 0", "number 1", "number 2"]


def test_who_asks_too_often_is_told_when_to_come_back(guarded: Any, memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", acl={"read": ["*"], "write": ["*"]}, rate={"reads_per_minute": 2, "writes_per_minute": 1})
    for _ in range(2):
        assert guarded.post(f"{DIARY}/search", json={"query": "tram"}, headers=BOB).status_code == 200
    refused = guarded.post(f"{DIARY}/search", json={"query": "tram"}, headers=BOB)
    body = is_problem(refused, 429)
    assert (body["type"], body["title"]) == ("urn:mnemos:problem:rate-limited", "Too many requests")
    assert 1 <= int(refused.headers["retry-after"]) == body["retry_after"] <= 30
    assert guarded.post(f"{DIARY}/search", json={"query": "tram"}, headers=ALICE).status_code == 200
    lines = {**BOB, "Content-Type": "application/x-ndjson"}
    assert guarded.post(f"{DIARY}/memories", content='{"text": "one"}\n', headers=lines).status_code == 200
    refused = guarded.post(f"{DIARY}/memories", content='{"text": "two"}\n', headers=lines)
    is_problem(refused, 429)
    assert int(refused.headers["retry-after"]) >= 1


# ---- older backups ---------------------------------------------------------------------------------------------------


def test_an_older_backup_is_caught_up_by_certificates(guarded: Any, memory: mnemos.Mnemos, diary: Any, tmp_path: Any) -> None:
    from starlette.testclient import TestClient

    from mnemos.server.app import create_app

    cube = diary.add("The vault opens with heliotrope.")
    diary.add("It is under the stairs.", derived_from=[cube.id])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("memory.db", "memory.db-wal"):
        shutil.copy(tmp_path / name, elsewhere / name)
    certificate = guarded.delete(f"{DIARY}/memories/{cube.id}", headers=ALICE).json()
    for who, status in ((ALICE, 403), (BOB, 403), (OWNER, 200)):
        answer = guarded.post("/v1/forget-again", json={"certificates": [certificate]}, headers=who)
        assert answer.status_code == status
    assert answer.json() == {"certificate": None}
    with mnemos.open(elsewhere / "memory.db", embedder="hashed") as old, TestClient(create_app(old), base_url="http://localhost") as client:
        assert old.space("diary").get(cube.id).text == "The vault opens with heliotrope."
        again = client.post("/v1/forget-again", json={"certificates": [certificate]}).json()["certificate"]
        assert len(again["cubes"]) == 2
        assert client.post("/v1/verify-certificate", json=again).json()["ok"] is True
        is_problem(client.get(f"{DIARY}/memories/{cube.id}"), 404)
        is_problem(client.post("/v1/forget-again", json={"certificates": []}), 422)
        is_problem(client.post("/v1/forget-again", json={"certificates": [{"format": "x"}]}), 422)


def test_a_stream_of_events_tells_rules_to_those_who_may_share_only(memory: mnemos.Mnemos, diary: Any) -> None:
    memory.space("diary", acl={"read": ["bob"]}, licences={"carol": {"reads": 1}})
    for who, told in (("alice", True), ("bob", False)):
        with memory.as_principal(who).subscribe(0) as subscription:
            events = [subscription.next(timeout=5) for _ in range(2)]
        assert [event.kind for event in events] == ["space", "permission"]
        assert ("carol" in str([event.as_json() for event in events])) is told
