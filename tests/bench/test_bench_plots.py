from pathlib import Path

import orjson
import pytest

from mnemos.base.errors import Invalid
from mnemos.bench import peers, plots

RESULT = {
    "name": "locomo",
    "details": {
        "checks": [{"metric": "recall@10 ÷ x", "interval": [1, 2]}, {"metric": "recall@10", "interval": [0.7, 0.8]}],
        "tables": {"All": {"mnemos": {"recall@10": 0.75}, "rrf": {"recall@10": 0.6}, "chroma": {"recall@10": 0.5}}, "Cost": {"mnemos": {}}},
    },
}


def test_numbers_are_those_of_the_result() -> None:
    assert plots.bars(RESULT) == {"mnemos": 0.75, "rrf": 0.6, "chroma": 0.5}
    assert plots.interval(RESULT) == (0.7, 0.8)
    with pytest.raises(Invalid, match="store"):
        plots.bars({"name": "store", "details": {"tables": {"Writes": {"add": {"p50": 1}}}}})


def test_every_peer_has_a_colour_of_its_own() -> None:
    assert len(set(plots.PEER_COLOURS)) == len(plots.PEER_COLOURS) >= len(peers.names())


def test_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "r.json").write_bytes(orjson.dumps(RESULT))
    out = tmp_path / "img" / "recall.png"
    assert plots.main([str(tmp_path / "r.json"), str(tmp_path / "r.json"), str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert plots.main([]) == 2
