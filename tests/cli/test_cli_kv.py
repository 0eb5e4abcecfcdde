"""`mnemos kv`: a text is warmed with a model in a folder, listed, inspected, and dropped."""

from __future__ import annotations

import pytest
from cli_outcome import Mnemos

from kernel.kv.byte_llama import model
from mnemos.models.local.model import LocalModel


@pytest.fixture
def text(mnemos: Mnemos) -> str:
    model().save("model")
    added: str = mnemos("add", "Alice moved to Lisbon in May.").out.strip()
    return added


def test_a_text_is_warmed_once_listed_and_dropped(mnemos: Mnemos, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = mnemos("kv", "warm", text, "--model", "model", "--json").json
    assert [one["accepted"] for one in warmed["warmed"]] == [True]
    assert mnemos("kv", "warm", text, "--model", "model").out == "1 text was kept already.\n"
    listed = mnemos("kv", "list", "--json").json
    (entry,) = listed["kv"]
    assert (entry["source"], entry["stale"], entry["fits"]) == (text, False, None)
    assert listed["bytes"] == entry["bytes"] > 0
    monkeypatch.setenv("MNEMOS_LANGUAGE_MODEL", "model")
    assert mnemos("kv", "inspect", text, "--json").json["fits"] is True
    assert entry["fingerprint"] == LocalModel.load("model").fingerprint
    assert "text is still there" in mnemos("kv", "drop", entry["id"]).out
    assert mnemos("kv", "list").out.splitlines()[-1] == "0 KV memories, 0 bytes."


def test_what_is_missing_is_said(mnemos: Mnemos, text: str) -> None:
    assert "--model PATH" in mnemos("kv", "warm", text, "--json").error["message"]
    assert "kv list" in mnemos("kv", "drop", text, "--json").error["message"]
    assert "nowhere" in mnemos("kv", "warm", text, "--model", "nowhere", "--json").error["message"]


def test_what_would_not_pay_is_declined(mnemos: Mnemos, text: str) -> None:
    assert mnemos("kv", "warm", text, "--model", "model", "--uses", "0").out.startswith("Declined: pays")
