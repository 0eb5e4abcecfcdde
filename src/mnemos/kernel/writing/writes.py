"""Writing to a space: new memories, and new versions of those that are there. What it takes to check and read them is done before any lock."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import Content, Link, MemCube, State, memcube
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.base.lineage import ASSOCIATIONS, PART_OF
from mnemos.base.protocols import Progress
from mnemos.kernel.lineage import ancestors
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import label_level
from mnemos.kernel.rights.limits import use_quota
from mnemos.kernel.writing.batches import Batch, Vectors, embedded
from mnemos.kernel.writing.drafts import CHANGEABLE, draft, drafted, revised
from mnemos.store.base import NewVersion, Snapshot, Standing
from mnemos.store.sqlite_write import Writer

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

CHUNK = 512
"""Memories embedded and written together by `add_many`."""


def add(space: Space, text: object, fields: Mapping[str, Any]) -> MemCube:
    """One new memory, durable when this returns."""
    system = space.system
    return _write(space, [labelled(space, draft(text, fields, system.clock(), system.new_id))])[0]


def prepared(space: Space, text: object, fields: Mapping[str, Any]) -> Batch:
    """A new memory, checked and read, for `store`: who writes several in one transaction has done the work before it holds the lock."""
    system = space.system
    return Batch.of([labelled(space, draft(text, fields, system.clock(), system.new_id))], _encoder(space))


def add_many(space: Space, records: Iterable[Mapping[str, Any]], progress: Progress | None) -> list[MemCube]:
    """Many new memories: in one transaction, or, with `progress`, in chunks that are durable one by one."""
    system = space.system
    drafts = (labelled(space, content) for content in drafted(records, system.clock, system.new_id))
    total = len(records) if isinstance(records, Sequence) else 0
    if progress is None:
        contents = list(drafts)
        if len(contents) <= CHUNK:
            return _write(space, contents)
        chunks = iter([contents[start : start + CHUNK] for start in range(0, len(contents), CHUNK)])
    else:
        chunks = iter(lambda: list(itertools.islice(drafts, CHUNK)), [])
    space.admit("write")
    out: list[MemCube] = []
    vectors: Vectors = []
    batches: list[Batch] = []
    with contextlib.closing(embedded(chunks, _encoder(space), system.embedding.of_versions)) as ready:
        for batch, wait in ready:
            if progress is None:
                batches.append(batch)
                vectors += wait()
            else:
                out += store(space, batch, wait())
                progress(len(out), max(total, len(out)))
    return out if progress is not None else store(space, Batch.joined(batches), vectors)


def labelled(space: Space, content: Content) -> Content:
    """The content with the label of what is sensitive in it, where the space detects that: a label is raised, and never lowered."""
    if not space.detects or not content.text:
        return content
    from mnemos.text.sensitivity import label_of  # only where it is needed: it reads its patterns

    found = label_of(content.text).word
    return replace(content, sensitivity=found) if label_level(found) > label_level(content.sensitivity) else content


def _encoder(space: Space) -> Any:
    strategy, new_id = space.system.strategy_of(space), space.system.new_id
    return lambda content: strategy.encode(content, new_id)


def _write(space: Space, contents: Sequence[Content]) -> list[MemCube]:
    space.admit("write")
    if not contents:
        return []
    batch = Batch.of(contents, _encoder(space))
    return store(space, batch, space.system.embedding.of_versions(batch.versions))


def store(space: Space, batch: Batch, vectors: Vectors) -> list[MemCube]:
    """Write a batch in one transaction."""
    system = space.system
    with system.writing() as transaction:
        settings = space.settings_for(transaction, "write")
        if settings.get("quota"):
            use_quota(transaction, space.num, space.name, settings, [version.content for version in batch.versions], len(batch.contents))
        if any(content.derived_from for content in batch.contents):
            batch = _with_sources(space, transaction, batch)
        seqs = transaction.add(space.num, batch.versions)
        system.embedding.put(transaction, seqs, vectors)
        written, stale = transaction.written, transaction.stale_from_birth
    heads = itertools.accumulate(batch.sizes[:-1], initial=0)
    return [
        memcube(
            content,
            space=space.name,
            state=State.GENERATED,
            frozen=False,
            stale=content.id in stale,
            updated_at=written[seqs[head]][0],
            position=seqs[head],
            digest=written[seqs[head]][1],
            text=content.text or "",
        )
        for content, head in zip(batch.contents, heads, strict=True)
    ]


def _with_sources(space: Space, transaction: Writer, batch: Batch) -> Batch:
    """The batch with its links checked, and those that name no version leading to the current one."""
    known: dict[UUID, int] = {}

    own = {content.id for content in batch.contents}

    def checked(link: Link) -> Link:
        return link if link.relation == PART_OF and link.id in own else _checked_source(space, transaction, link, known)

    def linked(content: Content) -> Content:
        links = tuple(dict.fromkeys(checked(link) for link in content.derived_from))
        return content if links == content.derived_from else replace(content, derived_from=links)

    versions = [NewVersion(linked(version.content), version.derived) for version in batch.versions]
    return Batch([linked(content) for content in batch.contents], batch.sizes, versions)


def _checked_source(space: Space, snapshot: Snapshot, link: Link, known: dict[UUID, int]) -> Link:
    """`link` with a version. Raises `NotFound` where the cube does not exist, or may not be derived from."""
    if link.id not in known:
        standing = snapshot.standing(link.id)
        home = space.system.space_row(snapshot, standing.space) if standing else None
        viewing = Viewing(snapshot, home, space.system.access(snapshot)) if home else None
        if viewing is None or standing is None or not viewing.derivable(link.id):
            raise NotFound(f"derived_from: cube {link.id} does not exist; give the ids of cubes that are in the store")
        known[link.id] = standing.version
    if link.version > known[link.id]:
        raise NotFound(f"derived_from: cube {link.id} has no version {link.version}; it is at version {known[link.id]}")
    return link if link.version else replace(link, version=known[link.id])


def revise(space: Space, cube: UUID, fields: dict[str, Any]) -> MemCube:
    """Write the next version of a cube. Raises `NotFound`, `Frozen`, `Conflict`, `Invalid`, `PermissionDenied`."""
    system = space.system
    space.admit("write")
    space.admit("read", counted=False)  # who may only write may add; a change answers with what is there
    allowed = (*CHANGEABLE, "derived_from")
    unknown = set(fields) - set(allowed) - {"if_version"}
    if unknown:
        raise Invalid(f"update: unknown keyword {sorted(unknown)[0]!r}; known are {', '.join(allowed)} and if_version")
    expected = fields.pop("if_version", None)
    if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
        raise Invalid(f"if_version: expected a version's number, not {shown(expected)}")
    with system.snapshot() as snapshot:
        viewing = Viewing.of(space, snapshot)
        current = viewing.changeable(cube)
        was = viewing.text(current)
    if current.content.blob is not None:
        raise Invalid(f"cube {cube} is of kind {current.content.kind!r}, which is made from other memories and does not change: change those")
    if expected is not None and expected != current.content.version:
        raise Conflict(f"cube {cube} is at version {current.content.version}, not {shown(expected)}; read it again and repeat the change")
    content = labelled(space, revised(current.content, was, fields))
    if "derived_from" in fields:
        with system.snapshot() as snapshot:
            known: dict[UUID, int] = {}
            links = dict.fromkeys(_checked_source(space, snapshot, link, known) for link in content.derived_from)
            content = replace(content, derived_from=tuple(links))
            for link in content.derived_from:
                if link.relation not in ASSOCIATIONS and cube in ancestors(snapshot, link.id):
                    raise Invalid(f"derived_from: cube {link.id} is derived from cube {cube} itself, which would make a circle")
    versions = list(system.strategy_of(space).encode(content, system.new_id))
    vectors = system.embedding.of_versions(versions)
    with system.writing() as transaction:
        settings = space.settings_for(transaction, "write")
        if settings.get("quota"):
            use_quota(transaction, space.num, space.name, settings, [version.content for version in versions], 0)
        for seq in transaction.parts(content.id, current.content.version):
            part = transaction.versions([seq])[seq]
            if part.state is not State.ARCHIVED:
                transaction.set_state(part.content.id, State.ARCHIVED)
        standing = transaction.standing(content.id)
        if standing and not standing.frozen:
            revive(transaction, standing, content, system.clock())
        seqs = [transaction.supersede(space.num, versions[0]), *(transaction.add(space.num, versions[1:]) if versions[1:] else ())]
        _like_the_whole(transaction, content.id, [version.content.id for version in versions[1:]])
        system.embedding.put(transaction, seqs, vectors)
        row = transaction.versions(seqs[:1])[seqs[0]]
        return Viewing.of(space, transaction).cube(row, content.text)


def revive(transaction: Writer, standing: Standing, content: Content, now: int) -> None:
    """What is corrected is in use again: it comes back from the archive, and from expiry where its new life is longer. Quarantine stays."""
    if standing.state in (State.ARCHIVED, State.MERGED):
        transaction.set_state(standing.id, State.ACTIVATED)
    elif standing.state is State.EXPIRED and (content.expires_at is None or content.expires_at > now):
        transaction.set_state(standing.id, State.GENERATED)


def _like_the_whole(transaction: Writer, whole: UUID, parts: Sequence[UUID]) -> None:
    """New parts of a document get its rules, and are hidden where it is."""
    standing = transaction.standing(whole)
    assert standing is not None
    for part in parts:
        if standing.acl is not None:
            transaction.set_acl(part, standing.acl)
        if standing.state not in (State.GENERATED, State.ACTIVATED):
            transaction.set_state(part, standing.state)
