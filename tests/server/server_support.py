"""What several of the server's tests use: tokens, the check of a problem document, a server in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

LOCAL = "http://127.0.0.1:7077"
TOKENS = {"owner-token": None, "alice-token": "alice", "bob-token": "bob"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-token"}


def is_problem(response: Any, status: int) -> dict[str, Any]:
    """The problem document of a response, checked to be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert "Traceback" not in response.text
    return body


class Served:
    """A server in a process of its own, over a store file."""

    def __init__(self, path: Any, **options: Any) -> None:
        code = (
            "import sys, json, os\n"
            "from mnemos.server.run import serve\n"
            "from mnemos.server.proxy import Upstream\n"
            "options = json.loads(sys.argv[2])\n"
            "upstream = Upstream(**options.pop('upstream')) if 'upstream' in options else None\n"
            "serve(sys.argv[1], port=0, embedder='hashed', upstream=upstream, ready=lambda url: print(url, flush=True), **options)\n"
            "print('closed', flush=True)\n"
        )
        command = [sys.executable, "-c", code, str(path), json.dumps(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate(timeout=30)

    def stop(self) -> tuple[int, str, str]:
        """Ask it to stop, and give exit code, standard output and standard error."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err
