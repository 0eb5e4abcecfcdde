"""A store as JSON lines, and back: every version of every memory, in the order in which the log has them.

The file's form is that of `text.formats.jsonlines`. Each line is one entry: a space, a version (`record`), a state, a freeze, a link. What was
forgotten is not in it. Importing it into an empty store gives an equal one: the same spaces, ids, versions, contents and states. (Positions
and times of writing are the new store's own, and so are vectors and indexes, which are made anew.)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.chain import Entry
from mnemos.base.cube import Content, State
from mnemos.base.errors import Conflict, Invalid, NotFound
from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF
from mnemos.base.protocols import Progress
from mnemos.kernel import governance
from mnemos.kernel.viewing import Viewing
from mnemos.store.base import Snapshot, SpaceRow
from mnemos.store.sqlite_read import Reader
from mnemos.store.sqlite_write import Writer
from mnemos.text.encoding import restore
from mnemos.text.formats.jsonlines import read_export, write_export, write_export_stream

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

_BATCH = 512
_STANDING = ("state", "freeze", "unfreeze", "link")


def export_jsonl(memory: Mnemos, target: str | Path | IO[bytes], *, spaces: Iterable[str] | None = None, progress: Progress | None = None) -> int:
    """Write the spaces (None: all that may be read) to a file, whole or not at all, or to a binary stream; give the number of entries.

    Raises `NotFound` for an unknown space, and `Invalid` where the file exists already or cannot be written.
    """
    with memory.snapshot() as snapshot:
        known = {row.name: row for row in snapshot.spaces()}
        access = memory.access(snapshot)
        readable = [name for name, row in known.items() if access.may("read", row.settings)]
        names = readable if spaces is None else list(spaces)
        for name in names:
            if name not in readable:
                raise NotFound(f"export: there is no space {name!r} that you may read")
        header = {"store": snapshot.store_id(), "position": snapshot.position}
        entries = _entries(snapshot, [known[name] for name in names], progress)
        if not isinstance(target, (str, Path)):
            return write_export_stream(target, entries, header=header)
        if Path(target).exists():
            raise Invalid(f"{target}: exists already; choose another name, or remove it first")
        return write_export(Path(target), entries, header=header)


def _entries(snapshot: Reader, rows: list[SpaceRow], progress: Progress | None) -> Iterator[dict[str, Any]]:
    names = {row.num: row.name for row in rows}
    for row in rows:
        yield {"space": row.name, "settings": row.settings}
    for entries in _batches(entry for entry in snapshot.log(0) if entry.space in names):
        versions = snapshot.versions([entry.seq for entry in entries if entry.kind in ("add", "update")])
        for entry in entries:
            line = _line(snapshot, entry, versions.get(entry.seq))
            if line is not None:
                yield {"space": names[entry.space], **line}
        if progress is not None:
            progress(entries[-1].seq, snapshot.position)


def _line(snapshot: Snapshot, entry: Entry, version: Any) -> dict[str, Any] | None:
    """What the entry says, where its cube is still there."""
    if entry.kind in ("add", "update"):
        return None if version is None else {"record": version.content.as_json()} | ({"body": entry.body_json()} if entry.body else {})
    if entry.cube is None or snapshot.standing(entry.cube) is None:
        return None
    if entry.kind == "state":
        return {"cube": str(entry.cube), "state": State(entry.body_json()["to"]).word}
    if entry.kind in ("freeze", "unfreeze"):
        return {"cube": str(entry.cube), "frozen": entry.kind == "freeze"}
    if entry.kind == "link" and snapshot.standing(parse_id(entry.body_json()["to"])) is not None:
        return {"cube": str(entry.cube), "version": entry.version, "link": entry.body_json()}
    return None


def import_jsonl(memory: Mnemos, source: str | Path, *, progress: Progress | None = None) -> int:
    """Read an export into the store; give the number of entries that were new.

    The file is checked to its end before anything is written. What is there already, word for word, is left as it is, so that an interrupted
    import can be repeated; entries become durable in batches. Raises `Invalid` with the line, `Conflict` where an id stands for something
    else or was forgotten, `PermissionDenied`.
    """
    path = Path(source)
    total = sum(1 for _ in read_export(path))
    done = new = 0
    passed: Counter[UUID] = Counter()
    for batch in _batches(enumerate(read_export(path), 2)):
        new += _import_batch(memory, batch, str(source), passed)
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return new


def _import_batch(memory: Mnemos, batch: list[tuple[int, dict[str, Any]]], name: str, passed: Counter[UUID]) -> int:
    """Import some lines in one transaction. `passed`: how many of each cube's changes of standing were read so far."""
    prepared = []
    for number, line in batch:
        try:
            prepared.append((number, line, restore(Content.from_json(line["record"])) if "record" in line else None))
        except Invalid as error:
            raise Invalid(f"{name}: line {number}: {error}") from None
    vectors = dict(zip([n for n, _, v in prepared if v], memory.embed_versions([v for _, _, v in prepared if v]), strict=True))
    new = 0
    with memory.writing(alone=True) as transaction:
        for number, line, version in prepared:
            where = f"{name}: line {number}"
            space = line.get("space")
            if not isinstance(space, str):
                raise Invalid(f"{where}: names no space")
            row = transaction.space(space)
            if "settings" in line:
                if row is None:
                    settings = line["settings"] if isinstance(line["settings"], dict) else {}
                    memory.check_space_name(space)
                    governance.check_settings(settings)
                    transaction.create_space(space, {**settings, "owner": memory.principal or settings.get("owner")})
                    new += 1
                continue
            if row is None:
                raise Invalid(f"{where}: speaks of space {space!r} before the line that describes it")
            memory.access(transaction).require("write", space, row.settings)
            if version is not None:
                content = version.content
                present = transaction.version_seq(content.id, content.version)
                if present is not None:
                    stored = transaction.versions([present])[present]
                    if stored.space != row.num or stored.content.canonical() != content.canonical():
                        raise Conflict(f"{where}: version {content.version} of cube {content.id} is in the store, and says something else")
                    continue
                _check_sources(memory, transaction, row.num, content, where)
                seq = transaction.add(row.num, [version])[0] if content.version == 1 else transaction.supersede(row.num, version, line.get("body"))
                memory.put_vectors(transaction, [seq], [vectors[number]])
                new += 1
            else:
                new += _import_standing(transaction, row.num, line, where, passed)
    return new


def _check_sources(memory: Mnemos, snapshot: Snapshot, space: int, content: Content, where: str) -> None:
    """Raise `NotFound` where the content is derived from what may not be read, or claims to be a part of another space's document."""
    for link in content.derived_from:
        standing = snapshot.standing(link.id)
        if standing is None or standing.space == space:
            continue
        viewing = Viewing(snapshot, memory.space_row(snapshot, standing.space), memory.access(snapshot))
        if link.relation == PART_OF or not viewing.derivable(link.id):
            raise NotFound(f"{where}: cube {link.id}, from which cube {content.id} is derived, is not there")


def _import_standing(transaction: Writer, space: int, line: dict[str, Any], where: str, passed: Counter[UUID]) -> int:
    """Repeat a change of standing, unless it is in the store's own log already, in its place among the cube's changes."""
    cube = parse_id(line.get("cube", ""), f"{where}: cube")
    standing = transaction.standing(cube)
    if standing is None or standing.space != space:
        raise Invalid(f"{where}: cube {cube} is not in this space")
    told = (_line(transaction, entry, None) for entry in transaction.entries_of(cube) if entry.kind in _STANDING)
    own = next(itertools.islice(filter(None, told), passed[cube], None), None)
    passed[cube] += 1
    if own == {key: value for key, value in line.items() if key != "space"}:
        return 0
    if "state" in line:
        known = {state.word: state for state in State}
        if line["state"] not in known:
            raise Invalid(f"{where}: unknown state {str(line['state'])[:40]!r}")
        if standing.state is known[line["state"]]:
            return 0
        transaction.set_state(cube, known[line["state"]])
    elif "frozen" in line:
        if standing.frozen is bool(line["frozen"]):
            return 0
        transaction.set_frozen(cube, bool(line["frozen"]))
    elif "link" in line:
        try:
            version, link = int(line["version"]), line["link"]
            other, of, relation = parse_id(link["to"]), int(link["version"]), str(link["relation"])
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid(f"{where}: the link cannot be read ({error}); write the export again") from None
        transaction.link(cube, version, other, of, relation)
    else:
        raise Invalid(f"{where}: says nothing that is known; fields are {', '.join(sorted(line))[:200]}")
    return 1


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
