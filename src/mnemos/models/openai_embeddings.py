"""Embeddings from any server that speaks the OpenAI `/embeddings` protocol."""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Progress, Vectors

OPENAI_BASE_URL = "https://api.openai.com/v1"
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}

_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_EXCERPT_CHARACTERS = 300


class OpenAIEmbedder:
    """Embedder behind an OpenAI-compatible endpoint: `POST {base_url}/embeddings`.

    `dimensions`: asked of the server where given; otherwise known for OpenAI's own models, and learnt by one small request for others.
    `batch_size`: texts per request. `timeout_s`: per request. `retries`: further tries after a timeout, a lost connection, a 429 or a 5xx, each
    after twice the wait of the one before or what `Retry-After` says, at most 60 s. `now` (seconds since 1970) and `sleep` are the clock.
    The key is sent to the server and appears nowhere else. Safe to share between threads.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI_BASE_URL,
        api_key: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 128,
        timeout_s: float = 60.0,
        retries: int = 4,
        encoding_format: str = "float",
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not model:
            raise Invalid("an OpenAI-compatible embedder needs the model's name: use 'openai:MODEL'")
        if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
            raise Invalid(f"{_public(base_url)!r} is not the address of an endpoint: use one that begins with http:// or https://")
        if batch_size < 1 or retries < 0 or not timeout_s > 0 or (dimensions is not None and dimensions < 1):
            raise Invalid("batch_size and dimensions must be at least 1, retries at least 0, timeout_s above 0")
        if encoding_format not in ("float", "base64"):
            raise Invalid(f"encoding_format {encoding_format!r} is not known: use 'float' or 'base64'")
        api_key = api_key.strip() if api_key else None
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise Invalid("the key of the embedding endpoint has characters that no HTTP header may have")
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.batch_size = batch_size
        self.retries = retries
        self._api_key = api_key
        self._requested = dimensions
        self._dimensions = dimensions or KNOWN_DIMENSIONS.get(model)
        self._timeout_s = timeout_s
        self._encoding_format = encoding_format
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._client: Any = None

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, base_url={_public(self.base_url)!r})"

    @property
    def fingerprint(self) -> str:
        """Model, requested dimensions and endpoint: two servers may give one name to different weights."""
        return f"openai:{self.model}:{self._requested or 'default'}:{_public(self.base_url)}"

    @property
    def dimensions(self) -> int:
        """Known beforehand where it was given or is OpenAI's own; else asked of the server once. Raises `ModelUnavailable`."""
        if self._dimensions is None:
            self._dimensions = self._request(["dimensions"]).shape[1]
        return self._dimensions

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`. Blank texts are sent as one full stop.

        Raises `ModelUnavailable`, with the status and the beginning of the answer, where the server refuses, fails or answers wrongly.
        """
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        parts: list[Vectors] = []
        for start in range(0, len(texts), self.batch_size):
            part = self._request([_sendable(text) for text in texts[start : start + self.batch_size]])
            if self._dimensions is None:
                self._dimensions = part.shape[1]
            if part.shape[1] != self._dimensions:
                raise self._error(f"it answered with vectors of {part.shape[1]} dimensions where {self._dimensions} were expected")
            parts.append(part)
            if progress is not None:
                progress(start + len(part), len(texts))
        return np.concatenate(parts)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _request(self, texts: list[str]) -> Vectors:
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": self._encoding_format}
        if self._requested is not None:
            body["dimensions"] = self._requested
        response = self._post(body)
        try:
            answer = response.json()
        except ValueError as error:  # covers malformed JSON and bytes that are not UTF-8
            raise self._error(f"its answer is not JSON: {self._excerpt(response)}") from error
        return self._vectors(answer, len(texts))

    def _post(self, body: dict[str, Any]) -> Any:
        client, httpx = self._open()
        wait = _FIRST_WAIT_S
        for attempt in range(self.retries + 1):
            asked = None
            try:
                response = client.post(f"{self.base_url}/embeddings", json=body)
            except httpx.TransportError as error:  # timeouts included
                problem = f"no answer ({type(error).__name__}: {self._redacted(str(error))})"
            else:
                if response.is_success:
                    return response
                problem = f"it answered with status {response.status_code}: {self._excerpt(response)}"
                if response.status_code not in _RETRIED_STATUS:
                    raise self._error(problem)
                asked = _retry_after(response.headers.get("retry-after"), self._now())
            if attempt < self.retries:
                self._sleep(min(wait if asked is None else asked, _LONGEST_WAIT_S))
                wait *= 2
        raise self._error(f"{problem} (tried {self.retries + 1} times)")

    def _open(self) -> tuple[Any, Any]:
        try:
            import httpx
        except ImportError as error:
            raise ModelUnavailable("an OpenAI-compatible embedder needs the package httpx: run `pip install 'mnemos[remote]'`") from error
        with self._lock:
            if self._client is None:
                headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
                self._client = httpx.Client(headers=headers, timeout=self._timeout_s)
            return self._client, httpx

    def _vectors(self, answer: Any, count: int) -> Vectors:
        try:
            items = sorted(((int(item["index"]), item["embedding"]) for item in answer["data"]), key=lambda item: item[0])
        except (KeyError, TypeError, ValueError) as error:
            raise self._error(f"its answer has not the form of embeddings: {self._redacted(str(answer))[:_EXCERPT_CHARACTERS]}") from error
        if [index for index, _ in items] != list(range(count)):
            raise self._error(f"{count} texts were sent, and vectors for {[index for index, _ in items][:20]} came back")
        try:
            rows = [np.asarray(_decoded(embedding), dtype=np.float32) for _, embedding in items]
            vectors = np.stack(rows)
        except (TypeError, ValueError, binascii.Error) as error:
            raise self._error(f"its vectors cannot be read: {error}") from error
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
        if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all() or not lengths.all():
            raise self._error("its vectors are empty, zero, or have values that are not finite numbers")
        return np.asarray(vectors / lengths, dtype=np.float32)

    def _excerpt(self, response: Any) -> str:
        return self._redacted(response.text)[:_EXCERPT_CHARACTERS]

    def _redacted(self, text: str) -> str:
        return text.replace(self._api_key, "[key]") if self._api_key else text

    def _error(self, problem: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"the embedding model {self.model!r} at {_public(self.base_url)} failed: {problem}. Check the address, the model's name and the key"
        )


def _decoded(embedding: Any) -> Any:
    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4") if isinstance(embedding, str) else embedding


def _sendable(text: str) -> str:
    text = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return text if text.strip() else "."  # OpenAI refuses an empty input, and with it the whole batch


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
    """The address without the credentials and the query, either of which may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
