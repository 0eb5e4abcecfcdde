"""Subscriptions: what the log says, in its order, once, to whoever may read it, from any thread and process, and nothing that was forgotten."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mnemos.base.errors import Invalid, PermissionDenied, RateLimited
from mnemos.kernel.stream import subscriptions
from mnemos.kernel.stream.events import Event
from mnemos.kernel.system import Mnemos
from support import HandClock

TEXTS = ["the tram in lisbon", "coffee in porto", "snow on the bridge"]


def told(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(event.kind, event.cube.text if event.cube else None) for event in events]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- what is given --
def test_what_happens_is_given_in_the_order_of_the_log(mem: Mnemos) -> None:
    space = mem.space("a")
    before = space.add("before")
    subscription = mem.subscribe()
    assert subscription.poll() == []
    cube = space.add(TEXTS[0], type="fact", tags=["home"], metadata={"n": 3}, author="Alice")
    space.update(cube.id, TEXTS[1])
    space.freeze(cube.id)
    space.unfreeze(cube.id)
    space.archive(cube.id)
    mem.space("b", acl={"read": ["bob"]})
    mem.set_setting("x", 1)
    events = subscription.poll()
    assert told(events) == [
        ("add", TEXTS[0]), ("update", TEXTS[1]), ("freeze", TEXTS[1]), ("unfreeze", TEXTS[1]), ("state", TEXTS[1]), ("space", None), ("setting", None)
    ]  # fmt: skip
    assert [event.position for event in events] == list(range(before.position + 1, mem.position() + 1))
    assert events[0].cube == replace(space.get(cube.id, 1), state="generated", frozen=False)
    assert (events[2].cube.frozen, events[3].cube.frozen) == (True, False)  # type: ignore[union-attr]
    assert (events[4].cube.state, events[4].body["to"]) == ("archived", 3)  # type: ignore[union-attr]
    assert [event.space for event in events] == ["a"] * 5 + ["b", None]
    assert (events[0].id, events[0].version, events[1].version) == (cube.id, 1, 2)
    assert subscription.poll() == []
    assert subscription.position == mem.position()
    plain = events[0].as_json()
    assert (plain["kind"], plain["cube"]["text"], plain["position"]) == ("add", TEXTS[0], before.position + 1)
    assert "cube" not in events[0].as_json(content=False)


def test_from_any_position_each_entry_is_given_once(mem: Mnemos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_SCANNED", 7)
    space = mem.space("a")
    for number in range(40):
        space.add(f"number {number}")
    everything = mem.subscribe(0)
    whole = everything.poll(1000)
    assert [event.position for event in whole] == list(range(1, mem.position() + 1))
    for since in (0, 1, 17, mem.position()):
        subscription = mem.subscribe(since)
        got: list[Event] = []
        while (event := subscription.next(0)) is not None:
            got.append(event)
            if len(got) % 5 == 0:  # goes on elsewhere
                subscription = mem.subscribe(subscription.position)
        assert got == whole[since:]
    assert mem.subscribe(whole[20].at).next(0) == whole[21]
    odd = mem.subscribe(0, filter={"n": 1})
    assert odd.next(0) is None
    assert odd.position == mem.position()  # what is not wanted is passed over for good


@pytest.mark.parametrize("bad", [-1, 10**9, True, "yesterday", 1.5])
def test_there_is_no_such_position(mem: Mnemos, bad: Any) -> None:
    with pytest.raises(Invalid, match="since"):
        mem.subscribe(bad)


def test_entries_are_chosen(mem: Mnemos) -> None:
    for name in ("a", "b"):
        space = mem.space(name)
        space.add(TEXTS[0], type="fact", tags=["home", "x"], metadata={"n": 1})
        space.add(TEXTS[1], type="turn", tags=["home"], metadata={"n": 2})
        space.archive(space.add(TEXTS[2], type="fact").id)

    def chosen(**wanted: Any) -> list[tuple[str | None, str, str | None]]:
        return [(event.space, event.kind, event.cube.text if event.cube else None) for event in mem.subscribe(0, **wanted).poll()]

    assert [kind for _, kind, _ in chosen(spaces="b")] == ["space", "add", "add", "add", "state"]
    assert chosen(spaces=["b"], kinds=["state"]) == [("b", "state", TEXTS[2])]
    assert chosen(types=["turn"]) == [("a", "add", TEXTS[1]), ("b", "add", TEXTS[1])]
    assert chosen(spaces="a", tags=["home"]) == [("a", "add", TEXTS[0]), ("a", "add", TEXTS[1])]
    assert chosen(spaces="a", tags=["home", "x"]) == [("a", "add", TEXTS[0])]
    assert chosen(filter={"n": {"gte": 2}}, spaces="a") == [("a", "add", TEXTS[1])]
    assert chosen(kinds="add", types=["fact"], spaces="a") == [("a", "add", TEXTS[0]), ("a", "add", TEXTS[2])]
    assert chosen(spaces="nowhere") == []
    assert chosen(about=TEXTS[1], similarity=0.9, spaces="a") == [("a", "add", TEXTS[1])]
    assert len(chosen(about=TEXTS[1], similarity=-1.0, spaces="a")) == 4


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"kinds": ["addition"]}, "kinds: unknown kind 'addition'"),
        ({"kinds": 3}, "kinds"),
        ({"spaces": [""]}, "spaces"),
        ({"tags": [3]}, "tags"),
        ({"filter": {"n": {"like": 1}}}, "filter"),
        ({"similarity": 2}, "similarity"),
        ({"about": " "}, "query: is empty"),
        ({"name": ""}, "name: a subscription's name"),
        ({"name": 5}, "name"),
    ],
)
def test_what_cannot_be_asked_for(mem: Mnemos, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        mem.subscribe(**wanted)


def test_nothing_has_a_meaning_without_an_embedder(open_memory: Callable[..., Mnemos]) -> None:
    with pytest.raises(Invalid, match="about: this store was opened without an embedder"):
        open_memory(embedder="none").subscribe(about="trams")


def test_documents_are_given_whole(mem: Mnemos) -> None:
    text = "\n\n".join(f"Sentence {i} about the tram in the harbour of Lisbon." for i in range(80))
    subscription, with_parts = mem.subscribe(kinds="add"), mem.subscribe(kinds="add", parts=True)
    mem.space("a").add(text, type="document")
    assert told(subscription.poll()) == [("add", text)]
    assert len(with_parts.poll()) > 2
    assert told(mem.subscribe(0, kinds="add", about="the tram in the harbour of Lisbon", similarity=0.3).poll()) == [("add", text)]


# -- what is not given --
def test_what_was_forgotten_is_not_given(mem: Mnemos) -> None:
    space = mem.space("a")
    early = mem.subscribe(kinds=["add", "forget"])
    tagged = mem.subscribe(kinds=["add", "forget"], tags=["home"])
    first, second = space.add(TEXTS[0], tags=["home"]), space.add(TEXTS[1], tags=["home"])
    assert told([early.next(0)]) == [("add", TEXTS[0])]  # type: ignore[list-item]  # and the second has been looked at by now
    space.forget([second.id])
    assert told(early.poll()) == [("add", None), ("forget", None)]
    assert [(event.kind, event.id) for event in tagged.poll()] == [("add", first.id), ("forget", second.id)]
    space.forget([first.id])
    again = mem.subscribe(0)
    assert all(event.cube is None for event in again.poll())
    assert mem.subscribe(0, tags=["home"], kinds="add").poll() == []


def test_what_is_undone_is_not_given(mem: Mnemos) -> None:
    subscription = mem.subscribe()

    def fail() -> None:
        with mem.transaction():
            mem.space("a").add("undone")
            with pytest.raises(Invalid, match="inside a transaction"):
                subscription.next(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert subscription.poll() == []
    mem.space("a").add("kept")
    assert told(subscription.poll()) == [("space", None), ("add", "kept")]


def test_only_what_the_principal_may_read_is_given(mem: Mnemos) -> None:
    bob = mem.as_principal("bob")
    subscription = bob.subscribe(0)
    mem.space("hers").add("hers alone")
    shared = mem.space("shared", acl={"read": ["bob"]})
    shared.add(TEXTS[0])
    narrowed = shared.add("not for bob")
    shared.set_acl(narrowed.id, {"read": ["carol"]})
    mem.set_setting("x", 1)
    assert {event.space for event in subscription.poll()} == {"shared"}
    assert told(bob.subscribe(0, kinds="add").poll()) == [("add", TEXTS[0])]
    shared.add(TEXTS[1])
    mem.space("shared", acl={"read": []})
    shared.add(TEXTS[2])
    assert subscription.poll() == []  # the rules that hold are those of now
    mem.space("shared", acl={"read": ["bob"]})
    shared.add("afterwards")
    assert told(subscription.poll())[-1] == ("add", "afterwards")
    secret = mem.space("shared", clearance={"bob": "internal"})
    secret.add("classified", sensitivity="secret")
    assert told([event for event in subscription.poll() if event.kind == "add"]) == []


def test_licences_and_rates_hold_for_what_is_given(mem: Mnemos, clock: HandClock) -> None:
    bob = mem.as_principal("bob")
    space = mem.space("a", acl={"read": ["bob"]}, licences={"bob": {"reads": 2}})
    subscription = bob.subscribe(kinds="add")
    for text in TEXTS:
        space.add(text)
    assert told([subscription.next(0), subscription.next(0)]) == [("add", TEXTS[0]), ("add", TEXTS[1])]  # type: ignore[list-item]
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="allows 2 reads"):
            subscription.next(0)
    mem.space("a", licences={}, rate={"reads_per_minute": 1})
    assert told(subscription.poll()) == [("add", TEXTS[2])]  # it was not lost
    space.add("too soon")
    with pytest.raises(RateLimited):
        subscription.next(0)
    clock.now += 60_000_000
    assert told(subscription.poll()) == [("add", "too soon")]


# -- waiting --
def test_an_iterator_waits_for_what_other_threads_write(mem: Mnemos) -> None:
    subscription = mem.subscribe(kinds="add")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(event.cube.text for event in subscription))  # type: ignore[union-attr]
    reader.start()
    space = mem.space("a")
    for number in range(50):
        space.add(f"{number}")
    until(lambda: len(got) == 50)
    subscription.close()
    reader.join(30)
    assert not reader.is_alive()
    assert got == [f"{number}" for number in range(50)]
    assert subscription.next() is None


def test_several_threads_share_a_subscription(mem: Mnemos) -> None:
    subscription = mem.subscribe(kinds="add")
    got: list[int] = []
    readers = [threading.Thread(target=lambda: got.extend(event.position for event in subscription)) for _ in range(3)]
    for reader in readers:
        reader.start()
    space = mem.space("a")
    positions = [space.add(f"{number}").position for number in range(60)]
    until(lambda: len(got) >= 60)
    subscription.close()
    for reader in readers:
        reader.join(30)
    assert sorted(got) == positions


def test_next_gives_none_in_time(mem: Mnemos) -> None:
    started = time.monotonic()
    assert mem.subscribe().next(0.05) is None
    assert time.monotonic() - started >= 0.05


def test_closing_the_store_ends_its_subscriptions(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    subscription = mem.subscribe()
    ended: list[Any] = []
    reader = threading.Thread(target=lambda: ended.append(list(subscription)))
    reader.start()
    mem.close()
    reader.join(30)
    assert ended == [[]]
    assert subscription.closed


WRITER = """
    import sys
    from mnemos.kernel.system import Mnemos
    with Mnemos(sys.argv[1], embedder="none") as mem:
        for number in range(int(sys.argv[2])):
            mem.space("theirs").add(f"{sys.argv[3]} {number}")
"""


def test_what_other_processes_write_is_given_too(filed: Mnemos) -> None:
    subscription = filed.subscribe(kinds="add")
    others = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), filed.path, "30", name]) for name in ("p", "q")]
    own = filed.space("own")
    for number in range(30):
        own.add(f"own {number}")
    got: list[Event] = []
    until(lambda: bool(got.extend(subscription.poll()) or len(got) == 90))
    assert [other.wait(30) for other in others] == [0, 0]
    positions = [event.position for event in got]
    assert positions == sorted(set(positions))
    for name in ("p", "q", "own"):
        assert [event.cube.text for event in got if event.cube and event.cube.text.startswith(name)] == [f"{name} {number}" for number in range(30)]
    assert subscription.poll() == []


# -- names --
def test_a_named_subscription_goes_on_behind_what_was_acknowledged(open_memory: Callable[..., Mnemos]) -> None:
    mem = open_memory()
    first = mem.subscribe(name="indexer", kinds="add")
    space = mem.space("a")
    for text in TEXTS:
        space.add(text)
    one, two = first.next(0), first.next(0)
    first.ack(one)
    mem.close()
    mem = open_memory()
    second = mem.subscribe(name="indexer", kinds="add")
    assert second.next(0) == two  # it was given, and not acknowledged: at least once
    second.ack()
    assert told(mem.subscribe(0, name="indexer", kinds="add").poll()) == [("add", TEXTS[2])]
    second.poll()
    second.ack()
    second.ack(one)  # never back
    assert mem.subscribe(name="indexer").poll() == []
    assert mem.as_principal("bob").subscribe(0, name="indexer").position == 0  # a name is each principal's own
    mem.as_principal("a/b").subscribe(3, name="c")
    assert mem.as_principal("a").subscribe(0, name="b/c").position == 0
    with pytest.raises(Invalid, match="has no name"):
        mem.subscribe().ack()


def test_acknowledged_in_the_transaction_of_what_follows_from_it(mem: Mnemos) -> None:
    space, log = mem.space("a"), mem.space("copies")
    subscription = mem.subscribe(name="copier", spaces="a", kinds="add")
    space.add(TEXTS[0])
    event = subscription.next(0)

    def copy(fail: bool) -> None:
        with mem.transaction():
            log.add(event.cube.text)  # type: ignore[union-attr]
            subscription.ack(event)
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        copy(fail=True)
    assert mem.subscribe(name="copier", spaces="a", kinds="add").next(0) == event
    copy(fail=False)
    assert mem.subscribe(name="copier", spaces="a", kinds="add").next(0) is None
    assert [cube.text for cube in log.list()] == [TEXTS[0]]


# -- pushing --
def test_a_callback_is_called_with_each_event(mem: Mnemos) -> None:
    got: list[str] = []
    with mem.subscribe(name="pushed", kinds="add", to=lambda event: got.append(event.cube.text)):  # type: ignore[union-attr]
        for text in TEXTS:
            mem.space("a").add(text)
        until(lambda: got == TEXTS)
    mem.space("a").add("after closing")
    assert got == TEXTS
    assert told(mem.subscribe(name="pushed", kinds="add").poll()) == [("add", "after closing")]


def test_a_callback_that_fails_ends_the_subscription_and_acknowledges_nothing(mem: Mnemos) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError

    subscription = mem.subscribe(name="failing", kinds="add", to=fail)
    mem.space("a").add(TEXTS[0])
    until(lambda: subscription.closed)
    assert isinstance(subscription.failure, ZeroDivisionError)
    assert told(mem.subscribe(name="failing", kinds="add").poll()) == [("add", TEXTS[0])]
