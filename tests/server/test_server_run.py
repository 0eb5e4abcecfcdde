"""A real server process: it finishes what runs when told to stop, imports streams, and closes its store."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import pytest

import mnemos

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_importing_mnemos_loads_no_server() -> None:
    code = "import sys, mnemos, mnemos.kernel.system; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "mnemos.kernel.system" in loaded
    assert not {"fastapi", "starlette", "uvicorn", "mcp", "pydantic", "httpx", "mnemos.server"} & set(loaded)


def test_a_stopped_server_finishes_what_runs_and_closes_the_store(serving: Any, tmp_path: Any) -> None:
    served = serving()
    pieces = iter([b'{"text": "before"}\n', b'{"text": "after the signal"}\n'])
    sent_first = threading.Event()

    def body() -> Any:
        yield next(pieces)
        sent_first.set()
        time.sleep(1.0)
        yield next(pieces)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(httpx.post, f"{served.url}/v1/spaces/a/memories", content=body(), headers=NDJSON, timeout=30)
        assert sent_first.wait(10)
        time.sleep(0.3)
        code, out, err = served.stop()
        answer = running.result(timeout=30)
    assert answer.status_code == 200
    assert json.loads(answer.text.splitlines()[-1]) == {"written": 2, "done": True}
    assert (code, out.strip()) == (0, "closed"), err
    assert "Traceback" not in err
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as memory:
        assert [cube.text for cube in memory.space("a").list()] == ["before", "after the signal"]
        assert memory.verify()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/healthz")


def test_a_server_runs_the_jobs_of_its_store(serving: Any, tmp_path: Any) -> None:
    served = serving()
    with mnemos.open(tmp_path / "memory.db", embedder="none") as memory:
        number = memory.jobs.enqueue("index").id
        deadline = time.monotonic() + 30
        while memory.jobs.get(number).state != "done" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert memory.jobs.get(number).state == "done"
    found = httpx.get(f"{served.url}/v1/jobs").json()
    assert {job["kind"]: job.get("every") for job in found["jobs"]} == {"expire": 3600, "tend": 21600, "compact": 86400, "index": None}
    code, _, err = served.stop()
    assert (code, err) == (0, "")


def test_an_import_reports_while_it_is_sent(serving: Any) -> None:
    """Progress comes before the body has ended: the answer is not held back until then."""
    served = serving()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = ("POST /v1/spaces/a/memories?ids=true HTTP/1.1", f"Host: {host}", "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        connection.sendall("".join(f"{line}\r\n" for line in (*head, "")).encode())

        def send(lines: bytes) -> None:
            connection.sendall(b"%x\r\n%b\r\n" % (len(lines), lines))

        send(b"".join(b'{"text": "Fact %d"}\n' % number for number in range(600)))
        received = b""
        while b'"written":512' not in received:
            received += connection.recv(65536)
        assert b"200 OK" in received
        assert b'"done"' not in received
        send(b'{"text": "last"}')
        connection.sendall(b"0\r\n\r\n")
        while b'"done":true' not in received:
            more = connection.recv(65536)
            assert more, received[-500:]
            received += more
    assert b'"written":601' in received


def test_a_large_import_from_a_client_that_reads_last(serving: Any, tmp_path: Any) -> None:
    served = serving()
    lines = (json.dumps({"text": f"Fact number {number} of many.", "metadata": {"n": number}}).encode() + b"\n" for number in range(20_000))
    answer = httpx.post(f"{served.url}/v1/spaces/a/memories", content=lines, headers=NDJSON, timeout=120)
    assert json.loads(answer.text.splitlines()[-1]) == {"written": 20_000, "done": True}
    assert served.stop()[0] == 0
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as memory:
        assert len(memory.space("a").list(limit=30_000)) == 20_000


def test_a_client_that_leaves_stops_only_its_import(serving: Any) -> None:
    served = serving()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST /v1/spaces/a/memories HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head.encode() + b'{"text": "one"}\n')
    time.sleep(0.5)
    assert httpx.get(f"{served.url}/readyz").status_code == 200
    code, _, err = served.stop()
    assert code == 0
    assert "Traceback" not in err


def test_a_taken_port_is_told(tmp_path: Any) -> None:
    from mnemos.server.run import serve

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(mnemos.errors.StoreUnavailable, match="--port"):
        serve(tmp_path / "memory.db", port=taken.getsockname()[1], embedder="hashed")


def test_eight_clients_at_once(serving: Any, tmp_path: Any) -> None:
    served = serving()

    def work(worker: int) -> set[int]:
        statuses = set()
        with httpx.Client(base_url=served.url, timeout=60) as client:
            for number in range(15):
                statuses.add(client.post("/v1/spaces/a/memories", json={"text": f"Worker {worker} said {number}."}).status_code)
                statuses.add(client.get("/v1/spaces/a/memories", params={"limit": 5}).status_code)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set.union(*pool.map(work, range(8))) == {200, 201}
    assert served.stop()[0] == 0
    with mnemos.open(tmp_path / "memory.db", embedder="hashed") as memory:
        assert len(memory.space("a").list(limit=1000)) == 120
