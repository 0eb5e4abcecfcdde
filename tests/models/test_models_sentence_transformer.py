"""The sentence-transformers driver, with the library faked, and where it is missing."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.sentence_transformer import SentenceTransformerEmbedder


def test_loads_once_and_late(fake_library: Any) -> None:
    fake_library.loaded.clear()
    embedder = SentenceTransformerEmbedder("a/b", revision="abc123", device="cpu")
    assert embedder.fingerprint == "sentence-transformers:a/b@abc123"
    assert fake_library.loaded == []
    assert embedder.dimensions == 48
    embedder.embed(["x"])
    assert fake_library.loaded == [("a/b", "cpu", "abc123")]


def test_vectors_are_the_models_in_order_and_normalised(fake_library: Any) -> None:
    texts = [f"{'word ' * (number * 7 % 11)}{number}" for number in range(40)]
    found = SentenceTransformerEmbedder("a/b", batch_size=2).embed(texts)
    np.testing.assert_allclose(found, HashedEmbedder(dimensions=48).embed(texts), atol=1e-6)


def test_unknown_model_is_told(fake_library: Any) -> None:
    with pytest.raises(ModelUnavailable, match="no/such-model"):
        SentenceTransformerEmbedder("no/such-model").embed(["x"])


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_bad_vectors_are_refused(fake_library: Any, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_library, "encode", lambda self, texts, **_: np.full((len(texts), 48), value))
    with pytest.raises(ModelUnavailable, match="zero or not finite"):
        SentenceTransformerEmbedder("a/b").embed(["x"])


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelUnavailable, match=r"mnemos\[models\]"):
        SentenceTransformerEmbedder("a/b").embed(["x"])


def test_wrong_arguments() -> None:
    with pytest.raises(Invalid, match="NAME"):
        SentenceTransformerEmbedder("")
    with pytest.raises(Invalid, match="batch_size"):
        SentenceTransformerEmbedder("a", batch_size=0)
