"""Embedders under test: every driver, each converted or started once per session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from embedding_server import DIMENSIONS, EmbeddingServer

from mnemos.base.protocols import Embedder
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM
from mnemos.models.openai_embeddings import OpenAIEmbedder
from mnemos.models.sentence_transformer import SentenceTransformerEmbedder


@pytest.fixture(scope="session")
def minilm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def minilm(minilm_cache: Path) -> MiniLM:
    return MiniLM(cache=minilm_cache, threads=2)


@pytest.fixture(scope="session")
def minilm_float32(minilm_cache: Path) -> MiniLM:
    return MiniLM(precision="float32", cache=minilm_cache, threads=2)


class FakeSentenceTransformer:
    """Stands for the library's class: its constructor's and `encode`'s keywords, vectors that are not of unit length."""

    loaded: list[tuple[str, str | None, str | None]]

    def __init__(self, name: str, device: str | None = None, revision: str | None = None) -> None:
        if name == "no/such-model":
            raise OSError("no/such-model is not a local folder and is not a valid model identifier")
        type(self).loaded.append((name, device, revision))
        self._hashed = HashedEmbedder(dimensions=DIMENSIONS)

    def get_sentence_embedding_dimension(self) -> int:
        return DIMENSIONS

    def encode(
        self, texts: list[str], *, batch_size: int, convert_to_numpy: bool, normalize_embeddings: bool, show_progress_bar: bool
    ) -> np.ndarray:
        assert convert_to_numpy
        for text in texts:
            text.encode("utf-8")  # as a tokenizer does: a lone surrogate raises
        return 2.0 * self._hashed.embed(texts)


@pytest.fixture(scope="session")
def fake_library() -> Iterator[type[FakeSentenceTransformer]]:
    FakeSentenceTransformer.loaded = []
    module: Any = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sentence_transformers", module)
        yield FakeSentenceTransformer


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as running:
        yield running


DRIVERS = ("hashed", "hashed:1024", "minilm", "minilm:float32", "openai", "openai:base64", "sentence-transformers")


@pytest.fixture(scope="session", params=DRIVERS)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    match request.param:
        case "minilm":
            return request.getfixturevalue("minilm")
        case "minilm:float32":
            return request.getfixturevalue("minilm_float32")
        case "openai":
            return OpenAIEmbedder("test", base_url=request.getfixturevalue("server").url, batch_size=5, api_key="k")
        case "openai:base64":
            url = request.getfixturevalue("server").url
            return OpenAIEmbedder("test", base_url=url, dimensions=32, encoding_format="base64")
        case "sentence-transformers":
            request.getfixturevalue("fake_library")
            return SentenceTransformerEmbedder("some/model", batch_size=2)
        case _:
            return HashedEmbedder(dimensions=int(request.param.partition(":")[2] or 256))
