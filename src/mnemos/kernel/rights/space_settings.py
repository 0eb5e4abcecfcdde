"""The settings of a space: how they are given, and as plain JSON with their defaults and what the space holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnemos.base.clock import iso
from mnemos.base.cube import Json, check_text
from mnemos.base.errors import Invalid
from mnemos.kernel.life.tending import LifecyclePolicy
from mnemos.store.base import SpaceRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.registry import STRATEGIES

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

LONGEST_NAME = 200
EVERY_SECONDS = 60.0
"""How often a space whose strategy consolidates is looked after, where workers run."""


def check_space_name(name: object) -> str:
    """`name` where a space can be called so. Raises `Invalid`."""
    text = check_text(name, "space")
    if not text.strip() or len(text) > LONGEST_NAME or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Invalid(f"space: a name has 1 to {LONGEST_NAME} characters, not all blank, none of them a control character")
    return text


def opened(system: Mnemos, name: str, wanted: Json) -> SpaceRow:
    """The row of the space called `name`, created where there is none, with the settings `wanted`. Raises `PermissionDenied`."""
    with system.snapshot() as snapshot:
        row = snapshot.space(name)
        access = system.access(snapshot)
    if row is None:
        with system.writing() as transaction:
            row = transaction.space(name)
            if row is None:
                row = transaction.create_space(name, {"owner": system.principal, **wanted})
                look_after(system, transaction, name, wanted)
    changed = any(row.settings.get(key) != value for key, value in wanted.items())
    if changed or (wanted and not access.may("read", row.settings)):  # or a list could be guessed at
        access.require("share", name, row.settings)
    if not changed:
        return row
    with system.writing() as transaction:
        row = system.space_row(transaction, row.num)
        access.require("share", name, row.settings)
        settings = {**row.settings, **wanted}
        transaction.set_space(row.num, settings)
        look_after(system, transaction, name, wanted)
    return SpaceRow(row.num, row.name, row.created_at, settings)


def look_after(system: Mnemos, transaction: Writer, name: str, settings: Mapping[str, Any]) -> None:
    """Let a space that is given a strategy be looked after by a recurring job where that consolidates, and by none where not. A strategy that is not
    here, of a space that comes from elsewhere, makes nothing."""
    strategy = settings.get("strategy")
    if strategy is None:
        return
    now = system.clock()
    if strategy in STRATEGIES and system.strategy(strategy).consolidates:
        transaction.enqueue("consolidate", name, None, run_at=now, priority=0, every=int(EVERY_SECONDS * 1e6), now=now)
        return
    for row in transaction.jobs(("waiting", "running"), ("consolidate",)):
        if row.key == name:
            transaction.cancel_job(row.id, now)


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
