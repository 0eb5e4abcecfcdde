"""What a model remembers of a whole space (MemoRAG, arXiv 2409.05591, section 2): its memories, read once into a compressed memory, and asked at each
search with a strategy that wants it.

Memories are read section by section: some that stand in a row, as many as are read well together, or one long text. A section is a KV memory of those
(`kv_of`): it is forgotten when one of them is, stale when one changes, and made anew by the next consolidation, of those that are left. A question is
asked of the sections that the caller may see, the newest ones where not all have room. What only some may read is in none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from mnemos.base.clock import Moment
from mnemos.base.cube import MemCube
from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable, NotFound
from mnemos.base.lineage import KV_OF
from mnemos.base.protocols import Recaller
from mnemos.kernel.consolidation import looking
from mnemos.kernel.kv.reading import stored
from mnemos.kernel.kv.tier import CORPUS, TIER, in_use, is_over, size_of, texts_of, tier_of
from mnemos.kernel.lineage import KV, readings
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.transforms import gates
from mnemos.kernel.transforms.gates import Product, Source
from mnemos.kernel.transforms.transform import TRANSFORMATIONS, transform
from mnemos.kernel.transforms.transformation import Transformation
from mnemos.store.base import Filter, Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

_CHUNK = 2048


def recaller_of(system: Mnemos) -> Recaller:
    """The model of an open store that remembers. Raises `ModelUnavailable` where it was opened without."""
    if system.recaller is None:
        raise ModelUnavailable("a compressed memory needs a model with memory tokens: give `recaller=BeaconRecaller(…)` to `mnemos.open`")
    return system.recaller


def _make(system: Mnemos, sources: Sequence[Source], options: Mapping[str, Any]) -> Product:
    recaller = recaller_of(system)
    done = recaller.memorise(str(sources[0].content.id), "\n".join(source.text.strip() for source in sources))
    about = {"tokens": done.tokens, CORPUS: {"positions": done.positions}}
    return Product(payload=done.payload, kind=KV, fingerprint=recaller.fingerprint, fields={"type": KV, "metadata": about})


def _write(space: Space, product: Product, fields: Mapping[str, Any]) -> MemCube:
    assert product.payload is not None
    return stored(space, product.payload, product.fingerprint, fields)


MEMORISE = Transformation(
    "memorise", "a compressed memory of some texts together, which a model says what it remembers of", _make, relation=KV_OF, kind=KV,
    before=(gates.sources_in_use,), after=(gates.fingerprint_given,), write=_write,
)  # fmt: skip
if MEMORISE.name not in TRANSFORMATIONS.names():
    TRANSFORMATIONS.register(MEMORISE)


def memorise(space: Space) -> dict[str, int]:
    """Lets the store's recaller read what it has not read of a space, and lets go of sections that are out of date; says what was done. Twice is the
    same as once. Raises `PermissionDenied` for who does not read all of the space."""
    system, recaller = space.system, recaller_of(space.system)
    tier, done = tier_of(system), {"memorised": 0}
    wanted = _memories(space)
    with system.snapshot() as snapshot:
        rows = [row for row in _sections(snapshot, space.num, recaller.fingerprint) if not row.frozen]
        good = [row for row in rows if _fits(snapshot, row, system.clock()) and wanted.keys() >= set(texts_of(row))]
        covered = {cube for row in good for cube in texts_of(row)}
        if wanted.keys() - covered:  # what was too short to be read well is read again with what came after it
            short = [row for row in good if row.content.metadata["tokens"] < recaller.section]
            good = [row for row in good if row not in short]
            covered = {cube for row in good for cube in texts_of(row)}
        old = [row for row in rows if row not in good]
    if old:
        _let_go(space, [row.content.id for row in old])
    size = 0
    for section in _cut(space, recaller, [cube for cube in wanted if cube not in covered]):
        if tier.short(system, size):
            tier.know(system)
            if tier.short(system, size):
                return {**done, "stopped: no room for more KV memory": 1}
        try:
            outcome = transform(space, MEMORISE.name, section)
        except (NotFound, Invalid):  # it has gone meanwhile, or has no words: the next consolidation sees to what is left
            continue
        if outcome.accepted and outcome.cube is not None:
            size = outcome.spent.bytes_out
            system.scheduler.adopt(TIER, outcome.cube.id, size)
            done["memorised"] += len(section)
    tier.let_go(system)
    return done


def recalled(space: Space, question: str, where: Filter, as_of: int | Moment | None) -> list[tuple[str, str]]:
    """What the store's recaller says to a question, of what the caller may see and `where` lets through, as it stood at `as_of`."""
    system = space.system
    recaller, tier = recaller_of(system), tier_of(system)
    if space.omitted is not None:  # the other arm of a canary knows nothing of what was read
        return []
    with system.snapshot() as snapshot:
        rows = list(_allowed(space, snapshot, recaller.fingerprint, where, as_of))
    chosen, room = [], recaller.room
    for row in reversed(rows):  # the newest first
        room = None if room is None else room - int(row.content.metadata[CORPUS]["positions"])
        if room is not None and room < 0:
            break
        chosen.append(row)
    chosen.reverse()
    if not chosen:
        return []
    key = tuple(str(row.content.id) for row in chosen)
    held = system.joined.get(space.num)
    if held is None or held[0] != key:
        payloads = []
        for row in chosen:
            try:
                payloads.append(system.store.blobs.get(str(row.content.blob)))
            except (Corrupt, NotFound):  # it can be made anew; the search does not wait for that
                system.scheduler.drop(TIER, str(row.content.id))
                tier.drop(str(row.content.id))
        held = (key, recaller.joined(payloads))
        system.joined[space.num] = held
    for row in chosen:
        system.scheduler.adopt(TIER, str(row.content.id), size_of(row))
        system.scheduler.use(TIER, str(row.content.id), size_of(row))
    return recaller.recall(held[1], question)


def _memories(space: Space) -> dict[UUID, None]:
    """What there is to be read: memories in use that everybody sees who sees the space, in the order in which they were written."""
    out: dict[UUID, None] = {}
    with looking(space, "") as (snapshot, index, masks, _):
        rows = np.flatnonzero(masks.allowed)
        seqs = index.seq.view()[rows].tolist()
        for start in range(0, len(seqs), _CHUNK):
            found = snapshot.versions(seqs[start : start + _CHUNK])
            out |= dict.fromkeys(whole_of(found[seq].content) for seq in seqs[start : start + _CHUNK] if seq in found)
    return out


def _cut(space: Space, recaller: Recaller, cubes: Iterable[UUID]) -> Iterator[list[UUID]]:
    """Memories in a row, as many as make a section."""
    section: list[UUID] = []
    length = 0
    for cube in cubes:
        with space.system.snapshot() as snapshot, contextlib.suppress(NotFound):
            viewing = Viewing.of(space, snapshot)
            size = recaller.count(viewing.text(viewing.current(cube)))
            section.append(cube)
            length += size
        if length >= recaller.section:
            yield section
            section, length = [], 0
    if section:
        yield section


def _sections(snapshot: Snapshot, space: int, fingerprint: str, readers: Sequence[str] | None = None) -> list[VersionRow]:
    return [row for row in readings(snapshot, space, readers) if CORPUS in row.content.metadata and row.content.fingerprint == fingerprint]


def _fits(snapshot: Snapshot, row: VersionRow, now: int) -> bool:
    """Whether a section says what its memories say."""
    return row.stale is None and in_use(snapshot, row) and not is_over(row, now)


def _allowed(space: Space, snapshot: Snapshot, fingerprint: str, where: Filter, as_of: int | Moment | None) -> Iterator[VersionRow]:
    """The sections of which the caller may see every memory, and `where` lets every one through."""
    viewing, now = Viewing.of(space, snapshot), space.system.clock()
    narrowed = viewing.narrowed(where)
    rows = [row for row in _sections(snapshot, space.num, fingerprint, narrowed.readers) if _fits(snapshot, row, now) and viewing.shows(row)]
    if not rows:
        return
    position = viewing.shown_position(as_of)
    passing = None
    if narrowed != Filter() or position < snapshot.position:
        passing = set(snapshot.query(space.num, narrowed, after=0, limit=2**31, now=now, at=position))
    for row in rows:
        standings = [snapshot.standing(cube) for cube in texts_of(row)]
        if all(one is not None and one.acl is None and (passing is None or one.seq in passing) for one in standings):
            yield row


def _let_go(space: Space, cubes: Sequence[UUID]) -> None:
    """Forgets sections, of which some may have gone already."""
    with space.system.snapshot() as snapshot:
        there = [str(cube) for cube in cubes if snapshot.standing(cube) is not None]
    if there:
        space.forget(there, reason="KV memory of memories that have changed")
    for cube in there:
        space.system.scheduler.drop(TIER, cube)
