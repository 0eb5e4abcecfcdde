"""Reports of the log: who did what, and who was given or lost which right."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.kernel.audit import activity, as_csv, as_json, permission_changes
from mnemos.kernel.system import Mnemos
from support import HandClock


@pytest.fixture
def busy(mem: Mnemos) -> Mnemos:
    """A store in which three principals did something."""
    space = mem.space("alice", acl={"read": ["bob"], "write": ["bob"]})
    note = space.add("the harbour")
    mem.as_principal("bob").space("alice").add("Bob's tram")
    mem.as_principal("carol").space("carols").add("Carol's violin")
    space.update(note.id, "the harbour at night")
    space.archive(note.id, "not needed")
    space.set_acl(note.id, {"read": ["bob"]})
    mem.space("alice", acl={"read": ["carol"], "write": ["bob", "role:staff"]}, read_only=False, clearance={"*": "internal"})
    mem.set_role("staff", ["dave"])
    mem.set_role("staff", ["dave", "erin"])
    space.set_acl(note.id, None)
    space.forget([note.id], reason="asked for")
    mem.set_role("staff", None)
    return mem


def test_who_did_what(busy: Mnemos) -> None:
    acts = activity(busy)
    assert [act.position for act in acts] == list(range(1, busy.position() + 1))
    assert [act.kind for act in activity(busy, principals=["bob"])] == ["add"]
    assert {act.space for act in activity(busy, principals=["carol"])} == {"carols"}
    assert [act.kind for act in activity(busy, principals=["(owner)"], kinds=["update", "forget"])] == ["update", "forget"]
    (archived,) = activity(busy, kinds=["state"])
    assert (archived.what, archived.details) == ("archived", {"from": "generated", "to": "archived", "reason": "not needed"})
    assert archived.principal == "(owner)"
    (forgotten,) = activity(busy, kinds=["forget"])
    assert forgotten.details["reason"] == "asked for"
    assert [act.kind for act in activity(busy, cube=forgotten.cube)] == ["add", "update", "state", "permission", "permission", "forget"]
    assert {act.space for act in activity(busy, spaces=["alice"])} == {"alice"}
    assert len(activity(busy, limit=2)) == 2
    assert "harbour" not in as_json(acts)


def test_spans_are_positions_or_times(busy: Mnemos, clock: HandClock) -> None:
    acts = activity(busy)
    third = acts[2]
    assert [act.position for act in activity(busy, since=2, until=3)] == [3]
    assert activity(busy, since=third.at) == acts[2:]
    assert activity(busy, until=third.at) == acts[:2]
    assert activity(busy, since=third.at, until=third.at) == []
    assert activity(busy, since=10**9) == []


def test_a_principal_is_told_what_it_may_read(busy: Mnemos) -> None:
    bob = busy.as_principal("bob")
    assert activity(bob) == []
    busy.space("alice", acl={"read": ["bob"]})
    seen = activity(bob)
    assert {act.space for act in seen} == {"alice"}
    assert all(act.details == {} for act in seen if act.kind in ("space", "permission"))
    assert permission_changes(bob) == []
    with pytest.raises(NotFound):
        activity(bob, spaces=["carols"])
    carols = permission_changes(busy.as_principal("carol"))
    assert [(change.space, change.what) for change in carols] == [("carols", "owner")]


def test_who_was_given_and_who_lost_which_right(busy: Mnemos) -> None:
    changes = [(c.scope, c.space, c.what, c.added, c.removed) for c in permission_changes(busy)]
    assert changes == [
        ("space", "alice", "acl.read", ("bob",), ()),
        ("space", "alice", "acl.write", ("bob",), ()),
        ("space", "carols", "owner", (), ()),
        ("cube", "alice", "acl.read", ("bob",), ()),
        ("space", "alice", "acl.read", ("carol",), ("bob",)),
        ("space", "alice", "acl.write", ("role:staff",), ()),
        ("space", "alice", "clearance", (), ()),
        ("space", "alice", "read_only", (), ()),
        ("role", None, "members", ("dave",), ()),
        ("role", None, "members", ("erin",), ()),
        ("cube", "alice", "acl.read", (), ("bob",)),
        ("role", None, "members", (), ("dave", "erin")),
    ]
    by_what = {(c.scope, c.what): c for c in permission_changes(busy)}
    assert by_what["space", "clearance"].after == {"*": "internal"}
    assert by_what["space", "owner"].after == "carol"
    assert by_what["role", "members"].subject == "staff"
    late = permission_changes(busy, since=by_what["space", "read_only"].position)
    assert [change.what for change in late] == ["members", "members", "acl.read", "members"]
    assert late[1].before == ["dave"], "what was before is known though it is not told"
    assert {change.scope for change in permission_changes(busy, spaces=["alice"])} == {"space", "cube"}


def test_rows_as_json_and_csv(busy: Mnemos) -> None:
    busy.as_principal("=HYPERLINK(1)").space("@evil, \"quoted\"\nname".replace("\n", " ")).add("x")
    for rows in (activity(busy), permission_changes(busy)):
        plain: list[dict[str, Any]] = json.loads(as_json(rows))
        read = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
        assert len(plain) == len(read) == len(rows)
        assert list(read[0]) == list(plain[0])
        for row, cells in zip(plain, read, strict=True):
            assert cells["principal"].removeprefix("'") == row["principal"]
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells.values())
    assert as_csv([]) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": ["read"]},
        {"kinds": "add"},
        {"since": -1},
        {"since": "yesterday"},
        {"until": True},
        {"cube": "x"},
        {"principals": "bob"},
    ],
)
def test_what_cannot_be_asked_is_refused(busy: Mnemos, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        activity(busy, **wrong)
