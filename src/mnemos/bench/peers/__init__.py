"""Other memory systems, run on the same texts with the same vectors, each in a virtual environment of its own.

An adapter is a script beside this file. It reads one JSON object on stdin: `texts`, `questions`, `vectors` and `query_vectors` (paths of
.npy files), `k`, `folder` (an empty folder of its own). It writes one on stdout: `rankings`, a list of text indices per question, and
`version`. Its first lines name its packages: `# requires: name==version …`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnemos.base.errors import MnemosError
from mnemos.base.protocols import Vectors

HERE = Path(__file__).parent
INSTALL_SECONDS, RUN_SECONDS = 900, 1800
_REQUIRES = re.compile(r"^# requires: (.+)$", re.MULTILINE)


class PeerError(MnemosError):
    """The peer could not be installed or did not run; its own last words are in the message."""


def names() -> list[str]:
    """The peers that have an adapter."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "__init__")


def requirements(name: str) -> list[str]:
    """The packages that the adapter asks for."""
    found = _REQUIRES.search((HERE / f"{name}.py").read_text("utf-8"))
    return found.group(1).split() if found else []


def rank_with_peer(name: str, texts: Sequence[str], vectors: Vectors, questions: Sequence[str], query_vectors: Vectors, k: int,
                   folder: Path) -> list[list[int]]:
    """The peer's ranking of the texts for each question, as indices. Raises `PeerError`."""
    script = HERE / f"{name}.py"
    if name not in names():
        raise PeerError(f"there is no adapter for {name!r}; there are {', '.join(names())}")
    python = _python(requirements(name))
    if not questions:
        return []
    with tempfile.TemporaryDirectory(dir=folder) as own:
        np.save(Path(own, "vectors.npy"), vectors)
        np.save(Path(own, "queries.npy"), query_vectors)
        work = Path(own, "work")
        work.mkdir()
        request = {"texts": list(texts), "questions": list(questions), "vectors": str(Path(own, "vectors.npy")),
                   "query_vectors": str(Path(own, "queries.npy")), "k": k, "folder": str(work)}
        answer = _run([str(python), "-P", str(script)], RUN_SECONDS, json.dumps(request))
    try:
        rankings = [[int(i) for i in ranking] for ranking in json.loads(answer)["rankings"]]
    except (ValueError, TypeError, KeyError) as error:
        raise PeerError(f"{name} wrote no rankings but {answer[:200]!r}") from error
    if len(rankings) != len(questions):
        raise PeerError(f"{name} gave {len(rankings)} rankings for {len(questions)} questions")
    return rankings


def peer_folder() -> Path:
    """Where the peers' environments lie: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnemos" / "peers"


def _python(packages: Sequence[str]) -> Path:
    """The interpreter of the packages' environment, made on first use; a mark is written last, so that a broken one is made again."""
    home = peer_folder() / packages[0]
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    mark = home / "installed"
    wanted = " ".join(packages)
    if not mark.is_file() or mark.read_text("utf-8") != wanted:
        home.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)], INSTALL_SECONDS)
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], INSTALL_SECONDS)
        mark.write_text(wanted, "utf-8")
    return python


def _run(command: Sequence[str], limit: float, stdin: str = "") -> str:
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"no answer within {limit:.0f} s from {' '.join(command[1:4])}") from error
    if done.returncode:
        last = [line for line in done.stderr.strip().splitlines() if line.strip()][-1:] or ["no message"]
        raise PeerError(f"{' '.join(command[1:4])} ended with {done.returncode}: {last[0][:300]}")
    return done.stdout
