"""Pipelines over REST: run as they are sent, kept by the owner, and done with the rights of whoever runs them."""

from __future__ import annotations

from typing import Any

import pytest
from server_support import bearer, is_problem

import mnemos

OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")
STEPS = [
    {"step": "retrieve", "query": "{question}", "k": 1, "as": "hits"},
    {"step": "add", "text": "Known: {hits}", "type": "note", "derived_from": "$hits", "as": "note"},
    {"step": "archive", "cubes": "$hits", "reason": "summed up"},
]


@pytest.fixture
def diary(memory: mnemos.Mnemos) -> Any:
    space = memory.as_principal("alice").space("diary")
    space.add("Alice moved to Lisbon.")
    return space


def test_steps_are_run_as_one_transaction(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    ran = guarded.post("/v1/run-pipeline", json={"steps": STEPS, "space": "diary", "inputs": {"question": "Lisbon"}}, headers=ALICE)
    assert ran.status_code == 200, ran.text
    body = ran.json()
    assert [(step["step"], step["outcome"]) for step in body["steps"]] == [("retrieve", "done"), ("add", "done"), ("archive", "done")]
    assert body["gave"].keys() == {"hits", "note"}
    assert body["gave"]["note"]["text"] == "Known: Alice moved to Lisbon."
    assert body["gave"]["note"]["derived_from"][0]["id"] == body["gave"]["hits"][0]["id"]
    assert body["position"] == memory.position()
    assert [cube.text for cube in diary.list()] == ["Known: Alice moved to Lisbon."]
    failing = [*STEPS, {"step": "assert", "that": "$hits", "where": {"count": 7}, "message": "not seven"}]
    position = memory.position()
    problem = is_problem(guarded.post("/v1/run-pipeline", json={"steps": failing, "space": "diary", "inputs": {"question": "x"}}, headers=ALICE), 409)
    assert "step 4 (assert)" in problem["detail"]
    assert memory.position() == position


def test_the_owner_keeps_templates_and_others_run_them_by_their_own_rights(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    template = {"steps": STEPS, "space": "diary"}
    where = "/v1/pipelines/sum%2Fup"
    for method in ("PUT", "DELETE"):
        for who in (ALICE, BOB):
            status = 403 if method == "PUT" else 404
            is_problem(guarded.request(method, where, json=template if method == "PUT" else None, headers=who), status)
    saved = guarded.put(where, json=template, headers=OWNER).json()
    assert saved == {"name": "sum/up", "space": "diary", "steps": STEPS, "inputs": ["question"]}
    for who in (OWNER, ALICE):
        assert guarded.get("/v1/pipelines", headers=who).json() == {"pipelines": ["sum/up"]}
        assert guarded.get(where, headers=who).json() == saved
    is_problem(guarded.delete(where, headers=ALICE), 403)
    is_problem(guarded.post(f"{where}/run", json={"inputs": {"question": "x"}}, headers=BOB), 404)
    memory.space("diary", acl={"read": ["bob"]})
    position = memory.position()
    is_problem(guarded.post(f"{where}/run", json={"inputs": {"question": "x"}}, headers=BOB), 403)
    for body in (None, {}, {"inputs": {}}, {"inputs": {"question": "x", "more": 1}}, {"question": "x"}):
        is_problem(guarded.post(f"{where}/run", json=body, headers=ALICE), 422)
    assert memory.position() == position
    assert guarded.post(f"{where}/run", json={"inputs": {"question": "x"}}, headers=ALICE).json()["gave"]["note"]["type"] == "note"
    assert [cube.type for cube in diary.list()] == ["note"]
    assert guarded.delete(where, headers=OWNER).status_code == 204
    for method, path in (("GET", where), ("DELETE", where), ("POST", f"{where}/run")):
        is_problem(guarded.request(method, path, headers=OWNER), 404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": []}, {"steps": [{}]}, {"steps": [5]}, {"steps": [{"step": "delete"}]}, {"steps": [{"step": "add"}]},
        {"steps": [{"step": "add", "text": "x", "colour": 1}]}, {"steps": [{"step": "map", "value": 2**70, "function": "first"}]},
        {"steps": STEPS}, {"steps": STEPS, "inputs": {"question": 2**70}}, {"steps": STEPS, "space": ""}, {"steps": STEPS, "input": {}},
        {"steps": [{"step": "map", "value": [1], "function": "$f"}], "inputs": {"f": "eval"}},
    ],
)  # fmt: skip
def test_what_is_no_pipeline_is_refused(client: Any, memory: mnemos.Mnemos, wrong: Any) -> None:
    is_problem(client.post("/v1/run-pipeline", json=wrong), 422)
    assert memory.position() == 0


def test_jobs_are_asked_for_by_the_owner_alone(guarded: Any, diary: Any, memory: mnemos.Mnemos) -> None:
    steps = {"steps": [{"step": "enqueue", "kind": "compact", "as": "job"}]}
    is_problem(guarded.post("/v1/run-pipeline", json=steps, headers=ALICE), 403)
    assert guarded.post("/v1/run-pipeline", json=steps, headers=OWNER).json()["gave"]["job"]["kind"] == "compact"


def test_an_optional_step_that_fails_tells_no_more_than_a_request_would(guarded: Any, diary: Any) -> None:
    steps = [
        {"step": "add", "space": "diary", "text": "Bob was here.", "optional": True},
        {"step": "get", "space": "diary", "id": "00000000-0000-7000-8000-000000000000", "optional": True},
    ]
    for who, first in ((BOB, "PermissionDenied"), (ALICE, None)):
        told = guarded.post("/v1/run-pipeline", json={"steps": steps}, headers=who).json()["steps"]
        assert told[0].get("error") == first
        assert told[1]["error"].startswith("PermissionDenied" if who is BOB else "NotFound: ")
        assert "diary" not in told[0].get("error", "")
