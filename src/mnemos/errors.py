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
    QuotaExceeded,
    RateLimited,
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
    "QuotaExceeded",
    "RateLimited",
    "StoreFull",
    "StoreUnavailable",
    "WrongKey",
]
