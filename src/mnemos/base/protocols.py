"""Small protocols that several floors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with (done, total) while long work goes on."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors. One protocol, several drivers (`mnemos.models`)."""

    @property
    def fingerprint(self) -> str:
        """Names the model, its weights and its precision: vectors of one fingerprint, and only those, are comparable."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`. Raises `ModelUnavailable`."""
        ...


class Message(TypedDict):
    """One turn of a conversation with a language model."""

    role: Literal["system", "user", "assistant"]
    content: str


@runtime_checkable
class ChatModel(Protocol):
    """Completes conversations. One protocol, several drivers (`mnemos.models`)."""

    @property
    def fingerprint(self) -> str:
        """Names the model and where it runs: what it says is only comparable within one fingerprint."""
        ...

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        """The next turn of each conversation, in their order: one batched call. With `schema` (JSON Schema of an object) the model is asked
        to answer in that form; the texts come as the model wrote them, so parse them with care. Raises `ModelUnavailable`, where any fails."""
        ...
