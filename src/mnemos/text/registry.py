"""The strategies by name. A new one is one line here."""

from __future__ import annotations

import importlib

from mnemos.text.strategy import Strategy

STRATEGIES: dict[str, str] = {
    "auto": "mnemos.text.auto:Auto",
    "plain": "mnemos.text.plain:Plain",
    "thoughts": "mnemos.text.thoughts.strategy:Thoughts",
    "constructor": "mnemos.text.constructor.strategy:Constructor",
    "granularity": "mnemos.text.granularity.strategy:Granularity",
    "clues": "mnemos.text.clues.strategy:Clues",
    "hypergraph": "mnemos.text.hypergraph.strategy:Hypergraph",
    "notes": "mnemos.text.notes.strategy:Notes",
}
"""Name → where it is; loaded at first use, as some read word lists."""


def make(name: str) -> Strategy:
    """A strategy of its own for one open store."""
    module, _, made = STRATEGIES[name].partition(":")
    strategy: Strategy = getattr(importlib.import_module(module), made)()
    return strategy


def strategies() -> list[str]:
    """The names of the strategies that a space can have."""
    return list(STRATEGIES)
