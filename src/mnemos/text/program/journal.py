"""Where a run is kept: a journal of what happened, and the files. Drivers: in memory, in a folder, and in a space (`kernel.program_journal`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import orjson

from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound, StoreFull
from mnemos.text.program.files import check_name
from mnemos.text.program.state import Event, State


class Journal(Protocol):
    """Where a run is kept. `append` makes the events and the changes of files (None: deleted) durable together, or not at all."""

    def load(self) -> tuple[list[Event], dict[str, str]]:
        """The events so far, in order, and the files as they are."""
        ...

    def append(self, events: Sequence[Event], changes: Mapping[str, str | None], state: State) -> None:
        """Keep what happened; `state` is the state after it. Raises `Conflict` where somebody else has written since."""
        ...


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self, events: Sequence[Event] = (), files: Mapping[str, str] | None = None) -> None:
        self.events = list(events)
        self.files = dict(files or {})

    def load(self) -> tuple[list[Event], dict[str, str]]:
        return list(self.events), dict(self.files)

    def append(self, events: Sequence[Event], changes: Mapping[str, str | None], state: State) -> None:
        self.events += events
        for name, content in changes.items():
            if content is None:
                self.files.pop(name, None)
            else:
                self.files[name] = content


_PARTIAL = ".partial~"


class FolderJournal:
    """A run in a folder: the files as files in `files/`, the journal as lines of JSON in `journal.jsonl`.

    A line holds an entry and the files that it changes; it is on the disk before any of them is touched, and the changes of the last line are
    made again when a run is opened, so that a kill in between loses nothing. One process at a time writes: another's line raises `Conflict`.
    """

    def __init__(self, folder: Path, events: Sequence[Event] | None = None) -> None:
        """A run that there is, or, with its first `events`, a new one. Raises `NotFound`, `Invalid` where the folder is not empty."""
        self._path = folder / "journal.jsonl"
        self._files = folder / "files"
        self._size = 0
        if events is None:
            if not self._path.is_file():
                raise NotFound(f"{folder}: holds no program; give its first events to begin one")
            return
        if folder.exists() and any(folder.iterdir()):
            raise Invalid(f"{folder}: is not empty; choose another folder")
        self._files.mkdir(parents=True)
        self._path.touch()
        self.append(events, {}, State())

    def load(self) -> tuple[list[Event], dict[str, str]]:
        lines = self._path.read_bytes().split(b"\n")
        events: list[Event] = []
        changes: dict[str, str | None] = {}
        self._size = 0
        for number, line in enumerate(lines[:-1], 1):  # what stands behind the last line end was being written, and does not count
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise Corrupt(f"{self._path}, line {number}: is no JSON") from None
            events += entry["events"]
            changes = entry["changes"]
            self._size += len(line) + 1
        self._put(changes)
        root = self._files
        for left in root.rglob(f"*{_PARTIAL}"):
            left.unlink()
        return events, {path.relative_to(root).as_posix(): path.read_bytes().decode() for path in sorted(root.rglob("*")) if path.is_file()}

    def append(self, events: Sequence[Event], changes: Mapping[str, str | None], state: State) -> None:
        line = orjson.dumps({"events": list(events), "changes": dict(changes)}) + b"\n"
        try:
            with self._path.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size > self._size and b"\n" in _behind(file, self._size):
                    raise Conflict(f"{self._path}: somebody else has written to it; one runs a program at a time")
                file.seek(self._size)
                file.truncate()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._size += len(line)
            self._put(changes)
        except OSError as error:
            raise StoreFull(f"{self._path}: cannot be written ({error.strerror})") from None

    def _put(self, changes: Mapping[str, str | None]) -> None:
        for name, text in changes.items():
            path = self._files / check_name(name)
            if text is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}{_PARTIAL}")
            partial.write_bytes(text.encode())
            partial.replace(path)


def _behind(file: IO[bytes], size: int) -> bytes:
    file.seek(size)
    return file.read()
