"""A store with the hashed embedder behind the real application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from server_support import LOCAL, TOKENS, Served

import mnemos

pytest.importorskip("fastapi", reason="the server's packages are not installed; pip install 'mnemos[server]'")
testclient = pytest.importorskip("starlette.testclient", reason="the test client's packages are not installed")


@pytest.fixture
def memory(tmp_path: Any) -> Iterator[mnemos.Mnemos]:
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as opened:
        yield opened


@pytest.fixture
def client(memory: mnemos.Mnemos) -> Iterator[Any]:
    """A client of a server without tokens."""
    from mnemos.server.app import create_app

    with testclient.TestClient(create_app(memory), base_url=LOCAL, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def guarded(memory: mnemos.Mnemos) -> Iterator[Any]:
    """A client of a server with tokens, reached by another name than localhost."""
    from mnemos.server.app import create_app

    app = create_app(memory, tokens=TOKENS)
    with testclient.TestClient(app, base_url="http://memory.example", raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def serving(tmp_path: Any) -> Iterator[Callable[..., Served]]:
    """Starts servers over `tmp_path`/memory.db; those that still run at the end are stopped."""
    started: list[Served] = []

    def start(**options: Any) -> Served:
        started.append(Served(tmp_path / "memory.db", **options))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop()
