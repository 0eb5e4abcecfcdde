"""Ways to remember over REST: which there are, one for a space, one for a search, and consolidation with the rights that it takes."""

from __future__ import annotations

from typing import Any

from server_support import bearer, is_problem

import mnemos
from mnemos.text.registry import STRATEGIES

SPACE = "/v1/spaces/alice"


def test_the_strategies_are_told(client: Any) -> None:
    told = client.get("/v1/strategies").json()["strategies"]
    assert [one["name"] for one in told] == list(STRATEGIES)
    assert {one["name"]: one["consolidates"] for one in told}["plain"] is False
    assert {one["name"]: one["consolidates"] for one in told}["notes"] is True
    assert all(one["about"] for one in told)


def test_a_space_is_given_one_and_consolidated(client: Any, memory: mnemos.Mnemos) -> None:
    for text in ("Ann moved to Lyon in May.", "Ann works in Lyon as a baker."):
        assert client.post(f"{SPACE}/memories", json={"text": text}).status_code == 201
    assert client.post(f"{SPACE}/consolidate").json()["seen"] == 0, "the space's own makes nothing"
    assert client.patch(SPACE, json={"strategy": "notes"}).json()["strategy"] == "notes"
    done = client.post(f"{SPACE}/consolidate").json()
    assert (done["strategy"], done["seen"], done["added"]) == ("notes", 2, 2)
    again = client.post(f"{SPACE}/consolidate").json()
    assert (again["seen"], again["added"], again["revised"], again["retired"]) == (0, 0, 0, 0)
    notes = client.get(f"{SPACE}/memories", params={"types": "note"}).json()["memories"]
    assert {note["metadata"]["strategy"] for note in notes} == {"notes"}
    for strategy in (None, "plain", "notes"):
        asked = {"query": "Where does Ann work?", **({"strategy": strategy} if strategy else {})}
        hits = client.post(f"{SPACE}/search", json=asked).json()["hits"]
        assert hits[0]["cube"]["text"] == "Ann works in Lyon as a baker."
        assert "Ann works" in client.post(f"{SPACE}/context", json=asked).json()["text"]
    assert memory.verify().ok


def test_what_is_not_there_is_a_problem(client: Any) -> None:
    client.post(f"{SPACE}/memories", json={"text": "Ann moved."})
    assert "plain" in is_problem(client.post(f"{SPACE}/search", json={"query": "Ann", "strategy": "no such"}), 404)["detail"]
    is_problem(client.patch(SPACE, json={"strategy": "no such"}), 404)
    is_problem(client.post("/v1/spaces/nowhere/consolidate"), 404)


def test_it_takes_the_rights_that_it_takes_in_python(guarded: Any, memory: mnemos.Mnemos) -> None:
    space = memory.as_principal("alice").space("alice", strategy="notes")
    space.add("Ann moved to Lyon in May.")
    assert is_problem(guarded.post("/v1/spaces/alice/consolidate", headers=bearer("bob")), 404)
    space.system.space("alice", acl={"read": ["bob"]})
    is_problem(guarded.post("/v1/spaces/alice/consolidate", headers=bearer("bob")), 403)
    space.system.space("alice", acl={"read": ["bob"], "write": ["bob"]}, clearance={"bob": "public"})
    is_problem(guarded.post("/v1/spaces/alice/consolidate", headers=bearer("bob")), 403)
    assert guarded.get("/v1/strategies").status_code == 401
    assert guarded.get("/v1/strategies", headers=bearer("bob")).status_code == 200
    assert guarded.post("/v1/spaces/alice/consolidate", headers=bearer("alice")).json()["added"] == 1
    memory.space("alice", read_only=True)
    is_problem(guarded.post("/v1/spaces/alice/consolidate", headers=bearer("alice")), 403)


def test_what_is_said_again_is_told_of_what_the_caller_may_read(guarded: Any, memory: mnemos.Mnemos) -> None:
    space = memory.as_principal("alice").space("alice")
    for text in ("Ana moved to Lisbon.", "Ana moved to Lisbon!", "The dentist has time on Tuesday."):
        space.add(text)
    path = "/v1/spaces/alice/redundancy"
    told = guarded.get(path, params={"by": "type"}, headers=bearer("alice")).json()
    assert (told["memories"], told["by"], len(told["overlaps"])) == (3, "type", 1)
    assert told["overlaps"][0]["label"] == "fact"
    assert len(told["overlaps"][0]["ids"]) == 3
    is_problem(guarded.get(path, params={"by": "colour"}, headers=bearer("alice")), 422)
    is_problem(guarded.get(path, headers=bearer("bob")), 404)
