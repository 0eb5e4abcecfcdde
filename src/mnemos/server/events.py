"""The route of events: the change log as it grows, as server-sent events, resumed where a connection broke."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from mnemos.base.errors import MnemosError
from mnemos.kernel.stream.subscriptions import Subscription
from mnemos.kernel.system import Mnemos
from mnemos.server import models, problems, sent_events
from mnemos.server.routing import POSITION_IN_DIGITS, Memory, StrictRoute, Truth, fails, parse_json

router = APIRouter(route_class=StrictRoute, tags=["server"])
HEARTBEAT_SECONDS = 15.0
"""A quiet stream says that it lives this often, so that no proxy between takes it for dead, and a client that went away is noticed."""
MOST_STREAMS = 200
_AT_ONCE = 100
_LOOK_SECONDS = 1.0
_RETRY = b"retry: 1000\n\n"


class Streams:
    """The open event streams of an application. One thread notices commits for all of them, while there are any."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stopping = False
        self._open = 0
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def require_room(self) -> None:
        """Raise `HTTPException` 503 where there are too many already."""
        if self._open >= MOST_STREAMS:
            raise HTTPException(503, f"{MOST_STREAMS} event streams are open already; close one, or poll /v1/log")

    def _is_stopping(self) -> bool:
        return self.stopping

    def stop(self) -> None:
        """End every stream: the server is to stop."""
        self.stopping = True
        self._wake()

    async def close(self) -> None:
        self.stop()
        if self._watching is not None:
            await self._watching

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()

    async def _watch(self, memory: Mnemos) -> None:
        limiter = anyio.CapacityLimiter(1)  # a thread of its own, which no request waits for
        seen = -1
        with contextlib.suppress(MnemosError):  # each stream meets it itself, and says so
            while self._open and not self.stopping:
                found = await anyio.to_thread.run_sync(memory.store.await_change, seen, _LOOK_SECONDS, self._is_stopping, limiter=limiter)
                if found != seen:
                    seen = found
                    self._wake()

    async def run(self, memory: Mnemos, subscription: Subscription, content: bool, instance: str) -> AsyncIterator[bytes]:
        """What a stream says, until its time is over, the server stops, or the subscriber may not read on."""
        end = time.monotonic() + self.seconds
        self._open += 1
        try:
            if self._watching is None or self._watching.done():
                self._watching = asyncio.create_task(self._watch(memory))
            yield _RETRY
            while not self.stopping and time.monotonic() < end:
                changed = self._changed  # before looking, so that nothing that comes meanwhile is slept through
                try:
                    events = await run_in_threadpool(subscription.poll, _AT_ONCE)
                except MnemosError as error:
                    yield sent_events.problem(error, instance)
                    return
                for event in events:
                    yield b"id: %d\n" % event.position + sent_events.event(event.kind, event.as_json(content=content))
                if len(events) == _AT_ONCE:
                    continue
                with anyio.move_on_after(min(HEARTBEAT_SECONDS, max(0.0, end - time.monotonic()))) as waited:
                    await changed.wait()
                if waited.cancelled_caught:
                    yield b": nothing new\nid: %d\n\n" % subscription.position
        finally:
            self._open -= 1
            subscription.close()


class EventsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: Annotated[models.PositionOrMoment, POSITION_IN_DIGITS] | None = Field(
        None, description="Entries after this position of the log, or this time; from now on where left out"
    )
    space: list[models.Word] | None = Field(None, description="Only of these spaces")
    kind: list[models.EventKind] | None = Field(None, description="Only entries of these kinds")
    type: list[models.Word] | None = Field(None, description="Only of memories of these types")
    tag: list[models.Word] | None = Field(None, description="Only of memories with each of these tags")
    filter: str | None = Field(None, description='Only of memories whose metadata meets a condition, as JSON: {"session": 3}')
    about: models.Text | None = Field(None, description="Only of memories whose meaning is near that of this text")
    similarity: Annotated[float, Field(ge=-1, le=1)] = Field(0.5, description="With `about`: the least cosine")
    content: Truth = Field(False, description="Also give the memory as it was then")


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of server-sent events. `id` is the position in the log, `event` the kind of entry, `data` one JSON object "
        "(#/components/schemas/Event). A comment says now and then that the stream lives. `event: problem` carries a problem document and ends it.",
        "content": sent_events.CONTENT,
    },
    **fails(422),
}


@router.get("/v1/events", response_class=StreamingResponse, responses=_STREAM)
async def events(
    request: Request,
    memory: Memory,
    query: Annotated[EventsQuery, Query()],
    last_event_id: Annotated[
        str | None, Header(pattern="^[0-9]{1,15}$", description="Where a broken stream was: goes before `since`. Browsers send it by themselves")
    ] = None,
) -> StreamingResponse:
    """What happens, as it happens, in the order of the log: of the spaces and memories that the principal may read, and never what was forgotten.

    The stream ends now and then; whoever reconnects with `Last-Event-ID` misses nothing and gets nothing twice.
    """
    wanted: dict[str, Any] = {
        "spaces": query.space, "kinds": query.kind, "types": query.type, "tags": query.tag, "about": query.about, "similarity": query.similarity,
        "filter": None if query.filter is None else parse_json(query.filter.encode("utf-8", "replace")),
    }  # fmt: skip
    since = query.since if last_event_id is None else int(last_event_id)
    streams: Streams = request.app.state.streams
    streams.require_room()
    subscription = await run_in_threadpool(lambda: memory.subscribe(since, **wanted))
    return sent_events.streamed(streams.run(memory, subscription, query.content, problems.instance_of(request.scope)))
