"""Where an archive's files lie: in a folder, or in one file. Nothing is taken that is not one of an archive's own names.

A folder holds the files as they are. One file is a zip (PKWARE's APPNOTE, with the 64-bit fields of section 4.3.14), its members stored and never
compressed, dates and attributes always the same, so that equal archives are equal files. Any zip program opens it. Reading takes only what this
module writes, byte for byte: headers that disagree, members that overlap or are compressed, bytes between or behind them, are refused.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from mnemos.base.errors import Corrupt, Invalid, NotFound, PermissionDenied, StoreFull, StoreUnavailable, shown

MANIFEST, CUBES, FORGOTTEN = "manifest.json", "cubes.jsonl", "forgotten.jsonl"
_NAME = re.compile(r"manifest\.json|cubes\.jsonl|forgotten\.jsonl|vectors/[0-9a-f]{16}\.safetensors|blobs/([0-9a-f]{2})/\1[0-9a-f]{62}")

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL_64 = struct.Struct("<HHQQ")
_CENTRAL_64 = struct.Struct("<HHQQQ")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_WHERE_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")
_VERSION, _DATE = 45, 0x21  # 4.5: the 64-bit fields; 1980-01-01
_ALL = 0xFFFFFFFF
_CRC_AT = 14
_COPY_BYTES = 1 << 20


def is_archive_name(name: str) -> bool:
    """Whether an archive can have a file of this name."""
    return _NAME.fullmatch(name) is not None


class Sink(Protocol):
    """Where an archive is written to: file after file, and nothing of it appears before `finish`."""

    def file(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


@dataclass(frozen=True)
class Region:
    """Bytes of a file: where an archive's file lies."""

    path: str
    offset: int
    size: int
    crc: int | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """A stream of these bytes and no others. Raises `StoreUnavailable`."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                yield io.BufferedReader(_Window(file, self.size), _COPY_BYTES)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: cannot be read ({error.strerror})") from None


class _Window(io.RawIOBase):
    """So many bytes of a file, from where it stands."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


# ---- writing ----------------------------------------------------------------------------------------------------------


def create(target: Path) -> Sink:
    """A new archive at `target`: one file where the name ends in .zip or .mip, else a folder. Raises `Invalid` where something is there."""
    if target.exists() or target.is_symlink():
        raise Invalid(f"{target}: exists already; choose another name, or remove it first")
    if not target.parent.is_dir():
        raise Invalid(f"{target}: the folder {target.parent} does not exist; create it first")
    try:
        return ZipSink(target) if target.suffix in (".zip", ".mip") else FolderSink(target)
    except OSError as error:
        raise _explained(error, target) from None


def _explained(error: OSError, path: Path) -> Exception:
    if isinstance(error, PermissionError):
        return PermissionDenied(f"{path}: may not be written; choose another place")
    full = error.errno in (28, 122)  # ENOSPC, EDQUOT
    return (StoreFull if full else StoreUnavailable)(f"{path}: cannot be written ({error.strerror})")


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
            raise _explained(error, path) from None

    def finish(self) -> None:
        for folder in sorted(self._folders, reverse=True):
            _sync(folder)
        os.rename(self._partial, self._target)
        _sync(self._target.parent)

    def discard(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)


class ZipSink:
    """An archive as one file, made beside its place and moved there whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = target.with_name(f"{target.name}.partial")
        self._stream = self._partial.open("wb")
        self._members: list[_Member] = []

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        start = self._stream.tell()
        self._stream.write(_Member(name, start, 0, 0).local())
        summed = _Summed(self._stream)
        try:
            yield cast(IO[bytes], summed)
            member = _Member(name, start, summed.size, summed.crc)
            self._stream.seek(start)
            self._stream.write(member.local())
            self._stream.seek(0, os.SEEK_END)
        except OSError as error:
            raise _explained(error, self._partial) from None
        self._members.append(member)

    def finish(self) -> None:
        try:
            self._stream.write(_directory(self._members, self._stream.tell()))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.rename(self._partial, self._target)
            _sync(self._target.parent)
        except OSError as error:
            raise _explained(error, self._partial) from None

    def discard(self) -> None:
        self._stream.close()
        self._partial.unlink(missing_ok=True)


class _Summed(io.RawIOBase):
    """What is written through here, counted and summed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size, self.crc = 0, 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._stream.write(view)
        self.size += view.nbytes
        self.crc = zlib.crc32(view, self.crc)
        return view.nbytes


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class _Member:
    """A file of a zip, and the two headers that describe it."""

    name: str
    start: int
    size: int
    crc: int

    def local(self) -> bytes:
        name = self.name.encode()
        fixed = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _DATE, self.crc, _ALL, _ALL, len(name), _LOCAL_64.size)
        return fixed + name + _LOCAL_64.pack(1, _LOCAL_64.size - 4, self.size, self.size)

    def central(self) -> bytes:
        name = self.name.encode()
        fixed = _CENTRAL.pack(
            b"PK\x01\x02", _VERSION, _VERSION, 0, 0, 0, _DATE, self.crc, _ALL, _ALL, len(name), _CENTRAL_64.size, 0, 0, 0, 0, _ALL
        )
        return fixed + name + _CENTRAL_64.pack(1, _CENTRAL_64.size - 4, self.size, self.size, self.start)

    @property
    def data(self) -> int:
        return self.start + len(self.local())

    @property
    def end(self) -> int:
        return self.data + self.size


def _directory(members: list[_Member], start: int) -> bytes:
    """What ends a zip: the members' central headers, which begin at byte `start`, and the records that say where they are."""
    central = b"".join(member.central() for member in members)
    count = len(members)
    end = _END_64.pack(b"PK\x06\x06", _END_64.size - 12, _VERSION, _VERSION, 0, 0, count, count, len(central), start)
    where = _WHERE_64.pack(b"PK\x06\x07", 0, start + len(central), 1)
    return central + end + where + _END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _ALL, _ALL, 0)


# ---- reading ----------------------------------------------------------------------------------------------------------


def members(source: Path, most: int) -> dict[str, Region]:
    """The files of an archive, by name. Raises `NotFound`, and `Corrupt` where it is no folder or zip of the known form, holds anything else, or
    more than `most` files."""
    if source.is_dir():
        return _of_folder(source, most)
    if not source.is_file():
        raise NotFound(f"{source}: there is no archive here")
    try:
        return _of_zip(source, most)
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


def _of_zip(source: Path, most: int) -> dict[str, Region]:
    size = source.stat().st_size
    tail = _END_64.size + _WHERE_64.size + _END.size
    with source.open("rb") as file:
        file.seek(max(0, size - tail))
        end = file.read(tail)
        if len(end) < tail or end[:4] != b"PK\x06\x06":
            raise Corrupt(f"{source}: is no archive; give a folder, or a zip as Mnemos writes it (unpack one that another program packed)")
        count, length, start = _END_64.unpack_from(end)[7:]
        if count > most or start + length + tail != size or length > size:
            raise Corrupt(f"{source}: holds more than {most:,} files, or its directory is not where it says")
        file.seek(start)
        found = list(_read_central(file.read(length), source))
        file.seek(start)
        if len(found) != count or _directory(found, start) != file.read():
            raise Corrupt(f"{source}: its directory is not as it was written")
        at = 0
        for member in found:
            file.seek(at)
            if member.start != at or file.read(len(member.local())) != member.local():
                raise Corrupt(f"{source}: the header of {shown(member.name)} is not as it was written, or its bytes overlap another file's")
            at = member.end
        if at != start:
            raise Corrupt(f"{source}: bytes stand between its files and its directory")
    if len({member.name for member in found}) != len(found):
        raise Corrupt(f"{source}: two of its files have the same name")
    return {member.name: Region(str(source), member.data, member.size, member.crc) for member in found}


def _read_central(data: bytes, source: Path) -> Iterator[_Member]:
    at = 0
    while at < len(data):
        try:
            fixed = _CENTRAL.unpack_from(data, at)
            name = data[at + _CENTRAL.size : at + _CENTRAL.size + fixed[10]].decode("ascii")
            _, _, size, _, start = _CENTRAL_64.unpack_from(data, at + _CENTRAL.size + fixed[10])
        except (struct.error, UnicodeDecodeError):
            raise Corrupt(f"{source}: its directory cannot be read") from None
        if not is_archive_name(name):
            raise Corrupt(f"{source}: {shown(name)} is no file of an archive")
        member = _Member(name, start, size, fixed[7])
        yield member
        at += len(member.central())
