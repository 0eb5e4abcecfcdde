"""A change of a space: new memories, new versions, memories set aside or forgotten, in one transaction, and all of it taken back in one.

Going back writes versions that say what the ones before the change said, sets aside what it added and brings back what it hid; the log keeps
both ways. What is to be forgotten is only set aside until the change is finished: forgetting cannot be undone.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from mnemos.base.cube import Json, MemCube, State
from mnemos.base.errors import Invalid, NotFound
from mnemos.base.ids import parse_id
from mnemos.index.space_index import Omitted
from mnemos.kernel.changes.ledger import SPACE_TIER
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.life.reasons import refuse_repetition, strings_of
from mnemos.kernel.reading.results import Context, Hit
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.writing.drafts import CHANGEABLE
from mnemos.store.base import VersionRow

if TYPE_CHECKING:
    from mnemos.kernel.space import Space


class _Undo(Exception):
    """Ends a trial."""


class SpaceChange:
    """Edits of one space. Implements `Changeable`.

    `add`: records as `Space.add_many` takes them. `update`: id → keywords as `Space.update` takes them. `set_aside`: ids that go into quarantine.
    `forget`: ids that are set aside, and forgotten when the change is finished; their certificates are then in `certificates`. Without any
    edit it serves to go back from a change that another process made. Raises `Invalid`, `PermissionDenied`.
    """

    def __init__(
        self,
        space: Space,
        *,
        add: Iterable[Mapping[str, Any]] = (),
        update: Mapping[str | UUID, Mapping[str, Any]] | None = None,
        set_aside: Iterable[str | UUID] = (),
        forget: Iterable[str | UUID] = (),
    ) -> None:
        space.admit("write", counted=False)
        self._space = space
        self._add = [{**record, "id": record.get("id") or space.system.new_id()} for record in add]
        self._update = {parse_id(id): dict(fields) for id, fields in (update or {}).items()}
        self._forget = [parse_id(id) for id in forget]
        if self._forget:
            space.admit("forget", counted=False)
        self._aside = [parse_id(id) for id in set_aside] + self._forget
        named = [*self.added, *self._update, *self._aside]
        if len(set(named)) < len(named):
            raise Invalid("change: names a memory twice; each can be added, updated, set aside or forgotten once")
        self.certificates: list[Certificate] = []

    @property
    def tier(self) -> str:
        return f"{SPACE_TIER}{self._space.name}"

    @property
    def added(self) -> list[UUID]:
        """The ids of the memories that the change adds."""
        return [parse_id(record["id"]) for record in self._add]

    def version(self) -> str:
        return f"log:{self._space.system.position()}"

    def digest(self) -> str:
        with self._space.system.snapshot() as snapshot:
            viewing = Viewing.of(self._space, snapshot)
            met = [_met(viewing, id) for id in (*self.added, *self._update, *self._aside)]
        return hashlib.sha256(orjson.dumps(met, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def check_words(self, words: str) -> None:
        """As for the reason of a forget: no eight bytes in a row of a text, and no author, source or tag, of what is written or touched."""
        texts = [str(record.get("text", "")) for record in (*self._add, *self._update.values())]
        strings: list[str] = []
        with self._space.system.snapshot() as snapshot:
            viewing = Viewing.of(self._space, snapshot)
            for id in (*self._update, *self._aside):
                row = self._present(snapshot, str(id))
                if row is not None:
                    texts.append(viewing.text(row))
                    strings += strings_of(row.content)
        refuse_repetition(words, texts, strings)

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """The change inside a transaction that is undone: searches of this thread meet it, nobody else does, and nobody else can write."""
        try:
            with self._space.system.writing(alone=True):
                self.apply()
                yield
                raise _Undo
        except _Undo:
            pass

    def apply(self) -> Json:
        space, system = self._space, self._space.system
        with system.writing(alone=True) as transaction:
            begin = transaction.position
            versions: dict[str, list[int]] = {}
            if self._add:
                space.add_many(self._add)
            for id, fields in self._update.items():
                before = Viewing.of(space, transaction).changeable(id).content.version
                versions[str(id)] = [before, space.update(id, **fields).version]
            for id in self._aside:
                space.quarantine(id)
            return {
                "positions": [begin, transaction.position],
                "added": [str(id) for id in self.added],
                "updated": versions,
                "aside": [str(id) for id in self._aside],
                "forget": [str(id) for id in self._forget],
            }

    def restore(self, before: Json) -> None:
        """Take the edits back. A memory that somebody else has changed since, or forgotten, stays as they left it."""
        space = self._space
        with space.system.writing(alone=True) as transaction:
            for id, (old, new) in before["updated"].items():
                row = self._present(transaction, id)
                if row is not None and row.content.version == new:
                    space.rollback(id, old)
            for id in before["added"]:
                row = self._present(transaction, id)
                if row is not None and row.state is not State.QUARANTINED:
                    space.quarantine(id)
            for id in before["aside"]:
                row = self._present(transaction, id)
                if row is not None and row.state is State.QUARANTINED:
                    space.release(id)

    def restored(self, before: Json) -> bool:
        with self._space.system.snapshot() as snapshot:
            viewing = Viewing.of(self._space, snapshot)
            for id, (old, _) in before["updated"].items():
                row = self._present(snapshot, id)
                if row is None or _said(viewing, row) != _said(viewing, viewing.version(UUID(id), old)):
                    return False
            return all(_met(viewing, UUID(id)) is None for id in before["added"]) and all(_met(viewing, UUID(id)) for id in before["aside"])

    def finish(self, before: Json) -> Json:
        ids = [id for id in before["forget"] if self._exists(id)]
        if not ids:
            return {}
        self.certificates.append(self._space.forget(ids))
        return {"forgotten_at": self.certificates[-1].position}

    def without(self, before: Json) -> Without:
        """The space as it would be without the change that `apply` made: what the control arm of a canary reads."""
        return Without(self._space, before)

    def _present(self, snapshot: Any, id: str) -> VersionRow | None:
        """The current version of a memory; None where it is gone."""
        try:
            return Viewing.of(self._space, snapshot).current(UUID(id))
        except NotFound:
            return None

    def _exists(self, id: str) -> bool:
        with self._space.system.snapshot() as snapshot:
            return self._present(snapshot, id) is not None


def _said(viewing: Viewing, row: VersionRow) -> dict[str, Any]:
    """What a version says, apart from its number."""
    cube = viewing.cube(row)
    return {name: value for name, value in cube.as_json().items() if name in (*CHANGEABLE, "derived_from")}


def _met(viewing: Viewing, id: UUID) -> dict[str, Any] | None:
    """What a reader meets of a memory; None where nothing: it is not there, or hidden."""
    try:
        row = viewing.current(id)
    except NotFound:
        return None
    return _said(viewing, row) if row.state in VISIBLE else None


class Without:
    """A space as it would be had one change not been made; all other writes, earlier and later, are there.

    A memory of the change that somebody else updates meanwhile is found in both forms: as it was before the change, and as they left it.
    """

    def __init__(self, space: Space, before: Json) -> None:
        begin, end = before["positions"]
        self._past = space.at(begin)
        self._touched = {UUID(id) for id in (*before["updated"], *before["aside"])}
        with space.system.snapshot() as snapshot:
            family = set(self._touched)
            for id in self._touched:
                seq = snapshot.seq_at(id, begin)
                row = snapshot.versions([seq]).get(seq) if seq is not None else None
                if row is not None and row.has_parts:
                    family |= {part.content.id for part in snapshot.versions(snapshot.parts(id, row.content.version)).values()}
            states = {id: state for id, state in snapshot.states_at(space.num, begin).items() if id in family}
        self._space = copy.copy(space)
        self._space.omitted = Omitted(begin, end, states)

    def search(self, query: str, k: int = 10, **where: Any) -> list[Hit]:
        """As `Space.search`."""
        return self._space.search(query, k, **where)

    def context(self, query: str, budget_tokens: int = 1500, *, tokenizer: object = None, **where: Any) -> Context:
        """As `Space.context`."""
        return self._space.context(query, budget_tokens, tokenizer=tokenizer, **where)

    def get(self, id: str | UUID) -> MemCube:
        """As `Space.get`. Raises `NotFound`, for what the change added too."""
        cube = parse_id(id)
        if cube in self._touched:
            return self._past.get(cube)
        found = self._space.get(cube)
        omitted = self._space.omitted
        assert omitted is not None
        if omitted.begin < found.position <= omitted.end:
            raise NotFound(f"cube {cube} is not in space {self._space.name!r}")
        return found
