"""Consolidation: a space's strategy makes views of its memories and renews those that are out of date, portion by portion, as a durable job.

Each portion is one transaction with the position that was reached, so a kill loses nothing and repeats nothing, and two workers do not do the
same twice: the one that comes second finds the position changed, and looks again.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import numpy as np

from mnemos.base.clock import optional_datetime
from mnemos.base.cube import Link
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound, PermissionDenied, QuotaExceeded
from mnemos.base.lineage import VIEW_OF
from mnemos.base.protocols import ChatModel, Progress, Vectors
from mnemos.index.space_index import SpaceIndex
from mnemos.index.vectors import Mask
from mnemos.kernel.life import lifecycle
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.life.reasons import refuse_repetition, strings_of
from mnemos.kernel.life.views import lost_views
from mnemos.kernel.reading.searching import Masks, findable
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.kernel.space import Space
from mnemos.kernel.writing import writes
from mnemos.store.base import Filter, Snapshot
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import LONGEST_WHOLE
from mnemos.text.strategy import Draft, Memory, Portion, Recalls, View

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.work.running import Running

_ATTEMPTS = 8
"""Times that a portion is taken anew because what it rests on has changed meanwhile, and nobody has got further."""


@dataclass(frozen=True, slots=True)
class Consolidated:
    """What a consolidation did: memories looked at, views written, renewed, taken out of use, and what the strategy counted on the way."""

    strategy: str
    seen: int = 0
    added: int = 0
    revised: int = 0
    retired: int = 0
    report: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy, "seen": self.seen, "added": self.added, "revised": self.revised, "retired": self.retired,
            "report": dict(self.report),
        }  # fmt: skip


def consolidate(space: Space, progress: Progress | None = None) -> Consolidated:
    """Let the strategy of a space make what it lacks. Raises `PermissionDenied` for who may not read all of the space and write to it; `Conflict`
    where others keep changing what a portion rests on."""
    space.admit("write")
    space.admit("read", counted=False)
    strategy = space.system.strategy_of(space)
    if space.position is not None:
        raise Invalid("consolidate: this is a space as it was; consolidate the space as it is")
    if not strategy.consolidates:
        return Consolidated(strategy.name)
    work = _Work(Uncounted(space), strategy.name, progress)
    strategy.consolidate(work)
    if space.system.recaller is not None and isinstance(strategy, Recalls) and strategy.recalls:
        from mnemos.kernel.kv.corpus import memorise  # only where it is needed

        for what, count in memorise(work.space).items():
            work.report(what, count)
    return Consolidated(strategy.name, work.seen, work.done["added"], work.done["revised"], work.done["retired"], dict(work.reported))


def consolidate_job(system: Mnemos, job: Running) -> None:
    """The job "consolidate": its key is the name of a space. One that is read-only is left as it is."""
    try:
        space = system.existing_space(job.key)
    except NotFound:  # it went with the transaction that made it
        return
    if not system.settings(job.key).get("read_only"):
        consolidate(space, job.progress)


class Uncounted(Space):
    """A space as a job writes to it: what it does counts against no rate; whoever asked for it was counted."""

    def __init__(self, space: Space) -> None:
        vars(self).update(vars(space))

    def admit(self, verb: str, *, counted: bool = True) -> None:
        super().admit(verb, counted=False)


class _Work:
    """The workbench of one run."""

    def __init__(self, space: Space, strategy: str, progress: Progress | None) -> None:
        self.space, self.strategy = space, strategy
        self.now = space.system.clock()
        chat = space.system.chat
        self.chat: ChatModel | None = chat if isinstance(chat, ChatModel) else None
        self.done: Counter[str] = Counter()
        self.reported: Counter[str] = Counter()
        self.seen = 0
        self.key = f"consolidated/{space.num}/{strategy}"
        self.lost = lost_views(space.num, strategy)
        self._progress = progress
        self._offered: set[int] = set()
        """Stale views that the strategy was shown: what it leaves as it is comes again at the next run, not in this one."""
        self._back: dict[UUID, int] = {}
        """Memories that have come back into sight → where the log says so; read up to `_read`."""
        self._read = 0

    def report(self, what: str, count: int = 1) -> None:
        self.reported[what] += count

    def portions(self, size: int) -> Iterator[Portion]:
        attempts, tried = 0, None
        while (portion := self._next(size)) is not None:
            before = self.reported.copy()
            yield portion
            try:
                portion.commit()
            except (Conflict, NotFound, Frozen):
                attempts, tried = attempts + 1 if portion.reached == tried else 1, portion.reached  # who is overtaken gets on
                if attempts == _ATTEMPTS:
                    raise
                self.reported = before
                continue
            except QuotaExceeded:  # it goes on where it stands, once there is room
                self.report("stopped: the space may hold no more")
                return
            self.seen += len(portion.fresh)
            self.done.update(portion.done)
            self._offered.update(portion.stale_seqs)
            if self._progress is not None:
                self._progress(self.seen, self.seen + portion.left)

    def _next(self, size: int) -> _Portion | None:
        with looking(self.space, self.strategy) as (snapshot, index, masks, own):
            before = int(snapshot.setting(self.key) or 0)
            seqs = index.seq.view()
            bare = masks.allowed.copy()
            if masks.relations is not None:
                sources = masks.relations.sources(own)[1]
                bare[sources[sources >= 0]] = False
            waiting = snapshot.setting(self.lost)
            lost = {row: id for id in waiting or () for row in index.rows_of(UUID(id)) if bare[row]}
            back = [
                (at, row) for cube, at in self._come_back(snapshot, before).items() for row in index.rows_of(cube)
                if at > before >= seqs[row] and bare[row] and row not in lost
            ]  # fmt: skip
            new = np.flatnonzero(masks.allowed & (seqs > before))
            due = sorted([*zip(seqs[new[:size]].tolist(), new[:size].tolist(), strict=True), *back])
            chosen = [*((before, row) for row in lost), *due][:size]
            outdated = np.flatnonzero(own & (index.stale.view() <= snapshot.position)).tolist()
            outdated = [row for row in outdated if int(seqs[row]) not in self._offered]
            stale = _memories(snapshot, index, outdated, frozen=False)
            if not chosen and not stale:
                return None
            rows = sorted(row for _, row in chosen)
            fresh = _memories(snapshot, index, rows)
            reached = _Reached(before, chosen[-1][0] if chosen else before, waiting, [id for row, id in lost.items() if row not in rows] or None)
            return _Portion(self, reached, fresh, stale, seqs[outdated].tolist(), len(lost) + len(new) + len(back) - len(chosen))

    def _come_back(self, snapshot: Reader, before: int) -> dict[UUID, int]:
        """Memories that could not be looked at when their time was, set aside or under rules of their own, and can since."""
        for entry in snapshot.index_changes(self.space.num, max(self._read, before)):
            if entry.cube is None or entry.kind not in ("state", "permission"):
                continue
            body = entry.body_json()
            if body["acl"] is None if entry.kind == "permission" else body["from"] not in VISIBLE and body["to"] in VISIBLE:
                self._back[entry.cube] = entry.seq
        self._read = snapshot.position
        return self._back


class _Reached(NamedTuple):
    """How far consolidation had come before a portion, and has with it: positions of the log, and the memories that have lost views."""

    before: int
    until: int
    lost: list[str] | None
    still_lost: list[str] | None


class _Portion:
    """What a strategy is to work on, and what it wants done; see `text.strategy.Portion`."""

    def __init__(self, work: _Work, reached: _Reached, fresh: list[Memory], stale: list[Memory], stale_seqs: list[int], left: int) -> None:
        self.fresh: Sequence[Memory] = fresh
        self.stale: Sequence[Memory] = stale
        self.stale_seqs = stale_seqs
        self.left = left
        self.done: Counter[str] = Counter()
        self._work = work
        self.reached = reached
        self._drafts: dict[UUID, Draft] = {}
        self._rests_on: dict[UUID, int] = {view.id: view.content.version for view in stale}
        """Memory → version, of all that must not have changed when it is written."""
        self._steps: list[tuple[str, UUID | None, Callable[[], object]]] = []
        """What to count it as, the view that it changes, what to do."""

    # -- looking --
    @contextlib.contextmanager
    def look(self) -> Iterator[View]:
        system = self._work.space.system
        with looking(self._work.space, self._work.strategy) as (snapshot, index, masks, _):
            yield system.view(index, masks, None, self._work.now, snapshot)

    def views_of(self, sources: Iterable[UUID]) -> dict[UUID, list[Memory]]:
        with looking(self._work.space, self._work.strategy) as (snapshot, index, masks, own):
            if masks.relations is None:
                return {}
            owner = {row: source for source in sources for row in index.rows_of(source)}
            views, made_of = masks.relations.sources(own)
            chosen = np.isin(made_of, list(owner))
            pairs = sorted({(int(view), owner[int(row)]) for view, row in zip(views[chosen], made_of[chosen], strict=True)})
            known = {memory.row: memory for memory in _memories(snapshot, index, sorted({view for view, _ in pairs}))}
            out: dict[UUID, list[Memory]] = {}
            for view, source in pairs:
                if view in known:
                    out.setdefault(source, []).append(known[view])
            return out

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        return self._work.space.system.embedding.matrix(texts)

    # -- writing --
    def add(self, draft: Draft) -> UUID:
        space, id = self._work.space, self._work.space.system.new_id()
        fields = self._fields(draft)
        self._drafts[id] = draft
        batch = writes.prepared(space, self._text(draft), {**fields, "id": id})
        self._steps.append(("added", None, lambda: writes.store(space, batch, space.system.embedding.of_versions(batch.versions))))
        return id

    def revise(self, view: Memory, draft: Draft, reason: str) -> None:
        space = self._work.space
        fields = {**self._fields(draft), "text": self._text(draft), "if_version": view.content.version}
        fields["metadata"] = {**fields["metadata"], "reason": reason}
        self._drafts[view.id] = draft
        self._steps.append(("revised", view.id, lambda: writes.revise(space, view.id, dict(fields))))

    def retire(self, view: Memory, reason: str) -> None:
        space = self._work.space
        try:
            refuse_repetition(reason, [view.text], strings_of(view.content))
            told: str | None = reason
        except Invalid:  # it happens to share words with the view, and would keep them in the log
            told = None
        self._steps.append(("retired", view.id, lambda: lifecycle.archive(space, view.id, told)))

    def commit(self) -> None:
        """Write what was asked for, and the position that was reached. Raises `Conflict` where another has been here meanwhile, or has changed
        what it rests on; `QuotaExceeded`."""
        system, work, reached = self._work.space.system, self._work, self.reached
        if not self._steps and (reached.before, reached.lost) == (reached.until, reached.still_lost):
            return
        texts = list(dict.fromkeys(draft.text for draft in self._drafts.values() if len(draft.text) <= LONGEST_WHOLE))
        made = system.embedding.vectors(texts)
        lent = {} if made is None else dict(zip(texts, made, strict=True))
        with system.embedding.lending(lent), system.writing(alone=True) as transaction:
            if (int(transaction.setting(work.key) or 0), transaction.setting(work.lost)) != (reached.before, reached.lost):
                raise Conflict(f"space {work.space.name!r} is being consolidated by another worker")
            self._check(transaction)
            for what, view, step in self._steps:
                standing = None if view is None else transaction.standing(view)
                if standing is not None and standing.frozen:
                    work.report("left as it was: frozen")
                else:
                    step()
                    self.done[what] += 1
            if reached.until != reached.before:
                transaction.set_setting(work.key, reached.until)
            if reached.still_lost != reached.lost:
                transaction.set_setting(work.lost, reached.still_lost)

    def _check(self, transaction: Writer) -> None:
        """Raise `Conflict` where a memory that the portion rests on is not what it was any more, or may not be seen by all who see the space."""
        for id, version in self._rests_on.items():
            standing = transaction.standing(id)
            here = standing is not None and standing.space == self._work.space.num
            if standing is None or not here or standing.version != version or standing.acl is not None or standing.state not in VISIBLE:
                raise Conflict(f"cube {id} has changed meanwhile; consolidate again")

    def _text(self, draft: Draft) -> str:
        """The text of a view, cut where it is too long for one memory: a view is not read by its parts."""
        if len(draft.text) <= LONGEST_WHOLE:
            return draft.text
        self._work.report("cut: longer than a memory")
        return draft.text[: LONGEST_WHOLE - 1].rstrip() + "…"

    def _fields(self, draft: Draft) -> dict[str, Any]:
        """The keywords of `add` for a view."""
        origins = [self._origin(source) for source in draft.sources]
        if not origins:
            raise Invalid("a view is made of one memory or more; give its sources")
        level = max(origin.level for origin in origins)
        event = max((origin.event_at for origin in origins if origin.event_at is not None), default=None)
        return {
            "type": draft.type,
            "origin": "inference",
            "derived_from": [Link(origin.id, origin.version, VIEW_OF) for origin in origins],
            "metadata": {**draft.metadata, "strategy": self._work.strategy, "by": draft.by},
            "tags": list(draft.tags),
            "entities": list(draft.entities),
            "event_at": optional_datetime(draft.event_at if draft.event_at is not None else event),
            "valid_from": optional_datetime(draft.valid_from),
            "valid_to": optional_datetime(draft.valid_to),
            "expires_at": optional_datetime(min((origin.expires_at for origin in origins if origin.expires_at is not None), default=None)),
            "sensitivity": LABELS[level] if level else None,
        }

    def _origin(self, source: Memory | UUID) -> _Origin:
        if isinstance(source, Memory):
            content = source.content
            self._rests_on[content.id] = content.version
            return _Origin(content.id, content.version, label_level(content.sensitivity), content.event_at, content.expires_at)
        if source not in self._drafts:
            raise Invalid(f"sources: {source} is no draft of this portion; give the memory itself")
        own = [self._origin(one) for one in self._drafts[source].sources]
        ends = [origin.expires_at for origin in own if origin.expires_at is not None]
        events = [origin.event_at for origin in own if origin.event_at is not None]
        return _Origin(source, 1, max(origin.level for origin in own), max(events, default=None), min(ends, default=None))


class _Origin(NamedTuple):
    """What a view inherits of a source."""

    id: UUID
    version: int
    level: int
    event_at: int | None
    expires_at: int | None


class _Look(NamedTuple):
    snapshot: Reader
    rows: SpaceIndex
    masks: Masks
    own: Mask
    """Views that the strategy has made and that are in use, those that are out of date among them."""


@contextlib.contextmanager
def looking(space: Space, strategy: str) -> Iterator[_Look]:
    """The space as it stands, its index locked. What has rules of its own is left out. Raises `PermissionDenied` for who does not see all of it."""
    system = space.system
    while True:
        with system.snapshot() as snapshot:
            if Viewing.of(space, snapshot).narrowed(Filter()) != Filter():
                raise PermissionDenied(f"consolidate: principal {system.principal!r} does not read all of space {space.name!r}; its owner may")
            index = system.index(space.num, snapshot)
            with index.lock:
                if index.position > snapshot.position:  # another thread has seen a newer store: look again
                    continue
                system.indexes.catch_up(index, snapshot)
                masks = findable(snapshot, index, snapshot.position, Filter(), system.clock())
                common = index.acl.view() < 0
                seen = index.visible(snapshot.position) & common
                views = None if masks.views is None else masks.views & common
                own = seen & masks.relations.of_strategy(strategy, len(index)) if masks.relations is not None else seen & False
                own &= index.whole.view() < 0  # a strategy's own are in one piece
                yield _Look(snapshot, index, Masks(masks.allowed & common, views, masks.relations), own)
                return


def _memories(snapshot: Snapshot, index: SpaceIndex, rows: Sequence[int], *, frozen: bool = True) -> list[Memory]:
    """What stands at `rows`, in that order; without what is frozen where that is not wanted."""
    seqs = index.seq.view()[np.asarray(rows, dtype=np.int64)].tolist()
    stored = snapshot.versions(seqs)
    found = [(stored[seq], row) for seq, row in zip(seqs, rows, strict=True) if seq in stored]
    return [Memory(version.content, row, version.stale is not None) for version, row in found if frozen or not version.frozen]

