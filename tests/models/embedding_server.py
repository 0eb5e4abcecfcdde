"""A local HTTP server that speaks the OpenAI `/embeddings` protocol and follows a script of faults."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

from mnemos.models.hashed import HashedEmbedder
from scripted_server import Answer, ScriptedServer, Step, ok, slowly

DIMENSIONS = 48


class EmbeddingServer(ScriptedServer):
    """Answers properly once the script is used up."""

    def __init__(self, *script: Step) -> None:
        super().__init__("/v1/embeddings", proper, *script)


def vectors_of(body: dict[str, Any]) -> np.ndarray:
    """What the served model makes of the texts: not of unit length, as servers are free to send."""
    return 3.0 * HashedEmbedder(dimensions=body.get("dimensions", DIMENSIONS)).embed(body["input"])


def answer_of(vectors: np.ndarray, encoding: str = "float") -> dict[str, Any]:
    def encoded(vector: np.ndarray) -> Any:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()

    data = [{"object": "embedding", "index": index, "embedding": encoded(vector)} for index, vector in enumerate(vectors)]
    return {"object": "list", "model": "test", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def proper(body: dict[str, Any]) -> Answer:
    return ok(answer_of(vectors_of(body), body.get("encoding_format", "float")))


def shuffled(body: dict[str, Any]) -> Answer:
    answer = answer_of(vectors_of(body))
    answer["data"].reverse()
    return ok(answer)


def changed(change: Callable[[dict[str, Any]], Any]) -> Step:
    """A proper answer after `change` has had its way with it."""

    def step(body: dict[str, Any]) -> Answer:
        answer = answer_of(vectors_of(body))
        change(answer)
        return ok(answer)

    return step


def slow(seconds: float) -> Step:
    return slowly(seconds, proper)
