"""An HTTP endpoint that speaks an OpenAI protocol: one POST with retries, its answer as JSON, its faults as typed errors without the key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mnemos.base.errors import Invalid, ModelUnavailable

OPENAI_BASE_URL = "https://api.openai.com/v1"

_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REASONS = {408: "timeout", 429: "rate limit", 504: "timeout"}
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_EXCERPT_CHARACTERS = 300


class Endpoint:
    """`base_url` and the model `model` behind it; `kind` says in messages what the model is for ("embedding", "chat").

    `timeout_s`: per request. `retries`: further tries after a timeout, a lost connection, a 429 or a 5xx, each after twice the wait of the
    one before or what `Retry-After` says, at most 60 s. `now` (seconds since 1970) and `sleep` are the clock. The key is sent to the server
    and appears nowhere else. Safe to share between threads. Raises `Invalid` for arguments that no endpoint can have.
    """

    def __init__(
        self,
        kind: str,
        model: str,
        *,
        base_url: str = OPENAI_BASE_URL,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not model:
            raise Invalid(f"an OpenAI-compatible {kind} model needs its name: use 'openai:MODEL'")
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise Invalid(f"{_public(base_url)!r} is not the address of an endpoint: use one that begins with http:// or https://")
        if retries < 0 or not timeout_s > 0:
            raise Invalid("retries must be at least 0, timeout_s above 0")
        api_key = api_key.strip() if api_key else None
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise Invalid(f"the key of the {kind} endpoint has characters that no HTTP header may have")
        self.kind = kind
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.retries = retries
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def address(self) -> str:
        """The address without the credentials and the query, either of which may hold a secret."""
        return _public(self.base_url)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that the server answers `body` with at `{base_url}{path}`. Raises `ModelUnavailable`."""
        response = self._response(path, body)
        try:
            return response.json()
        except ValueError as error:  # covers malformed JSON and bytes that are not UTF-8
            raise self.error(f"its answer is not JSON: {self._excerpt(response.text)}", "malformed") from error

    def misshapen(self, form: str, answer: object) -> ModelUnavailable:
        """The error for an answer that is JSON, but not the form that the protocol has."""
        return self.error(f"its answer has not the form of {form}: {self._excerpt(str(answer))}", "malformed")

    def error(self, problem: str, reason: str = "unavailable") -> ModelUnavailable:
        """The error that tells `problem`, with the `reason` that `ModelUnavailable` has for it."""
        return ModelUnavailable(
            f"the {self.kind} model {self.model!r} at {self.address} failed: {problem}. Check the address, the model's name and the key", reason
        )

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _response(self, path: str, body: dict[str, Any]) -> Any:
        client, httpx = self._open()
        wait = _FIRST_WAIT_S
        for attempt in range(self.retries + 1):
            asked, reason = None, "unavailable"
            try:
                response = client.post(f"{self.base_url}{path}", json=body)
            except httpx.TransportError as error:  # timeouts included
                problem = f"no answer ({type(error).__name__}: {self._redacted(str(error))})"
                if isinstance(error, httpx.TimeoutException):
                    reason = "timeout"
            else:
                if response.is_success:
                    return response
                problem = f"it answered with status {response.status_code}: {self._excerpt(response.text)}"
                if response.status_code not in _RETRIED_STATUS:
                    raise self.error(problem)
                reason = _REASONS.get(response.status_code, reason)
                asked = _retry_after(response.headers.get("retry-after"), self._now())
            if attempt < self.retries:
                self._sleep(min(wait if asked is None else asked, _LONGEST_WAIT_S))
                wait *= 2
        raise self.error(f"{problem} (tried {self.retries + 1} times)", reason)

    def _open(self) -> tuple[Any, Any]:
        try:
            import httpx
        except ImportError as error:
            raise ModelUnavailable(f"an OpenAI-compatible {self.kind} model needs the package httpx: run `pip install 'mnemos[remote]'`") from error
        with self._lock:
            if self._client is None:
                headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
                self._client = httpx.Client(headers=headers, timeout=self._timeout_s)
            return self._client, httpx

    def _excerpt(self, text: str) -> str:
        return self._redacted(text)[:_EXCERPT_CHARACTERS]

    def _redacted(self, text: str) -> str:
        return text.replace(self._api_key, "[key]") if self._api_key else text


def _retry_after(header: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header, which gives seconds or a date; None where it gives neither."""
    if header is None:
        return None
    from email.utils import parsedate_to_datetime  # costly to import, and seldom needed

    try:
        return max(0.0, float(header)) if header.strip()[:1].isdigit() else max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _public(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
