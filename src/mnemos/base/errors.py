"""Every error that Mnemos raises on purpose. Each says what happened, to what, and what the caller can do."""

from __future__ import annotations


def shown(value: object, limit: int = 60) -> str:
    """`value` as a message can show it: its literal, in ASCII, cut at `limit` characters. Never raises, whatever the value is."""
    try:
        literal = ascii(value[: limit + 1] if isinstance(value, (str, bytes)) else value)
    except Exception:  # noqa: BLE001  (a caller's object may raise anything, and integers beyond 4,300 digits do)
        return f"a value of type {type(value).__name__}"
    return literal if len(literal) <= limit + 2 else f"{literal[:limit]}…"


class MnemosError(Exception):
    """Base of all errors of Mnemos."""


class Invalid(MnemosError, ValueError):
    """The input cannot be accepted as it is; nothing was stored."""


class NotFound(MnemosError, LookupError):
    """No such space, cube, version, strategy or file, or none that the caller may see."""


class Conflict(MnemosError):
    """The change contradicts what is stored: the id is taken, or was forgotten, or the version is no longer current."""


class Frozen(Conflict):
    """The cube is frozen: unfreeze it before it can change."""


class PermissionDenied(MnemosError, PermissionError):
    """The principal may not do this here."""


class WrongKey(PermissionDenied):
    """The store is sealed, and the key is missing, or is not the one that opens it."""


class RateLimited(MnemosError):
    """The caller asked more often than the space allows; `retry_after` seconds later it may again."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Corrupt(MnemosError):
    """Stored bytes are not what was written. `mnemos doctor` names the file and the place."""


class StoreFull(MnemosError, OSError):
    """The disk or a quota is full; the change was not made, and what was stored is untouched."""


class QuotaExceeded(StoreFull):
    """A space may not hold as much more: forget what is not needed, or let its quota be raised. The message names no file."""


class StoreUnavailable(MnemosError, OSError):
    """The store cannot be read or written now: locked, on an unsuitable file system, closed, or failing."""


class FingerprintMismatch(MnemosError):
    """The stored form was made by another model, tokenizer, template or embedder, or by another version of Mnemos."""


class ModelUnavailable(MnemosError, RuntimeError):
    """A model that the call needs is not installed, not reachable, or failed its check.

    Of a chat model, `reason` says what it was: "timeout", "rate limit", "refusal", "truncated", "malformed" (an answer that is none), "too long"
    (a request that does not fit), or "unavailable", which is all else.
    """

    def __init__(self, message: str, reason: str = "unavailable") -> None:
        super().__init__(message)
        self.reason = reason
