"""Embedders by name and by fingerprint, without loading any."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Progress, Vectors
from mnemos.models.catalog import EMBEDDERS, from_fingerprint, open_embedder
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM
from mnemos.models.openai_embeddings import OpenAIEmbedder
from mnemos.models.sentence_transformer import SentenceTransformerEmbedder


@pytest.mark.parametrize(
    ("spec", "kind", "start"),
    [
        ("minilm", MiniLM, "minilm:int8:"),
        ("minilm:float32", MiniLM, "minilm:float32:"),
        (None, MiniLM, "minilm:int8:"),
        ("hashed", HashedEmbedder, "hashed:256:"),
        (" hashed:512 ", HashedEmbedder, "hashed:512:"),
        ("openai:text-embedding-3-small", OpenAIEmbedder, "openai:text-embedding-3-small:default:https://api.openai.com/v1"),
        ("sentence-transformers:BAAI/bge-small-en-v1.5", SentenceTransformerEmbedder, "sentence-transformers:BAAI/bge-small-en-v1.5"),
        ("sentence-transformers:a/b@main", SentenceTransformerEmbedder, "sentence-transformers:a/b@main"),
    ],
)
def test_names(spec: str | None, kind: type, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    embedder = open_embedder(spec)
    assert isinstance(embedder, kind)
    assert embedder.fingerprint.startswith(start)


def test_none_means_no_vectors() -> None:
    assert open_embedder("none") is None


def test_keywords_reach_the_drivers(tmp_path: Path) -> None:
    minilm = open_embedder("minilm", cache=tmp_path, threads=3)
    assert isinstance(minilm, MiniLM)
    assert (minilm._cache, minilm.threads) == (tmp_path, 3)
    hashed = open_embedder("hashed", dimensions=128)
    assert hashed is not None
    assert hashed.dimensions == 128


def test_endpoint_comes_from_keywords_then_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "env-key")
    by_environment = open_embedder("openai:m:with:colons")
    assert isinstance(by_environment, OpenAIEmbedder)
    endpoint = by_environment._endpoint
    assert (endpoint.base_url, endpoint.model, endpoint._api_key) == ("http://env.example/v1", "m:with:colons", "env-key")
    by_keyword = open_embedder("openai:m", base_url="http://chosen.example/v1", api_key="k")
    assert isinstance(by_keyword, OpenAIEmbedder)
    assert (by_keyword._endpoint.base_url, by_keyword._endpoint._api_key) == ("http://chosen.example/v1", "k")


class Own:
    """A user's embedder whose dimensions must not be read before they are needed."""

    fingerprint = "own:1"

    @property
    def dimensions(self) -> int:
        raise AssertionError("read too early")

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        raise AssertionError("called too early")


def test_an_embedder_passes_unchanged_and_unread() -> None:
    own = Own()
    assert open_embedder(own) is own


@pytest.mark.parametrize(
    "spec", ["", "mini", "minilm:int4", "hashed:many", "hashed:0", "openai:", "sentence-transformers:", "minilm:float32:x", 7, object()]
)
def test_what_is_not_an_embedder(spec: object) -> None:
    with pytest.raises(Invalid):
        open_embedder(spec)  # type: ignore[arg-type]


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(Invalid) as caught:
        open_embedder("word2vec")
    assert all(name in str(caught.value) for name in EMBEDDERS)


@pytest.mark.parametrize("spec", ["minilm", "minilm:float32", "hashed", "hashed:99", "sentence-transformers:a/b", "sentence-transformers:a/b@r"])
def test_fingerprint_leads_back_to_the_embedder(spec: str) -> None:
    embedder = open_embedder(spec)
    assert embedder is not None
    again = from_fingerprint(embedder.fingerprint)
    assert type(again) is type(embedder)
    assert again is not None
    assert again.fingerprint == embedder.fingerprint


@pytest.mark.parametrize(
    "fingerprint",
    ["", "minilm", "minilm:int8:recipe0:53aa51172d142c89", "minilm:int8:recipe1:0000000000000000", "hashed:256:recipe9", "hashed:x:recipe1", "own:1",
     "openai:text-embedding-3-small:default:https://api.openai.com/v1", "sentence-transformers:", "none"],
)  # fmt: skip
def test_fingerprints_that_this_version_cannot_serve(fingerprint: str) -> None:
    assert from_fingerprint(fingerprint) is None


@given(st.text(max_size=40), st.sampled_from(["", "minilm:", "hashed:", "openai:", "sentence-transformers:", "none:"]))
@settings(max_examples=200, deadline=None)
def test_any_text_as_name_gives_an_embedder_or_a_clear_error(text: str, prefix: str) -> None:
    with contextlib.suppress(Invalid):  # any other exception fails the test
        open_embedder(prefix + text)
    found = from_fingerprint(prefix + text)
    assert found is None or found.fingerprint == prefix + text


def test_opening_imports_no_runtime() -> None:
    script = (
        "import sys; from mnemos.models.catalog import open_embedder;"
        "[open_embedder(s).fingerprint for s in ('minilm', 'hashed', 'openai:m', 'sentence-transformers:a')]; open_embedder('minilm').dimensions;"
        "bad = {'torch', 'onnx', 'onnxruntime', 'tokenizers', 'httpx', 'sentence_transformers'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
