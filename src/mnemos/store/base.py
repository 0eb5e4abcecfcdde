"""The `Store` seam: what every driver must do, and the plain records that pass through it.

A store is an append-only, hash-chained log and the rows that follow from it, changed together in one transaction or not at all.
Space numbers and positions (`seq`) are integers local to one store; positions count log entries from 1 without a gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.cube import Content, Json, State


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """A space: its number in this store, its name, and its settings (owner, acl, strategy)."""

    num: int
    name: str
    created_at: int
    settings: Json


@dataclass(frozen=True, slots=True)
class Derived:
    """What the text tier computed from a version at writing time, so that reading need not: see `text.reading` and `index.terms`.

    `terms` is None for a version that is not searched itself (a document that is searched by its parts).
    """

    thread: str | None = None
    flags: int = 0
    moments: bytes | None = None
    terms: bytes | None = None
    part_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be written."""

    content: Content
    derived: Derived = field(default_factory=Derived)


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A stored version, with the standing of its cube (`state`, `frozen`) and whether it is the current one."""

    seq: int
    space: int
    content: Content
    updated_at: int
    digest: bytes
    state: State
    frozen: bool
    current: bool
    has_parts: bool
    stale: int | None = None
    """The position at which something that this version was derived from changed; None where it is fresh."""
    acl: Json | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a cube stands now."""

    id: UUID
    space: int
    seq: int
    version: int
    state: State
    frozen: bool
    acl: Json | None = None
    """The cube's own rules, which narrow those of its space; None where it has none."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays of a forgotten cube: its id, the position of the forget entry, and the digests of its versions.

    `salts` open the digests; they are handed out once, by the transaction that forgets, and are gone from the store.
    """

    id: UUID
    space: int
    seq: int
    digests: tuple[bytes, ...]
    salts: tuple[bytes, ...] = ()
    keys: tuple[str, ...] = ()
    """The names of the keys that were destroyed with it, in a sealed store."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cubes of a space are wanted. None means no condition. Times are microseconds since 1970."""

    types: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    author: str | None = None
    since: int | None = None
    until: int | None = None
    valid_at: int | None = None
    states: tuple[State, ...] | None = None
    source: str | None = None
    where: Json | None = None
    parts: bool = False
    stale: bool | None = None
    readers: tuple[str, ...] | None = None
    """Names under which the caller reads: cubes whose own rules list none of them are left out. None reads all."""
    labels: tuple[str, ...] | None = None
    """Labels of sensitivity that the caller may read; a cube without one is always among them. None reads all."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """One edge of the lineage: version `version` of `child` was made from version `parent_version` of `parent`."""

    child: UUID
    version: int
    parent: UUID
    parent_version: int
    relation: str


@dataclass(frozen=True, slots=True)
class Heat:
    """How much a cube is used: how often it was hit, its heat (hits, each fading with its age) at the time `at`, and the times of the latest
    hits, newest last. Times are microseconds since 1970."""

    hits: int
    value: float
    at: int
    recent: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job: what it does (`kind`), to what (`key`), with what. Times are microseconds since 1970.

    `state`: waiting, running, done, dead (tried too often) or cancelled. `every`: microseconds after which it recurs. `again`: when it is to run
    once more, being asked for while it runs. `cancel`: asked to stop. `worker`: who holds it until `leased_until`.
    """

    id: int
    kind: str
    key: str
    payload: Any
    state: str
    priority: int
    run_at: int
    every: int | None
    again: int | None
    cancel: bool
    leased_until: int | None
    worker: str | None
    attempts: int
    progress: Any
    error: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Runnable:
    """Jobs that a worker can run: of one kind, and, unless None, of one key. Each is leased for `lease` microseconds, at most `attempts` times."""

    kind: str
    key: str | None
    lease: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that verification found wrong: in which file, where, and what."""

    file: str
    place: str
    problem: str


class Snapshot(Protocol):
    """A consistent view of the store: everything read through it belongs to one position."""

    position: int

    def store_id(self) -> str: ...
    def spaces(self) -> list[SpaceRow]: ...
    def space(self, name: str) -> SpaceRow | None: ...
    def space_numbered(self, num: int) -> SpaceRow | None: ...
    def standing(self, cube: UUID) -> Standing | None: ...
    def forgotten(self, cube: UUID) -> bool: ...
    def versions(self, seqs: Sequence[int]) -> dict[int, VersionRow]: ...
    def version_seq(self, cube: UUID, version: int) -> int | None: ...
    def seq_at(self, cube: UUID, position: int) -> int | None: ...
    def entries_of(self, cube: UUID) -> list[Entry]: ...
    def parts(self, cube: UUID, version: int) -> list[int]: ...
    def children(self, cube: UUID) -> list[tuple[UUID, int, str]]: ...
    def derivations(self, cube: UUID) -> list[Derivation]: ...
    def setting(self, name: str) -> Any: ...
    def settings(self, prefix: str = "") -> dict[str, Any]: ...
    def settings_position(self) -> int: ...
    def counter(self, name: str) -> int: ...
    def usage(self, space: int) -> dict[str, int]: ...
    def idle(self, space: int, before: int) -> list[UUID]: ...
    def used(self, space: int) -> list[UUID]: ...
    def heat(self, cubes: Iterable[UUID] | None = None) -> dict[UUID, Heat]: ...
    def query(self, space: int, where: Filter, *, after: int, limit: int, now: int, at: int | None = None) -> list[int]: ...
    def log(self, since: int, limit: int | None = None) -> Iterator[Entry]: ...
    def position_at(self, micros: int) -> int: ...
    def states_at(self, space: int, position: int) -> dict[UUID, State]: ...
    def index_rows(self, space: int, since: int) -> Iterator[tuple[Any, ...]]: ...
    def index_changes(self, space: int, since: int) -> Iterator[Entry]: ...
    def metadata(self, space: int, since: int) -> Iterator[tuple[int, str | None]]: ...
    def vectors(self, space: int, since: int) -> Iterator[tuple[int, int, bytes]]: ...
    def vectors_at(self, space: int, seqs: NDArray[np.int64]) -> Iterator[tuple[int, int, bytes]]: ...
    def vector_round(self) -> int: ...
    def embedders(self) -> dict[int, tuple[str, int]]: ...
    def unembedded(self, embedder: int, after: int, limit: int) -> list[tuple[int, int, str]]: ...
    def count_unembedded(self, embedder: int) -> int: ...
    def count_unsearched(self) -> int: ...
    def payloads(self, space: int | None = None, readers: Sequence[str] | None = None) -> list[int]: ...
    def count(self, space: int | None = None) -> dict[str, int]: ...
    def job(self, id: int) -> JobRow | None: ...
    def jobs(
        self, states: Sequence[str] | None = None, kinds: Sequence[str] | None = None, *, after: int = 0, limit: int = 2**31
    ) -> list[JobRow]: ...
    def count_jobs(self) -> dict[str, int]: ...
    def next_job(self, runnable: Iterable[Runnable], now: int) -> tuple[JobRow | None, int | None]: ...


class Transaction(Snapshot, Protocol):
    """Writes that become durable together. Each verb up to `forget` makes one log entry and returns its position."""

    def create_space(self, name: str, settings: Json) -> SpaceRow: ...
    def set_space(self, num: int, settings: Json) -> int: ...
    def add(self, space: int, versions: Iterable[NewVersion]) -> list[int]: ...
    def supersede(self, space: int, new: NewVersion, body: Json | None = None) -> int: ...
    def set_state(self, cube: UUID, state: State, body: Json | None = None) -> int: ...
    def set_stale(self, cube: UUID, parent: UUID, parent_version: int) -> int: ...
    def set_acl(self, cube: UUID, acl: Json | None) -> int: ...
    def set_setting(self, name: str, value: Any) -> int: ...
    def set_frozen(self, cube: UUID, frozen: bool) -> int: ...
    def link(self, child: UUID, version: int, parent: UUID, parent_version: int, relation: str) -> int: ...
    def forget(self, cubes: Sequence[UUID], reason: str | None) -> list[Tombstone]: ...
    def put_vectors(self, embedder: int, vectors: Iterable[tuple[int, bytes]], *, replace: bool = False) -> None: ...
    def embedder(self, fingerprint: str, dimensions: int) -> int: ...
    def held(self, space: int) -> dict[str, int]: ...
    def count_up(self, name: str, by: int = 1) -> int: ...
    def put_heat(self, heats: Mapping[UUID, Heat]) -> None: ...
    def enqueue(self, kind: str, key: str, payload: Any, *, run_at: int, priority: int, every: int | None, now: int) -> int: ...
    def lease(self, runnable: Sequence[Runnable], worker: str, now: int) -> JobRow | None: ...
    def renew(self, id: int, worker: str, until: int, now: int, progress: Any = None) -> JobRow | None: ...
    def holds(self, id: int, worker: str) -> bool: ...
    def settle(
        self, id: int, worker: str, state: str, now: int, *, run_at: int | None = None, error: str | None = None
    ) -> JobRow | None: ...
    def retry_job(self, id: int, now: int) -> None: ...
    def cancel_job(self, id: int, now: int) -> None: ...
    def drop_job(self, id: int) -> None: ...


class Store(Protocol):
    """The seam. Drivers: `store.sqlite`.

    `changes` gives a number that is another one after anybody's commit; `await_change` waits until it is not `seen` any more, at most `seconds`,
    or until `unless()`, and gives it. Both raise `StoreUnavailable` once the store is closed.
    """

    def transaction(self, actor: str | None = None) -> AbstractContextManager[Transaction]: ...
    def snapshot(self) -> AbstractContextManager[Snapshot]: ...
    def position(self) -> int: ...
    def changes(self) -> int: ...
    def await_change(self, seen: int, seconds: float, unless: Callable[[], bool] = ...) -> int: ...
    def verify(self) -> tuple[dict[str, int], list[Finding]]: ...
    def erase(self, texts: Sequence[bytes]) -> None: ...
    def close(self) -> None: ...
