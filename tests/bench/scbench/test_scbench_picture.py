"""The picture: what it draws stands in the result, and a result without findings is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.scbench import picture


def result() -> dict[str, Any]:
    scores = {name: {"turn 1": 1.0, "turn 2": 0.4, "all": "0.700 (0.600–0.800)", "n": 8} for name in picture.CURVES}
    front = {"full cache": {"score": "1.000 (0.676–1.000)", "near KiB": 2000}, "window 1/8": {"score": "0.100 (0.000–0.200)", "near KiB": 250},
             "KIVI 2 bits": {"score": "0.900 (0.820–0.950)", "near KiB": 500}}  # fmt: skip
    return {"details": {"tables": {picture.FINDINGS: scores, picture.FRONT: front}}}


def test_the_names_are_those_of_the_benchmark() -> None:
    """What the picture looks for is what the benchmark calls it."""
    folder = Path(picture.__file__).parent
    said = (folder / "benchmark.py").read_text("utf-8") + (folder / "findings.py").read_text("utf-8")
    assert picture.FINDINGS in said
    assert picture.FRONT in said


def test_the_edge_is_the_best_score_within_each_number_of_bytes() -> None:
    assert picture.edge([(4, 0.5), (1, 0.2), (2, 0.1), (8, 0.9), (9, 0.3)]) == ([1, 4, 8, 9], [0.2, 0.5, 0.9, 0.9])
    assert picture.score_of({"score": "0.512 (0.478–0.546)"}) == (0.512, 0.478, 0.546)


def test_it_draws_the_same_file_for_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    source, one, other = tmp_path / "result.json", tmp_path / "one.svg", tmp_path / "other.svg"
    source.write_bytes(orjson.dumps(result()))
    for out in (one, other):
        monkeypatch.setattr(sys, "argv", ["picture", str(source), str(out)])
        picture.main()
    assert one.read_bytes() == other.read_bytes()
    assert b"<svg" in one.read_bytes()


def test_what_has_no_findings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="no findings"):
        picture.draw({"details": {"tables": {}}}, tmp_path / "x.svg")
    monkeypatch.setattr(sys, "argv", ["picture", str(tmp_path / "none.json"), "x.svg"])
    with pytest.raises(NotFound, match=r"none\.json is not there"):
        picture.main()
