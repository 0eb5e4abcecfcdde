"""The open store: `Mnemos` holds the store, the embedder, the indexes and the strategies, and hands out spaces."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from mnemos.base.chain import Entry
from mnemos.base.clock import Clock, system_clock
from mnemos.base.cube import check_text
from mnemos.base.errors import Invalid, NotFound, PermissionDenied, StoreUnavailable, shown
from mnemos.base.ids import IdSource
from mnemos.base.protocols import Embedder
from mnemos.index.space_index import SpaceIndex
from mnemos.kernel import governance
from mnemos.kernel.checking import check_derived
from mnemos.kernel.embedding import Embedding
from mnemos.kernel.results import Report
from mnemos.kernel.space import Space
from mnemos.store.base import Finding, NewVersion, Snapshot, SpaceRow
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import terms_text
from mnemos.text.registry import STRATEGIES, make
from mnemos.text.strategy import Strategy

_LONGEST_NAME = 200
_INDEX_BYTES = 2 * 2**30


class Mnemos:
    """A memory: spaces in one durable store. Get one with `mnemos.open`; it is a context manager, and safe to use from many threads.

    `location`: a file, or ":memory:". `embedder`: a name (`models.catalog`), an `Embedder`, or "none". `principal`: who acts; None is the
    owner of the file. `clock`: gives the time, in microseconds since 1970.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        embedder: str | Embedder | None = None,
        chat: object | None = None,
        principal: str | None = None,
        key: object | None = None,
        clock: Clock = system_clock,
        vfs: str | None = None,
    ) -> None:
        if key is not None:
            raise Invalid("key: encryption at rest is not part of this version; keep the store on an encrypted disk, and open it without a key")
        if not isinstance(location, (str, os.PathLike)):
            raise Invalid(f"store path: expected a path or ':memory:', not {type(location).__name__}")
        address = os.fsdecode(location)
        if address.startswith(("postgresql://", "postgres://")):
            raise StoreUnavailable("the PostgreSQL driver is not part of this version; give the path of a SQLite file")
        self.principal = check_text(principal, "principal") if principal is not None else None
        self.chat = chat
        self.clock = clock
        self.embedding = Embedding(embedder)
        self._ids = IdSource()
        self._strategies: dict[str, Strategy] = {}
        self._indexes: OrderedDict[int, SpaceIndex] = OrderedDict()
        self._index_lock = threading.Lock()
        self._embedder_number: int | None = None
        self._view = False
        self.store = SqliteStore(address, clock=clock, vfs=vfs)
        try:
            with self.store.snapshot() as snapshot:
                self.store_id = snapshot.store_id()
                known = {fingerprint for fingerprint, _ in snapshot.embedders().values()}
                held = snapshot.count()
            wanted = self.embedding.embedder
            if wanted is not None and held["versions"] and (held["vectors"] < held["versions"] or known != {wanted.fingerprint}):
                self.embedding.start(self.store)
        except BaseException:
            self.store.close()
            raise

    @property
    def path(self) -> str:
        """The store's file, or ":memory:"."""
        return self.store.path

    def __enter__(self) -> Mnemos:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written and let go of the file. A second call does nothing; nor does closing a view of `as_principal`."""
        if self._view:
            return
        self.embedding.stop()
        self.store.close()

    def as_principal(self, principal: str | None) -> Mnemos:
        """This open store, acted on by `principal`: a view that shares its files, embedder and indexes, and ends with it.

        Raises `PermissionDenied` where this one acts for another principal already: only the owner of the file hands out views.
        """
        if self.principal is not None and principal != self.principal:
            raise PermissionDenied(f"principal {self.principal!r} may not act as another; only a store opened without a principal may")
        view = copy.copy(self)
        view.principal = check_text(principal, "principal") if principal is not None else None
        view._view = True
        return view

    # -- spaces --
    def space(self, name: str, *, acl: Mapping[str, Sequence[str]] | None = None, strategy: str | None = None) -> Space:
        """The space called `name`, created at first use. `acl` and `strategy`, where given, become its settings.

        `acl` says who else may: {"read": ["bob"], "write": […], "share": […], "forget": […]}. Raises `Invalid`, `PermissionDenied`.
        """
        name = check_space_name(name)
        rules = governance.check_acl(acl)
        if strategy is not None:
            self.strategy(strategy)
        wanted = {key: value for key, value in (("acl", rules), ("strategy", strategy)) if value is not None}
        with self.store.snapshot() as snapshot:
            row = snapshot.space(name)
        if row is None:
            with self.writing() as transaction:
                row = transaction.space(name) or transaction.create_space(name, {"owner": self.principal, **wanted})
        changed = any(row.settings.get(key) != value for key, value in wanted.items())
        if changed or (wanted and not governance.allowed(self.principal, row.settings, "read")):  # or a list could be guessed at
            governance.require(self.principal, name, row.settings, "share")
        if changed:
            with self.writing() as transaction:
                settings = {**row.settings, **wanted}
                transaction.set_space(row.num, settings)
            row = SpaceRow(row.num, row.name, row.created_at, settings)
        return Space(self, row)

    def spaces(self) -> list[str]:
        """The names of the spaces that the principal may read, oldest first."""
        with self.store.snapshot() as snapshot:
            return [row.name for row in snapshot.spaces() if governance.allowed(self.principal, row.settings, "read")]

    def existing_space(self, name: str) -> Space:
        """The space called `name`. Raises `NotFound` where there is none: nothing is created."""
        with self.store.snapshot() as snapshot:
            row = snapshot.space(check_space_name(name))
        if row is None or not any(governance.allowed(self.principal, row.settings, verb) for verb in governance.VERBS):
            raise NotFound(f"there is no space {name!r} that you may see; `mnemos spaces` and GET /v1/spaces name them")
        return Space(self, row)

    def settings(self, name: str) -> dict[str, Any]:
        """Owner, acl and strategy of a space. Raises `NotFound`."""
        with self.store.snapshot() as snapshot:
            row = snapshot.space(check_space_name(name))
        if row is None or not governance.allowed(self.principal, row.settings, "read"):
            raise NotFound(f"there is no space {name!r} that you may see")
        return dict(row.settings)

    # -- transactions and reading --
    @contextlib.contextmanager
    def transaction(self) -> Iterator[Mnemos]:
        """All writes of the block become durable together when it ends, or none where it raises."""
        with self.writing(alone=True):
            yield self

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Writer]:
        with self.store.transaction(self.principal, alone=alone) as transaction:
            yield transaction

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        with self.store.snapshot() as snapshot:
            yield snapshot

    def log(self, since: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries of the change log after position `since`, of the spaces that the principal may read."""
        if not isinstance(since, int) or isinstance(since, bool) or not 0 <= since < 2**63:
            raise Invalid("since: expected a position of the log, 0 or more")
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise Invalid("limit: expected how many entries, 1 or more")
        with self.store.snapshot() as snapshot:
            readable = {row.num for row in snapshot.spaces() if governance.allowed(self.principal, row.settings, "read")}
            out = []
            for entry in snapshot.log(since):
                if entry.space in readable:
                    out.append(entry)
                    if limit is not None and len(out) >= limit:
                        break
            return out

    def position(self) -> int:
        """The newest position of the log."""
        return self.store.position()

    def verify(self) -> Report:
        """Check the log's chain, the rows, lineage, blobs, the files' bytes, the text index and the vectors."""
        if self.principal is not None:
            raise PermissionDenied("verify reads every space; open the store without a principal")
        checked, findings = self.store.verify()
        more, found = check_derived(self.store, self.path)
        findings = [*findings, *found]
        if self.embedding.failure is not None:
            findings.append(Finding(self.path, "vectors", f"re-embedding failed: {self.embedding.failure}"))
        return Report(not findings, {**checked, **more}, tuple(findings))

    def expire(self) -> int:
        """Mark memories whose time is over as expired; searches have left them out since then. Gives how many."""
        from mnemos.base.cube import State

        now = self.clock()
        with self.writing() as transaction:
            writable = {row.num for row in transaction.spaces() if governance.allowed(self.principal, row.settings, "write")}
            cubes = [cube for cube in transaction.expired(now) if (at := transaction.standing(cube)) is not None and at.space in writable]
            for cube in cubes:
                transaction.set_state(cube, State.EXPIRED)
        return len(cubes)

    @staticmethod
    def check_space_name(name: object) -> str:
        """`name` where a space can be called so. Raises `Invalid`."""
        return check_space_name(name)

    # -- for spaces --
    def new_id(self) -> UUID:
        return self._ids.new(self.clock())

    def strategy(self, name: object) -> Strategy:
        """The strategy called `name`. Raises `NotFound`, naming those that there are."""
        if not isinstance(name, str) or name not in STRATEGIES:
            raise NotFound(f"there is no strategy {shown(name)}; there are {', '.join(STRATEGIES)}")
        if name not in self._strategies:
            self._strategies[name] = make(name)
        return self._strategies[name]

    def strategy_of(self, space: Space) -> Strategy:
        return self.strategy(space.strategy_name)

    def space_row(self, snapshot: Snapshot, num: int) -> SpaceRow:
        return next(row for row in snapshot.spaces() if row.num == num)

    def embed_versions(self, versions: Sequence[NewVersion]) -> list[bytes | None]:
        """The vectors of the searchable ones among `versions`; None for the rest."""
        texts = [terms_text(v.content) if v.derived.terms is not None else None for v in versions]
        found = self.embedding.vectors([text for text in texts if text is not None])
        if found is None:
            return [None] * len(versions)
        vectors = iter(found)
        return [None if text is None else next(vectors) for text in texts]

    def put_vectors(self, transaction: Writer, seqs: Sequence[int], vectors: Iterable[bytes | None]) -> None:
        """Write vectors beside their versions."""
        embedder = self.embedding.embedder
        pairs = [(seq, vector) for seq, vector in zip(seqs, vectors, strict=True) if vector is not None]
        if embedder is None or not pairs:
            return
        if self._embedder_number is None:
            number = transaction.embedder(embedder.fingerprint, embedder.dimensions)
            transaction.put_vectors(number, pairs)
            if not transaction.new_embedder:
                self._embedder_number = number
            return
        transaction.put_vectors(self._embedder_number, pairs)

    def index(self, space: int, snapshot: Reader, *, fresh: bool = False) -> SpaceIndex:
        """The index of a space, made at first use; those used longest ago give way where all together grow beyond 2 GiB.

        What a transaction has written may yet be undone, and nobody else may see it: from its first write on it has an index of its own, and
        so has, with `fresh`, a snapshot that the shared index has run ahead of.
        """
        if isinstance(snapshot, Writer) and snapshot.position > snapshot.started:
            own: SpaceIndex = snapshot.derived.setdefault(space, SpaceIndex(space))
            return own
        if fresh:
            return SpaceIndex(space)
        with self._index_lock:
            index = self._indexes.pop(space, None) or SpaceIndex(space)
            self._indexes[space] = index
            if len(self._indexes) > 1:
                while len(self._indexes) > 1 and sum(i.nbytes for i in self._indexes.values()) > _INDEX_BYTES:
                    self._indexes.popitem(last=False)
            return index

    def drop_forgotten(self, spaces: Iterable[int]) -> None:
        """Let go of what is held in memory of spaces in which something was forgotten, where it has come to be much."""
        with self._index_lock:
            for space in spaces:
                index = self._indexes.get(space)
                if index is not None and index.forgotten > len(index) // 4 + 256:
                    del self._indexes[space]

    def require(self, num: int, name: str, verb: str) -> None:
        """Raise `PermissionDenied` where the principal may not `verb` in a space."""
        if self.principal is not None:
            with self.store.snapshot() as snapshot:
                governance.require(self.principal, name, self.space_row(snapshot, num).settings, verb)


def check_space_name(name: object) -> str:
    text = check_text(name, "space")
    if not text.strip() or len(text) > _LONGEST_NAME or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Invalid(f"space: a name has 1 to {_LONGEST_NAME} characters, not all blank, none of them a control character")
    return text
