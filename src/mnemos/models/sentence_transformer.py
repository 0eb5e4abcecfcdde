"""Any model of the sentence-transformers library, by name or folder. Needs the `[models]` extra."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Progress, Vectors

_PROGRESS_BATCHES = 8


class SentenceTransformerEmbedder:
    """A sentence-transformers model on torch. `device`: "cpu", "cuda", … or None for the library's choice; `batch_size`: texts per forward pass.

    The library and the model are loaded by the first `embed` or `dimensions`. Safe to share between threads: calls take turns.
    """

    def __init__(self, name: str, *, revision: str | None = None, device: str | None = None, batch_size: int = 32) -> None:
        if not name:
            raise Invalid("a sentence-transformers embedder needs the model's name: use 'sentence-transformers:NAME'")
        if batch_size < 1:
            raise Invalid(f"batch_size is {batch_size}: use at least 1")
        self.name = name
        self.revision = revision
        self.batch_size = batch_size
        self._device = device
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def fingerprint(self) -> str:
        """Name and, where given, revision: without one the hub decides which weights the name means."""
        return f"sentence-transformers:{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def dimensions(self) -> int:
        """Known only to the model: the first reading loads it. Raises `ModelUnavailable`."""
        with self._lock:
            return self._loaded_dimensions()

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions), in the order of `texts`. Raises `ModelUnavailable`."""
        clean = [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        order = sorted(range(len(clean)), key=lambda index: len(clean[index]))  # like lengths together: less padding
        with self._lock:
            vectors = np.empty((len(clean), self._loaded_dimensions()), dtype=np.float32)
            step = self.batch_size * _PROGRESS_BATCHES
            for start in range(0, len(order), step):
                part = order[start : start + step]
                vectors[part] = self._encode([clean[index] for index in part])
                if progress is not None:
                    progress(start + len(part), len(clean))
        return vectors

    def _loaded_dimensions(self) -> int:
        if self._model is None:
            self._model = self._load()
        found = self._model.get_sentence_embedding_dimension()
        if not found:
            raise ModelUnavailable(f"the sentence-transformers model {self.name!r} does not say how many dimensions its vectors have")
        return int(found)

    def _load(self) -> Any:
        try:
            library = importlib.import_module("sentence_transformers")
        except ImportError as error:
            raise ModelUnavailable(
                f"the embedder {self.fingerprint!r} needs sentence-transformers, which cannot be imported ({error}): "
                "run `pip install 'mnemos[models]'`"
            ) from error
        try:
            return library.SentenceTransformer(self.name, device=self._device, revision=self.revision)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelUnavailable(f"the sentence-transformers model {self.name!r} cannot be loaded: {error}") from error

    def _encode(self, texts: list[str]) -> Vectors:
        encoded = self._model.encode(
            texts, batch_size=self.batch_size, convert_to_numpy=True, normalize_embeddings=False, show_progress_bar=False
        )
        vectors = np.asarray(encoded, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ModelUnavailable(f"the sentence-transformers model {self.name!r} gave a vector that is zero or not finite")
        return np.asarray(vectors / lengths, dtype=np.float32)
