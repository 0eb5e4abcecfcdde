"""Reading a SQLite store: the verbs of `Snapshot` over one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import apsw
import numpy as np
import orjson
from numpy.typing import NDArray

from mnemos.base.chain import Entry
from mnemos.base.cube import EMPTY, Content, Json, Link, State
from mnemos.base.errors import Corrupt
from mnemos.base.predicate import matches
from mnemos.store.base import Derivation, Filter, Heat, SpaceRow, Standing, VersionRow
from mnemos.store.sqlite_jobs import JobReader

VERSION_COLUMNS = (
    "v.seq, v.space, v.cube, v.version, v.type, v.author, v.source, v.created_at, v.event_at, v.valid_from, v.valid_to, v.expires_at, "
    "v.tags, v.metadata, v.more, v.salt, v.text, v.died, v.terms IS NULL, v.stale"
)
ENTRY_COLUMNS = "seq, at, kind, space, cube, version, actor, digest, body, hash"
ENTRIES = (
    "WITH RECURSIVE entry(seq) AS (SELECT last FROM cube WHERE id = ?1 UNION ALL SELECT seq FROM forgotten WHERE id = ?1 "
    "UNION ALL SELECT l.previous FROM entry e JOIN log l ON l.seq = e.seq WHERE l.previous IS NOT NULL) "
)
"""Before a SELECT: `entry` holds the positions of the log's entries of the cube ?1, newest first."""
_CHUNK = 500
_LISTED = "c.acl ->> '$.read' IS NULL OR EXISTS (SELECT 1 FROM json_each(c.acl, '$.read') WHERE value IN (SELECT value FROM json_each(?)))"
_LABEL = "CASE WHEN v.more IS NULL THEN NULL ELSE v.more ->> '$.sensitivity' END"


def content_of(row: tuple[Any, ...]) -> Content:
    """The content of a `version` row that was read in the order of `VERSION_COLUMNS`."""
    more = orjson.loads(row[14]) if row[14] else EMPTY
    return Content(
        id=UUID(bytes=row[2]),
        version=row[3],
        type=row[4],
        author=row[5],
        source=row[6],
        created_at=row[7],
        event_at=row[8],
        valid_from=row[9],
        valid_to=row[10],
        expires_at=row[11],
        tags=tuple(orjson.loads(row[12])) if row[12] else (),
        metadata=orjson.loads(row[13]) if row[13] else EMPTY,
        text=row[16],
        kind=more.get("kind", "text"),
        origin=more.get("origin", "user"),
        blob=more.get("blob"),
        place=more.get("place"),
        sensitivity=more.get("sensitivity"),
        priority=more.get("priority"),
        fingerprint=more.get("fingerprint"),
        entities=tuple(more.get("entities", ())),
        parents=tuple(more.get("parents", ())),
        derived_from=tuple(Link(UUID(i), v, r) for i, v, r in more.get("derived_from", ())),
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    seq, at, kind, space, cube, version, actor, digest, body, hash_ = row
    return Entry(seq, at, kind, space, UUID(bytes=cube) if cube else None, version, actor, digest, body, hash_)


class Reader(JobReader):
    """The verbs of `Snapshot`. `position` is the newest entry that this reader sees."""

    _text_size = "octet_length(text)"

    _has_payload = "terms IS NULL AND more IS NOT NULL AND more ->> '$.blob' IS NOT NULL"
    """SQL for the bytes of a version's text."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._db = connection
        self._path = path
        self.position: int = connection.execute("SELECT coalesce(max(seq), 0) FROM log").get

    # -- how things stand in the tables; otherwise in a sealed store (`store.sqlite_sealed`) --
    _version_columns = VERSION_COLUMNS

    def _version(self, row: Any) -> Any:
        """A row that was read by `_version_columns`, in the order of `VERSION_COLUMNS`; what follows these stays."""
        return row

    def _logged(self, row: Any) -> Entry:
        """The entry of a row that was read by `ENTRY_COLUMNS`."""
        return entry_of(row)

    def _body(self, seq: int, stored: str) -> str:
        """What the log's entry `seq` says, from its column `body`."""
        return stored

    # -- spaces --
    def spaces(self) -> list[SpaceRow]:
        return [self._space(row) for row in self._db.execute("SELECT num, name, created_at, settings FROM space ORDER BY num")]

    def space(self, name: str) -> SpaceRow | None:
        row = self._db.execute("SELECT num, name, created_at, settings FROM space WHERE name = ?", (self._word("space", name),)).fetchone()
        return self._space(row) if row else None

    def space_numbered(self, num: int) -> SpaceRow | None:
        row = self._db.execute("SELECT num, name, created_at, settings FROM space WHERE num = ?", (num,)).fetchone()
        return self._space(row) if row else None

    def _space(self, row: Any) -> SpaceRow:
        num, name, at, settings = row
        return SpaceRow(num, self._said("space", name), at, orjson.loads(self._told(f"space {num}", settings)))

    def store_id(self) -> str:
        """The id that this store got when it was made."""
        return bytes(self._db.execute("SELECT value FROM store WHERE key = 'id'").get).hex()

    # -- cubes --
    def standing(self, cube: UUID) -> Standing | None:
        row = self._db.execute("SELECT space, seq, version, state, frozen, acl FROM cube WHERE id = ?", (cube.bytes,)).fetchone()
        return Standing(cube, row[0], row[1], row[2], State(row[3]), bool(row[4]), self._rules(cube.bytes, row[5])) if row else None

    def _rules(self, cube: bytes, acl: str | None) -> Json | None:
        """A cube's own rules, from its column `acl`."""
        found: Json | None = None if acl is None else orjson.loads(self._told(f"acl {cube.hex()}", acl))
        return found

    def forgotten(self, cube: UUID) -> bool:
        found = self._db.execute("SELECT 1 FROM forgotten WHERE id = ?", (cube.bytes,)).fetchone()
        return found is not None

    def versions(self, seqs: Sequence[int]) -> dict[int, VersionRow]:
        """The rows at `seqs`; those that were forgotten are missing. Raises `Corrupt` where a row is not what the log says."""
        out: dict[int, VersionRow] = {}
        for start in range(0, len(seqs), _CHUNK):
            part = [int(seq) for seq in seqs[start : start + _CHUNK]]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                f"SELECT {self._version_columns}, l.at, l.digest, c.state, c.frozen, c.seq, c.acl FROM version v JOIN log l ON l.seq = v.seq "
                f"LEFT JOIN cube c ON c.id = v.cube WHERE v.seq IN ({marks})",
                part,
            )
            for stored in rows:
                row = self._version(stored)
                content = content_of(row)
                if content.digest(row[15]) != row[21]:
                    raise Corrupt(
                        f"{self._path}: version {content.version} of cube {content.id} (log position {row[0]}) is not what the log says was "
                        "written; run `mnemos doctor`, or restore a backup"
                    )
                out[row[0]] = VersionRow(
                    seq=row[0],
                    space=row[1],
                    content=content,
                    updated_at=row[20],
                    digest=row[21],
                    state=State(row[22] or 0),
                    frozen=bool(row[23]),
                    current=row[24] == row[0],
                    has_parts=bool(row[18]) and content.text is None,
                    stale=row[19],
                    acl=self._rules(row[2], row[25]),
                )
        return out

    def version_seq(self, cube: UUID, version: int) -> int | None:
        """The position of version `version` of a cube that still exists, or None."""
        found: int | None = self._db.execute(
            ENTRIES + "SELECT v.seq FROM entry e JOIN version v ON v.seq = e.seq WHERE v.version = ?2",
            (cube.bytes, version),
        ).get
        return found

    def seq_at(self, cube: UUID, position: int) -> int | None:
        """The position of the version that was current when the log ended at `position`, or None."""
        found: int | None = self._db.execute(
            ENTRIES + "SELECT max(v.seq) FROM entry e JOIN version v ON v.seq = e.seq WHERE v.seq <= ?2",
            (cube.bytes, position),
        ).get
        return found

    def entries_of(self, cube: UUID) -> list[Entry]:
        rows = self._db.execute(ENTRIES + f"SELECT {ENTRY_COLUMNS} FROM entry JOIN log USING (seq) ORDER BY seq", (cube.bytes,))
        return [self._logged(row) for row in rows]

    def expired(self, now: int) -> list[UUID]:
        """Cubes whose time is over, and whose state does not say so yet."""
        rows = self._db.execute(
            "SELECT c.id FROM version v JOIN cube c ON c.id = v.cube AND c.seq = v.seq "
            "WHERE v.expires_at <= ? AND c.state != ? AND c.frozen = 0",
            (now, int(State.EXPIRED)),
        )
        return [UUID(bytes=row[0]) for row in rows]

    def parts(self, cube: UUID, version: int) -> list[int]:
        """The current versions of the parts of a document's version, in reading order."""
        rows = self._db.execute(
            "SELECT DISTINCT c.seq FROM edge e JOIN cube c ON c.id = e.child WHERE e.parent = ? AND e.parent_version = ? "
            "AND e.relation = 'part_of' ORDER BY e.child",
            (cube.bytes, version),
        )
        return [row[0] for row in rows]

    def children(self, cube: UUID) -> list[tuple[UUID, int, str]]:
        """What was derived from a cube: (child, version of the parent that it was made from, relation)."""
        rows = self._db.execute("SELECT child, parent_version, relation FROM edge WHERE parent = ? ORDER BY child", (cube.bytes,))
        return [(UUID(bytes=row[0]), row[1], self._said("edge", row[2])) for row in rows]

    def derivations(self, cube: UUID) -> list[Derivation]:
        """The edges that lead to a cube or from it, in the order of the children and their versions."""
        rows = self._db.execute(
            "SELECT child, version, parent, parent_version, relation FROM edge WHERE parent = ?1 UNION "
            "SELECT child, version, parent, parent_version, relation FROM edge WHERE child = ?1 ORDER BY child, version, parent",
            (cube.bytes,),
        )
        return [Derivation(UUID(bytes=row[0]), row[1], UUID(bytes=row[2]), row[3], self._said("edge", row[4])) for row in rows]

    # -- beside the cubes --
    def setting(self, name: str) -> Any:
        """The value of a setting of the store; None where it was never set."""
        found = self._db.execute("SELECT value FROM setting WHERE name = ?", (self._word("setting", name),)).get
        return None if found is None else orjson.loads(self._told(f"setting {name}", found))

    def settings(self, prefix: str = "") -> dict[str, Any]:
        """The settings whose names begin with `prefix`."""
        rows = self._db.execute("SELECT name, value FROM setting WHERE substr(name, 1, ?2) = ?1 ORDER BY name", (prefix, len(prefix)))
        return {name: orjson.loads(value) for name, value in rows}

    def settings_position(self) -> int:
        """The position of the newest entry that changed a setting of the store; 0 where none ever did."""
        found: int | None = self._db.execute("SELECT value FROM store WHERE key = 'newest setting'").get
        return found or 0

    def counter(self, name: str) -> int:
        """What `count_up` has counted under a name."""
        found: int | None = self._db.execute("SELECT value FROM counter WHERE name = ?", (self._word("counter", name),)).get
        return found or 0

    def usage(self, space: int) -> dict[str, int]:
        """What a space holds: `cubes` (whole memories) and `bytes` (of the texts of all versions)."""
        size = self._db.execute(f"SELECT coalesce(sum({self._text_size}), 0) FROM version WHERE space = ?", (space,)).get
        return {"cubes": self.count(space)["cubes"], "bytes": size}

    def idle(self, space: int, before: int) -> list[UUID]:
        """Whole memories of a space that are in use and not frozen, and that were neither written nor, as far as was noted, used since
        `before`."""
        rows = self._db.execute(
            "SELECT c.id FROM version v JOIN cube c ON c.seq = v.seq JOIN log l ON l.seq = v.seq LEFT JOIN heat h ON h.cube = c.id "
            "WHERE v.space = ? AND v.part_of IS NULL AND c.state IN (?, ?) AND c.frozen = 0 AND l.at < ? AND coalesce(h.at, 0) < ? ORDER BY v.seq",
            (space, int(State.GENERATED), int(State.ACTIVATED), before, before),
        )
        return [UUID(bytes=row[0]) for row in rows]

    def used(self, space: int) -> list[UUID]:
        """Memories of a space that were used while they were not in use: generated ones, and archived ones to which nothing has happened since.
        Frozen ones are left out."""
        rows = self._db.execute(
            "SELECT h.cube FROM heat h JOIN cube c ON c.id = h.cube JOIN log l ON l.seq = c.last "
            "WHERE c.space = ? AND c.frozen = 0 AND (c.state = ? OR (c.state = ? AND h.at > l.at)) ORDER BY c.seq",
            (space, int(State.GENERATED), int(State.ARCHIVED)),
        )
        return [UUID(bytes=row[0]) for row in rows]

    def heat(self, cubes: Iterable[UUID] | None = None) -> dict[UUID, Heat]:
        """How much cubes are used, of those that ever were; None asks for all."""
        columns = "SELECT cube, hits, value, at, recent FROM heat"
        if cubes is None:
            rows: list[Any] = self._db.execute(columns).fetchall()
        else:
            rows = [row for cube in cubes for row in self._db.execute(columns + " WHERE cube = ?", (cube.bytes,))]
        return {
            UUID(bytes=row[0]): Heat(row[1], row[2], row[3], tuple(int.from_bytes(row[4][i : i + 8], "big") for i in range(0, len(row[4]), 8)))
            for row in rows
        }

    def query(self, space: int, where: Filter, *, after: int, limit: int, now: int, at: int | None = None) -> list[int]:
        """Positions, ascending from beyond `after`, of the versions that pass `where`; at most `limit`.

        Versions are those that were current when the log ended at `at` (None: that are current now).
        """
        end = self.position if at is None else at
        then = {} if at is None else self.states_at(space, at)
        wanted = where.states if where.states is not None else (State.GENERATED, State.ACTIVATED)
        out: list[int] = []
        for seq, cube, state, metadata in self._candidates(space, where, after, now, end):
            if (then.get(UUID(bytes=cube), state) if then else state) not in wanted:
                continue
            if where.where and not matches(orjson.loads(metadata) if metadata else EMPTY, where.where):
                continue
            out.append(seq)
            if len(out) >= limit:
                break
        return out

    def _candidates(
        self, space: int, where: Filter, after: int, now: int, end: int, columns: str = "v.seq, v.cube, c.state, v.metadata"
    ) -> Iterator[Any]:
        """(seq, cube, state, metadata) of the versions that pass all of `where` but states and metadata; see `query`."""
        conditions = ["v.space = ?1", "v.seq > ?2", "v.seq <= ?4", "(v.died IS NULL OR v.died > ?4)", "(v.expires_at IS NULL OR v.expires_at > ?3)"]
        values: list[Any] = [space, after, now, end]

        def add(condition: str, value: Any) -> None:
            values.append(value)
            conditions.append(condition.replace("?", f"?{len(values)}"))

        if not where.parts:
            conditions.append("v.part_of IS NULL")
        if where.types is not None:
            add("v.type IN (SELECT value FROM json_each(?))", orjson.dumps(where.types).decode())
        if where.author is not None:
            add("v.author = ?", where.author)
        if where.source is not None:
            add("v.source = ?", where.source)
        if where.since is not None:
            add("coalesce(v.event_at, v.created_at) >= ?", where.since)
        if where.until is not None:
            add("coalesce(v.event_at, v.created_at) < ?", where.until)
        if where.valid_at is not None:
            add("(v.valid_from IS NULL OR v.valid_from <= ?)", where.valid_at)
            add("(v.valid_to IS NULL OR v.valid_to > ?)", where.valid_at)
        if where.stale is not None:
            add("(v.stale IS NOT NULL AND v.stale <= ?)" if where.stale else "(v.stale IS NULL OR v.stale > ?)", end)
        if where.readers is not None:
            add(f"(c.acl IS NULL OR {_LISTED})", orjson.dumps(where.readers).decode())
        if where.labels is not None:
            add(f"({_LABEL} IS NULL OR {_LABEL} IN (SELECT value FROM json_each(?)))", orjson.dumps(where.labels).decode())
        for tag in where.tags or ():
            add("EXISTS (SELECT 1 FROM json_each(v.tags) WHERE value = ?)", tag)
        sql = f"SELECT {columns} FROM version v JOIN cube c ON c.id = v.cube WHERE {' AND '.join(conditions)} ORDER BY v.seq"
        return iter(self._db.execute(sql, values))

    # -- the log --
    def log(self, since: int, limit: int | None = None) -> Iterator[Entry]:
        """Entries after position `since`, oldest first."""
        rows = self._db.execute(
            f"SELECT {ENTRY_COLUMNS} FROM log WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (since, self.position, -1 if limit is None else limit)
        )
        return map(self._logged, rows)

    def position_at(self, micros: int) -> int:
        """The newest position whose entry was written at or before `micros` (times in the log never go back)."""
        low, high = 0, self.position
        while low < high:
            middle = (low + high + 1) // 2
            if self._db.execute("SELECT at FROM log WHERE seq = ?", (middle,)).get <= micros:
                low = middle
            else:
                high = middle - 1
        return low

    def states_at(self, space: int, position: int) -> dict[UUID, State]:
        """The state, when the log ended at `position`, of each cube of the space whose state changed since."""
        out: dict[UUID, State] = {}
        rows = self._db.execute(
            "SELECT cube, seq, body FROM log WHERE kind = 'state' AND space = ? AND seq > ? ORDER BY seq", (space, position)
        )
        for cube, seq, body in rows:
            out.setdefault(UUID(bytes=cube), State(orjson.loads(self._body(seq, body))["from"]))
        return out

    def blob_names(self, searched: bool = True) -> set[str]:
        """The files of the blobs that versions speak of; without `searched` those of what no search finds, which are as good as all, and found at
        once."""
        where = "more IS NOT NULL AND more ->> '$.blob' IS NOT NULL" if searched else self._has_payload
        return {name for (name,) in self._db.execute(f"SELECT DISTINCT more ->> '$.blob' FROM version WHERE {where}")}

    def payloads(self, space: int | None = None, readers: Sequence[str] | None = None) -> list[int]:
        """The positions of the versions that speak of a large payload, in a space or in all, ascending; with `readers` those of memories alone that
        have no rule of who reads them, or one that names one of these."""
        where = f"{self._has_payload} AND (?1 IS NULL OR space = ?1)"
        if readers is None:
            return [seq for (seq,) in self._db.execute(f"SELECT seq FROM version WHERE {where} ORDER BY seq", (space,))]
        listed = f"EXISTS (SELECT 1 FROM cube c WHERE c.id = version.cube AND (c.acl IS NULL OR {_LISTED.replace('?', '?2')}))"
        names = orjson.dumps(list(readers)).decode()
        return [seq for (seq,) in self._db.execute(f"SELECT seq FROM version WHERE {where} AND {listed} ORDER BY seq", (space, names))]

    # -- what the indexes are made from --
    def index_rows(self, space: int, since: int) -> Iterator[tuple[Any, ...]]:
        """Searchable versions of a space written after `since`, oldest first:
        (seq, cube, died, state, type, author, source, created_at, event_at, valid_from, valid_to, expires_at, tags, thread, flags, moments,
        terms, part_of, stale, acl, sensitivity). A missing time is the smallest integer, a missing end the largest.
        """
        return iter(
            self._db.execute(
                "SELECT v.seq, v.cube, coalesce(v.died, :never), c.state, v.type, v.author, v.source, v.created_at, "
                "coalesce(v.event_at, :unknown), coalesce(v.valid_from, :unknown), coalesce(v.valid_to, :never), "
                f"coalesce(v.expires_at, :never), v.tags, v.thread, v.flags, v.moments, v.terms, v.part_of, coalesce(v.stale, :never), "
                f"c.acl, {_LABEL} "
                "FROM version v JOIN cube c ON c.id = v.cube WHERE v.space = :space AND v.seq > :since AND v.terms IS NOT NULL ORDER BY v.seq",
                {"space": space, "since": since, "never": 2**63 - 1, "unknown": -(2**63)},
            )
        )

    def index_changes(self, space: int, since: int) -> Iterator[Entry]:
        """Entries after `since` that change rows of a space which an index already holds."""
        rows = self._db.execute(
            f"SELECT {ENTRY_COLUMNS} FROM log WHERE seq > ? AND space = ? AND kind IN ('update', 'state', 'stale', 'permission', 'forget') "
            "ORDER BY seq",
            (since, space),
        )
        return map(self._logged, rows)

    def vector_round(self) -> int:
        """Rises whenever vectors of versions that had been written before are replaced."""
        found: int | None = self._db.execute("SELECT value FROM store WHERE key = 'vector round'").get
        return found or 0

    def metadata(self, space: int, since: int) -> Iterator[tuple[int, str | None]]:
        """(seq, metadata as JSON) of the searchable versions of a space after `since`, oldest first."""
        return iter(
            self._db.execute(
                "SELECT seq, metadata FROM version WHERE space = ? AND seq > ? AND terms IS NOT NULL ORDER BY seq", (space, since)
            )
        )

    def vectors(self, space: int, since: int) -> Iterator[tuple[int, int, bytes]]:
        """(seq, embedder, float32 bytes) of a space's vectors after `since`, oldest first."""
        return iter(
            self._db.execute(
                "SELECT x.seq, x.embedder, x.value FROM version v JOIN vector x ON x.seq = v.seq WHERE v.space = ? AND v.seq > ? ORDER BY v.seq",
                (space, since),
            )
        )

    def vectors_at(self, space: int, seqs: NDArray[np.int64]) -> Iterator[tuple[int, int, bytes]]:
        """(seq, embedder, float32 bytes) of those of a space's vectors that lie at the log positions `seqs` (m,), oldest first."""
        wanted = orjson.dumps(seqs.tolist()).decode()
        return iter(
            self._db.execute(
                "SELECT x.seq, x.embedder, x.value FROM version v JOIN vector x ON x.seq = v.seq "
                "WHERE v.space = ? AND v.seq IN (SELECT value FROM json_each(?)) ORDER BY v.seq",
                (space, wanted),
            )
        )

    def newest_forget(self) -> str:
        """What changes whenever something is forgotten, and is the same in no two histories: how many cubes are, and the log's entry of the last."""
        count: int = self._db.execute("SELECT count(*) FROM forgotten").get
        seq: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM forgotten").get
        entry = next(iter(self.log(seq - 1, 1)), None) if seq else None
        return f"{count} {seq} {entry.hash.hex() if entry is not None else ''}"

    def vector_positions(self, space: int, embedder: int) -> NDArray[np.int64]:
        """The log positions (n,) of a space's versions that have a vector of an embedder, ascending."""
        rows = self._db.execute(
            "SELECT x.seq FROM version v JOIN vector x ON x.seq = v.seq WHERE v.space = ? AND x.embedder = ? ORDER BY x.seq", (space, embedder)
        )
        return np.fromiter((seq for (seq,) in rows), dtype=np.int64)

    def embedders(self) -> dict[int, tuple[str, int]]:
        """Number → (fingerprint, dimensions) of the embedders whose vectors the store holds."""
        return {num: (name, size) for num, name, size in self._db.execute("SELECT num, fingerprint, dimensions FROM embedder")}

    def unembedded(self, embedder: int, after: int, limit: int) -> list[tuple[int, int, str]]:
        """(seq, space, text) of searchable versions that have no vector of `embedder`, beyond `after`."""
        rows: list[Any] = self._db.execute(
            "SELECT v.seq, v.space, v.text FROM version v LEFT JOIN vector x ON x.seq = v.seq AND x.embedder = ? "
            "WHERE v.seq > ? AND x.seq IS NULL AND v.terms IS NOT NULL ORDER BY v.seq LIMIT ?",
            (embedder, after, limit),
        ).fetchall()
        return rows

    def count_unembedded(self, embedder: int) -> int:
        """How many searchable versions have no vector of `embedder`."""
        found: int = self._db.execute(
            "SELECT count(*) FROM version v LEFT JOIN vector x ON x.seq = v.seq AND x.embedder = ? WHERE x.seq IS NULL AND v.terms IS NOT NULL",
            (embedder,),
        ).get
        return found

    def count_unsearched(self) -> int:
        """How many versions no search finds, so that they never have a vector: documents, which are found by their parts, and what is no text."""
        found: int = self._db.execute("SELECT count(*) FROM version WHERE terms IS NULL").get
        return found

    def count(self, space: int | None = None) -> dict[str, int]:
        """How many cubes, versions, vectors and log entries there are, in a space or in all."""
        if space is None:
            names = (("cubes", "cube"), ("versions", "version"), ("vectors", "vector"), ("entries", "log"))
            return {name: self._db.execute(f"SELECT count(*) FROM {table}").get for name, table in names}
        cubes = self._db.execute(
            "SELECT count(*) FROM version v JOIN cube c ON c.seq = v.seq WHERE v.space = ? AND v.part_of IS NULL", (space,)
        ).get
        versions = self._db.execute("SELECT count(*) FROM version WHERE space = ?", (space,)).get
        return {"cubes": cubes, "versions": versions}
