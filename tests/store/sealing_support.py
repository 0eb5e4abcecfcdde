"""What the tests of sealed stores share: looking for readable bytes, and the copies that somebody may have kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnemos.store.sqlite import SqliteStore

KEY = bytes(range(32))
OWN = ("", "-wal", "-shm", "-head", "-keys", "-forgotten")
"""What the files of a store are called beyond its own name."""


def readable(folder: Path, secrets: Iterable[str | bytes]) -> dict[str, list[bytes]]:
    """File → those of the secrets of which it holds eight bytes in a row."""
    wanted = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
    assert all(len(secret) >= 8 for secret in wanted)
    found: dict[str, list[bytes]] = {}
    for file in folder.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        held = [secret for secret in wanted if any(secret[at : at + 8] in data for at in range(len(secret) - 7))]
        if held:
            found[file.name] = held
    return found


def kept(folder: Path, into: Path, *, without: Iterable[str] = ()) -> Path:
    """A copy of the store's files, `without` some of them (by what follows the store's name)."""
    into.mkdir()
    for file in folder.iterdir():
        if file.is_dir():
            shutil.copytree(file, into / file.name)
        elif not any(end and file.name.endswith(end) for end in without):
            shutil.copyfile(file, into / file.name)
    return into


def put_back(copy: Path, folder: Path, ends: Iterable[str]) -> None:
    """Put some files of a copy in the place of the store's, and remove those of them that the copy has not."""
    for end in ends:
        name = f"store.db{end}"
        (folder / name).unlink(missing_ok=True)
        if (copy / name).exists():
            shutil.copyfile(copy / name, folder / name)


def opened(folder: Path, key: Any = KEY) -> SqliteStore:
    return SqliteStore(str(folder / "store.db"), key=key)
