"""Places of values are those that a look through the column finds, however it has grown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.index import places
from mnemos.index.growing import Growing


@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
@given(parts=st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=6))
def test_they_are_those_of_the_column(dtype: type, parts: list[list[int]]) -> None:
    column, found = Growing(dtype), places.Places()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(places, "LATER", 3)  # so that some are sorted, and some looked through
        for part in parts:
            column.extend(part)
            for value in range(10):
                assert found.of(column.view(), value).tolist() == np.flatnonzero(column.view() == value).tolist()
