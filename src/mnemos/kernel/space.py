"""A space: a namespace of memories with its own rules, written, searched, corrected and forgotten through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.clock import Moment
from mnemos.base.cube import Json, MemCube
from mnemos.base.errors import Invalid
from mnemos.base.ids import parse_id
from mnemos.base.protocols import Progress
from mnemos.kernel.forgetting import Certificate, forget
from mnemos.kernel.history import snapshots
from mnemos.kernel.history.branch_merge import Branch
from mnemos.kernel.history.reverting import revert
from mnemos.kernel.history.snapshots import NamedPosition, Rewound
from mnemos.kernel.life import lifecycle
from mnemos.kernel.lineage import Explanation, explain
from mnemos.kernel.reading.conditions import conditions, count, cursor_position, position_of, question_text
from mnemos.kernel.reading.context import assemble
from mnemos.kernel.reading.results import Context, Hit, Page
from mnemos.kernel.reading.searching import found
from mnemos.kernel.reading.viewing import Viewing, whole_of
from mnemos.kernel.writing import writes
from mnemos.store.base import Filter, Snapshot, SpaceRow
from mnemos.text.tokens import token_counter

if TYPE_CHECKING:
    from mnemos.base.protocols import ChatModel
    from mnemos.index.space_index import Omitted
    from mnemos.kernel.concepts import Concepts
    from mnemos.kernel.consolidation import Consolidated
    from mnemos.kernel.guard.hooks import GuardedSpace
    from mnemos.kernel.guard.settings import Settings as GuardSettings
    from mnemos.kernel.hypergraph import Investigation
    from mnemos.kernel.kv import KVShelf
    from mnemos.kernel.procedures import Procedures
    from mnemos.kernel.program import Program
    from mnemos.kernel.reading.answering import MemoryAnswer
    from mnemos.kernel.redundancy import Redundancy
    from mnemos.kernel.system import Mnemos
    from mnemos.kernel.transforms.transform import Outcome
    from mnemos.text.asking import Report
    from mnemos.text.hypergraph.session import Settings as InvestigationSettings
    from mnemos.text.refusal import RefusalGate

# `Space.list` hides the builtin inside the class.
Cubes = list[MemCube]
Hits = list[Hit]
Named = list[NamedPosition]
Branches = list[Branch]


class Space:
    """One space of an open store, as it is now, or, got through `at`, as it was at a position of the log."""

    def __init__(self, system: Mnemos, row: SpaceRow, position: int | None = None) -> None:
        self.system = system
        self.num = row.num
        self.name = row.name
        self.position = position
        self.omitted: Omitted | None = None
        """Log entries that searches look past: how a canary's other arm reads a space (`kernel.changes`)."""
        self.strategy_name: str = row.settings.get("strategy", "auto")
        self.detects: bool = row.settings.get("detect", False)

    def __repr__(self) -> str:
        return f"Space({self.name!r}{'' if self.position is None else f', at {self.position}'})"

    # -- writing --
    def add(self, text: str, **fields: Any) -> MemCube:
        """Remember `text`; durable when this returns.

        Keywords: type ("fact"), author, source, event_at, valid_from, valid_to, expires_at (times), tags, entities, metadata (JSON), place,
        origin, sensitivity, priority, derived_from (ids of cubes), id, created_at. A long text becomes a document that is searched by its
        parts. Raises `Invalid`, `Conflict` (the id is taken, or was forgotten), `PermissionDenied`, `StoreFull`, `StoreUnavailable`.
        """
        return writes.add(self, text, fields)

    def add_many(self, records: Iterable[Mapping[str, Any]], *, progress: Progress | None = None) -> list[MemCube]:
        """Remember many: each record has "text" and the keywords of `add`. Without `progress` all of them in one transaction, or none;
        with it in chunks that are durable one by one, `progress(done, total)` after each. Gives the cubes, in the order of the records."""
        return writes.add_many(self, records, progress)

    def update(self, id: str | UUID, text: str | None = None, **fields: Any) -> MemCube:
        """Write the next version of a cube: `text` and the given keywords change, the rest stays. The version before stays in its history.

        `if_version` makes the change only where the cube still is at that version. Raises `NotFound`, `Frozen`, `Conflict`, `Invalid`.
        """
        return writes.revise(self, parse_id(id), fields | ({"text": text} if text is not None else {}))

    def rollback(self, id: str | UUID, version: int) -> MemCube:
        """Make a new version that says what `version` said, with the vectors that it had. Raises `NotFound` where there is no such version."""
        if isinstance(version, bool) or not isinstance(version, int):
            raise Invalid(f"version: expected the number of the version to go back to, not {type(version).__name__}")
        return revert(self, parse_id(id), version)

    def set_acl(self, id: str | UUID, acl: Mapping[str, Sequence[str]] | None) -> MemCube:
        """Give a memory rules of its own, or (None) take them away: {"read": ["bob", "role:editors"], "write": […], "derive": […], …}.

        They only narrow those of the space: whom "read" leaves out does not see that the memory exists. Raises `NotFound`, `Invalid`,
        `PermissionDenied` (it takes the right to share).
        """
        return lifecycle.set_acl(self, parse_id(id), acl)

    def acl(self, id: str | UUID) -> dict[str, list[str]]:
        """The rules of a memory's own, as `set_acl` took them; empty where it has none. Raises `NotFound`, `PermissionDenied`."""
        return lifecycle.acl_of(self, parse_id(id))

    # -- the lives of memories --
    def freeze(self, id: str | UUID) -> MemCube:
        """Forbid every change of a cube until `unfreeze`."""
        return lifecycle.set_frozen(self, parse_id(id), True)

    def unfreeze(self, id: str | UUID) -> MemCube:
        """Allow changes again."""
        return lifecycle.set_frozen(self, parse_id(id), False)

    def archive(self, id: str | UUID, reason: str | None = None) -> MemCube:
        """Take a memory out of searches and keep it; `restore` brings it back, and so does using it (`tend`). Raises `NotFound`, `Frozen`."""
        return lifecycle.archive(self, parse_id(id), reason)

    def restore(self, id: str | UUID, reason: str | None = None) -> MemCube:
        """Bring an archived or merged memory back into searches."""
        return lifecycle.restore(self, parse_id(id), reason)

    def quarantine(self, id: str | UUID, reason: str | None = None) -> MemCube:
        """Set a memory aside that may be harmful: no search finds it until it is released. `list(states=["quarantined"])` shows what is."""
        return lifecycle.quarantine(self, parse_id(id), reason)

    def release(self, id: str | UUID, reason: str | None = None) -> MemCube:
        """Take a memory out of quarantine, back to the state that it was in."""
        return lifecycle.release(self, parse_id(id), reason)

    def merge(self, ids: Sequence[str | UUID], text: str | None = None, **fields: Any) -> MemCube:
        """Make one memory of several that overlap. `text` is what it says; None takes the fullest of them, with what the others add.

        The sources become "merged": out of searches, kept, and back where the new memory is forgotten. Raises `NotFound`, `Frozen`, `Invalid`.
        """
        return lifecycle.merge(self, [parse_id(id) for id in ids], text, fields)

    def transform(
        self,
        name: str,
        ids: Iterable[str | UUID] | str | UUID | None = None,
        *,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        filter: Json | None = None,
        fields: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Outcome:
        """Make one memory of others, chosen by `ids` or by conditions: "summary" (budget=, by="model"), "merge", "profile", or what a tier adds.

        What does not pass its gates is declined and not written; `gates` are other bounds. `fields` are keywords of `add` for the product.
        Raises `NotFound`, `Invalid`, `PermissionDenied`, `ModelUnavailable`.
        """
        from mnemos.kernel.transforms.transform import transform  # only where it is needed: it reads word lists

        chosen = {"types": types, "tags": tags, "author": author, "source": source, "since": since, "until": until, "filter": filter}
        where = {condition: value for condition, value in chosen.items() if value is not None}
        return transform(self, name, ids, where=where or None, fields=fields, options=options)

    def rederive(self, id: str | UUID, *, force: bool = False) -> Outcome:
        """Make what a transformation made again, from its sources as they are now, where any has changed. Twice is the same as once."""
        from mnemos.kernel.transforms.transform import rederive

        return rederive(self, id, force=force)

    def demote(self, id: str | UUID, reason: str | None = None) -> MemCube:
        """Let go of what a transformation made: it goes to the archive, and the texts that it was made of stay, or are in use again."""
        from mnemos.kernel.transforms.transform import demote

        return demote(self, id, reason)

    def consolidate(self, progress: Progress | None = None) -> Consolidated:
        """Let the space's strategy make the views that it lacks, and renew those that are out of date; the recurring job "consolidate" does the
        same where workers run. Twice is the same as once. Raises `PermissionDenied`, `Conflict`."""
        from mnemos.kernel.consolidation import consolidate

        return consolidate(self, progress)

    def redundancy(
        self,
        by: str = "topic",
        *,
        types: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        author: str | None = None,
        source: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        filter: Json | None = None,
        limit: int = 10,
        least: float = 0.0,
    ) -> Redundancy:
        """How much of what the memories say, of those that the caller may read, they say again, by the entropy of their embeddings; and the `limit`
        groups `by` "topic", "type", "author" or "source" that are the most redundant, from `least` (0 to 1) on: worth merging, perhaps. Nothing is
        changed. Views and parts of documents do not count. Raises `Invalid`, `PermissionDenied`."""
        from mnemos.kernel.redundancy import redundancy

        self.admit("read")
        where = conditions(types=types, tags=tags, author=author, source=source, since=since, until=until, filter=filter)
        return redundancy(self, where, by, count(limit, "limit"), least)

    def supersede(self, newer: str | UUID, older: str | UUID, reason: Any = None) -> MemCube:
        """Say that `newer` holds instead of `older`, which goes to the archive and stays in the history of `newer`. Gives `newer`."""
        return lifecycle.supersede(self, parse_id(newer), parse_id(older), reason)

    def explain(self, id: str | UUID) -> Explanation:
        """Where a memory came from, what was made of it, and what has happened to it: the whole lineage. Raises `NotFound`."""
        self.admit("read")
        return explain(self, parse_id(id))

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
        self.admit("forget")
        where = conditions(types=types, tags=tags, author=author, source=source, since=since, until=until, filter=filter)
        if ids is not None and not isinstance(ids, (str, UUID, Iterable)):
            raise Invalid(f"ids: expected cube ids, not {type(ids).__name__}")
        given = None if ids is None else [parse_id(i) for i in ([ids] if isinstance(ids, (str, UUID)) else ids)]
        if (given is None) is (where == Filter()) or given == []:
            raise Invalid("forget: say what to forget, by ids or by a condition (one of them)")
        return forget(self.system, self.num, self.name, given, where, reason)

    # -- reading --
    def get(self, id: str | UUID, version: int | None = None) -> MemCube:
        """A cube as it is now (or was, in a view of the past), or one of its versions. Raises `NotFound`."""
        self.admit("read")
        cube = parse_id(id)
        if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
            raise Invalid(f"version: expected a number, not {type(version).__name__}")
        with self.system.snapshot() as snapshot:
            viewing = Viewing.of(self, snapshot)
            row = viewing.current(cube) if version is None else viewing.version(cube, version)
            shown = viewing.cube(row)
            if self.position is None:
                self.system.tracker.note([cube], self.system.clock())
                if version is None:
                    self._hand_out([shown])
            return shown

    def _hand_out(self, cubes: Iterable[MemCube]) -> None:
        """A prompt may be made of these."""
        if self.system.language_model is not None:  # who else would keep a prompt
            self.system.handed.note(self.num, self.system.principal, cubes)

    def history(self, id: str | UUID) -> Cubes:
        """Every version of a cube, oldest first, and before them those of the memories that it superseded. Raises `NotFound`."""
        self.admit("read")
        with self.system.snapshot() as snapshot:
            return lifecycle.history(Viewing.of(self, snapshot), parse_id(id))

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
        stale: bool | None = None,
        parts: bool = False,
        limit: int = 100,
        cursor: str | int | None = None,
    ) -> Page:
        """Memories in the order in which their present versions were written. The page is a list; its `cursor` gets the next one."""
        self.admit("read")
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
            stale=stale,
            parts=parts,
        )
        limit = count(limit, "limit")
        after = cursor_position(cursor)
        with self.system.snapshot() as snapshot:
            viewing = Viewing.of(self, snapshot)
            position = self.position if as_of is None else viewing.shown_position(as_of)
            narrowed = viewing.narrowed(where)
            seqs = snapshot.query(self.num, narrowed, after=after, limit=limit + 1, now=self.system.clock(), at=position)
            cubes = viewing.cubes(seqs[:limit], position)
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
        stale: bool | None = None,
        strategy: str | None = None,
        explain: bool = False,
        vector: Any = None,
    ) -> Hits:
        """The `k` memories that best answer `query`, best first; `k` of them whenever so many pass the filters.

        `since` ≤ event time < `until`; `valid_at` asks for facts that held then; `as_of` searches the space as it was at that time or log
        position; `filter` is a condition on metadata (`base.predicate`); `stale` False leaves out what was made from something that has changed
        since, True wants nothing else. `vector` is the query's embedding where the caller has it already.
        `explain` keeps every signal, not only those that are not zero. Raises `Invalid`, `PermissionDenied`.
        """
        self.admit("read")
        where = conditions(
            types=types, tags=tags, author=author, source=source, since=since, until=until, valid_at=valid_at, filter=filter, stale=stale
        )
        k, text = count(k, "k"), question_text(query)
        meant = None if vector is None else self.system.embedding.given(vector)
        chosen = self.system.strategy_of(self) if strategy is None else self.system.strategy(strategy)
        with found(self, text, k, where, chosen, as_of, meant) as (viewing, position, seqs, recall):
            rows = viewing.then(viewing.snapshot.versions(seqs), position)
            hits = []
            for i, seq in enumerate(seqs):
                signals = {name: float(values[i]) for name, values in recall.signals.items() if explain or values[i]}
                hits.append(Hit(viewing.cube(rows[seq]), float(recall.scores[i]), signals))
        if self.position is None and as_of is None:
            self.system.tracker.note((whole_of(row.content) for row in rows.values()), self.system.clock())
            self._hand_out(hit.cube for hit in hits)
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
        context = assemble(self, question_text(query), budget, token_counter(tokenizer), where)
        if self.position is None and where.get("as_of") is None and self.system.language_model is not None:
            self.system.handed.note_context(self.num, self.system.principal, context)
        return context

    def answer(
        self,
        question: str,
        *,
        chat: ChatModel | None = None,
        gate: RefusalGate | None = None,
        tokenizer: object = None,
        report: Report | None = None,
        **where: Any,
    ) -> MemoryAnswer:
        """A short answer with the memories that it is quoted from; false, with a reason, where no quote supports one.

        Without `chat` the answer is a span of what a search finds; with it, the finds are read by the model, block by block, and its quotes
        looked up in them. `gate` sets how much must be supported, `report` hears how asking the model went, `where` are the conditions of
        `search`. Raises `Invalid`, `PermissionDenied`.
        """
        from mnemos.kernel.reading.answering import answer_from  # only where it is needed: it reads word lists

        return answer_from(self, question_text(question), chat, gate, token_counter(tokenizer), report, where)

    def investigate(self, question: str, settings: InvestigationSettings | None = None, **options: Any) -> Investigation:
        """Put a question to the space that no single memory answers: a working memory of its own, turn by turn (HGMem). Iterate over what comes back
        for the turns, then ask it for `context()` or `answer()`.

        `options`: chat (a language model; none is asked otherwise), tokenizer, and the conditions of `search`. Raises `Invalid`, `PermissionDenied`.
        """
        from mnemos.kernel.hypergraph import Investigation  # only where it is needed: it reads word lists

        return Investigation(self, question, settings, **options)

    def guarded(self, settings: GuardSettings | None = None, **options: Any) -> GuardedSpace:
        """This space with a guard around it: writes are admitted, searches and contexts filtered, planned actions checked (A-MemGuard).

        `options`: chat, embedder, effects, trust, approve, as `GuardedSpace` says.
        """
        from mnemos.kernel.guard.hooks import GuardedSpace  # only where it is needed: it reads word lists

        return GuardedSpace(self, settings, **options)

    @cached_property
    def procedures(self) -> Procedures:
        """What agents learnt to do, from their own runs (ReMe): `learn`, `guide`, `report`, `solve`. Other settings: `Procedures(space, …)`."""
        from mnemos.kernel.procedures import Procedures  # only where it is needed

        return Procedures(self)

    @cached_property
    def concepts(self) -> Concepts:
        """What solving problems has taught, as typed concepts that are composed anew (ArcMemo): `solve`, `learn`, `run`. For grids; other domains:
        `Concepts(space, domain)`."""
        from mnemos.kernel.concepts import Concepts  # only where it is needed

        return Concepts(self)

    @cached_property
    def kv(self) -> KVShelf:
        """Texts that the store's language model need not read again: `warm`, `take`, `entries`, `drop` (MemOS, KV memory)."""
        from mnemos.kernel.kv import KVShelf  # only where it is needed

        return KVShelf(self)

    def program(self, task: str | None = None, plan: Sequence[Any] | str = "rules", *, id: str | UUID | None = None, **options: Any) -> Program:
        """Begin a program (L2MAC): `task` is done instruction by instruction, each in a context of its own, with all state in files; or, with
        `id`, get one that was begun.

        `plan`: "rules" divides the task by its headings, bullets and sentences, "model" lets the worker do it, or the instructions themselves.
        `options`: tokenizer, checks, chat (`kernel.program`), and settings, the size of the window first (`text.program.state.Settings`).
        Raises `Invalid`, `NotFound`, `PermissionDenied`, `QuotaExceeded`.
        """
        from mnemos.kernel.program import Program, begin  # only where it is needed

        if (task is None) is (id is None):
            raise Invalid("program: give the task of a new one, or the id of one that was begun")
        if id is not None:
            return Program(self, id, **options)
        return begin(self, task or "", plan, **options)

    def programs(self) -> Cubes:
        """The programs of the space, oldest first, as cubes whose text is the task; `program(id=…)` gets one."""
        from mnemos.kernel.program import listed

        return listed(self)

    def at(self, when: int | Moment) -> Space:
        """This space as it was: a view that can be read and searched, but not written."""
        self.admit("read")
        with self.system.snapshot() as snapshot:
            row = self.system.space_row(snapshot, self.num)
            return Space(self.system, row, min(position_of(snapshot, when, "when"), Viewing.of(self, snapshot).shown_position(None)))

    # -- snapshots and branches --
    def snapshot(self, name: str, at: int | Moment | None = None) -> NamedPosition:
        """Name how the space is now, or was at a log position or time, to go back there (`rewind`) or branch from there.

        Raises `Conflict` where the name is taken.
        """
        return snapshots.take(self, name, at)

    def snapshots(self) -> Named:
        """The snapshots of the space, the oldest position first."""
        return snapshots.listed(self)

    def drop_snapshot(self, name: str) -> None:
        """Take the name of a snapshot away. Raises `NotFound`."""
        snapshots.drop(self, name)

    def rewind(self, to: NamedPosition | int | Moment, ids: Iterable[str | UUID] | None = None) -> Rewound:
        """Bring memories (None: all) back to what they said, and where they stood, at a snapshot, a log position or a time, as new versions.

        What did not exist then goes to the archive; what was forgotten since does not come back, and what is in quarantine stays there. All or
        nothing: raises `Frozen` where one that would have to change is frozen, `NotFound`, `Invalid`, `PermissionDenied`.
        """
        return snapshots.rewind(self, to, None if ids is None else [parse_id(id) for id in ids])

    def branch(self, name: str, at: NamedPosition | int | Moment | None = None) -> Branch:
        """A what-if branch: a new space `name` with a copy of each memory as it is, or was at a snapshot, a log position or a time.

        Nothing that is done there touches this space, until it is merged. Raises `Conflict` where there is a space of that name.
        """
        return Branch.make(self, name, at)

    def branches(self) -> Branches:
        """The branches of this space, oldest first."""
        return Branch.all_of(self)

    def as_branch(self) -> Branch:
        """This space as the branch that it is: to `diff`, `merge` or `drop` it. Raises `Invalid` where it is none."""
        return Branch(self)

    # -- for the rooms of the kernel --
    def admit(self, verb: str, *, counted: bool = True) -> None:
        """Let the caller in to `verb`, before anything is done. Raises `PermissionDenied`, `RateLimited`, and `Invalid` where a view of the past
        is to be changed. `counted` is False for a look that is part of another call."""
        if verb != "read" and self.position is not None:
            raise Invalid(f"this view of space {self.name!r} shows the past (position {self.position}) and cannot be written")
        self.system.admit(self.num, self.name, verb, counted=counted)

    def settings_for(self, snapshot: Snapshot, verb: str) -> Json:
        """The space's settings, inside the transaction that does `verb`: what was allowed before may not be any more."""
        return self.system.settings_for(snapshot, self.num, self.name, verb)
