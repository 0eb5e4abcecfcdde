"""The change log as its readers may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mnemos.base.chain import Entry
from mnemos.base.errors import Invalid
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Snapshot

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos


def entries(system: Mnemos, since: int, limit: int | None) -> list[Entry]:
    """Entries after position `since`, at most `limit`, of the spaces that the principal may read. Raises `Invalid`."""
    if not isinstance(since, int) or isinstance(since, bool) or not 0 <= since < 2**63:
        raise Invalid("since: expected a position of the log, 0 or more")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise Invalid("limit: expected how many entries, 1 or more")
    with system.snapshot() as snapshot:
        shown = shown_to(system, snapshot)
        out = []
        for entry in snapshot.log(since):
            if shown(entry):
                out.append(entry)
                if limit is not None and len(out) >= limit:
                    break
        return out


def shown_to(system: Mnemos, snapshot: Snapshot) -> Callable[[Entry], bool]:
    """Whether the principal may see an entry of the log: those of spaces, and of memories in them, that it may read."""
    if system.principal is None:
        return lambda entry: True
    access = system.access(snapshot)
    looks = {row.num: Viewing(snapshot, row, access) for row in snapshot.spaces() if access.may("read", row.settings)}

    def shown(entry: Entry) -> bool:
        viewing = looks.get(entry.space)
        if viewing is None or entry.cube is None:
            return viewing is not None
        standing = snapshot.standing(entry.cube)
        return standing is None or viewing.shows(snapshot.versions([standing.seq])[standing.seq])

    return shown
