"""The journal of a program, in a space: its files are versioned cubes, what happened and what was said are parts of the program's own cube.

One entry of the journal is one transaction: what happened (control: kinds, numbers, names of files), what was said there (which may repeat what
stands in files), and the files that it changed. What was said is kept in a cube of its own, which draws on the files that the instruction has
read or written: it is forgotten with them, and the program still knows where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import orjson

from mnemos.base.cube import Content, Link, State
from mnemos.base.errors import Conflict, Corrupt, NotFound, PermissionDenied
from mnemos.base.lineage import DERIVED_FROM, DREW_ON, PART_OF
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.limits import use_quota
from mnemos.kernel.writing.writes import labelled, revive
from mnemos.store.base import Derived, NewVersion, Snapshot
from mnemos.store.sqlite_write import Writer
from mnemos.text.program.files import FileEntry
from mnemos.text.program.state import NOTHING_SPOKEN, SPOKEN, Event, folded
from mnemos.text.program.state import State as RunState

if TYPE_CHECKING:
    from mnemos.kernel.space import Space

PROGRAM, FILE, ENTRY, SAID = "program", "file", "program-entry", "program-said"
"""Types of cubes. Their kind is "program": they are kept like every memory, and neither searched nor embedded."""
KIND = "program"
_BLOCK = 256


def file_id(program: UUID, number: int) -> UUID:
    """The cube of a program's file: by the number of the file and not by its name, which an id would give away to whoever guesses it."""
    return uuid5(program, f"file/{number}")


@dataclass
class SpaceJournal:
    """The journal of `program`, read and written with the rights of whoever the space was opened for."""

    space: Space
    program: UUID
    _next: int = 0
    _replied: int = 0
    """The entry that holds the worker's last answer, which says what the files that it writes will hold."""

    # -- reading --
    def load(self) -> tuple[list[Event], dict[str, str]]:
        """The events so far, and the files as they are, also where somebody has changed them by hand. Raises `NotFound`, `PermissionDenied`,
        `Corrupt`."""
        self.space.admit("read")
        with self.space.system.snapshot() as snapshot:
            viewing = Viewing.of(self.space, snapshot)
            if (kind := viewing.current(self.program).content.type) != PROGRAM:
                raise NotFound(f"cube {self.program} is a {kind}, and no program")
            events = list(self._events(viewing))
            files = self._files(viewing, events)
        return events, files

    def _events(self, viewing: Viewing) -> Iterator[Event]:
        self._next = 0
        while rows := self._texts(viewing, [f"{ENTRY}/{self._next + n}" for n in range(_BLOCK)]):
            said = self._texts(viewing, [f"{SAID}/{self._next + n}" for n in range(_BLOCK)])
            for number in range(self._next, self._next + _BLOCK):
                if (text := rows.get(f"{ENTRY}/{number}")) is None:
                    if viewing.snapshot.forgotten(self._id(f"{ENTRY}/{number}")) or len(rows) > number % _BLOCK:
                        raise Corrupt(f"program {self.program}: entry {number} of its journal is missing, and it cannot go on; begin it anew")
                    return
                self._next = number + 1
                yield from self._noted(number, _joined(orjson.loads(text), said.get(f"{SAID}/{number}")))

    def _noted(self, number: int, events: Sequence[Event]) -> Sequence[Event]:
        """The events of an entry; where one of them is an answer, that is noted."""
        if any(event["event"] == "reply" for event in events):
            self._replied = number
        return events

    def _texts(self, viewing: Viewing, names: Sequence[str]) -> dict[str, str]:
        """Of those parts of the journal that there are: name → text."""
        return self._read(viewing, {name: self._id(name) for name in names})

    def _files(self, viewing: Viewing, events: Sequence[Event]) -> dict[str, str]:
        return self._read(viewing, {name: file_id(self.program, entry.number) for name, entry in folded(events).files.items()})

    def _read(self, viewing: Viewing, cubes: Mapping[str, UUID]) -> dict[str, str]:
        found = {name: standing.seq for name, cube in cubes.items() if (standing := viewing.snapshot.standing(cube)) is not None}
        rows = viewing.snapshot.versions(list(found.values()))
        if not all(viewing.shows(row) for row in rows.values()):
            who = self.space.system.principal
            raise PermissionDenied(f"program {self.program} holds what principal {who!r} may not read; ask its owner for more clearance")
        return {name: rows[seq].content.text or "" for name, seq in found.items()}

    def _id(self, name: str) -> UUID:
        return uuid5(self.program, name)

    # -- writing --
    def begin(self, task: str, metadata: Mapping[str, Any], events: Sequence[Event]) -> None:
        """Write the program's own cube, and its first events. Raises `PermissionDenied`, `QuotaExceeded`, `StoreFull`."""
        self.space.admit("write", counted=False)
        system = self.space.system
        content = Content(
            id=self.program, version=1, created_at=system.clock(), text=task, type=PROGRAM, kind=KIND, author=system.principal,
            metadata=dict(metadata),
        )  # fmt: skip
        with system.writing() as transaction:
            self._add(transaction, [NewVersion(labelled(self.space, content))], wholes=1)
            self.append(events, {}, RunState())

    def append(self, events: Sequence[Event], changes: Mapping[str, str | None], state: RunState) -> None:
        """One transaction. Raises `Conflict` where somebody else has written since this journal was read, `Frozen` where a file is, and as every
        write does `PermissionDenied`, `RateLimited`, `QuotaExceeded`, `StoreFull`."""
        self.space.admit("write")
        with self.space.system.writing() as transaction:
            if transaction.standing(self.program) is None:
                raise NotFound(f"program {self.program} was forgotten")
            if transaction.standing(self._id(f"{ENTRY}/{self._next}")) is not None:
                raise Conflict(f"program {self.program}: somebody else runs it, and has written entry {self._next} of its journal; stop one of them")
            files = self._changed(transaction, changes, state)
            self._add(transaction, [*files, *self._entry(transaction, files, events, state, changes)], wholes=len(files))
            answer = self._id(f"{SAID}/{self._replied}")
            for name in changes if transaction.standing(answer) is not None else ():
                self._link(transaction, answer, name, state)
        self._noted(self._next, events)
        self._next += 1

    def _link(self, transaction: Writer, answer: UUID, name: str, state: RunState) -> None:
        """Say that the worker's answer draws on a file: it was there before the file was."""
        entry = _entry_of(state, name)
        standing = transaction.standing(file_id(self.program, entry.number)) if entry is not None else None
        if standing is not None:
            transaction.link(answer, 1, standing.id, standing.version, DREW_ON)

    def _entry(
        self, snapshot: Snapshot, new: Sequence[NewVersion], events: Sequence[Event], state: RunState, changes: Mapping[str, str | None]
    ) -> list[NewVersion]:
        """What happened, and what was said; the latter draws on the files that the instruction has read or written by now."""
        control, said = _parted(events)
        known = {version.content.id for version in new}
        own = [name for table in (state.files, state.gone) for name, entry in table.items() if entry.author == state.address]
        drawn = {entry.number for name in (*state.read, *own, *changes) if (entry := _entry_of(state, name)) is not None}
        versions = {entry.number: entry.version for entry in (*state.files.values(), *state.gone.values())}
        links = tuple(
            Link(cube, versions[number], DREW_ON)
            for number in sorted(drawn)
            if (cube := file_id(self.program, number)) in known or snapshot.standing(cube) is not None
        )
        return [self._part(f"{ENTRY}/{self._next}", ENTRY, control, ()), self._part(f"{SAID}/{self._next}", SAID, said, links)]

    def _part(self, name: str, type: str, value: Any, links: tuple[Link, ...]) -> NewVersion:
        system = self.space.system
        content = Content(
            id=self._id(name), version=1, created_at=system.clock(), text=orjson.dumps(value).decode(), type=type, kind=KIND, origin="inference",
            author=system.principal, derived_from=(Link(self.program, 1, PART_OF), *links),
        )  # fmt: skip
        return NewVersion(labelled(self.space, content), Derived(part_of=self.program))

    def _changed(self, transaction: Writer, changes: Mapping[str, str | None], state: RunState) -> list[NewVersion]:
        """Write new versions of files that there are; give those that are to be added."""
        new: list[NewVersion] = []
        for name, text in changes.items():
            entry = _entry_of(state, name)
            assert entry is not None
            standing = transaction.standing(file_id(self.program, entry.number))
            before = None if standing is None else Viewing.of(self.space, transaction).changeable(standing.id).content
            if text is None:
                if standing is not None and standing.state is not State.ARCHIVED:
                    transaction.set_state(standing.id, State.ARCHIVED)
                continue
            content = labelled(self.space, self._file(name, text, entry, before, state, transaction))
            if standing is None:
                new.append(NewVersion(content))
                continue
            settings = self.space.settings_for(transaction, "write")
            use_quota(transaction, self.space.num, self.space.name, settings, [content], 0)
            if not standing.frozen:
                revive(transaction, standing, content, self.space.system.clock())
            transaction.supersede(self.space.num, NewVersion(content))
        return new

    def _file(self, name: str, text: str, entry: FileEntry, before: Content | None, state: RunState, snapshot: Snapshot) -> Content:
        """The next version of a file. What people gave it stays: labels, tags, times, links."""
        links = [Link(self.program, 1, DERIVED_FROM)]
        for other in entry.parents:
            source = _entry_of(state, other)
            standing = snapshot.standing(file_id(self.program, source.number)) if source is not None else None
            if source is not None and standing is not None:
                links.append(Link(standing.id, min(standing.version, source.version), DREW_ON))
        metadata = {"program": str(self.program), "name": name, "hash": entry.hash, "instruction": entry.author, "read": dict(entry.parents)}
        if before is not None:
            links += [link for link in before.derived_from if link.relation != DREW_ON]
            return replace(
                before, version=before.version + 1, text=text, parents=(before.version,), derived_from=tuple(dict.fromkeys(links)),
                metadata={**before.metadata, **metadata},
            )  # fmt: skip
        return Content(
            id=file_id(self.program, entry.number), version=1, created_at=self.space.system.clock(), text=text, type=FILE, kind=KIND,
            author=self.space.system.principal, source=name, origin="inference", derived_from=tuple(links), metadata=metadata,
        )  # fmt: skip

    def _add(self, transaction: Writer, new: Sequence[NewVersion], wholes: int) -> None:
        settings = self.space.settings_for(transaction, "write")
        use_quota(transaction, self.space.num, self.space.name, settings, [version.content for version in new], wholes)
        transaction.add(self.space.num, new)


def _entry_of(state: RunState, name: str) -> FileEntry | None:
    return state.files.get(name) or state.gone.get(name)


def _parted(events: Sequence[Event]) -> tuple[list[Event], list[Mapping[str, Any]]]:
    """(what happened, what was said there), of each event."""
    said: list[Mapping[str, Any]] = [{name: event[name] for name in SPOKEN.get(event["event"], ())} for event in events]
    return [{name: value for name, value in event.items() if name not in spoken} for event, spoken in zip(events, said, strict=True)], said


def _joined(control: Sequence[dict[str, Any]], said: str | None) -> list[Event]:
    """The events again; where what was said has been forgotten they say that it is lost."""
    if said is not None:
        return [event | spoken for event, spoken in zip(control, orjson.loads(said), strict=True)]
    out: list[Event] = []
    for event in control:
        empty = {name: NOTHING_SPOKEN[name] for name in SPOKEN.get(event["event"], ())}
        out.append(event | empty | ({"lost": True} if empty else {}))
    return out
