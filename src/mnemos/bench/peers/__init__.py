"""Other memory systems, run on the same texts with the same vectors, each in a virtual environment of its own.

An adapter is a file beside this one, with a class `Peer` of three verbs (`_driver.py` runs and measures it there):

    Peer(folder, dimensions)          opens a new store in an empty folder
    add(texts, vectors)               stores and indexes them; vectors has shape (len(texts), dimensions), unit length, float32
    search(question, vector, k)       gives the indices of the best k texts, best first
    close()

Its first line names its packages, as pip takes them, the peer itself first: `# requires: name==version …`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.errors import MnemosError
from mnemos.base.meter import Latency, disk_bytes
from mnemos.base.protocols import Vectors

HERE = Path(__file__).parent
INSTALL_SECONDS, RUN_SECONDS = 900, 3600
_REQUIRES = re.compile(r"^# requires: (.+)$", re.MULTILINE)
QUIET = {
    "ANONYMIZED_TELEMETRY": "False", "MEM0_TELEMETRY": "False", "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "unused",
}  # fmt: skip


class PeerError(MnemosError):
    """The peer could not be installed or did not run; its own last words are in the message."""


@dataclass(frozen=True)
class History:
    """What goes into one store and what is asked of it; row i of `vectors` belongs to text i, of `query_vectors` to question i."""

    texts: Sequence[str]
    vectors: Vectors
    questions: Sequence[str]
    query_vectors: Vectors


@dataclass(frozen=True)
class Costs:
    """What histories cost, each in a new store of its own, with vectors given: `ingest_seconds` and `disk_bytes` of all their `texts`
    texts together, and the seconds of each search."""

    texts: int
    ingest_seconds: float
    search_seconds: Sequence[float]
    disk_bytes: int

    def row(self) -> dict[str, float]:
        """Texts a second, milliseconds a search, and megabytes on disk when all is closed."""
        latency = Latency.of(self.search_seconds)
        return {
            "ingest texts/s": self.texts / self.ingest_seconds,
            "search ms p50": latency.p50 * 1e3,
            "search ms p95": latency.p95 * 1e3,
            "disk MB": self.disk_bytes / 1e6,
        }


@dataclass(frozen=True)
class Trial:
    """A peer's version, its rankings (by history and question, as indices of texts), and what they cost."""

    version: str
    rankings: list[list[list[int]]]
    costs: Costs


def names() -> list[str]:
    """The peers that have an adapter."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def requirements(name: str) -> list[str]:
    """What the adapter has pip install; the peer itself comes first, with its version."""
    found = _REQUIRES.search((HERE / f"{name}.py").read_text("utf-8"))
    return found.group(1).split() if found else []


def run_peer(name: str, histories: Sequence[History], k: int, folder: Path) -> Trial:
    """The peer's rankings and costs. `folder` holds its stores meanwhile. Raises `PeerError`."""
    if name not in names():
        raise PeerError(f"there is no adapter for {name!r}; there are {', '.join(names())}")
    packages = requirements(name)
    python = interpreter(packages)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        home, stores = Path(own, "home"), Path(own, "stores")
        home.mkdir()
        stores.mkdir()
        request = {"package": packages[0].partition("==")[0], "k": k, "folder": str(stores),
                   "histories": [_written(history, Path(own, str(number))) for number, history in enumerate(histories)]}
        command = [str(python), "-P", str(Path(__file__).with_name("_driver.py")), str(HERE / f"{name}.py")]
        said = output_of(command, RUN_SECONDS, json.dumps(request), home)
        size = disk_bytes(stores)
    return _trial(name, said, histories, size)


def _written(history: History, prefix: Path) -> dict[str, Any]:
    vectors, queries = prefix.with_suffix(".texts.npy"), prefix.with_suffix(".questions.npy")
    np.save(vectors, history.vectors)
    np.save(queries, history.query_vectors)
    return {"texts": list(history.texts), "questions": list(history.questions), "vectors": str(vectors), "query_vectors": str(queries)}


def _trial(name: str, said: str, histories: Sequence[History], size: int) -> Trial:
    try:
        answer = json.loads(said)
        version, parts = str(answer["version"]), answer["histories"]
        rankings = [[[int(i) for i in ranking] for ranking in part["rankings"]] for part in parts]
        took = [float(seconds) for part in parts for seconds in part["search_seconds"]]
        ingest = sum(float(part["ingest_seconds"]) for part in parts)
    except (ValueError, TypeError, KeyError) as error:
        raise PeerError(f"{name} gave no measurement but {said[:200]!r}") from error
    if [len(part) for part in rankings] != [len(history.questions) for history in histories]:
        raise PeerError(f"{name} gave rankings for {[len(part) for part in rankings]} questions, "
                        f"not {[len(history.questions) for history in histories]}")
    for part, history in zip(rankings, histories, strict=True):
        strange = [i for ranking in part for i in ranking if not 0 <= i < len(history.texts)]
        if strange:
            raise PeerError(f"{name} ranked text {strange[0]} of {len(history.texts)}")
    return Trial(version, rankings, Costs(sum(len(history.texts) for history in histories), ingest, took, size))


def peer_folder() -> Path:
    """Where the peers' environments lie: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnemos" / "peers"


def interpreter(packages: Sequence[str], install: bool = True) -> Path:
    """The interpreter of the packages' environment, made on first use; a mark is written last, so that a broken one is made again.
    Raises `PeerError` where it cannot be made, or is not there and `install` is off."""
    wanted = " ".join(packages)
    home = peer_folder() / f"{packages[0]}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    mark = home / "installed"
    if not mark.is_file():
        if not install:
            raise PeerError(f"{packages[0]} is not installed; name it with --peer, and it is")
        home.parent.mkdir(parents=True, exist_ok=True)
        output_of([sys.executable, "-m", "venv", "--clear", str(home)], INSTALL_SECONDS)
        output_of([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], INSTALL_SECONDS)
        mark.write_text(wanted, "utf-8")
    return python


def output_of(command: Sequence[str], limit: float, stdin: str = "", home: Path | None = None) -> str:
    """The stdout of a command. With a `home`, it runs there and takes it for the user's, so that a peer's settings and caches stay out of the real
    one. Raises `PeerError` where it does not end well within `limit` seconds."""
    environment: Mapping[str, str] | None = {**os.environ, **QUIET, "HOME": str(home), "USERPROFILE": str(home)} if home else None
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=limit, check=False, cwd=home, env=environment)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"no answer within {limit:.0f} s from {' '.join(command[1:4])}") from error
    if done.returncode:
        last = [line for line in done.stderr.strip().splitlines() if line.strip()][-1:] or ["no message"]
        raise PeerError(f"{' '.join(command[1:4])} ended with {done.returncode}: {last[0][:300]}")
    return done.stdout
