"""For a project's own tests: `-p mnemos.bench.evaluation.pytest_plugin` gives the fixture `card_gate`, which fails a test on a missed gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mnemos.bench.evaluation.card import Card, assert_gates


@pytest.fixture
def card_gate() -> Callable[[Card], None]:
    """A function that fails the test, naming each acceptance threshold that a card misses."""
    return assert_gates
