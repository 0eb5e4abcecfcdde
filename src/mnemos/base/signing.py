"""Signatures that say who vouches for a document: Ed25519 (RFC 8032) over canonical JSON, with keys in files of their own.

What is signed begins with the document's purpose, so that a signature for one purpose is none for another. A document's checksum covers its
signature, too: damage is noticed without any key, and who made it with the public one. Signing needs the package `cryptography`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mnemos.base.cube import Json, plain_json
from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable, NotFound, PermissionDenied, StoreUnavailable, shown

if TYPE_CHECKING:
    from types import ModuleType

_PREFIX = b"mnemos signed document 1\n"
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,40}")
_RAW_BYTES = 32
_LONGEST_FILE = 16_384
_FIELDS = frozenset(("purpose", "document", "key", "signature", "checksum"))
_HEX = re.compile("[0-9a-f]*")


def canonical(value: object) -> bytes:
    """The one byte string that stands for a JSON value: UTF-8, keys sorted, no blanks. Raises `Invalid` for what JSON does not hold exactly."""
    return orjson.dumps(plain_json(value, "document"), option=orjson.OPT_SORT_KEYS)


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ModelUnavailable(f"signatures need the package cryptography ({error}); type: pip install 'mnemos[security]'") from None
    return ed25519


# -- keys --
@dataclass(frozen=True)
class PublicKey:
    """What checks signatures: 32 bytes. It may be given to anybody."""

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != _RAW_BYTES:
            raise Invalid(f"public key: expected {_RAW_BYTES} bytes, not {shown(self.raw)}")

    @property
    def id(self) -> str:
        """Names the key: the first half of its SHA-256, in hex."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's for `message`. Raises `ModelUnavailable`."""
        key = _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
        from cryptography.exceptions import InvalidSignature

        try:
            key.verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def pem(self) -> str:
        """The key as text (SubjectPublicKeyInfo, RFC 8410)."""
        from cryptography.hazmat.primitives import serialization as form

        key = _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
        return str(key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode())

    def save(self, path: str | Path) -> None:
        """Write the key as PEM. Raises `Invalid` where the file exists, `StoreUnavailable`."""
        _write_new(Path(path), self.pem().encode(), 0o644)

    @classmethod
    def of(cls, given: PublicKey | SigningKey | str | Path | bytes) -> PublicKey:
        """A key from what a caller has: a key, its 32 bytes, 64 hex digits, PEM text, or the path of a file with one of these.

        Raises `Invalid`, `NotFound`, `PermissionDenied`.
        """
        if isinstance(given, PublicKey):
            return given
        if isinstance(given, SigningKey):
            return given.public
        if isinstance(given, bytes):
            return cls(given) if len(given) == _RAW_BYTES else cls._read(given, "public key")
        if isinstance(given, str) and (given.lstrip().startswith("-----BEGIN") or _is_hex_key(given)):
            return cls._read(given.encode(), "public key")
        if not isinstance(given, (str, os.PathLike)):
            raise Invalid(f"public key: expected a key, its text or a path, not {type(given).__name__}")
        return cls._read(_read_file(Path(given)), str(given))

    @classmethod
    def _read(cls, data: bytes, name: str) -> PublicKey:
        if len(data) == _RAW_BYTES:
            return cls(data)
        text = data.decode("ascii", "replace").strip()
        if _is_hex_key(text):
            return cls(bytes.fromhex(text))
        if "PRIVATE KEY" in text:
            raise Invalid(f"{name}: holds a private key, which must not be handed out; give the public one (`SigningKey.load(path).public`)")
        ed25519 = _ed25519()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization as form

        try:
            key = form.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise Invalid(f"{name}: is no Ed25519 public key; give PEM, 64 hex digits or 32 bytes")
        return cls(key.public_bytes_raw())


@dataclass(frozen=True)
class SigningKey:
    """What makes signatures. Keep it secret, and its file readable by its owner alone."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != _RAW_BYTES:
            raise Invalid(f"signing key: expected {_RAW_BYTES} bytes")

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key, from the operating system's source of randomness. Raises `ModelUnavailable`."""
        return cls(_ed25519().Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def public(self) -> PublicKey:
        return PublicKey(_ed25519().Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw())

    @property
    def id(self) -> str:
        """That of its public key."""
        return self.public.id

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same message gives the same signature. Raises `ModelUnavailable`."""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.secret).sign(message)
        return signature

    def save(self, path: str | Path, *, raw: bool = False) -> None:
        """Write the key, as PEM (PKCS #8, RFC 8410) or as its 32 bytes, to a new file of mode 0600. Raises `Invalid`, `StoreUnavailable`."""
        data = self.secret
        if not raw:
            from cryptography.hazmat.primitives import serialization as form

            key = _ed25519().Ed25519PrivateKey.from_private_bytes(self.secret)
            data = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        _write_new(Path(path), data, 0o600)

    @classmethod
    def load(cls, path: str | Path) -> SigningKey:
        """The key that `save` wrote: PEM, 32 bytes, or 64 hex digits.

        Raises `PermissionDenied` where anybody else than its owner may read the file, `NotFound`, `Invalid`.
        """
        data = _read_file(Path(path), private=True)
        if len(data) == _RAW_BYTES:
            return cls(data)
        text = data.decode("ascii", "replace").strip()
        if _is_hex_key(text):
            return cls(bytes.fromhex(text))
        ed25519 = _ed25519()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization as form

        try:
            key = form.load_pem_private_key(data, password=None)
        except TypeError:
            raise Invalid(f"{path}: is locked with a passphrase; write it without one (openssl pkey -in … -out …), in a file of mode 0600") from None
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise Invalid(f"{path}: is no Ed25519 private key; make one with `SigningKey.generate().save(path)`")
        return cls(key.private_bytes_raw())


def _is_hex_key(text: str) -> bool:
    return len(text.strip()) == 2 * _RAW_BYTES and _HEX.fullmatch(text.strip().lower()) is not None


def _read_file(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if private and os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise PermissionDenied(f"{path}: others than its owner may use it (mode {mode:04o}); type: chmod 600 {path}")
            data = file.read(_LONGEST_FILE + 1)
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such key file") from None
    except PermissionDenied:
        raise
    except OSError as error:
        raise Invalid(f"{path}: cannot be read as a key ({error.strerror}); check the path and its permissions") from None
    if len(data) > _LONGEST_FILE:
        raise Invalid(f"{path}: is too long for a key")
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
    except FileExistsError:
        raise Invalid(f"{path}: exists already, and a key is not written over; choose another name") from None
    except OSError as error:
        raise StoreUnavailable(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    try:
        with os.fdopen(handle, "wb") as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)  # whatever the process masks
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreUnavailable(f"{path}: the key cannot be kept ({error.strerror}); free space, or choose another place") from error


# -- documents --
@dataclass(frozen=True)
class SignedDocument:
    """A JSON object, what it is for (`purpose`), and who vouches for it: the id of a key and its signature, or nobody."""

    purpose: str
    document: Json
    key: str | None = None
    signature: str | None = None

    @classmethod
    def sign(cls, purpose: str, document: Mapping[str, Any], key: SigningKey | None) -> SignedDocument:
        """The document signed with `key`; with None it has a checksum only. Raises `Invalid`, `ModelUnavailable`."""
        if not _PURPOSE.fullmatch(purpose):
            raise Invalid(f"purpose: {shown(purpose)} is no lower-case word")
        plain = plain_json(document, "document")
        if key is None:
            return cls(purpose, plain)
        return cls(purpose, plain, key.id, key.sign(_message(purpose, plain)).hex())

    def as_json(self) -> dict[str, Any]:
        body = {"purpose": self.purpose, "document": dict(self.document), "key": self.key, "signature": self.signature}
        return {**body, "checksum": hashlib.sha256(canonical(body)).hexdigest()}

    def as_bytes(self) -> bytes:
        """The canonical JSON of it, on one line: what a file holds."""
        return canonical(self.as_json()) + b"\n"

    @classmethod
    def from_json(cls, value: object) -> SignedDocument:
        """What `as_json` gave. Raises `Invalid` for anything else, `Corrupt` where the checksum does not match."""
        if not isinstance(value, Mapping) or set(value) != _FIELDS:
            raise Invalid(f"signed document: expected an object with {', '.join(sorted(_FIELDS))}")
        purpose, document, key, signature = (value[name] for name in ("purpose", "document", "key", "signature"))
        named = isinstance(purpose, str) and _PURPOSE.fullmatch(purpose) and isinstance(document, Mapping)
        signed = isinstance(key, str) and isinstance(signature, str) and len(key) == 32 and len(signature) == 128
        if not named or not (signed or (key is None and signature is None)) or not _HEX.fullmatch(f"{key or ''}{signature or ''}"):
            raise Invalid("signed document: purpose, key or signature is not of the known form")
        found = cls(purpose, plain_json(document, "document"), key, signature)
        if not hmac.compare_digest(str(value["checksum"]).encode(), found.as_json()["checksum"].encode()):
            raise Corrupt("signed document: the checksum does not match; it was damaged or changed")
        return found

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedDocument:
        """What `as_bytes` gave, byte for byte. Raises `Invalid`, `Corrupt`."""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise Invalid(f"signed document: is no JSON ({error})") from None
        found = cls.from_json(value)
        if found.as_bytes() != data:
            raise Corrupt("signed document: is not written as it was; it was changed on the way")
        return found

    def faults(self, purpose: str, keys: PublicKey | Iterable[PublicKey] | None) -> list[str]:
        """Why it does not hold for `purpose` under one of `keys`; empty where it does. With None nobody has to have signed."""
        if self.purpose != purpose:
            return [f"is for {self.purpose!r}, not for {purpose!r}"]
        if keys is None:
            return []
        known = {key.id: key for key in ([keys] if isinstance(keys, PublicKey) else keys)}
        if self.key is None or self.signature is None:
            return ["is not signed"]
        if self.key not in known:
            return [f"is signed with key {self.key}, not with {' or '.join(known) or 'any that is trusted'}"]
        holds = known[self.key].holds(bytes.fromhex(self.signature), _message(self.purpose, self.document))
        return [] if holds else ["its signature does not hold; it was changed, or signed by somebody else"]


def _message(purpose: str, document: Mapping[str, Any]) -> bytes:
    return _PREFIX + purpose.encode() + b"\n" + canonical(document)
