"""The runner of other systems, with a stand-in for their environments; real peers need the network and run in `mnemos bench --peer`."""

import sys
from pathlib import Path

import numpy as np
import pytest
from fake_memory import FakeMemory, LetterEmbedder

from mnemos.bench import peers, registry
from mnemos.bench.corpus import Corpus, Question
from mnemos.bench.registry import Options
from mnemos.bench.result import Check
from mnemos.bench.retrieval import OURS, measure

VECTORS = np.eye(3, dtype=np.float32)

NEAREST = """# requires: numpy==1
import os, time
print("what a peer prints is not the answer")

class Peer:
    def __init__(self, folder, dimensions):
        assert dimensions == DIMENSIONS and os.listdir(folder) == [], "a new store for each history"
        assert os.environ["HOME"] == os.getcwd()
        self.folder = folder

    def add(self, texts, vectors):
        self.vectors = vectors
        time.sleep(0.02)

    def search(self, question, vector, k):
        time.sleep(0.01)
        return (-(self.vectors @ vector)).argsort()[:k]

    def close(self):
        open(os.path.join(self.folder, "data"), "wb").write(bytes(1000))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of adapters, run by this interpreter."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    monkeypatch.setattr(peers, "HERE", folder)
    monkeypatch.setattr(peers, "interpreter", lambda packages: Path(sys.executable))
    return folder


def write(here: Path, name: str, *changes: tuple[str, str], dimensions: int = 3) -> None:
    text = NEAREST.replace("DIMENSIONS", str(dimensions))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (here / f"{name}.py").write_text(text)


def run(name: str, folder: Path, *asked: list[int]) -> peers.Trial:
    """A history of three texts for each list; its questions have the vectors of the texts listed."""
    histories = [peers.History(["a", "b", "c"], VECTORS, ["?"] * len(rows), VECTORS[rows]) for rows in asked]
    return peers.run_peer(name, histories, 2, folder)


def test_a_peer_is_asked_and_measured(here: Path, tmp_path: Path) -> None:
    write(here, "nearest")
    trial = run("nearest", tmp_path, [2, 1], [], [0])
    assert [[ranking[0] for ranking in part] for part in trial.rankings] == [[2, 1], [], [0]]
    assert all(len(ranking) == 2 for part in trial.rankings for ranking in part)
    assert trial.version == np.__version__
    assert (trial.costs.texts, len(trial.costs.search_seconds), trial.costs.disk_bytes) == (9, 3, 3000)
    assert trial.costs.ingest_seconds >= 0.06
    assert min(trial.costs.search_seconds) >= 0.01
    row = trial.costs.row()
    assert row["ingest texts/s"] == pytest.approx(9 / trial.costs.ingest_seconds)
    assert row["search ms p50"] >= 10
    assert row["disk MB"] == pytest.approx(0.003)
    assert not (tmp_path / "data").exists()


def test_failures_carry_the_peers_last_words(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "broken", ("time.sleep(0.02)", "raise SystemExit('no such index')"))
    with pytest.raises(peers.PeerError, match="no such index"):
        run("broken", tmp_path, [0])
    write(here, "strange", ("[:k]", "[:k] + 7"))
    with pytest.raises(peers.PeerError, match="ranked text 7 of 3"):
        run("strange", tmp_path, [0])
    write(here, "mute", ("time.sleep(0.02)", "os._exit(0)"))
    with pytest.raises(peers.PeerError, match="no measurement but ''"):
        run("mute", tmp_path, [0])
    write(here, "slow", ("time.sleep(0.02)", "time.sleep(60)"))
    monkeypatch.setattr(peers, "RUN_SECONDS", 0.5)
    with pytest.raises(peers.PeerError, match="no answer within"):
        run("slow", tmp_path, [0])


@pytest.mark.parametrize("call", ["create_connection(('203.0.113.9', 80), 1)", "getaddrinfo('hub.example', 443)"])
def test_a_peer_has_no_network(here: Path, tmp_path: Path, call: str) -> None:
    write(here, "caller", ("time.sleep(0.02)", f"import socket; socket.{call}"))
    with pytest.raises(peers.PeerError, match=r"without a network; this one asked for (203|hub)"):
        run("caller", tmp_path, [0])


def test_peers_stand_beside_the_product(here: Path) -> None:
    write(here, "nearest", dimensions=26)
    write(here, "broken", ("time.sleep(0.02)", "raise SystemExit('out of order')"), dimensions=26)
    records = [{"text": text, "source": text[-1]} for text in ("aaaa a", "bbbb b", "cccc c")]
    asked = [Question(f"q{text}", text, frozenset({text}), "x" if text < "c" else "y", text) for text in "abc"]
    measured = measure([Corpus("one", records, asked), Corpus("two", records, asked)], Options(peers=("nearest", "broken")),
                       embedder=LetterEmbedder(), open_store=FakeMemory().open)
    assert measured.mean("nearest", "recall@5", [True] * 6) == 1
    assert measured.mean("nearest", "mrr", [True] * 6) == 1
    mask = [question.category == "x" for question in asked] * 2
    check = Check.of("recall@10", measured.interval(OURS, "recall@10", mask))
    details = measured.result(registry.find("nq-open"), [check], {"All": measured.table(mask)}, [], mask).details
    rows = details["tables"]["Peers"]
    assert set(rows) == set(measured.scores)
    assert rows["nearest"]["n"] == rows[OURS]["n"] == 4
    assert rows["nearest"]["disk MB"] == pytest.approx(0.002)
    assert rows[OURS]["ingest texts/s"] > 0 < rows[OURS]["search ms p50"]
    assert "disk MB" not in rows["bm25"]
    assert any(note.startswith(f"nearest {np.__version__}: numpy==1") for note in details["notes"])
    assert any(note.startswith("broken did not run") and "out of order" in note for note in details["notes"])


def test_every_adapter_says_what_it_needs() -> None:
    assert {"chroma", "lancedb_vector", "lancedb_hybrid", "mem0", "mem0_bm25", "memos", "mempalace", "txtai_hybrid"} <= set(peers.names())
    for name in peers.names():
        assert "==" in peers.requirements(name)[0]
