"""The folder beside a store in which the vectors of large spaces are: one process has it at a time, and what is thrown away is gone at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from pathlib import Path

from mnemos.kernel.vector_reading import Place
from mnemos.store.sqlite_faults import explain_system

try:
    import fcntl
except ImportError:  # Windows: a second process is not kept out there, as little as from the store itself
    fcntl = None  # type: ignore[assignment]

_LOCK, _ERASED, _GONE = "lock", "erased", "gone-"


def beside(store_path: str) -> Path:
    """Where the folder of a store is."""
    return Path(f"{store_path}-vectors")


def remove_beside(store_path: str) -> None:
    """Remove the folder of a store, durably. Nobody may use it. Raises `StoreUnavailable`."""
    path = beside(store_path)
    if path.exists():
        with explain_system(str(path), "removing the vectors that lie there in the open"):
            shutil.rmtree(path)
            _sync(path.parent)


class Folder:
    """The folder; it is made by the first `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._claiming = threading.Lock()

    def exists(self) -> bool:
        return self.path.is_dir()

    def claim(self) -> bool:
        """Whether this process has the folder: it is the first one to ask. Raises `StoreUnavailable`, `StoreFull`."""
        with self._claiming:  # two threads of this process are not two processes
            if self._lock is None:
                self._lock = self._locked()
                if self._lock is not None:
                    for path in self.left():
                        shutil.rmtree(path, ignore_errors=True)
            return self._lock is not None

    def _locked(self) -> int | None:
        """A descriptor that holds the lock; None where another process has it."""
        with explain_system(str(self.path), "making the folder for vectors"):
            self.path.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def release(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def path_of(self, place: Place) -> Path:
        return self.path / f"space-{place.space}-embedder-{place.embedder}"

    def places(self) -> list[Place]:
        """What there are indexes of, complete or not."""
        found = []
        for path in self.path.glob("space-*-embedder-*"):
            with contextlib.suppress(ValueError):
                _, space, _, embedder = path.name.split("-")
                found.append(Place(int(space), int(embedder)))
        return sorted(found)

    def throw_away(self, place: Place) -> None:
        """Remove an index, also one that somebody uses: he goes on in files that nobody sees, and makes no new ones there. Raises
        `StoreUnavailable`."""
        gone = self.path / f"{_GONE}{uuid.uuid4().hex}"
        with explain_system(str(self.path_of(place)), "removing the vectors there"):
            try:
                os.rename(self.path_of(place), gone)
            except FileNotFoundError:
                return
            shutil.rmtree(gone)
            _sync(self.path)

    def left(self) -> list[Path]:
        """What was thrown away, and could not be removed yet."""
        return sorted(self.path.glob(f"{_GONE}*"))

    def erased(self) -> str | None:
        """What `note_erased` noted; None where it noted nothing."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.path / _ERASED).read_text()
        return None

    def note_erased(self, newest_forget: str) -> None:
        """Note that everything is erased here that had been forgotten by then. Where the note is lost, it is looked for once more."""
        with explain_system(str(self.path / _ERASED), "noting what was erased"):
            (self.path / _ERASED).write_text(newest_forget)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
