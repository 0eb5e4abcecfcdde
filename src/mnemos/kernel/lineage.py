"""Where a memory came from, and what was made of it: walks over the lineage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.chain import Entry
from mnemos.base.clock import iso
from mnemos.base.cube import Content, Json, MemCube, State
from mnemos.base.lineage import ASSOCIATIONS, KV_OF
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import Access, told
from mnemos.store.base import Derivation, Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


KV = "kv"
"""The kind of memories that are keys and values of a language model."""
PROMPT = "prompt"
"""The key of `metadata` under which one says which part of which prompt it is of, where it is not of a text."""
_DEEPEST = 100
_CHUNK = 1000


def ancestors(snapshot: Snapshot, cube: UUID) -> list[UUID]:
    """`cube` itself, and everything that any of its versions was derived from, through any depth and any space; the nearest first."""
    return _reached(cube, lambda at: [edge.parent for edge in snapshot.derivations(at) if edge.child == at and edge.relation not in ASSOCIATIONS])


def descendants(snapshot: Snapshot, cubes: Iterable[UUID]) -> list[UUID]:
    """`cubes` themselves, and everything that was derived from any of their versions, through any depth and any space."""
    family: dict[UUID, None] = {}
    for cube in cubes:
        if cube not in family:
            family |= dict.fromkeys(
                _reached(cube, lambda at: [child for child, _, relation in snapshot.children(at) if relation not in ASSOCIATIONS])
            )
    return list(family)


def _reached(start: UUID, step: Callable[[UUID], Iterable[UUID]]) -> list[UUID]:
    """Everything that steps from `start` lead to, breadth first, each once."""
    found = {start: None}
    queue = [start]
    for at in queue:
        for other in step(at):
            if other not in found:
                found[other] = None
                queue.append(other)
    return list(found)


def is_reading(content: Content) -> bool:
    """Whether a memory is what a language model has read of a text or a prompt: its keys and values, which can be made again from it."""
    return content.kind == KV and (PROMPT in content.metadata or any(link.relation == KV_OF for link in content.derived_from))


def readings(snapshot: Snapshot, space: int | None = None, readers: Sequence[str] | None = None) -> list[VersionRow]:
    """What language models have read, of a space or of all, as it stands; oldest first. `readers`: only what one of these names may read, by its own
    rules: what others have asked is not looked at, so that nobody can tell by the time whether there is any."""
    seqs = snapshot.payloads(space, readers)
    chunks = (snapshot.versions(seqs[start : start + _CHUNK]) for start in range(0, len(seqs), _CHUNK))
    return [row for chunk in chunks for row in chunk.values() if row.current and is_reading(row.content)]


@dataclass(frozen=True, slots=True)
class Source:
    """One step of the lineage: `relation` leads to `tree`, whose version `version` was used. `outdated` says that it has changed since."""

    relation: str
    version: int
    outdated: bool
    tree: Explanation


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a memory came from (`sources`), what was made of it (`derived`), and what has happened to it (`events`, oldest first).

    A memory that is met twice is told once; where it is met again, `sources`, `derived` and `events` are empty. What the caller may not read
    is left out, with everything behind it, and so is what is more than 100 steps away.
    """

    cube: MemCube
    sources: tuple[Source, ...] = ()
    derived: tuple[Source, ...] = ()
    events: tuple[dict[str, Any], ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        steps = {
            name: [{"relation": s.relation, "version": s.version, "outdated": s.outdated, **s.tree.as_json()} for s in found]
            for name, found in (("sources", self.sources), ("derived", self.derived))
            if found
        }
        return {"cube": self.cube.as_json(), **({"events": list(self.events)} if self.events else {}), **steps}

    def text(self) -> str:
        """The tree as lines for a terminal."""
        lines = [_line(self.cube)]
        for title, steps in (("from", self.sources), ("made into", self.derived)):
            if steps:
                lines.append(f"  {title}")
                lines += _branches(steps, title == "from", "  ")
        return "\n".join(lines)


def _branches(steps: tuple[Source, ...], up: bool, indent: str) -> list[str]:
    lines: list[str] = []
    for number, step in enumerate(steps, 1):
        last = number == len(steps)
        since = " (changed since)" if step.outdated else ""
        lines.append(f"{indent}{'└' if last else '├'} {step.relation} v{step.version}{since}: {_line(step.tree.cube)}")
        lines += _branches(step.tree.sources if up else step.tree.derived, up, indent + ("  " if last else "│ "))
    return lines


def _line(cube: MemCube) -> str:
    text = " ".join(cube.text.split())
    notes = "".join(f", {word}" for word, said in (("stale", cube.stale), ("frozen", cube.frozen)) if said)
    return f"{text[:60]}{'…' if len(text) > 60 else ''} [{cube.type} {cube.id[-8:]} v{cube.version}, {cube.state}{notes}, space {cube.space}]"


def explain(space: Space, cube: UUID) -> Explanation:
    """The whole lineage of a memory, in both directions, across spaces as far as the caller may read. Raises `NotFound`."""
    system = space.system
    with system.snapshot() as snapshot:
        viewing = Viewing.of(space, snapshot)
        row = viewing.current(cube)
        walk = _Walk(snapshot, system.access(snapshot))
        entries = [entry for entry in snapshot.entries_of(cube) if viewing.position is None or entry.seq <= viewing.position]
        sources, derived = (walk.steps(cube, row.content.version, up=up) for up in (True, False))
        events = tuple(_event(entry, told(entry, viewing.access, viewing.settings)) for entry in entries)
        return Explanation(viewing.cube(row), sources, derived, events)


def _event(entry: Entry, body: Json) -> dict[str, Any]:
    """A log entry about a memory, in words."""
    body = {key: State(value).word if key in ("from", "to") and isinstance(value, int) else value for key, value in body.items()}
    return {"position": entry.seq, "at": iso(entry.at), "what": entry.kind, "version": entry.version, "by": entry.actor, **body}


class _Walk:
    """One walk over the lineage: what was told already is not told again."""

    def __init__(self, snapshot: Snapshot, access: Access) -> None:
        self._snapshot = snapshot
        self._access = access
        self._rows = {row.num: row for row in snapshot.spaces()}
        self._told: dict[bool, set[UUID]] = {True: set(), False: set()}

    def steps(self, cube: UUID, version: int, *, up: bool, depth: int = 0) -> tuple[Source, ...]:
        self._told[up].add(cube)
        if depth == _DEEPEST:
            return ()
        out = []
        for edge in self._snapshot.derivations(cube):
            other = edge.parent if up else edge.child
            if other == cube or (up and (edge.child != cube or edge.version != version)) or (not up and edge.parent != cube):
                continue
            if (step := self._step(edge, other, up, depth)) is not None:
                out.append(step)
        return tuple(out)

    def _step(self, edge: Derivation, other: UUID, up: bool, depth: int) -> Source | None:
        standing = self._snapshot.standing(other)
        if standing is None or (not up and edge.version != standing.version):
            return None
        viewing = Viewing(self._snapshot, self._rows[standing.space], self._access)
        row = self._snapshot.versions([standing.seq])[standing.seq]
        if not self._access.may("read", viewing.settings) or not viewing.shows(row):
            return None
        again = other in self._told[up]
        parent = standing if up else self._snapshot.standing(edge.parent)
        outdated = parent is not None and parent.version > edge.parent_version
        deeper = () if again else self.steps(other, standing.version, up=up, depth=depth + 1)
        tree = Explanation(viewing.cube(row), sources=deeper if up else (), derived=() if up else deeper)
        return Source(edge.relation, edge.parent_version, outdated, tree)
