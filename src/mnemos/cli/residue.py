"""Looking for a forgotten text in the bytes of a store's files, as somebody who holds the disk would."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PIECE = 8
"""Bytes of a piece: shorter ones occur by chance."""


def files_of(store: Path) -> list[Path]:
    """The store's file and everything beside it that carries its name: write-ahead log, head, blobs."""
    found: list[Path] = []
    for path in sorted(store.parent.glob(f"{store.name}*")):
        found += [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]
    return found


def pieces_of(text: str, others: Iterable[str]) -> set[bytes]:
    """Every run of 8 bytes of `text` that no text in `others` contains."""
    data, living = text.encode(), "\n".join(others).encode()
    runs = {data[i : i + PIECE] for i in range(len(data) - PIECE + 1)}
    return {run for run in runs if run not in living}


def found_in(store: Path, pieces: Iterable[bytes]) -> int:
    """How many of the pieces occur in any file of the store."""
    contents = [file.read_bytes() for file in files_of(store)]
    return sum(any(piece in content for content in contents) for piece in pieces)
