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
from mnemos.base.errors import Conflict, Frozen, Invalid, NotFound, PermissionDenied
from mnemos.base.lineage import VIEW_OF
from mnemos.base.protocols import ChatModel, Progress, Vectors
from mnemos.index.space_index import Mask, SpaceIndex
from mnemos.kernel.life import lifecycle
from mnemos.kernel.reading.searching import Masks, findable
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.kernel.writing import writes
from mnemos.store.base import Filter, Snapshot
from mnemos.store.sqlite_read import Reader
from mnemos.text.strategy import Draft, Memory, Portion, View

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.work.running import Running

_ATTEMPTS = 8
"""Times that a portion is taken anew because what it rests on has changed meanwhile."""


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
    work = _Work(space, strategy.name, progress)
    strategy.consolidate(work)
    return Consolidated(strategy.name, work.seen, work.done["added"], work.done["revised"], work.done["retired"], dict(work.reported))


def consolidate_job(system: Mnemos, job: Running) -> None:
    """The job "consolidate": its key is the name of a space."""
    with contextlib.suppress(NotFound):  # the space went with the transaction that made it
        consolidate(system.existing_space(job.key), job.progress)


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
        self._progress = progress
        self._offered: set[tuple[UUID, int]] = set()
        """Stale views that the strategy was shown: what it leaves as it is comes again at the next run, not in this one."""

    def report(self, what: str, count: int = 1) -> None:
        self.reported[what] += count

    def portions(self, size: int) -> Iterator[Portion]:
        attempts = 0
        while (portion := self._next(size)) is not None:
            yield portion
            try:
                portion.commit()
            except (Conflict, NotFound, Frozen):
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise
                continue
            attempts = 0
            self.seen += len(portion.fresh)
            self.done.update(portion.wanted)
            self._offered |= {(view.id, view.content.version) for view in portion.stale}
            if self._progress is not None:
                self._progress(self.seen, self.seen + portion.left)

    def _next(self, size: int) -> _Portion | None:
        with _looking(self.space, self.strategy) as (snapshot, index, masks, own):
            before = int(snapshot.setting(self.key) or 0)
            seqs = index.seq.view()
            rows = np.flatnonzero(masks.allowed & (seqs > before))
            chosen = rows[:size]
            outdated = np.flatnonzero(own & (index.stale.view() <= snapshot.position))
            fresh = _memories(snapshot, index, chosen.tolist())
            stale = [view for view in _memories(snapshot, index, outdated.tolist()) if (view.id, view.content.version) not in self._offered]
            if not fresh and not stale:
                return None
            until = int(seqs[chosen[-1]]) if len(chosen) else before
        return _Portion(self, before, until, fresh, stale, len(rows) - len(chosen))


class _Portion:
    """What a strategy is to work on, and what it wants done; see `text.strategy.Portion`."""

    def __init__(self, work: _Work, before: int, until: int, fresh: list[Memory], stale: list[Memory], left: int) -> None:
        self.fresh: Sequence[Memory] = fresh
        self.stale: Sequence[Memory] = stale
        self.left = left
        self.wanted: Counter[str] = Counter()
        self._work = work
        self._before, self._until = before, until
        self._drafts: dict[UUID, Draft] = {}
        self._steps: list[Callable[[], object]] = []

    # -- looking --
    @contextlib.contextmanager
    def look(self) -> Iterator[View]:
        system = self._work.space.system
        with _looking(self._work.space, self._work.strategy) as (snapshot, index, masks, _):
            yield system.view(index, masks, None, self._work.now, snapshot)

    def views_of(self, sources: Iterable[UUID]) -> dict[UUID, list[Memory]]:
        with _looking(self._work.space, self._work.strategy) as (snapshot, index, masks, own):
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
        self._steps.append(lambda: writes.add(space, draft.text, {**fields, "id": id}))
        self.wanted["added"] += 1
        return id

    def revise(self, view: Memory, draft: Draft, reason: str) -> None:
        space = self._work.space
        fields = {**self._fields(draft), "text": draft.text, "if_version": view.content.version}
        fields["metadata"] = {**fields["metadata"], "reason": reason}
        self._drafts[view.id] = draft
        self._steps.append(lambda: writes.revise(space, view.id, fields))
        self.wanted["revised"] += 1

    def retire(self, view: Memory, reason: str) -> None:
        space = self._work.space
        self._steps.append(lambda: lifecycle.archive(space, view.id, reason))
        self.wanted["retired"] += 1

    def commit(self) -> None:
        """Write what was asked for, and the position that was reached. Raises `Conflict` where another has been here meanwhile."""
        system, key = self._work.space.system, self._work.key
        if not self._steps and self._until == self._before:
            return
        texts = list(dict.fromkeys(draft.text for draft in self._drafts.values()))
        made = system.embedding.vectors(texts)
        lent = {} if made is None else dict(zip(texts, made, strict=True))
        with system.embedding.lending(lent), system.writing(alone=True) as transaction:
            if int(transaction.setting(key) or 0) != self._before:
                raise Conflict(f"space {self._work.space.name!r} is being consolidated by another worker")
            for step in self._steps:
                step()
            if self._until != self._before:
                transaction.set_setting(key, self._until)

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
def _looking(space: Space, strategy: str) -> Iterator[_Look]:
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
                yield _Look(snapshot, index, Masks(masks.allowed & common, views, masks.relations), own)
                return


def _memories(snapshot: Snapshot, index: SpaceIndex, rows: Sequence[int]) -> list[Memory]:
    seqs = index.seq.view()[np.asarray(rows, dtype=np.int64)].tolist()
    stored = snapshot.versions(seqs)
    return [Memory(stored[seq].content, row, stored[seq].stale is not None) for seq, row in zip(seqs, rows, strict=True) if seq in stored]

