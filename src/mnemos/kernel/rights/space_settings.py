"""The settings of a space as plain JSON: those that were never set with their defaults, and what the space holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnemos.base.clock import iso
from mnemos.kernel.life.tending import LifecyclePolicy

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


def described(space: Space) -> dict[str, Any]:
    """Owner (None: the owner of the file), rules, limits, lifecycle and strategy of a space, and how many memories and bytes of text it holds.

    `clearance` None says that who may read reads every label. Raises `PermissionDenied` for who may not share the space.
    """
    system = space.system
    with system.snapshot() as snapshot:
        settings, holds = space.settings_for(snapshot, "share"), snapshot.usage(space.num)
    return {
        "name": space.name,
        "owner": settings.get("owner"),
        "acl": settings.get("acl") or {},
        "deny": settings.get("deny") or {},
        "read_only": settings.get("read_only", False),
        "clearance": settings.get("clearance"),
        "licences": {name: _licence(terms) for name, terms in (settings.get("licences") or {}).items()},
        "quota": settings.get("quota") or {},
        "rate": settings.get("rate") or {},
        "lifecycle": LifecyclePolicy.from_json(settings.get("lifecycle") or {}).as_json(),
        "detect": settings.get("detect", False),
        "strategy": settings.get("strategy", "auto"),
        "holds": holds,
    }


def _licence(terms: dict[str, int]) -> dict[str, Any]:
    return {name: iso(value) if name == "until" else value for name, value in terms.items()}
