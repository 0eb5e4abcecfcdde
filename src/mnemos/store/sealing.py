"""What stands in the files of a sealed store in the place of what it holds, and back.

A version's payload and its vector are cells, each under the key of its cube (AES-256-GCM, a random nonce; the associated data name the store,
the cube, the position and the column, so that no cell can stand in another's place). What the log and the small tables say is sealed under the
era's key for texts. Names that are looked up by equality are sealed so that equal ones look equal (AES-SIV, RFC 5297), in one store and table.
"""

from __future__ import annotations

import os
import struct
import threading
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

from mnemos.base.errors import Corrupt
from mnemos.store.key_tree import Destroyed
from mnemos.store.keys import NAME, KeyFile, Ring

PAYLOAD, VECTOR = b"p", b"v"
SALT_BYTES = 16
FIELDS = ("type", "author", "source", "tags", "metadata", "more", "text", "thread", "flags")
"""The columns of `version` that lie in its payload as JSON, in this order; beside them salt, moments and terms."""

_NONCE = slice(NAME.size, NAME.size + 12)
_PLACE = struct.Struct(">16sc16sQH")
_LENGTHS = struct.Struct(">III")
_ERA = struct.Struct(">H")
_NONE = 0xFFFFFFFF


class Unreadable(Corrupt):
    """A cell that does not open: damaged, in another's place, or its key is gone."""


# ---- cells ----------------------------------------------------------------------------------------------------------


def cell(ring: Ring, name: bytes, place: bytes, data: bytes) -> bytes:
    """`data` sealed under the key `name`, for one place. Raises `Destroyed` where that key is gone."""
    nonce = os.urandom(12)
    return name + nonce + AESGCM(ring.key(name)).encrypt(nonce, data, place)


def opened(ring: Ring, sealed: bytes, place: bytes) -> bytes:
    """What `cell` sealed. Raises `Unreadable`, and `KeyError` for a key of an era that the ring has not."""
    name = sealed[: NAME.size]
    try:
        return AESGCM(ring.key(name)).decrypt(sealed[_NONCE], sealed[NAME.size + 12 :], place)
    except Destroyed:
        raise Unreadable("its key was destroyed") from None
    except (InvalidTag, ValueError, struct.error):
        raise Unreadable("it is damaged, or was moved here from another place") from None


def place(store: bytes, column: bytes, cube: bytes, seq: int, embedder: int = 0) -> bytes:
    """The one place that a cell fits: the column of the version at position `seq`, of a cube of a store."""
    return _PLACE.pack(store, column, cube, seq, embedder)


def packed(salt: bytes, fields: list[Any], moments: bytes | None, terms: bytes | None) -> bytes:
    """The payload of a version as one string of bytes; `fields` are the values of `FIELDS`."""
    text = orjson.dumps(fields)
    lengths = _LENGTHS.pack(len(text), _NONE if moments is None else len(moments), _NONE if terms is None else len(terms))
    return b"".join((salt, lengths, text, moments or b"", terms or b""))


def unpacked(data: bytes) -> tuple[bytes, list[Any], bytes | None, bytes | None]:
    """What `packed` was given."""
    text, moments, terms = _LENGTHS.unpack_from(data, SALT_BYTES)
    start = SALT_BYTES + _LENGTHS.size
    middle = start + text
    end = middle + (0 if moments == _NONE else moments)
    return (
        data[:SALT_BYTES], orjson.loads(data[start:middle]), None if moments == _NONE else data[middle:end], None if terms == _NONE else data[end:]
    )  # fmt: skip


# ---- texts and words ------------------------------------------------------------------------------------------------


def shut(ring: Ring, era: int, where: str, text: str) -> str:
    """A text of the log or of a small table, sealed for one place (`where`)."""
    nonce = os.urandom(12)
    sealed = AESGCM(ring.eras[era].texts).encrypt(nonce, text.encode(), ring.store + where.encode())
    return b64encode(_ERA.pack(era) + nonce + sealed).decode()


def told(ring: Ring, where: str, sealed: str) -> str:
    """What `shut` sealed. Raises `Unreadable`, and `KeyError` for an era that the ring has not."""
    try:
        data = b64decode(sealed, validate=True)
        (era,) = _ERA.unpack_from(data)
        return AESGCM(ring.eras[era].texts).decrypt(data[2:14], data[14:], ring.store + where.encode()).decode()
    except (InvalidTag, NotBase64, ValueError, struct.error):
        raise Unreadable(f"{where}: what it says is damaged, or was moved here from another place") from None


def era_of(sealed: str) -> int:
    """The era whose keys open what `shut` sealed. Raises `Unreadable`."""
    try:
        return int(_ERA.unpack(b64decode(sealed[:4])[:2])[0])
    except (NotBase64, ValueError, struct.error):
        raise Unreadable("what stands there was never sealed") from None


def word(ring: Ring, era: int, table: str, name: str) -> str:
    """A name as it is looked up in a table: the same for the same name, in this store and era."""
    return b64encode(AESSIV(ring.eras[era].words).encrypt(name.encode(), [ring.store, table.encode()])).decode()


def said(ring: Ring, era: int, table: str, sealed: str) -> str:
    """The name that `word` sealed. Raises `Unreadable`, and `KeyError`."""
    try:
        return AESSIV(ring.eras[era].words).decrypt(b64decode(sealed, validate=True), [ring.store, table.encode()]).decode()
    except (InvalidTag, NotBase64, ValueError):
        raise Unreadable(f"table {table}: a name is damaged, or was moved here from another place") from None


class Sealing:
    """The keys of an open store: the ring as this process knows it, and the file from which it learns of others' changes."""

    def __init__(self, file: KeyFile, ring: Ring) -> None:
        self.file = file
        self.ring = ring
        self._reading = threading.Lock()

    def with_era(self, ring: Ring, era: int) -> Ring:
        """`ring` with an era of which another process made the keys since. Raises `Unreadable` where the file does not have it either."""
        with self._reading:
            if era not in self.ring.eras:
                self.ring = self.file.read()
        if era not in self.ring.eras:
            raise Unreadable(f"{self.file.path}: has no keys of era {era}; it is older than the store, restore the newest backup of it")
        # What the reader began with stays: keys that were destroyed since are those of what he still sees.
        return Ring(ring.store, ring.blobs, {**self.ring.eras, **ring.eras}, ring.mark)
