"""The benchmark of sealing, small, on the real product: it measures both stores, and its ratios are of what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")

from mnemos.bench import sealing
from mnemos.bench.registry import BENCHMARKS
from mnemos.bench.sealing import KINDS, PLAIN, SEALED, Sizes, Turns

SMALL = Sizes(cubes=300, rounds=5, adds=4, questions=3, openings=2, forgets=3)


def texts(count: int) -> list[str]:
    words = ["amber", "bridge", "cellar", "dawn", "ember", "forest", "glass", "harbour", "island", "jewel", "kettle", "lantern"]
    rng = np.random.default_rng(3)
    return [f"{' '.join(rng.choice(words, 12))} number {i}." for i in range(count)]


def test_both_stores_are_measured_and_only_one_is_sealed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    said: list[str] = []
    adds, table = sealing._adds(tmp_path, texts(2 * 6 * 4), SMALL, rng)
    large, tables = sealing._large(tmp_path, texts(300), ["amber bridge", "cellar dawn", "ember forest"], SMALL, rng, said.append)
    checks = {check.metric: check for check in (*adds, *large)}
    assert checks["add, sealed ÷ plain"].threshold == 1.5
    assert all(check.measured > 0 for check in checks.values())
    assert checks["keys renewed, versions/s"].n == 300 - 2 * 3 - 30
    assert set(table) == set(KINDS) == {PLAIN, SEALED}
    assert said == ["opening", "forgetting", "renewing keys"]
    sizes = tables["Stores of 300 cubes"]
    assert checks["bytes on disk, sealed ÷ plain"].measured == pytest.approx(sizes[SEALED]["on disk MB"] / sizes[PLAIN]["on disk MB"])
    assert b"amber" in b"".join(file.read_bytes() for file in (tmp_path / "large plain").iterdir())
    assert b"amber" not in b"".join(file.read_bytes() for file in (tmp_path / "large sealed").iterdir())


def test_a_ratio_is_sealed_by_plain() -> None:
    turns = Turns()
    turns.processor = {PLAIN: [1.0, 2.0, 1.0, 2.0, 1.0, 2.0], SEALED: [2.0, 4.0, 2.0, 4.0, 2.0, 4.0]}
    check = turns.check("twice", 1.5, np.random.default_rng(1))
    assert (check.measured, check.holds) == (2.0, False)
    assert turns.take(PLAIN, lambda: 7) == 7
    assert len(turns.processor[PLAIN]) == 7


def test_it_is_listed() -> None:
    assert BENCHMARKS["sealing"].module == "mnemos.bench.sealing"
