"""KV memories over REST: read, listed, dropped; by a job, too; and nobody learns what others have read or asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from server_support import bearer, is_problem

import mnemos
from kernel.kv.byte_llama import model
from mnemos.kernel.forgetting import verify_certificate
from mnemos.kernel.kv import prompts

torch.set_num_threads(1)
OWNER, ALICE, BOB = bearer("owner"), bearer("alice"), bearer("bob")
MODEL = model()
TEXTS = ["Alice moved to Lisbon in May.", "Bob keeps two grey cats."]
PROMPT = f"Answer in one word, or in two. {TEXTS[0]} Where does Alice live?"
NOWHERE = "01890a5d-ac96-774b-bcce-b302099a8057"
KV = "/v1/spaces/diary/kv"


@pytest.fixture
def texts(memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(prompts, "CHUNK", 16)
    memory.language_model = MODEL
    space = memory.as_principal("alice").space("diary")
    return [space.add(text).id for text in TEXTS]


def ask(memory: mnemos.Mnemos, principal: str) -> None:
    memory.as_principal(principal).space("diary").kv.generate(PROMPT, max_tokens=1).run()


def test_texts_are_read_once_listed_and_let_go_of(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    assert guarded.get(KV, headers=ALICE).json() == {"kv": [], "bytes": 0}
    answer = guarded.post(KV, json={"ids": texts}, headers=ALICE)
    made = answer.json()
    assert (answer.status_code, made["kept"], [one["reasons"] for one in made["warmed"]]) == (200, 0, [[], []])
    assert guarded.post(KV, json={"ids": texts}, headers=ALICE).json() == {"warmed": [], "kept": 2}
    listed = guarded.get(KV, headers=ALICE).json()
    assert ([one["source"] for one in listed["kv"]], {one["state"] for one in listed["kv"]}) == (texts, {"ready"})
    assert listed["bytes"] == sum(one["bytes"] for one in made["warmed"])
    for name in (texts[0], made["warmed"][0]["id"]):
        assert guarded.get(f"{KV}/{name}", headers=ALICE).json() == listed["kv"][0]
    gone = guarded.delete(f"{KV}/{texts[0]}", headers=ALICE).json()
    assert [cube["id"] for cube in gone["cubes"]] == [made["warmed"][0]["id"]]
    assert verify_certificate(gone, memory).ok
    is_problem(guarded.get(f"{KV}/{texts[0]}", headers=ALICE), 404)
    assert memory.space("diary").get(texts[0]).text == TEXTS[0]
    declined = guarded.post(KV, json={"ids": texts[:1], "uses": 0}, headers=ALICE).json()
    assert (declined["warmed"][0]["id"], "pays" in declined["warmed"][0]["reasons"][0]) == (None, True)
    said = guarded.get("/metrics", headers=OWNER).text
    assert "mnemos_memories_written_total 2.0" in said
    assert 'route="/v1/spaces/{space}/kv"' in said


def test_a_text_is_kept_by_a_policy(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    said = "kivi:bits=2,group=8,recent=8"
    memory.kv_policy = said
    for what in ({"policy": "full"}, {}, {"policy": said}, {"policy": said, "later": True}):
        answer = guarded.post(KV, json={"ids": texts[:1], **what}, headers=ALICE)
    assert answer.status_code == 202
    assert memory.jobs.drain(30)
    listed = guarded.get(KV, headers=ALICE).json()
    assert [(one["policy"], one["source"]) for one in listed["kv"]] == [("full", texts[0]), (said, texts[0])]
    full, small = (one["bytes"] for one in listed["kv"])
    assert (small < full, listed["bytes"]) == (True, full + small)
    guarded.post(KV, json={"ids": texts[1:], "later": True}, headers=ALICE)
    memory.kv_policy = "full"  # what was asked for then holds
    assert memory.jobs.drain(30)
    assert guarded.get(f"{KV}/{texts[1]}", headers=ALICE).json()["policy"] == said
    for wrong in ("colour", "snapkv:share=0.5", "blocks:folder=here", "kivi:bits", ""):
        for later in (False, True):
            is_problem(guarded.post(KV, json={"ids": texts[:1], "policy": wrong, "later": later}, headers=ALICE), 422)


def test_what_cannot_be_is_said_as_a_problem(guarded: Any, memory: mnemos.Mnemos, texts: list[str]) -> None:
    memory.kv_memory = 10
    for wrong in ({}, {"ids": []}, {"ids": ["x"]}, {"ids": texts, "uses": -1}, {"ids": texts, "colour": 1}, {"ids": texts, "later": 1}):
        is_problem(guarded.post(KV, json=wrong, headers=ALICE), 422)
    for later in (False, True):
        is_problem(guarded.post(KV, json={"ids": [NOWHERE], "later": later}, headers=ALICE), 404)
    memory.space("diary").archive(texts[1])
    for later in (False, True):
        assert "restore" in is_problem(guarded.post(KV, json={"ids": texts[1:], "later": later}, headers=ALICE), 409)["detail"]
    is_problem(guarded.post(KV, json={"ids": texts[:1]}, headers=ALICE), 507)
    memory.space("diary", rate={"writes_per_minute": 1})
    for _ in range(2):
        answer = guarded.post(KV, json={"ids": texts[:1], "later": True}, headers=ALICE)
    assert is_problem(answer, 429)["retry_after"] > 0


def test_a_server_without_a_model_lists_and_reads_nothing(guarded: Any, memory: mnemos.Mnemos) -> None:
    text = memory.as_principal("alice").space("diary").add(TEXTS[0]).id
    for later in (False, True):
        is_problem(guarded.post(KV, json={"ids": [text], "later": later}, headers=ALICE), 503)
    assert guarded.get(KV, headers=ALICE).json() == {"kv": [], "bytes": 0}


def test_a_job_reads_what_it_was_asked_for_as_who_asked(guarded: Any, memory: mnemos.Mnemos, texts: list[str], tmp_path: Any) -> None:
    memory.space("diary", acl={"read": ["bob"], "write": ["bob"], "derive": ["bob"]})
    first = guarded.post(KV, json={"ids": texts[:1], "later": True}, headers=ALICE)
    assert first.status_code == 202
    assert guarded.post(KV, json={"ids": texts, "later": True}, headers=BOB).json() == first.json()  # one job is open for a model
    assert guarded.get(KV, headers=ALICE).json()["kv"] == []
    memory.language_model = None
    assert memory.jobs.run_once() is None  # it waits for the model
    memory.space("diary", acl={"read": ["bob"]})  # bob may not write any more
    memory.language_model = MODEL
    assert memory.jobs.drain(30)
    job = guarded.get("/v1/jobs", params={"kind": "warm"}, headers=OWNER).json()["jobs"][0]
    assert (job["state"], job["id"]) == ("done", first.json()["job"])
    assert [one["source"] for one in guarded.get(KV, headers=ALICE).json()["kv"]] == texts[:1]
    guarded.post(KV, json={"ids": texts, "later": True}, headers=ALICE)
    memory.space("diary").forget([texts[0]])
    assert memory.jobs.drain(30)
    assert [one["source"] for one in guarded.get(KV, headers=ALICE).json()["kv"]] == texts[1:]
    is_problem(guarded.get("/v1/jobs", headers=ALICE), 403)


def counted(memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, int, int]]:
    """Calls something; gives what it gives, how many versions were read from the store for it, and how many payloads."""
    from mnemos.store.sqlite_read import Reader

    read: list[int] = []
    real, payload = Reader.versions, memory.store.blobs.get
    monkeypatch.setattr(Reader, "versions", lambda self, seqs: (read.append(len(list(seqs))), real(self, seqs))[1])
    monkeypatch.setattr(memory.store.blobs, "get", lambda *given: (read.append(-1), payload(*given))[1])

    def call(does: Callable[[], Any]) -> tuple[Any, int, int]:
        read.clear()
        out = does()
        return out, sum(number for number in read if number > 0), read.count(-1)

    return call


def test_who_has_no_rights_learns_nothing_by_answer_or_by_what_is_done_for_it(
    guarded: Any, memory: mnemos.Mnemos, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = counted(memory, monkeypatch)

    def all_routes(space: str) -> list[tuple[Any, int, int]]:
        path = f"/v1/spaces/{space}/kv"

        def plain(response: Any) -> Any:
            body = response.json()
            return response.status_code, {**body, "instance": "", "detail": body["detail"].replace(space, "SPACE")}

        return [
            call(lambda: plain(guarded.get(path, headers=BOB))),
            call(lambda: plain(guarded.get(f"{path}/{texts[0]}", headers=BOB))),
            call(lambda: plain(guarded.get(f"{path}/{NOWHERE}", headers=BOB))),
            call(lambda: plain(guarded.post(path, json={"ids": texts}, headers=BOB))),
            call(lambda: plain(guarded.post(path, json={"ids": texts, "later": True}, headers=BOB))),
            call(lambda: plain(guarded.post(f"{path}/ask", json={"question": "Where does Alice live?"}, headers=BOB))),
            call(lambda: plain(guarded.delete(f"{path}/{texts[0]}", headers=BOB))),
        ]

    before = all_routes("diary")
    assert {answer[0] for answer, _, _ in before} == {404}
    memory.as_principal("alice").space("diary").kv.warm(texts)
    ask(memory, "alice")
    assert all_routes("diary") == before == all_routes("nowhere")  # as if there were none, nor any space
    assert [job.kind for job in memory.jobs.list(kind="warm")] == []


def test_who_may_read_the_texts_does_not_learn_what_others_have_asked(
    guarded: Any, memory: mnemos.Mnemos, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.space("diary", acl={verb: ["bob", "carol"] for verb in ("read", "write", "forget")})
    guarded.post(KV, json={"ids": texts}, headers=ALICE)
    ask(memory, "bob")
    theirs = [one["id"] for one in guarded.get(KV, headers=BOB).json()["kv"] if one["start"] is not None]
    call, carol = counted(memory, monkeypatch), memory.as_principal("carol").space("diary")

    def looks() -> list[tuple[Any, int, int]]:
        fresh = memory.as_principal("carol").space("diary").kv
        return [
            call(lambda: [entry.id for entry in carol.kv.entries()]),
            call(lambda: fresh.prefix(PROMPT).taken),
            call(lambda: len(carol.kv.take([texts[0]]).tokens)),
        ]

    with_theirs = looks()
    assert with_theirs[0][0] == [one["id"] for one in guarded.get(KV, headers=BOB).json()["kv"] if one["id"] not in theirs]
    assert with_theirs[1][0] == 0
    assert len(guarded.get(KV, headers=ALICE).json()["kv"]) == 2 + len(theirs)  # she owns the space
    memory.space("diary").forget(theirs[:1])  # and with them all that follow
    assert looks() == with_theirs
