"""Counts and latencies for Prometheus, each app with its own registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """What the server counts. Labels are routes, methods and statuses, never anything that a caller wrote."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("mnemos_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry)
        labels = ["method", "route"]
        self._seconds = Histogram("mnemos_http_request_seconds", "Time to answer", labels, buckets=_BUCKETS, registry=self.registry)
        self._searches = Counter("mnemos_searches", "Searches and contexts", registry=self.registry)
        self._written = Counter("mnemos_memories_written", "Memories and versions written", registry=self.registry)
        self._forgotten = Counter("mnemos_memories_forgotten", "Memories forgotten", registry=self.registry)
        self._unremembered = Counter("mnemos_proxy_not_remembered", "Turns that the proxy could not remember", registry=self.registry)

    def watch(self, memory: Callable[[], Mnemos | None]) -> None:
        """Show how many vectors of the store that `memory` gives are searched on disk, and what that takes."""

        def total(key: str) -> float:
            store = memory()
            return 0.0 if store is None else float(sum(one.get(key, 0) for one in store.vector_files.describe(opened=True)))

        for name, what, key in (
            ("mnemos_vectors_on_disk", "Vectors that are searched on disk", "vectors"),
            ("mnemos_vectors_disk_bytes", "Bytes on disk of the indexes of vectors", "bytes_on_disk"),
            ("mnemos_vectors_disk_memory_bytes", "Bytes in memory of the indexes of vectors on disk", "bytes_in_memory"),
            ("mnemos_vectors_disk_backlog", "Splits and merges of lists that wait", "backlog"),
        ):
            gauge = Gauge(name, what, registry=self.registry)
            gauge.set_function(partial(total, key))

    def searched(self) -> None:
        self._searches.inc()

    def wrote(self, count: int) -> None:
        self._written.inc(count)

    def forgot(self, count: int) -> None:
        self._forgotten.inc(count)

    def not_remembered(self) -> None:
        self._unremembered.inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """(text, media type) of everything counted."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class Measured:
    """ASGI middleware that counts requests and their time, up to the last byte of the answer."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", None) or "none"
            self._metrics.answered(scope["method"], route, status, time.perf_counter() - started)
