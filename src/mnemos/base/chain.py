"""The hash chain that makes the change log tamper-evident: each entry's hash covers the entry and the hash before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

GENESIS = bytes(32)
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, as the log keeps it for good.

    `kind` says what happened (space, add, update, state, freeze, unfreeze, link, stale, permission, setting, forget, seal); `digest` commits to the
    content that was written (None where none was); `body` holds what else the change says, never the text of a memory. Space 0 is the store.
    """

    seq: int
    at: int
    kind: str
    space: int
    cube: UUID | None
    version: int | None
    actor: str | None
    digest: bytes | None
    body: str | None
    hash: bytes
    sealed: str | None = None
    """In a sealed store: what stands in the log, and what the hash covers, in the place of actor and body."""

    def body_json(self) -> dict[str, Any]:
        return orjson.loads(self.body) if self.body else {}


def entry_hash(
    previous: bytes,
    seq: int,
    at: int,
    kind: str,
    space: int,
    cube: bytes | None,
    version: int | None,
    actor: str | None,
    digest: bytes | None,
    body: str | None,
) -> bytes:
    """SHA-256 over the previous hash and every field of the entry, written so that no two entries can read the same."""
    header = orjson.dumps(
        [seq, at, kind, space, cube.hex() if cube else None, version, actor, digest.hex() if digest else None, body]
    )
    return hashlib.sha256(previous + header).digest()


def verify_entry(previous: bytes, entry: Entry) -> bool:
    """Whether `entry` carries the hash that follows from `previous`."""
    cube = entry.cube.bytes if entry.cube else None
    actor, body = (entry.actor, entry.body) if entry.sealed is None else (None, entry.sealed)
    expected = entry_hash(previous, entry.seq, entry.at, entry.kind, entry.space, cube, entry.version, actor, entry.digest, body)
    return expected == entry.hash
