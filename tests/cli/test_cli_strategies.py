"""`mnemos strategies` and `mnemos consolidate`."""

from __future__ import annotations

import pytest
from cli_outcome import Mnemos

import mnemos as library
from mnemos.text import registry


def test_strategies_are_listed(mnemos: Mnemos) -> None:
    listed = mnemos("strategies", "--json").json["strategies"]
    assert [row["name"] for row in listed] == list(registry.STRATEGIES)
    assert all(row["about"] and isinstance(row["consolidates"], bool) for row in listed)


def test_a_space_is_consolidated(mnemos: Mnemos, lisbon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mnemos("consolidate").out.strip() == "Nothing to do for strategy auto."
    monkeypatch.setitem(registry.STRATEGIES, "echo", "tests.kernel.echo_strategy:Echo")
    with library.open("memory.db", embedder="none") as mem:
        mem.space("default", strategy="echo")
    done = mnemos("consolidate")
    assert done.code == 0
    assert "looked at 1 memory: 2 views written" in done.out
    assert "echoed: 1" in done.out
    assert mnemos("consolidate", "--json").json == {"strategy": "echo", "seen": 0, "added": 0, "revised": 0, "retired": 0, "report": {}}


def test_what_is_said_again_is_told(mnemos: Mnemos) -> None:
    for text in ("Ana moved to Lisbon.", "Ana moved to Lisbon!", "The dentist has time on Tuesday.", "Whales breathe air."):
        mnemos("add", text)
    told = mnemos("redundancy", "--json").json
    assert told["memories"] == 4
    assert told["by"] == "topic"
    assert 0 < told["redundancy"] < 1
    said = mnemos("redundancy", "--by", "type", "--limit", "1")
    assert "4 memories say as much as" in said.out
    assert "Ana moved to Lisbon" in said.out
    assert mnemos("redundancy", "--by", "colour").code == 1
