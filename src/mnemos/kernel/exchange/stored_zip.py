"""An archive as one file: a zip (PKWARE's APPNOTE, with the 64-bit fields of section 4.3.14) of the one form that is written here.

Its members are stored and never compressed, dates and attributes always the same, so that equal archives are equal files. Any zip program opens it.
Reading takes only what this module writes, byte for byte: headers that disagree, members that overlap or are compressed, bytes between or behind
them, are refused.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from mnemos.base.errors import Corrupt, shown
from mnemos.kernel.exchange.files import Region, explained, is_archive_name, sync

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL_64 = struct.Struct("<HHQQ")
_CENTRAL_64 = struct.Struct("<HHQQQ")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_WHERE_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")
_VERSION, _DATE = 45, 0x21  # 4.5: the 64-bit fields; 1980-01-01
_ALL = 0xFFFFFFFF


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
            raise explained(error, self._partial) from None
        self._members.append(member)

    def finish(self) -> None:
        try:
            self._stream.write(_directory(self._members, self._stream.tell()))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            os.rename(self._partial, self._target)
            sync(self._target.parent)
        except OSError as error:
            raise explained(error, self._partial) from None

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


def members(source: Path, most: int) -> dict[str, Region]:
    """The files of a zip, by name. Raises `Corrupt`, `OSError`."""
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
