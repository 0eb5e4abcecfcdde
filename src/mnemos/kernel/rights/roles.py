"""Roles: named groups of principals, which rules name "role:NAME"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid
from mnemos.kernel.rights import governance
from mnemos.kernel.rights.space_settings import LONGEST_NAME
from mnemos.store.base import Snapshot

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_PREFIX = "role/"


def give(system: Mnemos, name: str, members: Iterable[str] | None) -> None:
    """Give the role `name` its members, all of them; None removes the role. Raises `Invalid`."""
    role = check_text(name, "role")
    if not role.strip() or len(role) > LONGEST_NAME:
        raise Invalid(f"role: a name has 1 to {LONGEST_NAME} characters, not all blank")
    listed = None if members is None else governance.check_principals(list(members), "members")
    with system.writing() as transaction:
        if transaction.setting(_PREFIX + role) != listed:
            transaction.set_setting(_PREFIX + role, listed)


def given(snapshot: Snapshot) -> dict[str, list[str]]:
    """Each role and its members."""
    return {name.removeprefix(_PREFIX): members for name, members in snapshot.settings(_PREFIX).items()}
