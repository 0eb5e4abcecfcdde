"""Going back: an earlier version is said again, as a new one. Its vectors are copied, not computed, and the parts of a document come back
themselves, so that what is found is what was found then, bit for bit (MemOS, arXiv 2507.03724, section 5.4, time machine)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from mnemos.base.cube import Content, MemCube, State
from mnemos.base.errors import Frozen
from mnemos.base.lineage import PART_OF
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.limits import use_quota
from mnemos.kernel.writing.writes import revive
from mnemos.store.base import Derived, NewVersion, Snapshot, VersionRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import restore

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


def revert(space: Space, cube: UUID, version: int) -> MemCube:
    """A new version of a memory that says what `version` said. Raises `NotFound`, `Frozen`, `Conflict`, `PermissionDenied`."""
    system = space.system
    space.admit("write")
    space.admit("read", counted=False)
    with system.writing() as transaction:
        settings = space.settings_for(transaction, "write")
        viewing = Viewing.of(space, transaction)
        current, old = viewing.changeable(cube), viewing.version(cube, version)
        if settings.get("quota"):
            use_quota(transaction, space.num, space.name, settings, [old.content], 0)  # the parts of a document are there already
        standing = transaction.standing(cube)
        assert standing is not None
        if not standing.frozen:
            revive(transaction, standing, old.content, system.clock())
        say_again(transaction, current, old)
        return viewing.cube(viewing.current(cube))


def say_again(transaction: Writer, current: VersionRow, old: VersionRow) -> None:
    """Write what `old` said as the version after `current`, inside `transaction`; states of the memory itself stay as they are."""
    content = replace(old.content, version=current.content.version + 1, parents=(current.content.version, old.content.version))
    if current.frozen:
        raise Frozen(f"cube {content.id} is frozen; unfreeze it before it can change")
    coming = {row.content.id for row in _parts(transaction, old)}
    for row in _parts(transaction, current):
        if row.content.id not in coming and row.state is not State.ARCHIVED:
            transaction.set_state(row.content.id, State.ARCHIVED)
    seq = transaction.supersede(old.space, NewVersion(content, derived_of(transaction, old)), {"reverted_to": old.content.version})
    if not old.has_parts:
        copy_vectors(transaction, old.space, {old.seq: seq})
    for row in _parts(transaction, old):
        _come_back(transaction, row, content)


def _come_back(transaction: Writer, part: VersionRow, whole: Content) -> None:
    """Let a part of an earlier version of a document be one of its present version, with the rules and the state of the document."""
    document, standing = transaction.standing(whole.id), transaction.standing(part.content.id)
    assert document is not None
    assert standing is not None
    transaction.link(standing.id, standing.version, whole.id, whole.version, PART_OF)
    if standing.acl != document.acl:
        transaction.set_acl(standing.id, document.acl)
    hidden = document.state not in (State.GENERATED, State.ACTIVATED)
    wanted = document.state if hidden else State.ACTIVATED
    if (hidden or standing.state not in (State.GENERATED, State.ACTIVATED)) and standing.state.may_become(wanted):
        transaction.set_state(standing.id, wanted)


def _parts(snapshot: Snapshot, row: VersionRow) -> list[VersionRow]:
    """The parts of a version, where it is that of a document, in reading order."""
    if not row.has_parts:
        return []
    seqs = snapshot.parts(row.content.id, row.content.version)
    found = snapshot.versions(seqs)
    return [found[seq] for seq in seqs]


def derived_of(snapshot: Snapshot, row: VersionRow) -> Derived:
    """What was derived from the text of a stored version when it was written."""
    if row.has_parts:
        return Derived()
    found = next(iter(snapshot.index_rows(row.space, row.seq - 1)), None)
    if found is None or found[0] != row.seq:
        return restore(row.content).derived
    return derived_from_row(found)


def derived_from_row(row: tuple[object, ...]) -> Derived:
    """The derived columns of a row of `Snapshot.index_rows`."""
    thread, flags, moments, terms, part_of = row[13:18]
    return Derived(thread, flags, moments, terms, None if part_of is None else UUID(bytes=part_of))  # type: ignore[arg-type]


def copy_vectors(transaction: Writer, space: int, seqs: Mapping[int, int]) -> None:
    """Give new versions the vectors of those that they say again: `seqs` leads from the old positions, in `space`, to the new ones.

    What has none, because an embedder is still at work, gets one with all the others.
    """
    if not seqs:
        return
    found: dict[int, list[tuple[int, bytes]]] = {}
    last = max(seqs)
    for seq, embedder, value in transaction.vectors(space, min(seqs) - 1):
        if seq > last:
            break
        if seq in seqs:
            found.setdefault(embedder, []).append((seqs[seq], value))
    for embedder, pairs in found.items():
        transaction.put_vectors(embedder, pairs)
