"""Publish and subscribe on the change log: what was written, in the order of the log, each entry once from a position on.

MemOS, arXiv 2507.03724, section 5.5 (MemStore: push and pull, by tag or by meaning, under licences). The log is the queue: nothing is sent
that is not durable, a subscriber that was away goes on where it was, and what has been forgotten meanwhile is not delivered any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import orjson

from mnemos.base.clock import Moment
from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, PermissionDenied, RateLimited, StoreUnavailable
from mnemos.kernel.reading.conditions import count, position_of
from mnemos.kernel.stream.events import Event, Look, Wanted
from mnemos.store.base import Snapshot
from mnemos.store.sqlite_write import Writer

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_SCANNED = 10_000
"""Entries that one look at the log passes over at most, so that no snapshot is held for long."""
_BATCH = 64
"""Events that are found ahead at most; what is found ahead is found again where somebody writes meanwhile."""
_LONGEST_NAME = 200
_LONGEST_WAIT = 3600.0
_log = logging.getLogger("mnemos.events")
_log.addHandler(logging.NullHandler())


class Subscription:
    """What happens in a store from a position on, of what its principal may read. An iterator that waits; a context manager.

    Each event is given once, whichever thread asks. `position` is the newest entry that was given or passed over: subscribe with
    `since=position` to go on there. A subscription with a name remembers in the store how far it was acknowledged, and goes on there.
    """

    def __init__(self, system: Mnemos, wanted: Wanted, since: int | Moment | None = None, name: str | None = None) -> None:
        self._system = system
        self._wanted = wanted
        self._cursor = None if name is None else f"subscription/{orjson.dumps([system.principal, _checked_name(name)]).decode()}"
        self._meaning = None if wanted.about is None else system.embedding.question(wanted.about)
        if wanted.about is not None and self._meaning is None:
            raise Invalid("about: this store was opened without an embedder, so nothing has a meaning here; choose by tags or types")
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pusher: threading.Thread | None = None
        self.failure: Exception | None = None
        """What a callback raised, which ended the subscription."""
        self._ahead: deque[Event] = deque()
        self._seen = -1  # the store's number of changes when `_ahead` was found; another one now makes it void
        self._batch = 1
        self.position = self._scanned = self._start(since)

    def _start(self, since: int | Moment | None) -> int:
        with self._system.snapshot() as snapshot:
            _refuse_inside(snapshot)
            start = snapshot.position if since is None else position_of(snapshot, since, "since")
            acknowledged = 0 if self._cursor is None else snapshot.counter(self._cursor)
        if acknowledged:
            return acknowledged - 1  # counted from one, as 0 says that there is none
        if self._cursor is not None:
            self._acknowledge(start)
        return start

    # -- taking events --
    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; waits for it, and gives None where none comes in `timeout` seconds, or the subscription is closed.

        Raises `PermissionDenied` and `RateLimited` where the principal may not read what comes next; it is given once that is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        store = self._system.store
        try:
            while not self._closed.is_set():
                seen = store.changes()
                event, more = self._take(seen)
                if event is not None:
                    return event
                left = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
                if not more and left <= 0:
                    return None
                if not more:
                    store.await_change(seen, left, self._closed.is_set)
        except StoreUnavailable:
            if not self._closed.is_set():
                raise
        return None

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def poll(self, limit: int = 100) -> list[Event]:
        """The events that there are by now, `limit` at most, without waiting."""
        limit = count(limit, "limit")
        found: list[Event] = []
        try:
            while len(found) < limit and (event := self.next(0)) is not None:
                found.append(event)
        except (PermissionDenied, RateLimited):
            if not found:  # else it is raised by the next call, and what was given is not lost
                raise
        return found

    def _take(self, seen: int) -> tuple[Event | None, bool]:
        """(the next event, whether there may be more); `seen` is the store's number of changes, taken before anything is looked at."""
        with self._lock:
            if seen != self._seen and self._ahead:  # somebody wrote: what was found may be forgotten, or forbidden, by now
                self._ahead.clear()
                self._scanned, self._batch = self.position, max(1, self._batch // 2)
            more = bool(self._ahead) or self._find()
            self._seen = seen
            if not self._ahead:
                self.position = self._scanned
                return None, more
            event = self._ahead[0]
            if event.cube is not None and event.space is not None and self._system.principal is not None:
                self._system.existing_space(event.space).admit("read")  # licences and rates hold for what is delivered, too
            self.position = event.position
            return self._ahead.popleft(), True

    def _find(self) -> bool:
        """Look at what the log says beyond `_scanned`; gives whether it says more than was looked at."""
        self._batch = min(_BATCH, self._batch * 2)
        with self._system.snapshot() as snapshot:
            _refuse_inside(snapshot)
            for position, event in Look(self._system, snapshot, self._wanted, self._meaning).events(self._scanned, _SCANNED):
                self._scanned = position
                if event is not None:
                    self._ahead.append(event)
                    if len(self._ahead) >= self._batch:
                        break
            return self._scanned < snapshot.position

    # -- remembering how far it is --
    def ack(self, event: Event | None = None) -> None:
        """Acknowledge `event` and all before it (None: all that was given or passed over), so that a subscription of the same name goes on
        behind it. Durable with the transaction that this is called in: what is written there is written once for each event.

        Raises `Invalid` for a subscription without a name.
        """
        if self._cursor is None:
            raise Invalid("ack: this subscription has no name to be remembered by; subscribe with name=…")
        self._acknowledge(self.position if event is None else event.position)

    def _acknowledge(self, position: int) -> None:
        assert self._cursor is not None
        with self._system.writing() as transaction:
            ahead = position + 1 - transaction.counter(self._cursor)
            if ahead > 0:
                transaction.count_up(self._cursor, ahead)

    # -- pushing --
    def push(self, to: Callable[[Event], object]) -> None:
        """Call `to` with each event, in a thread of its own; with a name, each is acknowledged when the call has returned.

        What `to` raises ends the subscription, and is kept in `failure`; the event stays unacknowledged.
        """

        def run() -> None:
            try:
                for event in self:
                    to(event)
                    if self._cursor is not None:
                        self.ack(event)
            except Exception as error:  # noqa: BLE001  (a thread has no caller: the error is kept, and logged)
                _log.warning("subscription: %s: %s", type(error).__name__, error, exc_info=error)
                self.failure = error
                self._closed.set()

        self._pusher = threading.Thread(target=run, name="mnemos events", daemon=True)
        self._pusher.start()

    # -- ending --
    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End it: whoever waits for an event gets none. A callback that runs is waited for."""
        self._closed.set()
        if self._pusher is not None and self._pusher is not threading.current_thread():
            self._pusher.join()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_inside(snapshot: Snapshot) -> None:
    if isinstance(snapshot, Writer):
        raise Invalid("subscription: inside a transaction nothing can be given, as what it has written may yet be undone; end it first")


def _checked_name(name: object) -> str:
    text = check_text(name, "name")
    if not text.strip() or len(text) > _LONGEST_NAME:
        raise Invalid(f"name: a subscription's name has 1 to {_LONGEST_NAME} characters, not all blank")
    return text
