"""Reports of the log and signed checkpoints over REST; each for those whose business it is."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos
from mnemos.base.signing import SigningKey
from mnemos.kernel.audit import verify_checkpoints

DIARY = "/v1/spaces/diary"
OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")
KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(32))


@pytest.fixture
def diary(memory: mnemos.Mnemos) -> Any:
    return memory.as_principal("alice").space("diary")


# ---- reports ---------------------------------------------------------------------------------------------------------


def test_who_did_what(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    cube = diary.add("The tram is yellow.")
    diary.update(cube.id, "The tram is green.")
    memory.space("own").add("The owner's own.")

    def kinds(who: dict[str, str], **query: Any) -> list[str]:
        return [row["kind"] for row in guarded.get("/v1/audit", params=query, headers=who).json()["rows"]]

    assert kinds(OWNER) == ["space", "add", "update", "space", "add"]
    assert kinds(ALICE) == ["space", "add", "update"]
    assert kinds(BOB) == []
    assert kinds(OWNER, principal="(owner)") == ["space", "add"]
    assert kinds(OWNER, kind=["add", "space"], space="diary") == ["space", "add"]
    assert kinds(OWNER, id=cube.id) == ["add", "update"]
    assert kinds(OWNER, since=1, until=3, limit=1) == ["add"]
    assert kinds(OWNER, until="2001-01-01") == []
    row = guarded.get("/v1/audit", params={"id": cube.id}, headers=ALICE).json()["rows"][0]
    assert (row["principal"], row["space"], row["cube"], row["version"], row["what"]) == ("alice", "diary", cube.id, 1, "remembered")
    assert "tram" not in guarded.get("/v1/audit", headers=OWNER).text
    for wrong in ({"kind": "read"}, {"id": "x"}, {"since": -1}, {"limit": 0}, {"format": "xml"}, {"colour": 1}):
        is_problem(guarded.get("/v1/audit", params=wrong, headers=OWNER), 422)
    there = is_problem(guarded.get("/v1/audit", params={"space": "diary"}, headers=BOB), 404)
    nowhere = is_problem(guarded.get("/v1/audit", params={"space": "nosuch"}, headers=BOB), 404)
    assert there["detail"].replace("diary", "nosuch") == nowhere["detail"]


def test_who_may_what_is_told_to_those_who_may_share(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    memory.space("diary", acl={"read": ["bob"]})
    memory.set_role("family", ["bob"])
    told = {who: guarded.get("/v1/audit/permissions", headers=bearer(who)).json()["rows"] for who in ("owner", "alice", "bob")}
    assert [(row["scope"], row["what"], row["added"]) for row in told["owner"]][-2:] == [("space", "acl.read", ["bob"]), ("role", "members", ["bob"])]
    assert [row["what"] for row in told["alice"]][-1] == "acl.read"
    assert not any(row["scope"] == "role" for row in told["alice"])
    assert told["bob"] == []
    assert guarded.get("/v1/audit/permissions", params={"since": 1, "space": "diary"}, headers=ALICE).json()["rows"] == told["alice"][-1:]
    is_problem(guarded.get("/v1/audit/permissions", params={"kind": "add"}, headers=OWNER), 422)


def test_reports_as_csv(guarded: Any, diary: Any) -> None:
    diary.add("The tram is yellow.", author="Ann")
    for path, count in (("/v1/audit", 2), ("/v1/audit/permissions", 1)):
        answer = guarded.get(path, params={"format": "csv"}, headers=ALICE)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert (len(rows), rows[0]["position"]) == (count, "1")


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_checkpoints_are_made_listed_and_checked(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    assert guarded.get("/v1/checkpoints", headers=OWNER).json() == {"checkpoints": []}
    is_problem(guarded.post("/v1/verify-checkpoints", json={"public_key": KEY.public.pem()}, headers=OWNER), 404)
    is_problem(guarded.post("/v1/checkpoints", headers=OWNER), 409)
    is_problem(guarded.post("/v1/verify-checkpoints", json={}, headers=OWNER), 409)
    memory.work.signer = KEY
    made = []
    for number in (1, 2):
        diary.add(f"number {number}")
        answer = guarded.post("/v1/checkpoints", headers=OWNER)
        assert (answer.status_code, answer.json()["document"]["position"]) == (201, memory.position())
        made.append(answer.json())
    assert guarded.get("/v1/checkpoints", headers=OWNER).json() == {"checkpoints": made}
    assert verify_checkpoints(memory, KEY.public)

    def reasons(**body: Any) -> list[str]:
        verdict = guarded.post("/v1/verify-checkpoints", json=body, headers=OWNER).json()
        assert verdict["ok"] is (verdict["reasons"] == [])
        return list(verdict["reasons"])

    assert reasons() == reasons(known=made) == reasons(public_key=KEY.public.pem()) == reasons(public_key=KEY.public.raw.hex()) == []
    assert "is signed with key" in reasons(public_key=OTHER.public.raw.hex())[0]
    path = memory.path + "-checkpoints"
    with open(path, "rb") as file:
        lines = file.readlines()
    with open(path, "wb") as file:
        file.writelines(lines[:1])
    assert reasons() == []
    assert "is not in the file" in reasons(known=made)[0]


def test_a_public_key_names_no_file_of_the_server(guarded: Any, diary: Any, memory: mnemos.Mnemos, tmp_path: Any) -> None:
    KEY.public.save(tmp_path / "signing.key.pub")
    memory.work.signer = KEY
    guarded.post("/v1/checkpoints", headers=OWNER)
    for given in (str(tmp_path / "signing.key.pub"), "/etc/passwd", "x", KEY.secret.hex() + "00"):
        problem = is_problem(guarded.post("/v1/verify-checkpoints", json={"public_key": given}, headers=OWNER), 422)
        assert "is no Ed25519 public key" in problem["detail"]


def test_checkpoints_are_for_the_owner(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    memory.work.signer = KEY
    for method, path, body in (("GET", "checkpoints", None), ("POST", "checkpoints", None), ("POST", "verify-checkpoints", {})):
        is_problem(guarded.request(method, f"/v1/{path}", json=body, headers=ALICE), 403)
