"""The parts of the benchmarks of archives and of sensitive strings, small, on the real product."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnemos.bench import exchange, sensitivity
from mnemos.bench.sensitive_texts import NAMES, SENSITIVE, samples
from mnemos.text.sensitivity import Redactor

TEXTS = [f"The lantern number {i} hangs in the harbour of island {i % 9}." for i in range(150)]


def test_archives_are_measured_beside_json_lines(tmp_path: Path) -> None:
    checks, table, alike = exchange.rates(tmp_path, TEXTS, ["Where does lantern number 7 hang?", "island 3"])
    assert alike.value == 1.0
    assert checks[0].threshold == 1.0
    assert table["archive: export, signed"]["MB"] > table["archive without vectors: export"]["MB"] > 0
    assert all(row["seconds"] > 0 for row in table.values())


def test_flips_and_leaks_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noticed = exchange.flips(tmp_path, TEXTS[:10], 60, rng)
    assert (noticed.value, noticed.n) == (1.0, 60)
    leaked, looked_for = exchange.leaks(tmp_path, rng)
    assert leaked == 0
    assert looked_for > 100


def test_common_patterns_find_less() -> None:
    drawn = samples(np.random.default_rng(1), 20)
    ours, theirs = (sensitivity.score(drawn, Redactor(names=NAMES, **more)) for more in ({}, {"detectors": sensitivity.COMMON}))
    assert set(ours.there) == set(SENSITIVE)
    assert sum(theirs.found.values()) < 0.7 * sum(ours.found.values())
    assert theirs.wrong > 20 > ours.wrong


def test_growth_tells_linear_from_worse() -> None:
    took, ratio = sensitivity.growth("12 Aa Bb ", 20_000)
    assert 0 < took < 10
    assert ratio < 40
