"""Loading a model prints nothing, and leaves progress bars as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import model
from transformers.utils import logging

from mnemos.models.local.model import LocalModel
from mnemos.models.reference import load


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model("llama").save(tmp_path)
    capfd.readouterr()
    before = logging.is_progress_bar_enabled()
    LocalModel.load(tmp_path)
    load()
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == before
