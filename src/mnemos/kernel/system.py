"""The open store: `Mnemos` holds the store, the embedder, the indexes and the strategies, and hands out spaces."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.chain import Entry
from mnemos.base.clock import Clock, Moment, system_clock
from mnemos.base.cube import Json, check_text, plain_json
from mnemos.base.errors import Invalid, MnemosError, NotFound, PermissionDenied, StoreUnavailable, shown
from mnemos.base.ids import IdSource
from mnemos.base.protocols import Embedder, LanguageModel, Progress, Recaller
from mnemos.index.space_index import SpaceIndex
from mnemos.kernel import sealing
from mnemos.kernel.checking import check_derived
from mnemos.kernel.forgetting import Certificate, forget_again
from mnemos.kernel.indexes import Indexes
from mnemos.kernel.life.heat import AccessTracker
from mnemos.kernel.life.tending import LifecyclePolicy, Tended, expire, keep_uses, tend
from mnemos.kernel.pipelines.pipeline import Pipeline, saved_pipeline, saved_pipelines
from mnemos.kernel.reading.handed import HandedOut
from mnemos.kernel.reading.results import Report
from mnemos.kernel.reading.searching import Masks, findable
from mnemos.kernel.rights import governance, roles
from mnemos.kernel.rights.governance import Access
from mnemos.kernel.rights.limits import RateLimiter, use_licence
from mnemos.kernel.rights.space_settings import check_space_name, opened
from mnemos.kernel.scheduling import FORESIGHT, Foresight, Scheduler
from mnemos.kernel.space import Space
from mnemos.kernel.stream.events import Event, Wanted
from mnemos.kernel.stream.log import entries
from mnemos.kernel.stream.subscriptions import Subscription
from mnemos.kernel.vector_files import VectorFiles
from mnemos.kernel.vector_memory import MEMORY as VECTOR_MEMORY
from mnemos.kernel.work.background import Work, start_embedding, start_vectors
from mnemos.kernel.work.jobs import Jobs
from mnemos.kernel.writing.embedding import Embedding
from mnemos.store.base import Filter, Finding, Snapshot, SpaceRow
from mnemos.store.sqlite import SqliteStore
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_write import Writer
from mnemos.text.registry import STRATEGIES, make
from mnemos.text.strategy import Floats, Prepares, Strategy, View

if TYPE_CHECKING:
    from mnemos.kernel.changes.loop import Changes

_PROGRAM = Access(None)
KV_MEMORY = 2 * 2**30


class Mnemos:
    """A memory: spaces in one durable store. Get one with `mnemos.open`; it is a context manager, and safe to use from many threads.

    `location`: a file, or ":memory:". `embedder`: a name (`models.catalog`), an `Embedder`, or "none". `principal`: who acts; None is the
    owner of the file. `key`: opens a sealed store, and seals a new one: 32 bytes, a passphrase, or what gives one of them when it is called.
    `language_model`: a local one, whose keys and values can be kept (`Space.kv`). `recaller`: a model that remembers whole spaces, which the strategy
    "clues" then asks at each search (`kernel.kv.corpus`). `clock`: gives the time, in microseconds since 1970.
    `vector_memory`: bytes of vectors of one space that are held in memory; beyond, they are searched on disk (`kernel.vector_files`). `kv_memory`:
    bytes that all KV memories of the store may take; beyond, those that are worth least are forgotten (their texts stay). `kv_policy`: the form in
    which those of texts are kept where a call does not say it, such as "shadowkv:near=0.125" (`kernel.kv.shapes`). `kv_ahead`: how far the language
    model reads texts ahead of who is likely to need them next (`kernel.kv.ahead`); None: not at all.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        embedder: str | Embedder | None = None,
        chat: object | None = None,
        language_model: LanguageModel | None = None,
        recaller: Recaller | None = None,
        principal: str | None = None,
        key: object | None = None,
        clock: Clock = system_clock,
        vfs: str | None = None,
        vector_memory: int = VECTOR_MEMORY,
        kv_memory: int = KV_MEMORY,
        kv_policy: str = "full",
        kv_ahead: Foresight | None = FORESIGHT,
    ) -> None:
        if not isinstance(location, (str, os.PathLike)):
            raise Invalid(f"store path: expected a path or ':memory:', not {type(location).__name__}")
        address = os.fsdecode(location)
        if address.startswith(("postgresql://", "postgres://")):
            raise StoreUnavailable("the PostgreSQL driver is not part of this version; give the path of a SQLite file")
        self.principal = governance.check_principal(check_text(principal, "principal")) if principal is not None else None
        self.chat = chat
        self.language_model = language_model
        self.recaller = recaller
        self.room = {"kv": _bytes(kv_memory, "kv_memory")}
        """Bytes that tiers may take, one for this store and all views of it (`kv_memory`)."""
        self.kv_policy = kv_policy
        if kv_ahead is not None and not isinstance(kv_ahead, Foresight):
            raise Invalid(f"kv_ahead: expected a Foresight (mnemos.kernel.scheduling), or None, not {shown(kv_ahead)}")
        self.kv_ahead = kv_ahead
        if kv_policy != "full":
            from mnemos.kernel.kv.shapes import Shape  # torch, only where it is needed

            Shape.of(kv_policy).kept().metadata()  # raises where it may not be, or is none
        self.clock = clock
        self.embedding = Embedding(embedder)
        self._ids = IdSource()
        self._strategies: dict[str, Strategy] = {}
        self.scheduler = Scheduler(clock, kept=4096)
        self.indexes = Indexes(self.scheduler)
        self._view = False
        self._changes: dict[str | None, Changes] = {}
        self._access: tuple[int, Access | None] = (-1, None)
        self.work = Work()
        self.tracker = AccessTracker()
        self.handed = HandedOut()
        self.joined: dict[int, tuple[tuple[str, ...], Any]] = {}
        """By space: the compressed memories that were asked last, and what the recaller made of them together (`kernel.kv.corpus`)."""
        self.rates = RateLimiter(clock)
        self.store = SqliteStore(address, clock=clock, vfs=vfs, key=key)
        self.vector_files = VectorFiles(self.store, vector_memory, lambda: start_vectors(self, self.work), here=vfs is None)
        self.indexes.files = self.vector_files
        try:
            with contextlib.suppress(MnemosError):  # derived files keep nobody from the store; the job will say what is wrong
                self.vector_files.catch_up()
            with self.store.snapshot() as snapshot:
                self.store_id = snapshot.store_id()
                known = {fingerprint for fingerprint, _ in snapshot.embedders().values()}
                held = snapshot.count()
                searched = held["versions"] - snapshot.count_unsearched()
            wanted = self.embedding.embedder
            if wanted is not None and searched and (held["vectors"] < searched or known != {wanted.fingerprint}):
                start_embedding(self, self.work)
            if self.store.to_forget_again:
                forget_again(self, self.store.to_forget_again)
        except BaseException:
            self.vector_files.close()
            self.store.close()
            raise

    @property
    def path(self) -> str:
        """The store's file, or ":memory:"."""
        return self.store.path

    @property
    def kv_memory(self) -> int:
        """Bytes that all KV memories of the store may take. It may be set at any time, for all views of the store: to less, and what is worth least
        gives way at once; inside a transaction, when KV memory is next used after it. Raises `Invalid`, `PermissionDenied` for a principal's
        view."""
        return self.room["kv"]

    @kv_memory.setter
    def kv_memory(self, size: int) -> None:
        from mnemos.kernel.kv.tier import set_room  # only where it is needed

        if self._view and self.principal is not None:
            raise PermissionDenied(f"kv_memory is for all of the store: it is not for principal {self.principal!r} to set")
        set_room(self, _bytes(size, "kv_memory"))

    @property
    def jobs(self) -> Jobs:
        """Work that waits in the store, and the workers that do it (`kernel.work.jobs`). Raises `PermissionDenied` for a principal."""
        return Jobs(self, self.work)

    @property
    def changes(self) -> Changes:
        """The governed changes of memory of whoever acts here, the same object at each call (`kernel.changes`): proposed, admitted by gates, tried
        on some of the traffic, watched, and undone where they do harm."""
        from mnemos.kernel.changes.loop import Changes  # only where it is needed: its statistics are heavy

        return self._changes.get(self.principal) or self._changes.setdefault(self.principal, Changes.of(self))

    def __enter__(self) -> Mnemos:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written and let go of the file. A second call does nothing; nor does closing a view of `as_principal`."""
        if self._view:
            return
        self.work.stop()
        keep_uses(self)
        self.vector_files.close()
        self.store.close()

    def as_principal(self, principal: str | None) -> Mnemos:
        """This open store, acted on by `principal`: a view that shares its files, embedder and indexes, and ends with it.

        Raises `PermissionDenied` where this one acts for another principal already: only the owner of the file hands out views.
        """
        if self.principal is not None and principal != self.principal:
            raise PermissionDenied(f"principal {self.principal!r} may not act as another; only a store opened without a principal may")
        view = copy.copy(self)
        view.principal = governance.check_principal(check_text(principal, "principal")) if principal is not None else None
        view._view = True
        return view

    # -- spaces --
    def space(
        self,
        name: str,
        *,
        acl: Mapping[str, Sequence[str]] | None = None,
        strategy: str | None = None,
        deny: Mapping[str, Sequence[str]] | None = None,
        read_only: bool | None = None,
        clearance: Mapping[str, str] | None = None,
        licences: Mapping[str, Mapping[str, Any]] | None = None,
        quota: Mapping[str, int] | None = None,
        rate: Mapping[str, int] | None = None,
        lifecycle: LifecyclePolicy | Mapping[str, Any] | None = None,
        detect: bool | None = None,
    ) -> Space:
        """The space called `name`, created at first use. Keywords, where given, become its settings; an empty one takes a rule away.

        `acl` says who else may: {"read": ["bob", "role:editors", "*"], "write": […], "share": […], "derive": […], "forget": […]}, and `deny`
        who may not after all ("derive" goes with "read" where it is not named). `read_only` forbids changes to everybody. `clearance` says up to
        which label of sensitivity others read: {"role:staff": "internal"}; whom it does not name reads what is public, and {"*": "secret"} lifts
        it. `licences`: {"bob": {"reads": 100, "until": a time}}. `quota`: {"cubes": …, "bytes": …} of text. `rate`: {"reads_per_minute": …,
        "writes_per_minute": …} for each caller. `lifecycle` says how `tend` treats the space. `detect` labels what is written by what is
        sensitive in it (`text.sensitivity`). Raises `Invalid`, `PermissionDenied`.
        """
        name = check_space_name(name)
        if strategy is not None:
            self.strategy(strategy)
        given = {
            "acl": acl, "deny": deny, "read_only": read_only, "clearance": clearance, "licences": licences, "quota": quota, "rate": rate,
            "detect": detect,
        }  # fmt: skip
        wanted = governance.check_settings(given) | ({"strategy": strategy} if strategy is not None else {})
        if lifecycle is not None:
            wanted["lifecycle"] = (lifecycle if isinstance(lifecycle, LifecyclePolicy) else LifecyclePolicy.from_json(lifecycle)).as_json()
        return Space(self, opened(self, name, wanted))

    def spaces(self) -> list[str]:
        """The names of the spaces that the principal may read, oldest first."""
        with self.store.snapshot() as snapshot:
            access = self.access(snapshot)
            return [row.name for row in snapshot.spaces() if access.may("read", row.settings)]

    def existing_space(self, name: str) -> Space:
        """The space called `name`. Raises `NotFound` where there is none: nothing is created."""
        with self.store.snapshot() as snapshot:
            row, access = snapshot.space(check_space_name(name)), self.access(snapshot)
        settings = {"acl": {}, **(row.settings if row is not None else {}), "read_only": False}  # as much work where there is none
        if not any(access.may(verb, settings) for verb in governance.VERBS) or row is None:
            raise NotFound(f"there is no space {name!r} that you may see; `mnemos spaces` and GET /v1/spaces name them")
        return Space(self, row)

    def settings(self, name: str) -> dict[str, Any]:
        """Owner, rules and strategy of a space. Raises `NotFound`."""
        with self.store.snapshot() as snapshot:
            row = snapshot.space(check_space_name(name))
            if row is None or not self.access(snapshot).may("read", row.settings):
                raise NotFound(f"there is no space {name!r} that you may see")
        return dict(row.settings)

    # -- who may --
    def access(self, snapshot: Snapshot) -> Access:
        """What the principal may do, by the roles that it has in this snapshot."""
        if self.principal is None:
            return _PROGRAM
        (position, known), changed = self._access, snapshot.settings_position()
        if known is None or known.principal != self.principal or position != changed:
            known = governance.access(self.principal, snapshot)
            if not isinstance(snapshot, Writer):  # what a transaction sees may yet be undone, and its position be another's
                self._access = changed, known
        return known

    def admit(self, num: int, name: str, verb: str, *, counted: bool = True) -> None:
        """Let the principal in to `verb` in a space: rules, rate and licence. What the program itself changes is checked as it is changed.
        Raises `PermissionDenied`, `RateLimited`."""
        if self.principal is None:
            return
        with self.store.snapshot() as snapshot:
            row, access = self.space_row(snapshot, num), self.access(snapshot)
        access.require(verb, name, row.settings)
        if counted:
            self.rates.take(self.principal, num, row.settings, verb)
            if verb == "read":
                use_licence(access, num, name, row.settings, self.clock(), self.writing)

    def settings_for(self, snapshot: Snapshot, num: int, name: str, verb: str) -> Json:
        """The settings of a space whose rules, in this snapshot, allow `verb`. Raises `PermissionDenied`, `NotFound`."""
        settings = self.space_row(snapshot, num).settings
        if self.principal is not None or settings.get("read_only"):
            self.access(snapshot).require(verb, name, settings)
        return settings

    def set_role(self, name: str, members: Iterable[str] | None) -> None:
        """Give the role `name` its members, all of them; None removes the role. Rules name it "role:NAME". Raises `PermissionDenied`, `Invalid`."""
        self._owner_only("roles are given")
        roles.give(self, name, members)

    def roles(self) -> dict[str, list[str]]:
        """Each role and its members. Raises `PermissionDenied`."""
        self._owner_only("roles are shown")
        with self.store.snapshot() as snapshot:
            return roles.given(snapshot)

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a setting of the store (plain JSON; None removes it): durable, and an entry of the log. Raises `PermissionDenied`, `Invalid`."""
        self._owner_only("settings of the store are changed")
        if check_text(name, "setting").startswith("role/"):
            raise Invalid("setting: names that begin with 'role/' are those of roles; give roles with `set_role`")
        with self.writing() as transaction:
            transaction.set_setting(name, plain_json(value, "value"))

    def setting(self, name: str) -> Any:
        """The value of a setting of the store; None where it was never set."""
        with self.store.snapshot() as snapshot:
            return snapshot.setting(name)

    def forget_again(self, certificates: Iterable[Certificate | Mapping[str, Any]]) -> Certificate | None:
        """Forget again what `certificates` say was forgotten, where it is in this store: a store that was restored from an older backup is so
        caught up. None where nothing of it is there. Raises `PermissionDenied`, `Invalid`."""
        self._owner_only("what was forgotten is forgotten again")
        read = [Certificate.from_json(c.as_json() if isinstance(c, Certificate) else c) for c in certificates]
        return forget_again(self, [UUID(cube.id) for certificate in read for cube in certificate.cubes])

    # -- keys --
    def seal(self, key: object) -> None:
        """Seal the store's file with a master key (see `Mnemos`). That closes the store; open it again with the key. Nobody else may have it
        open. Raises `Conflict` where it is sealed already, `StoreUnavailable`, `StoreFull`, `Invalid`, `PermissionDenied`."""
        self._owner_only("a store is sealed")
        sealing.seal(self, key)

    def rotate_keys(self, spaces: Iterable[str] | None = None, *, progress: Progress | None = None) -> int:
        """Give the spaces (None: all) of a sealed store new keys, seal their memories anew, destroy the old keys; give how many versions were.

        Interrupted, `reseal` goes on, or the job "reseal". Files from before can only be read with the key file from before. Raises `Conflict`
        where the store is not sealed, `NotFound`, `PermissionDenied`.
        """
        self._owner_only("keys are renewed")
        return sealing.rotate(self, spaces, progress)

    def reseal(self, progress: Progress | None = None) -> int:
        """Go on with what `rotate_keys` began; give how many versions were sealed anew. Raises `PermissionDenied`."""
        self._owner_only("memories are sealed anew")
        return sealing.reseal(self, progress)

    def change_key(self, key: object) -> None:
        """Lock the keys of a sealed store with another master key, at once: the memories stay as they are. Raises `Conflict` where the store is
        not sealed, `Invalid`, `StoreFull`, `PermissionDenied`."""
        self._owner_only("the master key is changed")
        sealing.change_key(self, key)

    def _owner_only(self, what: str) -> None:
        if self.principal is not None:
            raise PermissionDenied(f"{what} by whoever owns the file, and not by principal {self.principal!r}: open the store without a principal")

    # -- transactions and reading --
    @contextlib.contextmanager
    def transaction(self) -> Iterator[Mnemos]:
        """All writes of the block become durable together when it ends, or none where it raises."""
        with self.writing(alone=True):
            yield self

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Writer]:
        try:
            with self.store.transaction(self.principal, alone=alone) as transaction:
                yield transaction
        finally:
            if not self.store.inside:
                self.scheduler.over()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Reader]:
        with self.store.snapshot() as snapshot:
            yield snapshot

    def log(self, since: int = 0, limit: int | None = None) -> list[Entry]:
        """Entries of the change log after position `since`, of the spaces that the principal may read."""
        return entries(self, since, limit)

    def subscribe(
        self,
        since: int | Moment | None = None,
        *,
        spaces: Sequence[str] | str | None = None,
        kinds: Sequence[str] | str | None = None,
        types: Sequence[str] | str | None = None,
        tags: Sequence[str] | str | None = None,
        filter: Json | None = None,
        about: str | None = None,
        similarity: float = 0.5,
        parts: bool = False,
        name: str | None = None,
        to: Callable[[Event], object] | None = None,
    ) -> Subscription:
        """What happens from now on, or from a position of the log or a time on, as events in the order of the log: an iterator that waits.

        `spaces` and `kinds` (of log entries: "add", "update", "state", "forget", …) choose entries; `types`, `tags` (each of them), `filter` (on
        metadata), and `about` with `similarity` (a text, and the least cosine with it) choose by the memory. `parts` gives also those of
        documents. With a `name` the store remembers how far events were acknowledged (`ack`), and the next subscription of that name goes on
        there. `to` is called with each event, in a thread of its own. Raises `Invalid`.
        """
        wanted = Wanted.checked(
            spaces=spaces, kinds=kinds, types=types, tags=tags, filter=filter, about=about, similarity=similarity, parts=parts
        )
        subscription = self.work.keep(Subscription(self, wanted, since, name))
        if to is not None:
            subscription.push(to)
        return subscription

    def pipeline(self, steps: Sequence[Mapping[str, Any]] | str, *, space: str | None = None) -> Pipeline:
        """Steps that are done as one transaction, all or nothing (`kernel.pipelines.pipeline.Pipeline`), or the name of a template that was saved.

        `space` is meant where a step names none. Raises `Invalid`, saying what is wrong with which step, `NotFound`.
        """
        if not isinstance(steps, str):
            return Pipeline(self, steps, space)
        if space is not None:
            raise Invalid("space: a template has its own; leave it out")
        return saved_pipeline(self, steps)

    def pipelines(self) -> list[str]:
        """The names of the pipelines that were saved as templates."""
        return saved_pipelines(self)

    def position(self) -> int:
        """The newest position of the log."""
        return self.store.position()

    def verify(self) -> Report:
        """Check the log's chain, the rows, lineage, blobs, the files' bytes, the text index and the vectors."""
        if self.principal is not None:
            raise PermissionDenied("verify reads every space; open the store without a principal")
        checked, findings = self.store.verify()
        more, found = check_derived(self.store, self.path)
        findings = [*findings, *found, *(Finding(str(path), "vectors on disk", problem) for path, problem in self.vector_files.problems())]
        if self.embedding.failure is not None:
            findings.append(Finding(self.path, "vectors", f"re-embedding failed: {self.embedding.failure}"))
        return Report(not findings, {**checked, **more}, tuple(findings))

    def expire(self) -> int:
        """Mark memories whose time is over as expired; searches have left them out since then. Gives how many."""
        with self.writing() as transaction:
            return expire(self, transaction)

    def tend(self, spaces: Iterable[str] | None = None, policy: LifecyclePolicy | None = None) -> Tended:
        """Bring the lives of memories up to date: uses are noted, what was used comes to life or back from the archive, what is over expires,
        what is cold goes to the archive, and what overlaps or is contradicted is settled, each as `policy` says (None: as each space does).

        Goes on where it was interrupted; a second call finds nothing to do. Raises `NotFound`, `PermissionDenied`.
        """
        return tend(self, spaces, policy)

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
        """The strategy of a space. Raises `NotFound` where it is not here: the space comes from elsewhere, or a program no longer brings it."""
        if space.strategy_name not in STRATEGIES:
            raise NotFound(
                f"space {space.name!r} remembers by strategy {shown(space.strategy_name)}, which is not here; give it another: "
                f"mem.space({space.name!r}, strategy='auto'); there are {', '.join(STRATEGIES)}"
            )
        return self.strategy(space.strategy_name)

    def space_row(self, snapshot: Snapshot, num: int) -> SpaceRow:
        """Raises `NotFound` where the transaction that created the space was undone."""
        row = snapshot.space_numbered(num)
        if row is None:
            raise NotFound("the space does not exist: the transaction that created it was undone; get the space again by its name")
        return row

    def view(
        self, index: SpaceIndex, masks: Masks, cosines: Floats | None, now: int, snapshot: Reader, recalled: Sequence[tuple[str, str]] = ()
    ) -> View:
        """What a strategy sees of an index that is caught up to `snapshot`, and locked."""
        vectors = next((vectors for number, vectors in index.vectors.items() if self.embedding.is_own(number, snapshot)), None)
        return View(index, masks.allowed, cosines, now, masks.views, masks.relations, snapshot, vectors, self.embedding.matrix, masks.handed,
                    recalled)  # fmt: skip

    def index(self, space: int, snapshot: Reader, *, fresh: bool = False) -> SpaceIndex:
        """The index of a space, made at first use; the scheduler says which ones are held.

        What a transaction has written may yet be undone, and nobody else may see it: from its first write on it has an index of its own, and
        so has, with `fresh`, a snapshot that the shared index has run ahead of.
        """
        if isinstance(snapshot, Writer) and snapshot.position > snapshot.started:
            own: SpaceIndex = snapshot.derived.setdefault(space, self.indexes.new(space))
            return own
        if fresh:
            return self.indexes.new(space)
        return self.indexes.get(space)

    def preload(self) -> int:
        """In idle time: bring the indexes to the end of the log, and load those of the spaces that are likely to be asked next; give how many
        were loaded. The job "index" does it."""
        with self.store.snapshot() as snapshot:
            loaded = self.indexes.load_ahead(snapshot)
            for row in snapshot.spaces():
                index, name = self.indexes.held(row.num), row.settings.get("strategy", "auto")
                if index is not None and name in STRATEGIES:  # a store may come from a program that knows others
                    strategy: object = self.strategy(name)
                    while isinstance(strategy, Prepares) and self._prepared_some(strategy, index, snapshot):
                        pass
        return loaded

    def _prepared_some(self, strategy: Prepares, index: SpaceIndex, snapshot: Reader) -> bool:
        """Let a strategy do some of what it does in idle time; give whether more is left. Others have the index between two calls."""
        with index.lock:
            if index.position != snapshot.position:  # somebody has brought it further: the next run goes on there
                return False
            masks = findable(snapshot, index, snapshot.position, Filter(), self.clock())
            return strategy.prepare(self.view(index, masks, None, self.clock(), snapshot))


def _bytes(size: object, what: str) -> int:
    """A number of bytes. Raises `Invalid`, naming what it is for."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise Invalid(f"{what}: is {shown(size)}, must be 1 or more bytes")
    return size
