"""What keys and values depend on, in one name: weights, tokenizer, chat template, rotary positions, architecture and precision."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mnemos.base.errors import Corrupt
from mnemos.models.artefacts import cache_directory, read_artefact, write_artefact

_READ_BYTES = 1 << 22
_PASSING = {
    "_name_or_path", "architectures", "attn_implementation", "_attn_implementation", "dtype", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip
"""Settings of a configuration that change no key and no value."""
_ROTARY = {
    "rope_parameters", "rope_theta", "rope_scaling", "max_position_embeddings", "original_max_position_embeddings", "partial_rotary_factor",
}  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Each part a SHA-256 in hex, but for `architecture`, the model type, and `dtype`. As a string, what a cube carries as its fingerprint."""

    architecture: str
    dtype: str
    weights: str
    tokenizer: str
    template: str
    rope: str
    config: str
    """Everything else that the configuration sets, such as windows and scales."""

    def __str__(self) -> str:
        every = "\n".join(f"{one.name}={getattr(self, one.name)}" for one in fields(self))
        return f"local:{self.architecture}:{self.dtype}:{hashlib.sha256(every.encode()).hexdigest()[:32]}"

    def differences(self, other: Fingerprint) -> list[str]:
        """The names of the parts that differ."""
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]


def fingerprint_of(module: Any, tokenizer: Any, folder: Path | None = None, cache: Path | None = None) -> Fingerprint:
    """The fingerprint of a model. `folder`: where its weights were loaded from, and are as they were there; without it those in memory are read.

    `cache`: where digests of files are kept, by default the user's cache. Raises `OSError` where a file cannot be read.
    """
    weights = digest_of_tensors(_tensors(module)) if folder is None else digest_of_folder(folder, cache)
    template = _digest(getattr(tokenizer, "chat_template", None))
    return Fingerprint(weights=weights, tokenizer=_digest(tokenizer_json(tokenizer)), template=template, **settings_of(module))


def settings_of(module: Any) -> dict[str, str]:
    """The parts of a model's fingerprint that its configuration says: `architecture`, `dtype`, `rope` and `config`. No weight is read for it."""
    text = module.config.get_text_config()
    return {
        "architecture": str(text.model_type),
        "dtype": str(module.dtype).removeprefix("torch."),
        "rope": _digest({name: _plain(getattr(text, name, None)) for name in sorted(_ROTARY)}),
        "config": _digest({name: value for name, value in text.to_diff_dict().items() if name not in _PASSING | _ROTARY}),
    }


def tokenizer_json(tokenizer: Any) -> Any:
    """What decides how a tokenizer cuts texts, without its padding and truncation, which calls change. None for no tokenizer."""
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described: Any = sorted(tokenizer.get_vocab().items()) if backend is None else json.loads(backend.to_str())
    if isinstance(described, dict):
        described = {name: value for name, value in described.items() if name not in ("padding", "truncation")}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    return {"kind": None if backend is not None else type(tokenizer).__name__, "described": described, "special": special}


def digest_of_tensors(tensors: Iterator[tuple[str, str, tuple[int, ...], Iterator[bytes]]]) -> str:
    """SHA-256 over (name, type, shape, bytes) of tensors, which come in the order of their names."""
    digest = hashlib.sha256()
    for name, kind, shape, content in tensors:
        inner = hashlib.sha256()
        for part in content:
            inner.update(part)
        digest.update(f"{name}\0{kind}\0{shape}\0{inner.hexdigest()}\n".encode())
    return digest.hexdigest()


def digest_of_folder(folder: Path, cache: Path | None = None) -> str:
    """The same over all tensors of a folder's safetensors files, however they are spread over files.

    Kept in the user's cache for files of these names, sizes and times of change. Raises `Corrupt` for what is no safetensors file, `OSError`.
    """
    files = sorted(folder.glob("*.safetensors"))
    stamps = [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    identity = hashlib.sha256(json.dumps([str(folder.resolve()), stamps]).encode()).hexdigest()
    kept = (cache or cache_directory()) / "fingerprints" / f"{identity[:32]}.mnemos"
    try:
        known = read_artefact(kept, identity)
    except (Corrupt, OSError) as damage:
        _log.warning("the kept digest of the weights in %s cannot be used and is made again: %s", folder, damage)
        known = None
    if known is not None:
        return known.decode()
    places = sorted((name, entry, file, start) for file in files for name, entry, start in _header(file))
    made = digest_of_tensors(
        (name, _KINDS.get(kind, kind), tuple(shape), _part(file, start + begin, start + end))
        for name, (kind, shape, begin, end), file, start in places
    )
    try:
        write_artefact(kept, identity, made.encode())
    except OSError as error:  # it is only derived: the next start computes it again
        _log.warning("the digest of the weights in %s could not be kept (%s); set MNEMOS_CACHE to a folder that can be written", folder, error)
    return made


_KINDS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_Entry = tuple[str, tuple[int, ...], int, int]


def _header(file: Path) -> Iterator[tuple[str, _Entry, int]]:
    """(name, (type, shape, begin, end), where the data begin) of each tensor of a safetensors file."""
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            described = json.loads(stream.read(size))
        for name, entry in described.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                yield name, (str(entry["dtype"]), tuple(entry["shape"]), int(begin), int(end)), 8 + size
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise Corrupt(f"{file} is no safetensors file ({error}): fetch the model again") from error


def _part(file: Path, begin: int, end: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        stream.seek(begin)
        left = end - begin
        while left:
            part = stream.read(min(left, _READ_BYTES))
            if not part:
                raise Corrupt(f"{file} ends before its tensors do: fetch the model again")
            left -= len(part)
            yield part


def _tensors(module: Any) -> Iterator[tuple[str, str, tuple[int, ...], Iterator[bytes]]]:
    """The tensors that a model would save, each once: of tied ones the one that the others are tied to."""
    tied = set(getattr(module, "all_tied_weights_keys", None) or {})
    for name, tensor in sorted(module.state_dict().items()):
        if name not in tied:
            yield name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), _bytes(tensor)


def _bytes(tensor: torch.Tensor) -> Iterator[bytes]:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, len(flat), _READ_BYTES):
        yield flat[start : start + _READ_BYTES].cpu().numpy().tobytes()


def _plain(value: Any) -> Any:
    """What JSON can say of a setting: mappings in the order of their names, types and devices as their names."""
    if isinstance(value, Mapping):
        return {str(name): _plain(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(one) for one in value), key=str)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True, ensure_ascii=True).encode()).hexdigest()
