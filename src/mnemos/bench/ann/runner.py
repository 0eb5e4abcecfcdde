"""A process for each phase of each system: started, watched from outside, ended when it takes too long; what goes wrong is an outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnemos.bench import peers

HERE = Path(__file__).parent
GUARD = Path(peers.__file__).with_name("_driver.py")
"""Holds `refuse_network`."""
WATCH_SECONDS = 0.02
_WITHIN = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Threads within one product or query."""
_POOLS = ("RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS")


@dataclass(frozen=True)
class Outcome:
    """What a process said, line by line, and how it ended: `failure` is None where it ended well. `peak` is the most anonymous memory that it was
    seen to hold, in bytes, from outside; what it maps from files, its input among it, is not in it."""

    said: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None
    peak: int = 0

    def events(self, name: str) -> list[dict[str, Any]]:
        """All that was said under that name."""
        return [event for event in self.said if event["event"] == name]

    def event(self, name: str) -> dict[str, Any] | None:
        """The last that was said under that name."""
        return next(reversed(self.events(name)), None)


def cores(count: int) -> list[int]:
    """The last `count` of the cores that this process may use, or all where there are fewer."""
    return sorted(os.sched_getaffinity(0))[-count:]


def run(python: Path | str, adapter: Path, request: Mapping[str, Any], limit: float) -> Outcome:
    """Runs one phase; ends it, with all that it started, after `limit` seconds."""
    threads = {**dict.fromkeys(_WITHIN, str(request["within"])), **dict.fromkeys(_POOLS, str(len(request["cpus"])))}
    with tempfile.TemporaryDirectory(dir=request["out"]) as own:
        home, said, last = Path(own), Path(own, "said"), Path(own, "last-words")
        environment = {**os.environ, **peers.QUIET, **threads, "HOME": own, "USERPROFILE": own, "LANCE_LOG": "error", "RUST_LOG": "error"}
        Path(own, "request").write_text(json.dumps({**request, "guard": str(GUARD)}))
        with said.open("w") as out, last.open("w") as err, Path(own, "request").open() as asked:
            process = subprocess.Popen([str(python), "-P", str(HERE / "_measure.py"), str(adapter)], stdin=asked, stdout=out, stderr=err, cwd=home,
                                       env=environment, start_new_session=True)  # fmt: skip
            peak, late = _watch(process, limit)
        events = _lines(said.read_text("utf-8", "replace"))
        return Outcome(events, _failure(process.returncode, late, limit, events, last.read_text("utf-8", "replace")), peak)


def _watch(process: subprocess.Popen[bytes], limit: float) -> tuple[int, bool]:
    until, peak = time.monotonic() + limit, 0
    try:
        while process.poll() is None:
            peak = max(peak, _anonymous(process.pid))
            if time.monotonic() > until:
                return peak, True
            time.sleep(WATCH_SECONDS)
        return peak, False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _anonymous(pid: int) -> int:
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    except (OSError, KeyError):  # ended meanwhile
        return 0


def _lines(text: str) -> list[dict[str, Any]]:
    """The whole lines; the last one may have been cut by the process's end."""
    events = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def _failure(code: int, late: bool, limit: float, events: list[dict[str, Any]], words: str) -> str | None:
    if late:
        return f"ended after {limit:.0f} s without an end of its own"
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    if code:
        lines = [line for line in words.strip().splitlines() if line.strip()] or ["no message"]
        return lines[-1][:300]
    if not events or events[-1]["event"] != "end":
        return "ended without saying that it was done"
    return None


def interpreter(packages: list[str], install: bool) -> Path:
    """The Python of these packages, and this one where there are none. Raises `PeerError` where they cannot be installed, or are not there and
    `install` is off."""
    if not packages:
        return Path(sys.executable)
    return peers.interpreter(packages, install)
