"""Server-sent events (WHATWG HTML, section 9.2): how routes that answer as a stream write and describe them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.responses import StreamingResponse

from mnemos.server import problems

MEDIA_TYPE = "text/event-stream"
CONTENT = {
    MEDIA_TYPE: {
        "schema": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": {"type": "string", "contentMediaType": "application/json"}},
        }
    }
}
"""The content of an answer of such events, as OpenAPI describes it."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(kind: str, data: Any) -> bytes:
    """One event; `data` as JSON, which has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(data))


def problem(error: Exception, instance: str) -> bytes:
    """The event that ends a stream which fails after it has begun: a problem document."""
    return event("problem", problems.of_error(error, instance))


def streamed(said: AsyncIterator[bytes]) -> StreamingResponse:
    """The answer that says these events one by one. When the client leaves, `said` is cancelled where it waits."""
    return StreamingResponse(said, media_type=MEDIA_TYPE, headers=_HEADERS)
