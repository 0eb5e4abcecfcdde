"""A server over a sealed store: it opens it with the key, and its certificates keep the names of the keys that were destroyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from server_support import LOCAL

import mnemos

pytest.importorskip("cryptography", reason="sealed stores need the package cryptography")
testclient = pytest.importorskip("starlette.testclient", reason="the test client's packages are not installed")

KEY = "ab" * 32


def test_certificates_of_a_sealed_store_travel_whole(tmp_path: Path) -> None:
    from mnemos.server.app import create_app

    opened = mnemos.open(tmp_path / "memory.db", embedder="hashed", key=bytes.fromhex(KEY))
    with opened as mem, testclient.TestClient(create_app(mem), base_url=LOCAL) as client:
        cube = client.post("/v1/spaces/a/memories", json={"text": "I moved to Lisbon."}).json()
        certificate = client.post("/v1/spaces/a/forget", json={"ids": [cube["id"]]}).json()
        assert certificate["cubes"][0]["keys"]
        assert client.post("/v1/verify-certificate", json=certificate).json() == {"ok": True, "reasons": []}
        certificate["cubes"][0]["keys"] = []
        assert client.post("/v1/verify-certificate", json=certificate).json()["ok"] is False


def test_a_server_opens_a_sealed_store_with_its_key(serving: Any, tmp_path: Path) -> None:
    import httpx

    with mnemos.open(tmp_path / "memory.db", embedder="hashed", key=KEY) as mem:
        mem.space("a").add("I moved to Lisbon.")
    served = serving(key=KEY)
    assert httpx.get(f"{served.url}/v1/spaces").json() == {"spaces": ["a"]}
    assert served.stop()[0] == 0
