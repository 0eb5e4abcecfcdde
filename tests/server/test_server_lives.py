"""The lives of memories and their lineage over REST: what leads where, what becomes stale, what is explained, what is tended."""

from __future__ import annotations

from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos

SPACE = "/v1/spaces/alice"
NOWHERE = "01890a5d-ac96-774b-bcce-b302099a8057"


def add(client: Any, text: str, space: str = "alice", **fields: Any) -> dict[str, Any]:
    response = client.post(f"/v1/spaces/{space}/memories", json={"text": text, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


def found(client: Any, query: str, **more: Any) -> list[str]:
    return [hit["cube"]["id"] for hit in client.post(f"{SPACE}/search", json={"query": query, **more}).json()["hits"]]


@pytest.mark.parametrize(("away", "state", "back", "after"), [("archive", "archived", "restore", "activated"),
                                                              ("quarantine", "quarantined", "release", "generated")])  # fmt: skip
def test_a_memory_goes_away_and_comes_back(client: Any, memory: mnemos.Mnemos, away: str, state: str, back: str, after: str) -> None:
    cube = add(client, "The tram leaves at nine.")
    path = f"{SPACE}/memories/{cube['id']}"
    gone = client.post(f"{path}/{away}", json={"reason": "not now"})
    assert gone.json()["state"] == state
    assert found(client, "tram") == []
    assert client.get(f"{SPACE}/memories").json()["memories"] == []
    assert [c["id"] for c in client.get(f"{SPACE}/memories", params={"states": state}).json()["memories"]] == [cube["id"]]
    assert memory.log()[-1].body_json()["reason"] == "not now"
    assert client.post(f"{path}/{back}").json()["state"] == after  # a body that may be left out
    assert found(client, "tram") == [cube["id"]]


def test_a_step_that_no_life_takes_is_a_conflict(client: Any) -> None:
    cube = add(client, "The tram leaves at nine.")
    path = f"{SPACE}/memories/{cube['id']}"
    assert "is generated" in is_problem(client.post(f"{path}/release"), 409)["detail"]
    client.post(f"{path}/quarantine")
    is_problem(client.post(f"{path}/restore"), 409)
    is_problem(client.post(f"{path}/archive"), 409)
    client.post(f"{path}/release")
    client.post(f"{path}/freeze")
    for verb in ("archive", "quarantine"):
        assert is_problem(client.post(f"{path}/{verb}"), 409)["type"] == "urn:mnemos:problem:frozen"
    is_problem(client.post(f"{SPACE}/memories/{NOWHERE}/archive"), 404)


def test_a_body_that_is_there_is_read_strictly(client: Any) -> None:
    path = f"{SPACE}/memories/{add(client, 'The tram leaves at nine.')['id']}/archive"
    is_problem(client.post(path, content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    is_problem(client.post(path, content=b"{", headers={"Content-Type": "application/json"}), 400)
    is_problem(client.post(path, json={"cause": "x"}), 422)
    assert "repeats" in is_problem(client.post(path, json={"reason": "The tram leaves at nine, no more"}), 422)["detail"]
    assert client.post(path, json=None).json()["state"] == "archived"


def test_several_become_one(client: Any) -> None:
    one = add(client, "Alice lives in Porto. She works at the harbour.", tags=["home"], author="Alice")
    two = add(client, "Alice lives in Porto. She has a cat.", tags=["pets"], author="Alice")
    response = client.post(f"{SPACE}/merge", json={"ids": [one["id"], two["id"]], "priority": 2})
    assert response.status_code == 201
    merged = response.json()
    assert client.get(response.headers["location"]).json() == merged
    assert merged["text"] == "Alice lives in Porto. She works at the harbour. She has a cat."
    assert (merged["tags"], merged["author"], merged["priority"]) == (["home", "pets"], "Alice", 2)
    assert found(client, "Where does Alice live?") == [merged["id"]]
    own = client.post(f"{SPACE}/merge", json={"ids": [merged["id"], add(client, "Alice is 40.")["id"]], "text": "Alice, 40, lives in Porto."}).json()
    assert own["text"] == "Alice, 40, lives in Porto."
    is_problem(client.post(f"{SPACE}/merge", json={"ids": [one["id"], one["id"]]}), 422)
    is_problem(client.post(f"{SPACE}/merge", json={"ids": [one["id"]]}), 422)
    is_problem(client.post(f"{SPACE}/merge", json={"ids": [own["id"], NOWHERE]}), 404)
    is_problem(client.post(f"{SPACE}/merge", json={"ids": [one["id"], own["id"]], "derived_from": []}), 422)


def test_the_newer_holds_and_the_older_is_its_history(client: Any) -> None:
    older, newer = add(client, "Alice lives in Lisbon."), add(client, "Alice lives in Porto.")
    answer = client.post(f"{SPACE}/supersede", json={"newer": newer["id"], "older": older["id"], "reason": "she said so"}).json()
    assert answer["id"] == newer["id"]
    assert found(client, "Where does Alice live?") == [newer["id"]]
    told = client.get(f"{SPACE}/memories/{newer['id']}/history").json()["memories"]
    assert [(cube["id"], cube["state"]) for cube in told] == [(older["id"], "archived"), (newer["id"], "generated")]
    is_problem(client.post(f"{SPACE}/supersede", json={"newer": older["id"], "older": newer["id"]}), 409)
    is_problem(client.post(f"{SPACE}/supersede", json={"newer": newer["id"]}), 422)


def test_what_was_made_from_what_has_changed_is_stale_and_found_as_such(client: Any) -> None:
    root = add(client, "The tram leaves at nine.")
    note = add(client, "Somebody takes the tram at nine.", derived_from=[root["id"]])
    assert note["stale"] is False
    client.patch(f"{SPACE}/memories/{root['id']}", json={"text": "The tram leaves at ten."})
    assert client.get(f"{SPACE}/memories/{note['id']}").json()["stale"] is True
    assert found(client, "tram", stale=True) == [note["id"]]
    assert found(client, "tram", stale=False) == [root["id"]]
    for value, ids in (("true", [note["id"]]), ("false", [root["id"]])):
        assert [c["id"] for c in client.get(f"{SPACE}/memories", params={"stale": value}).json()["memories"]] == ids
    is_problem(client.get(f"{SPACE}/memories", params={"stale": "maybe"}), 422)
    context = client.post(f"{SPACE}/context", json={"query": "tram", "stale": False}).json()
    assert [hit["cube"]["id"] for hit in context["hits"]] == [root["id"]]
    fresh = client.patch(f"{SPACE}/memories/{note['id']}", json={"text": "Somebody takes the tram at ten.", "derived_from": [root["id"]]}).json()
    assert (fresh["stale"], fresh["derived_from"][0]["version"]) == (False, 2)


def test_the_lineage_is_told_in_both_directions(client: Any) -> None:
    root = add(client, "The tram leaves at nine.", space="sources")
    note = add(client, "Take the tram.", derived_from=[root["id"]])
    plan = add(client, "Leave home at half past eight.", derived_from=[note["id"]])
    client.patch(f"/v1/spaces/sources/memories/{root['id']}", json={"text": "The tram leaves at ten."})
    client.post(f"{SPACE}/memories/{note['id']}/archive", json={"reason": "old"})
    told = client.get(f"{SPACE}/memories/{note['id']}/lineage").json()
    assert told["cube"]["stale"] is True
    assert [(step["cube"]["id"], step["version"], step["outdated"]) for step in told["sources"]] == [(root["id"], 1, True)]
    assert [step["cube"]["id"] for step in told["derived"]] == [plan["id"]]
    assert [event["what"] for event in told["events"]] == ["add", "stale", "state"]
    assert (told["events"][-1]["from"], told["events"][-1]["to"], told["events"][-1]["reason"]) == ("generated", "archived", "old")
    is_problem(client.get(f"{SPACE}/memories/{NOWHERE}/lineage"), 404)


def test_the_deepest_lineage_can_be_written(client: Any, memory: mnemos.Mnemos) -> None:
    deep: dict[str, Any] = {"end": 1}
    for _ in range(30):
        deep = {"in": deep}
    space = memory.space("alice")
    cube = space.add("link 0", metadata=deep)
    for number in range(1, 110):
        cube = space.add(f"link {number}", metadata=deep, derived_from=[cube.id])
    response = client.get(f"{SPACE}/memories/{cube.id}/lineage")
    assert response.status_code == 200
    depth, step = 0, response.json()
    while step.get("sources"):
        depth, step = depth + 1, step["sources"][0]
    assert depth == 100


def test_tending_brings_lives_up_to_date(client: Any, memory: mnemos.Mnemos) -> None:
    quiet = {"merge_duplicates": False, "settle_contradictions": False}
    cube = add(client, "The tram is yellow.")
    add(client, "The train is red.", space="other")
    found(client, "tram")
    assert client.post("/v1/tend", json={"spaces": ["other"], "policy": quiet}).json()["activated"] == 0
    found(client, "tram")
    tended = client.post(f"{SPACE}/tend", json={"policy": quiet}).json()
    assert set(tended) == {"activated", "revived", "expired", "archived", "merged", "superseded", "contradictions"}
    assert client.get(f"{SPACE}/memories/{cube['id']}").json()["state"] == "activated"
    client.patch(SPACE, json={"lifecycle": {**quiet, "archive_after_days": 0, "heat_floor": 1000, "comes_back": 0}})
    assert client.post(f"{SPACE}/tend").json()["archived"] == 1
    assert client.post("/v1/tend").status_code == 200
    is_problem(client.post("/v1/tend", json={"spaces": ["nosuch"]}), 404)
    is_problem(client.post("/v1/spaces/nosuch/tend"), 404)
    for wrong in ({"policy": {"archive_after_days": -1}}, {"policy": {"cats": 1}}, {"spaces": []}, {"spaces": "alice"}):
        is_problem(client.post("/v1/tend", json=wrong), 422)


def test_a_principal_leads_and_explains_only_what_is_for_it(guarded: Any, memory: mnemos.Mnemos) -> None:
    alice = memory.as_principal("alice")
    diary, shared = alice.space("diary"), alice.space("shared", acl={"read": ["bob"]})
    secret = diary.add("Dear diary, a secret.")
    open_ = shared.add("For all of us.", derived_from=[secret.id])
    hidden = shared.add("For me alone.", derived_from=[open_.id])
    shared.set_acl(hidden.id, {"read": ["alice"]})
    bob = bearer("bob")
    told = guarded.get(f"/v1/spaces/shared/memories/{open_.id}/lineage", headers=bob).json()
    assert "sources" not in told
    assert "derived" not in told
    named = []
    steps = ("archive", "restore", "quarantine", "release", "freeze", "unfreeze")
    for space, id, status in (("diary", secret.id, 404), ("shared", hidden.id, 403), ("shared", open_.id, 403), ("nosuch", NOWHERE, 404)):
        path = f"/v1/spaces/{space}/memories/{id}"
        for step in steps:
            is_problem(guarded.post(f"{path}/{step}", headers=bob), status)
        is_problem(guarded.put(f"{path}/acl", json={"read": ["bob"]}, headers=bob), status)
        is_problem(guarded.get(f"{path}/acl", headers=bob), status)
        for verb, body in (("merge", {"ids": [id, open_.id if id != open_.id else secret.id]}), ("supersede", {"newer": id, "older": open_.id})):
            is_problem(guarded.post(f"/v1/spaces/{space}/{verb}", json=body, headers=bob), status)
        is_problem(guarded.post(f"/v1/spaces/{space}/tend", headers=bob), status)
        named.append(is_problem(guarded.post("/v1/tend", json={"spaces": [space]}, headers=bob), status)["detail"].replace(space, "nosuch"))
    assert named[0] == named[3]
    seen = is_problem(guarded.get(f"/v1/spaces/shared/memories/{hidden.id}/lineage", headers=bob), 404)["detail"]
    none = is_problem(guarded.get(f"/v1/spaces/shared/memories/{NOWHERE}/lineage", headers=bob), 404)["detail"]
    assert seen.replace(hidden.id, NOWHERE) == none
    assert guarded.post("/v1/tend", headers=bob).json()["archived"] == 0
    assert {cube.state for cube in (*diary.list(), *shared.list())} == {"generated"}
