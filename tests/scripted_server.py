"""A local HTTP server that answers by a script of steps, faults among them, and properly once the script is used up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Answer = tuple[int, dict[str, str], bytes]
Step = Callable[[dict[str, Any]], Answer]


class ScriptedServer:
    """Answers each request at `path` by the next step of `script`, and by `proper` once it is used up. `requests` holds (headers, body) seen."""

    def __init__(self, path: str, proper: Step, *script: Step) -> None:
        self.script = list(script)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # headers and body in one packet, else the client's delayed acknowledgement costs 40 ms

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    server.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                    step = server.script.pop(0) if server.script else proper
                status, headers, content = step(body) if self.path == path else (404, {}, b"no such path")
                try:
                    self.send_response(status)
                    for name, value in {"content-type": "application/json", **headers, "content-length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had stopped waiting, as the timeout test means it to

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


def ok(answer: Any) -> Answer:
    return 200, {}, json.dumps(answer).encode()


def status(code: int, text: str = '{"error": {"message": "scripted"}}', **headers: str) -> Step:
    return lambda body: (code, {name.replace("_", "-"): value for name, value in headers.items()}, text.encode())


def raw(content: bytes) -> Step:
    return lambda body: (200, {}, content)


def slowly(seconds: float, step: Step) -> Step:
    """`step` after a while."""

    def late(body: dict[str, Any]) -> Answer:
        time.sleep(seconds)
        return step(body)

    return late
