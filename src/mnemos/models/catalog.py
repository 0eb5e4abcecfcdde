"""Embedders by name: what a user writes in `embedder=…`, and the way back from a stored fingerprint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Embedder

if TYPE_CHECKING:
    from mnemos.models.minilm_graph import Precision

DEFAULT_EMBEDDER = "minilm"
EMBEDDERS = {
    "minilm": "all-MiniLM-L6-v2 in int8, offline; 'minilm:float32' for full precision",
    "hashed": "hashed n-grams without a model; 'hashed:512' for 512 dimensions instead of 256",
    "openai:MODEL": "an OpenAI-compatible endpoint; address and key from OPENAI_BASE_URL and OPENAI_API_KEY, or keywords",
    "sentence-transformers:NAME": "a sentence-transformers model, or NAME@REVISION; needs the [models] extra",
    "none": "no vectors: lexical search only",
}
"""What can be asked for, each with a line that explains it."""


def open_embedder(
    spec: str | Embedder | None = DEFAULT_EMBEDDER,
    *,
    cache: Path | None = None,
    threads: int | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    dimensions: int | None = None,
    device: str | None = None,
) -> Embedder | None:
    """The embedder that `spec` names (see `EMBEDDERS`), an embedder itself unchanged, or None for "none". Loads nothing: the first `embed` does.

    None as `spec` means the default. `cache` and `threads` go to minilm; `base_url`, `api_key`, `dimensions` to an endpoint; `dimensions` to hashed
    too; `device` to sentence-transformers. Raises `Invalid` where there is no such embedder.
    """
    if spec is None:
        spec = DEFAULT_EMBEDDER
    if not isinstance(spec, str):
        # Looked up on the type: `isinstance` with a protocol would read `dimensions`, for which some drivers load their model.
        held = getattr(spec, "__dict__", {})
        missing = [member for member in ("fingerprint", "dimensions", "embed") if member not in held and not hasattr(type(spec), member)]
        if missing:
            raise Invalid(f"{type(spec).__name__} is not an embedder: it has no {', '.join(missing)}")
        return spec
    name, _, argument = spec.strip().partition(":")
    match name:
        case "none":
            return None
        case "minilm":
            from mnemos.models.minilm import MiniLM

            return MiniLM(precision=cast("Precision", argument or "int8"), cache=cache, threads=threads)
        case "hashed":
            from mnemos.models.hashed import HashedEmbedder

            return HashedEmbedder(dimensions=_integer(spec, argument) if argument else dimensions or 256)
        case "openai":
            from mnemos.models.openai_embeddings import OpenAIEmbedder
            from mnemos.models.openai_endpoint import OPENAI_BASE_URL

            address = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL
            return OpenAIEmbedder(argument, base_url=address, api_key=api_key or os.environ.get("OPENAI_API_KEY"), dimensions=dimensions)
        case "sentence-transformers":
            from mnemos.models.sentence_transformer import SentenceTransformerEmbedder

            model, _, revision = argument.partition("@")
            return SentenceTransformerEmbedder(model, revision=revision or None, device=device)
    raise Invalid(f"there is no embedder {spec!r}: use one of {', '.join(EMBEDDERS)}")


def from_fingerprint(fingerprint: str, *, cache: Path | None = None, threads: int | None = None) -> Embedder | None:
    """The local embedder whose vectors carry `fingerprint`, or None where this version of Mnemos cannot make the same vectors.

    Endpoints are not recreated: a stored name must not decide where texts are sent, and the key is not stored.
    """
    name, _, rest = fingerprint.partition(":")
    detail = rest.partition(":")[0]
    try:
        match name:
            case "minilm" | "hashed":
                candidate = open_embedder(f"{name}:{detail}", cache=cache, threads=threads)
            case "sentence-transformers":
                candidate = open_embedder(fingerprint)
            case _:
                return None
    except Invalid:  # a fingerprint of another version, with words that this one does not know
        return None
    return candidate if candidate is not None and candidate.fingerprint == fingerprint else None


def _integer(spec: str, argument: str) -> int:
    try:
        return int(argument)
    except ValueError:
        raise Invalid(f"in the embedder {spec!r}, {argument!r} is not a number of dimensions: use for example 'hashed:512'") from None
