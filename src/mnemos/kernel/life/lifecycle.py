"""The lives of memories: every change of state goes through here, and is one entry of the log (MemOS, arXiv 2507.03724, section 5.4).

generated → activated (first used) → merged (absorbed by another) or archived (idle, superseded) → expired; archived comes back when it is used
again. Frozen lies over all of it and forbids every change; quarantine sets aside, and release leads back to where a memory was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import Content, Json, Link, MemCube, State
from mnemos.base.errors import Conflict, Frozen, Invalid, PermissionDenied
from mnemos.base.lineage import ABSORBS, KV_OF, MERGED, SUPERSEDES, VIEW_OF
from mnemos.kernel.life.reasons import check_reason, refuse_repetition, strings_of
from mnemos.kernel.lineage import is_reading
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, check_rules, common_rules, label_level
from mnemos.kernel.rights.limits import use_quota
from mnemos.kernel.writing.drafts import draft
from mnemos.store.base import Snapshot, Standing, VersionRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.merging import combined

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

VISIBLE = (State.GENERATED, State.ACTIVATED)
_MERGING = (MERGED, ABSORBS)


# ---- one step in a life ---------------------------------------------------------------------------------------------


def move(transaction: Writer, standing: Standing, to: State, body: Json | None = None) -> None:
    """Lead a memory, and the parts of its present version, to another state. Raises `Conflict` where no life goes that way, `Frozen`."""
    transaction.set_state(standing.id, to, body)
    for part in _parts(transaction, standing):
        if part.state is not to and part.state.may_become(to) and not part.frozen:
            transaction.set_state(part.id, to)


def _parts(snapshot: Snapshot, standing: Standing) -> list[Standing]:
    """Where the parts of the present version of a document stand."""
    seqs = snapshot.parts(standing.id, standing.version)
    found = (snapshot.standing(row.content.id) for row in snapshot.versions(seqs).values())
    return [part for part in found if part is not None]


def _step(space: Space, cube: UUID, to: State, reason: str | None, sources: Sequence[State], verb: str) -> MemCube:
    """Lead a memory from one of the states `sources` to another; where it is there already, nothing happens."""
    reason = check_reason(reason)
    space.admit("write")
    space.admit("read", counted=False)
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        viewing = Viewing.of(space, transaction)
        row = viewing.changeable(cube)
        standing = transaction.standing(cube)
        assert standing is not None
        if standing.state is not to:
            if standing.state not in sources:
                raise Conflict(f"cube {cube} is {standing.state.word}: {verb} is for what is {' or '.join(state.word for state in sources)}")
            refuse_repetition(reason, [viewing.text(row)], strings_of(row.content))
            move(transaction, standing, to, {"reason": reason} if reason else None)
        return viewing.cube(viewing.current(cube))


def archive(space: Space, cube: UUID, reason: str | None) -> MemCube:
    """Out of searches, kept. Raises `NotFound`, `Frozen`, `Conflict`, `Invalid`, `PermissionDenied`."""
    return _step(space, cube, State.ARCHIVED, reason, (*VISIBLE, State.MERGED), "archive")


def restore(space: Space, cube: UUID, reason: str | None) -> MemCube:
    """Back from the archive, or from a merge."""
    return _step(space, cube, State.ACTIVATED, reason, (State.ARCHIVED, State.MERGED), "restore")


def quarantine(space: Space, cube: UUID, reason: str | None) -> MemCube:
    """Set aside as possibly harmful."""
    return _step(space, cube, State.QUARANTINED, reason, (*VISIBLE, State.MERGED, State.ARCHIVED), "quarantine")


def release(space: Space, cube: UUID, reason: str | None) -> MemCube:
    """Back from quarantine to the state before it."""
    space.admit("write", counted=False)
    space.admit("read", counted=False)
    with space.system.snapshot() as snapshot:
        row = Viewing.of(space, snapshot).current(cube)
        if row.state is not State.QUARANTINED:
            raise Conflict(f"cube {cube} is {row.state.word}: release is for what is quarantined")
        before = _before_quarantine(snapshot, cube)
    return _step(space, cube, before, reason, (State.QUARANTINED,), "release")


def _before_quarantine(snapshot: Snapshot, cube: UUID) -> State:
    for entry in reversed(snapshot.entries_of(cube)):
        if entry.kind == "state" and (body := entry.body_json())["to"] == State.QUARANTINED:
            return State(body["from"])
    return State.ACTIVATED


def set_frozen(space: Space, cube: UUID, frozen: bool) -> MemCube:
    """Forbid every change of a memory, or allow it again."""
    space.admit("write")
    space.admit("read", counted=False)
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        viewing = Viewing.of(space, transaction)
        row = viewing.changeable(cube)
        if row.frozen is not frozen:
            transaction.set_frozen(cube, frozen)
        return viewing.cube(viewing.current(cube))


def acl_of(space: Space, cube: UUID) -> dict[str, list[str]]:
    """The rules of a memory's own; empty where it has none."""
    space.admit("share", counted=False)
    space.admit("read")
    with space.system.snapshot() as snapshot:
        viewing = Viewing.of(space, snapshot)
        rules = viewing.current(cube).acl
        if rules is not None and not viewing.access.may("share", {**viewing.settings, "read_only": False}, rules):
            raise PermissionDenied(f"principal {viewing.access.principal!r} may not share cube {cube}; ask the owner of its space")
        return {verb: list(names) for verb, names in (rules or {}).items()}


def set_acl(space: Space, cube: UUID, acl: Any) -> MemCube:
    """Rules of a memory's own, and of its parts."""
    rules = check_rules(acl) or None
    space.admit("share")
    space.admit("read", counted=False)
    with space.system.writing() as transaction:
        space.settings_for(transaction, "share")
        viewing = Viewing.of(space, transaction)
        viewing.changeable(cube, "share")
        standing = transaction.standing(cube)
        assert standing is not None
        for one in (standing, *_parts(transaction, standing)):
            if one.acl != rules:
                transaction.set_acl(one.id, rules)
                _narrow_views(transaction, one.id)
                _narrow_readings(transaction, one.id)
        row = transaction.versions([standing.seq])[standing.seq]
        return viewing.cube(row)


def _narrow_views(transaction: Writer, source: UUID) -> None:
    """Give the views of a memory, and the views of those, the rules that all that they were made of have in common; what earlier versions of a view
    were made of counts, too, since those can be read like the present one."""
    changed, seen = [source], {source}
    for cube in changed:
        for view in dict.fromkeys(child for child, _, relation in transaction.children(cube) if relation == VIEW_OF):
            standing = transaction.standing(view)
            if standing is None or view in seen:
                continue
            made_of = dict.fromkeys(edge.parent for edge in transaction.derivations(view) if edge.child == view)
            rules = common_rules([parent.acl for one in made_of if (parent := transaction.standing(one)) is not None])
            if standing.acl != rules:
                transaction.set_acl(view, rules)
                changed.append(view)
                seen.add(view)


def _narrow_readings(transaction: Writer, source: UUID) -> None:
    """Let nobody see what a language model has read of a memory, or of a prompt from there on, who may not see the memory. Nobody comes to see more:
    a prompt may be of more memories, and belongs to who asked it."""
    changed = [source]
    for cube in changed:
        above = transaction.standing(cube)
        for child, _, relation in transaction.children(cube):
            standing = transaction.standing(child) if relation == KV_OF or cube != source else None
            if standing is None or above is None or not is_reading(transaction.versions([standing.seq])[standing.seq].content):
                continue
            rules = common_rules([standing.acl, above.acl])
            if rules != standing.acl:
                transaction.set_acl(child, rules)
                changed.append(child)


# ---- several memories as one ----------------------------------------------------------------------------------------


def merge(space: Space, cubes: Sequence[UUID], text: str | None, fields: Mapping[str, Any]) -> MemCube:
    """One new memory of several, which become "merged"."""
    system = space.system
    space.admit("write")
    space.admit("read", counted=False)
    if len(set(cubes)) < 2:
        raise Invalid("merge: give the ids of two or more different memories")
    with system.snapshot() as snapshot:
        viewing = Viewing.of(space, snapshot)
        rows = [viewing.changeable(cube) for cube in dict.fromkeys(cubes)]
        texts = [viewing.text(row) for row in rows]
    content = _merged(rows, combined(texts) if text is None else text, fields, system.clock(), system.new_id)
    versions = list(system.strategy_of(space).encode(content, system.new_id))
    vectors = system.embedding.of_versions(versions)
    with system.writing() as transaction:
        settings = space.settings_for(transaction, "write")
        if settings.get("quota"):
            use_quota(transaction, space.num, space.name, settings, [version.content for version in versions], 1)
        for row in rows:
            standing = transaction.standing(row.content.id)
            if standing is None or standing.version != row.content.version:
                raise Conflict(f"cube {row.content.id} has changed meanwhile; read it again and repeat the merge")
            move(transaction, standing, State.MERGED, {"into": str(content.id)})
        seqs = transaction.add(space.num, versions)
        if rows[0].acl is not None:
            for version in versions:
                transaction.set_acl(version.content.id, rows[0].acl)
        system.embedding.put(transaction, seqs, vectors)
        return Viewing.of(space, transaction).cube(transaction.versions(seqs[:1])[seqs[0]], content.text)


def _merged(rows: Sequence[VersionRow], text: str, fields: Mapping[str, Any], now: int, new_id: Any) -> Content:
    """What the merged memory says: the text, and what its sources have in common; what they have of everything, where it is a list."""
    if any(row.acl != rows[0].acl for row in rows):
        raise Conflict("merge: the memories have different rules of who may read them; give them the same first (`set_acl`)")
    for row in rows:
        if row.content.blob is not None:
            raise Invalid(f"cube {row.content.id} is of kind {row.content.kind!r}: merge is for texts")
        if row.frozen:
            raise Frozen(f"cube {row.content.id} is frozen; unfreeze it before it can change")
        if row.state not in VISIBLE and row.state is not State.ARCHIVED:
            raise Conflict(f"cube {row.content.id} is {row.state.word}: merge is for what is in use or archived")
    contents = [row.content for row in rows]
    fullest = max(contents, key=lambda content: len(content.text or ""))
    given = draft(text, {"type": fullest.type, "origin": "inference", "metadata": dict(fullest.metadata), **fields}, now, new_id)
    events = [content.event_at for content in contents if content.event_at is not None]
    level = max(label_level(content.sensitivity) for content in contents)
    return replace(
        given,
        author=given.author or _same([content.author for content in contents]),
        source=given.source or _same([content.source for content in contents]),
        place=given.place or _same([content.place for content in contents]),
        event_at=given.event_at if given.event_at is not None else max(events, default=None),
        tags=given.tags or tuple(dict.fromkeys(tag for content in contents for tag in content.tags)),
        entities=given.entities or tuple(dict.fromkeys(entity for content in contents for entity in content.entities)),
        sensitivity=given.sensitivity or (LABELS[level] if level else None),
        priority=given.priority if given.priority is not None else max((c.priority for c in contents if c.priority is not None), default=None),
        expires_at=given.expires_at if given.expires_at is not None else _longest([content.expires_at for content in contents]),
        derived_from=tuple(Link(content.id, content.version, MERGED) for content in contents),
    )


def _same(values: Sequence[str | None]) -> str | None:
    return values[0] if all(value == values[0] for value in values) else None


def _longest(ends: Sequence[int | None]) -> int | None:
    """The latest of some ends; None, which is no end, is later than all."""
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def revive_merged(transaction: Writer, gone: Sequence[UUID]) -> None:
    """Before `gone` are forgotten: what was merged into them, and into nothing else, is in use again."""
    leaving = set(gone)
    for cube in gone:
        for edge in transaction.derivations(cube):
            if edge.child != cube or edge.relation not in _MERGING or edge.parent in leaving:
                continue
            standing = transaction.standing(edge.parent)
            others = {child for child, _, relation in transaction.children(edge.parent) if relation in _MERGING} - leaving
            if standing is not None and standing.state is State.MERGED and not others and not standing.frozen:
                move(transaction, standing, State.ACTIVATED)


# ---- what holds instead of what -------------------------------------------------------------------------------------


def supersede(space: Space, newer: UUID, older: UUID, reason: Any) -> MemCube:
    """`newer` holds instead of `older`."""
    reason = check_reason(reason)
    space.admit("write")
    space.admit("read", counted=False)
    with space.system.writing() as transaction:
        space.settings_for(transaction, "write")
        viewing = Viewing.of(space, transaction)
        holds, held = viewing.changeable(newer), viewing.changeable(older)
        refuse_repetition(
            reason, [viewing.text(holds), viewing.text(held)], [*strings_of(holds.content), *strings_of(held.content)]
        )
        if newer == older or older in superseded(transaction, newer) or newer in superseded(transaction, older):
            raise Conflict(f"cube {newer} cannot supersede cube {older}: they are one, or one supersedes the other already")
        replace_by(transaction, newer, older, {"reason": reason} if reason else None)
        return viewing.cube(viewing.current(newer))


def replace_by(transaction: Writer, newer: UUID, older: UUID, body: Json | None = None) -> None:
    """Archive `older`, which `newer` supersedes, and note that it does. Raises `Frozen`, `Conflict`."""
    holds, held = transaction.standing(newer), transaction.standing(older)
    assert holds is not None
    assert held is not None
    if held.state is not State.ARCHIVED:
        move(transaction, held, State.ARCHIVED, {"superseded_by": str(newer), **(body or {})})
    transaction.link(newer, holds.version, older, held.version, SUPERSEDES)


def superseded(snapshot: Snapshot, cube: UUID) -> list[UUID]:
    """What a memory supersedes, through any number of steps, the nearest first."""
    found: dict[UUID, None] = {}
    queue = [cube]
    for at in queue:
        for edge in snapshot.derivations(at):
            if edge.child == at and edge.relation == SUPERSEDES and edge.parent not in found:
                found[edge.parent] = None
                queue.append(edge.parent)
    return list(found)


def is_superseded(snapshot: Snapshot, cube: UUID) -> bool:
    """Whether something holds instead of this memory."""
    return any(relation == SUPERSEDES for _, _, relation in snapshot.children(cube))


def history(viewing: Viewing, cube: UUID) -> list[MemCube]:
    """Every version of a memory, oldest first, after those of the memories that it superseded. Raises `NotFound`."""
    viewing.current(cube)
    out = []
    for one in (*reversed(superseded(viewing.snapshot, cube)), cube):
        standing = viewing.snapshot.standing(one)
        if standing is None or standing.space != viewing.num:
            continue
        seqs = [entry.seq for entry in viewing.snapshot.entries_of(one) if entry.kind in ("add", "update")]
        rows = viewing.snapshot.versions([seq for seq in seqs if viewing.position is None or seq <= viewing.position])
        out += [viewing.cube(row) for _, row in sorted(viewing.then(rows).items()) if viewing.shows(row)]
    return out
