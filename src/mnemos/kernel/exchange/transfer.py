"""A store as JSON lines, and back: every version of every memory, in the order in which the log has them.

The file's form is that of `text.formats.jsonlines`. Each line is one entry: a space, a version (`record`), a state, a freeze, the rules of a cube, a
link. What was forgotten is not in it. Importing it into an empty store gives an equal one: the same spaces, ids, versions, contents and states.
(Positions and times of writing are the new store's own, and so are vectors, KV memories, indexes, and what is stale, which are made anew.)
`kernel.exchange` writes and reads the same lines in its archives.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.chain import Entry
from mnemos.base.cube import Content, State
from mnemos.base.errors import Conflict, Invalid, NotFound, PermissionDenied
from mnemos.base.ids import parse_id
from mnemos.base.lineage import ASSOCIATIONS, PART_OF
from mnemos.base.protocols import Progress
from mnemos.kernel.life.tending import LifecyclePolicy
from mnemos.kernel.lineage import readings
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.rights import governance
from mnemos.kernel.rights.governance import Access
from mnemos.kernel.rights.limits import use_quota
from mnemos.kernel.rights.space_settings import check_space_name, look_after
from mnemos.store.base import NewVersion, Snapshot, SpaceRow, VersionRow
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import restore
from mnemos.text.formats.jsonlines import read_export, write_export, write_export_stream

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

Line = dict[str, Any]

BATCH = 512
"""Lines that are imported in one transaction."""

_STANDING = ("state", "freeze", "unfreeze", "permission", "link")
_OPEN_SETTINGS = ("strategy", "lifecycle")
"""Settings of a space that whoever may read it may know; the others are its rules."""
_POSITIONAL = ("branch",)
"""Settings that speak of positions of this store's log, and mean nothing in another."""


def export_jsonl(memory: Mnemos, target: str | Path | IO[bytes], *, spaces: Iterable[str] | None = None, progress: Progress | None = None) -> int:
    """Write the spaces (None: all that may be read) to a file, whole or not at all, or to a binary stream; give the number of entries.

    Raises `NotFound` for an unknown space, and `Invalid` where the file exists already or cannot be written.
    """
    with memory.snapshot() as snapshot:
        access = memory.access(snapshot)
        rows = chosen_spaces(snapshot, access, spaces)
        header = {"store": snapshot.store_id(), "position": snapshot.position}
        entries = (line for _, line in Outgoing(snapshot, access, rows).entries(progress))
        if not isinstance(target, (str, Path)):
            return write_export_stream(target, entries, header=header)
        if Path(target).exists():
            raise Invalid(f"{target}: exists already; choose another name, or remove it first")
        return write_export(Path(target), entries, header=header)


def chosen_spaces(snapshot: Snapshot, access: Access, spaces: Iterable[str] | None) -> list[SpaceRow]:
    """The spaces called `spaces`, in that order, or all that may be read. Raises `NotFound`."""
    readable = {row.name: row for row in snapshot.spaces() if access.may("read", row.settings)}
    if isinstance(spaces, str):
        raise Invalid("spaces: expected a list of names, not one text")
    names = list(readable if spaces is None else dict.fromkeys(spaces))
    for name in names:
        if name not in readable:
            raise NotFound(f"export: there is no space {name!r} that you may read")
    return [readable[name] for name in names]


# ---- out --------------------------------------------------------------------------------------------------------------


class Outgoing:
    """What some spaces say, as far as `access` sees them: `chosen` are the cubes wanted (None: all); parts go with their documents. What language
    models have read of texts (`kernel.kv`) stays behind unless `kv`: it is made again from the texts, and fits one model alone."""

    def __init__(self, snapshot: Reader, access: Access, rows: Iterable[SpaceRow], chosen: Collection[UUID] | None = None,
                 kv: bool = False) -> None:  # fmt: skip
        self._snapshot = snapshot
        self._access = access
        self._rows = {row.num: row for row in rows}
        self._views = {row.num: Viewing(snapshot, row, access) for row in self._rows.values()}
        self._chosen = chosen
        self._held: dict[UUID, bool] = {}
        if not kv:
            self._held |= {row.content.id: False for space in self._rows for row in readings(snapshot, space)}

    def holds(self, cube: UUID) -> bool:
        """Whether the cube is among what is written."""
        if cube not in self._held:
            self._held[cube] = self._is_held(cube)
        return self._held[cube]

    def _is_held(self, cube: UUID) -> bool:
        standing = self._snapshot.standing(cube)
        if standing is None or standing.space not in self._rows:
            return False
        if self._access.principal is None and self._chosen is None:
            return True
        seqs = [entry.seq for entry in self._snapshot.entries_of(cube) if entry.kind in ("add", "update")]
        versions = self._snapshot.versions(seqs)
        whole = whole_of(versions[standing.seq].content)
        if self._chosen is not None and whole not in self._chosen:
            return False
        return all(self._views[standing.space].shows(row) for row in versions.values())  # a memory goes with its whole history, or stays

    def entries(self, progress: Progress | None = None) -> Iterator[tuple[int, Line]]:
        """(position in the log, line): the spaces first, with position 0, then what happened in them, in order."""
        for row in self._rows.values():
            yield 0, {"space": row.name, "settings": self._settings(row)}
        for entries in batches(entry for entry in self._snapshot.log(0) if entry.space in self._rows):
            versions = self._snapshot.versions([entry.seq for entry in entries if entry.kind in ("add", "update")])
            for entry in entries:
                line = self._line(entry, versions.get(entry.seq))
                if line is not None:
                    yield entry.seq, {"space": self._rows[entry.space].name, **line}
            if progress is not None:
                progress(entries[-1].seq, self._snapshot.position)

    def forgotten(self) -> Iterator[tuple[UUID, str]]:
        """(cube, space) of what was forgotten in these spaces, in the order of the log."""
        for entry in self._snapshot.log(0):
            if entry.kind == "forget" and entry.cube is not None and entry.space in self._rows:
                yield entry.cube, self._rows[entry.space].name

    def _settings(self, row: SpaceRow) -> Line:
        settings = portable(row.settings)
        if self._access.may("share", {**row.settings, "read_only": False}):
            return settings
        return {name: value for name, value in settings.items() if name in _OPEN_SETTINGS}

    def _line(self, entry: Entry, version: VersionRow | None) -> Line | None:
        if entry.cube is None or not self.holds(entry.cube):
            return None
        if entry.kind == "permission" and not self._may_share(entry.space, entry.cube):
            return None
        return line_of(self._snapshot, entry, version)

    def _may_share(self, space: int, cube: UUID) -> bool:
        standing = self._snapshot.standing(cube)
        return standing is not None and self._access.may("share", {**self._rows[space].settings, "read_only": False}, standing.acl)


def portable(settings: Mapping[str, Any]) -> Line:
    """The settings of a space that another store can have."""
    return {name: value for name, value in settings.items() if name not in _POSITIONAL}


def line_of(snapshot: Snapshot, entry: Entry, version: VersionRow | None) -> Line | None:
    """What an entry about a cube says, where its cube, and what it speaks of, is still there; None for what is made anew."""
    if entry.kind in ("add", "update"):
        return None if version is None else {"record": version.content.as_json()} | ({"body": entry.body_json()} if entry.body else {})
    if entry.cube is None or snapshot.standing(entry.cube) is None:
        return None
    body = entry.body_json()
    if entry.kind == "state":
        more = {name: value for name, value in body.items() if name not in ("from", "to")}
        return {"cube": str(entry.cube), "state": State(body["to"]).word} | ({"body": more} if more else {})
    if entry.kind in ("freeze", "unfreeze"):
        return {"cube": str(entry.cube), "frozen": entry.kind == "freeze"}
    if entry.kind == "permission":
        return {"cube": str(entry.cube), "acl": body["acl"]}
    if entry.kind == "link" and snapshot.standing(parse_id(body["to"])) is not None:
        return {"cube": str(entry.cube), "version": entry.version, "link": body}
    return None


# ---- in ---------------------------------------------------------------------------------------------------------------


def import_jsonl(memory: Mnemos, source: str | Path, *, progress: Progress | None = None) -> int:
    """Read an export into the store; give the number of entries that were new.

    The file is checked to its end before anything is written. What is there already, word for word, is left as it is, so that an interrupted
    import can be repeated; entries become durable in batches. Raises `Invalid` with the line, `Conflict` where an id stands for something
    else or was forgotten, `PermissionDenied`.
    """
    path = Path(source)
    total = sum(1 for _ in read_export(path))
    done = new = 0
    incoming = Incoming(memory, str(source))
    for batch in batches(enumerate(read_export(path), 2)):
        new += incoming.take(batch)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return new


@dataclass
class Incoming:
    """Lines on their way into a store. `name` is what messages call their source.

    `vector` gives the vector (float32 bytes) of a version where it is at hand, made by the store's own embedder; the rest is embedded here.
    `blob` gives the large payload that a record names by its SHA-256.
    """

    memory: Mnemos
    name: str
    vector: Callable[[Content], bytes | None] = lambda content: None
    blob: Callable[[str], bytes] | None = None
    new: Counter[str] = field(default_factory=Counter)
    """How many spaces, versions and changes of standing were new, in the batches that became durable."""
    _passed: Counter[UUID] = field(default_factory=Counter)
    """How many of each cube's changes of standing were read so far."""
    _read_only: set[str] = field(default_factory=set)
    """Spaces that are read-only in the source: its owner may fill them here all the same."""

    def begin_standing(self, passed: Mapping[UUID, int]) -> None:
        """Say of how many of a cube's changes of standing the lines have none, because they are here already."""
        self._passed.update(passed)

    def take(self, batch: Iterable[tuple[int, Line]]) -> int:
        """Import some (number, line) in one transaction; give how many were new."""
        prepared: list[tuple[str, Line, NewVersion | None]] = []
        with self.memory.snapshot() as snapshot:
            for number, line in batch:
                where = f"{self.name}: line {number}"
                try:
                    prepared.append((where, line, restore(self._content(snapshot, line["record"])) if "record" in line else None))
                except (Invalid, NotFound) as error:
                    raise Invalid(f"{where}: {error}") from None
        vectors = self._vectors([version for _, _, version in prepared if version])
        new: Counter[str] = Counter()
        with self.memory.writing(alone=True) as transaction:
            for where, line, version in prepared:
                kind = "versions" if version else "spaces" if "settings" in line else "standings"
                new[kind] += self._take(transaction, line, version, next(vectors) if version else None, where)
        self.new += new
        return new.total()

    def _content(self, snapshot: Snapshot, record: Any) -> Content:
        """The content of a record; a large payload that is new is in the store then, under the store's own name."""
        if not isinstance(record, Mapping):
            raise Invalid("the record is no object")
        content = Content.from_json(record)
        if content.blob is None or snapshot.version_seq(content.id, content.version) is not None:
            return content
        return replace(content, blob=self.memory.store.blobs.put(self._payload(content.blob)))

    def _payload(self, name: str) -> bytes:
        if self.blob is None:
            raise Invalid(f"{self.name}: JSON lines do not carry large payloads, such as {name[:16]}…; import an archive")
        return self.blob(name)

    def _vectors(self, versions: list[NewVersion]) -> Iterator[bytes | None]:
        known = [self.vector(version.content) for version in versions]
        rest = iter(self.memory.embedding.of_versions([version for version, vector in zip(versions, known, strict=True) if vector is None]))
        return iter([vector if vector is not None else next(rest) for vector in known])

    def _take(self, transaction: Writer, line: Line, version: NewVersion | None, vector: bytes | None, where: str) -> int:
        space = line.get("space")
        if not isinstance(space, str):
            raise Invalid(f"{where}: names no space")
        row = transaction.space(space)
        if "settings" in line:
            return self._take_space(transaction, space, row, line["settings"], where)
        if row is None:
            raise Invalid(f"{where}: speaks of space {space!r} before the line that describes it")
        settings = row.settings
        if self.memory.principal is None and space in self._read_only:
            settings = {**settings, "read_only": False}
        self.memory.access(transaction).require("write", space, settings)
        if version is None:
            return self._take_standing(transaction, row, line, where)
        return self._take_version(transaction, row, version, vector, line.get("body"), where)

    def _take_space(self, transaction: Writer, space: str, row: SpaceRow | None, given: Any, where: str) -> int:
        if not isinstance(given, Mapping):
            raise Invalid(f"{where}: the settings of a space are no object")
        if given.get("read_only"):
            self._read_only.add(space)
        if row is not None:
            return 0
        check_space_name(space)
        owner = given.get("owner")
        if not all(value is None or isinstance(value, str) for value in (owner, given.get("strategy"))):
            raise Invalid(f"{where}: owner and strategy of a space are texts")
        if given.get("lifecycle") is not None:
            LifecyclePolicy.from_json(given["lifecycle"])
        settings = {**portable(given), **governance.check_settings(given), "owner": self.memory.principal or owner}
        transaction.create_space(space, settings)
        look_after(self.memory, transaction, space, settings)
        return 1

    def _take_version(
        self, transaction: Writer, row: SpaceRow, version: NewVersion, vector: bytes | None, body: Any, where: str
    ) -> int:
        content = version.content
        present = transaction.version_seq(content.id, content.version)
        if present is not None:
            stored = transaction.versions([present])[present]
            self._require(transaction, row, content.id, "read", where)  # or one could guess at what one may not read
            if stored.space != row.num or not same(stored.content, content, self.memory.store.blobs.get, self._payload):
                raise Conflict(f"{where}: version {content.version} of cube {content.id} is in the store, and says something else")
            return 0
        linked = self._linked(transaction, row.num, content, where)
        if linked.derived_from != content.derived_from:
            version = NewVersion(linked, version.derived)
        if row.settings.get("quota"):
            use_quota(transaction, row.num, row.name, row.settings, [linked], int(content.version == 1 and whole_of(content) == content.id))
        if content.version == 1:
            seq = transaction.add(row.num, [version])[0]
        else:
            self._require(transaction, row, content.id, "write", where)
            seq = transaction.supersede(row.num, version, body if isinstance(body, Mapping) else None)
        self.memory.embedding.put(transaction, [seq], [vector])
        return 1

    def _take_standing(self, transaction: Writer, row: SpaceRow, line: Line, where: str) -> int:
        """Repeat a change of standing, unless it is in the store's own log already, in its place among the cube's changes."""
        cube = parse_id(line.get("cube", ""), f"{where}: cube")
        standing = transaction.standing(cube)
        if standing is None or standing.space != row.num:
            raise Invalid(f"{where}: cube {cube} is not in this space")
        self._require(transaction, row, cube, "read", where)
        told = (line_of(transaction, entry, None) for entry in transaction.entries_of(cube) if entry.kind in _STANDING)
        own = next(itertools.islice(filter(None, told), self._passed[cube], None), None)
        self._passed[cube] += 1
        if own == {key: value for key, value in line.items() if key != "space"}:
            return 0
        self._require(transaction, row, cube, "share" if "acl" in line else "write", where)
        if "state" in line:
            known = {state.word: state for state in State}
            if line["state"] not in known:
                raise Invalid(f"{where}: unknown state {str(line['state'])[:40]!r}")
            if standing.state is known[line["state"]]:
                return 0
            body = line.get("body")
            transaction.set_state(cube, known[line["state"]], body if isinstance(body, Mapping) else None)
        elif "frozen" in line:
            if standing.frozen is bool(line["frozen"]):
                return 0
            transaction.set_frozen(cube, bool(line["frozen"]))
        elif "acl" in line:
            acl = governance.check_rules(line["acl"])
            if standing.acl == acl:
                return 0
            transaction.set_acl(cube, acl)
        elif "link" in line:
            try:
                version, link = int(line["version"]), line["link"]
                other, of, relation = parse_id(link["to"]), int(link["version"]), str(link["relation"])
            except (KeyError, TypeError, ValueError) as error:
                raise Invalid(f"{where}: the link cannot be read ({error}); write the export again") from None
            home = transaction.standing(other)
            viewing = Viewing(transaction, self.memory.space_row(transaction, home.space), self.memory.access(transaction)) if home else None
            if viewing is None or not viewing.derivable(other):
                raise NotFound(f"{where}: cube {other}, to which cube {cube} is linked, is not there")
            transaction.link(cube, version, other, of, relation)
        else:
            raise Invalid(f"{where}: says nothing that is known; fields are {', '.join(sorted(line))[:200]}")
        return 1

    def _require(self, transaction: Writer, row: SpaceRow, cube: UUID, verb: str, where: str) -> None:
        """Hold an import to what its principal may do to a memory that is there already: what may not be read is not there, and rules of a memory's
        own hold. Raises `NotFound`, `PermissionDenied`."""
        access, standing = self.memory.access(transaction), transaction.standing(cube)
        if access.principal is None or standing is None or standing.space != row.num:
            return
        current = transaction.versions([standing.seq])[standing.seq]
        if not access.may("read", row.settings) or not Viewing(transaction, row, access).shows(current):
            raise NotFound(f"{where}: cube {cube} cannot be imported into space {row.name!r}: its id is taken")
        if not access.may(verb, row.settings, standing.acl):
            raise PermissionDenied(f"{where}: principal {access.principal!r} may not {verb} cube {cube}; ask the owner of its space")

    def _linked(self, snapshot: Snapshot, space: int, content: Content, where: str) -> Content:
        """The content with those of its links that lead somewhere: what it was derived from may have stayed behind. Raises `NotFound` where it
        was derived from what the caller may not use, `Conflict` where that was forgotten."""
        links = []
        for link in content.derived_from:
            standing = snapshot.standing(link.id)
            if link.version < 1 or (standing is not None and link.version > standing.version):
                raise Invalid(f"{where}: cube {content.id} is derived from version {link.version} of cube {link.id}, which has none of that number")
            if standing is not None and standing.space == space:
                links.append(link)
                continue
            owner = self.memory.principal is None
            if standing is None and owner and link.relation != PART_OF:
                if snapshot.forgotten(link.id) and link.relation not in ASSOCIATIONS:
                    raise Conflict(f"{where}: cube {content.id} is derived from cube {link.id}, which was forgotten here")
                continue
            viewing = Viewing(snapshot, self.memory.space_row(snapshot, standing.space), self.memory.access(snapshot)) if standing else None
            if viewing is None or link.relation == PART_OF or not viewing.derivable(link.id):
                raise NotFound(f"{where}: cube {link.id}, from which cube {content.id} is derived, is not there")
            links.append(link)
        return content if len(links) == len(content.derived_from) else replace(content, derived_from=tuple(links))


def same(stored: Content, given: Content, stored_blob: Callable[[str], bytes], given_blob: Callable[[str], bytes]) -> bool:
    """Whether a stored version says what a given one says: all of it, but that links whose other end stayed behind may lack, and that a large
    payload may have another name."""
    if None not in (stored.blob, given.blob) and stored.blob != given.blob and stored_blob(str(stored.blob)) == given_blob(str(given.blob)):
        given = replace(given, blob=stored.blob)
    if stored.derived_from != given.derived_from and set(stored.derived_from) <= set(given.derived_from):
        given = replace(given, derived_from=stored.derived_from)
    return stored.canonical() == given.canonical()


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """The items, `BATCH` at a time."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
