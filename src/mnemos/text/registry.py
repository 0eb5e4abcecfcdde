"""The strategies by name. A new one is one line here."""

from __future__ import annotations

from mnemos.text.auto import Auto
from mnemos.text.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {"auto": Auto}


def make(name: str) -> Strategy:
    """A strategy of its own for one open store."""
    return STRATEGIES[name]()


def strategies() -> list[str]:
    """The names of the strategies that a space can have."""
    return list(STRATEGIES)
