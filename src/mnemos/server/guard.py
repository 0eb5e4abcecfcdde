"""Who asks, from where, and how much they send: decided before any route sees the request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnemos.base.errors import Invalid
from mnemos.kernel.system import Mnemos
from mnemos.server import problems

OPEN_PATHS = frozenset({"/", "/docs", "/healthz", "/readyz", "/openapi.json"})
"""Paths that say nothing of any memory, and need no token."""
NDJSON = "application/x-ndjson"
_SLASH = "\U0010ffff"
"""Stands for a slash inside a path segment while routing. No text holds this noncharacter on purpose; requests with it are refused."""


class Tokens:
    """Bearer tokens and the principals that they name. None is the owner of the store."""

    def __init__(self, tokens: Mapping[str, str | None] | None) -> None:
        for token in tokens or {}:
            if not token or not token.isascii() or any(character <= " " for character in token):
                raise Invalid("tokens: a token is visible ASCII without blanks; Python's secrets.token_urlsafe() makes good ones")
        self._digests = [(hashlib.sha256(token.encode()).digest(), principal) for token, principal in (tokens or {}).items()]
        self._views: dict[str | None, Mnemos] = {}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def memory(self, authorization: str | None, owner: Mnemos) -> Mnemos | None:
        """`owner`'s store as the principal whose token is given sees it; None for no token or a wrong one. Takes as long for any token."""
        scheme, _, token = (authorization or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
        found = [principal for known, principal in self._digests if hmac.compare_digest(known, digest)]
        if not found or scheme.lower() != "bearer":
            return None
        if found[0] not in self._views:
            self._views[found[0]] = owner.as_principal(found[0])
        return self._views[found[0]]


def is_loopback(host: str) -> bool:
    """Whether a host name or address (without port) is this machine's own."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(authority: str) -> str:
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """ASGI middleware: reads the path strictly, checks host and token, limits the body, and says which view of the store a request gets.

    Without tokens only requests that name this machine are answered, and none that a page from elsewhere makes a browser send
    (DNS rebinding, cross-site requests).
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, max_body_bytes: int) -> None:
        self._app = app
        self._tokens = tokens
        self._max = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._decode_path(scope) or self._check_origin(headers)
        problem = problem or self._check_token(scope, headers) or self._check_length(headers)
        if problem is not None:
            status, detail = problem
            more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            await problems.response(problems.document(status, detail, problems.instance_of(scope)), more)(scope, receive, send)
            return
        if not headers.get("content-type", "").startswith(NDJSON):
            receive = self._limited(receive)
        await self._app(scope, receive, send)

    @staticmethod
    def _decode_path(scope: Scope) -> tuple[int, str] | None:
        """Decode the path segment by segment, so that a name may hold a slash; refuse what is not UTF-8."""
        raw: bytes | None = scope.get("raw_path")
        if not raw or b"%" not in raw:
            return None
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in raw.split(b"?")[0].split(b"/")]
        except UnicodeDecodeError:
            return 400, "The path is not UTF-8."
        if any(_SLASH in segment for segment in segments):
            return 400, "The path holds a noncharacter (U+10FFFF)."
        scope["path"] = "/".join(segment.replace("/", _SLASH) for segment in segments)
        return None

    def _check_origin(self, headers: Headers) -> tuple[int, str] | None:
        if self._tokens:
            return None
        if not is_loopback(_hostname(headers.get("host", ""))):
            return 403, "Without tokens this server answers requests to localhost only; configure a token to reach it by another name."
        origin = headers.get("origin")
        if origin is not None and not is_loopback(_hostname(origin.partition("://")[2])):
            return 403, "Without tokens this server refuses requests that a page from elsewhere sends; configure a token."
        return None

    def _check_token(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        owner: Mnemos = scope["app"].state.memory
        memory = self._tokens.memory(headers.get("authorization"), owner) if self._tokens else owner
        if memory is None and scope["path"] not in OPEN_PATHS:
            return 401, "This needs a token that the server knows, as `Authorization: Bearer TOKEN`."
        scope.setdefault("state", {})["memory"] = memory
        return None

    def _check_length(self, headers: Headers) -> tuple[int, str] | None:
        length = headers.get("content-length", "0")
        too_large = length.isdecimal() and int(length[:20]) > self._max
        return self._too_large() if too_large and not headers.get("content-type", "").startswith(NDJSON) else None

    def _too_large(self) -> tuple[int, str]:
        return 413, f"The body is larger than the {self._max:,} bytes that are accepted; send many memories as {NDJSON}, one to a line."

    def _limited(self, receive: Receive) -> Receive:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max:
                status, detail = self._too_large()
                raise HTTPException(status, detail)
            return message

        return limited


def with_slashes(name: str) -> str:
    """A path parameter with its slashes back in place."""
    return name.replace(_SLASH, "/")
