"""The errors that a caller may want to catch. All derive from `MnemosError`."""

from mnemos.base.errors import (
    Conflict,
    Corrupt,
    FingerprintMismatch,
    Frozen,
    Invalid,
    MnemosError,
    ModelUnavailable,
    NotFound,
    PermissionDenied,
    StoreFull,
    StoreUnavailable,
    WrongKey,
)

__all__ = [
    "Conflict",
    "Corrupt",
    "FingerprintMismatch",
    "Frozen",
    "Invalid",
    "MnemosError",
    "ModelUnavailable",
    "NotFound",
    "PermissionDenied",
    "StoreFull",
    "StoreUnavailable",
    "WrongKey",
]
