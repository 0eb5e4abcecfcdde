"""The runner of other systems, with a stand-in for its environment; real peers need the network and run in `mnemos bench --peer`."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mnemos.bench import peers

VECTORS = np.eye(3, dtype=np.float32)

ECHO = """# requires: nothing
import json, sys
request = json.load(sys.stdin)
import numpy
assert numpy.load(request["vectors"]).shape == (3, 3)
json.dump({"version": "1", "rankings": [[2, 0]] * len(request["questions"])}, sys.stdout)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(peers, "HERE", tmp_path)
    monkeypatch.setattr(peers, "_python", lambda packages: Path(sys.executable))
    return tmp_path


def rank(name: str, folder: Path, questions: list[str]) -> list[list[int]]:
    return peers.rank_with_peer(name, ["a", "b", "c"], VECTORS, questions, VECTORS[: len(questions)], 2, folder)


def test_a_peer_is_asked_and_answers(here: Path, tmp_path: Path) -> None:
    (here / "echo.py").write_text(ECHO)
    assert rank("echo", tmp_path, ["q", "r"]) == [[2, 0], [2, 0]]
    assert rank("echo", tmp_path, []) == []


def test_failures_carry_the_peers_last_words(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "broken.py").write_text("# requires: nothing\nraise SystemExit('no such index')\n")
    with pytest.raises(peers.PeerError, match="no such index"):
        rank("broken", tmp_path, ["q"])
    (here / "short.py").write_text(ECHO.replace("* len", "* 0 * len"))
    with pytest.raises(peers.PeerError, match="0 rankings for 1"):
        rank("short", tmp_path, ["q"])
    (here / "chatty.py").write_text("# requires: nothing\nprint('hello')\n")
    with pytest.raises(peers.PeerError, match="no rankings"):
        rank("chatty", tmp_path, ["q"])
    (here / "slow.py").write_text("# requires: nothing\nimport time; time.sleep(60)\n")
    monkeypatch.setattr(peers, "RUN_SECONDS", 0.3)
    with pytest.raises(peers.PeerError, match="no answer within"):
        rank("slow", tmp_path, ["q"])


def test_every_adapter_says_what_it_needs() -> None:
    assert {"chroma", "lancedb_vector", "lancedb_hybrid"} <= set(peers.names())
    for name in peers.names():
        assert "==" in peers.requirements(name)[0]
