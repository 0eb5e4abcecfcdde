"""Runs one adapter in the peer's own environment, and measures it: `python _driver.py ADAPTER.py`, the request on stdin, the answer on stdout.

Needs the standard library and NumPy only. Every history goes into a new store of the peer: `Peer(folder, dimensions)` opens it (untimed),
`add(texts, vectors)` is timed as a whole and leaves everything searchable, then each `search` is timed alone, and `close` ends it.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: whatever asks for another machine is refused, so that no peer is measured with a model or service from there."""
    host = None
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if host and not str(host).startswith(("localhost", "127.", "::1")):
        raise ConnectionRefusedError(f"peers run without a network; this one asked for {host}")


def measure(adapter: Any, history: dict[str, Any], folder: Path, k: int) -> dict[str, Any]:
    """Rankings (indices of texts, by question), seconds of the ingest, and seconds of each search."""
    vectors, queries = np.load(history["vectors"]), np.load(history["query_vectors"])
    folder.mkdir(parents=True)
    peer = adapter.Peer(str(folder), vectors.shape[1])
    start = time.perf_counter()
    peer.add(history["texts"], vectors)
    ingest = time.perf_counter() - start
    rankings, took = [], []
    for question, query in zip(history["questions"], queries, strict=True):
        start = time.perf_counter()
        found = peer.search(question, query, k)
        took.append(time.perf_counter() - start)
        rankings.append([int(index) for index in found])
    peer.close()
    return {"rankings": rankings, "ingest_seconds": ingest, "search_seconds": took}


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is not the answer
    request = json.load(sys.stdin)
    sys.addaudithook(refuse_network)
    spec = importlib.util.spec_from_file_location("adapter", sys.argv[1])
    if spec is None or spec.loader is None:
        raise SystemExit(f"{sys.argv[1]} is no Python file")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    stores = Path(request["folder"])
    histories = [measure(adapter, history, stores / str(number), request["k"]) for number, history in enumerate(request["histories"])]
    with answer:
        json.dump({"version": importlib.metadata.version(request["package"]), "histories": histories}, answer)


if __name__ == "__main__":
    main()
