"""The KV memories of a space: texts that its language model need not read again, put before a prompt when they are needed.

Whether a text is worth keeping so is for the scheduler to say (tier "kv"): it must have been used twice, and its expected uses must save more than
building it costs. What gives way is forgotten as a KV memory; the text stays. A caller may also warm and drop by hand.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound, PermissionDenied, shown
from mnemos.base.ids import parse_id
from mnemos.base.lineage import KV_OF
from mnemos.base.protocols import LanguageModel
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.kv.reading import KIND, READ, Read, language_model, read, tokens_of
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.scheduling import Action
from mnemos.kernel.scheduling.decisions import Key
from mnemos.kernel.transforms.transform import TRANSFORMATIONS, Outcome, transform
from mnemos.store.base import Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.activation.fragments import Fragment
    from mnemos.activation.memory import KVMemory
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

BUDGET = 2 * 2**30
"""Bytes that the KV memories of a store may take together, where nothing else is said."""
LEAST_HITS = 2
PAGE = 1000
"""KV memories that are listed at a time."""
TIER = "kv"
if READ.name not in TRANSFORMATIONS.names():
    TRANSFORMATIONS.register(READ)


@dataclass(frozen=True, slots=True)
class Entry:
    """One KV memory: its id, the text that it is of, and whether it can be used now: by which model it was made, and whether the text has changed
    since. `bytes` in the store, `tokens` with those that begin any text."""

    id: str
    source: str
    fingerprint: str
    tokens: int
    bytes: int
    stale: bool
    fits: bool | None
    """Whether the store's language model is the one that made it; None where it was opened without one."""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Injected:
    """What a prompt can go on from: `memory` holds `tokens`, which stand for the texts in their order; of these so many were `taken` from what was
    kept, and so many `read` now."""

    memory: KVMemory
    tokens: list[int]
    taken: int
    read: int


class KVShelf:
    """Get it as `space.kv`; safe to use from many threads."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._tier = _tier(space.system)

    def warm(self, ids: Iterable[str | UUID] | str | UUID, *, uses: int | None = None) -> list[Outcome]:
        """Lets the model read texts, and keeps what comes out. `uses`: how often each will be needed; where that does not save what building costs,
        it is declined. None: keep it in any case. What is kept and fits already is left alone.

        Raises `ModelUnavailable`, `NotFound`, `PermissionDenied`, `StoreFull`, `QuotaExceeded`.
        """
        model, outcomes = language_model(self.space.system), []
        for id in [ids] if isinstance(ids, (str, UUID)) else ids:
            source = parse_id(id)
            with self._tier.building:  # or two threads would keep the same text twice
                if any(not entry.stale and entry.fingerprint == model.fingerprint for entry in self._of(source)):
                    continue
                outcome = transform(self.space, "read", [source], options={} if uses is None else {"reuse": uses})
                if outcome.accepted:
                    self._replaced(source, keep=None if outcome.cube is None else outcome.cube.id)
                outcomes.append(outcome)
        return outcomes

    def take(self, ids: Sequence[str | UUID], mode: str = "blended", share: float | None = None) -> Injected:
        """The texts as one memory that a prompt goes on from, in this order; a copy, which nothing else sees. What is kept is taken from there, what
        is not is read now, and kept from its second use on where that pays and the caller may write. A single text is exact; several are put together
        as `mode` says ("rebuilt", "rerotated", "blended", `mnemos.activation.fragments`).

        Raises `ModelUnavailable`, `NotFound`, `Invalid`, and where something is to be kept `StoreFull`, `QuotaExceeded`.
        """
        from mnemos.activation.fragments import MODES, SHARE, put_together, together

        if mode not in MODES:
            raise Invalid(f"texts are put together as one of {', '.join(MODES)}, not as {shown(mode)}")
        model = language_model(self.space.system)
        self.space.admit("read")
        fragments, taken, known = [], 0, 0
        for id in ids:
            fragment, kept = self._fragment(model, parse_id(id))
            fragments.append(fragment)
            taken, known = taken + kept * len(fragment.tokens), known + len(fragment.tokens)
        self._tier.let_go(self.space.system)
        if len(fragments) == 1:
            return Injected(fragments[0].memory, list(fragments[0].tokens), taken, known - taken)
        memory = put_together(model.module, fragments, mode, SHARE if share is None else share)
        return Injected(memory, together(fragments), taken, known - taken)

    def entries(self) -> list[Entry]:
        """All KV memories of the space that the caller may see, oldest first."""
        self.space.admit("read")
        with self.space.system.snapshot() as snapshot:
            return [self._entry(snapshot, row) for row in self._rows(snapshot)]

    def inspect(self, id: str | UUID) -> Entry:
        """One of them. Raises `NotFound`."""
        wanted = str(parse_id(id))
        for entry in self.entries():
            if wanted in (entry.id, entry.source):
                return entry
        raise NotFound(f"space {self.space.name!r} has no KV memory {wanted}, and none of a text of that id; `mnemos kv list` shows those there are")

    def drop(self, id: str | UUID) -> Certificate:
        """Lets go of a KV memory, named by its own id or by that of its text, which stays. Raises `NotFound`, `PermissionDenied`."""
        entry = self.inspect(id)
        certificate = self.space.forget([entry.id], reason="KV memory let go of")
        self.space.system.scheduler.drop(TIER, entry.source)
        self._tier.keep(entry.source)  # what is kept of the text later is another
        return certificate

    def _fragment(self, model: LanguageModel, source: UUID) -> tuple[Fragment, bool]:
        """The text as the model has read it, and whether that was kept."""
        with self.space.system.snapshot() as snapshot:
            viewing = Viewing.of(self.space, snapshot)
            text = viewing.text(viewing.current(source))
            row = next((row for row in self._rows(snapshot, source) if row.stale is None and row.content.fingerprint == model.fingerprint), None)
        tokens, head = tokens_of(model, text)
        size, scheduler = model.kv_bytes(len(tokens)), self.space.system.scheduler
        if row is not None and row.content.blob is not None:
            start = time.perf_counter()
            try:
                fragment = _loaded(model, self.space.system.store.blobs.get(row.content.blob), tokens, head)
            except (Corrupt, NotFound):  # the text is read again, and what is damaged or gone is let go of, so that it can be made anew
                scheduler.drop(TIER, str(source))
                self._tier.drop(str(source))
                return read(model, text).fragment, False
            scheduler.adopt(TIER, str(source), size)
            scheduler.use(TIER, str(source), size)
            scheduler.observe(TIER, "within", size, time.perf_counter() - start)
            return fragment, True
        done: Read = read(model, text)
        scheduler.observe(TIER, "without", size, done.seconds)
        if self._may_write() and scheduler.use(TIER, str(source), size).action is Action.BUILD:
            start, outcomes = time.perf_counter(), []
            try:
                outcomes = self.warm([source])
            finally:
                if not self._of(source):  # declined, or there was no room
                    scheduler.drop(TIER, str(source))
                    self._tier.keep(str(source))
            if outcomes:
                scheduler.observe(TIER, "build", size, time.perf_counter() - start)
        return done.fragment, False

    def _may_write(self) -> bool:
        """Whether the caller could keep what was read."""
        try:
            self.space.admit("write", counted=False)
        except (Invalid, PermissionDenied):
            return False
        return True

    def _rows(self, snapshot: Snapshot, source: UUID | None = None) -> list[VersionRow]:
        """KV memories that the caller may see: of one text, or all."""
        viewing = Viewing.of(self.space, snapshot)
        if source is None:
            rows, cursor = [], None
            while True:
                page = self.space.list(types=[KIND], limit=PAGE, cursor=cursor)
                for cube in page:
                    if cube.kind == KIND:
                        with contextlib.suppress(NotFound):  # it was made after the snapshot
                            rows.append(viewing.current(parse_id(cube.id)))
                cursor = page.cursor
                if cursor is None:
                    return rows
        rows = []
        for child, _, relation in snapshot.children(source):
            if relation == KV_OF:
                with contextlib.suppress(NotFound):
                    rows.append(viewing.current(child))
        return rows

    def _of(self, source: UUID) -> list[Entry]:
        with self.space.system.snapshot() as snapshot:
            return [self._entry(snapshot, row) for row in self._rows(snapshot, source)]

    def _entry(self, snapshot: Snapshot, row: VersionRow) -> Entry:
        content, model = row.content, self.space.system.language_model
        fits = None if model is None else model.fingerprint == content.fingerprint
        recipe = content.metadata.get("transformation", {})
        return Entry(str(content.id), str(content.derived_from[0].id), content.fingerprint or "", int(content.metadata.get("tokens", 0)),
                     int(recipe.get("bytes_out", 0)), row.stale is not None, fits)  # fmt: skip

    def _replaced(self, source: UUID, keep: str | None) -> None:
        """Forgets what the newest KV memory of a text takes the place of: those that are stale. Those of other models stay."""
        old = [entry.id for entry in self._of(source) if entry.id != keep and entry.stale]
        if old:
            self.space.forget(old, reason="KV memory of a text that has changed")


class _Tier:
    """The tier "kv" of a store's scheduler: what it drops is forgotten as soon as the scheduler has decided."""

    name = TIER

    def __init__(self) -> None:
        self._dropped: list[Key] = []
        self._lock = threading.Lock()
        self.building = threading.RLock()
        """Held while a text is read to be kept."""

    def drop(self, key: Key) -> None:
        with self._lock:
            self._dropped.append(key)

    def keep(self, key: Key) -> None:
        """Does not forget what was to be dropped."""
        with self._lock:
            self._dropped = [each for each in self._dropped if each != key]

    def let_go(self, system: Mnemos) -> None:
        """Forgets the KV memories that gave way, but for those that are held again. The text of each stays. Those that the caller may not forget wait
        for one who may."""
        with self._lock:
            keys, self._dropped = self._dropped, []
        for key in keys:
            if not system.scheduler.holds(TIER, key):
                try:
                    self._forget(system, key)
                except PermissionDenied:
                    self.drop(key)

    def _forget(self, system: Mnemos, key: Key) -> None:
        with system.snapshot() as snapshot:
            source = snapshot.standing(parse_id(str(key)))
            if source is None:
                return
            name = next((row.name for row in snapshot.spaces() if row.num == source.space), None)
            children = [child for child, _, relation in snapshot.children(parse_id(str(key))) if relation == KV_OF]
        if name is not None and children:
            system.existing_space(name).forget([str(child) for child in children], reason="KV memory gave way")


_tiers = threading.Lock()


def _tier(system: Mnemos) -> _Tier:
    """The store's tier, registered at first use."""
    with _tiers:
        if TIER not in system.scheduler.tiers():
            system.scheduler.register(_Tier(), BUDGET, least_hits=LEAST_HITS)
        tier = system.scheduler.tier(TIER)
        if not isinstance(tier, _Tier):
            raise Conflict(f"the tier {TIER!r} of this store's scheduler was registered by somebody else: give that one another name")
        return tier


def _loaded(model: LanguageModel, payload: bytes, tokens: tuple[int, ...], head: int) -> Fragment:
    from mnemos.activation.fragments import Fragment
    from mnemos.activation.saving import load

    return Fragment(tokens, load(model.module, payload, model.fingerprint), head)
