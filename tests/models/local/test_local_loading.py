"""Loading: from folders, from what the hub's client has, and never from the network unless told."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from families import FAMILIES, model, tokenizer, tokens

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.models.local.model import LocalModel


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model("llama").save(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.mark.usefixtures("no_network")
def test_from_a_folder_it_says_the_same(folder: Path) -> None:
    loaded = LocalModel.load(folder)
    assert float((loaded.logits(tokens(20))[0] - model("llama").logits(tokens(20))[0]).abs().max()) <= 1e-5
    assert loaded.generate(tokens(20), max_tokens=20).run() == model("llama").generate(tokens(20), max_tokens=20).run()
    assert loaded.encode("tea") == model("llama").encode("tea")
    assert loaded.context_window == 192
    assert loaded.ends == {256}
    assert not loaded.module.training


@pytest.mark.usefixtures("no_network")
def test_from_the_hubs_folder_by_name_and_revision(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "hub" / "models--some--model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc123")
    (home / "snapshots").mkdir()
    folder.rename(home / "snapshots" / "abc123")
    digests = tmp_path / "digests"
    assert LocalModel.load("some/model", hub=tmp_path / "hub", digests=digests).fingerprint == model("llama").fingerprint
    with pytest.raises(ModelUnavailable, match="--revision v2"):
        LocalModel.load("some/model", revision="v2", hub=tmp_path / "hub")
    (home / "snapshots" / "abc123" / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match="only some files"):
        LocalModel.load("some/model", hub=tmp_path / "hub")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["no/such-model", "not-there", "./nowhere/at all", "a/b/c"])
def test_what_is_not_here_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        LocalModel.load(name, hub=tmp_path)
    assert f"hf download {name}" in str(caught.value)
    assert "download=True" in str(caught.value)


def test_with_download_the_network_is_asked(tmp_path: Path, no_network: None) -> None:
    with pytest.raises((ModelUnavailable, AssertionError)) as caught:
        LocalModel.load("no/such-model", download=True, hub=tmp_path)
    assert "network was asked" in str(caught.value) or "could not be fetched" in str(caught.value)


def test_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ModelUnavailable, match="has no tokenizer"):
        LocalModel.load(folder)
    bare = LocalModel.load(folder, tokenizer=None)
    (written,) = bare.generate(tokens(5), max_tokens=3, ends=()).run()
    assert len(written.tokens) == 3
    assert written.text == ""
    with pytest.raises(Invalid, match="stop sequences"):
        bare.generate([1], stop=["."])
    for use in (lambda: bare.encode("x"), lambda: bare.decode([1]), lambda: bare.chat([{"role": "user", "content": "x"}])):
        with pytest.raises(Invalid, match="without a tokenizer"):
            use()
    assert LocalModel.load(folder, tokenizer=tokenizer()).encode("x") == model("llama").encode("x")


def test_what_cannot_be_loaded_says_why(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        LocalModel.load(tmp_path / "empty")
    for dtype in ("float17", "int8", 8):
        with pytest.raises(Invalid, match="dtype"):
            LocalModel.load(folder, dtype=dtype)
    for device in ("quantum", "cuda:99"):
        with pytest.raises(Invalid, match="device"):
            LocalModel.load(folder, device=device)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        LocalModel.load(folder, attention="no such attention")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        LocalModel.load(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="safetensors"):
        LocalModel.load(folder, tokenizer=None)


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(ModelUnavailable):
        LocalModel.load(folder)


def test_random_weights_follow_from_the_seed_and_leave_torch_alone() -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = (LocalModel.random(FAMILIES["llama"](), seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), before)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    half = LocalModel.random(FAMILIES["llama"](), 3, dtype="bfloat16")
    assert half.shapes.dtype == "bfloat16"
    assert half.kv_bytes(10) * 2 == one.kv_bytes(10)
    with pytest.raises(Invalid, match="no causal model"):
        LocalModel.random(transformers.ViTConfig())
    with pytest.raises(Invalid, match="keeps no keys and values"):
        LocalModel.random(transformers.MambaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1))
