"""Bringing a model and its tokenizer from a folder, or from what the hub's client has on this machine. No code that a model brings is run."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.models.quiet import no_progress_bars

_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "sentencepiece.bpe.model")
FOLDED = "mnemos_folded_llama"
"""The kind of model that is ours (`folded`), as a configuration names it."""


def folder_of(name: str | Path, *, revision: str | None, download: bool, hub: Path | None) -> Path:
    """The folder with a model's files: `name` itself, or the snapshot of the hub's model of that name. Asks the network only with `download`.

    `hub`: the folder of the hub's client, where it is not the usual one. Raises `ModelUnavailable`, with what to do.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelUnavailable(f"{path} has no config.json, so it is no folder of a Hugging Face model: name one that `save_pretrained` wrote")
        return path
    from huggingface_hub import snapshot_download

    at = f" --revision {revision}" if revision else ""
    missing = f"run `hf download {name}{at}`, or pass download=True"
    try:
        found = Path(snapshot_download(str(name), revision=revision, local_files_only=not download, cache_dir=hub, allow_patterns=_WANTED))
    except Exception as error:  # the client and its network raise many kinds: the files are not to be had
        if download:
            raise ModelUnavailable(f"the model {str(name)!r} could not be fetched ({type(error).__name__}: {str(error)[:200]})") from error
        raise ModelUnavailable(
            f"there is no folder {str(name)!r}, and no model of that name on this machine: give the path of a model's folder, {missing}"
        ) from error
    if not (found / "config.json").is_file():
        raise ModelUnavailable(f"of the model {str(name)!r} only some files are on this machine: {missing}")
    return found


def dtype_of(dtype: Any) -> Any:
    """A torch type from its name or itself; "auto" stays. Raises `Invalid`."""
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype == "auto" or (isinstance(found, torch.dtype) and found.is_floating_point):
        return dtype if dtype == "auto" else found
    raise Invalid(f"dtype: torch has no floating-point type {dtype!r}; use 'float32', 'bfloat16', 'float16' or 'auto'")


def device_of(device: Any) -> Any:
    """A torch device from its name. Raises `Invalid` where there is no such device."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Invalid(f"device {str(device)!r} cannot be used here ({str(error).splitlines()[0]}): use 'cpu', or one that torch sees") from error
    return found


def load_module(folder: Path, *, dtype: Any, device: Any, attention: str | None) -> Any:
    """The causal model in a folder, ready to read. Raises `ModelUnavailable`, `Invalid`."""
    chosen, place = dtype_of(dtype), device_of(device)
    extra = {} if attention is None else {"attn_implementation": attention}
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{folder} has no weights in safetensors, and pickled ones are not opened: convert them with `save_pretrained`")
    try:
        if json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") == FOLDED:
            import_module("mnemos.models.local.folded")  # which makes the kind known to transformers
        with no_progress_bars():
            module = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=chosen, use_safetensors=True, local_files_only=True, trust_remote_code=False, **extra
            )
        return module.to(place).eval()
    except Exception as error:  # the library raises many kinds of a file that is not as it should be
        raise ModelUnavailable(f"the model in {folder} cannot be loaded: {error}") from error


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder. Raises `ModelUnavailable` where there is none: the library would make up an empty one."""
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelUnavailable(
            f"{folder} has no tokenizer (such as tokenizer.json): put the model's there, or pass tokenizer=… (None to work with token ids only)"
        )
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # likewise
        raise ModelUnavailable(f"the tokenizer in {folder} cannot be loaded: {error}") from error


def random_module(config: Any, seed: int, *, dtype: Any, device: Any, attention: str | None) -> Any:
    """A model of this configuration with random weights, the same for the same seed on one kind of device. Torch's own random state is left alone."""
    chosen, place = dtype_of(dtype), device_of(device)
    extra = {} if attention is None else {"attn_implementation": attention}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32 if chosen == "auto" else chosen, **extra)
        except Exception as error:  # configurations are checked where they are used, each in its own way
            raise Invalid(f"no causal model can be made of this {type(config).__name__}: {error}") from error
    return module.to(place).eval()
