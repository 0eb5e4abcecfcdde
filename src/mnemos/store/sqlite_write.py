"""Writing a SQLite store: the verbs of `Transaction` over the one writing connection."""

from __future__ import annotations

import hashlib
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

import apsw
import orjson

from mnemos.base.chain import GENESIS, entry_hash
from mnemos.base.clock import Clock
from mnemos.base.cube import Content, Json, State
from mnemos.base.errors import Conflict, Frozen, MnemosError, NotFound
from mnemos.base.lineage import PART_OF, SETTLED
from mnemos.store import sqlite_erase
from mnemos.store.base import Heat, NewVersion, SpaceRow, Standing, Tombstone
from mnemos.store.sqlite_faults import Severed
from mnemos.store.sqlite_jobs import JobWriter
from mnemos.store.sqlite_read import ENTRIES, Reader

SALT_BYTES = 16
_LOG = "INSERT INTO log(seq, at, kind, space, cube, version, actor, digest, body, hash) VALUES(?,?,?,?,?,?,?,?,?,?)"
_VERSION = (
    "INSERT INTO version(seq, cube, version, space, type, author, source, created_at, event_at, valid_from, valid_to, expires_at, tags, "
    "metadata, more, salt, text, died, part_of, thread, flags, moments, terms, stale) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,?,?,?,?,?,NULL)"
)
_LOG_OF_CUBE = _LOG.replace("hash)", "hash, previous)").replace("?)", "?,(SELECT last FROM cube WHERE id = ?5))")
_CUBE = (
    "INSERT INTO cube(id, space, seq, version, state, frozen, last) SELECT ?1, num, ?3, ?4, 0, 0, ?3 FROM space "
    "WHERE num = ?2 AND NOT EXISTS (SELECT 1 FROM forgotten WHERE id = ?1)"
)
_EDGE = "INSERT OR IGNORE INTO edge(child, version, parent, parent_version, relation) VALUES(?,?,?,?,?)"
VECTOR_SQL = "INSERT OR REPLACE INTO vector(seq, space, embedder, value) SELECT seq, space, ?, ? FROM version WHERE seq = ?"
_SETTLED = ", ".join(f"'{relation}'" for relation in sorted(SETTLED))
_MORE = ("blob", "place", "sensitivity", "priority", "fingerprint")
_MORE_OF = operator.attrgetter(*_MORE)


def _json(value: Any) -> str | None:
    return orjson.dumps(value).decode() if value else None


def _more(content: Content) -> str | None:
    """The rarely used fields, as one JSON text."""
    more: dict[str, Any] = {}
    for name, value in zip(_MORE, _MORE_OF(content), strict=True):
        if value is not None:
            more[name] = value
    if content.kind != "text":
        more["kind"] = content.kind
    if content.origin != "user":
        more["origin"] = content.origin
    if content.entities:
        more["entities"] = content.entities
    if content.parents:
        more["parents"] = content.parents
    if content.derived_from:
        more["derived_from"] = [[str(link.id), link.version, link.relation] for link in content.derived_from]
    return _json(more)


def _links(more: str | None) -> list[Any]:
    """The lineage links in the rarely used fields of a stored version."""
    return orjson.loads(more).get("derived_from", []) if more else []


def openings_digest(salts: Sequence[bytes]) -> str:
    """What a forget entry says of the salts that it hands out: enough to recognise them, nothing to learn from."""
    return hashlib.sha256(b"".join(salts)).hexdigest()


class Spaces:
    """What writers of one open store know of its spaces. `highest`: the highest number that a space got, also where its transaction was undone:
    the number is not given again, so that nobody who still holds it writes to another space. `held`: what a space held when the log ended at
    an entry, by its position and hash."""

    def __init__(self) -> None:
        self.highest = 0
        self.held: dict[int, tuple[int, bytes, dict[str, int]]] = {}


class Mark(NamedTuple):
    """Where a writer stood."""

    position: int
    at: int
    hash: bytes
    removed_blobs: int
    forgets: int
    forgotten_ids: int
    to_erase: list[bytes] | None
    token: bytes | None


class Remains(NamedTuple):
    """What forgetting needs of a version."""

    seq: int
    salt: bytes
    digest: bytes
    blob: str | None


class Writer(JobWriter, Reader):
    """The verbs of `Transaction`. It reads its own writes."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        clock: Clock,
        actor: str | None,
        spaces: Spaces,
        newest: tuple[int, bytes, int] | None = None,
    ) -> None:
        """`newest` is what the log ends with, where it is known: `newest()` of the writer before, in the same transaction of SQLite."""
        self._db = connection
        self._path = path
        self._clock = clock
        self.actor = actor
        if newest is None:
            newest = cast(Any, connection.execute("SELECT seq, hash, at FROM log ORDER BY seq DESC LIMIT 1").fetchone()) or (0, GENESIS, 0)
        self.position: int = newest[0]
        self._hash: bytes = newest[1]
        self._at: int = newest[2]
        self._spaces = spaces
        self.removed_blobs: list[str] = []
        self.forgotten_ids: list[UUID] = []
        self.forgets: list[int] = []
        """Positions of the forgets whose traces are to be erased after the commit."""
        self.to_erase: list[bytes] | None = None
        self.afterwards: list[Callable[[], object]] = []
        """What is to be called once the transaction is durable. What a part of it asked for that was undone is called as well."""
        self.started = self.position
        self.written: dict[int, tuple[int, bytes]] = {}
        """Position → (time of writing, digest) of the versions that the latest `add` wrote."""
        self.dooms = False
        """Whether keys are to be destroyed after the commit; never without sealing."""
        self.stale_from_birth: set[UUID] = set()
        """Those of the cubes that the latest `add` wrote which are stale already."""
        self.derived: dict[int, Any] = {}
        """What the caller derived, by space, from this transaction's own writes; gone where a part of them is undone."""
        self.new_embedder = False
        self.token: bytes | None = None
        """What the store's row 'newest unlogged' holds by this transaction, where it wrote anything that the log does not tell of."""

    def newest(self) -> tuple[int, bytes, int]:
        """Position, hash and time of the newest entry, this transaction's included."""
        return self.position, self._hash, self._at

    @property
    def connection(self) -> apsw.Connection:
        return self._db

    def sever(self, dead: Severed) -> None:
        """The transaction is over, undone by SQLite: let nothing more be written or read through this writer."""
        self._db = cast(apsw.Connection, dead)

    def mark(self) -> Mark:
        """Where this writer stands, to go `back_to` when a part of its work is undone."""
        counts = len(self.removed_blobs), len(self.forgets), len(self.forgotten_ids)
        return Mark(self.position, self._at, self._hash, *counts, self.to_erase, self.token)

    def back_to(self, mark: Mark) -> None:
        self.position, self._at, self._hash, blobs, forgets, forgotten, self.to_erase, self.token = mark
        del self.removed_blobs[blobs:], self.forgets[forgets:], self.forgotten_ids[forgotten:]
        self.derived.clear()

    # -- the log --
    def _entry(
        self, kind: str, space: int, cube: bytes | None, version: int | None, digest: bytes | None, body: Json | None
    ) -> tuple[Any, ...]:
        """The next row of the log; the caller inserts it."""
        seq = self.position + 1
        self._at = at = max(self._at, self._clock())
        actor, text = self._spoken(seq, orjson.dumps(body).decode() if body else None)
        self._hash = entry_hash(self._hash, seq, at, kind, space, cube, version, actor, digest, text)
        self.position = seq
        return (seq, at, kind, space, cube, version, actor, digest, text, self._hash)

    # -- how things stand in the tables; otherwise in a sealed store (`store.sqlite_sealed`) --
    _version_sql = _VERSION

    def _spoken(self, seq: int, body: str | None) -> tuple[str | None, str | None]:
        """The columns `actor` and `body` of the log's entry `seq`."""
        return self.actor, body

    def _append(self, kind: str, space: int, cube: UUID | None = None, version: int | None = None, body: Json | None = None) -> int:
        """Write an entry; one of a cube becomes the newest of the cube's chain."""
        if cube is None:
            self._db.execute(_LOG, self._entry(kind, space, None, version, None, body))
        else:
            self._db.execute(_LOG_OF_CUBE, self._entry(kind, space, cube.bytes, version, None, body))
            self._db.execute("UPDATE cube SET last = ? WHERE id = ?", (self.position, cube.bytes))
        return self.position

    # -- spaces --
    def create_space(self, name: str, settings: Json) -> SpaceRow:
        highest: int = self._db.execute("SELECT coalesce(max(num), 0) FROM space").get
        num = self._spaces.highest = max(highest, self._spaces.highest) + 1
        self._append("space", num, body={"name": name, "settings": settings})
        row = (num, self._word("space", name), self._at, self._shut(f"space {num}", orjson.dumps(settings).decode()))
        self._db.execute("INSERT INTO space VALUES(?,?,?,?)", row)
        return SpaceRow(num, name, self._at, settings)

    def set_space(self, num: int, settings: Json) -> int:
        self._db.execute("UPDATE space SET settings = ? WHERE num = ?", (self._shut(f"space {num}", orjson.dumps(settings).decode()), num))
        return self._append("permission", num, body={"settings": settings})

    # -- versions --
    def add(self, space: int, versions: Iterable[NewVersion]) -> list[int]:
        """Write new cubes. Raises `Conflict` where an id is taken, or was forgotten, `NotFound` where there is no such space."""
        since, self.written, self.stale_from_birth = self.position, {}, set()
        logs: list[Any] = []
        rows: list[Any] = []
        cubes: list[Any] = []
        edges: list[Any] = []
        for new in versions:
            content = new.content
            salt = os.urandom(SALT_BYTES)
            key = content.id.bytes
            entry = self._entry("add", space, key, content.version, content.digest(salt), None)
            self.written[entry[0]] = entry[1], entry[7]
            logs.append(entry)
            rows.append(self._row(entry[0], space, new, salt))
            cubes.append((key, space, entry[0], content.version))
            edges += self._edges(content)
        before = self._db.total_changes()
        try:
            self._db.executemany(_CUBE, cubes)
        except apsw.ConstraintError:
            raise self._taken([row[0] for row in cubes], since) from None
        if self._db.total_changes() - before != len(cubes):
            raise self._refused(space, [row[0] for row in cubes])
        self._db.executemany(_LOG, logs)
        self._db.executemany(self._version_sql, rows)
        seqs = list(self.written)
        if edges:
            self._db.executemany(_EDGE, edges)
            for key in dict.fromkeys(edge[0] for edge in edges):
                self._stale_from_birth(UUID(bytes=key))
        return seqs

    def _stale_from_birth(self, cube: UUID) -> None:
        """Say that a version just written is stale, where what it was derived from has changed already, or is stale itself."""
        parent: Any = self._db.execute(
            f"SELECT e.parent, p.version FROM edge e JOIN cube c ON c.id = e.child AND c.version = e.version JOIN cube p ON p.id = e.parent "
            f"JOIN version v ON v.seq = p.seq WHERE e.child = ? AND e.relation NOT IN ({_SETTLED}) "
            "AND (p.version > e.parent_version OR v.stale IS NOT NULL) LIMIT 1",
            (cube.bytes,),
        ).fetchone()
        if parent is not None:
            self.set_stale(cube, UUID(bytes=parent[0]), parent[1])
            self.stale_from_birth.add(cube)

    def _outdate(self, parent: UUID, version: int) -> None:
        """Say of everything whose current version was derived from `parent`, through any depth, that `parent` is at `version` now."""
        reached, waiting = {parent.bytes}, [parent.bytes]
        while waiting:
            above = waiting.pop()
            rows: list[Any] = self._db.execute(
                f"SELECT DISTINCT e.child, v.stale, e.relation FROM edge e JOIN cube c ON c.id = e.child AND c.version = e.version "
                f"JOIN version v ON v.seq = c.seq WHERE e.parent = ? AND e.relation NOT IN ({_SETTLED})",
                (above,),
            ).fetchall()
            for child, stale, relation in rows:
                own_part = relation == PART_OF and above == parent.bytes  # replaced together with its document
                if child not in reached:
                    reached.add(child)
                    waiting.append(child)
                    if stale is None and not own_part:
                        self.set_stale(UUID(bytes=child), parent, version)

    def _refused(self, space: int, keys: Sequence[bytes]) -> MnemosError:
        """Why not all of the new cubes `keys` could be written, though none of their ids is in use."""
        if self._db.execute("SELECT 1 FROM space WHERE num = ?", (space,)).fetchone() is None:
            return NotFound("the space does not exist: the transaction that created it was undone; get the space again by its name")
        gone = next(cube for key in keys if self.forgotten(cube := UUID(bytes=key)))
        return Conflict(f"cube {gone} was forgotten, and what was forgotten does not come back")

    def _taken(self, keys: Sequence[bytes], since: int) -> Conflict:
        """Which of the ids of new cubes is in use: one that a cube had at position `since`, or else one that is given twice."""
        for key in keys:
            seq = self._db.execute("SELECT seq FROM cube WHERE id = ?", (key,)).get
            if seq is not None and seq <= since:
                return Conflict(f"cube {UUID(bytes=key)} exists already; update it instead")
        return Conflict("two of the cubes to add have the same id; give each its own, or none")

    def _edges(self, content: Content) -> list[Any]:
        """The rows of the lineage that lead to a version."""
        return [(content.id.bytes, content.version, k.id.bytes, k.version, self._word("edge", k.relation)) for k in content.derived_from]

    def _row(self, seq: int, space: int, new: NewVersion, salt: bytes, before: int | None = None) -> tuple[Any, ...]:
        """The row of a version; `before` is the position of the one that it supersedes, None for the first."""
        c, d = new.content, new.derived
        return (
            seq, c.id.bytes, c.version, space, c.type, c.author, c.source, c.created_at, c.event_at, c.valid_from, c.valid_to, c.expires_at,
            _json(c.tags), _json(c.metadata), _more(c), salt, c.text, d.part_of.bytes if d.part_of else None, d.thread, d.flags, d.moments,
            d.terms,
        )  # fmt: skip

    def supersede(self, space: int, new: NewVersion, body: Json | None = None) -> int:
        """Write the next version of a cube; the one before stays in its history, and what was derived from it is stale. A version with other
        links than the one before is stale itself, where they lead to what has changed since. Raises `NotFound`, `Frozen`, `Conflict`."""
        content = new.content
        standing = self._changeable(content.id)
        if content.version != standing.version + 1:
            raise Conflict(f"cube {content.id} is at version {standing.version} now; read it again and repeat the change")
        links = [[str(link.id), link.version, link.relation] for link in content.derived_from]
        relinked = bool(links) and _links(self._more_of(standing.seq)) != links
        salt = os.urandom(SALT_BYTES)
        key = content.id.bytes
        entry = self._entry("update", space, key, content.version, content.digest(salt), body)
        seq: int = entry[0]
        self._db.execute(_LOG_OF_CUBE, entry)
        self._db.execute(self._version_sql, self._row(seq, space, new, salt, standing.seq))
        self._db.execute("UPDATE version SET died = ? WHERE seq = ?", (seq, standing.seq))
        self._db.execute("UPDATE cube SET seq = ?1, version = ?2, last = ?1 WHERE id = ?3", (seq, content.version, key))
        self._db.executemany(_EDGE, self._edges(content))
        if relinked:
            self._stale_from_birth(content.id)
        self._outdate(content.id, content.version)
        return seq

    def _more_of(self, seq: int) -> str | None:
        """The rarely used fields of the version at `seq`, as `_more` wrote them."""
        found: str | None = self._db.execute("SELECT more FROM version WHERE seq = ?", (seq,)).get
        return found

    def _existing(self, cube: UUID) -> Standing:
        standing = self.standing(cube)
        if standing is None:
            raise NotFound(f"cube {cube} {'was forgotten' if self.forgotten(cube) else 'does not exist in this store'}")
        return standing

    def _changeable(self, cube: UUID) -> Standing:
        standing = self._existing(cube)
        if standing.frozen:
            raise Frozen(f"cube {cube} is frozen; unfreeze it before it can change")
        return standing

    # -- standing --
    def set_state(self, cube: UUID, state: State, body: Json | None = None) -> int:
        """Go on to another state; `body` says more, such as why. Raises `Conflict` where no life goes that way, `Frozen`, `NotFound`."""
        standing = self._changeable(cube)
        if not standing.state.may_become(state):
            raise Conflict(f"cube {cube} is {standing.state.word} and cannot become {state.word}")
        self._db.execute("UPDATE cube SET state = ? WHERE id = ?", (int(state), cube.bytes))
        return self._append("state", standing.space, cube, standing.version, {"from": int(standing.state), "to": int(state), **(body or {})})

    def set_stale(self, cube: UUID, parent: UUID, parent_version: int) -> int:
        """Say of the current version of a cube that what it was derived from has changed: `parent` is at `parent_version` now. A frozen
        cube becomes stale, too: nothing of it changes."""
        standing = self._existing(cube)
        seq = self._append("stale", standing.space, cube, standing.version, {"of": str(parent), "version": parent_version})
        self._db.execute("UPDATE version SET stale = ? WHERE seq = ? AND stale IS NULL", (seq, standing.seq))
        return seq

    def set_acl(self, cube: UUID, acl: Json | None) -> int:
        """Give a cube rules of its own, or take them away."""
        standing = self._existing(cube)
        stored = None if acl is None else self._shut(f"acl {cube.bytes.hex()}", orjson.dumps(acl).decode())
        self._db.execute("UPDATE cube SET acl = ? WHERE id = ?", (stored, cube.bytes))
        return self._append("permission", standing.space, cube, standing.version, {"acl": acl})

    def set_setting(self, name: str, value: Any) -> int:
        """Set a setting of the store (plain JSON); None removes it. The log keeps every value that it had."""
        seq = self._append("setting", 0, body={"name": name, "value": value})
        key = self._word("setting", name)
        if value is None:
            self._db.execute("DELETE FROM setting WHERE name = ?", (key,))
        else:
            row = (key, self._shut(f"setting {name}", orjson.dumps(value).decode()), seq)
            self._db.execute("INSERT OR REPLACE INTO setting VALUES(?,?,?)", row)
        self._db.execute("INSERT OR REPLACE INTO store VALUES('newest setting', ?)", (seq,))
        return seq

    def set_frozen(self, cube: UUID, frozen: bool) -> int:
        standing = self._existing(cube)
        self._db.execute("UPDATE cube SET frozen = ? WHERE id = ?", (int(frozen), cube.bytes))
        return self._append("freeze" if frozen else "unfreeze", standing.space, cube, standing.version)

    def link(self, child: UUID, version: int, parent: UUID, parent_version: int, relation: str) -> int:
        standing = self._existing(child)
        self._existing(parent)
        self._db.execute(_EDGE, (child.bytes, version, parent.bytes, parent_version, self._word("edge", relation)))
        return self._append("link", standing.space, child, version, {"to": str(parent), "version": parent_version, "relation": relation})

    # -- forgetting --
    def forget(self, cubes: Sequence[UUID], reason: str | None) -> list[Tombstone]:
        """Remove every version of the cubes, with vectors, terms and edges. Only the log's digests stay. Raises `Frozen`, `NotFound`."""
        standings = [self._changeable(cube) for cube in cubes]
        out = []
        for standing in standings:
            key = standing.id.bytes
            rows = self._remains(key)
            salts = tuple(row.salt for row in rows)
            body = {"openings": openings_digest(salts), **({"reason": reason} if reason else {})}
            keys = self._doomed(standing)
            seq = self._append("forget", standing.space, standing.id, standing.version, {**body, "keys": keys} if keys else body)
            self._bury(key, seq, [(row.seq,) for row in rows])
            self.removed_blobs += [blob for blob in {row.blob for row in rows} if blob and not self._holds_blob(blob)]
            out.append(Tombstone(standing.id, standing.space, seq, tuple(row.digest for row in rows), salts, tuple(keys)))
        if out:
            sqlite_erase.mark(self._db, self.position)
            self.forgets.append(self.position)
            self.forgotten_ids += [stone.id for stone in out]
        return out

    def _remains(self, key: bytes) -> list[Remains]:
        """What forgetting a cube needs of each of its versions, oldest first."""
        rows: Any = self._db.execute(
            ENTRIES + "SELECT seq, v.salt, l.digest, v.more FROM entry JOIN log l USING (seq) JOIN version v USING (seq) ORDER BY seq", (key,)
        )
        return [Remains(seq, salt, digest, orjson.loads(more).get("blob") if more else None) for seq, salt, digest, more in rows]

    def _doomed(self, standing: Standing) -> list[str]:
        """The names of the keys that are to be destroyed with a cube, noted so that they will be. Without sealing there are none."""
        return []

    def _bury(self, key: bytes, seq: int, versions: list[tuple[int]]) -> None:
        """Remove the rows of a cube, which the log's entry `seq` forgets."""
        self._db.execute("INSERT INTO forgotten VALUES(?,?)", (key, seq))
        self._db.executemany("DELETE FROM vector WHERE seq = ?", versions)
        self._db.executemany("DELETE FROM version WHERE seq = ?", versions)
        self._db.execute("DELETE FROM cube WHERE id = ?", (key,))
        self._db.execute("DELETE FROM heat WHERE cube = ?", (key,))
        self._db.execute("DELETE FROM edge WHERE parent = ?", (key,))
        self._db.execute("DELETE FROM edge WHERE child = ?", (key,))

    def discard_blob(self, name: str) -> None:
        """Remove a large payload whose version was not written, once this is durable; without effect where another version speaks of it."""
        if not self._holds_blob(file := self._blob_file(name)):
            self.removed_blobs.append(file)

    def _blob_file(self, name: str) -> str:
        """What the file of a large payload is called."""
        return name

    def _holds_blob(self, blob: str) -> bool:
        found = self._db.execute("SELECT 1 FROM version WHERE more IS NOT NULL AND more ->> '$.blob' = ? LIMIT 1", (blob,)).fetchone()
        return found is not None

    # -- derived --
    def embedder(self, fingerprint: str, dimensions: int) -> int:
        """The number of an embedder in this store; it gets one at first use."""
        num = self._db.execute("SELECT num FROM embedder WHERE fingerprint = ?", (fingerprint,)).get
        if num is None:
            self._db.execute("INSERT INTO embedder(fingerprint, dimensions) VALUES(?,?)", (fingerprint, dimensions))
            num = self._db.last_insert_rowid()
            self.new_embedder = True
        return int(num)

    def put_vectors(self, embedder: int, vectors: Iterable[tuple[int, bytes]], *, replace: bool = False) -> None:
        """Keep the vectors (seq, float32 bytes) of versions that still exist. `replace` says that the versions are not of this transaction."""
        if replace:
            self._new_vector_round()
        self._db.executemany(VECTOR_SQL, [(embedder, value, seq) for seq, value in vectors])

    def _new_vector_round(self) -> None:
        self._db.execute("INSERT INTO store VALUES('vector round', 1) ON CONFLICT DO UPDATE SET value = value + 1")

    # -- beside the log --
    def unlogged(self) -> None:
        """Mark this transaction, which writes something that the log does not tell of, so that its commit can be recognised by it."""
        if self.token is None:
            self.token = os.urandom(8)
            self._db.execute("INSERT OR REPLACE INTO store VALUES('newest unlogged', ?)", (self.token,))

    def count_up(self, name: str, by: int = 1) -> int:
        """Count under a name, which begins at 0; gives the new value."""
        self.unlogged()
        row: Any = self._db.execute(
            "INSERT INTO counter VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = value + ?2 RETURNING value", (self._word("counter", name), by)
        ).fetchone()
        return int(row[0])

    def held(self, space: int) -> dict[str, int]:
        """What `usage` says, at the cost of what was written since it was asked last; where something was forgotten since, at that of all."""
        position, hash_, known = self._spaces.held.get(space, (0, b"", {}))
        since = "FROM log WHERE seq > ? AND space = ? AND kind = 'forget' LIMIT 1"
        if (
            not known
            or self._db.execute("SELECT hash FROM log WHERE seq = ?", (position,)).get != hash_  # it was undone, and another entry is there
            or self._db.execute(f"SELECT 1 {since}", (position, space)).get
        ):
            now = self.usage(space)
        else:
            row: Any = self._db.execute(
                f"SELECT coalesce(sum(version = 1 AND part_of IS NULL), 0), coalesce(sum({self._text_size}), 0) FROM version "
                "WHERE space = ? AND seq > ?",
                (space, position),
            ).fetchone()
            now = {"cubes": known["cubes"] + row[0], "bytes": known["bytes"] + row[1]}
        self._spaces.held[space] = (self.position, self._hash, now)
        return dict(now)

    def put_heat(self, heats: Mapping[UUID, Heat]) -> None:
        """Remember how much cubes are used; of those that do not exist any more, nothing."""
        self.unlogged()
        self._db.executemany(
            "INSERT OR REPLACE INTO heat SELECT id, ?2, ?3, ?4, ?5 FROM cube WHERE id = ?1",
            [(cube.bytes, h.hits, h.value, h.at, b"".join(t.to_bytes(8, "big") for t in h.recent)) for cube, h in heats.items()],
        )
