"""Opening input files: gzip and zip, encodings, and JSON read one element at a time."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO, cast

from mnemos.base.errors import MnemosError, NotFound, PermissionDenied
from mnemos.text.formats.record import Notice, Place, warn

CHUNK_CHARACTERS = 1 << 16
_SPACE = re.compile(r"[ \t\r\n]*")
_BOMS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_LINE_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Turns whatever opening, unpacking or decoding a file raises into `NotFound`, `PermissionDenied` or `Invalid`."""
    try:
        yield
    except MnemosError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{place.path}: there is no such file or folder; check the path") from error
    except PermissionError as error:
        raise PermissionDenied(f"{place.path}: may not be read by this user; change its permissions") from error
    except UnicodeDecodeError as error:
        raise place.invalid(f"the bytes near {error.start} are not {error.encoding.upper()} text", "save the file as UTF-8") from error
    except UnicodeError as error:
        raise place.invalid(f"the text cannot be decoded ({error})", "save the file as UTF-8") from error
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise place.invalid(f"the compressed file is damaged or cut short ({error})", "download or pack it again") from error
    except (NotImplementedError, RuntimeError) as error:  # zipfile: unknown method, or a password is wanted
        raise place.invalid(f"the archive cannot be unpacked ({error})", "unpack it, and give the file inside") from error
    except OSError as error:
        raise place.invalid(f"cannot be read ({error.strerror or error})", "check the path and the disk") from error
    except ValueError as error:
        raise place.invalid(f"cannot be opened ({error})", "check the path") from error


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked where it is gzip (recognised by its content)."""
    stream = path.open("rb")
    if stream.peek(2)[:2] == b"\x1f\x8b":
        return cast(IO[bytes], _Gunzip(stream))
    return stream


class _Gunzip(gzip.GzipFile):
    """A gzip reader that closes the file below it with itself."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self._below = stream

    def close(self) -> None:
        super().close()
        self._below.close()


def decoded(stream: IO[bytes]) -> TextIO:
    """The stream as text: UTF-8, with or without its mark, or what a UTF-16 or UTF-32 mark says. Wrong bytes raise `UnicodeError`."""
    buffered = io.BufferedReader(stream)  # type: ignore[type-var]
    head = buffered.peek(4)[:4]
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), "utf-8-sig")
    return io.TextIOWrapper(buffered, encoding=encoding, errors="strict", newline="\n")


def lines_suffix(path: Path) -> bool:
    """Whether the file's name says that it holds one JSON value a line."""
    return path.name.lower().removesuffix(".gz").endswith(_LINE_SUFFIXES)


def is_zip(path: Path) -> bool:
    """Whether the file starts as a zip archive does."""
    with reading(Place(str(path))), path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def elements(path: Path, *, notice: Notice = warn) -> Iterator[tuple[Place, Any]]:
    """The JSON values of a file, one at a time, each with its place: the lines of a `.jsonl` file, the elements of an array, or the
    values that follow one another. Never holds more than one element and one chunk. Raises `Invalid`, `NotFound`, `PermissionDenied`."""
    place = Place(str(path), notice=notice)
    with reading(place), open_bytes(path) as stream:
        yield from elements_of(stream, place, lines=lines_suffix(path))


def elements_of(stream: IO[bytes], place: Place, *, lines: bool = False) -> Iterator[tuple[Place, Any]]:
    """As `elements`, from an open stream of bytes."""
    with decoded(stream) as text:
        yield from _lines(text, place) if lines else _Scanner(text, place).elements()


def archived(path: Path, *, notice: Notice = warn) -> Iterator[tuple[Place, Any]]:
    """The elements of the `conversations.json` of a chat export: the JSON file itself, the zip archive as downloaded, or the
    folder unpacked from it. Large exports number the file: `conversations-000.json`. Raises as `elements`."""
    if path.is_dir():
        inside = sorted(found for found in path.rglob("conversations*.json") if _is_conversations(found.name))
        if not inside:
            raise Place(str(path)).invalid("the folder holds no conversations.json", "give the export's folder, its zip, or the file")
        for found in inside:
            yield from elements(found, notice=notice)
        return
    if not is_zip(path):
        yield from elements(path, notice=notice)
        return
    place = Place(str(path), notice=notice)
    with reading(place), zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if _is_conversations(name.rsplit("/", 1)[-1]))
        if not members:
            raise place.invalid("the archive holds no conversations.json", "give the zip as it was downloaded, or the file inside")
        for name in members:
            with archive.open(name) as stream:
                yield from elements_of(stream, Place(f"{path}:{name}", notice=notice))


def _is_conversations(name: str) -> bool:
    return re.fullmatch(r"conversations(-\d+)?\.json", name) is not None


def _lines(stream: TextIO, place: Place) -> Iterator[tuple[Place, Any]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            here = place.at(f"line {number}")
            yield here, parse(line, here)


def parse(text: str, place: Place) -> Any:
    """The JSON value of a string. Raises `Invalid`; NaN and Infinity, which JSON does not have, are refused."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise place.invalid("the JSON is nested too deeply", "flatten it") from error
    except ValueError as error:
        raise place.invalid(f"this is not JSON ({error})", "correct it; every line or element must be one JSON value") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


class _Scanner:
    """Reads JSON values out of a stream of text, holding one value at a time."""

    def __init__(self, stream: TextIO, place: Place) -> None:
        self._stream, self._place = stream, place
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        self._buffer, self._position, self._line, self._at_end = "", 0, 1, False

    def elements(self) -> Iterator[tuple[Place, Any]]:
        array = self._peek() == "["
        self._position += array
        number = 0
        while (mark := self._peek()) not in ("]" if array else "", ""):
            if array and number:
                if mark != ",":
                    raise self._here(number).invalid("a comma or ] should follow", "correct the JSON")
                self._position += 1
            number += 1
            self._peek()
            here = self._here(number)
            yield here, self._value(here)
        if array:
            if mark != "]":
                raise self._here(number + 1).invalid("the array is not closed", "the file is cut short: fetch or write it again")
            self._position += 1
            if self._peek():
                raise self._here(number).invalid("text follows the closed array", "keep one JSON value, or name the file .jsonl")

    def _here(self, number: int) -> Place:
        return self._place.at(f"element {number} (line {self._line + self._buffer.count(chr(10), 0, self._position)})")

    def _more(self) -> None:
        self._line += self._buffer.count("\n", 0, self._position)
        rest = self._buffer[self._position :]
        chunk = self._stream.read(max(CHUNK_CHARACTERS, len(rest)))  # doubling keeps the whole linear in the file's size
        self._buffer, self._position, self._at_end = rest + chunk, 0, not chunk

    def _peek(self) -> str:
        """The next character that is not space, or "" at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._position)
            self._position = found.end() if found else self._position
            if self._position < len(self._buffer) or self._at_end:
                return self._buffer[self._position : self._position + 1]
            self._more()

    def _value(self, place: Place) -> Any:
        do = "correct it, or fetch the file again if it was cut short"
        if self._buffer[self._position : self._position + 1] not in tuple('{["-0123456789tfnNI'):
            raise place.invalid("a JSON value should stand here", do)
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._position)
            except RecursionError as error:
                raise place.invalid("the JSON is nested too deeply", "flatten it") from error
            except ValueError as error:
                if self._at_end or not isinstance(error, json.JSONDecodeError):
                    raise place.invalid(f"this is not JSON ({error})", do) from error
            else:
                if end < len(self._buffer) or self._at_end:  # a number at the very end of a chunk may go on in the next
                    self._position = end
                    return value
            self._more()
