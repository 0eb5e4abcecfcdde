"""kvpress as a peer, with a stand-in for its environment; the real one is installed and measured by `mnemos bench kv-peers`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mnemos.base.errors import Invalid
from mnemos.bench import peers, registry
from mnemos.bench.kv import peers as kv_peers
from mnemos.bench.registry import Options

PRESSES = """
import contextlib

class Press:
    def __init__(self, compression_ratio=0.0, **options):
        self.share = 1 - compression_ratio

    @contextlib.contextmanager
    def __call__(self, model):
        handle = model.model.register_forward_hook(self.keep_the_oldest, with_kwargs=True)
        yield
        handle.remove()

    def keep_the_oldest(self, module, args, kwargs, output):
        for layer in kwargs["past_key_values"].layers:
            count = int(self.share * layer.keys.shape[2])
            layer.keys, layer.values = layer.keys[:, :, :count].clone(), layer.values[:, :, :count].clone()

SnapKVPress = KnormPress = KeyDiffPress = ExpectedAttentionPress = TOVAPress = StreamingLLMPress = ThinKPress = Press
"""
PIPELINE = """
class KVPressTextGenerationPipeline:
    def __init__(self, model, tokenizer):
        print("what a peer prints is not the answer")

    def _forward(self, asked, max_new_tokens, press):
        return ["nothing"] * len(asked["questions_ids"])
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_peers, "LENGTH", 400)
    monkeypatch.setattr(kv_peers, "WINDOW", 16)
    monkeypatch.setattr(kv_peers, "TURNS", 2)


def test_both_sides_are_measured_on_the_same_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kvpress").mkdir()
    (tmp_path / "kvpress" / "__init__.py").write_text(PRESSES)
    (tmp_path / "kvpress" / "pipeline.py").write_text(PIPELINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(peers, "interpreter", lambda packages, install: Path(sys.executable))
    result = registry.find("kv-peers").run(Options(quick=True))
    checks = {check["metric"].split(",")[0]: check for check in result.details["checks"]}
    assert checks["answers of the full cache that both give alike"]["measured"] == 0  # the stand-in answers nothing
    assert checks["answers lost to kvpress at equal shares"]["measured"] <= 0
    costs, answers = result.details["tables"][kv_peers.COSTS], result.details["tables"][kv_peers.ANSWERS]
    assert (answers["full"]["ours: context alone"], answers["full"]["kvpress: context alone"]) == (1, 0)
    assert (costs["full"]["kvpress: bytes"], costs["full"]["kept by both"]) == (1, 1)
    assert costs["KNorm 1/4"]["kvpress: bytes"] == pytest.approx(0.25, abs=0.01)
    oldest_and_newest = costs["StreamingLLM 1/4"]["kept by both"]
    assert 0 < oldest_and_newest < 0.1  # four sinks of a quarter of the tokens
    assert costs["ThinK .4"]["ours: bytes"] < costs["ThinK .4"]["kvpress: bytes"] == 1


def test_where_it_cannot_be_had_the_result_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(packages: list[str], install: bool) -> Path:
        assert (packages[0].partition("==")[0], install) == ("kvpress", False)
        raise peers.PeerError("pip found no kvpress")

    monkeypatch.setattr(peers, "interpreter", missing)
    result = registry.find("kv-peers").run(Options(quick=True))
    assert result.holds is False
    assert "kvpress was not measured: pip found no kvpress" in result.details["notes"]
    assert result.details["tables"][kv_peers.ANSWERS]["full"] == {"ours: context alone": 1.0, "ours: 1st known": 1.0, "ours: the others": 1.0}
    with pytest.raises(Invalid, match="no peer is named mem0"):
        registry.find("kv-peers").run(Options(quick=True, peers=("mem0",)))
