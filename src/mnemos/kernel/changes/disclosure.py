"""The minimum reproducibility disclosure: what must be said beside any number about a memory, checked by machine (arXiv 2509.18868).

JSON, which is YAML too. A missing or empty field is a problem; so is a value of another kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}")

FIELDS: Mapping[str, Mapping[str, str]] = {
    "time": {"snapshot": "date", "index": "date", "weights": "date or none"},
    "freshness": {"rules": "text"},
    "leakage": {"method": "text", "threshold": "number", "overlap": "share", "accepted": "share"},
    "model": {"name": "text", "parameters": "number or none", "decoding": "object"},
    "retrieval": {"method": "text", "k": "number", "rerank": "text"},
    "memory": {"mode": "text", "replay_budget": "number", "refusal_threshold": "number or none"},
    "hardware": {"cpu": "text", "cores": "number", "memory_bytes": "number"},
    "cost": {"seconds": "number"},
    "seeds": {"values": "list of numbers"},
    "limits": {"text": "text"},
}
"""Section → field → kind. "none" is said with null, and must be said."""


def problems(record: object) -> list[str]:
    """What is missing or of the wrong kind in a disclosure, as `section.field: what`; nothing where it is complete."""
    if not isinstance(record, Mapping):
        return [f"disclosure: expected an object with {', '.join(FIELDS)}, not {type(record).__name__}"]
    found = []
    for section, fields in FIELDS.items():
        part = record.get(section)
        if not isinstance(part, Mapping):
            found.append(f"{section}: is missing")
            continue
        for field, kind in fields.items():
            if field not in part:
                found.append(f"{section}.{field}: is missing")
            elif not _is(part[field], kind):
                found.append(f"{section}.{field}: expected {kind}")
    return found


def _is(value: Any, kind: str) -> bool:
    if kind.endswith(" or none"):
        return value is None or _is(value, kind.removesuffix(" or none"))
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if kind == "date":
        return isinstance(value, str) and _DATE.match(value) is not None
    if kind == "text":
        return isinstance(value, str) and bool(value.strip())
    if kind == "number":
        return number
    if kind == "share":
        return number and 0 <= value <= 1
    if kind == "object":
        return isinstance(value, Mapping)
    return isinstance(value, list | tuple) and len(value) > 0 and all(_is(each, "number") for each in value)
