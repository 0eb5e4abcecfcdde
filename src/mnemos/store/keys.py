"""The keys of a sealed store, and the file beside it that holds them, locked by the master key.

`memory.db-keys` is written whole or not at all (a temporary file, synced, renamed, its folder synced), and what it held before is written over.
Format, numbers big-endian: the header (magic, how the lock is made from the master key, a salt, whether a store depends on the file, how often it
was written, a nonce), the keys under AES-256-GCM with the header as associated data, and SHA-256 of all that, which tells a damaged file from a
wrong key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import struct
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mnemos.base.errors import Corrupt, FingerprintMismatch, Invalid, ModelUnavailable, StoreUnavailable, WrongKey
from mnemos.store.key_tree import KEY_BYTES, NODE_BYTES, KeyTree
from mnemos.store.sqlite_faults import explain_system
from mnemos.store.witness import Head

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as _missing:
    raise ModelUnavailable("a sealed store needs the package cryptography; type: pip install 'mnemos[security]'") from _missing

Key = bytes | str | Callable[[], bytes | str]
"""A master key of 32 bytes, a passphrase, or what gives one of them whenever it is called."""

SCRYPT = (17, 8, 1)
"""Cost of guessing at a passphrase: log2 of n, r, p (128 MiB and about 0.3 s for each guess; OWASP, Password Storage Cheat Sheet)."""

NAME = struct.Struct(">HQ")
"""A key's name: the number of its era, and its own number in the era's tree: 23 bits for the slot, 40 for the cube in it."""

CUBE_BITS = 40
SLOTS = 1 << 23
WORDS_BYTES = 64

_RAW, _PASSPHRASE = 0, 1
_HEADER = struct.Struct(">8sBBBB16s?Q12s")
_RECIPE = slice(8, 28)  # of the header: how the lock is made from the master key
_MAGIC = b"mnemkey\x01"
_DIGEST_BYTES = 32
_RING = struct.Struct(">16sQ32s32sH")
_ERA = struct.Struct(f">H{WORDS_BYTES}s{KEY_BYTES}sI")
_LOOKS = 5


UNMARKED = Head(0, bytes(32))
"""The mark of a store in which nothing was forgotten yet."""


@dataclass(frozen=True, slots=True)
class Era:
    """The keys that are in use from one rotation to the next.

    `tree` has the keys of the cubes (few nodes, or none, once the era is over); `words` seals names, so that equal ones look equal; `texts` seals
    what the log and the small tables say.
    """

    tree: KeyTree
    words: bytes = field(repr=False)
    texts: bytes = field(repr=False)

    @classmethod
    def new(cls) -> Era:
        return cls(KeyTree.grown(os.urandom(KEY_BYTES)), os.urandom(WORDS_BYTES), os.urandom(KEY_BYTES))


@dataclass(frozen=True)
class Ring:
    """All keys of a store. Immutable: who has begun to read goes on with the ring that he began with.

    `blobs` seals large payloads. `mark`: what the log ended with when keys were destroyed last; the store remembers the same, and where the two
    differ one of them is older than the other.
    """

    store: bytes
    blobs: bytes = field(repr=False)
    eras: Mapping[int, Era] = field(repr=False)
    mark: Head = UNMARKED

    @classmethod
    def new(cls, store: bytes) -> Ring:
        return cls(store, os.urandom(KEY_BYTES), {1: Era.new()})

    @property
    def newest(self) -> int:
        """The number of the latest era."""
        return max(self.eras)

    def key(self, name: bytes) -> bytes:
        """The key of a name. Raises `Destroyed`, and `KeyError` for an era that this ring has not."""
        era, number = NAME.unpack(name)
        return self.eras[era].tree.key(number)

    def lives(self, name: bytes) -> bool:
        """Whether the key of a name can be computed."""
        era, number = NAME.unpack(name)
        return era in self.eras and self.eras[era].tree.lives(number)

    def encoded(self) -> bytes:
        parts = [_RING.pack(self.store, self.mark.seq, self.mark.hash, self.blobs, len(self.eras))]
        for number, era in sorted(self.eras.items()):
            parts += [_ERA.pack(number, era.words, era.texts, len(era.tree)), era.tree.encoded()]
        return b"".join(parts)

    @classmethod
    def decoded(cls, data: bytes) -> Ring:
        """The ring that `encoded` wrote. Raises `ValueError`."""
        try:
            store, seq, digest, blobs, count = _RING.unpack_from(data)
            at, eras = _RING.size, {}
            for _ in range(count):
                number, words, texts, nodes = _ERA.unpack_from(data, at)
                at += _ERA.size
                end = at + nodes * NODE_BYTES
                if end > len(data):
                    raise ValueError("a key tree that is cut off")
                eras[number] = Era(KeyTree.decoded(data[at:end]), words, texts)
                at = end
        except struct.error as error:
            raise ValueError(str(error)) from None
        if at != len(data) or not eras:
            raise ValueError("keys that are cut off, or go on beyond their end")
        return cls(store, blobs, eras, Head(seq, digest))


def name_of(era: int, slot: int, cube: int) -> bytes:
    """The name of the key of a cube, by its number in the slot."""
    return NAME.pack(era, slot << CUBE_BITS | cube)


def shown_name(name: bytes) -> str:
    """A key's name as certificates have it: era:slot:cube."""
    era, number = NAME.unpack(name)
    return f"{era}:{number >> CUBE_BITS}:{number & (1 << CUBE_BITS) - 1}"


def name_from(text: str) -> bytes:
    """The name that `shown_name` showed. Raises `Invalid`."""
    try:
        era, slot, cube = map(int, text.split(":"))
        if not (0 <= era < 1 << 16 and 0 <= slot < SLOTS and 0 <= cube < 1 << CUBE_BITS):
            raise ValueError
    except (ValueError, AttributeError):
        raise Invalid(f"key: {str(text)[:60]!r} is no name of a key; names are era:slot:cube, three numbers") from None
    return name_of(era, slot, cube)


def checked(key: object) -> Key:
    """`key` where it can be a master key. Raises `Invalid`."""
    if callable(key) or (isinstance(key, bytes) and len(key) == KEY_BYTES) or (isinstance(key, str) and key.strip()):
        return key
    if isinstance(key, bytes):
        raise Invalid(f"key: {len(key)} bytes; a master key has {KEY_BYTES}, such as os.urandom({KEY_BYTES}) gives; a passphrase is given as text")
    if isinstance(key, str):
        raise Invalid("key: the passphrase is empty")
    raise Invalid(f"key: expected {KEY_BYTES} bytes, a passphrase, or what gives one of them when it is called, not {type(key).__name__}")


class KeyFile:
    """The file at `path`, opened by the master key `key`. Whoever writes it holds the store's write lock."""

    def __init__(self, path: str, key: object) -> None:
        self.path = path
        self._key = checked(key)
        self._lock: tuple[bytes, bytes] | None = None  # how the lock is made, and the lock, as the file has it now
        self.written = 0
        """How often the file had been written when it was last read or written here."""

    def settled(self) -> bool:
        """Whether the file is there, and a store was made, or sealed, with its keys, so that they must not be lost. Raises `Corrupt`."""
        return os.path.exists(self.path) and bool(_HEADER.unpack(self._bytes()[0])[6])

    def read(self) -> Ring:
        """The keys. Raises `WrongKey`, and `Corrupt` where the file is missing or damaged."""
        header, body = self._bytes()
        magic, kind, cost, r, p, salt, _, written, nonce = _HEADER.unpack(header)
        if magic != _MAGIC or kind not in (_RAW, _PASSPHRASE):
            raise FingerprintMismatch(f"{self.path}: is no key file that this version of Mnemos reads; upgrade mnemos to open it")
        recipe = header[_RECIPE]
        if self._lock is None or self._lock[0] != recipe:
            self._lock = recipe, self._made(kind, (cost, r, p), salt)
        try:
            ring = Ring.decoded(AESGCM(self._lock[1]).decrypt(nonce, body, header))
        except InvalidTag:
            self._lock = None
            raise WrongKey(f"{self.path}: the key does not open it; give the one that the store was sealed with, or was changed to") from None
        except ValueError as error:
            raise Corrupt(f"{self.path}: opens, but holds {error}; restore it from its backup") from None
        self.written = written
        return ring

    def _bytes(self) -> tuple[bytes, bytes]:
        """(header, what is sealed), their checksum checked."""
        for _ in range(_LOOKS):
            with explain_system(self.path, "reading the keys"):
                try:
                    with open(self.path, "rb") as file:
                        data, own = file.read(), os.fstat(file.fileno()).st_ino
                except FileNotFoundError:
                    raise Corrupt(f"{self.path}: the key file is missing, without which nobody reads the store; restore it from its backup") from None
                body = data[:-_DIGEST_BYTES]
                if len(body) > _HEADER.size and hashlib.sha256(body).digest() == data[-_DIGEST_BYTES:]:
                    return body[: _HEADER.size], body[_HEADER.size :]
                if os.stat(self.path).st_ino == own:  # else it was replaced, and written over, while it was read
                    break
        raise Corrupt(f"{self.path}: the key file is damaged (its checksum does not match); restore it from its backup")

    def _made(self, kind: int, cost: tuple[int, int, int], salt: bytes) -> bytes:
        """The lock from the master key."""
        key = self._master()
        if (kind == _PASSPHRASE) is not isinstance(key, str):
            wanted = "a passphrase, which is given as text" if kind == _PASSPHRASE else f"a key of {KEY_BYTES} bytes"
            raise WrongKey(f"{self.path}: is locked by {wanted}")
        if isinstance(key, str):
            n, r, p = 1 << cost[0], cost[1], cost[2]
            text = unicodedata.normalize("NFC", key).encode()
            try:
                key = hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=min(129 * n * r + 2**20, 2**31 - 1), dklen=KEY_BYTES)
            except (ValueError, OverflowError, MemoryError) as error:
                raise StoreUnavailable(f"{self.path}: a guess at its passphrase costs more than this machine has ({error})") from None
        return hmac.digest(hmac.digest(salt, key, "sha256"), b"mnemos key file\x01", "sha256")  # HKDF, RFC 5869

    def _master(self) -> bytes | str:
        if not callable(self._key):
            return self._key
        given = checked(self._key())
        if callable(given):
            raise Invalid("key: what was called gave something else to call; it has to give the key")
        return given

    def write(self, ring: Ring, *, settled: bool = True) -> None:
        """Put `ring` in the place of what the file holds, durably. Raises `StoreFull`, `StoreUnavailable`; then the file is as it was, or new."""
        if self._lock is None:
            passphrase = isinstance(self._master(), str)
            kind, cost, salt = (_PASSPHRASE, SCRYPT, os.urandom(16)) if passphrase else (_RAW, (0, 0, 0), os.urandom(16))
            self._lock = struct.pack(">BBBB16s", kind, *cost, salt), self._made(kind, cost, salt)
        nonce = os.urandom(12)
        header = _MAGIC + self._lock[0] + struct.pack(">?Q12s", settled, self.written + 1, nonce)
        body = header + AESGCM(self._lock[1]).encrypt(nonce, ring.encoded(), header)
        with explain_system(self.path, "writing the keys"):
            _replace(self.path, body + hashlib.sha256(body).digest())
        self.written += 1

    def relocked(self, key: object) -> KeyFile:
        """The same file for another master key: what is written through it, opens with that one."""
        other = KeyFile(self.path, key)
        other.written = self.written
        return other


def _replace(path: str, data: bytes) -> None:
    """Put a file in the place of another, durably, and overwrite the other. Raises `OSError`."""
    temporary = path + ".tmp"  # always the same name: what a killed process left is written over by the next
    try:
        before = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        before = None
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _write(handle, data)
        finally:
            os.close(handle)
        os.rename(temporary, path)
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        if before is not None:
            with contextlib.suppress(OSError):  # as good as the file system allows: what counts is done
                _write(before, bytes(os.fstat(before).st_size))
    finally:
        if before is not None:
            os.close(before)


def _write(handle: int, data: bytes) -> None:
    """Write all of `data` from the start of the file, and sync it."""
    done = 0
    while done < len(data):
        done += os.pwrite(handle, data[done:], done)
    os.fsync(handle)


def without(ring: Ring, gone: Mapping[int, list[tuple[int, int]]], mark: Head, used: set[int]) -> Ring:
    """The ring in which the keys of some intervals, by era, are destroyed, and so is every tree of an era that is not `used` any more. An era
    after those in use stays whole: a process was killed before it had begun."""
    eras = {}
    for number, era in ring.eras.items():
        tree = era.tree.without(gone.get(number, ())) if number in used or number > max(used) else KeyTree([])
        eras[number] = replace(era, tree=tree)
    return replace(ring, eras=eras, mark=mark)
