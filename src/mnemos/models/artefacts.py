"""Files that Mnemos derives from model weights and keeps in the user's cache: written whole or not at all, checked at every load."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from mnemos.base.errors import Corrupt

_MAGIC = b"mnemos-artefact-1"


def cache_directory() -> Path:
    """Where derived model files are kept: `$MNEMOS_CACHE`, else the platform's cache folder (`$XDG_CACHE_HOME/mnemos`, `~/.cache/mnemos`, …)."""
    if chosen := os.environ.get("MNEMOS_CACHE"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "mnemos"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mnemos"
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "mnemos" / "Cache"
    return Path.home() / ".cache" / "mnemos"


def read_artefact(path: Path, identity: str) -> bytes | None:
    """The payload of the artefact at `path`, or None where there is none.

    The payload returned is the very bytes that were hashed. Raises `Corrupt` where the file is damaged, cut, or was made for another
    `identity`, and `OSError` where it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    header, _, payload = content.partition(b"\n")
    if header != _header(identity, payload):
        raise Corrupt(f"the cached model file {path} does not match its recorded sha256 or was made for another model; it has to be built again")
    return payload


def write_artefact(path: Path, identity: str, payload: bytes) -> None:
    """Put `payload` at `path` atomically and durably, headed by its sha256. Writers that race each leave a whole file; the last one stays.

    Raises `OSError` where the folder cannot be written; nothing partial is left at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_header(identity, payload) + b"\n")
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # public weights: a cache that is filled by one user serves the others
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _header(identity: str, payload: bytes) -> bytes:
    return b" ".join([_MAGIC, identity.encode(), hashlib.sha256(payload).hexdigest().encode()])


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened for a sync, and the rename is journalled by the file system
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
