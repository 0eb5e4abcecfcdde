"""Mnemos: a memory operating system for AI.

>>> import mnemos
>>> mem = mnemos.open("memory.db")
>>> mem.space("alice").add("I moved to Lisbon.", type="turn", author="Alice")
>>> mem.space("alice").search("Where does Alice live?")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mnemos import errors

if TYPE_CHECKING:
    from mnemos.base.cube import MemCube
    from mnemos.kernel.forgetting import Certificate, Verdict, verify_certificate
    from mnemos.kernel.reading.results import Context, Hit, Report
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.system import Mnemos as open
    from mnemos.text.registry import strategies

__version__ = "0.1.0"

_HOMES = {
    "MemCube": ("mnemos.base.cube", "MemCube"),
    "Certificate": ("mnemos.kernel.forgetting", "Certificate"),
    "Verdict": ("mnemos.kernel.forgetting", "Verdict"),
    "verify_certificate": ("mnemos.kernel.forgetting", "verify_certificate"),
    "Context": ("mnemos.kernel.reading.results", "Context"),
    "Hit": ("mnemos.kernel.reading.results", "Hit"),
    "Report": ("mnemos.kernel.reading.results", "Report"),
    "Space": ("mnemos.kernel.space", "Space"),
    "Mnemos": ("mnemos.kernel.system", "Mnemos"),
    "open": ("mnemos.kernel.system", "Mnemos"),
    "strategies": ("mnemos.text.registry", "strategies"),
}

__all__ = [
    "Certificate",
    "Context",
    "Hit",
    "MemCube",
    "Mnemos",
    "Report",
    "Space",
    "Verdict",
    "errors",
    "open",
    "strategies",
    "verify_certificate",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use, so that `import mnemos` stays quick."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mnemos' has no attribute {name!r}")
    value = getattr(importlib.import_module(home[0]), home[1])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
