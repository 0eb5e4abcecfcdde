"""Bringing one store up to another: what is new there is taken over, what was forgotten there is forgotten, and what contradicts is reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import Content
from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF
from mnemos.base.protocols import Progress
from mnemos.kernel.exchange.comparing import Figure, Picture, common, common_standing
from mnemos.kernel.exchange.importing import KeyLike, check_models, open_archive
from mnemos.kernel.exchange.lines import Told
from mnemos.kernel.exchange.transfer import Incoming, Line, batches, portable
from mnemos.kernel.forgetting import forget
from mnemos.kernel.rights.space_settings import look_after
from mnemos.store.base import Filter, Snapshot

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

REASON = "forgotten at the source of a sync"
"""What the log says of a memory that was forgotten because it was forgotten there."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Something that was left as it is in the store that was brought up to date. `what`: version, standing, space, settings or forgotten."""

    what: str
    cube: str | None
    space: str
    problem: str


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did: entries that were taken over (`versions`, `standings`, `spaces`), spaces whose rules were (`settings`), cubes that were
    forgotten, cubes that are ahead of the source and were left, and what contradicts. True where nothing does."""

    versions: int = 0
    standings: int = 0
    spaces: int = 0
    settings: int = 0
    forgotten: int = 0
    ahead: int = 0
    conflicts: tuple[Contradiction, ...] = ()

    def __bool__(self) -> bool:
        return not self.conflicts

    @property
    def changes(self) -> int:
        """How much was changed."""
        return self.versions + self.standings + self.spaces + self.settings + self.forgotten

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sync(
    a: Mnemos | str | Path,
    b: Mnemos,
    *,
    spaces: Iterable[str] | None = None,
    public_key: KeyLike = None,
    models: Iterable[str] = (),
    progress: Progress | None = None,
) -> Synced:
    """Bring the store `b` up to `a`, an open store or the path of an archive: afterwards `b` has all that `a` has, and lacks what `a` forgot.

    A cube's history in `b` goes on where it is a beginning of that in `a`; where it is longer, `b` is ahead and stays; where they part, nothing is
    guessed: the cube stays as it is in `b` and is reported. So it is with states, freezes and rules, and with the settings of spaces: those of `b`
    are replaced where `a` had them before. What was forgotten in `b`, or derived from that, does not come back. A second call changes nothing, and
    one that was killed is simply repeated. Raises `Invalid` where both are one store, `Corrupt`, `FingerprintMismatch`, `PermissionDenied`.
    """
    wanted = None if spaces is None else list(spaces)
    with _source(a, b, wanted, public_key, frozenset(models)) as source:
        return _Sync(source, b, wanted).run(progress)


class _Source:
    """What is brought over: lines that can be read again, and what hangs on them."""

    def __init__(self, name: str, lines: Any, forgotten: Any, past: Mapping[str, list[Any]], vector: Any, blob: Any) -> None:
        self.name, self.lines, self.forgotten, self.past, self.vector, self.blob = name, lines, forgotten, past, vector, blob


@contextmanager
def _source(a: Any, b: Mnemos, spaces: list[str] | None, public_key: KeyLike, models: frozenset[str]) -> Iterator[_Source]:
    from mnemos.kernel.system import Mnemos

    embedder = b.embedding.embedder
    if isinstance(a, Mnemos):
        if a.store is b.store or (a.path == b.path != ":memory:"):
            raise Invalid(f"sync: {a.path} is both sides; give two stores")
        with a.snapshot() as snapshot:
            view = Told(a, snapshot, spaces)
            vectors = _vectors(view, None if embedder is None else embedder.fingerprint)
            yield _Source(a.path, view.lines, view.forgotten, _past_settings(snapshot), vectors, view.blob)
        return
    archive = open_archive(a, public_key)
    check_models(archive.manifest, models, str(a))
    vector = archive.vectors(embedder.fingerprint) if embedder is not None else (lambda content: None)
    wanted = None if spaces is None else set(spaces)

    def lines() -> Iterator[Line]:
        return (line for line in archive.lines() if wanted is None or line["space"] in wanted)

    def forgotten() -> Iterator[tuple[UUID, str]]:
        return ((cube, space) for cube, space in archive.forgotten() if wanted is None or space in wanted)

    yield _Source(str(a), lines, forgotten, {}, vector, archive.blob)


def _past_settings(snapshot: Snapshot) -> dict[str, list[Any]]:
    """Space → all settings that it had, oldest first."""
    names = {row.num: row.name for row in snapshot.spaces()}
    out: dict[str, list[Any]] = {}
    for entry in snapshot.log(0):
        if entry.kind in ("space", "permission") and entry.cube is None and entry.space in names:
            out.setdefault(names[entry.space], []).append(portable(entry.body_json().get("settings") or {}))
    return out


def _vectors(view: Told, fingerprint: str | None) -> Any:
    """Gives a version's vector where the source has one of the same embedder: those of a batch are read together."""
    numbers = [number for number, (name, _) in view.snapshot.embedders().items() if name == fingerprint]
    if not numbers:
        return lambda content: None
    known: dict[int, bytes] = {}
    loaded: set[int] = set()

    def vector(content: Content) -> bytes | None:
        standing = view.snapshot.standing(content.id)
        seq = view.snapshot.version_seq(content.id, content.version)
        if standing is None or seq is None:
            return None
        if standing.space not in loaded:
            loaded.add(standing.space)
            known.update((at, value) for at, embedder, value in view.snapshot.vectors(standing.space, seq - 1) if embedder == numbers[0])
        return known.get(seq)

    return vector


class _Sync:
    """One run."""

    def __init__(self, source: _Source, b: Mnemos, spaces: list[str] | None) -> None:
        self._source = source
        self._b = b
        self._theirs = Picture.of(source.lines(), source.forgotten())
        with b.snapshot() as snapshot:
            access = b.access(snapshot)
            known = {row.name for row in snapshot.spaces() if access.may("read", row.settings)}
            view = Told(b, snapshot, None if spaces is None else [name for name in spaces if name in known])
            self._ours = Picture.of(view.lines(), view.forgotten())
            self._gone = {cube for cube in self._theirs.cubes if snapshot.forgotten(cube)}
            self._past = _past_settings(snapshot)
        self._conflicts: list[Contradiction] = []
        self._forgotten: set[UUID] = set()
        self._shut: set[str] = set()
        """Spaces that are read-only here, and not at the source."""
        self._versions: dict[UUID, int] = {}
        """Cube → how many of its versions are not to be taken over; cubes of which nothing is lack."""
        self._standings: dict[UUID, int] = {}

    def run(self, progress: Progress | None) -> Synced:
        self._forget()
        settings = self._settle_spaces()
        ahead = self._decide()
        incoming = Incoming(self._b, self._source.name, vector=self._source.vector, blob=self._source.blob)
        incoming.begin_standing(self._standings)
        done = 0
        for batch in batches(enumerate(self._wanted(), 1)):
            incoming.take(batch)
            done += len(batch)
            if progress is not None:
                progress(done, 0)
        new = incoming.new
        return Synced(new["versions"], new["standings"], new["spaces"], settings, len(self._forgotten), ahead, tuple(self._conflicts))

    def _conflict(self, what: str, cube: UUID | None, space: str, problem: str) -> None:
        self._conflicts.append(Contradiction(what, None if cube is None else str(cube), space, problem))

    # -- what was forgotten there --
    def _forget(self) -> None:
        by_space: dict[str, list[UUID]] = {}
        for cube in self._theirs.forgotten:
            if cube in self._ours.cubes:
                by_space.setdefault(self._ours.cubes[cube].space, []).append(cube)
        for name, cubes in sorted(by_space.items()):
            left = [cube for cube in cubes if cube not in self._forgotten]  # some went along with what they were derived from
            if left and not self._forget_together(name, left):
                for cube in self._wholes(left):
                    self._forget_one(name, cube)
        for cube in self._forgotten:
            self._ours.cubes.pop(cube, None)

    def _forget_together(self, name: str, cubes: list[UUID]) -> bool:
        space = self._b.existing_space(name)
        try:
            certificate = forget(self._b, space.num, name, cubes, Filter(), REASON)
        except (Conflict, PermissionDenied, Invalid, NotFound):
            return False
        self._forgotten |= {UUID(cube.id) for cube in certificate.cubes}
        return True

    def _wholes(self, cubes: list[UUID]) -> list[UUID]:
        """`cubes` without the parts of documents: those go with their documents."""
        figures = self._ours.cubes
        return [cube for cube in cubes if not any(relation == PART_OF for links in figures[cube].links for _, _, relation in links)]

    def _forget_one(self, name: str, cube: UUID) -> None:
        if cube in self._forgotten:
            return
        space = self._b.existing_space(name)
        try:
            certificate = forget(self._b, space.num, name, [cube], Filter(), REASON)
        except (Conflict, PermissionDenied, Invalid, NotFound) as error:
            self._conflict("forgotten", cube, name, f"was forgotten at the source, and cannot be forgotten here: {error}")
            return
        self._forgotten |= {UUID(one.id) for one in certificate.cubes}

    # -- what to take over --
    def _decide(self) -> int:
        """Settle for each cube of the source how much of it is taken over; give how many are ahead here."""
        gone = self._gone | self._forgotten
        left: set[UUID] = set()
        ahead = 0
        for cube, theirs in self._theirs.cubes.items():
            ours = self._ours.cubes.get(cube)
            if cube in gone:
                self._conflict("forgotten", cube, theirs.space, "was forgotten here, and does not come back")
                continue
            if ours is not None and ours.space != theirs.space:
                self._conflict("space", cube, theirs.space, f"is in space {ours.space!r} here")
                left.add(cube)
                continue
            versions, standings = self._in_common(cube, theirs, ours)
            if versions is None:
                left.add(cube)
                continue
            ahead += ours is not None and (len(ours.versions) > len(theirs.versions) or len(ours.standing) > len(theirs.standing))
            if len(theirs.versions) <= versions and len(theirs.standing) <= standings:
                continue
            sources = self._theirs.sources(cube)
            if sources & gone:
                self._conflict("forgotten", cube, theirs.space, f"is derived from cube {min(map(str, sources & gone))}, which was forgotten here")
                gone = gone | {cube}
            elif sources & left:
                self._conflict("version", cube, theirs.space, f"is derived from cube {min(map(str, sources & left))}, which is another one here")
                left.add(cube)
            elif theirs.space in self._shut:
                self._conflict("settings", cube, theirs.space, "cannot be brought here: the space is read-only here, and not at the source")
                left.add(cube)
            else:
                self._versions[cube], self._standings[cube] = versions, standings
        return ahead

    def _in_common(self, cube: UUID, theirs: Figure, ours: Figure | None) -> tuple[int | None, int]:
        """(versions, changes of standing) of a cube that need not be taken over; None where its versions part from those here."""
        if ours is None:
            return 0, 0
        versions, standings = common(theirs, ours), common_standing(theirs, ours)
        if versions < min(len(theirs.versions), len(ours.versions)):
            self._conflict("version", cube, ours.space, f"has another version {versions + 1} here")
            return None, 0
        unlike = standings < min(len(theirs.standing), len(ours.standing))
        if unlike:
            self._conflict("standing", cube, ours.space, "was frozen, given rules or led to another state here, differently from the source")
            standings = len(theirs.standing)
        behind = len(ours.standing) > len(theirs.standing) or (ours.standing and theirs.held[len(ours.standing) - 1] > versions)
        if ours.frozen and len(theirs.versions) > versions and (unlike or behind):
            self._conflict("version", cube, ours.space, f"is frozen here, and cannot take version {versions + 1} over; unfreeze it, and sync again")
            return None, 0
        return max(versions, len(ours.versions)), max(standings, len(ours.standing))

    def _wanted(self) -> Iterator[Line]:
        """The source's lines that are new here, and those that describe its spaces."""
        versions: Counter[UUID] = Counter()
        standings: Counter[UUID] = Counter()
        for line in self._source.lines():
            if "settings" in line:
                yield line
                continue
            cube = parse_id(line["record"]["id"] if "record" in line else line["cube"])
            seen, known = (versions, self._versions) if "record" in line else (standings, self._standings)
            seen[cube] += 1
            if cube in known and seen[cube] > known[cube]:
                yield line

    # -- the rules of spaces --
    def _settle_spaces(self) -> int:
        """Take over the settings of spaces whose settings here are those that the source had before; give how many."""
        taken = 0
        for name, theirs in self._theirs.spaces.items():
            ours = self._ours.spaces.get(name)
            if ours is None or ours == theirs:
                continue
            if ours.get("read_only") and not theirs.get("read_only") and ours not in self._source.past.get(name, ()):
                self._shut.add(name)
            if ours in self._source.past.get(name, ()):
                self._set(name, theirs)
                taken += 1
            elif theirs not in self._past.get(name, ()):
                self._conflict("settings", None, name, "has other rules here, which the source never had")
        return taken

    def _set(self, name: str, settings: Mapping[str, Any]) -> None:
        with self._b.writing() as transaction:
            row = transaction.space(name)
            assert row is not None
            self._b.access(transaction).require("share", name, {**row.settings, "read_only": False})
            own = {name: value for name, value in row.settings.items() if name not in portable(row.settings)}
            transaction.set_space(row.num, {**settings, **own})
            look_after(self._b, transaction, row.name, settings)
