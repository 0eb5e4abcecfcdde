"""Reading traces of requests: plain text, CSV, JSON lines, libCacheSim's oracleGeneral, and the prompts of a language model's service."""

from __future__ import annotations

import csv
import gzip
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from mnemos.base.errors import Corrupt, Invalid, NotFound, shown
from mnemos.cache.base import UNIT, Key, Meta

_ORACLE = struct.Struct("<IQIq")  # seconds, object, bytes, number of the next request for it


@dataclass(frozen=True)
class Trace:
    """Requests in their order. `metas` is one for each, or empty where nothing is known but the pages."""

    name: str
    keys: Sequence[Key]
    metas: Sequence[Meta] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, requests: int) -> Trace:
        """The first requests."""
        return replace(self, keys=self.keys[:requests], metas=self.metas[:requests])

    @property
    def pages(self) -> int:
        """Different pages."""
        return len(set(self.keys))


@dataclass(frozen=True)
class Prompt:
    """A request to a language model: its time in seconds, its tokens, and the ids of its blocks; equal ids stand for equal prefixes."""

    at: float
    tokens: int
    blocks: tuple[int, ...]


def read_text(path: Path | str) -> Trace:
    """One page a line; empty lines are skipped. Raises `NotFound`, `Corrupt`."""
    lines = _text(path).split("\n")
    return Trace(_name(path), [line.strip() for line in lines if line.strip()])


def read_csv(path: Path | str, key: str, size: str | None = None, at: str | None = None) -> Trace:
    """The columns named in the first line that hold the page, its size and the time in seconds. Raises `NotFound`, `Corrupt`, `Invalid`."""
    rows = csv.DictReader(io.StringIO(_text(path)))
    missing = [column for column in (key, size, at) if column is not None and column not in (rows.fieldnames or ())]
    if missing:
        raise Invalid(f"trace {path}: there is no column {missing[0]!r}; there are {', '.join(rows.fieldnames or ()) or 'none'}")
    keys: list[Key] = []
    metas: list[Meta] = []
    try:
        for row in rows:
            keys.append(row[key])
            if size is not None or at is not None:
                metas.append(Meta(size=int(row[size]) if size else 1, at=float(row[at]) if at else None))
    except (ValueError, TypeError) as error:
        raise Corrupt(f"trace {path}, row {len(keys)}: {error}; every row needs a number there") from None
    return Trace(_name(path), keys, metas or ())


def read_jsonl(path: Path | str) -> list[Trace]:
    """A trace in each line: `{"trace": name, "requests": [page, …]}`. Raises `NotFound`, `Corrupt`."""
    traces = []
    for number, record in _records(path):
        requests = record.get("requests")
        if not isinstance(requests, list) or not all(isinstance(page, str | int) for page in requests):
            raise Corrupt(f"trace {path}, line {number}: requests is no list of pages (text or whole numbers)")
        traces.append(Trace(str(record.get("trace", f"{_name(path)}-{number}")), requests))
    return traces


def read_oracle_general(path: Path | str) -> Trace:
    """libCacheSim's oracleGeneral, not compressed or by gzip: pages, sizes in bytes, times. Raises `NotFound`, `Corrupt`."""
    data = _bytes(path)
    if not data or len(data) % _ORACLE.size:
        raise Corrupt(f"trace {path}: {len(data)} bytes are no whole number of {_ORACLE.size}-byte requests; unpack it (zstd) or fetch it again")
    keys: list[Key] = []
    metas: list[Meta] = []
    for at, page, size, _ in _ORACLE.iter_unpack(data):
        keys.append(page)
        metas.append(Meta(size=max(size, 1), at=float(at)))
    return Trace(_name(path), keys, metas)


def read_prompts(path: Path | str) -> list[Prompt]:
    """Mooncake's traces: `timestamp` in ms, `input_length` in tokens, `hash_ids` of blocks, one request a line. Raises `NotFound`, `Corrupt`."""
    prompts = []
    for number, record in _records(path):
        try:
            blocks = tuple(int(block) for block in record["hash_ids"])
            prompts.append(Prompt(float(record["timestamp"]) / 1000, int(record["input_length"]), blocks))
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"trace {path}, line {number}: no timestamp, input_length and hash_ids in it ({shown(str(error))})") from None
    return prompts


def of_blocks(prompts: Sequence[Prompt], name: str) -> Trace:
    """The blocks of all prompts, one request each."""
    return Trace(name, [block for prompt in prompts for block in prompt.blocks])


def meta_of(trace: Trace, number: int) -> Meta:
    """What is known of a request."""
    return trace.metas[number] if trace.metas else UNIT


def _records(path: Path | str) -> list[tuple[int, dict[str, Any]]]:
    records = []
    for number, line in enumerate(_bytes(path).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Corrupt(f"trace {path}, line {number}: no JSON ({error})") from None
        if not isinstance(record, dict):
            raise Corrupt(f"trace {path}, line {number}: {shown(record)} is no object")
        records.append((number, record))
    return records


def _text(path: Path | str) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise Corrupt(f"trace {path}: no UTF-8 text ({error})") from None


def _bytes(path: Path | str) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"trace: there is no file {path}")
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise Corrupt(f"trace {path}: no whole gzip file ({error})") from None


def _name(path: Path | str) -> str:
    return Path(path).name.split(".")[0]
