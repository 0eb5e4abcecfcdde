"""Embeddings from any server that speaks the OpenAI `/embeddings` protocol."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Progress, Vectors
from mnemos.base.utf8 import sendable
from mnemos.models.openai_endpoint import OPENAI_BASE_URL, Endpoint

KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class OpenAIEmbedder:
    """Embedder behind an OpenAI-compatible endpoint: `POST {base_url}/embeddings`.

    `dimensions`: asked of the server where given; otherwise known for OpenAI's own models, and learnt by one small request for others.
    `batch_size`: texts per request. `timeout_s`, `retries`, `now` and `sleep` as `Endpoint` says. Safe to share between threads.
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
        if batch_size < 1 or (dimensions is not None and dimensions < 1):
            raise Invalid("batch_size and dimensions must be at least 1")
        if encoding_format not in ("float", "base64"):
            raise Invalid(f"encoding_format {encoding_format!r} is not known: use 'float' or 'base64'")
        self.model = model
        self.batch_size = batch_size
        self._endpoint = Endpoint("embedding", model, base_url=base_url, api_key=api_key, timeout_s=timeout_s, retries=retries, now=now, sleep=sleep)
        self._requested = dimensions
        self._dimensions = dimensions or KNOWN_DIMENSIONS.get(model)
        self._encoding_format = encoding_format

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, base_url={self._endpoint.address!r})"

    @property
    def fingerprint(self) -> str:
        """Model, requested dimensions and endpoint: two servers may give one name to different weights."""
        return f"openai:{self.model}:{self._requested or 'default'}:{self._endpoint.address}"

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
            part = self._request([sendable(text) if text.strip() else "." for text in texts[start : start + self.batch_size]])
            if self._dimensions is None:
                self._dimensions = part.shape[1]
            if part.shape[1] != self._dimensions:
                raise self._endpoint.error(f"it answered with vectors of {part.shape[1]} dimensions where {self._dimensions} were expected")
            parts.append(part)
            if progress is not None:
                progress(start + len(part), len(texts))
        return np.concatenate(parts)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._endpoint.close()

    def _request(self, texts: list[str]) -> Vectors:
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": self._encoding_format}
        if self._requested is not None:
            body["dimensions"] = self._requested
        return self._vectors(self._endpoint.post("/embeddings", body), len(texts))

    def _vectors(self, answer: Any, count: int) -> Vectors:
        try:
            items = sorted(((int(item["index"]), item["embedding"]) for item in answer["data"]), key=lambda item: item[0])
        except (KeyError, TypeError, ValueError) as error:
            raise self._endpoint.misshapen("embeddings", answer) from error
        if [index for index, _ in items] != list(range(count)):
            raise self._endpoint.error(f"{count} texts were sent, and vectors for {[index for index, _ in items][:20]} came back")
        try:
            rows = [np.asarray(_decoded(embedding), dtype=np.float32) for _, embedding in items]
            vectors = np.stack(rows)
        except (TypeError, ValueError, binascii.Error) as error:
            raise self._endpoint.error(f"its vectors cannot be read: {error}") from error
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
        if vectors.ndim != 2 or not vectors.shape[1] or not np.isfinite(vectors).all() or not lengths.all():
            raise self._endpoint.error("its vectors are empty, zero, or have values that are not finite numbers")
        return np.asarray(vectors / lengths, dtype=np.float32)


def _decoded(embedding: Any) -> Any:
    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4") if isinstance(embedding, str) else embedding
