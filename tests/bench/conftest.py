from pathlib import Path

import pytest

from mnemos.base.errors import NotFound
from mnemos.bench.datasets import data_folder


@pytest.fixture
def data() -> Path:
    """The folder of evaluation sets; skips where it is absent."""
    try:
        return data_folder()
    except NotFound as missing:
        pytest.skip(str(missing))
