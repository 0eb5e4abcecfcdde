"""The tables of a SQLite store, and how a file of an older version is brought up to date.

Three kinds of table. The truth: `log` (never changed), `version` (what each entry wrote; a row goes only when its cube is forgotten), `space`.
Derived, and rebuilt from the truth at need: `cube`, `forgotten`, `edge`, `vector`, `setting`, `log.previous`, and in `version` the columns from
`died` on. Beside the truth, durable but no part of the log: `job` (work that waits), `heat` (how much a cube is used), `counter` (reads and bytes
that rules count).

A cube's entries are a chain: `cube.last` (of a forgotten cube `forgotten.seq`) is the newest, `log.previous` of each the one before. That costs
a write no page, as an index of the log by cubes would; so does finding a space's vectors by its versions.
"""

from __future__ import annotations

import apsw

from mnemos.base.errors import FingerprintMismatch

APPLICATION_ID = 0x4D4E454D  # "MNEM": tells a store from any other SQLite file
SEALED_ID = 0x4D4E4553  # "MNES": a sealed store, which what knows of none must not open
SCHEMA_VERSION = 3
PAGE_SIZE = 8192  # five float32 vectors of 384 dimensions fill a page but for 6 %; a page of 4096 bytes would waste 25 %
CHECKSUM_BYTES = 8  # at the end of each page, kept by SQLite's checksum VFS

_TABLES = """
CREATE TABLE store(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE space(num INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL, settings TEXT NOT NULL) STRICT;
CREATE TABLE log(
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, space INTEGER NOT NULL, cube BLOB, version INTEGER,
  actor TEXT, digest BLOB, body TEXT, hash BLOB NOT NULL, previous INTEGER) STRICT;
CREATE INDEX log_state ON log(space) WHERE kind = 'state';
CREATE TRIGGER log_is_append_only_1 BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_is_append_only_2 BEFORE DELETE ON log BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TABLE version(
  seq INTEGER PRIMARY KEY, cube BLOB NOT NULL, version INTEGER NOT NULL, space INTEGER NOT NULL, type TEXT NOT NULL, author TEXT,
  source TEXT, created_at INTEGER NOT NULL, event_at INTEGER, valid_from INTEGER, valid_to INTEGER, expires_at INTEGER, tags TEXT,
  metadata TEXT, more TEXT, salt BLOB NOT NULL, text TEXT,
  died INTEGER, part_of BLOB, thread TEXT, flags INTEGER NOT NULL, moments BLOB, terms BLOB, stale INTEGER) STRICT;
CREATE INDEX version_space ON version(space);
CREATE TABLE cube(
  id BLOB PRIMARY KEY, space INTEGER NOT NULL, seq INTEGER NOT NULL, version INTEGER NOT NULL, state INTEGER NOT NULL,
  frozen INTEGER NOT NULL, last INTEGER NOT NULL, acl TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE forgotten(id BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE edge(
  child BLOB NOT NULL, version INTEGER NOT NULL, parent BLOB NOT NULL, parent_version INTEGER NOT NULL, relation TEXT NOT NULL,
  PRIMARY KEY(parent, child, version, parent_version, relation)) STRICT, WITHOUT ROWID;
CREATE INDEX edge_child ON edge(child);
CREATE TABLE embedder(num INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, dimensions INTEGER NOT NULL) STRICT;
CREATE TABLE vector(seq INTEGER PRIMARY KEY, space INTEGER NOT NULL, embedder INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
"""

_WORK = """
CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE job(
  id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
  run_at INTEGER NOT NULL, every INTEGER, again INTEGER, cancel INTEGER NOT NULL, leased_until INTEGER, worker TEXT, attempts INTEGER NOT NULL,
  progress TEXT, error TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX job_open ON job(kind, key) WHERE state IN ('waiting', 'running');
CREATE INDEX job_due ON job(state, kind, priority DESC, run_at);
CREATE TABLE heat(cube BLOB PRIMARY KEY, hits INTEGER NOT NULL, value REAL NOT NULL, at INTEGER NOT NULL, recent BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

_UNSEARCHED = """
CREATE INDEX IF NOT EXISTS version_unsearched ON version(seq) WHERE terms IS NULL;
"""
"""Versions that no search finds (documents, which are found by their parts; what is no text) and that have no vector, so that they can be counted."""

_MIGRATIONS: dict[int, str] = {
    1: "ALTER TABLE version ADD COLUMN stale INTEGER; ALTER TABLE cube ADD COLUMN acl TEXT;" + _WORK,
    2: _UNSEARCHED,
}
"""From schema version N to N + 1: the statements that do it."""


def create(connection: apsw.Connection) -> None:
    """Make the tables of an empty file. Runs inside the caller's transaction."""
    connection.execute(_TABLES + _WORK + _UNSEARCHED).fetchall()
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}").fetchall()


def check(connection: apsw.Connection, path: str) -> int:
    """The schema version of a file that is a Mnemos store, 0 for an empty one. Raises `FingerprintMismatch` for anything else."""
    version = int(connection.pragma("user_version"))
    application = int(connection.pragma("application_id"))
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if empty and application == 0 and version == 0:
        return 0
    if application not in (APPLICATION_ID, SEALED_ID):
        raise FingerprintMismatch(f"{path}: is a SQLite file, but no Mnemos store; choose another path")
    if version > SCHEMA_VERSION:
        raise FingerprintMismatch(
            f"{path}: was written by a newer Mnemos (schema {version}, this one reads up to {SCHEMA_VERSION}); upgrade mnemos to open it"
        )
    return version


def is_sealed(connection: apsw.Connection) -> bool:
    """Whether the rows of a store are sealed (`store.sealing`)."""
    return int(connection.pragma("application_id")) == SEALED_ID


def migrate(connection: apsw.Connection, version: int) -> None:
    """Bring a store of an older schema up to date. Runs inside the caller's transaction."""
    while version < SCHEMA_VERSION:
        connection.execute(_MIGRATIONS[version]).fetchall()
        version += 1
        connection.execute(f"PRAGMA user_version = {version}").fetchall()
