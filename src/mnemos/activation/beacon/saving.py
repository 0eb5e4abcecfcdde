"""Memory tokens, and what they remember, as safetensors: nothing in a file is ever run, and each names the weights that it belongs to.

What goes on from a loaded memory is what would have gone on from the saved one, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as write_tensors
from torch import Tensor

from mnemos.activation.beacon.beacons import OUTPUTS, Beacons
from mnemos.activation.beacon.layout import Cursor
from mnemos.activation.beacon.memory import BeaconMemory
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.saving import read_file
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, shown
from mnemos.models.local.fingerprint import fingerprint_of

FORMAT = 1
_KEY = "mnemos.beacon"


def base_of(beacons: Beacons) -> str:
    """The fingerprint of the model that memory tokens have joined: weights, positions, precision; the tokenizer is not part of it."""
    return str(fingerprint_of(beacons.model, None))


def fingerprint(beacons: Beacons) -> str:
    """What a memory depends on: the model, and the weights of its memory tokens."""
    digest = hashlib.sha256(base_of(beacons).encode())
    for name, weight in sorted(beacons.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return f"beacon:{digest.hexdigest()[:32]}"


def save_beacons(beacons: Beacons, path: Path | str, dtype: torch.dtype | None = None, base: str | None = None) -> int:
    """Writes the weights of the memory tokens, and none of the model's, as `dtype` (None: as they are); gives the bytes. `base`: the fingerprint of
    the model, where it is known."""
    weights = {name: weight.detach().to(dtype or weight.dtype).contiguous() for name, weight in beacons.state_dict().items()}
    header = {"format": FORMAT, "kind": "beacons", "base": base or base_of(beacons)}
    data = write_tensors(weights, {_KEY: json.dumps(header, sort_keys=True)})
    Path(path).write_bytes(data)
    return len(data)


def load_beacons(beacons: Beacons, path: Path | str) -> None:
    """Gives memory tokens the weights of a file. Raises `Corrupt` for what is no such file, `FingerprintMismatch` where they were trained on another
    model, `Invalid` where they have other projections."""
    header, weights = _read(Path(path).read_bytes(), "beacons", ("base",))
    if header["base"] != (base := base_of(beacons)):
        raise FingerprintMismatch(f"the memory tokens in {path} were trained on the model {header['base']}, this one is {base}: load that model")
    own = beacons.state_dict()
    if weights.keys() != own.keys() or any(weights[name].shape != own[name].shape for name in own):
        strange = sorted(weights.keys() ^ own.keys()) or [name for name in own if weights[name].shape != own[name].shape]
        raise Invalid(f"the memory tokens in {path} have other projections ({', '.join(strange[:3])}, …): make Beacons with the same `output` and "
                      "`adapted`")  # fmt: skip
    beacons.load_state_dict({name: weight.to(own[name].dtype) for name, weight in weights.items()})


def precision_of(path: Path | str) -> str:
    """The type of the weights of the model that the memory tokens of a file were trained on: "float32". Raises `Corrupt` for what is no such file."""
    base = str(_read(Path(path).read_bytes(), "beacons", ("base",))[0]["base"])
    if base.count(":") != 3:
        raise Corrupt(f"the memory tokens in {path} say that they were trained on {shown(base)}, which is no model's fingerprint")
    return base.split(":")[2]


def open_beacons(model: Any, path: Path | str) -> Beacons:
    """The memory tokens of a file, joined to the model that they were trained on. Raises as `load_beacons` and `Beacons` do; the model is then as it
    was."""
    names = _read(Path(path).read_bytes(), "beacons", ("base",))[1]
    output = any(name.startswith("projections.") and any(f"_{own}." in name for own in OUTPUTS) for name in names)
    beacons = Beacons(model, output, adapted=any(name.startswith("adapted.") for name in names))
    try:
        load_beacons(beacons, path)
    except BaseException:
        beacons.remove()
        raise
    return beacons


def dump(memory: BeaconMemory, fingerprint: str) -> bytes:
    """The memory, and the `fingerprint` of what it depends on. Raises `Invalid` after a pass that was broken off."""
    point = memory.snapshot()
    tensors = {f"{number}.{name}": tensor.detach().contiguous() for number, states in enumerate(point.layers)
               for name, tensor in zip(_NAMES, (*states[0], *states[1]), strict=True)}  # fmt: skip
    header = {
        "format": FORMAT, "kind": "memory", "fingerprint": fingerprint, "windows": memory.windows.describe(), "slots": point.slots,
        "cursors": [asdict(cursor) for cursor in point.cursors], "layers": len(memory.layers),
    }  # fmt: skip
    data: bytes = write_tensors(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    return data


def load(beacons: Beacons, data: bytes, fingerprint: str) -> BeaconMemory:
    """The memory that `dump` wrote. Raises `Corrupt` for bytes that are no such file, `FingerprintMismatch` where another model, or other memory
    tokens, made it."""
    header, tensors = _read(data, "memory", ("fingerprint", "windows", "slots", "cursors", "layers"))
    if header["fingerprint"] != fingerprint:
        raise FingerprintMismatch(f"the memory was made by {header['fingerprint']}, this is {fingerprint}: memorise the text again")
    try:
        memory = beacons.memory(Windows.described(header["windows"]))
        if header["layers"] != len(memory.layers):
            raise Corrupt(f"the memory has {header['layers']} layers, and the model of its fingerprint {len(memory.layers)}")
        for number, layer in enumerate(memory.layers if tensors else []):
            keys, values, tail_keys, tail_values = (tensors[f"{number}.{name}"].to(beacons.embedding.device) for name in _NAMES)
            layer.hold((keys, values), (tail_keys, tail_values))
        memory.take_up([Cursor(**cursor) for cursor in header["cursors"]], header["slots"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Corrupt(f"these bytes are no memory of memory tokens: {type(error).__name__}: {error}") from error
    return memory


_NAMES = ("keys", "values", "tail.keys", "tail.values")


def _read(data: bytes, kind: str, needed: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    header, tensors = read_file(data, _KEY, "file of memory tokens")
    if header.get("format") != FORMAT or header.get("kind") != kind or any(name not in header for name in needed):
        raise Corrupt(f"these bytes are no {kind} of memory tokens that this version reads: their header is {shown(header, 100)}")
    return header, tensors
