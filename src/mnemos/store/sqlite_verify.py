"""Whether a SQLite store is what its log says: the chain, the rows, the lineage, the blobs, and the bytes of the files."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import numpy as np

from mnemos.base.chain import GENESIS, verify_entry
from mnemos.base.errors import Corrupt, MnemosError
from mnemos.store.base import Finding
from mnemos.store.blobs import Blobs
from mnemos.store.schema import CHECKSUM_BYTES, PAGE_SIZE
from mnemos.store.sqlite_read import ENTRY_COLUMNS, Reader, content_of, entry_of

_WAL_HEADER = struct.Struct(">8I")
_FRAME_HEADER = struct.Struct(">6I")
_INDEX_HEADER = struct.Struct("=16xII2I2I2I")  # last frame, pages, its checksum, salts, checksum of the header
_BLOCK_PAGES = 2048
_LOOKS, _LOOK_SECONDS = 5, 0.02
_LOCK_BYTE = 2**30  # the page that holds this byte of the file is for locks, and is never written


def verify_rows(reader: Reader, name: str, blobs: Blobs) -> tuple[dict[str, int], list[Finding]]:
    """(what was checked, what is wrong). A damaged place ends only the check that meets it."""
    checked = {"entries": 0, "versions": 0, "cubes": 0, "edges": 0, "blobs": 0}
    findings: list[Finding] = []
    for check in (_pages, _chain, _versions, _cubes, _standings, _edges):
        try:
            check(reader, name, checked, findings)
        except (apsw.Error, MnemosError) as error:
            findings.append(Finding(name, check.__name__.strip("_"), f"cannot be read to the end: {error}"))
    _blobs(reader, blobs, checked, findings)
    return checked, findings


def _pages(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    """Every page through its checksum, and SQLite's own structure check."""
    for (problem,) in reader._db.execute("PRAGMA integrity_check(20)"):
        if problem != "ok":
            findings.append(Finding(name, "pages", str(problem)))


def _chain(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    previous, expected = GENESIS, 1
    newest: dict[bytes, int] = {}
    for row in reader._db.execute(f"SELECT {ENTRY_COLUMNS}, previous FROM log WHERE seq <= ? ORDER BY seq", (reader.position,)):
        try:
            entry = reader._logged(row[:-1])
        except Corrupt as damage:
            findings.append(Finding(name, f"log entry {row[0]}", str(damage)))
            entry = entry_of(row[:-1])
        if row[-1] != (newest.get(row[4]) if row[4] else None):
            findings.append(Finding(name, f"log entry {entry.seq}", "does not lead to the entry before it of its cube"))
        if row[4]:
            newest[row[4]] = entry.seq
        if entry.seq != expected:
            findings.append(Finding(name, f"log entry {expected}", "is missing"))
        if not verify_entry(previous, entry):
            findings.append(Finding(name, f"log entry {entry.seq}", "its hash does not follow from the entry before it"))
        previous, expected = entry.hash, entry.seq + 1
        checked["entries"] += 1
    for key, seq in reader._db.execute("SELECT id, last FROM cube UNION ALL SELECT id, seq FROM forgotten"):
        if newest.pop(key, None) != seq:
            findings.append(Finding(name, f"cube {bytes(key).hex()}", f"leads to log entry {seq}, which is not its newest"))
    findings.extend(Finding(name, f"cube {bytes(key).hex()}", f"is gone, though log entry {seq} speaks of it") for key, seq in newest.items())


def _versions(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    rows: Any = reader._db.execute(
        f"SELECT {reader._version_columns}, l.digest, l.kind, l.cube, l.version FROM version v LEFT JOIN log l ON l.seq = v.seq ORDER BY v.seq"
    )
    for stored in rows:
        checked["versions"] += 1
        try:
            row = reader._version(stored)
        except Corrupt as damage:
            findings.append(Finding(name, f"version {stored[3]} of cube {UUID(bytes=stored[2])} (log position {stored[0]})", str(damage)))
            continue
        content = content_of(row)
        digest, kind, cube, version = row[20:24]
        place = f"version {content.version} of cube {content.id} (log position {row[0]})"
        if kind not in ("add", "update") or cube != content.id.bytes or version != content.version:
            findings.append(Finding(name, place, "no log entry speaks of it"))
        elif content.digest(row[15]) != digest:
            findings.append(Finding(name, place, "its content is not what the log says was written"))
    missing = reader._db.execute(
        "SELECT l.seq FROM log l LEFT JOIN version v ON v.seq = l.seq WHERE l.kind IN ('add', 'update') AND v.seq IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM forgotten f JOIN log t ON t.seq = f.seq WHERE f.id = l.cube AND t.cube = l.cube AND t.kind = 'forget') LIMIT 100"
    )
    findings.extend(Finding(name, f"log position {seq}", "the version that was written there is gone, and was not forgotten") for (seq,) in missing)


def _cubes(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    checked["cubes"] = reader._db.execute("SELECT count(*) FROM cube").get
    wrong = reader._db.execute(
        "SELECT c.id, c.seq FROM cube c LEFT JOIN version v ON v.seq = c.seq AND v.cube = c.id AND v.version = c.version AND v.space = c.space "
        "WHERE v.seq IS NULL OR v.died IS NOT NULL LIMIT 100"
    )
    findings.extend(Finding(name, f"cube {bytes(key).hex()}", f"points at position {seq}, which is not its newest version") for key, seq in wrong)
    stray = reader._db.execute("SELECT v.seq FROM version v LEFT JOIN cube c ON c.id = v.cube WHERE c.id IS NULL LIMIT 100")
    findings.extend(Finding(name, f"log position {seq}", "holds a version of a cube that does not exist") for (seq,) in stray)
    orphans = reader._db.execute("SELECT x.seq FROM vector x LEFT JOIN version v ON v.seq = x.seq WHERE v.seq IS NULL LIMIT 100")
    findings.extend(Finding(name, f"vector {seq}", "belongs to no version") for (seq,) in orphans)


def _standings(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    """State, frozen, rules and staleness of cubes, and the settings of the store, against the log that they follow from."""
    told: dict[bytes, list[Any]] = {}
    stale: dict[int, bytes] = {}
    settings: dict[str, Any] = {}
    kinds = "'state', 'freeze', 'unfreeze', 'permission', 'stale', 'setting'"
    for row in reader._db.execute(f"SELECT {ENTRY_COLUMNS} FROM log WHERE kind IN ({kinds}) ORDER BY seq"):
        entry = reader._logged(row)
        if entry.kind == "setting":
            body = entry.body_json()
            settings[body["name"]] = body["value"]
        elif entry.cube is not None:
            now = told.setdefault(entry.cube.bytes, [0, 0, None])
            if entry.kind == "state":
                now[0] = entry.body_json()["to"]
            elif entry.kind == "permission":
                now[2] = entry.body_json()["acl"]
            elif entry.kind == "stale":
                stale[entry.seq] = entry.cube.bytes
            else:
                now[1] = int(entry.kind == "freeze")
    for key, state, frozen, acl in reader._db.execute("SELECT id, state, frozen, acl FROM cube"):
        expected = told.pop(bytes(key), [0, 0, None])
        if [state, frozen, reader._rules(bytes(key), acl)] != expected:
            findings.append(Finding(name, f"cube {bytes(key).hex()}", "its state, frozen or rules are not what the log says"))
    for seq, key in reader._db.execute("SELECT stale, cube FROM version WHERE stale IS NOT NULL"):
        if stale.pop(int(seq), None) != key:
            findings.append(Finding(name, f"cube {bytes(key).hex()}", f"is stale by log entry {seq}, which does not say so"))
    for seq, key in stale.items():
        if reader._db.execute("SELECT 1 FROM cube WHERE id = ?", (key,)).get:
            findings.append(Finding(name, f"cube {key.hex()}", f"is not stale, though log entry {seq} says so"))
    held = reader.settings()
    wrong = {setting for setting in held.keys() | settings.keys() if held.get(setting) != settings.get(setting)}
    findings.extend(Finding(name, f"setting {setting}", "is not what the log says") for setting in sorted(wrong))


def _edges(reader: Reader, name: str, checked: dict[str, int], findings: list[Finding]) -> None:
    checked["edges"] = reader._db.execute("SELECT count(*) FROM edge").get
    stray = reader._db.execute(
        "SELECT e.child, e.parent FROM edge e LEFT JOIN cube c ON c.id = e.child LEFT JOIN cube p ON p.id = e.parent "
        "WHERE c.id IS NULL OR p.id IS NULL LIMIT 100"
    )
    findings.extend(
        Finding(name, f"lineage {bytes(child).hex()} to {bytes(parent).hex()}", "one end does not exist") for child, parent in stray
    )


def _blobs(reader: Reader, blobs: Blobs, checked: dict[str, int], findings: list[Finding]) -> None:
    for blob in blobs.names():
        checked["blobs"] += 1
        try:
            blobs.check(blob)
        except Corrupt as error:
            findings.append(Finding(str(error).partition(":")[0], "whole file", str(error)))
    for blob in sorted(reader.blob_names()):
        try:
            blobs.check(blob)
        except MnemosError as error:
            findings.append(Finding(str(error).partition(":")[0], "whole file", str(error)))


def verify_pages(path: Path, findings: list[Finding]) -> int:
    """Check the checksum of each page of the main file as it lies on the disk, free pages included; give the number of pages.

    Nobody may write meanwhile; that another process may move pages from the write-ahead log is allowed for by a second look.
    """
    wrong: list[int] = []
    count = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_PAGES * PAGE_SIZE):
            pages = len(block) // PAGE_SIZE
            for number in np.flatnonzero(~_sound(block[: pages * PAGE_SIZE])).tolist():
                if (count + number) != _LOCK_BYTE // PAGE_SIZE:
                    wrong.append(count + number)
            if len(block) % PAGE_SIZE:
                findings.append(Finding(str(path), f"byte {(count + pages) * PAGE_SIZE}", "the file ends in the middle of a page"))
            count += pages
        for number in wrong:
            for _ in range(_LOOKS):
                file.seek(number * PAGE_SIZE)
                if _sound(file.read(PAGE_SIZE)).all():
                    break
                time.sleep(_LOOK_SECONDS)
            else:
                findings.append(Finding(str(path), f"page {number + 1} (byte {number * PAGE_SIZE})", "its checksum does not match"))
    return count


def _sound(pages: bytes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each of the pages ends in its checksum, as SQLite's checksum VFS computes it: two running sums over pairs of 32-bit words."""
    words = np.frombuffer(pages, dtype="<u4").reshape(-1, PAGE_SIZE // 4).T.copy()
    a = np.zeros(words.shape[1], dtype=np.uint32)
    b = a.copy()
    body = len(words) - CHECKSUM_BYTES // 4
    for x, y in zip(words[:body:2], words[1:body:2], strict=True):
        a += x + b
        b += y + a
    return np.asarray((a == words[body]) & (b == words[body + 1]))


def verify_write_ahead_log(path: str, findings: list[Finding]) -> int:
    """Check the checksum of each frame of the write-ahead log of the store at `path` (SQLite file format, section 4); give their number.

    Nobody may write meanwhile. The frames that count are those that the log's index in shared memory speaks of: what lies behind them, of an
    earlier round or of a transaction that was undone, is read by nobody.
    """
    log = Path(path + "-wal")
    try:
        data = log.read_bytes()
        frames: int
        frames, _, _, _, index_salt_1, index_salt_2, _, _ = _INDEX_HEADER.unpack_from(Path(path + "-shm").read_bytes())
    except FileNotFoundError:
        return 0
    if frames == 0:
        return 0
    if len(data) < _WAL_HEADER.size:
        findings.append(Finding(str(log), "header", f"is missing, with {frames} frames behind it"))
        return 0
    magic, _, page_size, _, salt_1, salt_2, sum_1, sum_2 = _WAL_HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    a, b = _checksum(data[:24], order, 0, 0)
    in_index = struct.pack("=2I", index_salt_1, index_salt_2)
    if magic & 0xFFFFFFFE != 0x377F0682 or (a, b) != (sum_1, sum_2) or data[16:24] != in_index or page_size != PAGE_SIZE:
        findings.append(Finding(str(log), "header", "its checksum does not match"))
        return 0
    position, size = _WAL_HEADER.size, _FRAME_HEADER.size + page_size
    for frame in range(1, frames + 1):
        if position + size > len(data):
            findings.append(Finding(str(log), f"frame {frame} (byte {position})", f"is missing: the file ends, with {frames} frames to hold"))
            return frame - 1
        header = data[position : position + _FRAME_HEADER.size]
        _, _, frame_salt_1, frame_salt_2, sum_1, sum_2 = _FRAME_HEADER.unpack(header)
        a, b = _checksum(header[:8], order, a, b)
        a, b = _checksum(data[position + _FRAME_HEADER.size : position + size], order, a, b)
        if (a, b, frame_salt_1, frame_salt_2) != (sum_1, sum_2, salt_1, salt_2):
            findings.append(Finding(str(log), f"frame {frame} (byte {position})", "its checksum does not match"))
            return frame - 1
        position += size
    return frames


def _checksum(data: bytes, order: str, a: int, b: int) -> tuple[int, int]:
    """SQLite's running checksum over pairs of 32-bit words."""
    mask = 0xFFFFFFFF
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        a = (a + x + b) & mask
        b = (b + y + a) & mask
    return a, b
