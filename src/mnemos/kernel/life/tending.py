"""Bringing the lives of memories up to date: what was used, what is over, what went cold, what overlaps, what no longer holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from mnemos.base.cube import State, check_words
from mnemos.base.errors import Invalid, MnemosError, shown
from mnemos.base.lineage import ABSORBS, KV_OF, VIEW_OF
from mnemos.kernel.life import heat, lifecycle
from mnemos.store.base import Heat, SpaceRow
from mnemos.store.sqlite_write import Writer
from mnemos.text.reading import Flag

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_CHUNK = 256
"""Memories that one transaction brings up to date: others wait no longer than that."""
_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class LifecyclePolicy:
    """How the memories of a space live."""

    archive_after_days: float | None = None
    """Days without use after which a memory may go to the archive; None: never. A memory comes back when it is used again."""
    heat_floor: float = 0.05
    """Heat (uses, each fading with τ = 1 day) below which a memory is cold."""
    comes_back: float = 3.0
    """What was used again after a gap is not cold before it was silent for so many times the longest of its last gaps; 0: gaps do not count."""
    important: float = 1.0
    """Priority from which on a memory is exempt from decay."""
    merge_duplicates: bool = True
    """Whether of two memories that say the same one becomes "merged" into the other."""
    settle_contradictions: bool = True
    """Whether a memory that replaces an older one supersedes it: the older goes to the archive and stays in the history of the newer."""
    records: tuple[str, ...] = ("turn", "episode", "document")
    """Types that are a record of what was said or happened: they are neither merged nor superseded."""
    duplicate_confidence: float = 0.9
    update_confidence: float = 0.8
    """How sure the comparison of two memories (`text.agreement`, 0 to 1) has to be."""
    outdated: float = 0.8
    """How much of an older memory (0 to 1) must no longer hold before it is superseded."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "records":
                object.__setattr__(self, field.name, check_words(value, "lifecycle.records"))
            elif field.type == "bool":
                if not isinstance(value, bool):
                    raise Invalid(f"lifecycle.{field.name}: expected True or False, not {shown(value)}")
            elif value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9):
                raise Invalid(f"lifecycle.{field.name}: expected a number, 0 or more, not {shown(value)}")

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"records": list(self.records)}

    @classmethod
    def from_json(cls, record: Any) -> LifecyclePolicy:
        """The policy that `as_json` described; what is not named keeps its default. Raises `Invalid`."""
        known = {field.name for field in fields(cls)}
        if not isinstance(record, Mapping) or not set(record) <= known:
            raise Invalid(f"lifecycle: expected a dict of {', '.join(sorted(known))}, not {shown(record)}")
        return cls(**record)


@dataclass(slots=True)
class Tended:
    """How many memories came to life, came back from the archive, expired, went to the archive, were merged, were superseded; and how many
    pairs contradict each other without it being clear which holds."""

    activated: int = 0
    revived: int = 0
    expired: int = 0
    archived: int = 0
    merged: int = 0
    superseded: int = 0
    contradictions: int = 0

    def __iadd__(self, other: Tended) -> Tended:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def tend(system: Mnemos, spaces: Iterable[str] | None, policy: LifecyclePolicy | None) -> Tended:
    """See `Mnemos.tend`."""
    names = None if spaces is None else list(spaces)
    with system.snapshot() as snapshot:
        access = system.access(snapshot)
        known = {row.name: row for row in snapshot.spaces()}
    if names is None:
        rows = [row for row in known.values() if access.may("write", row.settings) and access.may("read", row.settings)]
    else:
        for name in names:
            system.existing_space(name)  # what may not be seen is not there
            access.require("write", name, known[name].settings)
            access.require("read", name, known[name].settings)
        rows = [known[name] for name in names]
    done = Tended()
    done += _note_uses(system, {row.num for row in rows})
    with system.writing() as transaction:
        done.expired += expire(system, transaction)
    for row in rows:
        rules = policy or LifecyclePolicy.from_json(row.settings.get("lifecycle") or {})
        done.archived += _archive_idle(system, row, rules)
        done += _settle(system, row, rules)
    return done


def expire(system: Mnemos, transaction: Writer) -> int:
    """Mark what is over as expired, where the principal may write; give how many."""
    access = system.access(transaction)
    writable = {row.num for row in transaction.spaces() if access.may("write", row.settings)}
    done = 0
    for cube in transaction.expired(system.clock()):
        standing = transaction.standing(cube)
        if standing is not None and standing.space in writable and standing.state.may_become(State.EXPIRED):
            transaction.set_state(cube, State.EXPIRED)
            done += 1
    return done


# ---- uses -----------------------------------------------------------------------------------------------------------


def keep_uses(system: Mnemos) -> None:
    """Tell the store of the uses that only this process knows of. Where it cannot be written now they are lost: they are an estimate."""
    uses = system.tracker.take()
    if uses:
        try:
            with system.store.transaction() as transaction:
                _keep(transaction, uses)
        except MnemosError:
            system.tracker.give_back(uses)


def _keep(transaction: Writer, uses: dict[UUID, Heat]) -> None:
    known = transaction.heat(uses)
    transaction.put_heat({cube: heat.joined(known[cube], use) if cube in known else use for cube, use in uses.items()})


def _note_uses(system: Mnemos, spaces: set[int]) -> Tended:
    """Keep the uses, and bring to life what was used, by this process or by any other."""
    done = Tended()
    uses = system.tracker.take()
    try:
        for chunk in _chunks(list(uses)):
            with system.writing() as transaction:
                _keep(transaction, {cube: uses[cube] for cube in chunk})
            for cube in chunk:
                del uses[cube]
    except BaseException:
        system.tracker.give_back(uses)
        raise
    with system.snapshot() as snapshot:
        used = [cube for space in sorted(spaces) for cube in snapshot.used(space)]
    for chunk in _chunks(used):
        with system.writing() as transaction:
            for cube in chunk:
                standing = transaction.standing(cube)
                if standing is None or standing.frozen:
                    continue
                if standing.state is State.GENERATED:
                    lifecycle.move(transaction, standing, State.ACTIVATED)
                    done.activated += 1
                elif standing.state is State.ARCHIVED and not lifecycle.is_superseded(transaction, cube):
                    lifecycle.move(transaction, standing, State.ACTIVATED, {"reason": "used again"})
                    done.revived += 1
    return done


def _chunks(items: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


# ---- decay ----------------------------------------------------------------------------------------------------------


def _archive_idle(system: Mnemos, row: SpaceRow, policy: LifecyclePolicy) -> int:
    """Archive what nobody used for long, where it is not important."""
    if policy.archive_after_days is None:
        return 0
    now = system.clock()
    with system.snapshot() as snapshot:
        idle = snapshot.idle(row.num, max(now - int(policy.archive_after_days * _DAY), 0))
    done = 0
    for chunk in _chunks(idle):
        with system.writing() as transaction:
            known = transaction.heat(chunk)
            for cube in chunk:
                standing = transaction.standing(cube)
                if standing is None or standing.frozen or standing.state not in lifecycle.VISIBLE:
                    continue
                content = transaction.versions([standing.seq])[standing.seq].content
                if any(link.relation in (VIEW_OF, KV_OF) for link in content.derived_from):  # nobody uses them but by way of what they are of
                    continue
                priority = content.priority
                use = known.get(cube, heat.COLD)
                warm = heat.is_warm(use, now, policy.heat_floor, policy.comes_back)
                if not warm and (priority is None or priority < policy.important):
                    lifecycle.move(transaction, standing, State.ARCHIVED, {"reason": "idle"})
                    done += 1
    return done


# ---- what overlaps, and what no longer holds ------------------------------------------------------------------------


def _settle(system: Mnemos, row: SpaceRow, policy: LifecyclePolicy) -> Tended:
    """Compare what was written since the last time with what was there, and settle what overlaps or is contradicted."""
    from mnemos.text.agreement import Relation, find_relations, memory_of  # only where it is needed: it reads its word lists

    done = Tended()
    if not (policy.merge_duplicates or policy.settle_contradictions):
        return done
    mark = f"tended/{row.num}"
    while True:
        with system.snapshot() as snapshot:
            since, until = snapshot.counter(mark), snapshot.position
            index = system.index(row.num, snapshot)
            with index.lock:
                if index.position > snapshot.position:  # another thread has seen a newer store: look again
                    continue
                system.indexes.catch_up(index, snapshot)
                allowed = index.visible(snapshot.position) & (index.expires_at.view() > system.clock()) & (index.whole.view() < 0)
                allowed &= (index.flags.view() & Flag.VIEW) == 0  # a view repeats what it was made of
                seqs = index.seq.view()
                if policy.records:
                    allowed &= ~index.with_type(policy.records)
                fresh = np.flatnonzero(allowed & (seqs > since))[:_CHUNK]
                if len(fresh) == _CHUNK:
                    until = int(seqs[fresh[-1]])

                def read(rows: Sequence[int], seqs: Any = seqs, snapshot: Any = snapshot) -> dict[int, Any]:
                    found = snapshot.versions([int(seqs[row]) for row in rows])
                    return {row: memory_of(found[seq].content, written=seq) for row in rows if (seq := int(seqs[row])) in found}

                relations = find_relations(index, allowed, fresh, read) if len(fresh) else []
                met = {row: int(seqs[row]) for found in relations for row in (found.row, found.other)}
            versions = snapshot.versions(sorted(set(met.values())))
            pairs = [(versions[met[found.row]].content.id, versions[met[found.other]].content.id, found.agreement) for found in relations]
        with system.writing() as transaction:
            for first, second, agreement in pairs:
                later, earlier = (first, second) if agreement.later == 0 else (second, first)
                if agreement.relation is Relation.DUPLICATE and policy.merge_duplicates and agreement.confidence >= policy.duplicate_confidence:
                    fuller, other = (first, second) if agreement.fuller == 0 else (second, first)
                    done.merged += _absorb(transaction, fuller, other)
                elif agreement.relation is Relation.UPDATE and policy.settle_contradictions and _outdated(agreement, policy):
                    done.superseded += _replace(transaction, later, earlier, agreement.confidence)
                elif agreement.relation is Relation.CONTRADICTION:
                    done.contradictions += 1
            transaction.count_up(mark, until - transaction.counter(mark))
        if len(fresh) < _CHUNK:
            return done


def _outdated(agreement: Any, policy: LifecyclePolicy) -> bool:
    """Whether the older of two memories no longer holds, for sure and (all but) whole: who also told of a dog keeps that when the home changes."""
    return bool(agreement.confidence >= policy.update_confidence and agreement.outdated >= policy.outdated)


def _settleable(transaction: Writer, cubes: Sequence[UUID]) -> bool:
    """Whether all of these are still in use, not frozen, and under the same rules."""
    standings = [transaction.standing(cube) for cube in cubes]
    rules = [standing.acl for standing in standings if standing is not None]
    return all(s is not None and not s.frozen and s.state in lifecycle.VISIBLE for s in standings) and all(acl == rules[0] for acl in rules)


def _absorb(transaction: Writer, fuller: UUID, other: UUID) -> int:
    """`other` says what `fuller` says: it becomes "merged", and comes back where `fuller` is forgotten."""
    if not _settleable(transaction, (fuller, other)):
        return 0
    held, absorbed = transaction.standing(fuller), transaction.standing(other)
    assert held is not None
    assert absorbed is not None
    lifecycle.move(transaction, absorbed, State.MERGED, {"into": str(fuller)})
    transaction.link(fuller, held.version, other, absorbed.version, ABSORBS)
    return 1


def _replace(transaction: Writer, later: UUID, earlier: UUID, confidence: float) -> int:
    if not _settleable(transaction, (later, earlier)) or earlier in lifecycle.superseded(transaction, later):
        return 0
    lifecycle.replace_by(transaction, later, earlier, {"confidence": round(confidence, 3)})
    return 1
