"""What SQLite's errors mean to a caller."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import apsw

from mnemos.base.errors import Corrupt, MnemosError, StoreFull, StoreUnavailable

_IOERR_DATA = 10 | 32 << 8
_IOERR_CORRUPTFS = 10 | 33 << 8


NOT_MADE = "the change was not made"


def explain(error: apsw.Error, path: str, doing: str, outcome: str = NOT_MADE) -> MnemosError:
    """The error of Mnemos that says the same as `error`, what became of the change (`outcome`), and what to do."""
    code = getattr(error, "extendedresult", 0)
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)) or code in (_IOERR_DATA, _IOERR_CORRUPTFS):
        return Corrupt(f"{path}: damaged bytes found while {doing} ({error}); run `mnemos doctor`, or restore a backup")
    if isinstance(error, apsw.FullError):
        return StoreFull(f"{path}: no room left on the disk while {doing}; {outcome}. Free space and try again")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreUnavailable(f"{path}: another process held the store for too long while {doing}; try again")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreUnavailable(f"{path}: cannot be written ({error}); check the file's and the folder's permissions")
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailable(f"{path}: cannot be opened ({error}); check that the folder exists and may be written")
    if isinstance(error, apsw.ConnectionClosedError):
        return StoreUnavailable(f"{path}: the store is closed")
    return StoreUnavailable(f"{path}: {error} while {doing}; {outcome}, what was stored is untouched")


def explain_os(error: OSError, path: str, doing: str) -> MnemosError:
    """The error of Mnemos that says the same as an error of the operating system, and what to do."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{path}: no room left on the disk while {doing}; free space and try again")
    return StoreUnavailable(f"{path}: {why} while {doing}; check the disk, and the permissions of the file and its folder")


class Severed:
    """Stands in for the connection of a transaction that SQLite gave up: every further use of it raises `error`."""

    def __init__(self, error: MnemosError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


@contextmanager
def explain_system(path: str, doing: str) -> Iterator[None]:
    """Raise errors of the operating system as those of Mnemos."""
    try:
        yield
    except MnemosError:
        raise
    except OSError as error:
        raise explain_os(error, path, doing) from error


@contextmanager
def explained(path: str, doing: str, outcome: str = NOT_MADE) -> Iterator[None]:
    """Raise SQLite's errors as those of Mnemos."""
    try:
        yield
    except apsw.Error as error:
        raise explain(error, path, doing, outcome) from error
