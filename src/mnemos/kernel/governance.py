"""Who may do what: a space has an owner and an access list, and what they do not allow is denied.

A store that is opened without a principal is the program's own: it may do everything, as the file's owner may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mnemos.base.cube import Json, check_words
from mnemos.base.errors import Invalid, PermissionDenied, shown

VERBS = ("read", "write", "share", "forget")
EVERYBODY = "*"


def check_acl(acl: Any) -> dict[str, list[str]] | None:
    """The access list `{"read": ["bob", …], "write": […], …}`, checked; "*" stands for everybody. Raises `Invalid`."""
    if acl is None:
        return None
    if not isinstance(acl, Mapping):
        raise Invalid(f"acl: expected a dict such as {{'read': ['bob']}}, not {type(acl).__name__}")
    out: dict[str, list[str]] = {}
    for verb, principals in acl.items():
        if verb not in VERBS:
            raise Invalid(f"acl: unknown verb {shown(verb)}; known are {', '.join(VERBS)}")
        if isinstance(principals, str) or not isinstance(principals, (list, tuple, set, frozenset)):
            raise Invalid(f"acl: {verb!r} takes a list of principals")
        out[verb] = sorted(check_words(principals, f"acl.{verb}"))
    return out


def allowed(principal: str | None, settings: Json, verb: str) -> bool:
    """Whether `principal` may do `verb` in a space with these settings."""
    if principal is None or settings.get("owner") == principal:
        return True
    listed = (settings.get("acl") or {}).get(verb, ())
    return principal in listed or EVERYBODY in listed


def require(principal: str | None, space: str, settings: Json, verb: str) -> None:
    """Raise `PermissionDenied` where `principal` may not `verb`. The message tells nothing of the space."""
    if not allowed(principal, settings, verb):
        raise PermissionDenied(f"principal {principal!r} may not {verb} in space {space!r}; ask its owner")
