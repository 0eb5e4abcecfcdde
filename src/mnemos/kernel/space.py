"""A space: a namespace of memories with its own rules, written, searched, corrected and forgotten through here."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import Moment
from mnemos.base.cube import Content, Json, MemCube, State, memcube
from mnemos.base.errors import Conflict, Invalid, NotFound, shown
from mnemos.base.ids import parse_id
from mnemos.base.lineage import PART_OF
from mnemos.base.protocols import Progress
from mnemos.kernel import governance
from mnemos.kernel.batches import Batch, Vectors, embedded
from mnemos.kernel.conditions import conditions, count, cursor_position, position_of, question_text
from mnemos.kernel.context import assemble
from mnemos.kernel.drafts import CHANGEABLE, draft, drafted, revised
from mnemos.kernel.forgetting import Certificate, forget
from mnemos.kernel.results import Context, Hit, Page
from mnemos.kernel.searching import found
from mnemos.store.base import Filter, NewVersion, Snapshot, SpaceRow, VersionRow
from mnemos.text.tokens import token_counter

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

CHUNK = 512
"""Memories embedded and written together by `add_many`."""

# `Space.list` hides the builtin inside the class.
Cubes = list[MemCube]
Hits = list[Hit]


class Space:
    """One space of an open store, as it is now, or, got through `at`, as it was at a position of the log."""

    def __init__(self, system: Mnemos, row: SpaceRow, position: int | None = None) -> None:
        self._system = system
        self._num = row.num
        self.name = row.name
        self._position = position
        self.strategy_name: str = row.settings.get("strategy", "auto")

    def __repr__(self) -> str:
        return f"Space({self.name!r}{'' if self._position is None else f', at {self._position}'})"

    # -- writing --
    def add(self, text: str, **fields: Any) -> MemCube:
        """Remember `text`; durable when this returns.

        Keywords: type ("fact"), author, source, event_at, valid_from, valid_to, expires_at (times), tags, entities, metadata (JSON), place,
        origin, sensitivity, priority, derived_from (ids of cubes), id, created_at. A long text becomes a document that is searched by its
        parts. Raises `Invalid`, `Conflict` (the id is taken, or was forgotten), `PermissionDenied`, `StoreFull`, `StoreUnavailable`.
        """
        return self._write([draft(text, fields, self._system.clock(), self._system.new_id)])[0]

    def add_many(self, records: Iterable[Mapping[str, Any]], *, progress: Progress | None = None) -> list[MemCube]:
        """Remember many: each record has "text" and the keywords of `add`. Without `progress` all of them in one transaction, or none;
        with it in chunks that are durable one by one, `progress(done, total)` after each. Gives the cubes, in the order of the records."""
        drafts = drafted(records, self._system.clock, self._system.new_id)
        total = len(records) if isinstance(records, Sequence) else 0
        if progress is None:
            contents = list(drafts)
            if len(contents) <= CHUNK:
                return self._write(contents)
            chunks = iter([contents[start : start + CHUNK] for start in range(0, len(contents), CHUNK)])
        else:
            chunks = iter(lambda: list(itertools.islice(drafts, CHUNK)), [])
        self._must_be_now()
        self._require("write")
        out: Cubes = []
        vectors: Vectors = []
        batches: list[Batch] = []
        with contextlib.closing(embedded(chunks, self._encode, self._system.embed_versions)) as ready:
            for batch, wait in ready:
                if progress is None:
                    batches.append(batch)
                    vectors += wait()
                else:
                    out += self._store(batch, wait())
                    progress(len(out), max(total, len(out)))
        return out if progress is not None else self._store(Batch.joined(batches), vectors)

    def _encode(self, content: Content) -> Sequence[NewVersion]:
        return self._system.strategy_of(self).encode(content, self._system.new_id)

    def _write(self, contents: Sequence[Content]) -> Cubes:
        self._must_be_now()
        self._require("write")
        if not contents:
            return []
        batch = Batch.of(contents, self._encode)
        return self._store(batch, self._system.embed_versions(batch.versions))

    def _store(self, batch: Batch, vectors: Vectors) -> Cubes:
        """Write a batch in one transaction."""
        contents = batch.contents
        with self._system.writing() as transaction:
            for link in {link for content in contents for link in content.derived_from}:
                self._check_source(transaction, link.id)
            seqs = transaction.add(self._num, batch.versions)
            self._system.put_vectors(transaction, seqs, vectors)
            written = transaction.written
        heads = itertools.accumulate(batch.sizes[:-1], initial=0)
        return [
            memcube(
                content,
                space=self.name,
                state=State.GENERATED,
                frozen=False,
                updated_at=written[seqs[head]][0],
                position=seqs[head],
                digest=written[seqs[head]][1],
                text=content.text or "",
            )
            for content, head in zip(contents, heads, strict=True)
        ]

    def _check_source(self, snapshot: Snapshot, source: UUID) -> None:
        """Raise `NotFound` where a cube to derive from does not exist, or may not be read."""
        standing = snapshot.standing(source)
        home = self._system.space_row(snapshot, standing.space) if standing else None
        if home is None or not governance.allowed(self._system.principal, home.settings, "read"):
            raise NotFound(f"derived_from: cube {source} does not exist; give the ids of cubes that are in the store")

    def update(self, id: str | UUID, text: str | None = None, **fields: Any) -> MemCube:
        """Write the next version of a cube: `text` and the given keywords change, the rest stays. The version before stays in its history.

        `if_version` makes the change only where the cube still is at that version. Raises `NotFound`, `Frozen`, `Conflict`, `Invalid`.
        """
        return self._revise(id, fields | ({"text": text} if text is not None else {}), None)

    def rollback(self, id: str | UUID, version: int) -> MemCube:
        """Make a new version that says what `version` said. Raises `NotFound` where there is no such version."""
        if version is None:
            raise Invalid("version: expected the number of the version to go back to, not None")
        old = self.get(id, version)
        fields = {name: getattr(old, name) for name in CHANGEABLE}
        return self._revise(id, fields, version)

    def _revise(self, id: str | UUID, fields: dict[str, Any], reverted_to: int | None) -> MemCube:
        self._must_be_now()
        self._require("write")
        self._require("read")  # who may only write may add; a change answers with what is there
        unknown = set(fields) - set(CHANGEABLE) - {"if_version"}
        if unknown:
            raise Invalid(f"update: unknown keyword {sorted(unknown)[0]!r}; known are {', '.join(CHANGEABLE)} and if_version")
        expected = fields.pop("if_version", None)
        if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
            raise Invalid(f"if_version: expected a version's number, not {shown(expected)}")
        with self._system.snapshot() as snapshot:
            current = self._current(snapshot, parse_id(id))
            self._must_be_whole(current)
            was = self._text(snapshot, current)
        if expected is not None and expected != current.content.version:
            raise Conflict(f"cube {id} is at version {current.content.version}, not {shown(expected)}; read it again and repeat the change")
        content = revised(current.content, was, fields, reverted_to)
        versions = list(self._system.strategy_of(self).encode(content, self._system.new_id))
        vectors = self._system.embed_versions(versions)
        body = {"reverted_to": reverted_to} if reverted_to is not None else None
        with self._system.writing() as transaction:
            for seq in transaction.parts(content.id, current.content.version):
                part = transaction.versions([seq])[seq]
                if part.state is not State.ARCHIVED:
                    transaction.set_state(part.content.id, State.ARCHIVED)
            standing = transaction.standing(content.id)
            if standing and standing.state is State.EXPIRED and (content.expires_at is None or content.expires_at > self._system.clock()):
                transaction.set_state(content.id, State.GENERATED)
            seqs = [transaction.supersede(self._num, versions[0], body), *(transaction.add(self._num, versions[1:]) if versions[1:] else ())]
            self._system.put_vectors(transaction, seqs, vectors)
            return self._cube(transaction.versions(seqs[:1])[seqs[0]], content.text)

    def freeze(self, id: str | UUID) -> MemCube:
        """Forbid every change of a cube until `unfreeze`."""
        return self._set_frozen(id, True)

    def unfreeze(self, id: str | UUID) -> MemCube:
        """Allow changes again."""
        return self._set_frozen(id, False)

    def _set_frozen(self, id: str | UUID, frozen: bool) -> MemCube:
        self._must_be_now()
        self._require("write")
        self._require("read")
        with self._system.writing() as transaction:
            row = self._current(transaction, parse_id(id))
            self._must_be_whole(row)
            if row.frozen is not frozen:
                transaction.set_frozen(row.content.id, frozen)
            return self._cube(self._current(transaction, row.content.id), self._text(transaction, row))

    def forget(
        self,
        ids: Iterable[str | UUID] | str | None = None,
        *,
        filter: Json | None = None,
        reason: str | None = None,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> Certificate:
        """Remove memories for good, with all versions, vectors, terms, files, and what was derived from them, and certify it.

        Chosen by `ids`, or by conditions as in `search`. `reason` stays in the log: it must not repeat what is forgotten. Raises `NotFound`,
        `Frozen`, `Invalid` (nothing chosen), `PermissionDenied`.
        """
        self._must_be_now()
        self._require("forget")
        where = conditions(types=types, tags=tags, author=author, source=source, since=since, until=until, filter=filter)
        if ids is not None and not isinstance(ids, (str, UUID, Iterable)):
            raise Invalid(f"ids: expected cube ids, not {type(ids).__name__}")
        given = None if ids is None else [parse_id(i) for i in ([ids] if isinstance(ids, (str, UUID)) else ids)]
        if (given is None) is (where == Filter()) or given == []:
            raise Invalid("forget: say what to forget, by ids or by a condition (one of them)")
        return forget(self._system, self._num, self.name, given, where, reason)

    # -- reading --
    def get(self, id: str | UUID, version: int | None = None) -> MemCube:
        """A cube as it is now (or was, in a view of the past), or one of its versions. Raises `NotFound`."""
        self._require("read")
        cube = parse_id(id)
        with self._system.snapshot() as snapshot:
            if version is None:
                row = self._current(snapshot, cube)
            else:
                if isinstance(version, bool) or not isinstance(version, int):
                    raise Invalid(f"version: expected a number, not {type(version).__name__}")
                seq = snapshot.version_seq(cube, version) if 0 < version < 2**31 else None
                if seq is None or (self._position is not None and seq > self._position):
                    self._current(snapshot, cube)
                    raise NotFound(f"cube {cube} has no version {shown(version)}")
                row = self._own(snapshot, cube, seq)
            return self._cube(row, self._text(snapshot, row))

    def history(self, id: str | UUID) -> Cubes:
        """Every version of a cube, oldest first. Raises `NotFound`."""
        self._require("read")
        cube = parse_id(id)
        with self._system.snapshot() as snapshot:
            self._current(snapshot, cube)
            seqs = [entry.seq for entry in snapshot.entries_of(cube) if entry.kind in ("add", "update")]
            rows = snapshot.versions([seq for seq in seqs if self._position is None or seq <= self._position])
            rows = self._then(snapshot, rows, self._position)
            return [self._cube(rows[seq], self._text(snapshot, rows[seq])) for seq in sorted(rows)]

    def list(
        self,
        *,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        valid_at: Moment | None = None,
        as_of: int | Moment | None = None,
        filter: Json | None = None,
        states: Sequence[str] | None = None,
        parts: bool = False,
        limit: int = 100,
        cursor: str | int | None = None,
    ) -> Page:
        """Memories in the order in which their present versions were written. The page is a list; its `cursor` gets the next one."""
        self._require("read")
        where = conditions(
            types=types,
            tags=tags,
            author=author,
            source=source,
            since=since,
            until=until,
            valid_at=valid_at,
            filter=filter,
            states=states,
            parts=parts,
        )
        limit = count(limit, "limit")
        after = cursor_position(cursor)
        with self._system.snapshot() as snapshot:
            position = self._position if as_of is None else self._shown_position(snapshot, as_of)
            seqs = snapshot.query(self._num, where, after=after, limit=limit + 1, now=self._system.clock(), at=position)
            rows = self._then(snapshot, snapshot.versions(seqs[:limit]), position)
            cubes = [self._cube(rows[seq], self._text(snapshot, rows[seq])) for seq in seqs[:limit]]
        return Page(cubes, str(seqs[limit - 1]) if len(seqs) > limit else None)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        valid_at: Moment | None = None,
        as_of: int | Moment | None = None,
        filter: Json | None = None,
        strategy: str | None = None,
        explain: bool = False,
        vector: Any = None,
    ) -> Hits:
        """The `k` memories that best answer `query`, best first; `k` of them whenever so many pass the filters.

        `since` ≤ event time < `until`; `valid_at` asks for facts that held then; `as_of` searches the space as it was at that time or log
        position; `filter` is a condition on metadata (`base.predicate`). `vector` is the query's embedding where the caller has it already.
        `explain` keeps every signal, not only those that are not zero. Raises `Invalid`, `PermissionDenied`.
        """
        self._require("read")
        where = conditions(types=types, tags=tags, author=author, source=source, since=since, until=until, valid_at=valid_at, filter=filter)
        k, text = count(k, "k"), question_text(query)
        meant = None if vector is None else self._system.embedding.given(vector)
        chosen = self._system.strategy(strategy) if strategy not in (None, "auto") else self._system.strategy_of(self)
        asked = found(self._system, self._num, text, k, where, chosen, lambda snapshot: self._shown_position(snapshot, as_of), meant)
        with asked as (snapshot, position, seqs, recall):
            rows = self._then(snapshot, snapshot.versions(seqs), position)
            hits = []
            for i, seq in enumerate(seqs):
                signals = {name: float(values[i]) for name, values in recall.signals.items() if explain or values[i]}
                hits.append(Hit(self._cube(rows[seq], self._text(snapshot, rows[seq])), float(recall.scores[i]), signals))
            return hits

    def context(
        self,
        query: str,
        budget_tokens: int = 1500,
        *,
        tokenizer: object = None,
        **where: Any,
    ) -> Context:
        """What is known about `query`, as text for a prompt: in order of time, without repetitions, each source numbered, within the budget.

        A history that fits is given whole; a larger one is searched and cut where relevance falls (ConvoMem, arXiv 2511.10523). `tokenizer`
        is a function from text to a count, or an object with `encode`. `where` are the conditions of `search`.
        """
        budget = count(budget_tokens, "budget_tokens")
        return assemble(self, question_text(query), budget, token_counter(tokenizer), where)

    def at(self, when: int | Moment) -> Space:
        """This space as it was: a view that can be read and searched, but not written."""
        self._require("read")
        with self._system.snapshot() as snapshot:
            row = self._system.space_row(snapshot, self._num)
            return Space(self._system, row, min(position_of(snapshot, when, "when"), self._shown_position(snapshot, None)))

    # -- inside --
    def _shown_position(self, snapshot: Snapshot, as_of: int | Moment | None) -> int:
        """The log position that a search looks at."""
        position = snapshot.position if as_of is None else position_of(snapshot, as_of, "as_of")
        return position if self._position is None else min(position, self._position)

    def _then(self, snapshot: Snapshot, rows: dict[int, VersionRow], position: int | None) -> dict[int, VersionRow]:
        """The rows with the state that their cubes had when the log ended at `position`."""
        if position is None or position >= snapshot.position:
            return rows
        out = {}
        for seq, row in rows.items():
            state, frozen = State.GENERATED, False
            for entry in snapshot.entries_of(row.content.id):
                if entry.seq > position:
                    break
                if entry.kind == "state":
                    state = State(entry.body_json()["to"])
                elif entry.kind in ("freeze", "unfreeze"):
                    frozen = entry.kind == "freeze"
            out[seq] = replace(row, state=state, frozen=frozen)
        return out

    def _current(self, snapshot: Snapshot, cube: UUID) -> VersionRow:
        """The version of a cube that this view shows. Raises `NotFound`, in the same words for a cube of another space."""
        standing = snapshot.standing(cube)
        if standing is None or standing.space != self._num:
            if snapshot.forgotten(cube) and any(entry.space == self._num for entry in snapshot.entries_of(cube)):
                raise NotFound(f"cube {cube} was forgotten")
            raise NotFound(f"cube {cube} is not in space {self.name!r}")
        seq = standing.seq if self._position is None else snapshot.seq_at(cube, self._position)
        if seq is None:
            raise NotFound(f"cube {cube} was not yet in space {self.name!r} at position {self._position}")
        return self._own(snapshot, cube, seq)

    def _own(self, snapshot: Snapshot, cube: UUID, seq: int) -> VersionRow:
        row = self._then(snapshot, snapshot.versions([seq]), self._position).get(seq)
        if row is None or row.space != self._num:
            raise NotFound(f"cube {cube} is not in space {self.name!r}")
        return row

    def _text(self, snapshot: Snapshot, row: VersionRow) -> str:
        """The text of a version; that of a document is its parts, joined."""
        if not row.has_parts:
            return row.content.text or ""
        seqs = snapshot.parts(row.content.id, row.content.version)
        parts = snapshot.versions(seqs)
        return "".join(parts[seq].content.text or "" for seq in seqs if seq in parts)

    def _cube(self, row: VersionRow, text: str | None) -> MemCube:
        return memcube(
            row.content,
            space=self.name,
            state=row.state,
            frozen=row.frozen,
            updated_at=row.updated_at,
            position=row.seq,
            digest=row.digest,
            text=text or "",
        )

    @staticmethod
    def _must_be_whole(row: VersionRow) -> None:
        """Raise `Invalid` for a part of a document: it changes with the document, or the document's text would not be what was written."""
        whole = next((link.id for link in row.content.derived_from if link.relation == PART_OF), None)
        if whole is not None:
            raise Invalid(f"cube {row.content.id} is a part of document {whole}; change the document")

    def _require(self, verb: str) -> None:
        self._system.require(self._num, self.name, verb)

    def _must_be_now(self) -> None:
        if self._position is not None:
            raise Invalid(f"this view of space {self.name!r} shows the past (position {self._position}) and cannot be written")
