"""Where an archive's files lie: in a folder, or in one file. Nothing is taken that is not one of an archive's own names."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mnemos.base.errors import Corrupt, Invalid, NotFound, StoreUnavailable, shown
from mnemos.kernel.exchange import stored_zip
from mnemos.kernel.exchange.files import Region, Sink, explained, is_archive_name, sync


def create(target: Path) -> Sink:
    """A new archive at `target`: one file where the name ends in .zip or .mip, else a folder. Raises `Invalid` where something is there."""
    if target.exists() or target.is_symlink():
        raise Invalid(f"{target}: exists already; choose another name, or remove it first")
    if not target.parent.is_dir():
        raise Invalid(f"{target}: the folder {target.parent} does not exist; create it first")
    try:
        return stored_zip.ZipSink(target) if target.suffix in (".zip", ".mip") else FolderSink(target)
    except OSError as error:
        raise explained(error, target) from None


class FolderSink:
    """An archive as a folder, made beside its place and moved there whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(mode=0o700)
        self._folders = {self._partial}

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        path = self._partial / name
        try:
            for folder in reversed(path.relative_to(self._partial).parents[:-1]):
                (self._partial / folder).mkdir(exist_ok=True)
                self._folders.add(self._partial / folder)
            with path.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise explained(error, path) from None

    def finish(self) -> None:
        for folder in sorted(self._folders, reverse=True):
            sync(folder)
        os.rename(self._partial, self._target)
        sync(self._target.parent)

    def discard(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)


def members(source: Path, most: int) -> dict[str, Region]:
    """The files of an archive, by name. Raises `NotFound`, and `Corrupt` where it is no folder or zip of the known form, holds anything else, or
    more than `most` files."""
    if source.is_dir():
        return _of_folder(source, most)
    if not source.is_file():
        raise NotFound(f"{source}: there is no archive here")
    try:
        return stored_zip.members(source, most)
    except OSError as error:
        raise StoreUnavailable(f"{source}: cannot be read ({error.strerror})") from None


def _of_folder(source: Path, most: int) -> dict[str, Region]:
    found: dict[str, Region] = {}
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise StoreUnavailable(f"{folder}: cannot be read ({error.strerror})") from None
        if not entries and folder != source:
            raise Corrupt(f"{folder}: is an empty folder, which no archive has")
        for entry in entries:
            name = Path(entry.path).relative_to(source).as_posix()
            if entry.is_dir(follow_symlinks=False) and name.count("/") < 2:
                waiting.append(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False) or not is_archive_name(name):
                raise Corrupt(f"{source}: {shown(name)} is no file of an archive; remove it, or fetch the archive again")
            else:
                found[name] = Region(entry.path, 0, entry.stat(follow_symlinks=False).st_size)
        if len(found) + len(waiting) > most:
            raise Corrupt(f"{source}: holds more than {most:,} files")
    return found
