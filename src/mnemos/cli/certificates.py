"""Certificates of forgetting: read from files, saved in files, and shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnemos.base.errors import Invalid, NotFound, PermissionDenied
from mnemos.cli.output import clean, counted

if TYPE_CHECKING:
    from mnemos.base.signing import SigningKey
    from mnemos.kernel.forgetting import Certificate


def read_certificate(path: Path) -> Any:
    """The JSON of a certificate's file. Raises `NotFound`, `PermissionDenied`, `Invalid`."""
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file; give the certificate that `forget --certificate` saved") from None
    except PermissionError:
        raise PermissionDenied(f"{path}: may not be read; check its permissions") from None
    except (OSError, ValueError) as error:
        raise Invalid(f"{path}: is no certificate ({error}); give the JSON that `forget --certificate` saved") from None


class Paper:
    """The certificate's file, made before anything is forgotten: a certificate that could not be saved would be lost. A context manager:
    where nothing was written when it ends, the file goes. `path` None: no file."""

    def __init__(self, path: Path | None, key: SigningKey | None = None) -> None:
        """`key`: sign the certificate with it."""
        self._path = path
        self._key = key
        self._file: Any = None
        self._begun = False
        if path is not None:
            try:
                self._file = path.open("xb")
            except FileExistsError:
                raise Invalid(f"{path}: exists already; save the certificate under another name") from None
            except PermissionError:
                raise PermissionDenied(f"{path}: may not be written; choose another place for the certificate") from None
            except OSError as error:
                raise Invalid(f"{path}: cannot be written ({error.strerror}); choose another place for the certificate") from None

    def __enter__(self) -> Paper:
        return self

    def __exit__(self, *_: object) -> None:
        if self._path is not None and self._file is not None:
            self._file.close()
            if not self._begun:
                self._path.unlink(missing_ok=True)

    def write(self, certificate: Certificate) -> None:
        """Save the certificate, durably."""
        if self._file is not None:
            self._begun = True
            from mnemos.kernel.forgetting import sign_certificate

            record = (certificate if self._key is None else sign_certificate(certificate, self._key)).as_json()
            self._file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())


def certificate_panel(certificate: Certificate) -> Panel:
    """A certificate for reading."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    versions = sum(len(cube.digests) for cube in certificate.cubes)
    grid.add_row("forgotten", f"{counted(len(certificate.cubes), 'memory', 'memories')} with {counted(versions, 'version', 'versions and parts')}")
    grid.add_row("when", certificate.forgotten_at)
    grid.add_row("why", Text(clean(certificate.reason or "–")))
    grid.add_row("store", certificate.store)
    grid.add_row("log", f"position {certificate.position}, head {certificate.head[:32]}…")
    for cube in certificate.cubes[:3]:
        grid.add_row("memory", f"{cube.id}")
        for digest in cube.digests[:2]:
            grid.add_row("  digest", f"{digest[:48]}…")
    if len(certificate.cubes) > 3:
        grid.add_row("", f"… and {len(certificate.cubes) - 3} more")
    return Panel(grid, title="[bold]Certificate of forgetting[/]", title_align="left", border_style="green", padding=(1, 2))
