"""Large payloads of a sealed store: each in a file under a key of its own, which follows from its name, and the name lies in the sealed cube.

A name is 64 hexadecimal digits from the system's random source (of a blob from before the store was sealed: the SHA-256 of its content, as it
was). It is known to the cubes that speak of it and to nobody else: whose key is destroyed, of that cube nobody learns the name any more, nor opens
the file. The file is called by a hash of the name under a key of the store, and ends in the SHA-256 of what is before it, so that damage shows
without any key. Equal contents have different names, files and bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mnemos.base.errors import Corrupt
from mnemos.store.blobs import FileBlobs
from mnemos.store.keys import Ring


def file_name(secret: bytes, name: str) -> str:
    """What the file of the blob `name` is called."""
    return hmac.digest(secret, b"file " + name.encode(), "sha256").hex()


def _key(secret: bytes, name: str) -> bytes:
    return hmac.digest(secret, b"key " + name.encode(), "sha256")


class SealedBlobs(FileBlobs):
    """Blobs as sealed files. `names`, `check`, `remove`, `stray` and `tidy` speak of files, as a sealed store's rows do."""

    def __init__(self, folder: str, ring: Callable[[], Ring]) -> None:
        super().__init__(folder)
        self._ring = ring

    def put(self, data: bytes) -> str:
        """Store `data` durably; its name is drawn at random. Raises `StoreFull`, `StoreUnavailable`."""
        name = secrets.token_hex(32)
        self.put_as(name, data)
        return name

    def put_as(self, name: str, data: bytes) -> None:
        """Store `data` under a name that is given."""
        ring = self._ring()
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(_key(ring.blobs, name)).encrypt(nonce, data, ring.store)
        self.write(file_name(ring.blobs, name), sealed + hashlib.sha256(sealed).digest())

    def get(self, name: str) -> bytes:
        """The bytes called `name`. Raises `NotFound`, or `Corrupt` where they are not what they were."""
        ring = self._ring()
        file = file_name(ring.blobs, name)
        sealed = self.check(file)[:-32]
        try:
            return AESGCM(_key(ring.blobs, name)).decrypt(sealed[:12], sealed[12:], ring.store)
        except InvalidTag:
            raise Corrupt(f"{self.path(file)}: is no file that this store sealed; restore it from a backup") from None

    def _sound(self, name: str, data: bytes) -> bool:
        return hashlib.sha256(data[:-32]).digest() == data[-32:]
