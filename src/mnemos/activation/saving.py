"""A KV memory as bytes, and back: what goes on from a loaded memory is what would have gone on from the saved one, bit for bit.

The form is one safetensors file. Its metadata hold a JSON object: the format, the fingerprint of the model, what the policy is, and of every layer
the counters, the plain values of its notes and parts, and how they are called among the tensors. Nothing in a file is ever run. That keys and values
are still those that were written is not looked at here: the store's payloads and the chunks of prefixes have digests of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from mnemos.activation import aside, parts
from mnemos.activation.layer import MemoryLayer
from mnemos.activation.memory import KVMemory
from mnemos.activation.parts import Dense
from mnemos.activation.policy import FULL, Policy
from mnemos.activation.recent import Recent
from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, shown

FORMAT = 1
_KEY = "mnemos.kv"


def dump(memory: KVMemory, fingerprint: str, of: str | None = None) -> bytes:
    """The memory, and the fingerprint of the model that read it (weights, tokenizer, template, positions). `of`: what it is of, where nobody shall be
    able to tell by the bytes that something else reads the same."""
    tensors: dict[str, Tensor] = {}
    layers = []
    for number, layer in enumerate(memory.layers):
        with torch.no_grad():
            plain, its = _state(layer)
        layers.append(plain)
        tensors |= {f"{number}.{name}": tensor.contiguous() for name, tensor in its.items()}
    header = {"format": FORMAT, "fingerprint": fingerprint, "policy": memory.policy.describe(), "layers": layers}
    if of is not None:
        header["of"] = of
    data: bytes = write_tensors(_unshared(tensors), {_KEY: json.dumps(header, sort_keys=True)})
    return data


def load(model: Any, data: bytes, fingerprint: str, policy: Policy = FULL, rollback: bool = False) -> KVMemory:
    """The memory that `dump` wrote, for the same model and policy; with `rollback`, it has to be told which ids it holds (`Rollback.give`). Raises
    `Corrupt` for bytes that are no such file, `FingerprintMismatch` where another model read it, `Invalid` where another policy shaped it."""
    header, tensors = _read(data)
    if header["fingerprint"] != fingerprint:
        raise FingerprintMismatch(f"the KV memory was read by the model {header['fingerprint']}, this one is {fingerprint}: read the text again")
    if header["policy"] != policy.describe():
        raise Invalid(f"the KV memory was shaped by the policy {shown(header['policy'], 200)}, not by {shown(policy.describe(), 200)}: give that one")
    memory = KVMemory.of(model, policy, rollback=rollback)
    layers = header["layers"]
    if not isinstance(layers, list) or len(layers) != len(memory.layers):
        raise Corrupt(f"the KV memory has the layers {shown(layers, 100)}, and the model of its fingerprint has {len(memory.layers)}")
    for number, (layer, plain) in enumerate(zip(memory.layers, layers, strict=True)):
        prefix = f"{number}."
        its = {name.removeprefix(prefix): tensor.to(model.device) for name, tensor in tensors.items() if name.startswith(prefix)}
        try:
            _restore(layer, plain, its)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError) as error:
            raise Corrupt(f"layer {number} of the KV memory cannot be made from these bytes: {type(error).__name__}: {error}") from error
    return memory


def read_file(data: bytes, key: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header that stands under `key` in a safetensors file, and its tensors. Raises `Corrupt`: these bytes are no `what`."""
    try:
        tensors = read_tensors(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][key])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"these bytes are no {what}: {error}") from error
    if not isinstance(header, dict):
        raise Corrupt(f"these bytes are no {what}: their header is {shown(header, 100)}")
    return header, tensors


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header, tensors = read_file(data, _KEY, "KV memory")
    if header.get("format") != FORMAT:
        raise Corrupt(f"the KV memory has format {header.get('format')!r}; this version reads {FORMAT}")
    if missing := {"fingerprint", "policy", "layers"} - header.keys():
        raise Corrupt(f"these bytes are no KV memory: their header lacks {', '.join(sorted(missing))}")
    return header, tensors


def _state(layer: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not isinstance(layer, MemoryLayer):
        there = {"keys": layer.keys, "values": layer.values} if layer.is_initialized else {}
        return {"sliding": True, "seen": layer.cumulative_length}, there
    plain: dict[str, Any] = {name: getattr(layer, name) for name in COUNTERS}
    if not layer.is_initialized:
        return plain, {}
    notes = layer.notes
    plain["notes"] = {name: value for name, value in notes.items() if not isinstance(value, Tensor)}
    tensors = {f"note.{name}": value for name, value in notes.items() if isinstance(value, Tensor)}
    tensors |= {f"queries.{name}": tensor for name, tensor in layer.recent.tensors().items()}
    plain["parts"] = []
    for place, part in enumerate([*layer.parts, layer.tail.part()]):
        values, its = part.state()
        plain["parts"].append({"kind": part.kind, "plain": values})
        tensors |= {f"part.{place}.{name}": tensor for name, tensor in its.items()}
    for kind, each in layer.aside.items():
        values, its = each.state()
        plain.setdefault("aside", {})[kind] = values
        tensors |= {f"aside.{kind}.{name}": tensor for name, tensor in its.items()}
    return plain, tensors


COUNTERS = ("seen", "generated", "settled", "scaling", "softcap")


def _restore(layer: Any, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    if not isinstance(layer, MemoryLayer):
        if tensors:
            layer.lazy_initialization(tensors["keys"], tensors["values"])
            layer.keys, layer.values = tensors["keys"], tensors["values"]
        layer.cumulative_length = plain["seen"]
        return
    for name in COUNTERS:
        setattr(layer, name, plain[name])
    if "parts" not in plain:
        return
    made = []
    for place, each in enumerate(plain["parts"]):
        prefix = f"part.{place}."
        its = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        made.append(parts.load(each["kind"], each["plain"], its))
    *stored, tail = made
    if not isinstance(tail, Dense):
        raise Corrupt(f"the newest tokens of a KV memory are of kind {tail.kind!r}, and have to be as they came")
    heads = range(tail.keys.shape[1])
    if any(head not in heads for part in made for head in part.heads):
        raise Corrupt(f"a part of a KV memory is of heads that a layer with {len(heads)} of them does not have")
    layer.lazy_initialization(tail.keys, tail.values)
    layer.replace(stored, tail)
    layer.notes = {**plain["notes"], **{name.removeprefix("note."): tensor for name, tensor in tensors.items() if name.startswith("note.")}}
    for kind, values in plain.get("aside", {}).items():
        prefix = f"aside.{kind}."
        its = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        layer.aside[kind] = aside.load(kind, values, its)
    layer.recent = Recent(**{name.removeprefix("queries."): tensor for name, tensor in tensors.items() if name.startswith("queries.")})


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory; parts may (views of one row of positions), and are copied then."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if place in seen and tensor.numel() else tensor
        seen.add(place)
    return out
