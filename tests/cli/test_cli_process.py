"""The console script as a process: exit codes, pipes, signals, what it loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "mnemos.cli.main"]


def mnemos(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed", **more}
    return subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, errors="replace",
                          timeout=60, stdin=subprocess.DEVNULL)  # fmt: skip


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("numpy", "apsw", "onnxruntime", "mnemos.kernel.system", "fastapi", "mcp", "torch", "mnemos.bench")
    program = f"""
import sys
from mnemos.cli.main import run
assert run(["--help"]) == 0
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.exit(f"loaded: {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "init", "add", "import", "search", "context", "show", "history", "update", "rollback", "freeze", "unfreeze", "forget",
                    "verify", "export", "serve", "mcp", "bench", "doctor", "list", "spaces", "strategies"):  # fmt: skip
        assert f" {command} " in done.stdout


def test_remember_and_find_in_two_processes(tmp_path: Path) -> None:
    assert mnemos(tmp_path, "add", "I moved to Lisbon.").returncode == 0
    found = mnemos(tmp_path, "search", "Lisbon")
    assert found.returncode == 0
    assert "I moved to Lisbon." in found.stdout


def test_exit_codes(tmp_path: Path) -> None:
    assert mnemos(tmp_path, "search", "x").returncode == 1
    assert mnemos(tmp_path, "search").returncode == 2
    assert mnemos(tmp_path, "--version").stdout.startswith("mnemos ")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" not in mnemos(tmp_path, "search", "x").stderr
    assert "Traceback" in mnemos(tmp_path, "search", "x", MNEMOS_DEBUG="1").stderr


def test_output_without_utf8(tmp_path: Path) -> None:
    mnemos(tmp_path, "add", "Zoë pays 4 € — ✓ 日本")
    assert mnemos(tmp_path, "list", PYTHONIOENCODING="ascii").returncode == 0
    assert mnemos(tmp_path, "doctor", PYTHONIOENCODING="latin-1").returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    lines = "\n".join(f'{{"text": "memory number {n} {"x" * 300}"}}' for n in range(2000))
    (tmp_path / "many.jsonl").write_text(lines)
    assert mnemos(tmp_path, "import", "many.jsonl").returncode == 0
    for listing in (["list", "-n", "2000"], ["list", "-n", "2000", "--json"], ["export"]):
        with subprocess.Popen([*COMMAND, *listing], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            said = process.stderr.read().decode()
            assert process.wait(timeout=60) == 141
        assert said == ""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c(tmp_path: Path) -> None:
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed"}
    process = subprocess.Popen([*COMMAND, "add", "-"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)  # until it waits for its input
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in said
    assert "Traceback" not in said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_it_still_loads(tmp_path: Path) -> None:
    program = """
import sys
from mnemos.cli.main import main

class Interrupting:
    def find_spec(self, name, *rest):
        raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
main()
"""
    done = subprocess.run([sys.executable, "-c", program, "list"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupted_import_says_how_to_go_on(tmp_path: Path) -> None:
    total = 40_000
    (tmp_path / "many.jsonl").write_text("".join(f'{{"text": "memory number {n}", "source": "n{n}"}}\n' for n in range(total)))
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed"}
    process = subprocess.Popen([*COMMAND, "import", "many.jsonl", "--json"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "memory.db-wal").exists() or (tmp_path / "memory.db-wal").stat().st_size < 500_000:
        assert time.monotonic() < deadline, "the import never wrote anything"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    error = json.loads(said)["error"]
    assert error["kind"] == "Interrupted"
    done = int(error["message"].rpartition("--skip ")[2])
    assert 0 < done < total
    assert mnemos(tmp_path, "import", "many.jsonl", "--skip", str(done)).returncode == 0
    sources = [json.loads(line)["record"]["source"] for line in mnemos(tmp_path, "export").stdout.splitlines() if '"record"' in line]
    assert sources == [f"n{n}" for n in range(total)]


def test_serve_answers_and_stops_gracefully(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="serving needs the [server] extra")
    mnemos(tmp_path, "add", "I moved to Lisbon.")
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed"}
    mnemos(tmp_path, "signing-key", "signing.key")
    serve = [*COMMAND, "serve", "--port", "0", "--sign", "signing.key"]
    with subprocess.Popen(serve, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1].removesuffix("/docs")
            body = json.dumps({"query": "Lisbon"}).encode()
            request = urllib.request.Request(f"{address}/v1/spaces/default/search", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert "I moved to Lisbon." in answer.read().decode()
            deadline = time.monotonic() + 30
            while not (tmp_path / "memory.db-checkpoints").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert mnemos(tmp_path, "verify", "--checkpoints", "--public-key", "signing.key.pub").returncode == 0


def test_mcp_speaks_on_standard_output_alone(tmp_path: Path) -> None:
    pytest.importorskip("mcp", reason="MCP needs the [server] extra")
    start = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": start},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    environment = {**os.environ, "MNEMOS_EMBEDDER": "hashed"}
    with subprocess.Popen([*COMMAND, "mcp"], cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in messages:
            process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert answers[0]["result"]["serverInfo"]["name"] == "mnemos"
    assert {tool["name"] for tool in answers[1]["result"]["tools"]} >= {"memory_add", "memory_search", "memory_forget"}


def test_a_missing_extra_names_what_to_type(tmp_path: Path) -> None:
    program = """
import sys
for name in ("fastapi", "mcp"):
    sys.modules[name] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("fastapi", "mcp") else find(name, *rest)
from mnemos.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    for command in ("serve", "mcp"):
        done = subprocess.run([sys.executable, "-c", program, command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "pip install 'mnemos[server]'" in done.stderr
