"""The tier "kv" of a store's scheduler: what KV memories take together, what gives way, and what never does.

The scheduler knows a KV memory of the store's language model by the id of its text, with the digest of its form where it is not full, any other (of
another model, of a prompt) by its own. What is in the store is the truth: at first use, and whenever room is short, the tier tells the scheduler what
there is, coldest first. A frozen KV memory is pinned; that of a text that is out of use counts as never used. A transaction may be undone, in parts
or as a whole, and until it has ended others do not see what it made: so what there is is looked at again after each that has to do with KV memory.
That a text was read stays true.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import State
from mnemos.base.errors import Conflict, Frozen, NotFound, PermissionDenied, QuotaExceeded
from mnemos.base.ids import parse_id
from mnemos.base.lineage import KV_OF
from mnemos.kernel.kv.shapes import shape_of
from mnemos.kernel.life import heat
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.lineage import PROMPT, is_reading, readings
from mnemos.kernel.scheduling.decisions import Key
from mnemos.kernel.scheduling.scenes import Topics
from mnemos.store.base import Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space
    from mnemos.kernel.system import Mnemos

TIER = "kv"
CORPUS = "corpus"
"""The key of `metadata` of a section of a corpus, with the places of the model's context that it takes (`mnemos.kernel.kv.corpus`)."""
LEAST_HITS = 2
_SHAPED = "/"
_BEGAN = 4096  # beginnings of prompts that are known to have come once, by their digests
_LINES = 256  # lines of conversation whose scenes are known; the one heard of longest ago goes first


def key_of(source: UUID | str, digest: str) -> str:
    """What the scheduler knows what is kept of a text by; `digest` of its form, "" where it is full."""
    return f"{source}{_SHAPED}{digest}" if digest else str(source)


def parts_of_key(key: str) -> tuple[str, str]:
    """The id of the text, and the digest of the form, of what `key_of` gave."""
    source, _, digest = key.partition(_SHAPED)
    return source, digest


def line_of(space: Space) -> str:
    """The line of conversation of a caller in a space: what one has taken tells another nothing."""
    return f"{space.num}/{space.system.principal or ''}"


def prompt_of(row: VersionRow) -> Mapping[str, Any] | None:
    """Which part of which prompt a KV memory is of: its key, that of the part before it, where it begins, its tokens. None for one of a text."""
    found: Mapping[str, Any] | None = row.content.metadata.get(PROMPT)
    return found


def size_of(row: VersionRow) -> int:
    """Bytes of a KV memory in the store."""
    about = prompt_of(row)
    return int(row.content.metadata.get("transformation", {}).get("bytes_out", 0) if about is None else about["bytes"])


def source_of(row: VersionRow) -> UUID | None:
    """The text that it is of; None for a part of a prompt, and for a section of a corpus."""
    return row.content.derived_from[0].id if prompt_of(row) is None and CORPUS not in row.content.metadata else None


def texts_of(row: VersionRow) -> list[UUID]:
    """The memories whose text it has read: that which it is of, or those that begin in a part of a prompt."""
    return [link.id for link in row.content.derived_from if link.relation == KV_OF]


class KVTier:
    """What it drops is forgotten as soon as the scheduler has decided, and never while it is in use."""

    name = TIER

    def __init__(self) -> None:
        self._dropped: list[Key] = []
        self._lock = threading.Lock()
        self._used: Counter[Key] = Counter()
        self.pinned_bytes = 0
        """Of what is frozen, when it was looked at last."""
        self.fingerprint: str | None = None
        """Of the model whose KV memories go by their texts' ids."""
        self._building = threading.RLock()
        self.shapes: dict[str, str] = {}
        """By digest, how the form is written in which a text was taken."""
        self._lines: OrderedDict[str, tuple[Topics, int]] = OrderedDict()
        """Of each line of conversation its scenes, and when it was heard of last."""
        self._began: OrderedDict[str, None] = OrderedDict()
        self._turns = 0
        self._quiet = threading.Condition(self._lock)
        self._inside: dict[int, set[Key]] = {}
        """By thread that is in a transaction, what it has used there."""
        self._doubtful: set[Key] | None = None
        """What was used in transactions that have ended since the store was looked at last; None where there were none."""

    def inside(self) -> None:
        """This thread uses the tier in a transaction."""
        with self._lock:
            self._inside.setdefault(threading.get_ident(), set())

    def note(self, key: Key) -> None:
        """It is used, in a transaction or not."""
        with self._lock:
            if (inside := self._inside.get(threading.get_ident())) is not None:
                inside.add(key)

    def over(self) -> None:
        """The transaction of this thread has ended."""
        with self._lock:
            if (used := self._inside.pop(threading.get_ident(), None)) is not None:
                self._doubtful = (self._doubtful or set()) | used

    def settle(self, system: Mnemos) -> None:
        """Looks at what is in the store where a transaction may have left it otherwise than the scheduler was told. Of texts that never came to be
        nothing is known any more."""
        with self._lock:
            doubtful, self._doubtful = self._doubtful, None
        if doubtful is None:
            return
        self.know(system)
        with system.snapshot() as snapshot:
            gone = [key for key in doubtful if snapshot.standing(parse_id(parts_of_key(str(key))[0])) is None]
        for key in sorted(gone, key=str):
            system.scheduler.forget(TIER, key)

    def drop(self, key: Key) -> None:
        with self._lock:
            self._dropped.append(key)

    def keep(self, key: Key) -> None:
        """Does not forget what was to be dropped."""
        with self._lock:
            self._dropped = [each for each in self._dropped if each != key]

    @contextlib.contextmanager
    def building(self, system: Mnemos) -> Iterator[None]:
        """One thread keeps texts at a time. Without a lock inside a transaction: who holds it may be waiting for that to end."""
        with contextlib.nullcontext() if system.store.inside else self._building:
            yield

    @contextlib.contextmanager
    def using(self, key: Key) -> Iterator[None]:
        """Does not forget it meanwhile."""
        with self._lock:
            self._used[key] += 1
        self.note(key)
        try:
            yield
        finally:
            with self._lock:
                self._used[key] -= 1

    @contextlib.contextmanager
    def asked(self, line: str, now: int) -> Iterator[None]:
        """A line of conversation goes on: nothing is read ahead meanwhile."""
        with self._lock:
            self._lines[line] = self._lines.pop(line, (Topics(), 0))[0], now
            while len(self._lines) > _LINES:
                self._lines.popitem(last=False)
            self._turns += 1
        try:
            yield
        finally:
            with self._lock:
                self._turns -= 1
                self._quiet.notify_all()

    def again(self, beginning: str) -> bool:
        """Whether a prompt began so before, by its digest; from now on one did."""
        with self._lock:
            known = beginning in self._began
            self._began[beginning] = None
            self._began.move_to_end(beginning)
            while len(self._began) > _BEGAN:
                self._began.popitem(last=False)
            return known

    def quiet(self, seconds: float) -> bool:
        """Whether nobody asks; waits up to so long for that."""
        with self._lock:
            return self._quiet.wait_for(lambda: not self._turns, seconds)

    def latest(self, line: str) -> int:
        """When a line was heard of last; 0 where it is not known here."""
        with self._lock:
            return self._lines[line][1] if line in self._lines else 0

    def topics(self, line: str) -> Topics:
        """The scenes of a line that goes on."""
        with self._lock:
            return self._lines[line][0]

    def forgotten(self, cubes: Sequence[UUID]) -> list[Key]:
        with self._lock:
            topics, digests = [each for each, _ in self._lines.values()], {"", *self.shapes}
        for each in topics:
            each.forget(cubes)
        return [key_of(cube, digest) for cube in cubes for digest in sorted(digests)]

    def key(self, row: VersionRow) -> str:
        """What the scheduler knows a KV memory by."""
        source = source_of(row) if row.content.fingerprint == self.fingerprint else None
        return str(row.content.id) if source is None else key_of(source, shape_of(row.content)[1])

    def know(self, system: Mnemos) -> None:
        """Tells the scheduler what is in the store: what other processes have made or forgotten, what is frozen, what is out of use."""
        scheduler = system.scheduler
        with system.snapshot() as snapshot:
            rows = readings(snapshot)
            heats = snapshot.heat([source for row in rows if (source := source_of(row)) is not None])
            idle = {self.key(row) for row in rows if not in_use(snapshot, row)}
        now = system.clock()
        warmth = {self.key(row): heat.at(heats.get(source_of(row) or row.content.id, heat.COLD), now) for row in rows}
        sizes: Counter[str] = Counter()
        for row in rows:
            sizes[self.key(row)] += size_of(row)
        pinned = {self.key(row) for row in rows if row.frozen}
        scheduler.pin(TIER, pinned)
        self.pinned_bytes = sum(sizes[key] for key in pinned)
        known = scheduler.held(TIER)
        for gone in known.keys() - sizes.keys():
            scheduler.drop(TIER, gone)
            self.keep(gone)
        for key in sorted(sizes, key=lambda key: (key not in idle, warmth[key])):
            if key in idle:
                scheduler.cool(TIER, key)
            if key not in known:
                scheduler.adopt(TIER, key, sizes[key])
            elif known[key] != sizes[key]:
                scheduler.resized(TIER, key, sizes[key])

    def make_room(self, system: Mnemos, size: int) -> None:
        """Raises `QuotaExceeded` where so many bytes do not fit beside what is frozen."""
        if self.short(system, size):
            self.know(system)
            if (free := system.kv_memory - self.pinned_bytes) < size:
                raise QuotaExceeded(
                    f"KV memory of this text takes {size:,} bytes, and of the {system.kv_memory:,} that all may take {max(free, 0):,} are free of "
                    "what is frozen: open the store with a larger kv_memory, or unfreeze or drop some"
                )

    def short(self, system: Mnemos, size: int) -> bool:
        """Whether there is no room for so many bytes more, as far as the scheduler knows."""
        tier = system.scheduler.tiers()[TIER]
        return bool(tier["bytes"] + size > tier["budget"])

    def let_go(self, system: Mnemos) -> None:
        """Forgets the KV memories that gave way, but for those that are held again, or in use. The text of each stays. Those that the caller may not
        forget wait for one who may."""
        with self._lock:
            keys, self._dropped = self._dropped, []
        for key in dict.fromkeys(keys):
            if system.scheduler.holds(TIER, key):
                continue
            try:
                if self._used[key]:
                    self.drop(key)
                else:
                    self._forget(system, str(key))
            except PermissionDenied:
                self.drop(key)
            except Frozen:  # since it was looked at last: it is taken up again when room is short
                continue

    def _forget(self, system: Mnemos, key: str) -> None:
        with system.snapshot() as snapshot:
            names = {row.num: row.name for row in snapshot.spaces()}
            cube = parse_id(parts_of_key(key)[0])
            chosen = [row for row in readings_of(snapshot, cube) if self.key(row) == key and not row.frozen]
        for row in chosen:
            space = system.existing_space(names[row.space])
            with contextlib.suppress(NotFound):  # another thread has let go of it meanwhile
                space.forget([str(row.content.id)], reason="KV memory gave way")


def readings_of(snapshot: Snapshot, cube: UUID) -> list[VersionRow]:
    """The KV memories of a text by itself, or the one of that id."""
    out = []
    for one in dict.fromkeys([cube, *(child for child, _, _ in snapshot.children(cube))]):
        standing = snapshot.standing(one)
        row = None if standing is None else snapshot.versions([standing.seq])[standing.seq]
        if row is not None and is_reading(row.content) and (one == cube or prompt_of(row) is None):
            out.append(row)
    return out


def in_use(snapshot: Snapshot, row: VersionRow) -> bool:
    """Whether a KV memory and its text are neither in the archive nor otherwise set aside. A prompt says itself what it wants to use: what it has of
    the archive, too."""
    allowed = VISIBLE if prompt_of(row) is None else (*VISIBLE, State.ARCHIVED, State.MERGED)
    texts = [snapshot.standing(cube) for cube in texts_of(row)]
    return row.state in VISIBLE and all(text is not None and text.state in allowed for text in texts)


def is_over(row: VersionRow, now: int) -> bool:
    """Whether the time of a memory is over, marked or not."""
    return row.content.expires_at is not None and row.content.expires_at <= now


_tiers = threading.Lock()


def tier_of(system: Mnemos) -> KVTier:
    """The store's tier: registered at first use, when it learns what is in the store. It learns it again where the language model is another."""
    model = system.language_model
    fingerprint = None if model is None else model.fingerprint
    with _tiers:
        new = TIER not in system.scheduler.tiers()
        if new:
            system.scheduler.register(KVTier(), system.kv_memory, least_hits=LEAST_HITS)
        tier = system.scheduler.tier(TIER)
        if not isinstance(tier, KVTier):
            raise Conflict(f"the tier {TIER!r} of this store's scheduler was registered by somebody else: give that one another name")
        new, tier.fingerprint = new or tier.fingerprint != fingerprint, fingerprint
    if new:  # outside the lock: it reads the store
        tier.know(system)
    if system.store.inside:
        tier.inside()
    else:
        tier.settle(system)
    return tier


def set_room(system: Mnemos, size: int) -> None:
    """All KV memories of the store may take so many bytes from now on. What is worth least gives way, and what is frozen stays."""
    with _tiers:
        used = TIER in system.scheduler.tiers()
        if not used:
            system.room[TIER] = size
            return
    tier = tier_of(system)
    if size < system.kv_memory:  # what others have made, or frozen, counts
        tier.know(system)
    with _tiers:
        system.room[TIER] = size
        system.scheduler.rebudget(TIER, size)
    if not system.store.inside:
        tier.let_go(system)
