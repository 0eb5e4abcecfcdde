"""The fingerprint: the same wherever the model is the same, another where anything differs that keys and values depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, TEMPLATE, model, tokenizer

from mnemos.base.errors import Corrupt
from mnemos.models.local.fingerprint import digest_of_folder
from mnemos.models.local.model import LocalModel


def config(**settings: Any) -> Any:
    made = FAMILIES["llama"]()
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def of(made: Any = None, seed: int = 0, template: str | None = TEMPLATE, **settings: Any) -> LocalModel:
    return LocalModel.random(made or config(), seed, tokenizer=tokenizer(template), **settings)


@pytest.mark.parametrize("family", [*FAMILIES, "llama-tied"])
def test_in_memory_and_from_files_it_is_the_same(family: str, tmp_path: Path) -> None:
    made = LocalModel.random(config(tie_word_embeddings=True), tokenizer=tokenizer()) if family == "llama-tied" else model(family)
    made.save(tmp_path / "one")
    loaded = LocalModel.load(tmp_path / "one", digests=tmp_path / "digests")
    if family.startswith("qwen2"):  # the library loads them with the family's own way of cutting texts, whatever the folder says
        assert loaded.parts.differences(made.parts) == ["tokenizer"]
        made = LocalModel(made.module, loaded.tokenizer)
    assert loaded.fingerprint == made.fingerprint
    loaded.save(tmp_path / "two")
    assert LocalModel.load(tmp_path / "two", digests=tmp_path / "digests").fingerprint == made.fingerprint
    assert made.fingerprint.startswith(f"local:{made.parts.architecture}:float32:")


def test_it_does_not_depend_on_how_weights_are_spread_over_files(tmp_path: Path) -> None:
    model("llama").save(tmp_path / "one")
    model("llama").module.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    digests = tmp_path / "digests"
    assert digest_of_folder(tmp_path / "one", digests) == digest_of_folder(tmp_path / "many", digests) == model("llama").parts.weights


def test_another_process_computes_the_same(tmp_path: Path) -> None:
    model("gemma2").save(tmp_path / "one")
    code = (
        "import sys; from pathlib import Path; from mnemos.models.local.model import LocalModel; "
        "print(LocalModel.load(sys.argv[1], digests=Path(sys.argv[2])).fingerprint)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "one"), str(tmp_path / "digests")],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert said.stdout.strip() == model("gemma2").fingerprint


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("weights", lambda: of(seed=1)),
        ("dtype", lambda: LocalModel(of().module.to(torch.bfloat16).to(torch.float16), tokenizer())),
        ("template", lambda: of(template=TEMPLATE + " ")),
        ("template", lambda: of(template=None)),
        ("rope", lambda: of(config(rope_parameters={"rope_type": "default", "rope_theta": 5000.0}))),
        ("rope", lambda: of(config(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}))),
        ("config", lambda: of(config(rms_norm_eps=1e-5))),
    ],
)
def test_it_differs_where_a_part_differs(part: str, other: Any) -> None:
    made, base = other(), of()
    assert part in made.parts.differences(base.parts)
    assert set(made.parts.differences(base.parts)) <= {part, "weights"}
    assert made.fingerprint != base.fingerprint


def test_it_differs_with_the_tokenizer_and_not_with_its_use() -> None:
    base, other = tokenizer(), tokenizer()
    before = LocalModel(model("llama").module, base)
    other.add_tokens(["<|new|>"])
    assert LocalModel(model("llama").module, other).parts.differences(before.parts) == ["tokenizer"]
    used = tokenizer()
    used.pad_token = "<|end|>"
    padded = LocalModel(model("llama").module, used)
    used(["a", "bbb"], padding=True, truncation=True, max_length=2)
    again = tokenizer()
    again.pad_token = "<|end|>"
    assert padded.fingerprint == LocalModel(model("llama").module, again).fingerprint
    assert LocalModel(model("llama").module).parts.differences(before.parts) == ["tokenizer", "template"]


def test_the_type_that_weights_are_read_in_is_part_of_it(tmp_path: Path) -> None:
    model("llama").save(tmp_path)
    digests = tmp_path / "digests"
    half = LocalModel.load(tmp_path, dtype="bfloat16", digests=digests)
    assert half.parts.differences(LocalModel.load(tmp_path, digests=digests).parts) == ["dtype"]
    assert half.module.dtype == torch.bfloat16


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    """In memory when one says so; in the files by themselves."""
    digests = tmp_path / "digests"
    of().save(tmp_path / "one")
    loaded = LocalModel.load(tmp_path / "one", digests=digests)
    before = loaded.fingerprint
    with torch.no_grad():
        loaded.module.lm_head.weight[3, 3] += 1
    loaded.weights_changed()
    assert loaded.fingerprint != before
    loaded.save(tmp_path / "one")
    assert LocalModel.load(tmp_path / "one", digests=digests).fingerprint == loaded.fingerprint


def test_digests_are_kept_and_a_damaged_one_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of().save(tmp_path / "one")
    digests = tmp_path / "digests"
    made = digest_of_folder(tmp_path / "one", digests)
    (kept,) = (digests / "fingerprints").iterdir()
    monkeypatch.setattr("mnemos.models.local.fingerprint.digest_of_tensors", lambda tensors: "read again")
    assert digest_of_folder(tmp_path / "one", digests) == made
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert digest_of_folder(tmp_path / "one", digests) == "read again"
    kept.unlink()
    (tmp_path / "blocked").write_text("a file where the folder should be")
    assert digest_of_folder(tmp_path / "one", tmp_path / "blocked") == "read again"


def test_files_that_are_no_weights_are_told(tmp_path: Path) -> None:
    of().save(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for damage in (b"junk", b"", b"\xff" * 16, whole[:-10], whole[:40], (3).to_bytes(8, "little") + b"[1]"):
        file.write_bytes(damage)
        with pytest.raises(Corrupt):
            digest_of_folder(tmp_path, tmp_path / "digests")
