"""Errors as problem documents (RFC 9457): what happened, to what, what the caller can do; never a traceback, never the server's paths."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from mnemos.base import errors
from mnemos.server.models import UUID_PATTERN

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("mnemos.server")

_TITLES = {
    400: "Bad request", 401: "Not authenticated", 403: "Not allowed", 404: "Not found", 405: "Method not allowed", 409: "Conflict",
    413: "Too large", 415: "Unsupported media type", 422: "Not acceptable as it is", 429: "Too many requests", 500: "Internal error",
    502: "Bad gateway", 503: "Unavailable", 504: "Gateway timed out", 507: "Store is full",
}  # fmt: skip
_DAMAGED = "Stored bytes are damaged. The server's log names the file and the place; `mnemos doctor` says what can be done."
_FAILED = "The server failed while it answered. Its log says why; what was stored before is untouched."
_DENIED = "You may not do this here, or not to all that follows from it. Ask the space's owner."
_FULL = "No room is left for the store; the change was not made. Free space on the server and try again."
_AWAY = "The store cannot be read or written now; the change was not made. Try again later."
# (error, status, type, detail); the error's own words stand where no detail is given. Those of the store name files of the server,
# and those of permissions may name a space that the caller did not ask about, so they stay in the log.
_KNOWN: tuple[tuple[type[Exception], int, str, str | None], ...] = (
    (errors.Invalid, 422, "invalid", None),
    (errors.NotFound, 404, "not-found", None),
    (errors.Frozen, 409, "frozen", None),
    (errors.Conflict, 409, "conflict", None),
    (errors.PermissionDenied, 403, "permission-denied", _DENIED),
    (errors.RateLimited, 429, "rate-limited", None),
    (errors.QuotaExceeded, 507, "quota-exceeded", None),
    (errors.StoreFull, 507, "store-full", _FULL),
    (errors.StoreUnavailable, 503, "store-unavailable", _AWAY),
    (errors.ModelUnavailable, 503, "model-unavailable", "A model that this needs is not there or failed. The server's log says which."),
    (errors.FingerprintMismatch, 503, "fingerprint-mismatch", "What is stored was made by another model. The server's log says which."),
    (errors.Corrupt, 500, "corrupt", _DAMAGED),
    (errors.MnemosError, 500, "internal", _FAILED),
)


_SPEAKABLE = frozenset(error.__name__ for error, _, _, detail in _KNOWN if detail is None)


def told(error: str) -> str:
    """An error that was kept as "Kind: words", with its words where those may leave the server, and by its kind alone where not."""
    kind = error.partition(":")[0]
    return error if kind in _SPEAKABLE else kind


class Fault(BaseModel):
    """One thing wrong with a request: where, and what."""

    where: str
    problem: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Its kind; `about:blank` where the status says it all", json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked for", json_schema_extra={"format": "uri-reference"})
    errors: list[Fault] | None = None
    retry_after: int | None = Field(None, description="Seconds after which the same request may be made again")


def document(status: int, detail: str, instance: str, *, kind: str | None = None, **more: Any) -> dict[str, Any]:
    """The members of a problem document; `more` are further ones."""
    return {
        "type": f"urn:mnemos:problem:{kind}" if kind else "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "instance": instance,
        **{name: value for name, value in more.items() if value is not None},
    }


def response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """The answer that carries a problem document. One that says when to try again says so in its headers, too."""
    more = {"Retry-After": str(body["retry_after"])} if "retry_after" in body else {}
    return Response(orjson.dumps(_printable(body)), body["status"], headers={**(headers or {}), **more}, media_type=MEDIA_TYPE)


def of_error(error: Exception, instance: str) -> dict[str, Any]:
    """The problem document of any error. Those that are the server's own fault go to the log, with all they say."""
    for known, status, kind, detail in _KNOWN:
        if isinstance(error, known):
            if status >= 500 and kind != "quota-exceeded":
                log.error("%s: %s", instance, error, exc_info=error if status == 500 else None)
            again = math.ceil(error.retry_after) if isinstance(error, errors.RateLimited) else None
            return document(status, detail or str(error), instance, kind=kind, retry_after=again)
    log.error("%s: unexpected %s", instance, type(error).__name__, exc_info=error)
    return document(500, _FAILED, instance)


def instance_of(scope: Scope) -> str:
    """The path that a request asked for, as a URI reference."""
    raw: bytes | None = scope.get("raw_path")
    return quote(raw.split(b"?")[0] if raw else scope["path"], safe="/%:@!$&'()*+,;=~")


def _printable(value: Any) -> Any:
    """The value with every text in a form that UTF-8 can carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {str(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def faults(found: Sequence[Any]) -> list[dict[str, str]]:
    """What pydantic found wrong, in plain words and without repeating what was sent. At most 20 of them."""
    return [{"where": "/".join(str(step)[:80] for step in fault["loc"]), "problem": _in_words(fault)[:300]} for fault in found[:20]]


def _in_words(fault: Any) -> str:
    """What is wrong, without the marks of the library that found it."""
    if fault.get("ctx", {}).get("pattern") == UUID_PATTERN:
        return "expected a UUID, such as 01890a5d-ac96-774b-bcce-b302099a8057"
    if fault["type"] == "extra_forbidden":
        return "there is no such field"
    return str(fault["msg"]).removeprefix("Value error, ")


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(errors.MnemosError)
    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return response(of_error(error, instance_of(request.scope)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = faults(error.errors())
        detail = f"{found[0]['where']}: {found[0]['problem']}" if found else "the request does not fit the description in /openapi.json"
        return response(document(422, detail, instance_of(request.scope), kind="invalid", errors=found))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        details = {
            404: "Nothing lives at this path; /openapi.json names what does.",
            405: "This path does not take this method; the Allow header names those that it takes.",
        }
        said = error.detail if not _is_phrase(error) else details.get(error.status_code, error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(request.app.state.methods(request.url.path)))
        return response(document(error.status_code, str(said), instance_of(request.scope)), headers)


def _is_phrase(error: HTTPException) -> bool:
    return error.detail in ("Not Found", "Method Not Allowed")
