"""Snapshots, going back, and branches over REST; each for those who may."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from server_support import bearer, is_problem

import mnemos

DIARY = "/v1/spaces/diary"
OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")


@pytest.fixture
def diary(memory: mnemos.Mnemos) -> Any:
    """A space of Alice's in which Bob may do nothing yet."""
    return memory.as_principal("alice").space("diary")


def texts(client: Any, **query: Any) -> list[str]:
    return sorted(cube["text"] for cube in client.get(f"{DIARY}/memories", params=query, headers=ALICE).json()["memories"])


# ---- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_looked_at_gone_back_to_and_dropped(guarded: Any, diary: Any) -> None:
    cube = diary.add("The tram is yellow.")
    name = "before / the clean-up"
    made = guarded.post(f"{DIARY}/snapshots", json={"name": name}, headers=ALICE)
    assert (made.status_code, made.json()["by"], made.json()["space"]) == (201, "alice", "diary")
    assert guarded.get(made.headers["location"], headers=ALICE).json() == made.json()
    diary.update(cube.id, "The tram is green.")
    new = diary.add("The bus is late.")
    assert texts(guarded) == ["The bus is late.", "The tram is green."]
    assert texts(guarded, as_of=made.json()["position"]) == ["The tram is yellow."]
    done = guarded.post(f"{DIARY}/rewind", json={"snapshot": name}, headers=ALICE).json()
    assert (done["reverted"], done["archived"], done["gone"], done["position"]) == ([cube.id], [new.id], [], made.json()["position"])
    assert texts(guarded) == ["The tram is yellow."]
    is_problem(guarded.post(f"{DIARY}/snapshots", json={"name": name}, headers=ALICE), 409)
    early = guarded.post(f"{DIARY}/snapshots", json={"name": "empty", "at": 1}, headers=ALICE).json()
    assert [found["name"] for found in guarded.get(f"{DIARY}/snapshots", headers=ALICE).json()["snapshots"]] == ["empty", name]
    assert early["position"] == 1
    where = f"{DIARY}/snapshots/{quote(name, safe='')}"
    assert guarded.delete(where, headers=ALICE).status_code == 204
    for method in ("GET", "DELETE"):
        is_problem(guarded.request(method, where, headers=ALICE), 404)
    is_problem(guarded.post(f"{DIARY}/rewind", json={"snapshot": name}, headers=ALICE), 404)


def test_one_memory_goes_back_to_a_position_or_a_time(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    one, two = diary.add("The tram is yellow."), diary.add("The bus is red.")
    position = memory.position()
    for cube in (one, two):
        diary.update(cube.id, "It is green.")
    done = guarded.post(f"{DIARY}/rewind", json={"at": position, "ids": [one.id]}, headers=ALICE).json()
    assert done["reverted"] == [one.id]
    assert texts(guarded) == ["It is green.", "The tram is yellow."]
    when = diary.history(two.id)[0].updated_at
    diary.snapshot(when.isoformat(), at=0)  # a snapshot that is called like a time is not meant by that time
    assert guarded.post(f"{DIARY}/rewind", json={"at": when.isoformat(), "ids": [two.id]}, headers=ALICE).json()["reverted"] == [two.id]
    diary.freeze(one.id)
    diary.update(two.id, "It is blue.")
    position = memory.position()
    is_problem(guarded.post(f"{DIARY}/rewind", json={"at": 2, "ids": [one.id, two.id]}, headers=ALICE), 404)
    assert memory.position() == position


@pytest.mark.parametrize(
    "wrong", [{}, {"at": 1, "snapshot": "x"}, {"at": -1}, {"at": "soon"}, {"snapshot": ""}, {"at": 1, "ids": []}, {"at": 1, "ids": ["x"]}, {"to": 1}]
)
def test_what_is_no_point_of_the_past_is_refused(guarded: Any, diary: Any, memory: mnemos.Mnemos, wrong: Any) -> None:
    diary.add("The tram is yellow.")
    position = memory.position()
    is_problem(guarded.post(f"{DIARY}/rewind", json=wrong, headers=ALICE), 422)
    assert memory.position() == position


# ---- branches --------------------------------------------------------------------------------------------------------


def test_a_branch_is_opened_compared_merged_and_dropped(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    cube, gone = diary.add("The tram is yellow."), diary.add("The bus is red.")
    made = guarded.post(f"{DIARY}/branches", json={"name": "what if"}, headers=ALICE)
    assert (made.status_code, made.json()["of"], made.json()["name"]) == (201, "diary", "what if")
    assert guarded.get(made.headers["location"], headers=ALICE).json() == made.json()
    assert guarded.get(f"{DIARY}/branches", headers=ALICE).json() == {"branches": [made.json()]}
    there = "/v1/spaces/what%20if"
    copies = {found["text"]: found["id"] for found in guarded.get(f"{there}/memories", headers=ALICE).json()["memories"]}
    guarded.patch(f"{there}/memories/{copies['The tram is yellow.']}", json={"text": "The tram is green."}, headers=ALICE)
    guarded.post(f"{there}/memories/{copies['The bus is red.']}/archive", headers=ALICE)
    guarded.post(f"{there}/memories", json={"text": "The ferry is white."}, headers=ALICE)
    assert texts(guarded) == ["The bus is red.", "The tram is yellow."]
    found = guarded.get(f"{there}/branch/diff", headers=ALICE).json()
    assert found["of"] == "diary"
    told = sorted((change["kind"], change["fields"], change["base"]["id"] if change["base"] else None) for change in found["changes"])
    assert told == [("added", [], None), ("archived", [], gone.id), ("changed", ["text"], cube.id)]
    diary.update(cube.id, "The tram is blue.")
    conflict = is_problem(guarded.post(f"{there}/branch/merge", headers=ALICE), 409)
    assert cube.id in conflict["detail"]
    is_problem(guarded.post(f"{there}/branch/merge", json={"on_conflict": "guess"}, headers=ALICE), 422)
    merged = guarded.post(f"{there}/branch/merge", json={"on_conflict": "theirs"}, headers=ALICE).json()
    assert (merged["changed"], merged["archived"], len(merged["added"]), merged["left"]) == ([cube.id], [gone.id], 1, [])
    assert texts(guarded) == ["The ferry is white.", "The tram is green."]
    dropped = guarded.delete(f"{there}/branch", params={"reason": "done"}, headers=ALICE).json()["certificate"]
    assert len(dropped["cubes"]) == 3
    assert guarded.post("/v1/verify-certificate", json=dropped, headers=ALICE).json()["ok"]
    is_problem(guarded.get(f"{there}/branch", headers=ALICE), 422)
    assert guarded.get(f"{DIARY}/branches", headers=ALICE).json() == {"branches": []}
    assert texts(guarded) == ["The ferry is white.", "The tram is green."]
    assert memory.verify()


def test_a_branch_starts_at_a_snapshot(guarded: Any, diary: Any) -> None:
    cube = diary.add("The tram is yellow.")
    diary.snapshot("first")
    diary.update(cube.id, "The tram is green.")
    made = guarded.post(f"{DIARY}/branches", json={"name": "old", "snapshot": "first"}, headers=ALICE).json()
    assert made["position"] == diary.snapshots()[0].position
    assert [found["text"] for found in guarded.get("/v1/spaces/old/memories", headers=ALICE).json()["memories"]] == ["The tram is yellow."]
    for wrong, status in (({"name": "old"}, 409), ({"name": "x", "snapshot": "none"}, 404), ({"name": "x", "at": 1, "snapshot": "first"}, 422)):
        is_problem(guarded.post(f"{DIARY}/branches", json=wrong, headers=ALICE), status)
    is_problem(guarded.get(f"{DIARY}/branch/diff", headers=ALICE), 422)


def test_what_nothing_allows_is_denied(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    diary.add("The tram is yellow.")
    diary.snapshot("first")
    diary.branch("what if")
    asked = [
        ("GET", "snapshots", None), ("GET", "snapshots/first", None), ("POST", "snapshots", {"name": "x"}), ("DELETE", "snapshots/first", None),
        ("POST", "rewind", {"at": 1}), ("GET", "branches", None), ("POST", "branches", {"name": "mine"}), ("GET", "branch", None),
        ("GET", "branch/diff", None), ("POST", "branch/merge", {}), ("DELETE", "branch", None),
    ]  # fmt: skip

    def told(space: str, method: str, path: str, body: Any, status: int) -> dict[str, Any]:
        return is_problem(guarded.request(method, f"/v1/spaces/{quote(space)}/{path}", json=body, headers=BOB), status)

    for method, path, body in asked:
        for space in ("diary", "what if"):
            there, nowhere = told(space, method, path, body, 404), told("nosuch", method, path, body, 404)
            assert there["detail"].replace(space, "nosuch") == nowhere["detail"]
    for name in ("diary", "what if"):
        memory.space(name, acl={"read": ["bob"], "derive": ["carol"]})
    position = memory.position()
    for method, path, body in asked:
        where = "/v1/spaces/what%20if" if path.partition("/")[0] == "branch" else DIARY
        status = 200 if method == "GET" else 403
        assert guarded.request(method, f"{where}/{path}", json=body, headers=BOB).status_code == status, (method, path)
    assert memory.position() == position


def test_a_branch_does_not_tell_of_what(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    diary.add("The tram is yellow.")
    diary.branch("what if")
    memory.space("what if", acl={"read": ["bob"]})
    there = "/v1/spaces/what%20if/branch"
    assert (guarded.get(there, headers=BOB).json()["of"], guarded.get(there, headers=ALICE).json()["of"]) == (None, "diary")
    for method, path in (("GET", "diff"), ("POST", "merge")):
        assert "diary" not in is_problem(guarded.request(method, f"{there}/{path}", headers=BOB), 404)["detail"]
    memory.space("what if", acl={"write": ["bob"]})
    for method, path in (("GET", ""), ("GET", "/diff"), ("POST", "/merge"), ("DELETE", "")):
        assert "diary" not in is_problem(guarded.request(method, f"{there}{path}", headers=BOB), 403)["detail"]
