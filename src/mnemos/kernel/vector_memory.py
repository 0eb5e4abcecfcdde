"""How much memory the vectors of a space may take before they go to disk, and how a person says so."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mnemos.base.errors import Invalid, shown

MEMORY = 512 * 2**20
"""Bytes of vectors of one space that are held in memory; beyond, they go to disk."""


def bytes_of(text: str, what: str = "vector memory") -> int:
    """The bytes that a text says: "300000000", "512M", "2G", "1.5 GiB". `what` it is for. Raises `Invalid`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    if found is None:
        raise Invalid(f"{what}: {shown(text)} is no number of bytes; say for example 512M, or 2G")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2] or " "))


def memory_from_environment(environ: Mapping[str, str]) -> int:
    """The bytes in MNEMOS_VECTOR_MEMORY; `MEMORY` where it is not set. Raises `Invalid`."""
    said = environ.get("MNEMOS_VECTOR_MEMORY")
    return bytes_of(said) if said else MEMORY
