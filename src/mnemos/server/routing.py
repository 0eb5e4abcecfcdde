"""How routes read requests and write answers: strict JSON in, plain JSON out, the same problems documented everywhere."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from pydantic import BeforeValidator
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.server import problems
from mnemos.server.guard import with_slashes
from mnemos.server.models import SPACE_PATTERN, UUID_PATTERN


def parse_json(data: bytes) -> Any:
    """The JSON value of `data`. Raises `HTTPException` 400 for what is none: NaN, lone surrogates, endless numbers or nesting, too."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(400, f"The body is no JSON: {error}"[:300]) from None


class _StrictRequest(Request):
    async def json(self) -> Any:
        return parse_json(await self.body())


class StrictRoute(APIRoute):
    """A route whose JSON bodies are sent as JSON and parsed strictly. Where a body may be left out, nothing at all is one that is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None
        needs_body = self.body_field is not None and self.body_field.field_info.is_required()

        async def strict(request: Request) -> Response:
            read = _StrictRequest(request.scope, request.receive)
            if needs_body or (takes_body and await read.body()):
                require_json(request)
            return await handle(read)

        return strict


def require_json(request: Request) -> None:
    """Raise `HTTPException` 415 where the body is not sent as JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "Send the body as `Content-Type: application/json`.")


class Answer(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def _memory(request: Request) -> Mnemos:
    memory: Mnemos = request.state.memory
    return memory


def _space_name(space: Annotated[str, Path(min_length=1, max_length=200, pattern=SPACE_PATTERN, description="The space's name")]) -> str:
    return with_slashes(space)


Memory = Annotated[Mnemos, Depends(_memory)]
Name = Annotated[str, Depends(_space_name)]


def _space(memory: Memory, name: Name) -> Space:
    """The space of the path; 404 where there is none, or none in which the principal may do anything."""
    return memory.existing_space(name)


Existing = Annotated[Space, Depends(_space)]
Id = Annotated[str, Path(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"}, description="The memory's id, a UUID")]


def _digits(value: Any) -> Any:
    if isinstance(value, str):
        if not (value.isascii() and value.lstrip("-").isdecimal() and len(value) <= 20):
            raise ValueError("expected a whole number in digits")
        return int(value)
    return value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("expected true or false")
        return value == "true"
    return value


DIGITS = BeforeValidator(_digits)
"""Beside `int`: a whole number in a query string. It stands after the bounds, which the description would lack otherwise."""
POSITION_IN_DIGITS = BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value)
"""Beside `PositionOrMoment`: digits in a query string are a position."""
Truth = Annotated[bool, BeforeValidator(_truth)]
"""`true` or `false` in a query string."""

_WHEN = {
    400: "The body is no JSON, or the path is not UTF-8",
    401: "No token, or one that the server does not know",
    403: "The principal may not do this",
    404: "No such space, memory or version, or none that the principal may see",
    409: "The change contradicts what is stored: the id is taken, the memory is frozen, or no longer at that version",
    413: "The body is too large",
    415: "The body is not sent as JSON",
    422: "The request cannot be accepted as it is; nothing was stored",
    429: "The caller asked more often than the space allows; `Retry-After` says when it may again",
    500: "The server failed; its log says why",
    502: "The upstream could not be reached, or what it sent is none of the protocol",
    503: "The store, or something that is needed, is not available",
    504: "The upstream took too long",
    507: "No room is left for the store, or by the quota of the space",
}
_RETRY = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}


def fails(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a route documents that it may answer with these problems, and with those of every route."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    every = sorted({*statuses, 400, 401, 403, 500, 503})
    return {status: {"description": _WHEN[status], "content": content, **({"headers": _RETRY} if status == 429 else {})} for status in every}


READS = fails(404, 422, 429)
WRITES = fails(404, 409, 413, 415, 422, 429, 507)
