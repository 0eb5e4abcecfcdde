"""The headline of KV memory: what is measured of each policy, and what is concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mnemos.base.errors import Invalid
from mnemos.bench import registry
from mnemos.bench.kv import headline, picture
from mnemos.bench.kv.headline import FULL, Turns
from mnemos.bench.registry import Options

BRINGS, EVICTS = "blocks of 1, in 2 bits", "H2O 1/8"


def turns(later: list[float], near: float) -> Turns:
    """Sessions of two turns, the second with these scores."""
    return Turns([[1.0, score] for score in later], near, 0.0)


def checks(found: Mapping[str, Mapping[str, Turns]]) -> dict[str, tuple[float, bool | None]]:
    measured, _ = headline.measured(found, Options())
    return {check.metric.split(" (")[0]: (check.measured, check.holds) for check in measured}


def test_a_quick_run_measures_every_arm_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headline, "LENGTH", 300)
    monkeypatch.setattr(headline, "TURNS", 2)
    monkeypatch.setattr(headline, "QUICK", (EVICTS, BRINGS, "Landmark"))
    result = registry.find("kv").run(Options(quick=True))
    rows = result.details["tables"]["kv: score by turn"]
    assert {FULL, EVICTS, BRINGS} <= set(rows)
    assert "Landmark" in rows or any(note.startswith("Landmark is not measured") for note in result.details["notes"])
    assert rows[FULL]["turn 2"] >= headline.MASTERED
    assert rows[BRINGS]["far ÷ full"] > 0.8 > rows[EVICTS]["near ÷ full"]
    assert rows[EVICTS]["turn 2"] < rows[BRINGS]["turn 2"]
    assert 0 < rows[BRINGS]["step ÷ full"] < 0.25 * rows[FULL]["near ÷ full"] + 0.01  # of one layer of four
    halved = result.details["tables"]["kv, bfloat16: score by turn"]
    assert set(halved) == {FULL, *(name for name in rows if name in headline.HALF)}
    assert rows[BRINGS]["near ÷ full"] < halved[BRINGS]["near ÷ full"] < 2 * rows[BRINGS]["near ÷ full"]


def test_losses_are_of_sessions_over_the_tasks_that_count() -> None:
    found = {
        "kv": {FULL: turns([1.0, 1.0], 1.0), BRINGS: turns([1.0, 0.9], 0.12), EVICTS: turns([0.5, 0.3], 0.13)},
        "summary": {FULL: turns([0.8, 1.0], 1.0), BRINGS: turns([0.8, 1.0], 0.12), EVICTS: turns([0.8, 0.6], 0.13)},
        "qa": {FULL: turns([0.1, 0.1], 1.0)},
    }
    said = checks(found)
    assert said["tasks that the full cache answers, of those asked"] == (2.0, None)
    assert said["points lost by the best that brings back"] == (pytest.approx(0.025), True)
    assert said["points lost by the best that only evicts"] == (pytest.approx(0.4), None)
    assert said["points that the best which only evicts loses more"] == (pytest.approx(0.375), True)
    lost = headline.measured(found, Options())[1]["Lost in turns 2 on, all tasks that count"]
    assert lost[BRINGS]["near ÷ full"] == pytest.approx(0.12)
    assert lost[BRINGS]["from"] <= lost[BRINGS]["lost"] <= lost[BRINGS]["to"]


def test_each_way_to_bring_back_has_to_be_at_an_eighth_for_itself() -> None:
    rows = {FULL: turns([1.0, 1.0], 1.0), BRINGS: turns([1.0, 0.96], 0.12), "Landmark": turns([0.6, 0.6], 0.3), EVICTS: turns([0.5, 0.3], 0.13)}
    found, _ = headline.measured({"kv": rows}, Options(), headline.HALVED)
    said = {check.metric: check for check in found}
    assert said["points lost by blocks at 1/8 of the bytes, bfloat16"].holds
    missed = said["points lost by Landmark at 1/8 of the bytes, bfloat16 (its least is 0.30, where it loses 0.40)"]
    assert missed.holds is False
    assert not any("ShadowKV" in metric for metric in said)


def test_what_is_over_an_eighth_does_not_count() -> None:
    found = {"kv": {FULL: turns([1.0, 1.0], 1.0), BRINGS: turns([1.0, 1.0], 0.13), EVICTS: turns([0.5, 0.3], 0.13)}}
    said = checks(found)
    assert np.isnan(said["points lost by the best that brings back, at 1/8 of the bytes"][0])
    assert said["points lost by the best that brings back, at 1/8 of the bytes"][1] is False
    assert said["points that the best which only evicts loses more"][1] is False
    nothing = checks({"kv": {FULL: turns([0.1, 0.2], 1.0)}})
    assert nothing["points lost by the best that only evicts, at 1/8 of the bytes"][1] is None


def test_the_picture_has_a_row_for_each_task_that_has_arms(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    its = {FULL: turns([1.0, 1.0], 1.0), BRINGS: turns([1.0, 0.5], 0.12)}
    found = {"kv": its, "kv, bfloat16": its, "qa": {FULL: turns([0.1, 0.1], 1.0)}}
    result = {"details": {"tables": headline.measured(found, Options())[1]}}
    assert list(picture.tasks_of(result)) == ["kv", "kv, bfloat16"]
    picture.draw(picture.tasks_of(result), tmp_path / "kv.svg")
    drawn = (tmp_path / "kv.svg").read_text()
    assert drawn.startswith("<?xml")
    picture.draw(picture.tasks_of(result), tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text() == drawn
    with pytest.raises(Invalid, match="no arms"):
        picture.tasks_of({"details": {"tables": {"qa: score by turn": {FULL: {}}}}})
